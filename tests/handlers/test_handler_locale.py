"""`locale`: the files for language and keyboard, and locales that exist, can be generated, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
from kit import VM_ID, FastClock, Guest, shim

from azurelite.errors import CommandError, HandlerError
from azurelite.fabric.client import Fabric
from azurelite.handlers import Context
from azurelite.handlers.locale import Options, apply
from azurelite.metadata import Metadata
from azurelite.outcome import Outcome
from azurelite.state.store import Memory
from azurelite.system.locales import compiled_name
from azurelite.system.machine import System

DE = "de_DE.UTF-8"
GEN = "# en_US.UTF-8 UTF-8\n# de_DE ISO-8859-1\n# de_DE.UTF-8 UTF-8  \n# de_DE.UTF-8@x UTF-8\n"


def programs(guest: Guest, *names: str) -> None:
    for name in names:
        guest.put({name: ""}).path(name).chmod(0o755)


PLACES: dict[str, tuple[dict[str, str], tuple[str, ...], dict[str, str]]] = {
    "Debian": ({"etc/default/locale": "LANG=C\n"}, (), {"etc/default/locale": f"LANG={DE}\n"}),
    "Debian, nothing yet": (
        {"etc/default/x": ""},
        ("usr/sbin/update-locale", "lib/systemd/systemd"),
        {"etc/default/locale": f"LANG={DE}\n"},
    ),
    "systemd": (
        {"etc/locale.conf": 'LANG="C"\nLC_TIME=C\n'},
        (),
        {"etc/locale.conf": f"LANG={DE}\nLC_TIME=C\n"},
    ),
    "systemd, nothing yet": ({}, ("usr/lib/systemd/systemd",), {"etc/locale.conf": f"LANG={DE}\n"}),
    "RHEL 6": ({"etc/sysconfig/i18n": "LANG=C\nX=1"}, (), {"etc/sysconfig/i18n": f"LANG={DE}\nX=1"}),
    "SUSE": ({"etc/sysconfig/language": 'RC_LANG="C"\n'}, (), {"etc/sysconfig/language": f'RC_LANG="{DE}"\n'}),
    "Gentoo": ({"etc/env.d/x": ""}, (), {"etc/env.d/02locale": f"LANG={DE}\n"}),
    "Alpine": ({"etc/profile.d/x": ""}, (), {"etc/profile.d/azurelite-locale.sh": f"export LANG={DE}\n"}),
}


@pytest.mark.parametrize("case", sorted(PLACES))
def test_the_language_is_set_in_the_systems_file(guest: Guest, context: Callable[..., Context], case: str) -> None:
    files, tools, after = PLACES[case]
    guest.put(files)
    programs(guest, *tools)
    before = set(guest.snapshot())
    apply(context(), Options(locale=DE))
    assert {name: guest.text(name) for name in after} == after
    assert set(guest.snapshot()) - before <= {f"/{name}" for name in after}
    again = context()
    apply(again, Options(locale=DE))
    assert len(again.system.journal) == 0


def test_of_two_paths_to_one_file_one_is_written(guest: Guest, context: Callable[..., Context]) -> None:
    guest.put({"etc/locale.conf": "LANG=C\n", "etc/default/x": ""})
    guest.path("etc/default/locale").symlink_to("../locale.conf")
    for dry_run in (True, False):
        ctx = context(dry_run=dry_run)
        apply(ctx, Options())
        assert [change.target for change in ctx.system.journal.since(0)] == ["/etc/locale.conf"]


@pytest.mark.parametrize(
    ("files", "after"),
    [
        ({"etc/vconsole.conf": "KEYMAP=us\nFONT=x\n"}, 'KEYMAP="de-latin1"\nFONT=x\n'),
        ({"etc/default/keyboard": 'XKBMODEL="pc105"\nXKBLAYOUT="us"\n'}, 'XKBMODEL="pc105"\nXKBLAYOUT="de"\n'),
        ({"etc/conf.d/keymaps": 'keymap="us"\n'}, 'keymap="de-latin1"\n'),
        ({"etc/rc.conf": "KEYMAP=us\n"}, 'KEYMAP="de-latin1"\n'),
    ],
)
def test_the_keyboard_is_set_in_the_systems_file(
    guest: Guest, context: Callable[..., Context], notes: list[str], files: dict[str, str], after: str
) -> None:
    guest.put({"etc/locale.conf": "", **files})
    apply(context(), Options(keymap="de-latin1"))
    assert guest.text(next(iter(files))) == after
    assert notes == []


def test_a_keyboard_without_a_settings_file_is_noted(
    guest: Guest, context: Callable[..., Context], notes: list[str]
) -> None:
    guest.put({"etc/locale.conf": "", "etc/rc.conf": "#KEYMAP=us\n"})
    apply(context(), Options(keymap="de"))
    assert notes == ["keymap skipped: the guest has no file that sets it: add an empty /etc/vconsole.conf to the image"]


@pytest.mark.parametrize(
    "wrong",
    [{"locale": ""}, {"locale": "de DE"}, {"locale": "de_DE.UTF-8\n"}, {"locale": "../x"}, {"locale": "de_DE.a/b"},
     {"locale": "a" * 65}, {"locale": "$(x)"}, {"keymap": ""}, {"keymap": "de;x"}, {"keymap": "../de"}],
)  # fmt: skip
def test_invalid_names_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be a name"):
        Options(**wrong)


@pytest.mark.parametrize(
    ("name", "expected"),
    [(DE, "de_DE.utf8"), ("de_DE", "de_DE"), ("de_DE.ISO-8859-15@euro", "de_DE.iso885915@euro")],
)
def test_how_glibc_spells_a_locale(name: str, expected: str) -> None:
    assert compiled_name(name) == expected


def glibc(guest: Guest, **more: str) -> Guest:
    return guest.put({"etc/locale.conf": "LANG=C\n", "usr/lib/locale/C.utf8/LC_CTYPE": "", **more})


@pytest.mark.parametrize("there", ["usr/lib/locale/de_DE.utf8/LC_CTYPE", "usr/lib/locale/de_DE.UTF-8/LC_CTYPE"])
def test_an_existing_locale_is_used(guest: Guest, context: Callable[..., Context], there: str) -> None:
    glibc(guest, **{there: ""})
    apply(context(), Options(locale=DE))
    assert guest.text("etc/locale.conf") == f"LANG={DE}\n"


def test_a_locale_in_the_archive_is_used(guest: Guest, context: Callable[..., Context]) -> None:
    glibc(guest, **{"usr/lib/locale/locale-archive": "x\0de_DE.utf8\0y"})
    apply(context(), Options(locale=DE))
    with pytest.raises(HandlerError, match="is not installed"):
        apply(context(), Options(locale="E.UTF-8"))


def test_without_locale_gen_a_missing_locale_is_refused(guest: Guest, context: Callable[..., Context]) -> None:
    before = glibc(guest).snapshot()
    with pytest.raises(HandlerError, match=r"de_DE\.UTF-8 is not installed: install its package"):
        apply(context(), Options(locale=DE))
    assert guest.snapshot() == before


@pytest.mark.parametrize(
    ("gen", "locale", "after"),
    [
        (GEN, DE, GEN.replace("# de_DE.UTF-8 UTF-8  ", "de_DE.UTF-8 UTF-8")),
        (GEN, "de_DE", GEN.replace("# de_DE ISO-8859-1", "de_DE ISO-8859-1")),
        ("", DE, "de_DE.UTF-8 UTF-8\n"),
        ("x", DE, "x\nde_DE.UTF-8 UTF-8\n"),
        ("de_DE.UTF-8 UTF-8\n", DE, "de_DE.UTF-8 UTF-8\n"),
    ],
)
def test_in_an_image_a_missing_locale_is_added_to_locale_gen(
    guest: Guest, context: Callable[..., Context], notes: list[str], gen: str, locale: str, after: str
) -> None:
    glibc(guest, **{"etc/locale.gen": gen})
    apply(context(), Options(locale=locale))
    assert guest.text("etc/locale.gen") == after
    assert notes == [f"the locale {locale} is not generated yet: run `locale-gen` in the image"]
    assert guest.text("etc/locale.conf") == f"LANG={locale}\n"


def test_an_unsupported_locale_is_refused(guest: Guest, context: Callable[..., Context]) -> None:
    glibc(guest, **{"etc/locale.gen": GEN, "usr/share/i18n/SUPPORTED": "de_DE.UTF-8 UTF-8\n"})
    before = guest.snapshot()
    with pytest.raises(HandlerError, match=r"xx_XX\.UTF-8 is not supported"):
        apply(context(), Options(locale="xx_XX.UTF-8"))
    assert guest.snapshot() == before


def here(guest: Guest, shims: Path, *, dry_run: bool = False) -> Context:
    """A context on a folder that is treated as the running system."""
    system = System(guest.root, dry_run=dry_run, search_path=str(shims), clock=FastClock())
    system.root.is_host = True
    memory = Memory(system.files, VM_ID)
    return Context(Metadata(), system, Fabric(0), Outcome("applied", ""), lambda _: None, lambda: None, memory)


@pytest.mark.spawns
def test_on_the_running_system_the_locale_is_generated_once(guest: Guest, tmp_path: Path) -> None:
    glibc(guest, **{"etc/locale.gen": GEN})
    made = guest.path("usr/lib/locale/de_DE.utf8")
    log = shim(tmp_path, "locale-gen", script=f"mkdir {made}")
    dry, real, again = here(guest, tmp_path, dry_run=True), here(guest, tmp_path), here(guest, tmp_path)
    apply(dry, Options(locale=DE))
    assert not log.exists()
    apply(real, Options(locale=DE))
    assert "run locale-gen (generate de_DE.UTF-8)" in [str(change) for change in real.system.journal.since(0)]
    assert dry.system.journal.since(0) == real.system.journal.since(0)
    apply(again, Options(locale=DE))
    assert len(again.system.journal) == 0
    assert log.read_text() == "--\n"


@pytest.mark.spawns
def test_a_locale_that_could_not_be_generated_is_not_set(guest: Guest, tmp_path: Path) -> None:
    glibc(guest, **{"etc/locale.gen": GEN})
    shim(tmp_path, "locale-gen", exit_code=1, script="echo no space left >&2")
    with pytest.raises(CommandError, match="no space left"):
        apply(here(guest, tmp_path), Options(locale=DE))
    assert guest.text("etc/locale.conf") == "LANG=C\n"
