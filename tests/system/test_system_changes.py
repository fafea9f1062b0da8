"""The sentences that changes read as, in a log and after "would"."""

from __future__ import annotations

import pytest

from azurelite.system.changes import Change


@pytest.mark.parametrize(
    ("kind", "target", "detail", "text"),
    [
        ("group", "wheel", "create", "create group wheel"),
        ("user", "bob", "create, home /home/bob, shell /bin/sh", "create user bob (home /home/bob, shell /bin/sh)"),
        ("user", "bob", "add to group wheel", "add user bob to group wheel"),
        ("user", "bob", "set the password", "set the password (user bob)"),
        ("write", "/etc/hostname", "0644", "write /etc/hostname (0644)"),
        ("mkdir", "/srv", "0755", "create folder /srv (0755)"),
        ("mode", "/srv", "0755, owner root", "set mode and owner of /srv (0755, owner root)"),
        ("delete", "/etc/x", "", "delete /etc/x"),
        ("link", "/etc/localtime", "to ../zone", "link /etc/localtime to ../zone"),
        ("hostname", "web-1", "", "set kernel hostname to web-1"),
        ("service", "sshd", "reload", "reload service sshd"),
        ("disk", "/dev/sdb1", "format, ext4, 500 MiB", "format /dev/sdb1 (ext4, 500 MiB)"),
        ("disk", "/dev/sda1", "grow to 500 MiB", "grow /dev/sda1 to 500 MiB"),
        ("swap", "/swapfile", "enable", "enable swap file /swapfile"),
        ("package", "nginx", "install, by apt-get", "install nginx (by apt-get)"),
        ("address", "eth1", "10.0.0.5/24", "add address 10.0.0.5/24 to eth1"),
        ("something", "else", "", "something else"),
    ],
)
def test_a_change_reads_as_a_sentence(kind: str, target: str, detail: str, text: str) -> None:
    assert str(Change(kind, target, detail)) == text
