"""The files that other programs may read: in /run/azurelite of this boot, in /var/lib/azurelite of earlier ones."""

from __future__ import annotations

import json
import logging
import os
import stat
from typing import Any, Callable, Optional, Sequence

from azurelite import layout
from azurelite.errors import ConfigError, FileError
from azurelite.hypervisor.identity import read_identity, swap_bytes
from azurelite.metadata import Metadata
from azurelite.outcome import Outcome
from azurelite.state.quick import failure_path
from azurelite.state.status import FORMAT, STATES, failure_of
from azurelite.system.files import READ_LIMIT, Files
from azurelite.system.root import Root

LOG = logging.getLogger(__name__)
MOST_BOOTS = 10
BOOTS_BYTES = 1024 * 1024  # of all of them together
RECORD_LIMIT = 1024 * 1024  # bytes of a status or timeline
CRASH_REMEDY = "Look for its last lines in the log, then run `azurelite provision`."
Columns = tuple[tuple[str, Any], ...]  # keys of a record, and the types of their values
_NUMBER, _TEXT = (int, float), (str, type(None))
_STATUS: Columns = (
    *((key, _TEXT) for key in ("boot_id", "step", "reason", "remedy", "updated", "outcome", "vm_id", "log")),
    *(("state", str), ("pid", int), ("seconds", _NUMBER), ("requests", int), ("steps", list), ("outputs", list)),
    *(("report", (dict, type(None))), ("last_failure", (dict, type(None)))),
)
_STEP: Columns = (("name", str), ("status", str), ("seconds", _NUMBER), ("started", _NUMBER), ("changes", int))
_TIMELINE: Columns = (("boot_id", _TEXT), ("started", str), ("uptime", (*_NUMBER, type(None))), ("spans", list))
_SPAN: Columns = (("kind", str), ("name", str), ("start", _NUMBER), ("end", _NUMBER), ("status", str))


def save_metadata(files: Files, metadata: Metadata) -> dict[str, Any]:
    """Write `metadata.json` for everybody, without secrets, and `metadata-sensitive.json` for root, with them.

    Returns:
        The document without secrets.
    """
    public = metadata.document()
    _save(files, layout.METADATA, public, mode=0o644)
    _save(files, layout.METADATA_SENSITIVE, metadata.document(secrets=True), mode=0o600)
    return public


def save_details(files: Files, outcome: Outcome, timeline: dict[str, Any]) -> None:
    """Write `status-full.json` for root, and `timeline.json` for everybody."""
    _save(files, layout.STATUS_FULL, outcome.as_dict(), mode=0o600)
    _save(files, layout.TIMELINE, timeline, mode=0o644)


def save_failure(files: Files, vm_id: Optional[str], failure: dict[str, Any]) -> None:
    """Keep the public part of a failure for the status of later boots."""
    path = failure_path(vm_id)
    _keep(files, path, lambda: _put(files, path, f"{json.dumps(failure)}\n".encode(), mode=0o600))


def keep_metadata(files: Files, vm_id: str, document: dict[str, Any]) -> None:
    """Keep the last crawl of a VM, without secrets, for `metadata --saved` at later boots."""
    path = layout.saved_metadata(vm_id)
    _keep(files, path, lambda: _put(files, path, as_text(document), mode=0o600))


def keep_boot(files: Files, status: dict[str, Any], timeline: dict[str, Any]) -> None:
    """Keep status and timeline of this boot, in place of those of an earlier run of it; drop the oldest boots."""
    texts = {"status.json": as_text(status), "timeline.json": as_text(timeline)}

    def write() -> None:
        names = boot_names(files.root)
        here = status["boot_id"]
        again = bool(names) and here is not None and boot_id_of(files.root, names[-1]) == here
        name = names.pop() if again else f"{int(names[-1]) + 1 if names else 1:04d}"
        folder = f"{layout.BOOTS_DIR}/{name}"
        files.make_own_folder(folder, lasting=False)
        for file, data in texts.items():
            _put(files, f"{folder}/{file}", data, mode=0o600)
        _drop_oldest(files, names, room=BOOTS_BYTES - sum(map(len, texts.values())))

    _keep(files, f"{layout.BOOTS_DIR}/", write)


def boot_names(root: Root) -> list[str]:
    """The names of the kept boots, the oldest first. Raises OSError."""
    names = [name for name in root.names(layout.BOOTS_DIR) if name.isascii() and name.isdigit() and len(name) <= 9]
    return sorted(names, key=int)


def kept_boots(root: Root) -> list[str]:
    """Like `boot_names`. Raises ConfigError: only root may look."""
    try:
        return boot_names(root)
    except OSError as error:
        raise ConfigError(f"{layout.BOOTS_DIR}: {error.strerror}: use sudo") from error


def boot_before(names: Sequence[str], back: int) -> str:
    """Of the boots before this one, the oldest first, the one that `--boot -BACK` names. Raises ConfigError."""
    if back > len(names):
        kept = f"{len(names)} earlier boot{'s are' if len(names) > 1 else ' is'}" if names else "no earlier boot is"
        raise ConfigError(f"--boot -{back}: {kept} kept in {layout.BOOTS_DIR}: give a smaller number, or leave it out")
    return names[-back]


def found_status(root: Root, path: str = layout.STATUS) -> Optional[dict[str, Any]]:
    """The status at `path`; None if there is none that can be used."""
    try:
        return read_record(root, path)
    except ConfigError as error:
        LOG.debug("records: %s", error)
        return None


