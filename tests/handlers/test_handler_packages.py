"""`packages`: the calls of the package manager, a shim that records packages. The real apt: tests/live."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
from kit import FastClock, shim

from azurelite.config.document import Document
from azurelite.config.schema import bind
from azurelite.errors import ConfigError, HandlerError, SkippedError
from azurelite.handlers import Context
from azurelite.handlers.packages import Options, apply
from azurelite.record import replace
from azurelite.system.machine import System

# An apk with the packages web, db and cache, which records in a file what it has installed.
APK = """
books={folder}/installed
case $1 in
info) cat "$books" ;;
update) echo fresh > {folder}/index ;;
add) [ -e {folder}/index ] || {{ echo 'ERROR: no index' >&2; exit 1; }}
    shift
    for name; do
        case $name in web|db|cache|web=1.1-r0) ;; *) echo "ERROR: no such package: $name" >&2; exit 1 ;; esac
    done
    for name; do echo "${{name%%=*}}-1.1-r0" >> "$books"; done ;;
esac
"""


@pytest.fixture
def host(context: Callable[..., Context], tmp_path: Path) -> Callable[..., Context]:
    """A context on this machine's own root, with the shim as its only program."""
    folder = tmp_path / "bin"
    shim(folder, "apk", script=f"PATH=/usr/bin:/bin\n{APK.format(folder=tmp_path)}")
    (tmp_path / "installed").write_text("base-1.0-r0\n")

    def make(*, dry_run: bool = False) -> Context:
        system = System("/", dry_run=dry_run, clock=FastClock())
        system.commands.search_path = str(folder)
        return replace(context(), system=system)

    return make


def options(**values: Any) -> Options:
    return bind(Options, values, Document({}, {}), ("packages",))


def changes(ctx: Context) -> list[str]:
    return [str(change) for change in ctx.system.journal.since(0)]


@pytest.mark.spawns
def test_missing_packages_are_installed_once(host: Callable[..., Context], tmp_path: Path) -> None:
    wish = options(install=["web", "base", ["db"], "web"])
    expected = ["update the package index (by apk)", "install web db (by apk)"]
    dry = host(dry_run=True)
    apply(dry, wish)
    assert not (tmp_path / "index").exists()
    real = host()
    apply(real, wish)
    assert changes(dry) == changes(real) == expected
    again = host()
    apply(again, wish)
    assert changes(again) == []


@pytest.mark.spawns
def test_a_specific_version_is_installed(host: Callable[..., Context]) -> None:
    for entry in ("web=1.1-r0", ["web", "1.1-r0"]):
        ctx = host(dry_run=True)
        apply(ctx, options(install=[entry], update=False))
        assert changes(ctx) == ["install web 1.1-r0 (by apk)"]


@pytest.mark.spawns
def test_upgrade_alone_updates_and_upgrades_and_without_options_nothing_is_done(host: Callable[..., Context]) -> None:
    ctx = host()
    apply(ctx, options())
    apply(ctx, options(update=True))
    assert changes(ctx) == []
    apply(ctx, options(upgrade=True))
    assert changes(ctx) == ["update the package index (by apk)", "upgrade all packages (by apk)"]


@pytest.mark.spawns
def test_the_error_has_the_managers_output(host: Callable[..., Context]) -> None:
    for wish, match in (
        (options(install=["web", "nonsense"]), "no such package: nonsense"),
        (options(install=["web"], update=False), "no index"),
    ):
        if match == "no index":
            Path(host().system.commands.search_path).parent.joinpath("index").unlink()
        with pytest.raises(HandlerError, match=match) as caught:
            apply(host(), wish)
        assert caught.value.reason == "failed to install packages"


@pytest.mark.spawns
def test_a_failing_manager_that_installed_everything_is_noted(
    host: Callable[..., Context], tmp_path: Path, notes: list[str]
) -> None:
    script = (
        f"case $1 in info) cat {tmp_path}/installed ;; add) echo web-1-r0 >> {tmp_path}/installed; exit 102 ;; esac"
    )
    shim(tmp_path / "bin", "apk", script=f"PATH=/usr/bin:/bin\n{script}")
    apply(host(), options(install=["web"]))
    assert notes == ["the packages are installed, but apk failed with status 102: no error output"]


def test_a_missing_manager_or_one_without_versions_is_an_error(host: Callable[..., Context], tmp_path: Path) -> None:
    (tmp_path / "bin" / "apk").rename(tmp_path / "bin" / "pacman")
    with pytest.raises(HandlerError, match="pacman cannot install specific versions"):
        apply(host(), options(install=["web=1"]))
    (tmp_path / "bin" / "pacman").unlink()
    with pytest.raises(HandlerError, match="no supported package manager is installed"):
        apply(host(), options(install=["web"]))


def test_in_a_foreign_root_nothing_is_installed(context: Callable[..., Context], notes: list[str]) -> None:
    ctx = context()
    with pytest.raises(SkippedError, match="running system"):
        apply(ctx, options(install=["web"]))
    assert notes == []
    assert changes(ctx) == []


@pytest.mark.parametrize(
    "entry",
    [
        *("", "-y", "--root=/", "a b", "a;b", "a\nb", "$(a)", "a=", "=1", "a=-1", "curl-"),
        *(["curl-", "1"], [], ["a", "1", "2"], ["-a"], ["a", ""], 5),
    ],
)
def test_invalid_packages_are_refused_with_their_position(entry: Any) -> None:
    with pytest.raises(ConfigError, match=r"install"):
        options(install=["web", entry])
