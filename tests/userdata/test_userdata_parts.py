"""Splitting user data into parts: kinds by first line, MIME of the usual tools, and malicious MIME."""

from __future__ import annotations

import contextlib
import gzip
import random
from email.mime.application import MIMEApplication
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any, Optional

import pytest
from kit import FastClock

from azurelite.errors import HandlerError
from azurelite.userdata.decode import Budget, decode
from azurelite.userdata.parts import Part, part_of, split


def parts(data: bytes) -> list[Part]:
    budget = Budget(FastClock(), 60)
    return split(data, unpack=lambda packed: decode(packed, unzstd=lambda *_: b"", budget=budget).data)


def test_many_bombs_together_stay_within_one_limit() -> None:
    shared = Budget(FastClock(), 60)
    bomb = MIMEApplication(gzip.compress(b"#!/bin/sh\n" + b"\n" * (5 << 20)), "gzip")
    found = split(mime(*[bomb] * 9), unpack=lambda data: decode(data, unzstd=lambda *_: b"", budget=shared).data)
    assert [part.kind for part in found] == ["script"] * 3 + ["broken"] * 6
    assert sum(len(part.data) for part in found) <= 16 << 20


def mime(*pieces: Any) -> bytes:
    whole = MIMEMultipart()
    for piece in pieces:
        whole.attach(piece)
    return whole.as_bytes()


def text(content: str, subtype: str = "plain", name: Optional[str] = None) -> MIMEText:
    piece = MIMEText(content, subtype)
    if name is not None:
        piece.add_header("Content-Disposition", "attachment", filename=name)
    return piece


@pytest.mark.parametrize(
    ("data", "kind", "why"),
    [
        (b"#!/bin/sh\n:\n", "script", ""),
        (b"#!/usr/bin/python3\nprint()\n", "script", ""),
        (b"#cloud-config\nhostname: x\n", "cloud-config", ""),
        (b"#cloud-config-archive\n- x\n", "archive", ""),
        (b"#cloud-boothook\n:\n", "boothook", ""),
        (b"#include\nhttp://x/\n", "refused", "URLs"),
        (b"#include-once\nhttp://x/\n", "refused", "URLs"),
        (b"#part-handler\n", "refused", "handler"),
        (b"#cloud-config-jsonp\n[]\n", "refused", "JSON patch"),
        (b"## template: jinja\n#cloud-config\n{}\n", "refused", "Jinja"),
        (b"##template:jinja\n#!/bin/sh\n", "refused", "Jinja"),
        (b'{"ignition": {"version": "3.4.0"}}', "refused", "Ignition"),
        (b'{"a": 1}', "refused", "JSON"),
        (b"variant: flatcar\nversion: 1.0.0\n", "refused", "Butane"),
        (b"hello", "refused", "unknown kind"),
        (b"\x00\x01\x02", "refused", "unknown kind"),
    ],
)
def test_one_document_is_known_by_its_first_line(data: bytes, kind: str, why: str) -> None:
    (part,) = parts(data)
    assert (part.kind, part.name, part.data) == (kind, "part-001", data)
    assert why in part.why


@pytest.mark.parametrize("data", [b"", b" \n\t\n"])
def test_empty_data_has_no_parts(data: bytes) -> None:
    assert parts(data) == []


def test_windows_line_ends_are_converted_if_the_first_line_has_one() -> None:
    assert parts(b"#!/bin/sh\r\necho\r\n")[0].data == b"#!/bin/sh\necho\n"
    kept = b"#!/bin/sh\nprintf 'a\r\n'\n"
    assert parts(kept)[0].data == kept


