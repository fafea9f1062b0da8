"""SELinux labels: written where the files of a root bear them, kept where a table is replaced, absent elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from kit import Guest

from azurelite.system.accounts.users import NewUser
from azurelite.system.machine import System
from azurelite.system.selinux import relabel, uses_labels

NAME = "security.selinux"
AZURE = NewUser("azure", "/home/azure", "/bin/sh")


def label(path: Path) -> str:
    try:
        return os.getxattr(path, NAME, follow_symlinks=False).rstrip(b"\0").decode()
    except OSError:
        return ""


@pytest.fixture
def labelled(guest: Guest) -> Guest:
    """A root whose files bear labels, as an image's of a distribution with SELinux."""
    try:
        for name, kind in {"home": "home_root_t", "etc/passwd": "passwd_file_t", "etc/shadow": "shadow_t"}.items():
            os.setxattr(guest.path(name), NAME, f"system_u:object_r:{kind}:s0\0".encode())
    except OSError:
        pytest.skip("labels take root and a file system that has attributes")
    return guest


def test_a_new_home_is_labelled_as_homes_are(labelled: Guest) -> None:
    labelled.put({"etc/skel/.ssh/rc": "", "etc/skel/.config/rc": ""})
    System(labelled.root).accounts.create_user(AZURE)
    home = labelled.path("home/azure")
    kinds = {"": "user_home_dir_t", ".profile": "user_home_t", ".config": "user_home_t", ".config/rc": "user_home_t"}
    kinds |= {".ssh": "ssh_home_t", ".ssh/rc": "ssh_home_t"}
    assert {name: label(home / name) for name in kinds} == {
        name: f"unconfined_u:object_r:{kind}:s0" for name, kind in kinds.items()
    }


def test_tables_keep_their_labels(labelled: Guest) -> None:
    # With login.defs shadow-utils would be asked, and leave no label on a host without SELinux.
    labelled.put({"etc/login.defs": "UID_MIN 1000\n"})
    System(labelled.root).accounts.create_user(AZURE)
    assert label(labelled.path("etc/passwd")) == "system_u:object_r:passwd_file_t:s0"
    assert label(labelled.path("etc/shadow")) == "system_u:object_r:shadow_t:s0"
    assert label(labelled.path("etc/group")) == ""


def test_without_labels_none_are_written(guest: Guest) -> None:
    assert not uses_labels(System(guest.root).files)
    System(guest.root).accounts.create_user(AZURE)
    relabel(System(guest.root), "/home/azure")
    assert label(guest.path("home/azure")) == ""


def test_links_are_not_followed_and_absent_things_are_no_failure(labelled: Guest, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("")
    (tmp_path / "folder").mkdir()
    labelled.put({"home/azure/.ssh/authorized_keys": ""})
    labelled.path("home/azure/.ssh/out").symlink_to(tmp_path / "outside")
    labelled.path("home/azure/.ssh/folder").symlink_to(tmp_path / "folder")
    os.mkfifo(labelled.path("home/azure/.ssh/pipe"))
    system = System(labelled.root)
    relabel(system, "/home/azure/.ssh")
    relabel(system, "/home/nobody-here/.ssh")
    assert label(labelled.path("home/azure/.ssh/authorized_keys")).endswith("ssh_home_t:s0")
    assert [label(tmp_path / name) for name in ("outside", "folder")] == ["", ""]


def test_a_dry_run_labels_nothing(labelled: Guest) -> None:
    labelled.put({"home/azure/.ssh/x": ""})
    relabel(System(labelled.root, dry_run=True), "/home/azure")
    assert label(labelled.path("home/azure")) == ""


HOSTS = "system_u:object_r:net_conf_t:s0"
ETC = "system_u:object_r:etc_t:s0"


@pytest.fixture
def etc(labelled: Guest) -> Guest:
    """A root whose /etc has one label and whose /etc/hosts has another."""
    labelled.put({"etc/hosts": "127.0.0.1 localhost\n", "etc/bare": "x"})
    os.setxattr(labelled.path("etc"), NAME, f"{ETC}\0".encode())
    os.setxattr(labelled.path("etc/hosts"), NAME, f"{HOSTS}\0".encode())
    return labelled


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/etc/hosts", HOSTS),
        ("/etc/new", ETC),
        ("/etc/bare", ETC),
        ("/etc/new.d/inner", ETC),
        ("/opt/new", ""),
    ],
)
def test_a_written_file_has_the_label_of_its_predecessor_or_of_its_folder(etc: Guest, path: str, expected: str) -> None:
    files = System(etc.root).files
    files.mkdirs(os.path.dirname(path))
    for text in (b"one\n", b"two\n"):
        files.rewrite(path, text)
        assert label(etc.path(path)) == expected
    assert label(etc.path(os.path.dirname(path))) == (ETC if path.startswith("/etc") else "")


def test_a_link_in_place_of_the_file_lends_no_label(etc: Guest) -> None:
    etc.path("etc/link").symlink_to("/etc/hosts")
    files = System(etc.root).files
    files.put("/etc/link", b"", mode=0o600, owner=None, beneath="/etc/link")
    assert label(etc.path("etc/link")) == ETC
    assert label(etc.path("etc/hosts")) == HOSTS
