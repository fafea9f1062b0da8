"""`write_files`: content, owner and mode of files, what is refused, and that one bad entry stops no other."""

from __future__ import annotations

import base64
import gzip
import os
from typing import Any, Callable

import pytest
from kit import BASE, Guest

from azurelite.config.document import Document
from azurelite.config.schema import bind
from azurelite.errors import ConfigError, HandlerError
from azurelite.handlers import Context
from azurelite.handlers.write_files import USUAL, File, Options, apply, decoded
from azurelite.metadata import Secret
from azurelite.system.files import READ_LIMIT

PACKED = base64.b64encode(gzip.compress(b"packed\n", mtime=0)).decode()
SOMEBODY = {"etc/passwd": BASE["etc/passwd"] + "web:x:1500:10::/home/web:/bin/sh\n"}
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root can give files away")


def options(*files: dict[str, Any]) -> Options:
    return bind(Options, {"files": list(files)}, Document({}, {}), ("write_files",))


@pytest.mark.parametrize(
    ("encoding", "content", "expected"),
    [
        ("text/plain", "a\nb", b"a\nb"),
        ("text/plain", "", b""),
        ("text/plain", "ü", "ü".encode()),
        ("b64", "AAEC/w==", b"\0\1\2\xff"),
        ("base64", "AAEC\n/w==\n", b"\0\1\2\xff"),
        ("gz+b64", PACKED, b"packed\n"),
        ("gzip+base64", PACKED, b"packed\n"),
        ("gz+base64", PACKED, b"packed\n"),
        ("gzip+b64", PACKED, b"packed\n"),
    ],
)
def test_content_is_decoded(
    guest: Guest, context: Callable[..., Context], encoding: str, content: str, expected: bytes
) -> None:
    apply(context(), options({"path": "/etc/it", "content": content, "encoding": encoding}))
    assert guest.path("etc/it").read_bytes() == expected
    assert guest.mode("etc/it") == 0o644


def test_gzip_without_base64_and_in_several_parts() -> None:
    assert decoded(gzip.compress(b"a", mtime=0) + gzip.compress(b"b", mtime=0), "gz") == b"ab"
    assert decoded(gzip.compress(b"a", mtime=0) + b"\0" * 8, "gzip") == b"a"


@pytest.mark.parametrize(
    ("content", "encoding", "match"),
    [
        (b"canary!", "b64", "not valid base64"),
        (b"canary", "gz", "not valid gzip"),
        (gzip.compress(b"canary" * 50, mtime=0)[:-9], "gz", "truncated"),
        (gzip.compress(b"\0" * (READ_LIMIT + 1), mtime=0), "gz", "bytes when unpacked"),
        (gzip.compress(b"\0" * READ_LIMIT, mtime=0) * 2, "gz", "bytes when unpacked"),
        (base64.b64encode(b"canary"), "gz+b64", "not valid gzip"),
        (b"\0" * (READ_LIMIT + 1), "text/plain", "has more than"),
    ],
)
def test_content_that_does_not_match_its_encoding_is_refused_without_repeating_it(
    content: bytes, encoding: Any, match: str
) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        decoded(content, encoding)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("permissions", "expected"),
    [
        ("0644", 0o644),
        ("644", 0o644),
        ("0o600", 0o600),
        ("4755", 0o4755),
        ("0", 0),
        (0o640, 0o640),
        (0o600, 0o600),
        (0o400, 0o400),
        (0o777, 0o777),
        (0o4755, 0o4755),
        (None, 0o644),
    ],
)
def test_permissions_are_set(guest: Guest, context: Callable[..., Context], permissions: Any, expected: int) -> None:
    apply(context(), options({"path": "/etc/it", "content": "", "permissions": permissions}))
    assert guest.path("etc/it").stat().st_mode & 0o7777 == expected


