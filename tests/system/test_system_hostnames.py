"""Where systems keep their own name, and the line in /etc/hosts."""

from __future__ import annotations

import os
from typing import Any, Optional

import pytest
from kit import Guest

from azurelite.system.machine import System
from azurelite.system.network.hostnames import hosts_with, static_name, write_name

UCI = (
    "config system\n\toption hostname 'OpenWrt'\n\toption ttylogin '0'\n\nconfig timeserver 'ntp'\n\tlist server 'a'\n"
)

# What is there → what is there afterwards; None: no such file.
PLACES: dict[str, tuple[dict[str, str], dict[str, Optional[str]]]] = {
    "only /etc/hostname": ({}, {"etc/hostname": "new\n"}),
    "OpenRC": (
        {"etc/conf.d/hostname": '# name\nhostname="old"\n'},
        {"etc/hostname": "new\n", "etc/conf.d/hostname": '# name\nhostname="new"\n'},
    ),
    "RHEL 6": (
        {"etc/sysconfig/network": "NETWORKING=yes\nHOSTNAME=old.example\nGATEWAY=10.0.0.1\n"},
        {"etc/sysconfig/network": "NETWORKING=yes\nHOSTNAME=new\nGATEWAY=10.0.0.1\n"},
    ),
    "RHEL 6 without a name": (
        {"etc/sysconfig/network": "NETWORKING=yes", "etc/rc.d/rc.sysinit": ""},
        {"etc/sysconfig/network": "NETWORKING=yes\nHOSTNAME=new\n"},
    ),
    "RHEL 9": ({"etc/sysconfig/network": "# by anaconda\n"}, {"etc/sysconfig/network": "# by anaconda\n"}),
    "SUSE 11": ({"etc/HOSTNAME": "old.example\n"}, {"etc/HOSTNAME": "new\n"}),
    "FreeBSD": (
        {"etc/rc.conf": 'sshd_enable="YES"\nhostname="old"\n', "etc/defaults/rc.conf": ""},
        {"etc/rc.conf": 'sshd_enable="YES"\nhostname="new"\n', "etc/hostname": None},
    ),
    "FreeBSD without a name": (
        {"etc/rc.conf": 'sshd_enable="YES"\n', "etc/defaults/rc.conf": ""},
        {"etc/rc.conf": 'sshd_enable="YES"\nhostname="new"\n'},
    ),
    "OpenRC's rc.conf is another file": (
        {"etc/rc.conf": 'rc_parallel="NO"\n'},
        {"etc/rc.conf": 'rc_parallel="NO"\n', "etc/hostname": "new\n"},
    ),
    "OpenBSD": ({"etc/myname": "old.example\n"}, {"etc/myname": "new\n", "etc/hostname": None}),
    "OpenWrt": (
        {"etc/config/system": UCI},
        {"etc/config/system": UCI.replace("OpenWrt", "new")},
    ),
    "OpenWrt without a name": (
        {"etc/config/system": "config system\n"},
        {"etc/config/system": "config system\n\toption hostname 'new'\n"},
    ),
}


@pytest.mark.parametrize("case", sorted(PLACES))
def test_the_name_goes_where_this_system_keeps_it(guest: Guest, case: str) -> None:
    before, after = PLACES[case]
    guest.path("etc/hostname").unlink()
    guest.put(before)
    for name in before:
        guest.path(name).chmod(0o640)
    write_name(System(guest.root).files, "new")
    for name, text in after.items():
        path = guest.path(name)
        assert (path.read_text() if path.exists() else None) == text, name
    assert all(guest.mode(name) == 0o640 for name in before)
    again = System(guest.root)
    write_name(again.files, "new")
    assert again.journal.since(0) == ()
    if "etc/sysconfig/network" not in before and "etc/config/system" not in before:
        assert static_name(again.files) == "new"