@pytest.mark.parametrize(
    ("subtype", "content", "kind"),
    [
        ("x-shellscript", "#!/bin/sh\n", "script"),
        ("x-shellscript-per-boot", "#!/bin/sh\n", "script"),
        ("x-shellscript-per-once", "#!/bin/sh\n", "script"),
        ("x-shellscript", "echo no interpreter\n", "refused"),
        ("cloud-config", "hostname: x\n", "cloud-config"),
        ("cloud-config-archive", "- x\n", "archive"),
        ("cloud-boothook", "#!/bin/sh\n", "boothook"),
        ("x-include-url", "http://x/\n", "refused"),
        ("jinja2", "## template: jinja\n", "refused"),
        ("cloud-config", "## template: jinja\n#cloud-config\n{}", "refused"),
        ("part-handler", "def handle_part()", "refused"),
        ("plain", "#cloud-config\n{}\n", "cloud-config"),
        ("html", "#!/bin/sh\n", "script"),
        ("html", "<html>", "refused"),
        ("X-ShellScript", "#!/bin/sh\n", "script"),
        ("x-not-multipart", "#cloud-config\n{}\n", "cloud-config"),
        ("x-shellscript", "#cloud-config\n{}\n", "cloud-config"),
        ("x-shellscript", "\n  #Cloud-Config\n{}\n", "cloud-config"),
        ("x-shellscript", "#cloud-config-archive\n[]\n", "archive"),
        ("x-shellscript", "#include\nhttp://x\n", "refused"),
        ("cloud-config", "#!/bin/sh\n", "script"),
        ("cloud-config", "#cloud-config-archive\n[]\n", "archive"),
        ("cloud-config", "# a comment\nhostname: x\n", "cloud-config"),
        ("cloud-config-archive", "#cloud-config\n{}\n", "cloud-config"),
        ("cloud-boothook", "#cloud-boothook\n:\n", "boothook"),
        ("cloud-boothook", "#cloud-config\n{}\n", "cloud-config"),
        ("part-handler", "#!/usr/bin/python3\n", "refused"),
    ],
)
def test_mime_says_the_kind_or_the_first_line_does(subtype: str, content: str, kind: str) -> None:
    assert [part.kind for part in parts(mime(text(content, subtype)))] == [kind]


def test_a_content_type_that_the_text_contradicts_is_noted() -> None:
    odd, plain = parts(mime(text("#cloud-config\n{}\n", "x-shellscript", "a"), text("#!/bin/sh\n", "x-shellscript")))
    assert odd.note == "a is declared as text/x-shellscript, but its first line says cloud-config: that is used"
    assert plain.note == ""
    (often,) = parts(mime(text("#!/bin/sh\n", "x-shellscript-per-boot", "a")))
    assert "runs only once" in often.note


@pytest.mark.parametrize(
    ("data", "kind", "kept"),
    [
        (b"\n  \n#cloud-config\nruncmd: [ls]\n", "cloud-config", b"\n  \n#cloud-config\nruncmd: [ls]\n"),
        (b"    #cloud-config\n    runcmd:\n", "cloud-config", b"    #cloud-config\n    runcmd:\n"),
        (b"\t#cloud-config\nruncmd:\n", "cloud-config", b" #cloud-config\nruncmd:\n"),
        (b"\xef\xbb\xbf\n\xef\xbb\xbf#cloud-config\na:\n", "cloud-config", b"\n#cloud-config\na:\n"),
        (b"#Cloud-Config\na:\n", "cloud-config", b"#Cloud-Config\na:\n"),
        (b"#CLOUD-CONFIG\r\na:\r\n", "cloud-config", b"#CLOUD-CONFIG\na:\n"),
        (b"\n#CLOUD-CONFIG-ARCHIVE\n- x\n", "archive", b"\n#CLOUD-CONFIG-ARCHIVE\n- x\n"),
        (b"\n  #!/bin/sh\n  if x; then\n    y\n  fi\nz\n", "script", b"#!/bin/sh\nif x; then\n  y\nfi\nz\n"),
        (b"\r\n\t#!/bin/sh\r\n\tls\r\n", "script", b"#!/bin/sh\nls\n"),
        (b"  #Cloud-Boothook\n  ls\n", "boothook", b"#Cloud-Boothook\nls\n"),
        (b" \n## Template: jinja\n#cloud-config\n", "refused", b" \n## Template: jinja\n#cloud-config\n"),
        (b"\n#Include\nhttp://x\n", "refused", b"#Include\nhttp://x\n"),
    ],
)
def test_white_space_letter_case_and_marks_before_the_first_line_do_not_matter(
    data: bytes, kind: str, kept: bytes
) -> None:
    (part,) = parts(data)
    assert (part.kind, part.data) == (kind, kept)
    (part,) = parts(mime(MIMEApplication(data)))
    assert (part.kind, part.data) == (kind, kept)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"X-Merge-Type": "list(append)"}, "list(append)"),
        ({"merge-type": "dict()"}, "dict()"),
        ({"X-Merge-Type": "a()", "Merge-Type": "b()"}, "b()"),
    ],
)
def test_the_merge_type_of_the_headers_is_kept(headers: dict[str, str], expected: Optional[str]) -> None:
    piece = text("#cloud-config\n{}\n", "cloud-config")
    for name, value in headers.items():
        piece[name] = value
    assert [part.merge for part in parts(mime(piece))] == [expected]
    assert part_of(b"#cloud-config\n", name="a", headers={**headers, "content": 5}).merge == expected


