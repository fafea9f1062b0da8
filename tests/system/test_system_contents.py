"""What a change knows of the content of a file, what it keeps to itself, and the diff."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from kit import Guest

from azurelite.errors import FileError
from azurelite.system.accounts.users import Owner
from azurelite.system.changes import Change
from azurelite.system.contents import LIMIT
from azurelite.system.machine import System

OLD, NEW = b"canary-old\n", b"canary-new\n"
Work = Callable[[Any], object]


def changes(guest: Guest, work: Work, *, dry_run: bool, wanted: bool = True) -> tuple[Change, ...]:
    system = System(guest.root, dry_run=dry_run)
    system.journal.keeps_contents = wanted
    work(system.files)
    return system.journal.since(0)


def contents(found: tuple[Change, ...]) -> list[tuple[Optional[bytes], Optional[bytes]]]:
    return [(change.before, change.after) for change in found]


def write(path: str = "/etc/a", data: bytes = NEW, mode: int = 0o644, **more: Any) -> Work:
    return lambda files: files.write(path, data, mode=mode, **more)


def in_turn(*works: Work) -> Work:
    def all_of_them(files: Any) -> None:
        for work in works:
            work(files)

    return all_of_them


def all_secret(work: Work) -> Work:
    def inside(files: Any) -> None:
        with files.all_secret():
            work(files)

    return inside


HIDDEN = (None, None)
CASES: dict[str, tuple[dict[str, tuple[str, int]], Work, list[tuple[Optional[bytes], Optional[bytes]]]]] = {
    "a new file": ({}, write(), [(None, NEW)]),
    "another content": ({"etc/a": ("canary-old\n", 0o644)}, write(), [(OLD, NEW)]),
    "another mode": ({"etc/a": ("canary-new\n", 0o664)}, write(), [(NEW, NEW)]),
    "an empty file": ({}, write(data=b""), [(None, b"")]),
    "deleted": ({"etc/a": ("canary-old\n", 0o644)}, lambda files: files.delete("/etc/a"), [(OLD, None)]),
    "rewritten": ({"etc/a": ("canary-old\n", 0o644)}, lambda files: files.rewrite("/etc/a", NEW), [(OLD, NEW)]),
    "twice": ({"etc/a": ("canary-old\n", 0o644)}, in_turn(write(), write(data=b"x")), [(OLD, NEW), (NEW, b"x")]),
    "in a new folder": (
        {}, in_turn(lambda files: files.mkdirs("/etc/b/c"), write("/etc/b/c/a")), [HIDDEN, HIDDEN, (None, NEW)]
    ),
    "a new private file": ({}, write(mode=0o600), [HIDDEN]),
    "a file for a group": ({}, write(mode=0o640), [HIDDEN]),
    "a file that was private": ({"etc/a": ("canary-old\n", 0o600)}, write(), [HIDDEN]),
    "a file that becomes private": ({"etc/a": ("canary-old\n", 0o644)}, write(mode=0o600), [HIDDEN]),
    "a private file deleted": ({"etc/a": ("canary-old\n", 0o600)}, lambda files: files.delete("/etc/a"), [HIDDEN]),
    "private, then public": ({}, in_turn(write(mode=0o600), write(data=b"x")), [HIDDEN, HIDDEN]),
    "in a private folder": ({"srv/p/a": ("canary-old\n", 0o644), "srv/p": ("", 0o700)}, write("/srv/p/a"), [HIDDEN]),
    "in a new private folder": (
        {}, in_turn(lambda files: files.mkdir("/srv", mode=0o700), write("/srv/a")), [HIDDEN, HIDDEN]
    ),
    "a secret": ({}, write(secret=True), [HIDDEN]),
    "a secret, then an edit of it": ({}, in_turn(write(secret=True), write(data=NEW + b"x")), [HIDDEN, HIDDEN]),
    "all secret": ({"etc/a": ("canary-old\n", 0o644)}, all_secret(write()), [HIDDEN]),
    "all secret, then deleted": (
        {"etc/a": ("canary-old\n", 0o644)},
        in_turn(all_secret(write()), lambda files: files.delete("/etc/a")),
        [HIDDEN, HIDDEN],
    ),
    "shadow, wrongly public": ({"etc/shadow": ("canary-old\n", 0o644)}, write("/etc/shadow"), [HIDDEN]),
    "gshadow, wrongly public": ({"etc/gshadow": ("canary-old\n", 0o644)}, write("/etc/gshadow"), [HIDDEN]),
    "a host key, wrongly public": ({}, write("/etc/ssh_host_rsa_key"), [HIDDEN]),
    "a public host key": ({}, write("/etc/ssh_host_rsa_key.pub"), [HIDDEN]),
    "a private key": ({}, write(data=b"-----BEGIN EC PRIVATE KEY-----\n"), [HIDDEN]),
    "a password in fstab": ({}, write(data=b"//nas/x /x cifs username=bob,password=canary 0 0\n"), [HIDDEN]),
    "a password in YAML": ({}, write(data=b'"Password" : canary\n'), [HIDDEN]),
    "a password's hash": ({}, write(data=b"bob:$6$canary$canary\n"), [HIDDEN]),
    "a password in a URL": ({}, write(data=b"proxy http://bob:canary@proxy:3128/\n"), [HIDDEN]),
    "an sshd option": ({}, write(data=b"PasswordAuthentication no\n"), [(None, b"PasswordAuthentication no\n")]),
    "as large as is kept": ({}, write(data=b"x" * LIMIT), [(None, b"x" * LIMIT)]),
    "too large": ({}, write(data=b"x" * (LIMIT + 1)), [HIDDEN]),
    "a large file before": ({"etc/a": ("x" * (LIMIT + 1), 0o644)}, write(), [HIDDEN]),
    "a folder": ({}, lambda files: files.mkdir("/etc/b", mode=0o755), [HIDDEN]),
    "a link": ({}, lambda files: files.link("/etc/b", "a"), [HIDDEN]),
    "renamed": ({"etc/a": ("x", 0o644)}, lambda files: files.rename("/etc/a", "b", beneath="/etc"), [HIDDEN]),
}  # fmt: skip


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_a_change_knows_the_content_unless_it_may_be_secret(guest: Guest, case: str, dry_run: bool) -> None:
    there, work, expected = CASES[case]
    for name, (text, mode) in there.items():
        if text:
            guest.put({name: text})
        guest.path(name).chmod(mode)
    before = guest.snapshot()
    found = changes(guest, work, dry_run=dry_run)
    assert contents(found) == expected
    assert "canary" not in repr(found) + str([str(change) for change in found]) + str([one.as_dict() for one in found])
    assert (guest.snapshot() == before) == dry_run


@pytest.mark.parametrize("dry_run", [True, False])
def test_without_a_listener_nothing_is_kept_or_read(guest: Guest, dry_run: bool) -> None:
    guest.put({"etc/a": "canary-old\n"})
    found = changes(guest, in_turn(write(), lambda files: files.delete("/etc/hostname")), dry_run=dry_run, wanted=False)
    assert contents(found) == [HIDDEN, HIDDEN]


def test_the_target_of_a_link_is_what_counts(guest: Guest) -> None:
    guest.put({"srv/p/a": "canary-old\n"}).path("srv/p").chmod(0o700)
    guest.path("etc/a").symlink_to("/srv/p/a")
    assert contents(changes(guest, write(), dry_run=True)) == [HIDDEN]
    assert contents(changes(guest, lambda files: files.delete("/etc/a"), dry_run=True)) == [HIDDEN]


def test_what_cannot_be_read_is_not_shown_and_fails_as_before(guest: Guest) -> None:
    guest.path("etc/a").mkdir()
    for wanted in (True, False):
        with pytest.raises(FileError, match="/etc/a is a folder"):
            changes(guest, lambda files: files.delete("/etc/a"), dry_run=True, wanted=wanted)
        with pytest.raises(FileError, match="/etc/a is not a regular file"):
            changes(guest, write(), dry_run=True, wanted=wanted)


def test_contents_do_not_count_when_changes_are_compared() -> None:
    known, unknown = Change("write", "/etc/a", "0644", OLD, NEW), Change("write", "/etc/a", "0644")
    assert (known, hash(known)) == (unknown, hash(unknown))
    assert known != Change("write", "/etc/b", "0644", OLD, NEW)
    assert known != "write /etc/a (0644)"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (b"a\nb\n", b"a\nc\n", "--- /etc/x\n+++ /etc/x\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"),
        (None, b"a\n", "--- /dev/null\n+++ /etc/x\n@@ -0,0 +1 @@\n+a\n"),
        (b"a\n", None, "--- /etc/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n"),
        (
            b"a",
            b"a\n",
            "--- /etc/x\n+++ /etc/x\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n",
        ),
        ("ä\xa0\tö\n".encode(), b"", "--- /etc/x\n+++ /etc/x\n@@ -1 +0,0 @@\n-ä\xa0\tö\n"),
        (None, None, ""),
        (None, b"", ""),
        (b"a\n", b"a\n", ""),
        (b"a\n", b"\xff\n", ""),
        (b"a\n", b"\0\n", ""),
        (b"a\n", b"\x1b]0;title\x07\n", ""),
        (b"a\n", "\u202egnp.exe\n".encode(), ""),
        (b"a\n", b"a\rb\n", ""),
    ],
)
def test_the_diff(before: Optional[bytes], after: Optional[bytes], expected: str) -> None:
    assert Change("write", "/etc/x", "0644", before, after).diff() == expected


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git: install git")
@pytest.mark.spawns
@pytest.mark.parametrize("ends", [("\n", "\n"), ("", "\n"), ("\n", ""), ("", "")])
def test_patch_makes_the_new_file_of_the_diff(tmp_path: Path, ends: tuple[str, str]) -> None:
    before, after = "1\n2\n3\n4\n5\n6\n7\n8" + ends[0], "1\n2\n3\n4\n5\n6\nsieben\n8" + ends[1]
    there = tmp_path / "x"
    there.write_text(before)
    text = Change("write", "/x", "0644", before.encode(), after.encode()).diff()
    subprocess.run(["git", "apply", "-p1"], cwd=tmp_path, input=text, text=True, check=True, timeout=30)
    assert there.read_text() == after


def test_the_owner_does_not_matter(guest: Guest) -> None:
    """A file of a user in a home that all users may enter is shown as any other."""
    guest.path("home/bob").mkdir(mode=0o755)
    found = changes(guest, write("/home/bob/a", owner=Owner("bob", 1000, 1000), beneath="/home/bob"), dry_run=True)
    assert contents(found) == [(None, NEW)]
