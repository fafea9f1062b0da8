"""`timezone`: the files that set the time zone, with the zones of this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from kit import Guest

from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.handlers.timezone import Options, apply
from azurelite.system.zones import posix_rule

ZONES = Path("/usr/share/zoneinfo")
pytestmark = pytest.mark.skipif(not (ZONES / "Europe/Berlin").exists(), reason="needs time zones: install tzdata")


def with_zones(guest: Guest) -> Guest:
    folder = guest.path("usr/share/zoneinfo")
    for name in ("Europe/Berlin", "Asia/Tokyo", "Etc/UTC"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ZONES / name, folder / name)
    (folder / "UTC").symlink_to("Etc/UTC")
    (folder / "tzdata.zi").write_text("# version 1\n")
    return guest


@pytest.mark.parametrize("before", [None, "/usr/share/zoneinfo/Etc/UTC", "../usr/share/zoneinfo/gone"])
def test_etc_localtime_becomes_a_link(guest: Guest, context: Callable[..., Context], before: Optional[str]) -> None:
    with_zones(guest)
    if before is not None:
        guest.path("etc/localtime").symlink_to(before)
    apply(context(), Options(zone="Europe/Berlin"))
    assert os.readlink(guest.path("etc/localtime")) == "../usr/share/zoneinfo/Europe/Berlin"
    assert guest.path("etc/localtime").read_bytes() == (ZONES / "Europe/Berlin").read_bytes()
    assert not guest.path("etc/timezone").exists()


@pytest.mark.parametrize("link", ["/usr/share/zoneinfo/Asia/Tokyo", "../usr/share/zoneinfo/Asia/Tokyo"])
def test_a_correct_link_is_not_changed(guest: Guest, context: Callable[..., Context], link: str) -> None:
    with_zones(guest).path("etc/localtime").symlink_to(link)
    ctx = context()
    apply(ctx, Options(zone="Asia/Tokyo"))
    assert len(ctx.system.journal) == 0
    assert os.readlink(guest.path("etc/localtime")) == link


def test_a_localtime_that_is_a_copy_stays_a_copy(guest: Guest, context: Callable[..., Context]) -> None:
    with_zones(guest).path("etc/localtime").write_bytes((ZONES / "Etc/UTC").read_bytes())
    apply(context(), Options(zone="Europe/Berlin"))
    assert not guest.path("etc/localtime").is_symlink()
    assert guest.path("etc/localtime").read_bytes() == (ZONES / "Europe/Berlin").read_bytes()


BERLIN = "CET-1CEST,M3.5.0,M10.5.0/3"
PLACES = {
    "etc/timezone": ("Etc/UTC\n", "Europe/Berlin\n"),
    "var/db/zoneinfo": ("UTC\n", "Europe/Berlin\n"),
    "etc/TZ": ("UTC0\n", f"{BERLIN}\n"),
    "etc/sysconfig/clock": ('UTC=true\nZONE="UTC"\n', 'UTC=true\nZONE="Europe/Berlin"\n'),
    "etc/rc.conf": ("# x\nTIMEZONE=UTC\n", '# x\nTIMEZONE="Europe/Berlin"\n'),
    "etc/config/system": (
        "config system\n\toption zonename 'UTC'\n\toption timezone 'UTC0'\n",
        f"config system\n\toption zonename 'Europe/Berlin'\n\toption timezone '{BERLIN}'\n",
    ),
}


@pytest.mark.parametrize("place", sorted(PLACES))
def test_other_files_with_the_zone_are_written_if_they_exist(
    guest: Guest, context: Callable[..., Context], place: str
) -> None:
    before, after = PLACES[place]
    with_zones(guest).put({place: before})
    apply(context(), Options(zone="Europe/Berlin"))
    assert guest.text(place) == after
    assert [name for name in PLACES if guest.path(name).exists()] == [place]


def test_a_settings_file_without_a_zone_is_not_changed(guest: Guest, context: Callable[..., Context]) -> None:
    with_zones(guest).put({"etc/rc.conf": "#TIMEZONE=UTC\n", "etc/sysconfig/clock": "UTC=true\n"})
    apply(context(), Options(zone="Europe/Berlin"))
    assert (guest.text("etc/rc.conf"), guest.text("etc/sysconfig/clock")) == ("#TIMEZONE=UTC\n", "UTC=true\n")


@pytest.mark.parametrize(
    "zone",
    [
        "",
        "/etc/passwd",
        "../../etc/passwd",
        "Europe/../../x",
        "Europe//Berlin",
        "Europe/Berlin/",
        "a b",
        "a\n",
        "a" * 65,
    ],
)
def test_invalid_zone_names_are_refused(zone: str) -> None:
    with pytest.raises(ValueError, match="zone must be a name"):
        Options(zone=zone)


@pytest.mark.parametrize("zone", ["localtime", "posix/localtime"])
def test_debians_link_named_localtime_is_not_a_zone(zone: str) -> None:
    with pytest.raises(ValueError, match="zone must not be localtime"):
        Options(zone=zone)


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("Europe/Nowhere", "choose a name from /usr/share/zoneinfo"),
        ("europe/berlin", "did you mean Europe/Berlin"),
        ("EUROPE/BERLIN", "did you mean Europe/Berlin"),
        ("Europe", "choose a name from"),
        ("tzdata", "choose a name from"),
    ],
)
def test_a_missing_zone_changes_nothing(guest: Guest, context: Callable[..., Context], zone: str, words: str) -> None:
    before = with_zones(guest).snapshot()
    with pytest.raises(HandlerError, match=words):
        apply(context(), Options(zone=zone))
    assert guest.snapshot() == before


def test_without_tzdata_the_remedy_is_named(guest: Guest, context: Callable[..., Context]) -> None:
    apply(context(), Options())  # without any zone the system uses UTC
    assert not guest.path("etc/localtime").exists()
    with pytest.raises(HandlerError, match="install the package tzdata"):
        apply(context(), Options(zone="Europe/Berlin"))
    guest.put({"etc/localtime": "TZif"})
    with pytest.raises(HandlerError, match="install the package tzdata"):
        apply(context(), Options())


@pytest.mark.parametrize(
    ("data", "rule"),
    [(b"TZif2...\nUTC0\n", "UTC0"), (b"TZif2...\n\n", None), (b"TZif\0...\nUTC0\n", None), (b"TZif2\n'x'\n", None)],
)
def test_the_rule_at_the_end_of_a_zone(data: bytes, rule: Any) -> None:
    assert posix_rule(data) == rule
    assert posix_rule((ZONES / "Europe/Berlin").read_bytes()) == BERLIN