def test_mime_as_the_usual_tools_write_it() -> None:
    inner = MIMEMultipart("mixed")
    inner.attach(text("#!/bin/sh\necho 3\n", "x-shellscript"))
    found = parts(
        mime(
            text("#cloud-config\n{}\n", "cloud-config", "init.cfg"),
            text("#!/bin/sh\necho ü\n", "x-shellscript", "../../etc/10-first.sh"),
            inner,
            MIMEApplication(gzip.compress(b"#!/bin/sh\necho 4\n"), "gzip"),
            text(" \n", "x-shellscript"),
            text("#!/bin/sh\n", "x-shellscript", "init.cfg"),
        )
    )
    assert [(part.name, part.kind) for part in found] == [
        ("init.cfg", "cloud-config"),
        ("10-first.sh", "script"),
        ("part-003", "script"),
        ("part-004", "script"),
        ("init.cfg-2", "script"),
    ]
    assert found[1].data == "#!/bin/sh\necho ü\n".encode()
    assert found[3].data == b"#!/bin/sh\necho 4\n"


def test_headers_alone_make_a_single_part() -> None:
    (part,) = parts(b"Content-Type: text/x-shellscript\r\nMIME-Version: 1.0\r\n\r\n#!/bin/sh\r\necho 1\r\n")
    assert (part.kind, part.data) == ("script", b"#!/bin/sh\necho 1\n")


def test_a_cloud_config_that_contains_mime_headers_is_not_mime() -> None:
    data = b"#cloud-config\nwrite_files:\n- content: |\n    MIME-Version: 1.0\n  path: /x\n"
    assert [part.kind for part in parts(data)] == ["cloud-config"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a b;rm -rf.sh", "a_b_rm_-rf.sh"),
        ("..", "part-001"),
        (".hidden", "hidden"),
        ("-rf", "rf"),
        ("C:\\Temp\\x.ps1", "x.ps1"),
        ("x" * 300, "x" * 64),
        ("a\nb", "a_b"),
        ("\x00", "_"),
    ],
)
def test_unsafe_characters_of_a_file_name_are_replaced(given: str, expected: str) -> None:
    data = (
        b'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: text/x-shellscript\n'
        b'Content-Disposition: attachment; filename="'
        + given.replace("\\", "\\\\").replace("\n", "\n ").encode()
        + b'"\n\n#!/bin/sh\n--b--\n'
    )
    (part,) = parts(data)
    assert "/" not in part.name
    assert part.name == expected or "\n" in given


def test_a_decompression_bomb_in_a_part_breaks_only_that_part() -> None:
    bomb = MIMEApplication(gzip.compress(b"\0" * (17 * 1024 * 1024)), "gzip")
    packed = MIMEApplication(gzip.compress(b"#!/bin/sh\n"), "gzip")
    found = parts(mime(bomb, text("#!/bin/sh\n", "x-shellscript"), packed))
    assert [part.kind for part in found] == ["broken", "script", "script"]
    assert (
        found[0].why
        == "cannot be read: it and the parts before it have more than 16777216 bytes when decompressed: shorten them"
    )


