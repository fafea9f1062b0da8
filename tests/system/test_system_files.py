"""Files of a guest: whole or not at all, with the right rights, nothing left behind, untouched by a dry run."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path
from typing import Callable, Iterator, Optional

import pytest
from kit import Guest

from azurelite.errors import FileError
from azurelite.system.accounts.homes import expect_home
from azurelite.system.accounts.users import Owner
from azurelite.system.changes import Change, Journal
from azurelite.system.files import Files
from azurelite.system.machine import System
from azurelite.system.root import Root

SOMEBODY = Owner("somebody", 1234, 4321)


def owned_by(uid: int, gid: int) -> tuple[int, int]:
    """Who a file must belong to: an ordinary user cannot give files away."""
    return (uid, gid) if os.geteuid() == 0 else (os.geteuid(), os.getegid())


def ids(path: Path) -> tuple[int, int]:
    return path.lstat().st_uid, path.lstat().st_gid


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file can grow beyond that: a write then fails half-way, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o440, 0o755])
def test_a_file_has_exactly_the_mode_and_owner_asked_for(guest: Guest, mask: int, mode: int) -> None:
    with umask(mask):
        assert System(guest.root).files.write("/etc/new", b"text\n", mode=mode, owner=SOMEBODY)
    assert guest.path("etc/new").read_bytes() == b"text\n"
    assert guest.mode("etc/new") == mode
    assert ids(guest.path("etc/new")) == owned_by(1234, 4321)


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_a_folder_has_exactly_the_mode_and_owner_asked_for(guest: Guest, mask: int) -> None:
    with umask(mask):
        assert System(guest.root).files.mkdir("/etc/new.d", mode=0o750, owner=SOMEBODY)
    assert guest.mode("etc/new.d") == 0o750
    assert ids(guest.path("etc/new.d")) == owned_by(1234, 4321)


def test_a_process_without_the_right_gives_nothing_away(guest: Guest) -> None:
    files = Files(Root(guest.root), Journal(), dry_run=False, privileged=False)
    assert files.write("/etc/new", b"x", mode=0o600, owner=SOMEBODY)
    assert ids(guest.path("etc/new")) == (os.geteuid(), os.getegid())
    assert not files.write("/etc/new", b"x", mode=0o600, owner=SOMEBODY)


@pytest.mark.parametrize(
    ("before", "mode"),
    [("same\n", 0o640), ("other\n", 0o644), ("same", 0o644), ("same\nand more\n", 0o644), ("", 0o644)],
)
def test_a_different_content_or_mode_is_a_change_and_then_no_more(guest: Guest, before: str, mode: int) -> None:
    guest.put({"etc/f": before}).path("etc/f").chmod(mode)
    for expected in (True, False, False):
        system = System(guest.root)
        owner = Owner("me", os.geteuid(), os.getegid())
        assert system.files.write("/etc/f", b"same\n", mode=0o644, owner=owner) is expected
        assert len(system.journal) == expected
    assert (guest.text("etc/f"), guest.mode("etc/f")) == ("same\n", 0o644)


def test_a_different_owner_is_a_change_where_it_can_be_made(guest: Guest) -> None:
    guest.put({"etc/f": "x"}).path("etc/f").chmod(0o644)
    me = Owner("me", os.geteuid(), os.getegid())
    assert not System(guest.root).files.write("/etc/f", b"x", mode=0o644, owner=me)
    assert System(guest.root).files.write("/etc/f", b"x", mode=0o644, owner=SOMEBODY) is (os.geteuid() == 0)
    assert ids(guest.path("etc/f")) == owned_by(1234, 4321)


def test_a_second_write_of_the_same_does_not_touch_the_file(guest: Guest) -> None:
    files = System(guest.root).files
    files.write("/etc/f", b"x", mode=0o644)
    before = guest.path("etc/f").stat()
    files.write("/etc/f", b"x", mode=0o644)
    after = guest.path("etc/f").stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


def test_a_reader_of_the_old_file_keeps_the_old_content(guest: Guest) -> None:
    guest.put({"etc/f": "old"})
    os.link(guest.path("etc/f"), guest.path("etc/second-name"))
    with guest.path("etc/f").open() as reader:
        System(guest.root).files.write("/etc/f", b"new content", mode=0o644)
        assert reader.read() == "old"
    assert guest.text("etc/f") == "new content"
    assert guest.text("etc/second-name") == "old"


@pytest.mark.parametrize("data", [b"", b"\0\xff\n", b"x" * 300_000])
def test_any_bytes_come_out_as_they_went_in(guest: Guest, data: bytes) -> None:
    files = System(guest.root).files
    files.write("/etc/f", data, mode=0o644)
    assert files.read("/etc/f") == data
    assert guest.path("etc/f").read_bytes() == data


def test_a_link_of_the_guests_own_is_written_through(guest: Guest) -> None:
    guest.put({"run/real": "old"}).path("etc/f").symlink_to("/run/real")
    System(guest.root).files.write("/etc/f", b"new", mode=0o644)
    assert guest.text("run/real") == "new"
    assert guest.path("etc/f").is_symlink()


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/none/f", "No such file or directory"),
        ("/etc/passwd/f", "Not a directory"),
        ("/etc/skel", "not a regular file"),
        ("/loop/f", "symbolic links"),
        ("/loop", "symbolic links"),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_write_that_cannot_be_says_why_and_leaves_nothing(guest: Guest, path: str, why: str, dry_run: bool) -> None:
    guest.path("loop").symlink_to("loop")
    before = guest.snapshot()
    with pytest.raises(FileError, match=why) as caught:
        System(guest.root, dry_run=dry_run).files.write(path, b"x", mode=0o644)
    assert path in caught.value.message
    assert guest.root not in caught.value.message
    assert guest.snapshot() == before


def test_a_folder_in_the_place_of_the_file_is_kept(guest: Guest) -> None:
    before = guest.snapshot()
    with pytest.raises(FileError, match="cannot write /etc/skel"):
        System(guest.root).files.put("/etc/skel", b"x", mode=0o644, owner=None)
    assert guest.snapshot() == before


def test_a_write_that_fails_half_way_keeps_the_old_file_and_leaves_no_temporary(guest: Guest) -> None:
    guest.put({"etc/f": "old"})
    before = guest.snapshot()
    with files_end_at(1000), pytest.raises(FileError, match="cannot write /etc/f: File too large"):
        System(guest.root).files.write("/etc/f", b"x" * 5000, mode=0o644)
    assert guest.snapshot() == before


def test_a_folder_that_is_write_protected_stops_all_but_root_with_a_hint(guest: Guest) -> None:
    guest.path("etc/skel").chmod(0o555)
    try:
        if os.geteuid() == 0:
            assert System(guest.root).files.write("/etc/skel/f", b"x", mode=0o644)
        else:
            with pytest.raises(FileError, match="cannot write /etc/skel/f: Permission denied: run as root"):
                System(guest.root).files.write("/etc/skel/f", b"x", mode=0o644)
    finally:
        guest.path("etc/skel").chmod(0o755)


class TestLeftovers:
    """What a crash left under the temporary name."""

    TEMPORARY = "etc/.f.azurelite"

    def test_a_torn_file_is_replaced(self, guest: Guest) -> None:
        guest.put({self.TEMPORARY: "torn, with much more in it than the new one"})
        guest.path(self.TEMPORARY).chmod(0o444)
        System(guest.root).files.write("/etc/f", b"whole", mode=0o600)
        assert (guest.text("etc/f"), guest.mode("etc/f")) == ("whole", 0o600)
        assert not guest.path(self.TEMPORARY).exists()

    def test_a_planted_link_is_removed_and_its_target_untouched(self, guest: Guest, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.write_text("kept")
        guest.path(self.TEMPORARY).symlink_to(outside)
        System(guest.root).files.write("/etc/f", b"whole", mode=0o644)
        assert outside.read_text() == "kept"
        assert not guest.path("etc/f").is_symlink()

    def test_a_folder_is_an_error_that_is_told(self, guest: Guest) -> None:
        guest.path(self.TEMPORARY).mkdir()
        with pytest.raises(FileError, match="cannot write /etc/f"):
            System(guest.root).files.write("/etc/f", b"whole", mode=0o644)
        assert not guest.path("etc/f").exists()


@pytest.mark.parametrize(
    "act",
    [
        lambda files, path, home: files.write(path, b"x", mode=0o600, beneath=home),
        lambda files, path, home: files.read(path, beneath=home),
    ],
    ids=["write", "read"],
)
@pytest.mark.parametrize(
    ("links", "path"),
    [
        ({"home/u/.ssh/f": "/target/f"}, "/home/u/.ssh/f"),
        ({"home/u/.ssh/f": "../../../target/f"}, "/home/u/.ssh/f"),
        ({"home/u/.ssh/f": "/target/none-yet"}, "/home/u/.ssh/f"),
        ({"home/u/.cfg": "/target"}, "/home/u/.cfg/f"),
        ({"home/v": "/target"}, "/home/v/f"),
    ],
)
def test_links_beneath_a_home_are_refused_and_their_target_untouched(
    guest: Guest, links: dict[str, str], path: str, act: Callable[[Files, str, str], object]
) -> None:
    guest.put({"target/f": "kept", "home/u/.ssh/other": ""})
    for name, target in links.items():
        guest.path(name).symlink_to(target)
    files = System(guest.root).files
    home = "/".join(path.split("/")[:3])
    before = guest.snapshot()
    with pytest.raises(FileError, match=r"symbolic link"):
        act(files, path, home)
    assert guest.snapshot() == before


def test_a_link_planted_in_the_last_moment_is_replaced_and_not_followed(guest: Guest) -> None:
    guest.put({"target/f": "kept", "home/u/.ssh/other": ""}).path("home/u/.ssh/f").symlink_to("/target/f")
    System(guest.root).files.put("/home/u/.ssh/f", b"x", mode=0o600, owner=None, beneath="/home/u")
    assert guest.text("target/f") == "kept"
    assert not guest.path("home/u/.ssh/f").is_symlink()


@pytest.mark.parametrize("links", [{"home/u": "/target"}, {"home/u/.ssh": "/target"}])
def test_a_folder_planted_as_a_link_in_the_last_moment_is_refused(guest: Guest, links: dict[str, str]) -> None:
    guest.put({"target/.ssh/f": "kept", "target/f": "kept"})
    for name, target in links.items():
        guest.path(name).parent.mkdir(exist_ok=True)
        guest.path(name).symlink_to(target)
    before = guest.snapshot()
    with pytest.raises(FileError, match=r"symbolic link"):
        System(guest.root).files.put("/home/u/.ssh/f", b"x", mode=0o600, owner=None, beneath="/home/u")
    assert guest.snapshot() == before


@pytest.mark.parametrize("dry_run", [False, True])
def test_mkdir_refuses_a_link_at_the_folder(guest: Guest, dry_run: bool) -> None:
    guest.put({"target/f": "kept", "home/u/f": ""}).path("home/u/.ssh").symlink_to("/target")
    before = guest.snapshot()
    with pytest.raises(FileError, match=r"/home/u/.ssh is a symbolic link, which is not followed"):
        System(guest.root, dry_run=dry_run).files.mkdir("/home/u/.ssh", mode=0o711, owner=SOMEBODY, beneath="/home/u")
    assert guest.snapshot() == before


def test_mkdir_refuses_a_link_above_the_folder(guest: Guest) -> None:
    guest.put({"target/f": "kept"}).path("home/u").symlink_to("/target")
    before = guest.snapshot()
    with pytest.raises(FileError, match=r"symbolic link"):
        System(guest.root).files.mkdir("/home/u/.ssh", mode=0o711, owner=SOMEBODY, beneath="/home/u")
    assert guest.snapshot() == before


class TestMkdir:
    def test_an_existing_folder_gets_the_mode_once(self, guest: Guest) -> None:
        guest.path("etc/skel").chmod(0o700)
        owner = Owner("me", os.geteuid(), os.getegid())
        system = System(guest.root)
        assert system.files.mkdir("/etc/skel", mode=0o755, owner=owner)
        assert not system.files.mkdir("/etc/skel", mode=0o755, owner=owner)
        assert system.journal.since(0) == (Change("mode", "/etc/skel", "0755, owner me"),)
        assert guest.mode("etc/skel") == 0o755
        assert guest.text("etc/skel/.profile")

    @pytest.mark.parametrize(
        ("path", "why"),
        [("/etc/passwd", "not a folder"), ("/none/d", "No such file"), ("/etc/passwd/d", "Not a directory")],
    )
    def test_what_cannot_be_made_says_why(self, guest: Guest, path: str, why: str) -> None:
        before = guest.snapshot()
        with pytest.raises(FileError, match=why):
            System(guest.root).files.mkdir(path, mode=0o755)
        assert guest.snapshot() == before


class TestDryRun:
    def test_later_steps_read_what_earlier_ones_wished_and_the_tree_stays(self, guest: Guest) -> None:
        before = guest.snapshot()
        system = System(guest.root, dry_run=True)
        files = system.files
        assert files.write("/etc/hostname", b"new\n", mode=0o644)
        assert not files.write("/etc/hostname", b"new\n", mode=0o644)
        assert files.mkdir("/etc/new.d", mode=0o750)
        assert not files.mkdir("/etc/new.d", mode=0o750)
        assert files.is_dir("/etc/new.d")
        assert files.write("/etc/new.d/f", b"x", mode=0o600)
        assert files.read("/etc/hostname") == b"new\n"
        assert files.read("/etc/new.d/f") == b"x"
        assert files.write("/etc/hostname", b"newer\n", mode=0o644)
        assert files.read("/etc/hostname") == b"newer\n"
        assert guest.snapshot() == before
        assert [change.target for change in system.journal.since(0)] == [
            "/etc/hostname",
            "/etc/new.d",
            "/etc/new.d/f",
            "/etc/hostname",
        ]

    def test_the_changes_of_a_dry_run_are_those_of_the_real_one(self, guest: Guest) -> None:
        def act(system: System) -> tuple[Change, ...]:
            system.files.mkdir("/etc/new.d", mode=0o750)
            system.files.write("/etc/new.d/f", b"x", mode=0o600, owner=SOMEBODY)
            system.files.write("/etc/new.d/f", b"x", mode=0o600, owner=SOMEBODY)
            system.files.write("/etc/hostname", b"localhost\n", mode=0o640)
            return system.journal.since(0)

        assert act(System(guest.root, dry_run=True)) == act(System(guest.root))

    def test_an_expected_home_is_there_with_what_comes_from_skel(self, guest: Guest) -> None:
        guest.put({"etc/skel/.ssh/config": "from skel"}).path("etc/skel/.ssh").chmod(0o755)
        files = System(guest.root, dry_run=True).files
        expect_home(files, "/home/u")
        assert files.is_dir("/home/u")
        assert files.read("/home/u/.ssh/config", beneath="/home/u") == b"from skel"
        assert files.mkdir("/home/u/.ssh", mode=0o700, beneath="/home/u")
        assert not files.mkdir("/home/u/.ssh", mode=0o700, beneath="/home/u")
        assert files.write("/home/u/.ssh/f", b"x", mode=0o600, beneath="/home/u")
        assert not guest.path("home/u").exists()

    @pytest.mark.parametrize("verb", ["write", "mkdir"])
    def test_what_the_real_run_could_not_make_fails_in_a_dry_run_too(self, guest: Guest, verb: str) -> None:
        for dry_run in (True, False):
            files = System(guest.root, dry_run=dry_run).files
            with pytest.raises(FileError, match="No such file or directory"):
                getattr(files, verb)("/none/x", *([b"x"] if verb == "write" else []), mode=0o700)


class TestJournal:
    def test_a_change_is_told_before_it_is_made(self, guest: Guest) -> None:
        seen: list[tuple[str, str]] = []

        def listener(change: Change) -> None:
            seen.append((change.target, guest.text("etc/hostname")))

        system = System(guest.root)
        system.journal.listener = listener
        system.files.write("/etc/hostname", b"new\n", mode=0o644)
        assert seen == [("/etc/hostname", "localhost\n")]

    def test_a_record_never_holds_the_content(self, guest: Guest) -> None:
        system = System(guest.root)
        system.files.write("/etc/f", b"CANARY", mode=0o600)
        assert "CANARY" not in str(system.journal.since(0)[0])
        assert str(system.journal.since(0)[0]) == "write /etc/f (0600)"


class TestQuestions:
    @pytest.mark.parametrize(
        ("mode", "kind", "expected"),
        [
            (0o755, "file", True),
            (0o100, "file", True),
            (0o644, "file", False),
            (0o755, "folder", False),
            (0, "none", False),
        ],
    )
    def test_is_executable(self, guest: Guest, mode: int, kind: str, expected: bool) -> None:
        path = guest.path("bin/x")
        path.parent.mkdir()
        if kind == "file":
            path.touch()
            path.chmod(mode)
        elif kind == "folder":
            path.mkdir()
        assert System(guest.root).files.is_executable("/bin/x") is expected

    def test_links_in_a_circle_are_no_program_and_a_folder_that_cannot_be_looked_at(self, guest: Guest) -> None:
        guest.path("loop").symlink_to("loop")
        files = System(guest.root).files
        assert not files.is_executable("/loop")
        with pytest.raises(FileError, match="cannot look at /loop: Too many levels of symbolic links"):
            files.is_dir("/loop")

    def test_is_executable_follows_the_guests_links(self, guest: Guest) -> None:
        guest.put({"usr/bin/x": ""}).path("usr/bin/x").chmod(0o755)
        guest.path("bin").symlink_to("usr/bin")
        assert System(guest.root).files.is_executable("/bin/x")

    @pytest.mark.parametrize(
        ("path", "beneath", "expected"),
        [
            ("/etc", None, True),
            ("/etc/passwd", None, False),
            ("/none", None, False),
            ("/l", None, True),
            ("/l", "/l", False),
        ],
    )
    def test_is_dir(self, guest: Guest, path: str, beneath: Optional[str], expected: bool) -> None:
        guest.path("l").symlink_to("/etc")
        assert System(guest.root).files.is_dir(path, beneath=beneath) is expected


class TestOwnFiles:
    def test_a_folder_of_our_own_is_made_with_its_parents(self, guest: Guest) -> None:
        system = System(guest.root)
        with umask(0o077):
            system.files.make_own_folder("/var/lib/other/records", mode=0o700)
        assert guest.mode("var/lib/other/records") == 0o700
        assert guest.mode("var/lib/other") == 0o755
        assert len(system.journal) == 0

    def test_the_folder_of_the_state_is_private_whatever_is_made_in_it(self, guest: Guest) -> None:
        with umask(0):
            System(guest.root).files.make_own_folder("/var/lib/azurelite/vms/x/memory")
        assert [guest.mode(f"var/lib/azurelite{rest}") for rest in ("", "/vms/x/memory")] == [0o700, 0o700]
        assert guest.mode("var/lib") == 0o755

    def test_an_existing_one_gets_its_mode(self, guest: Guest) -> None:
        guest.path("var/lib").chmod(0o711)
        System(guest.root).files.make_own_folder("/var/lib", mode=0o700)
        assert guest.mode("var/lib") == 0o700

    def test_append_line_adds_lines_that_only_root_reads(self, guest: Guest) -> None:
        system = System(guest.root)
        with umask(0):
            system.files.append_line("/var/log", "one")
        system.files.append_line("/var/log", "zwei ü")
        assert guest.text("var/log") == "one\nzwei ü\n"
        assert guest.mode("var/log") == 0o600
        assert len(system.journal) == 0

    @pytest.mark.parametrize(("path", "why"), [("/none/log", "No such file"), ("/etc", "Is a directory")])
    def test_append_line_says_why_it_cannot(self, guest: Guest, path: str, why: str) -> None:
        with pytest.raises(FileError, match=why):
            System(guest.root).files.append_line(path, "x")
