"""What is installed in a guest, and its files as text."""

from __future__ import annotations

import os

import pytest
from kit import Guest

from azurelite.system.machine import System
from azurelite.system.root import Root

FOLDERS = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin")


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_program_in_a_usual_folder_is_installed(guest: Guest, folder: str) -> None:
    system = System(guest.root, search_path="/nowhere")
    guest.put({f"{folder}/chronyd": ""})
    assert not system.installed("chronyd")
    guest.path(f"{folder}/chronyd").chmod(0o755)
    assert system.installed("chronyd")
    assert system.installed("ntpd", "chronyd")
    assert system.program("chronyd") == f"/{folder}/chronyd"


def test_a_program_elsewhere_is_installed_by_its_path_only(guest: Guest) -> None:
    guest.put({"opt/x/sudo": ""}).path("opt/x/sudo").chmod(0o755)
    assert not System(guest.root).installed("sudo")
    assert System(guest.root).installed("sudo", "/opt/x/sudo")


def test_this_machines_own_programs_are_none_of_a_foreign_roots(guest: Guest) -> None:
    assert System("/").installed("sh")
    assert not System(guest.root).installed("sh")


def test_a_text_is_read_whatever_is_there(guest: Guest) -> None:
    root = Root(guest.root)
    guest.put({"etc/odd": "", "etc/folder/x": ""}).path("etc/odd").write_bytes(b"a\xff\n")
    os.symlink("loop", guest.path("etc/loop"))
    assert root.text("/etc/odd") == "a\ufffd\n"
    assert root.text("/etc/odd", limit=1) == "a"
    assert [root.text(path) for path in ("/etc/missing", "/etc/folder", "/etc/loop", "/etc/odd/x")] == [""] * 4


def test_bytes_that_are_not_utf_8_survive_being_rewritten(guest: Guest) -> None:
    files = System(guest.root).files
    data = b"a\xff\x85\n\x0cb\n"
    guest.put({"etc/odd": ""}).path("etc/odd").write_bytes(data)
    text = files.text("/etc/odd")
    assert text is not None
    assert files.lines("/etc/odd") == text.split("\n")[:-1]
    assert not files.rewrite_text("/etc/odd", text)
    assert files.rewrite_text("/etc/odd", text + "c\n")
    assert guest.path("etc/odd").read_bytes() == data + b"c\n"
    assert files.text("/etc/missing") is None
    assert files.lines("/etc/missing") == []
