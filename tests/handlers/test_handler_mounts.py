"""`mounts`: valid and invalid entries and their lines in /etc/fstab. Real mounts: test_disks_live."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from kit import Guest

from azurelite.config.document import Document
from azurelite.config.schema import bind
from azurelite.errors import ConfigError, HandlerError
from azurelite.handlers import Context
from azurelite.handlers.mounts import Options, apply


def options(*entries: dict[str, Any]) -> Options:
    return bind(Options, {"entries": list(entries)}, Document({}, {}), ("mounts",))


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"device": "UUID=1", "path": "/data"}, "UUID=1 /data auto defaults,nofail 0 2"),
        ({"device": "UUID=1", "path": "//data/./x/"}, "UUID=1 /data/x auto defaults,nofail 0 2"),
        ({"device": "sdc1", "path": "/data", "type": "xfs"}, "/dev/sdc1 /data xfs defaults,nofail 0 2"),
        ({"device": "nvme0n2p1", "path": "/data"}, "/dev/nvme0n2p1 /data auto defaults,nofail 0 2"),
        (
            {"device": "LABEL=my data", "path": "/with space", "options": "ro", "dump": 1, "check": 0},
            "LABEL=my\\040data /with\\040space auto ro 1 0",
        ),
        ({"device": "tmpfs", "path": "/t", "type": "tmpfs", "options": "size=1m"}, "tmpfs /t tmpfs size=1m 0 0"),
        ({"device": "host:/x", "path": "/t", "type": "nfs"}, "host:/x /t nfs defaults,nofail 0 0"),
        ({"device": "//host/x", "path": "/t", "type": "cifs"}, "//host/x /t cifs defaults,nofail 0 0"),
        ({"device": "LABEL=s", "type": "swap"}, "LABEL=s none swap sw,nofail 0 0"),
        ({"device": "/dev/sdd", "path": "none", "type": "swap", "options": "pri=3"}, "/dev/sdd none swap pri=3 0 0"),
    ],
)
def test_an_entry_and_its_line(guest: Guest, context: Callable[..., Context], entry: dict[str, Any], line: str) -> None:
    apply(context(), options(entry))
    assert guest.text("etc/fstab") == f"{line} # azurelite\n"
    if "path" in entry and entry["path"] != "none":
        assert guest.mode(entry["path"]) == 0o755


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({}, "device is missing"),
        ({"path": "/data"}, "device is missing"),
        ({"device": "a\nb", "path": "/data"}, "device is missing or has"),
        ({"device": "a\tb", "path": "/data"}, "device is missing or has"),
        ({"device": "# x", "path": "/data"}, "device is missing or has"),
        ({"device": "ephemeral0", "path": "/mnt"}, "use the handler resource_disk"),
        ({"device": "ephemeral0.1", "path": "/mnt"}, "use the handler resource_disk"),
        ({"device": "swap", "path": "none"}, "resource_disk or swap"),
        ({"device": "x"}, "path must be an absolute path"),
        ({"device": "x", "path": "data"}, "path must be an absolute path"),
        ({"device": "x", "path": "/data\n/evil"}, "path must be an absolute path"),
        ({"device": "x", "path": "/data/../../etc"}, "path must be an absolute path"),
        ({"device": "x", "path": "/"}, "path must not be `/`"),
        ({"device": "x", "path": "//"}, "path must not be `/`"),
        ({"device": "x", "path": "/x", "type": "swap"}, "path must be left out for swap"),
        ({"device": "x", "path": "/x", "type": "ext4 x"}, "type must be"),
        ({"device": "x", "path": "/x", "type": ""}, "type must be"),
        ({"device": "x", "path": "/x", "options": "a b"}, "options must be separated by commas"),
        ({"device": "x", "path": "/x", "options": "a\nb"}, "options must be separated by commas"),
        ({"device": "x", "path": "/x", "options": "a#"}, "options must be separated by commas"),
        ({"device": "x", "path": "/x", "options": ""}, "options must be separated by commas"),
        ({"device": "x", "path": "/x", "dump": -1}, "dump and check"),
        ({"device": "x", "path": "/x", "check": 10}, "dump and check"),
        ({"device": "x", "path": "/x", "check": "2"}, "must be a whole number"),
    ],
)
def test_invalid_entries_are_refused(entry: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        options(entry)


def test_two_entries_for_one_mount_point_are_refused() -> None:
    with pytest.raises(ConfigError, match="entries has /data twice: remove one"):
        options({"device": "UUID=1", "path": "/data"}, {"device": "UUID=2", "path": "/data/"})


def test_another_line_for_the_mount_point_is_kept_and_ours_skipped(
    guest: Guest, context: Callable[..., Context], notes: list[str]
) -> None:
    guest.put({"etc/fstab": "LABEL=theirs /data xfs ro 0 0\n"})
    apply(context(), options({"device": "UUID=1", "path": "/data"}, {"device": "UUID=2", "path": "/more"}))
    assert guest.text("etc/fstab") == (
        "LABEL=theirs /data xfs ro 0 0\nUUID=2 /more auto defaults,nofail 0 2 # azurelite\n"
    )
    assert notes == ["/data skipped: /etc/fstab already has a different line for it: remove one of the two"]
    assert not guest.path("data").exists()


def test_the_same_line_without_our_mark_is_kept(
    guest: Guest, context: Callable[..., Context], notes: list[str]
) -> None:
    guest.put({"etc/fstab": "UUID=1 /data auto ro 0 0\n"})
    apply(context(), options({"device": "UUID=1", "path": "/data"}))
    assert guest.text("etc/fstab") == "UUID=1 /data auto ro 0 0\n"
    assert notes == []


def test_our_line_is_replaced_when_the_options_change(guest: Guest, context: Callable[..., Context]) -> None:
    for entry in ({"device": "UUID=1", "path": "/data"}, {"device": "UUID=2", "path": "/data", "type": "xfs"}):
        apply(context(), options(entry))
    assert guest.text("etc/fstab") == "UUID=2 /data xfs defaults,nofail 0 2 # azurelite\n"


def test_a_mount_point_that_cannot_be_made_leaves_everything_as_it_was(
    guest: Guest, context: Callable[..., Context]
) -> None:
    before = guest.snapshot()
    with pytest.raises(HandlerError, match="/etc/hostname is not a folder"):
        apply(
            context(),
            options({"device": "UUID=1", "path": "/data"}, {"device": "UUID=2", "path": "/etc/hostname/x"}),
        )
    assert guest.snapshot() == before


def test_without_options_nothing_is_done(guest: Guest, context: Callable[..., Context]) -> None:
    before = guest.snapshot()
    apply(context(), options())
    assert guest.snapshot() == before
