"""Guest paths: every link is read as the guest would read it, and nothing outside of the root is ever reached."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
from pathlib import Path
from types import FrameType
from typing import Iterator, Optional

import pytest
from kit import Guest

from azurelite.system.root import Root


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail instead of hanging."""

    def give_up(_number: int, _frame: Optional[FrameType]) -> None:
        raise TimeoutError(f"still waiting after {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def link(guest: Guest, links: dict[str, str]) -> None:
    for name, target in links.items():
        guest.path(name).parent.mkdir(parents=True, exist_ok=True)
        guest.path(name).symlink_to(target)


@pytest.mark.parametrize(
    ("links", "path", "leads_to"),
    [
        ({}, "/etc/passwd", "/etc/passwd"),
        ({}, "//etc/./passwd", "/etc/passwd"),
        ({}, "/etc/", "/etc"),
        ({}, "/not/there/yet", "/not/there/yet"),
        ({}, "/", "/"),
        ({}, "/etc/../../../etc/passwd", "/etc/passwd"),
        ({"etc/a": "/etc/passwd"}, "/etc/a", "/etc/passwd"),
        ({"etc/a": "passwd"}, "/etc/a", "/etc/passwd"),
        ({"etc/a": "./passwd"}, "/etc/a", "/etc/passwd"),
        ({"etc/a": "../etc/passwd"}, "/etc/a", "/etc/passwd"),
        ({"etc/a": "../../../../../../etc/passwd"}, "/etc/a", "/etc/passwd"),
        ({"etc/a": "/../../etc/passwd"}, "/etc/a", "/etc/passwd"),
        ({"etc/a": "b", "etc/b": "/c", "c": "etc/passwd"}, "/etc/a", "/etc/passwd"),
        ({"lib": "/usr/lib"}, "/lib/systemd/x", "/usr/lib/systemd/x"),
        ({"etc/a": "/gone"}, "/etc/a/b", "/gone/b"),
        ({"a": "/etc"}, "/a/../etc/passwd", "/etc/passwd"),
        ({"var/run": "/run"}, "/var/run/../x", "/x"),
    ],
)
def test_a_guest_path_leads_below_the_root(guest: Guest, links: dict[str, str], path: str, leads_to: str) -> None:
    link(guest, links)
    expected = guest.root if leads_to == "/" else guest.root + leads_to
    assert Root(guest.root).host_path(path).rstrip("/") == expected


@pytest.mark.parametrize("links", [{"a": "a"}, {"a": "/b", "b": "/a"}, {"a": "b/c", "b": "a"}, {"a": "../a/.."}])
def test_links_in_a_circle_are_an_error_and_no_hang(guest: Guest, links: dict[str, str]) -> None:
    link(guest, links)
    root = Root(guest.root)
    for look in (root.host_path, root.open_parent, root.stat, root.names, lambda path: root.read(path, limit=9)):
        with within(5), pytest.raises(OSError, match="symbolic links") as caught:
            look("/a/x")
        assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize(("links", "allowed"), [(39, True), (40, True), (41, False)])
def test_as_many_links_as_the_kernel_allows_are_followed(guest: Guest, links: int, allowed: bool) -> None:
    link(guest, {f"l{i}": f"/l{i + 1}" for i in range(links)})
    guest.put({f"l{links}": "end"})
    with contextlib.nullcontext() if allowed else pytest.raises(OSError, match="symbolic links"):
        assert Root(guest.root).read("/l0", limit=9) == b"end"


def test_a_link_to_a_host_path_finds_the_guests_file_and_never_the_hosts(guest: Guest, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("the host's")
    link(guest, {"etc/a": str(outside), "etc/b": os.path.relpath(outside, guest.path("etc"))})
    root = Root(guest.root)
    assert root.read("/etc/a", limit=99) is None
    assert root.read("/etc/b", limit=99) is None
    guest.put({str(outside): "the guest's"})
    assert root.read("/etc/a", limit=99) == b"the guest's"


@pytest.mark.parametrize(
    ("links", "path", "beneath"),
    [
        ({"home/u": "/elsewhere"}, "/home/u/f", "/home/u"),
        ({"home/u": "../elsewhere"}, "/home/u/f", "/home/u"),
        ({"home/u/.ssh": "/elsewhere"}, "/home/u/.ssh/f", "/home/u"),
        ({"home/u/.ssh/f": "/elsewhere/f"}, "/home/u/.ssh/f", "/home/u"),
        ({"home/u/.ssh/f": "g"}, "/home/u/.ssh/f", "/home/u"),
    ],
)
def test_beneath_refuses_links_at_the_folder_and_below(
    guest: Guest, links: dict[str, str], path: str, beneath: str
) -> None:
    guest.put({"elsewhere/f": "planted", "home/other/g": "x"})
    link(guest, links)
    root = Root(guest.root)
    with pytest.raises(OSError, match=r"[Ss]ymbolic link") as caught:
        root.read(path, limit=99, beneath=beneath)
    assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize(
    ("links", "path"),
    [({"home/u": "/elsewhere"}, "/home/u/f"), ({"home/u/.ssh": "/elsewhere"}, "/home/u/.ssh/f")],
)
def test_beneath_never_shows_what_lies_behind_a_link(guest: Guest, links: dict[str, str], path: str) -> None:
    guest.put({"elsewhere/f": "planted"})
    link(guest, links)
    with pytest.raises(OSError, match="symbolic link"):
        Root(guest.root).stat(path, beneath="/home/u")


@pytest.mark.parametrize("path", ["/", "/..", "//", "/etc/..", "/up", "/.", "/etc/../.."])
def test_the_root_has_no_parent_in_reach(guest: Guest, tmp_path: Path, path: str) -> None:
    link(guest, {"up": "/../.."})
    for root in (Root(guest.root), Root("/")):
        if path == "/up" and root.is_host:
            continue
        with pytest.raises(IsADirectoryError):
            root.open_parent(path)
        with pytest.raises(IsADirectoryError):
            root.read(path, limit=9)
    assert os.listdir(tmp_path) == ["guest"]


@pytest.mark.parametrize("home", ["/home/u", "/home/u/", "/home/./u", "/home/x/../u"])
def test_beneath_follows_the_links_above_the_folder(guest: Guest, home: str) -> None:
    guest.put({"var/lodgings/u/f": "mine", "var/lodgings/x/f": "y"})
    guest.path("home/.keep").unlink()
    guest.path("home").rmdir()
    link(guest, {"home": "/var/lodgings"})
    assert Root(guest.root).read(f"{home}/f", limit=99, beneath=home) == b"mine"


def test_a_last_link_is_shown_not_followed_beneath(guest: Guest) -> None:
    link(guest, {"home/u/f": "/etc/passwd"})
    root = Root(guest.root)
    shown, followed = root.stat("/home/u/f", beneath="/home/u"), root.stat("/home/u/f")
    assert shown is not None
    assert stat.S_ISLNK(shown.st_mode)
    assert followed is not None
    assert stat.S_ISREG(followed.st_mode)


@pytest.mark.parametrize("path", ["/etc/none", "/none/none", "/none"])
def test_what_is_not_there_reads_as_none(guest: Guest, path: str) -> None:
    root = Root(guest.root)
    assert root.read(path, limit=9) is None
    assert root.stat(path) is None
    assert root.names(path) == []


def test_a_path_through_a_file_has_no_status_and_no_names(guest: Guest) -> None:
    root = Root(guest.root)
    assert root.stat("/etc/passwd/x") is None
    assert root.names("/etc/passwd") == []
    assert root.read("/etc/passwd/x", limit=9) is None


def test_a_folder_is_no_file(guest: Guest) -> None:
    with pytest.raises(IsADirectoryError):
        Root(guest.root).read("/etc", limit=9)


@pytest.mark.parametrize(
    ("size", "limit"), [(0, 10), (9, 10), (10, 10), (11, 10), (200_000, 65_536), (200_000, 65_537)]
)
def test_no_more_than_the_limit_is_read(guest: Guest, size: int, limit: int) -> None:
    guest.path("big").write_bytes(b"x" * size)
    found = Root(guest.root).read("/big", limit=limit)
    assert found is not None
    assert len(found) == min(size, limit)


@pytest.mark.parametrize("beneath", [None, "/home/u"])
def test_a_planted_fifo_does_not_hang_the_run(guest: Guest, beneath: Optional[str]) -> None:
    guest.path("home/u").mkdir()
    os.mkfifo(guest.path("home/u/f"))
    with within(5), pytest.raises(OSError, match="not a regular file"):
        Root(guest.root).read("/home/u/f", limit=9, beneath=beneath)


def test_names_come_sorted(guest: Guest) -> None:
    guest.put({"d/b": "", "d/a": "", "d/C": ""})
    assert Root(guest.root).names("/d") == ["C", "a", "b"]


def test_open_parent_gives_the_folder_and_the_last_name(guest: Guest) -> None:
    link(guest, {"lib": "/usr/lib"})
    guest.path("usr/lib").mkdir(parents=True)
    folder, name = Root(guest.root).open_parent("/lib/x")
    try:
        assert (os.fstat(folder).st_ino, name) == (guest.path("usr/lib").stat().st_ino, "x")
    finally:
        os.close(folder)


def test_failures_leave_no_descriptor_open(guest: Guest) -> None:
    link(guest, {"home/u": "/etc", "loop": "loop"})
    root = Root(guest.root)
    before = os.listdir("/proc/self/fd")
    for path, beneath in [("/none/x", None), ("/etc/passwd/x", None), ("/home/u/x", "/home/u"), ("/loop", None)]:
        with pytest.raises(OSError, match=r"."):
            root.open_parent(path, beneath=beneath)
    with pytest.raises(IsADirectoryError):
        root.read("/etc", limit=9)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(("path", "is_host"), [("/", True), ("/tmp/..", True), ("/tmp", False)])
def test_only_the_real_root_is_the_host(path: str, is_host: bool) -> None:
    assert Root(path).is_host is is_host


def test_a_root_named_by_a_link_is_the_folder_itself(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(guest.folder)
    assert Root(str(tmp_path / "alias")).path == os.path.realpath(guest.root)
