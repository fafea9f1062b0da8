"""Fixtures of all tests, and the guards: no test spawns a program or leaves the loopback by accident."""

from __future__ import annotations

import ipaddress
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Iterator

import pytest
from kit import BASE, FastClock, Guest, Shelf

from azurelite.simulator import Simulator

pytest_plugins = ["azurelite.simulator.pytest_plugin"]

_SPAWNING = ("subprocess.Popen", "os.system", "os.posix_spawn", "os.fork", "os.exec")
_permitted = {"spawn": True, "watch": False}
_MEMORY = "/dev/shm"
_ROOM = 1 << 30


class ForbiddenError(BaseException):
    """Not an Exception, so that no broad `except` on the way can swallow it."""


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    if not _permitted["watch"]:
        return
    if event in _SPAWNING and not _permitted["spawn"]:
        raise ForbiddenError(f"{event} in a test without the mark `spawns`: {arguments[:2]}")
    if event == "socket.sethostname":
        raise ForbiddenError("a test must not name the machine it runs on")
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
        if not ipaddress.ip_address(host).is_loopback:
            raise ForbiddenError(f"a test must not dial {host}")


sys.addaudithook(_guard)


@pytest.fixture(autouse=True)
def _guarded(request: pytest.FixtureRequest) -> Iterator[None]:
    _permitted["spawn"] = request.node.get_closest_marker("spawns") is not None
    _permitted["watch"] = True
    yield
    _permitted["watch"] = False


def pytest_configure(config: pytest.Config) -> None:
    """The guests of the many tests lie in memory where there is room: azurelite syncs each file that it writes.

    Guests in namespaces are not moved, for these see this machine's /tmp below an overlay, but its /dev as it is.
    """
    chosen = config.option.basetemp or os.environ.get("PYTEST_DEBUG_TEMPROOT")
    if not chosen and "not namespaces" in config.option.markexpr and _takes_programs(_MEMORY):
        os.environ["PYTEST_DEBUG_TEMPROOT"] = _MEMORY


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--few", type=int, metavar="N", help="run at most N cases of each parametrised test")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --few N, keep the first and the last case, and between these as many as N allows, at equal distances.

    A new interpreter breaks lines of code, and these run in every case. What only some data breaks was broken on the
    oldest or on the newest interpreter already, where every case runs.
    """
    most = config.option.few
    if most is None:
        return
    if most < 1:
        raise pytest.UsageError("--few takes a number of at least 1")
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    kept = {id(item) for group in cases.values() for item in _some(group, most)}
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
    items[:] = [item for item in items if id(item) in kept]


def _some(group: list[pytest.Item], most: int) -> list[pytest.Item]:
    last = len(group) - 1
    return group if last < most else [group[place * last // max(most - 1, 1)] for place in range(most)]


def _takes_programs(folder: str) -> bool:
    if not os.access(folder, os.W_OK):
        return False
    status = os.statvfs(folder)
    return not status.f_flag & os.ST_NOEXEC and status.f_bavail * status.f_frsize >= _ROOM


def pytest_make_parametrize_id(val: Any, argname: str) -> Any:
    """Short names for what is long, and the same in every process: gzip puts the time into its bytes."""
    if isinstance(val, bytes):
        plain = len(val) < 40 and val.isascii() and val.decode().isprintable()
        return val.decode() if plain else f"{argname}{len(val)}"
    return f"{argname}{len(val)}" if isinstance(val, str) and len(val) > 80 else None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Where AZURELITE_NO_SKIPS is set, as in CI, a skipped test is a failure: everything it needs must be there."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped and os.environ.get("AZURELITE_NO_SKIPS"):
        terminalreporter.write_line(f"AZURELITE_NO_SKIPS is set and {len(skipped)} tests were skipped", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and reporter.stats.get("skipped") and os.environ.get("AZURELITE_NO_SKIPS"):
        session.exitstatus = 1


QUICK_OPENSSL = """#!/bin/sh
# The real openssl, but an RSA key of 3072 bits is made once and copied afterwards: each takes a second or more.
made="${0%/*}/made"
key= certificate= option=
case " $* " in *" -newkey rsa:3072 "*) ;; *) exec @REAL@ "$@" ;; esac
for word in "$@"; do
    case "$option" in -keyout) key=$word ;; -out) certificate=$word ;; esac
    option=$word
done
if [ ! -e "$made.crt" ]; then
    @REAL@ "$@" || exit
    cat "$key" >"$made.key" && cat "$certificate" >"$made.crt"
    exit
fi
cat "$made.key" >"$key" && cat "$made.crt" >"$certificate"
"""


@pytest.fixture(scope="session")
def quick_openssl(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder for the search path with an `openssl` that makes one transport key per session."""
    folder = tmp_path_factory.mktemp("openssl")
    program = folder / "openssl"
    program.write_text(QUICK_OPENSSL.replace("@REAL@", shutil.which("openssl") or "false"))
    program.chmod(0o755)
    return str(folder)


@pytest.fixture
def clock(azure_clock: FastClock) -> FastClock:
    """A clock whose sleeps take no time."""
    return azure_clock


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    """A small guest without firmware or configuration."""
    folder = tmp_path / "guest"
    folder.mkdir()
    made = Guest(folder).put(BASE)
    made.path("etc/shadow").chmod(0o640)
    return made


@pytest.fixture
def fabric(azure_simulator: Simulator) -> Simulator:
    """A fabric that behaves."""
    return azure_simulator


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    folder = tmp_path / "shelf"
    folder.mkdir()
    sys.path.insert(0, str(folder))
    before = set(sys.modules)
    yield Shelf(folder)
    sys.path.remove(str(folder))
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
