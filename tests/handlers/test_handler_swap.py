"""`swap`: valid sizes, existing files, and the line in /etc/fstab. Real swap: test_disks_live."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from kit import Guest

from azurelite.config.document import Document
from azurelite.config.schema import bind
from azurelite.errors import ConfigError, HandlerError
from azurelite.handlers import Context
from azurelite.handlers.swap import Options, apply
from azurelite.system.disks.swapfile import MIB

pytestmark = pytest.mark.spawns
LINE = "/swapfile none swap sw,nofail 0 0 # azurelite\n"


def options(**keys: Any) -> Options:
    return bind(Options, keys, Document({}, {}), ("swap",))


@pytest.mark.parametrize(
    ("keys", "size", "line"),
    [
        ({"size": "2M"}, 2 * MIB, LINE),
        ({"size": 3 * MIB + 17}, 3 * MIB, LINE),
        ({"size": "1M", "priority": 5}, MIB, LINE.replace("nofail", "nofail,pri=5")),
        ({"size": "1M", "path": "/var/a b"}, MIB, LINE.replace("/swapfile", "/var/a\\040b")),
    ],
)
def test_the_file_and_its_line_in_fstab_are_created(
    guest: Guest, context: Callable[..., Context], keys: dict[str, Any], size: int, line: str
) -> None:
    guest.put({"etc/fstab": "LABEL=root / ext4 defaults 0 1\n"})
    for _ in range(2):
        apply(context(), options(**keys))
        path = keys.get("path", "swapfile")
        assert guest.path(path).stat().st_size == size
        assert guest.mode(path) == 0o600
        assert guest.text("etc/fstab") == "LABEL=root / ext4 defaults 0 1\n" + line


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"size": "lots"}, "size is not a size"),
        ({"size": "1.5G"}, "size is not a size"),
        ({"size": 1023}, "size must be 0, or at least 1M"),
        ({"size": -1}, "size must be 0, or at least 1M"),
        ({"size": "1M", "max_size": "x"}, "max_size is not a size"),
        ({"path": "swapfile"}, "path must be the absolute path"),
        ({"path": "/"}, "path must be the absolute path"),
        ({"path": "/a/../b"}, "path must be the absolute path"),
        ({"path": "/a\nb"}, "path must be the absolute path"),
        ({"path": "/a/"}, "path must be the absolute path"),
        ({"priority": -1}, "priority must be from 0"),
        ({"priority": 32768}, "priority must be from 0"),
        ({"size": True}, "must be a whole number or text"),
    ],
)
def test_invalid_options_are_refused(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        options(**keys)


def test_size_zero_creates_no_swap_file(guest: Guest, context: Callable[..., Context]) -> None:
    before = guest.snapshot()
    apply(context(), options(size=0))
    assert guest.snapshot() == before


def test_another_file_at_the_path_is_kept(guest: Guest, context: Callable[..., Context]) -> None:
    guest.put({"swapfile": "the administrator's"})
    before = guest.snapshot()
    with pytest.raises(HandlerError, match="/swapfile is not a swap file"):
        apply(context(), options(size="1M"))
    assert guest.snapshot() == before


def test_a_swap_file_of_another_size_is_kept_and_noted(
    guest: Guest, context: Callable[..., Context], notes: list[str]
) -> None:
    apply(context(), options(size="1M"))
    before = guest.snapshot()
    apply(context(), options(size="2M"))
    assert guest.snapshot() == before
    (note,) = notes
    assert "/swapfile exists and keeps its size of 1 MiB" in note
    notes.clear()
    apply(context(), options())  # with "auto" any size is accepted
    assert notes == []


def test_an_existing_line_for_the_file_is_kept(guest: Guest, context: Callable[..., Context]) -> None:
    guest.put({"etc/fstab": "/swapfile swap swap defaults 0 0\n/dev/sdz none swap sw 0 0\n"})
    apply(context(), options(size="1M"))
    assert guest.text("etc/fstab") == "/swapfile swap swap defaults 0 0\n/dev/sdz none swap sw 0 0\n"


def test_a_size_above_the_free_space_is_refused_before_any_change(
    guest: Guest, context: Callable[..., Context]
) -> None:
    before = guest.snapshot()
    with pytest.raises(HandlerError, match="are not free: reduce `size`"):
        apply(context(), options(size="900T", path="/new/folder/swap"))
    assert guest.snapshot() == before


def test_auto_needs_the_running_system(guest: Guest, context: Callable[..., Context]) -> None:
    with pytest.raises(HandlerError, match="set `size`"):
        apply(context(), options())
    assert not guest.path("swapfile").exists()
