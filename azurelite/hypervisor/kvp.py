"""Hyper-V KVP (key-value pairs): a second way to report to the host, through a file and without a network.

A pool file is a sequence of records: 512 bytes of key and 2048 bytes of value, UTF-8, padded with NULs. The host reads
fewer bytes than fit, and only until provisioning ends. So records are written before the health report.

Besides the report, the pool gets an event for each step, in the form of cloud-init's:
`AZURELITE|INCARNATION|finish|STEP|VM ID|UUID`, with `|NUMBER` where a text needs several records. The incarnation tells
boots apart.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import stat
from typing import Any, Callable, Iterator, Optional, Sequence

from azurelite import layout
from azurelite.clock import Clock, Deadline
from azurelite.errors import FileError
from azurelite.record import Record
from azurelite.system.explain import explained, lock, write_all
from azurelite.system.files import READ_LIMIT, Files

LOG = logging.getLogger(__name__)

REPORT_KEY = "PROVISIONING_REPORT"
EVENT_PREFIX = "AZURELITE"
_REPORT_START = f"{REPORT_KEY}\0".encode()
VALUE_LIMIT = 1022  # bytes; the driver passes on no more
KEY_LIMIT = 254
_KEY_SIZE = 512
_VALUE_SIZE = 2048
_RECORD_SIZE = _KEY_SIZE + _VALUE_SIZE
_LOCK_WAIT = 1.0  # seconds
_MOST_TEXT = 4096  # characters of an event's text
_LONGEST_NAME = 100  # bytes of a step's name in the key, which then has at most 254
_SLICE_ROOM = len('"msg_i":00,')
_UNKNOWN_VM = "00000000-0000-0000-0000-000000000000"


class Event(Record):
    """The end of a step.

    Attributes:
        name: the step.
        result: "SUCCESS", "WARN" or "FAIL".
        ts: when it ended, ISO 8601.
        duration: seconds.
        text: what came of it; never a secret.
    """

    name: str
    result: str
    ts: str
    duration: float
    text: str


def write(
    files: Files,
    report: Optional[str],
    *,
    clock: Clock,
    vm_id: Optional[str] = None,
    events: Sequence[Event] = (),
) -> None:
    """Write the provisioning report and events for the host, where this machine has a KVP pool, under one lock.

    azurelite's records of earlier boots are removed; all others stay as they are. A failure is only logged, because
    the health report is the one that counts.

    Args:
        files: the guest's files; in a dry run nothing is written.
        report: the text of the report; cut to 1022 bytes. None: only events.
        clock: for the wait (at most 1 s) while another program has locked the pool, and the number of this boot.
        vm_id: the VM of the events.
        events: to append.
    """
    pool_folder = layout.KVP_POOL.rpartition("/")[0]
    try:
        if files.dry_run or not files.is_dir(pool_folder):
            return
        boot = _incarnation(files, clock)
        added = [pair for event in events for pair in event_pairs(event, boot=boot, vm_id=vm_id)]
        wait = Deadline(clock, _LOCK_WAIT)
        rewrite_shared(files, layout.KVP_POOL, lambda pool: updated(pool, report, added, boot=boot), wait=wait)
    except FileError as error:
        LOG.warning("kvp: report not written: %s", error)


def forget(files: Files, clock: Clock) -> None:
    """Remove all of azurelite's records: they may name the users of this VM. Raises FileError."""

    def without(pool: bytes) -> bytes:
        if len(pool) % _RECORD_SIZE:
            return pool  # it is another program's
        records = [pool[start : start + _RECORD_SIZE] for start in range(0, len(pool), _RECORD_SIZE)]
        return b"".join(one for one in records if not one.startswith((f"{EVENT_PREFIX}|".encode(), _REPORT_START)))

    if files.stat(layout.KVP_POOL) is not None:
        rewrite_shared(files, layout.KVP_POOL, without, wait=Deadline(clock, _LOCK_WAIT))


def updated(pool: bytes, report: Optional[str], added: Sequence[tuple[str, str]], *, boot: int) -> bytes:
    """The pool with the report and more pairs, without azurelite's records of earlier boots. Raises FileError."""
    if len(pool) % _RECORD_SIZE:
        raise FileError(f"{layout.KVP_POOL} has {len(pool)} bytes, which is no whole number of records: it is not used")
    own, kept = f"{EVENT_PREFIX}|".encode(), f"{EVENT_PREFIX}|{boot}|".encode()
    records = [pool[start : start + _RECORD_SIZE] for start in range(0, len(pool), _RECORD_SIZE)]
    pool = b"".join(one for one in records if not one.startswith(own) or one.startswith(kept))
    if report is not None:
        pool = upsert(pool, REPORT_KEY, report)
    return pool + b"".join(_record(key, value) for key, value in added)


