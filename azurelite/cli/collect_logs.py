"""`azurelite collect-logs`: one archive for a bug report, without secrets."""

from __future__ import annotations

import io
import json
import os
import platform
import stat
import sys
import tarfile
import time
from typing import IO, Any, Iterator, Optional

import azurelite
from azurelite import layout
from azurelite.cli.parser import add_root_argument
from azurelite.cli.redaction import Redaction, names_of
from azurelite.errors import ConfigError, FileError
from azurelite.record import Record
from azurelite.system.root import Root, check_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

_FILE_LIMIT = 2 * 1024 * 1024  # bytes of one file; of a longer one, the end
_READ_LIMIT = 8 * 1024 * 1024
_TOTAL_LIMIT = 16 * 1024 * 1024
_MOST_OUTPUTS = 100
_BOOTS = f"{layout.STATE_DIR}/boots"
_MOST_BOOTS = 10
_RECORDS = ("status.json", "timeline.json")
_SYSTEM = ("/etc/os-release", "/usr/lib/os-release", "/proc/version", "/proc/uptime", "/proc/1/comm")
_ROUTES = "/proc/net/route"  # its addresses are hexadecimal numbers, which --redact does not know
# The fields of the metadata that hold neither secrets nor what users have written.
_FIELDS = (
    "cloud_name", "platform", "vm_id", "region", "availability_zone", "fault_domain", "vm_size", "pps_type",
    "disable_password_authentication", "provenance", "sources", "failures", "missing", "lost", "damaged", "refused",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own options."""
    add_root_argument(parser)
    parser.add_argument("--output", metavar="FILE", help="create this file; it must not exist yet")
    parser.add_argument(
        "--redact", action="store_true", help="also hide names of accounts and hosts, addresses and ids of Azure"
    )
    parser.add_argument(
        "--with-output", action="store_true", help="add the outputs of scripts and commands, which may hold secrets"
    )


def run(arguments: argparse.Namespace) -> int:
    """Create the archive, and print its path and what could not be read."""
    check_root(arguments.root)
    now = time.time()
    path = arguments.output or time.strftime("azurelite-logs-%Y%m%dT%H%M%SZ.tar.gz", time.gmtime(now))
    root = Root(arguments.root)
    redaction = Redaction(_names(root)) if arguments.redact else None
    entries = list(_bounded(_entries(root, redacted=arguments.redact, outputs=arguments.with_output)))
    about = _about(root, entries, redacted=arguments.redact, outputs=arguments.with_output)
    members = [*entries, Entry("/about.json", json.dumps(about, indent=2).encode() + b"\n")]
    with _created(path) as file:
        _write(file, path, members, redaction, when=int(now))
    denied = [entry.path for entry in entries if entry.note == "Permission denied"]
    if denied:
        print(f"azurelite: warning: collect-logs: cannot read {', '.join(denied)}: use sudo", file=sys.stderr)
    print(f"{path}: {sum(entry.data is not None for entry in members)} files; read it before you publish it")
    return 0


class Entry(Record):
    """A file of the archive, or why it is not in it.

    Attributes:
        path: guest path.
        data: its content; None: left out.
        note: why it is left out or cut; None: it is whole.
    """

    path: str
    data: Optional[bytes]
    note: Optional[str] = None


def _entries(root: Root, *, redacted: bool, outputs: bool) -> Iterator[Entry]:
    """Every file of the fixed list. Links are not followed: what they lead to may be secret."""
    for path in (layout.LOG, layout.OLDER_LOG):
        yield _read(root, path)
    for name in _RECORDS:
        yield _read(root, f"{layout.RUN_DIR}/{name}", beneath=layout.RUN_DIR)
    for boot in [name for name in _names_in(root, _BOOTS) if name.isdecimal()][-_MOST_BOOTS:]:
        for name in _RECORDS:
            yield _read(root, f"{_BOOTS}/{boot}/{name}", beneath=layout.STATE_DIR)
    yield _metadata(root)
    for path in (*_SYSTEM, *(() if redacted else (_ROUTES,))):
        yield _read(root, path)
    if outputs:
        for path in layout.output_files(lambda folder: _names_in(root, folder))[:_MOST_OUTPUTS]:
            yield _read(root, path, beneath=layout.OUTPUTS)


def _read(root: Root, path: str, *, beneath: Optional[str] = None) -> Entry:
    try:
        data = root.read(path, limit=_READ_LIMIT, beneath=beneath or path)
    except OSError as error:
        return Entry(path, None, error.strerror)
    if data is None:
        return Entry(path, None, "it does not exist")
    if len(data) > _FILE_LIMIT:
        return Entry(path, data[-_FILE_LIMIT:], f"the last {_FILE_LIMIT} bytes")
    return Entry(path, data)


def _metadata(root: Root) -> Entry:
    """The public metadata without what users have written: tags, keys and names."""
    document = _saved(root)
    if document is None:
        return Entry(layout.METADATA, None, "it does not exist, or cannot be read")
    chosen = {name: document[name] for name in _FIELDS if document.get(name) is not None}
    return Entry(layout.METADATA, json.dumps(chosen, indent=2).encode() + b"\n", f"only {', '.join(_FIELDS)}")


def _saved(root: Root) -> Optional[dict[str, Any]]:
    return _parsed(_read(root, layout.METADATA, beneath=layout.RUN_DIR))


def _parsed(entry: Entry) -> Optional[dict[str, Any]]:
    try:
        document = json.loads(entry.data or b"")
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _bounded(entries: Iterator[Entry]) -> Iterator[Entry]:
    """The entries, with what is left of the archive's size."""
    room = _TOTAL_LIMIT
    for entry in entries:
        size = len(entry.data or b"")
        if size > room:
            yield Entry(entry.path, None, "the archive is full")
        else:
            room -= size
            yield entry


def _names(root: Root) -> set[str]:
    """What to hide. The log may name accounts that are gone, and VMs of earlier boots."""
    passwd, hostname = root.text("/etc/passwd", limit=_FILE_LIMIT), root.text("/etc/hostname")
    vms = [f"{layout.VMS_DIR}/{name}/metadata.json" for name in _names_in(root, layout.VMS_DIR)]
    documents = [_saved(root), *(_parsed(_read(root, path, beneath=layout.STATE_DIR)) for path in vms)]
    rows = _read(root, layout.MANIFEST).data or b""
    accounts = [_parsed(Entry("", line)) for line in rows.splitlines()]
    made = {row.get("target") for row in accounts if row is not None and row.get("kind") in ("account", "user")}
    return names_of(passwd, hostname, documents) | {name for name in made if isinstance(name, str) and name.strip()}


def _names_in(root: Root, folder: str) -> list[str]:
    try:
        return root.names(folder)
    except OSError:  # no permission: nothing in it is readable either
        return []


def _about(root: Root, entries: list[Entry], *, redacted: bool, outputs: bool) -> dict[str, Any]:
    """What the archive is, and what is not in it."""
    words = root.text(layout.KERNEL_COMMAND_LINE).split()
    config = layout.config_files(lambda folder: _names_in(root, folder))
    return {
        "format": 1,
        "azurelite": azurelite.__version__,
        "python": platform.python_version(),
        "machine": os.uname().machine if root.is_host else None,
        "live": root.is_host,
        "redacted": redacted,
        "with_output": outputs,
        "kernel_words": [word for word in words if word in (layout.KERNEL_OFF_WORD, layout.KERNEL_DEBUG_WORD)],
        "disabled": _read(root, layout.DISABLED_SWITCH).note != "it does not exist",
        "configuration": [path for path in config if _read(root, path).note != "it does not exist"],
        "files": {entry.path: entry.note or "whole" for entry in entries},
    }


def _write(file: IO[bytes], path: str, members: list[Entry], redaction: Optional[Redaction], *, when: int) -> None:
    try:
        with file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for entry in members:
                if entry.data is None:
                    continue
                data = entry.data
                if redaction is not None:
                    data = redaction.hide(data.decode(errors="replace")).encode()
                member = tarfile.TarInfo(f"azurelite-logs{entry.path}")
                member.size, member.mtime, member.mode = len(data), when, 0o600
                archive.addfile(member, io.BytesIO(data))
    except OSError as error:
        os.unlink(path)
        raise FileError(f"{path}: {error.strerror}") from error


def _created(path: str) -> IO[bytes]:
    """The new output, for its owner only.

    Raises:
        ConfigError: it exists, or others can write to its folder and could replace it.
    """
    folder, name = os.path.split(os.path.abspath(path))
    try:
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"--output {path}: {error.strerror}: give a file in a folder that exists") from error
    try:
        mode = os.fstat(place).st_mode
        if mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
            raise ConfigError(f"--output {path}: others can write to its folder: give a file in another folder")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.fdopen(os.open(name, flags, 0o600, dir_fd=place), "wb")
    except OSError as error:
        raise ConfigError(f"--output {path}: {error.strerror}: give a new file with --output") from error
    finally:
        os.close(place)
