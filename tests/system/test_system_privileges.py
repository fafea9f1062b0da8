"""Rules for sudo and doas: where they go, what stays, and what the tools' own programs make of them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any, Optional

import pytest
from kit import Guest, shim

from azurelite.errors import MachineError
from azurelite.system.accounts.privileges import doas_wish, fulfil, sudo_wish, tool_of
from azurelite.system.machine import System

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
VISUDO = shutil.which("visudo", path=PATH)
DOAS = shutil.which("doas", path=PATH)
RULE = "ALL=(ALL:ALL) ALL"


def executable(guest: Guest, *paths: str) -> Guest:
    for path in paths:
        guest.put({path: ""}).path(path).chmod(0o755)
    return guest


@pytest.fixture
def bare(guest: Guest) -> Guest:
    """A guest with neither sudo nor doas."""
    shutil.rmtree(guest.path("etc/sudoers.d"))
    return guest


@pytest.mark.parametrize(
    ("there", "auto", "sudo", "doas"),
    [
        ([], None, None, None),
        (["usr/bin/sudo"], "sudo", "sudo", None),
        (["usr/local/bin/sudo"], "sudo", "sudo", None),
        (["usr/bin/doas"], "doas", None, "doas"),
        (["usr/local/bin/doas"], "doas", None, "doas"),
        (["etc/doas.conf"], "doas", None, "doas"),
        (["usr/bin/sudo", "usr/bin/doas"], "sudo", "sudo", "doas"),
        (["etc/sudoers.d/x", "etc/doas.d/x"], "sudo", "sudo", "doas"),
    ],
)
def test_sudo_is_preferred_where_both_are(
    bare: Guest, there: list[str], auto: Optional[str], sudo: Optional[str], doas: Optional[str]
) -> None:
    system = System(executable(bare, *there).root)
    assert [tool_of(system, "auto"), tool_of(system, "sudo"), tool_of(system, "doas")] == [auto, sudo, doas]


@pytest.mark.parametrize(
    ("there", "path", "mode"),
    [
        (["etc/sudoers"], "etc/sudoers.d/90-azurelite", 0o440),
        (["usr/local/bin/sudo", "usr/local/etc/sudoers"], "usr/local/etc/sudoers.d/90-azurelite", 0o440),
        (["usr/local/bin/sudo", "etc/sudoers"], "etc/sudoers.d/90-azurelite", 0o440),
    ],
)
def test_sudos_rules_go_where_that_sudo_looks(bare: Guest, there: list[str], path: str, mode: int) -> None:
    executable(bare, *there)
    system = System(bare.root)
    fulfil(system, sudo_wish(system, "u", [RULE], own=True))
    assert bare.text(path) == f'# written by azurelite\n"u" {RULE}\n'
    assert bare.mode(path) == mode


@pytest.mark.parametrize(
    ("there", "path", "mode"),
    [
        (["usr/bin/doas"], "etc/doas.conf", 0o600),
        (["usr/local/bin/doas"], "usr/local/etc/doas.conf", 0o600),
        (["usr/local/bin/doas", "etc/doas.conf"], "etc/doas.conf", None),
        (["usr/bin/doas", "etc/doas.d/x", "etc/doas.conf"], "etc/doas.d/azurelite.conf", 0o600),
    ],
)
def test_doass_rules_go_where_that_doas_looks(bare: Guest, there: list[str], path: str, mode: Optional[int]) -> None:
    bare.path("usr/local/etc").mkdir(parents=True)
    executable(bare, *there)
    system = System(bare.root)
    fulfil(system, doas_wish(system, "u", ['permit nopass keepenv "u"'], own=True))
    assert bare.text(path).splitlines()[-1] == 'permit nopass keepenv "u"'
    assert mode is None or bare.mode(path) == mode


@pytest.mark.parametrize(
    ("main", "added"),
    [
        ("root ALL=(ALL) ALL\n", True),
        ("", True),
        ("# includedir /etc/sudoers.d\n", True),
        ("##includedir /etc/sudoers.d\n", True),
        ("@includedir /etc/other.d\n", True),
        ("@includedir /etc/sudoers.d.old\n", True),
        ("#includedir /etc/sudoers.d\n", False),
        ("@includedir /etc/sudoers.d\n", False),
        ("@includedir /etc/sudoers.d/\n", False),
        ('  @includedir "/etc/sudoers.d"\n', False),
        ("@includedir sudoers.d\n", False),
        ("@include /etc/sudoers.d/90-azurelite\n", False),
        ("root ALL=(ALL) ALL\n\n#includedir /etc/sudoers.d", False),
    ],
)
def test_a_sudoers_that_does_not_read_the_folder_is_given_the_line_once(guest: Guest, main: str, added: bool) -> None:
    guest.put({"etc/sudoers": main}).path("etc/sudoers").chmod(0o400)
    for _ in range(2):
        system = System(guest.root)
        fulfil(system, sudo_wish(system, "u", [RULE], own=True))
        assert guest.text("etc/sudoers") == (main + "#includedir /etc/sudoers.d\n" if added else main)
        assert guest.mode("etc/sudoers") == 0o400


class TestOthersRules:
    def test_several_rules_of_one_user_are_kept_together(self, guest: Guest) -> None:
        system = System(guest.root)
        fulfil(system, sudo_wish(system, "a", [RULE], own=True))
        for rules in (["ALL=(root) /bin/a", "ALL=(root) /bin/b"], ["ALL=(root) /bin/b"]):
            fulfil(system, sudo_wish(system, "u", rules, own=True))
            found = guest.text("etc/sudoers.d/90-azurelite").splitlines()
            assert found == ["# written by azurelite", f'"a" {RULE}', *(f'"u" {rule}' for rule in rules)]
            before = len(system.journal)
            fulfil(system, sudo_wish(system, "u", rules, own=True))
            assert len(system.journal) == before

    def test_lines_of_doas_stay_and_a_changed_wish_leaves_nothing_of_the_old_one(self, guest: Guest) -> None:
        theirs = "permit persist :wheel\npermit nopass other cmd reboot\n"
        guest.put({"etc/doas.conf": theirs}).path("etc/doas.conf").chmod(0o644)
        for word in ("nopass ", "", "nopass ", "nopass "):
            system = System(guest.root)
            fulfil(system, doas_wish(system, "u", [f'permit {word}keepenv "u"'], own=True))
            assert guest.text("etc/doas.conf") == f'{theirs}permit {word}keepenv "u"\n'
            assert guest.mode("etc/doas.conf") == 0o644

    def test_odd_bytes_are_kept(self, guest: Guest) -> None:
        before = b"permit nopass caf\xe9\n"
        guest.path("etc/doas.conf").write_bytes(before)
        system = System(guest.root)
        fulfil(system, doas_wish(system, "u", ['permit keepenv "u"'], own=True))
        assert guest.path("etc/doas.conf").read_bytes() == before + b'permit keepenv "u"\n'


@pytest.mark.spawns
class TestTheirOwnWord:
    @pytest.mark.skipif(VISUDO is None, reason="needs visudo: install sudo")
    @pytest.mark.parametrize(
        ("rule", "fine"),
        [
            (RULE, True),
            ("ALL=(root) NOPASSWD: /sbin/reboot, /bin/systemctl restart nginx", True),
            ("ALL=(ALL NOPASSWD: ALL", False),
            ("nonsense", False),
            ("ALL=(ALL) NOSUCHTAG: ALL x=y", False),
        ],
    )
    def test_visudo_is_heard_before_anything_is_written(self, guest: Guest, rule: str, fine: bool) -> None:
        before = guest.snapshot()
        system = System(guest.root)
        if fine:
            assert rule in sudo_wish(system, "u", [rule]).text
        else:
            with pytest.raises(MachineError, match="visudo rejects the rules of u, nothing was written"):
                sudo_wish(system, "u", [rule])
        assert guest.snapshot() == before

    @pytest.mark.skipif(DOAS is None, reason="needs doas: install opendoas")
    @pytest.mark.parametrize("name", ["u", "User.Name-1", "permit", "deny", "nopass", "as", "cmd", "keepenv", "_x"])
    @pytest.mark.parametrize("word", ["", "nopass "])
    def test_doas_takes_the_rule_for_every_name(self, guest: Guest, name: str, word: str) -> None:
        guest.put({"etc/doas.conf": "permit persist :wheel\n"})
        system = System(guest.root)
        fulfil(system, doas_wish(system, name, [f'permit {word}keepenv "{name}"']))
        done = subprocess.run([str(DOAS), "-C", str(guest.path("etc/doas.conf"))], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr

    @pytest.mark.skipif(DOAS is None, reason="needs doas: install opendoas")
    @pytest.mark.parametrize("rule", ["permit nopas u", "permit u cmd", "allow u", "permit u as"])
    def test_doas_is_heard_before_anything_is_written(self, guest: Guest, rule: str) -> None:
        before = guest.put({"etc/doas.conf": ""}).snapshot()
        with pytest.raises(MachineError, match="doas rejects the rules of u, nothing was written"):
            doas_wish(System(guest.root), "u", [rule])
        assert guest.snapshot() == before

    def test_a_visudo_that_cannot_read_its_input_says_nothing(self, guest: Guest, tmp_path: Path) -> None:
        shim(tmp_path / "bin", "visudo", script="cat > /dev/null", exit_code=1)
        wish = sudo_wish(System(guest.root, search_path=str(tmp_path / "bin")), "u", [RULE])
        assert RULE in wish.text

    def test_what_is_asked_reads_standard_input(self, guest: Guest, tmp_path: Path) -> None:
        logs: dict[str, Any] = {
            name: shim(tmp_path / "bin", name, script="cat > /dev/null") for name in ("visudo", "doas")
        }
        system = System(guest.root, search_path=str(tmp_path / "bin"))
        sudo_wish(system, "u", [RULE])
        doas_wish(system, "u", ["permit u"])
        assert logs["visudo"].read_text().split() == ["-c", "-f", "-", "--"]
        assert logs["doas"].read_text().split() == ["-C", "/dev/stdin", "--"]


def test_own_rules_in_a_foreign_root_start_no_program(guest: Guest, tmp_path: Path) -> None:
    logs = [shim(tmp_path / "bin", name, exit_code=1) for name in ("visudo", "doas")]
    system = System(guest.root, search_path=str(tmp_path / "bin"))
    sudo_wish(system, "u", [RULE], own=True)
    doas_wish(system, "u", ['permit "u"'], own=True)
    assert not any(log.exists() for log in logs)