def test_no_accepted_number_is_a_mode_without_its_leading_zero() -> None:
    assert not {int(f"{mode:o}") for mode in USUAL} & set(USUAL)


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        ({}, "path must be an absolute path"),
        ({"path": "etc/motd"}, "path must be an absolute path"),
        ({"path": "/"}, "path must be an absolute path"),
        ({"path": "/etc/../motd"}, "path must be an absolute path"),
        ({"path": "/etc//motd"}, "path must be an absolute path"),
        ({"path": "/etc/motd/"}, "path must be an absolute path"),
        ({"path": "/etc/./motd"}, "path must be an absolute path"),
        ({"path": "/etc/\0"}, "path must be an absolute path"),
        ({"path": "/x", "owner": ""}, "owner must be"),
        ({"path": "/x", "owner": "a:b:c"}, "owner must be"),
        ({"path": "/x", "owner": "a b"}, "owner must be"),
        ({"path": "/x", "owner": "root:"}, "owner must be"),
        ({"path": "/x", "permissions": "rw-r--r--"}, "octal digits"),
        ({"path": "/x", "permissions": "0888"}, "octal digits"),
        ({"path": "/x", "permissions": "77777"}, "octal digits"),
        *(
            ({"path": "/x", "permissions": number}, "in quotes, such as")
            for number in (644, 755, 400, 440, 444, 500, 600, 640, 660, 700, 750, 777, 1777, 2755, 4755)
        ),
        ({"path": "/x", "permissions": 0o620}, "in quotes"),
        ({"path": "/x", "permissions": -1}, "in quotes"),
        ({"path": "/x", "permissions": 99999}, "in quotes"),
        ({"path": "/x", "permissions": True}, "permissions"),
        ({"path": "/x", "encoding": "rot13"}, "one of"),
        ({"path": "/x", "content": 5}, "must be text"),
        ({"path": "/x", "content": "canary", "contents": "canary"}, "did you mean"),
    ],
)
def test_a_bad_entry_is_a_configuration_error_with_its_place(entry: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        options({"path": "/etc/fine"}, entry)
    assert "canary" not in str(caught.value)
    assert "files[1]" in str(caught.value)


def test_a_file_that_cannot_be_written_does_not_stop_the_others(guest: Guest, context: Callable[..., Context]) -> None:
    guest.put({"etc/folder/x": ""})
    with pytest.raises(HandlerError) as caught:
        apply(
            context(),
            options(
                {"path": "/etc/one", "content": "1"},
                {"path": "/etc/two", "content": "canary", "owner": "nobodyknows"},
                {"path": "/etc/folder", "content": "canary"},
                {"path": "/etc/three", "content": "canary?", "encoding": "b64"},
                {"path": "/etc/four", "content": "4"},
            ),
        )
    said = str(caught.value)
    for words in (
        "3 of 5 files",
        "files[1] /etc/two: user nobodyknows does not exist",
        "files[2] /etc/folder",
        "files[3]",
    ):
        assert words in said
    assert "canary" not in said
    assert (guest.text("etc/one"), guest.text("etc/four")) == ("1", "4")
    assert not guest.path("etc/two").exists()


@pytest.mark.parametrize(
    ("before", "content", "after"),
    [
        ("a\n", "b\n", "a\nb\n"),
        ("a", "b\n", "a\nb\n"),
        ("a\n", "b", "a\nb"),
        ("", "b\n", "b\n"),
        ("a\nb\nc\n", "b\n", "a\nb\nc\n"),
        ("abc\n", "b\n", "abc\nb\n"),
        ("a\nb\n", "a\nb\n", "a\nb\n"),
        ("b", "b\n", "b"),
        ("a\n", "", "a\n"),
        ("a\nb c\n", "b\n", "a\nb c\nb\n"),
    ],
)
def test_appending_twice_is_appending_once(
    guest: Guest, context: Callable[..., Context], before: str, content: str, after: str
) -> None:
    guest.put({"etc/it": before}).path("etc/it").chmod(0o600)
    wish = options({"path": "/etc/it", "content": content, "append": True})
    for _ in range(2):
        apply(context(), wish)
        assert guest.text("etc/it") == after
        assert guest.mode("etc/it") == 0o600, "an existing file keeps its mode"
    apply(context(), options({"path": "/etc/it", "content": content, "append": True, "permissions": "0640"}))
    assert guest.mode("etc/it") == 0o640


def test_appending_to_nothing_makes_the_file(guest: Guest, context: Callable[..., Context]) -> None:
    apply(context(), options({"path": "/srv/it", "content": "a\n", "append": True}))
    assert (guest.text("srv/it"), guest.mode("srv/it"), guest.mode("srv")) == ("a\n", 0o644, 0o755)


def test_deferred_files_come_last(guest: Guest, context: Callable[..., Context]) -> None:
    ctx = context()
    apply(ctx, options({"path": "/etc/b", "defer": True}, {"path": "/etc/a"}, {"path": "/etc/c", "defer": True}))
    assert [change.target for change in ctx.system.journal.since(0)] == ["/etc/a", "/etc/b", "/etc/c"]


@root_only
def test_below_a_home_the_folders_are_the_users_own_and_no_link_is_followed(
    guest: Guest, context: Callable[..., Context]
) -> None:
    guest.put(SOMEBODY).put({"home/web/.keep": "", "etc/precious": "kept"})
    os.chown(guest.path("home/web"), 1500, 10)
    apply(context(), options({"path": "/home/web/.config/app/rc", "content": "x", "owner": "web"}))
    for name in (".config", ".config/app", ".config/app/rc"):
        found = guest.path(f"home/web/{name}").stat()
        assert (found.st_uid, found.st_gid) == (1500, 10)
    guest.path("home/web/evil").symlink_to("/etc")
    guest.path("home/web/planted").symlink_to("/etc/precious")
    before = guest.snapshot()
    for path in ("/home/web/evil/precious", "/home/web/evil/new/file", "/home/web/planted"):
        with pytest.raises(HandlerError, match="link"):
            apply(context(), options({"path": path, "content": "canary", "owner": "web"}))
    assert guest.snapshot() == before
    assert guest.text("etc/precious") == "kept"


@root_only
def test_in_a_folder_for_everybody_no_link_is_followed(guest: Guest, context: Callable[..., Context]) -> None:
    guest.put({"tmp/.keep": "", "etc/precious": "kept"}).path("tmp").chmod(0o1777)
    guest.path("tmp/x").symlink_to("/etc/precious")
    with pytest.raises(HandlerError, match="link"):
        apply(context(), options({"path": "/tmp/x", "content": "y"}))
    assert guest.text("etc/precious") == "kept"


def test_the_content_is_never_shown(guest: Guest, context: Callable[..., Context], notes: list[str]) -> None:
    ctx = context()
    wish = Options(files=(File("/etc/token", Secret("canary")),))
    apply(ctx, wish)
    assert "canary" not in f"{wish!r} {ctx.system.journal.since(0)} {notes}"
    assert guest.text("etc/token") == "canary"