def test_a_link_to_etc_hostname_is_left_alone(guest: Guest) -> None:
    guest.path("etc/HOSTNAME").symlink_to("hostname")
    for dry_run in (True, False):
        system = System(guest.root, dry_run=dry_run)
        write_name(system.files, "new")
        assert [change.target for change in system.journal.since(0)] == ["/etc/hostname"]
    assert os.readlink(guest.path("etc/HOSTNAME")) == "hostname"
    assert guest.text("etc/HOSTNAME") == "new\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("vm\n", "vm"), ("# by hand\n\nvm", "vm"), ("", None), ("localhost\n", None), ("(none)\n", None)],
)
def test_the_name_after_the_next_boot(guest: Guest, text: str, expected: Optional[str]) -> None:
    guest.put({"etc/hostname": text})
    assert static_name(System(guest.root).files) == expected


LOCAL = "127.0.0.1\tlocalhost # the loopback\n::1 localhost ip6-localhost\n"


@pytest.mark.parametrize(
    ("text", "name", "options", "expected"),
    [
        ("", "vm", {}, "127.0.1.1\tvm\n"),
        ("# empty\n", "vm", {}, "127.0.1.1\tvm\n# empty\n"),
        (LOCAL, "vm", {}, LOCAL.replace("::1", "127.0.1.1\tvm\n::1")),
        (LOCAL, "vm", {"fqdn": "vm.corp"}, LOCAL.replace("::1", "127.0.1.1\tvm.corp vm\n::1")),
        ("", "vm.corp", {"fqdn": "vm.corp"}, "127.0.1.1\tvm.corp vm\n"),
        ("10.0.0.4 vm.corp vm\n", "vm", {}, None),
        ("10.0.0.4 VM\n", "vm", {}, None),
        ("10.0.0.4 vm2 avm vm.corp # vm\n", "vm", {}, "127.0.1.1\tvm\n10.0.0.4 vm2 avm vm.corp # vm\n"),
        ("127.0.1.1 image\n", "vm", {"old": "image"}, "127.0.1.1\tvm\n"),
        ("127.0.1.1 image.corp image db\n", "vm", {"old": "image"}, "127.0.1.1\tdb\n127.0.1.1\tvm\n"),
        ("127.0.1.1 other\n", "vm", {"old": "image"}, "127.0.1.1 other\n127.0.1.1\tvm\n"),
        ("127.0.1.1 localhost image\n", "vm", {"old": "image"}, "127.0.1.1\tlocalhost\n127.0.1.1\tvm\n"),
        ("10.0.0.9 image\n", "vm", {"old": "image"}, "127.0.1.1\tvm\n10.0.0.9 image\n"),
        (
            "127.0.0.1 localhost image\n::1 ip6-localhost image.corp image\n",
            "vm",
            {"old": "image"},
            "127.0.0.1\tlocalhost\n127.0.1.1\tvm\n::1\tip6-localhost\n",
        ),
        ("127.0.0.1 IMAGE.corp vm # ours\n", "vm", {"old": "image"}, "127.0.0.1\tvm # ours\n"),
        ("127.0.0.1 vm\n127.0.1.1 image\n", "vm", {"old": "image"}, "127.0.0.1 vm\n"),
        ("127.0.1.1 vm.old vm\n", "vm", {"old": "vm.old"}, "127.0.1.1\tvm\n"),
        ("127.0.1.1 vm.corp vm\n", "vm", {"old": "vm.old", "fqdn": "vm.corp"}, None),
        ("127.0.0.1 imager image-2\n", "vm", {"old": "image"}, "127.0.0.1 imager image-2\n127.0.1.1\tvm\n"),
    ],
)
def test_the_line_in_etc_hosts(text: str, name: str, options: dict[str, Any], expected: Optional[str]) -> None:
    wanted = {"fqdn": name, "old": None, **options}
    once = hosts_with(text, name, **wanted)
    assert once == (text if expected is None else expected)
    assert hosts_with(once, name, **wanted) == once