def upsert(pool: bytes, key: str, value: str) -> bytes:
    """The pool with this key set: its last record of that key replaced, or a new one appended.

    All older records of the key are removed: a captured image brings those of another VM, and a host that reads the
    first one would show that VM's failure.
    """
    record = _record(key, value)
    records = [pool[start : start + _RECORD_SIZE] for start in range(0, len(pool), _RECORD_SIZE)]
    own = [place for place, old in enumerate(records) if old[:_KEY_SIZE].rstrip(b"\0") == key.encode()]
    if not own:
        return b"".join([*records, record])
    kept = (record if place == own[-1] else old for place, old in enumerate(records) if place not in own[:-1])
    return b"".join(kept)


def event_pairs(event: Event, *, boot: int, vm_id: Optional[str]) -> Iterator[tuple[str, str]]:
    """Key and value of each record of an event. A long text is sliced between characters; each value is whole JSON."""
    name = _cut(event.name.replace("|", "_"), _LONGEST_NAME).decode()
    key = f"{EVENT_PREFIX}|{boot}|finish|{name}|{vm_id or _UNKNOWN_VM}|{_uuid4()}"
    told: dict[str, Any] = {"name": name, "type": "finish", "ts": event.ts, "result": event.result}
    told["duration"] = round(event.duration, 3)
    text = event.text[:_MOST_TEXT]
    whole = _as_json({**told, "msg": text})
    if len(whole) <= VALUE_LIMIT:
        yield key, whole.decode()
        return
    room = VALUE_LIMIT - len(_as_json({**told, "msg": ""})) - _SLICE_ROOM
    for number, part in enumerate(_slices(text, room)):
        yield f"{key}|{number}", _as_json({**told, "msg_i": number, "msg": part}).decode()


def _slices(text: str, room: int) -> Iterator[str]:
    """The text in parts that take at most `room` bytes each as JSON."""
    while text:
        part = text[:room]
        while (over := len(_as_json(part)) - len('""') - room) > 0:
            part = part[: -(over // 6 or 1)]  # a character takes at most 6 bytes
        yield part
        text = text[len(part) :]


def _as_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


def _record(key: str, value: str) -> bytes:
    return _cut(key, KEY_LIMIT).ljust(_KEY_SIZE, b"\0") + _cut(value, VALUE_LIMIT).ljust(_VALUE_SIZE, b"\0")


def _cut(text: str, limit: int) -> bytes:
    """The text as UTF-8, cut between two characters."""
    return text.encode(errors="replace")[:limit].decode(errors="ignore").encode()


def _uuid4() -> str:
    digits = bytearray(os.urandom(16))
    digits[6], digits[8] = digits[6] & 0x0F | 0x40, digits[8] & 0x3F | 0x80
    text = digits.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _incarnation(files: Files, clock: Clock) -> int:
    """When this boot began, in seconds since 1970; every call of this boot returns the first one's number.

    A clock that is set during the boot would change it, so it is noted in /run. Raises FileError.
    """
    noted = (files.read(layout.KVP_INCARNATION) or b"").strip()
    if noted.isdigit() and len(noted) < 20:
        return int(noted)
    uptime = files.root.text("/proc/uptime").partition(" ")[0]
    seconds = float(uptime) if uptime.replace(".", "", 1).isdigit() else 0.0
    boot = max(0, int(clock.now() - seconds))
    with contextlib.suppress(FileError):  # a later call of this boot may then count as another boot
        files.make_own_folder(layout.RUN_DIR, mode=0o755, lasting=False)
        files.put(
            layout.KVP_INCARNATION,
            f"{boot}\n".encode(),
            mode=0o644,
            owner=None,
            beneath=layout.KVP_INCARNATION,
            lasting=False,
        )
    return boot


def rewrite_shared(files: Files, path: str, transform: Callable[[bytes], bytes], *, wait: Deadline) -> None:
    """Change a file in place under both kinds of lock (mode 0600 if it is new); no Change is recorded.

    Args:
        files: the guest's files.
        path: guest path.
        transform: returns the new content for the old one.
        wait: the deadline for getting the locks.

    Raises:
        FileError: an error of the system, or another program held a lock until the deadline.
    """
    with explained("write", path), open(files.open_shared(path), "r+b", buffering=0) as shared:
        if not stat.S_ISREG(os.fstat(shared.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        lock(lambda: fcntl.flock(shared, fcntl.LOCK_EX | fcntl.LOCK_NB), wait)  # cloud-init's kind
        lock(lambda: fcntl.lockf(shared, fcntl.LOCK_EX | fcntl.LOCK_NB), wait)  # the Hyper-V daemon's
        if os.fstat(shared.fileno()).st_size > READ_LIMIT:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        before = shared.read(READ_LIMIT) or b""
        after = transform(before)
        if after == before:
            return
        shared.seek(0)
        write_all(shared.fileno(), after)
        shared.truncate(len(after))
