"""/etc/fstab: our lines come, change and stay; everybody else's stay byte for byte."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from kit import Guest, shim

from azurelite.errors import HandlerError
from azurelite.system.disks.fstab import Entry, Fstab, parse
from azurelite.system.machine import System

DATA = Entry("UUID=1", "/data", "ext4", "defaults,nofail", 0, 2)
LINE = b"UUID=1 /data ext4 defaults,nofail 0 2 # azurelite\n"
SWAP = Entry("/swapfile", "none", "swap", "sw,nofail")
SWAP_LINE = b"/swapfile none swap sw,nofail 0 0 # azurelite\n"

HOSTILE = (
    b"# /etc/fstab: static file system information.\r\n"
    b"\t\n"
    b"  UUID=abc\t/  ext4\terrors=remount-ro 0 1   \n"
    b"LABEL=\xff\xfe /\xe4 auto defaults\n"
    b"proc /proc proc\n"
    b"only-one-field\n"
    b"\x00\x00 binary\n"
    b"LABEL=x /data2 ext4 defaults 0 0 # azurelite too\n"
    b"# UUID=1 /data ext4 defaults,nofail 0 2 # azurelite\n"
    b"/dev/x /a\\040b ext4 ro 999999999999 -1\n"
)


def ensured(guest: Guest, before: bytes, *entries: Entry) -> bytes:
    guest.path("etc/fstab").write_bytes(before)
    table = Fstab(System(guest.root))
    for entry in entries:
        table.ensure(entry)
    table.save()
    return guest.path("etc/fstab").read_bytes()


@pytest.mark.parametrize(
    ("before", "entries", "after"),
    [
        (b"", [DATA], LINE),
        (b"", [DATA, SWAP], LINE + SWAP_LINE),
        (b"a b c\n", [DATA], b"a b c\n" + LINE),
        (b"a b c", [DATA], b"a b c\n" + LINE),
        (b"a b c\n\n", [DATA], b"a b c\n\n" + LINE),
        (LINE, [DATA], LINE),
        (LINE[:-1], [DATA], LINE[:-1]),
        (b"LABEL=old /data/ xfs ro 0 0 # azurelite\na b c\n", [DATA], LINE + b"a b c\n"),
        (LINE + b"a b c\n" + LINE, [DATA], LINE + b"a b c\n"),
        (b"/swapfile swap swap defaults 0 0 # azurelite\n", [SWAP], SWAP_LINE),
        (b"/other none swap sw 0 0 # azurelite\n", [SWAP], b"/other none swap sw 0 0 # azurelite\n" + SWAP_LINE),
        (b"LABEL=x /data/sub ext4 ro 0 0 # azurelite\n", [DATA], b"LABEL=x /data/sub ext4 ro 0 0 # azurelite\n" + LINE),
        (HOSTILE, [DATA, SWAP], HOSTILE + LINE + SWAP_LINE),
    ],
)
def test_our_lines_among_others(guest: Guest, before: bytes, entries: list[Entry], after: bytes) -> None:
    assert ensured(guest, before, *entries) == after
    assert ensured(guest, after, *entries) == after


def test_the_file_keeps_its_mode_and_owner(guest: Guest) -> None:
    guest.put({"etc/fstab": "a b c\n"}).path("etc/fstab").chmod(0o640)
    system = System(guest.root)
    table = Fstab(system)
    table.ensure(DATA)
    assert table.save() is True
    assert table.save() is False
    assert guest.mode("etc/fstab") == 0o640
    assert [change.target for change in system.journal.since(0)] == ["/etc/fstab"]


@pytest.mark.parametrize(
    ("line", "entry", "theirs"),
    [
        (b"LABEL=x /data xfs ro 0 0", DATA, True),
        (b"LABEL=x /data/ xfs ro 0 0", DATA, True),
        (b"LABEL=x\t/data\txfs", DATA, True),
        (LINE[:-1], DATA, False),
        (b"# LABEL=x /data xfs ro 0 0", DATA, False),
        (b"LABEL=x /data2 xfs ro 0 0", DATA, False),
        (b"/swapfile none swap sw 0 0", SWAP, True),
        (b"/swapfile swap swap sw 0 0", SWAP, True),
        (b"/dev/sdz none swap sw 0 0", SWAP, False),
        (b"x /a\\040b ext4 ro", Entry("y", "/a b", "auto", "ro"), True),
    ],
)
def test_somebody_elses_line(guest: Guest, line: bytes, entry: Entry, theirs: bool) -> None:
    guest.path("etc/fstab").write_bytes(b"x y z\n" + line + b"\n")
    assert (Fstab(System(guest.root)).foreign(entry) is not None) is theirs


@pytest.mark.parametrize(
    "entry",
    [
        DATA,
        SWAP,
        Entry("LABEL=a b\\c", "/with space/and\ttab", "ext4", "defaults", 1, 9),
        Entry("//server/share name", "/\u00fcber", "cifs", "credentials=/etc/x"),
        Entry("x", "/a\nb # azurelite", "auto", "defaults"),
        Entry("x", "/\udcff", "auto", "defaults"),
    ],
)
def test_a_line_says_what_the_entry_does(entry: Entry) -> None:
    assert b"\n" not in entry.line()
    assert parse(entry.line()) == entry


@pytest.mark.spawns
@pytest.mark.skipif(shutil.which("findmnt") is None, reason="needs findmnt: install util-linux")
def test_the_systems_own_reader_agrees(guest: Guest) -> None:
    entries = [DATA, Entry("LABEL=a b", "/with space", "xfs", "defaults,noatime", 0, 2)]
    ensured(guest, b"", *entries, SWAP)
    asked = ["findmnt", "--tab-file", str(guest.path("etc/fstab")), "--raw", "--noheadings"]
    done = subprocess.run(
        [*asked, "-o", "SOURCE,TARGET,FSTYPE,OPTIONS,FREQ,PASSNO"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "UUID=1 /data ext4 defaults,nofail 0 2",
        "LABEL=a\\x20b /with\\x20space xfs defaults,noatime 0 2",
        "/swapfile none swap sw,nofail 0 0",
    ]


def test_without_etc_there_is_no_table(guest: Guest) -> None:
    shutil.rmtree(guest.path("etc"))
    with pytest.raises(HandlerError, match="cannot write /etc/fstab because /etc does not exist"):
        Fstab(System(guest.root))
    assert not os.path.exists(guest.path("etc"))


@pytest.mark.spawns
@pytest.mark.parametrize(
    ("first", "exit_code", "told"),
    [("/usr/lib/systemd/systemd", 0, True), ("/usr/lib/systemd/systemd", 1, True), ("/usr/sbin/runit", 0, False)],
)
def test_a_running_systemd_reads_a_changed_table(
    guest: Guest, tmp_path: Path, first: str, exit_code: int, told: bool
) -> None:
    guest.put({"etc/fstab": ""}).runs(first)
    log = shim(tmp_path / "bin", "systemctl", exit_code=exit_code)
    system = System(guest.root, search_path=str(tmp_path / "bin"))
    system.root.is_host = True
    table = Fstab(system)
    table.ensure(DATA)
    assert (table.save(), table.save()) == (True, False)
    assert (log.read_text() if log.exists() else "") == ("daemon-reload\n--\n" if told else "")
