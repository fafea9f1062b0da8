"""Whether sshd starts: what `sshd -t` says is a refusal only where nothing but the configuration can be the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest
from kit import FastClock, Guest, shim

from azurelite.clock import Deadline
from azurelite.system.machine import System
from azurelite.system.ssh.sshd_config import SshdConfig
from azurelite.system.ssh.starting import start_obstacle, ways_to_start

pytestmark = pytest.mark.spawns

C = "/etc/ssh/sshd_config"
CONFIG = SshdConfig(C, ())
KEYS, FOLDER = "sshd: no hostkeys available -- exiting.", "Missing privilege separation directory: /run/sshd"
UNKNOWN = f"{C}: line 1: Bad configuration option: Foo"
BAD = f"{C}: terminating, 1 bad configuration options"
OLD = f"{C} line 1: Deprecated option UsePrivilegeSeparation"
BUILT_WITHOUT = f"{C} line 2: Unsupported option GSSAPIAuthentication"

# sshd's messages -> "refused" and the words that are shown; "doubt"; "" for no obstacle
MESSAGES: dict[tuple[str, ...], tuple[str, str]] = {
    (UNKNOWN, BAD): ("refused", UNKNOWN),
    (OLD, UNKNOWN, f"{C}: line 3: Bad configuration option: Bar", BAD): ("refused", UNKNOWN),
    (BUILT_WITHOUT, f"{C} line 1: no argument after keyword", BAD): ("refused", "no argument after keyword"),
    (f'{C} line 2: unsupported option "foo".',): ("refused", "line 2: unsupported option"),
    (f"{C} line 1: Badly formatted port number.",): ("refused", "Badly formatted port number"),
    ("Unsupported Match attribute Foo", f"{C} line 1: Bad Match condition"): ("refused", "Match attribute Foo"),
    (f"{C} line 2: Directive 'Foo' is not allowed within a Match block",): ("refused", "Directive 'Foo'"),
    ("Invalid Match address argument '1.2.3.4/99' at line 1",): ("refused", "at line 1"),
    ("AuthorizedKeysCommand set without AuthorizedKeysCommandUser",): ("refused", "AuthorizedKeysCommandUser"),
    ("AuthenticationMethods cannot be satisfied by enabled authentication methods",): ("refused", "cannot be"),
    (KEYS,): ("", ""),
    (FOLDER,): ("", ""),
    (OLD, BUILT_WITHOUT, KEYS): ("", ""),
    ("Unable to load host key: /etc/ssh/ssh_host_rsa_key", KEYS): ("", ""),
    ("Privilege separation user sshd does not exist",): ("", ""),
    (OLD,): ("doubt", "Deprecated"),
    ("bad addr or host: web.invalid (Name or service not known)",): ("doubt", "web.invalid"),
    (f"{C}: No such file or directory",): ("doubt", "No such file"),
    ("/run/sshd must be owned by root and not group or world-writable.",): ("doubt", "must be owned by root"),
    (): ("doubt", "failed with status 255"),
}


def program(folder: Path, *messages: str, file: str = "*") -> str:
    """An sshd that gives these messages about a file, as the real one does with `-E`."""
    lines = "".join(f"{line}\r\n" for line in messages)
    (folder / "said").mkdir(parents=True, exist_ok=True)
    said = folder / "said" / f"{len(lines)}"
    said.write_text(lines)
    script = f'[ "$1 $2" = "-t -E" ] || exit 9\ncase "$5" in {file}) ;; *) exit 0 ;; esac\n'
    script += f'[ ! -s "{said}" ] || cat "{said}" > "$3"\nexit 255\n'
    shim(folder, "sshd", script=script)
    return str(folder / "sshd")


def ask(guest: Guest, *ways: tuple[str, Optional[str]]) -> tuple[str, str]:
    found = start_obstacle(System(guest.root, clock=FastClock()), ways)
    return ("", "") if found is None else ("refused" if found.certain else "doubt", found.text)


@pytest.mark.parametrize("messages", MESSAGES, ids=lambda messages: " / ".join(messages)[-70:])
def test_each_message(guest: Guest, tmp_path: Path, messages: tuple[str, ...]) -> None:
    state, text = ask(guest, (program(tmp_path / "bin", *messages), None))
    wanted, words = MESSAGES[messages]
    assert (state, words in text) == (wanted, True), text
    assert text.startswith({"refused": "sshd does not start: ", "doubt": "sshd may not start: ", "": ""}[wanted])


def test_what_starts_and_what_is_missing_is_no_obstacle(guest: Guest, tmp_path: Path) -> None:
    shim(tmp_path, "sshd")
    assert ask(guest, (str(tmp_path / "sshd"), None)) == ("", "")
    assert ask(guest) == ("", "")
    assert ask(guest, (str(tmp_path / "nothing"), None))[0] == "doubt"


def test_host_keys_that_sshd_cannot_use_are_a_doubt(guest: Guest, tmp_path: Path) -> None:
    guest.put({"etc/ssh/ssh_host_rsa_key": ""})
    assert ask(guest, (program(tmp_path, KEYS), None))[0] == "doubt"


def test_all_ways_must_be_in_vain(guest: Guest, tmp_path: Path) -> None:
    bad, good = program(tmp_path / "bad", UNKNOWN, BAD), str(shim(tmp_path / "good", "sshd").parent / "sshd")
    some = program(tmp_path / "some", UNKNOWN, BAD, file="/etc/other")
    assert ask(guest, (bad, None), (bad, "/etc/other"))[0] == "refused"
    assert ask(guest, (bad, None), (good, None))[0] == "doubt"
    assert ask(guest, (some, None), (some, "/etc/other"))[0] == "doubt"
    assert ask(guest, (some, "/etc/other"))[0] == "refused"


@pytest.mark.parametrize(
    ("name", "here", "state"), [("sshd", True, "doubt"), ("sshd", False, "refused"), ("sh", True, "refused")]
)
def test_an_sshd_that_runs_goes_on(guest: Guest, tmp_path: Path, name: str, here: bool, state: str) -> None:
    guest.put({"proc/77/comm": f"{name}\n", "proc/self": "", "proc/78/x": ""})
    guest.path("proc/77/root").symlink_to(guest.root if here else "/")
    found = ask(guest, (program(tmp_path, UNKNOWN, BAD), None))
    assert found[0] == state
    assert found[1].startswith("sshd runs, but will not start again: ") is (state == "doubt")


def test_each_installed_sshd_and_each_file_is_a_way(guest: Guest) -> None:
    def install(*paths: str) -> None:
        for path in paths:
            guest.put({path: ""})
            guest.path(path).chmod(0o755)

    def ways() -> list[tuple[str, Optional[str]]]:
        return ways_to_start(System(guest.root), CONFIG)

    assert ways() == []
    install("usr/sbin/sshd")
    assert ways() == [("/usr/sbin/sshd", None)]
    guest.path("sbin").mkdir(exist_ok=True)
    guest.path("sbin/sshd").symlink_to("/usr/sbin/sshd")
    assert ways() == [("/usr/sbin/sshd", None)]
    guest.put({"etc/default/ssh": f"SSHD_OPTS='-f {C}'\n"})
    assert ways() == [("/usr/sbin/sshd", None)]
    guest.put({"etc/systemd/system/ssh.service": "ExecStart=/opt/ssh/sshd -D -f /etc/other\n"})
    assert ways() == [("/usr/sbin/sshd", None), ("/usr/sbin/sshd", "/etc/other")]
    install("opt/ssh/sshd", "usr/lib/ssh/sshd")
    programs = ("/usr/sbin/sshd", "/usr/lib/ssh/sshd", "/opt/ssh/sshd")
    assert ways() == [(one, path) for one in programs for path in (None, "/etc/other")]


def test_without_time_nothing_is_asked(guest: Guest, tmp_path: Path) -> None:
    system = System(guest.root, clock=FastClock())
    system.commands.limit = Deadline(system.clock, 0)
    assert start_obstacle(system, [(program(tmp_path, UNKNOWN, BAD), None)]) is None
