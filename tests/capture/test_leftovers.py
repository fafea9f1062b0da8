"""What a machine leaves, by group: found, removed, and not found again; everything else stays."""

from __future__ import annotations

import os
from typing import Optional

import pytest
from kit import BASE, Guest

from azurelite.capture.erase import empty_file, erase, erase_content
from azurelite.capture.generalize import generalize
from azurelite.capture.leftovers import GROUPS, leftovers
from azurelite.errors import FileError
from azurelite.system.machine import System

SYSTEMD = {"usr/lib/systemd/systemd": ""}
LEFT: dict[str, dict[str, str]] = {
    "host-keys": {
        "etc/ssh/ssh_host_ed25519_key": "x",
        "etc/ssh/ssh_host_ed25519_key.pub": "x",
        "etc/ssh/ssh_host_ed25519_key-cert.pub": "x",
        "etc/dropbear/dropbear_rsa_host_key": "x",
    },
    "machine-id": {"etc/machine-id": "0123456789abcdef0123456789abcdef\n", "var/lib/dbus/machine-id": "0123\n"},
    "leases": {
        "var/lib/dhcp/dhclient.eth0.leases": "x",
        "var/lib/NetworkManager/internal-1-eth0.lease": "x",
        "var/lib/dhcpcd/eth0.lease": "x",
        "var/lib/dhcpcd/duid": "x",
    },
    "logs": {"var/log/old/messages.1": "x", "var/log/journal/ID/system.journal": "x", "var/log/azurelite.log": "x"},
    "histories": {"root/.bash_history": "x", "home/carol/.local/share/fish/fish_history": "x"},
    "random-seed": {"var/lib/systemd/random-seed": "x", "var/lib/seedrng/seed.credit": "x"},
    "package-caches": {"var/cache/apt/archives/a.deb": "x", "var/cache/dnf/repo/packages/a.rpm": "x"},
    "agent-traces": {
        "var/lib/waagent/provisioned": "x",
        "var/lib/cloud/instance/user-data.txt": "x",
        "var/log/waagent.log": "x",
        "var/log/cloud-init-output.log": "x",
        "etc/sudoers.d/waagent": "x",
    },
}
KEPT = {
    "etc/passwd": BASE["etc/passwd"] + "carol:x:1800:1800::/home/carol:/bin/sh\nodd:x:1801:1801::/:/bin/sh\n",
    "etc/ssh/sshd_config": "x",
    "etc/ssh/ssh_known_hosts": "x",
    "etc/waagent.conf": "x",
    "var/lib/dhcp/dhcpd.leases": "x",
    "var/lib/cloud/seed/nocloud/meta-data": "x",
    "var/cache/apt/archives/lock": "",
    "var/cache/fontconfig/a": "x",
    "var/log/README": "x",
    "home/carol/.bashrc": "x",
    ".bash_history": "not in a home",
    **SYSTEMD,
}


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_is_found_removed_and_not_found_again(guest: Guest, group: str) -> None:
    guest.put({**BASE, **KEPT}).put(LEFT[group])
    system = System(guest.root)
    assert leftovers(system, group) != []
    others = [other for other in GROUPS if other != group and leftovers(system, other)]
    assert [other for other in others if not (group == "agent-traces" and other == "logs")] == []
    assert generalize(system, options={group}, act=True).exit_code == 0
    assert leftovers(system, group) == []
    gone = {name for name in LEFT[group] if not guest.path(name).exists()}
    assert gone == LEFT[group].keys() - ({"etc/machine-id"} if group == "machine-id" else set())
    for name, text in KEPT.items():
        assert guest.text(name) == text, name
    again = generalize(system, options={group}, act=True)
    assert (again.items, again.exit_code) == ((), 0)


@pytest.mark.parametrize(
    ("files", "text", "after"),
    [
        (SYSTEMD, "0123456789abcdef0123456789abcdef\n", ""),
        (SYSTEMD, "uninitialized\n", "uninitialized\n"),
        (SYSTEMD, "", ""),
        ({}, "0123456789abcdef0123456789abcdef\n", None),
        ({}, "", None),
    ],
)
def test_a_machine_id_is_emptied_where_systemd_makes_it(
    guest: Guest, files: dict[str, str], text: str, after: Optional[str]
) -> None:
    guest.put({**BASE, **files, "etc/machine-id": text})
    generalize(System(guest.root), options={"machine-id"}, act=True)
    assert (guest.text("etc/machine-id") if guest.path("etc/machine-id").exists() else None) == after


def test_a_good_root_has_no_leftovers(guest: Guest) -> None:
    guest.put({**BASE, **KEPT})
    assert [group for group in GROUPS if leftovers(System(guest.root), group)] == []


def test_a_log_in_use_keeps_its_file(guest: Guest) -> None:
    guest.put({**BASE, "var/log/messages": "words\n"})
    guest.path("var/log/messages").chmod(0o640)
    before = guest.path("var/log/messages").stat().st_ino
    generalize(System(guest.root), options={"logs"}, act=True)
    found = guest.path("var/log/messages").stat()
    assert (found.st_ino, found.st_size, found.st_mode & 0o777) == (before, 0, 0o640)


@pytest.mark.parametrize(
    ("options", "config", "said"),
    [
        ({"host-keys"}, "handlers: [user]\n", True),
        ({"host-keys"}, "handlers: [\n", True),
        ({"host-keys"}, "handlers: [ssh_host_keys]\n", False),
        ({"logs"}, "handlers: [user]\n", False),
    ],
)
def test_who_removes_host_keys_hears_who_makes_new_ones(
    guest: Guest, options: set[str], config: str, said: bool
) -> None:
    guest.put({**BASE, **LEFT["host-keys"], "etc/azurelite/azurelite.yaml": config})
    notes = generalize(System(guest.root), options=options, act=False).notes
    assert any("does not list `ssh_host_keys`" in note for note in notes) == said


def test_folders_nested_too_deep_are_named(guest: Guest) -> None:
    top = guest.path("home/carol")
    top.mkdir(parents=True)
    here = os.open(top, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    with pytest.raises(FileError, match="too many folders in folders"):
        erase(System(guest.root).root, "/home/carol")


def test_erasing_what_is_not_there_is_fine(guest: Guest) -> None:
    root = System(guest.root).root
    erase(root, "/nowhere/file")
    erase_content(root, "/nowhere")


def test_logs_behind_roots_own_link_are_found_and_cleared(guest: Guest) -> None:
    guest.put({"mnt/log/app/messages": "x", "mnt/log/app/messages.1": "x", "var/.keep": ""})
    guest.path("var/log").symlink_to("/mnt/log")
    generalize(System(guest.root), options={"logs"}, act=True)
    assert guest.text("mnt/log/app/messages") == ""
    assert not guest.path("mnt/log/app/messages.1").exists()


def test_a_log_folder_that_becomes_a_link_leads_nowhere(guest: Guest) -> None:
    guest.put({"etc/app/passwd": "root\n", "var/log/.keep": ""})
    guest.path("var/log/app").symlink_to("/etc/app")
    with pytest.raises(FileError):
        empty_file(System(guest.root).root, "/var/log/app/passwd")
    assert guest.text("etc/app/passwd") == "root\n"