def read_record(root: Root, path: str) -> Optional[dict[str, Any]]:
    """A status or timeline; None if there is none.

    Raises:
        ConfigError: it cannot be read, is damaged, or is of another version of azurelite.
    """
    try:
        data = root.read(path, limit=RECORD_LIMIT + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}: use sudo") from error
    if data is None:
        return None
    try:
        document = json.loads(data) if len(data) <= RECORD_LIMIT else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ConfigError(f"{path} is damaged and not used")
    if document.get("format") != FORMAT:
        raise ConfigError(f"{path} is of another version of azurelite and not used")
    if not _fits(document, _TIMELINE if "spans" in document else _STATUS):
        raise ConfigError(f"{path} is damaged and not used")
    rows, columns = (document["spans"], _SPAN) if "spans" in document else (document["steps"], _STEP)
    wrong = [row for row in rows if not isinstance(row, dict) or not _fits(row, columns)]
    if wrong or document.get("state", "done") not in STATES:
        raise ConfigError(f"{path} is damaged and not used")
    return document


def is_crashed(status: dict[str, Any], *, boot_id: Optional[str]) -> bool:
    """Whether the run of an unfinished status ended without a result: it is of another boot, or its process is gone.

    A number is given again to other processes, so one that is certainly no Python counts as gone.
    """
    if status.get("boot_id") != boot_id:
        return True
    pid = status.get("pid")
    if not isinstance(pid, int) or not 0 < pid < 2**31:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is another user's
        pass
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(4096).lower()
    except OSError:  # not Linux, or the processes of others are hidden
        return False
    # Without words it is just being started, or has ended, or is of the kernel.
    return words != b"" and b"python" not in words and b"azurelite" not in words


def crash_of(status: dict[str, Any]) -> dict[str, Any]:
    """The failure that an unfinished status of a process that is gone means."""
    at = f" in the step {status['step']}" if status.get("step") else ""
    text = f"azurelite ended without a result{at}: it was killed or crashed"
    return {**failure_of(status), "state": "failed", "reason": text, "remedy": CRASH_REMEDY}


def read_saved(root: Root, *, secrets: bool) -> dict[str, Any]:
    """The metadata that the last run saved: in /run of this boot, or without secrets in the records of this VM.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    path = layout.METADATA_SENSITIVE if secrets else layout.METADATA
    found = _read_document(root, path)
    if found is not None:
        return found
    if secrets:
        raise ConfigError(f"{path} does not exist: secrets are kept for one boot only: leave --show-secrets out")
    vm_id = read_identity(root).vm_id
    for one in (vm_id, swap_bytes(vm_id)) if vm_id is not None else ():
        kept = _read_document(root, layout.saved_metadata(one))
        if kept is not None:
            return kept
    if vm_id is None and root.is_host and os.geteuid() != 0:
        raise ConfigError(f"{path} does not exist in this boot; what was kept earlier is for root only: use sudo")
    raise ConfigError(f"{path} does not exist: run `azurelite provision`, or leave --saved out")


def _read_document(root: Root, path: str) -> Optional[dict[str, Any]]:
    try:
        data = root.read(path, limit=READ_LIMIT)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: use sudo") from error
    if data is None:
        return None
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is damaged: leave --saved out") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path} is damaged: leave --saved out")
    return document


def as_text(document: dict[str, Any]) -> bytes:
    """JSON with one key per line. `json.dumps(indent=2)` would use the Python encoder, which is ten times slower."""
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in document.items())
    return f"{{\n{lines}\n}}\n".encode()


def _put(files: Files, path: str, data: bytes, *, mode: int) -> None:
    """Write a file that a power cut may take. A link at its place is replaced, not followed. Raises FileError."""
    files.put(path, data, mode=mode, owner=None, beneath=path, lasting=False)


def _save(files: Files, path: str, document: dict[str, Any], *, mode: int) -> None:
    """Write a file for other programs. A failure is only logged, because the run does not need the file."""
    if files.dry_run:
        return
    try:
        files.make_own_folder(layout.RUN_DIR, mode=0o755, lasting=False)
        _put(files, path, as_text(document), mode=mode)
    except FileError as error:
        LOG.warning("records: %s", error)


def _keep(files: Files, path: str, write: Callable[[], None]) -> None:
    """Write what later boots may read. A failure is for debugging only: the state has warned of a full disk."""
    try:
        files.make_own_folder(path.rpartition("/")[0], lasting=False)
        write()
    except (FileError, OSError) as error:
        LOG.debug("records: %s", error)


def boot_id_of(root: Root, name: str) -> Optional[str]:
    """The boot id of a kept boot; None if it has none, or its status cannot be used."""
    found = found_status(root, f"{layout.BOOTS_DIR}/{name}/status.json")
    return found.get("boot_id") if found is not None else None


def _drop_oldest(files: Files, names: list[str], *, room: int) -> None:
    """Delete boots until the newest of them are few and small enough, beside the one just written."""
    for kept, name in enumerate(reversed(names), 2):
        folder = f"{layout.BOOTS_DIR}/{name}"
        there = files.root.stat(folder, beneath=folder)
        if there is None or not stat.S_ISDIR(there.st_mode):  # a link, or a file, which came with the image
            files.remove(folder)
            continue
        inside = files.root.names(folder)
        found = [files.root.stat(f"{folder}/{file}", beneath=folder) for file in inside]
        room -= sum(one.st_size for one in found if one is not None)
        if kept > MOST_BOOTS or room < 0:
            for file in inside:
                files.remove(f"{folder}/{file}")
            os.rmdir(files.root.host_path(folder))


def _fits(row: dict[str, Any], columns: Columns) -> bool:
    return all(isinstance(row.get(key), kinds) for key, kinds in columns)