def beside_another(disposition: str) -> bytes:
    return (
        'Content-Type: multipart/mixed; boundary="b"\nMIME-Version: 1.0\n\n'
        f"--b\nContent-Type: text/x-shellscript\nContent-Disposition: attachment; {disposition}\n\n#!/bin/sh\n\n"
        "--b\nContent-Type: text/x-shellscript\n\n#!/bin/sh\n--b--\n"
    ).encode()


def test_unreadable_headers_break_only_their_part() -> None:
    found = parts(beside_another("filename*=no\0charset''a.sh"))
    assert [(part.name, part.kind) for part in found] == [("part-001", "broken"), ("part-002", "script")]
    assert "headers" in found[0].why


@pytest.mark.parametrize(
    "disposition",
    ["filename*=us-ascii''a.sh; filename*1=b", "filename*=a; filename*0*=x''b; filename*0=c"],
)
def test_headers_that_only_newer_pythons_can_read_affect_only_their_part(disposition: str) -> None:
    """Up to Python 3.13 these are broken; the email package of 3.14 reads a name from them."""
    first, second = parts(beside_another(disposition))
    assert first.kind in ("broken", "script")
    assert (second.name, second.kind) == ("part-002", "script")


def nested(depth: int) -> bytes:
    lines = ["MIME-Version: 1.0"]
    for level in range(depth):
        lines += [f'Content-Type: multipart/mixed; boundary="b{level}"', "", f"--b{level}"]
    return "\n".join([*lines, "Content-Type: text/x-shellscript", "", "#!/bin/sh", ""]).encode()


def test_deep_nesting_is_refused_or_read_but_never_a_crash() -> None:
    assert [part.kind for part in parts(nested(5))] == ["script"]
    with pytest.raises(HandlerError, match=r"not valid MIME|multipart"):
        parts(nested(5000))


def test_too_many_lines_are_refused_before_parsing() -> None:
    with pytest.raises(HandlerError, match="500000 lines"):
        parts(b"MIME-Version: 1.0\n" + b"\n" * 16_000_000)


def test_too_many_parts_are_refused() -> None:
    with pytest.raises(HandlerError, match="200 parts"):
        parts(mime(*(text("#!/bin/sh\n", "x-shellscript") for _ in range(201))))


@pytest.mark.parametrize(
    "data",
    [
        b"Content-Type: multipart/mixed\n\nno boundary\n",
        b'Content-Type: multipart/mixed; boundary="b"\n\nnothing\n',
        b"MIME-Version: 1.0\n",
        b"Content-Type:\n\n",
        b'Content-Type: text/x-shellscript; charset="\xff"\n\n#!/bin/sh\n',
        b"Content-Type: text/x-shellscript\nContent-Transfer-Encoding: base64\n\n!!!\n",
        b"Content-Type: text/x-shellscript\nContent-Transfer-Encoding: uuencode\n\nbegin 644 x\n\x80\x81\n",
        b"Content-Type: message/rfc822\n\nContent-Type: message/rfc822\n\n#!/bin/sh\n",
        b"Content-Type: text/plain; filename*=utf-99''x\n\n#!/bin/sh\n",
    ],
)
def test_bad_mime_is_an_error_or_a_refused_part(data: bytes) -> None:
    with contextlib.suppress(HandlerError):
        assert all(isinstance(part, Part) for part in parts(data))


def test_damaged_mime_never_crashes() -> None:
    random.seed(7)
    base = MIMEBase("multipart", "mixed")
    whole = mime(text("#cloud-config\n{}\n", "cloud-config", "a"), text("#!/bin/sh\n", "x-shellscript", "b"), base)
    for _ in range(2000):
        data = bytearray(whole)
        for _ in range(random.randrange(1, 8)):
            at = random.randrange(len(data))
            data[at : at + random.randrange(3)] = bytes(random.randrange(256) for _ in range(random.randrange(3)))
        with contextlib.suppress(HandlerError):
            parts(bytes(data))
