"""What `doctor --fix` changes, and how `--undo` brings back what was there.

Before each change the former state of the file is written to a record below azurelite's state folder, so that a power
cut in between leaves a record too many rather than one too few.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from typing import Any, Callable, Optional

from azurelite import layout
from azurelite.doctor.checks import agents, files
from azurelite.doctor.subject import Subject
from azurelite.errors import MachineError
from azurelite.system.accounts.users import ROOT_OWNER
from azurelite.system.changes import Change
from azurelite.system.machine import System

RECORD = f"{layout.STATE_DIR}/doctor.json"
_FORMAT = 1
_KINDS = ("write", "delete", "link")  # the changes that a fix makes, besides new folders
State = dict[str, Any]


def fix(system: System) -> tuple[Change, ...]:
    """Correct what loses nothing: idempotent, and recorded for `undo`. A dry run only lists it.

    Raises:
        FileError, MachineError: a file cannot be changed, or is a link.
    """
    subject = Subject(system)
    found: list[State] = [] if system.dry_run else _load(system)
    touched = {row["path"] for row in found}

    def note(change: Change) -> None:
        if change.kind == "write" and system.root.link_target(change.target) is not None:
            # An untrusted image may lead it to any file, whose content `undo` would not have.
            raise MachineError(f"{change.target} is a link, and doctor writes through none: change its target by hand")
        if change.kind in _KINDS and change.target not in touched and not system.dry_run:
            touched.add(change.target)
            found.append({"path": change.target, "before": _state(system, change.target), "after": None})
            _save(system, found)

    mark = len(system.journal)
    system.journal.listener = note
    try:
        for check, act in _FIXES:
            if any(one.fix is not None for one in check(subject)):
                act(system)
    finally:
        system.journal.listener = None
        if found:
            _save(system, [{**row, "after": _state(system, row["path"])} for row in found])
    return system.journal.since(mark)


def undo(system: System) -> list[str]:
    """Bring back what `fix` changed, the latest first; what was changed since stays. Returns a line for each file.

    Raises:
        MachineError: the record is damaged.
        FileError: a file cannot be changed.
    """
    told = []
    rows = _load(system)
    for row in reversed(rows):
        path = row["path"]
        if row["after"] is not None and _state(system, path) not in (row["after"], row["before"]):
            told.append(f"keep {path} (it was changed since)")
        elif _state(system, path) != row["before"]:
            told.append(f"restore {path}" if row["before"]["kind"] != "absent" else f"delete {path}")
            _restore(system, path, row["before"])
    if rows:
        system.files.delete(RECORD)
    return told


def _switch_off_cloud_init(system: System) -> None:
    system.files.mkdirs(os.path.dirname(agents.CLOUD_INIT_SWITCH))
    system.files.write(agents.CLOUD_INIT_SWITCH, b"# azurelite provisions this image\n", mode=0o644)


def _switch_off_waagent(system: System) -> None:
    """Set the last line of the key, which counts; other lines stay."""
    lines = system.files.lines(agents.WAAGENT_CONF)
    wanted = f"{agents.WAAGENT_KEY}={agents.WAAGENT_VALUE}"
    places = [i for i, line in enumerate(lines) if line.partition("=")[0].strip() == agents.WAAGENT_KEY]
    if places:
        lines[places[-1]] = wanted
    else:
        lines.append(wanted)
    system.files.rewrite_text(agents.WAAGENT_CONF, "".join(f"{line}\n" for line in lines))


def _switch_off_azure_init(system: System) -> None:
    Subject(system).services.disable(agents.AZURE_INIT)


def _empty_machine_id(system: System) -> None:
    if not system.root.is_host:  # the check says the same; never on the running system
        system.files.rewrite(files.MACHINE_ID, b"", mode=0o444)
        found = system.files.stat(files.DBUS_ID, beneath=files.DBUS_ID)
        if found is not None and stat.S_ISREG(found.st_mode):  # systemd takes it for the new machine id
            system.files.link(files.DBUS_ID, files.MACHINE_ID)


_FIXES: tuple[tuple[Callable[[Subject], Any], Callable[[System], None]], ...] = (
    # cloud-init first: while it is enabled, waagent with `auto` waits for it and is no finding.
    (agents.cloud_init, _switch_off_cloud_init),
    (agents.waagent, _switch_off_waagent),
    (agents.azure_init, _switch_off_azure_init),
    (files.machine_id, _empty_machine_id),
)


def _state(system: System, path: str) -> State:
    """What is at a path, JSON-ready."""
    target = system.root.link_target(path)
    if target is not None:
        return {"kind": "link", "target": target}
    found = system.files.stat(path, beneath=path)
    if found is None or not stat.S_ISREG(found.st_mode):
        return {"kind": "absent"}
    data = system.files.read(path) or b""
    return {"kind": "file", "mode": stat.S_IMODE(found.st_mode), "content": base64.b64encode(data).decode()}


def _restore(system: System, path: str, before: State) -> None:
    if before["kind"] == "absent":
        system.files.delete(path)
    elif before["kind"] == "link":
        system.files.link(path, before["target"])
    else:
        if system.root.link_target(path) is not None:  # it would be written through the link
            system.files.delete(path)
        system.files.rewrite(path, base64.b64decode(before["content"]), mode=before["mode"])


def _save(system: System, rows: list[State]) -> None:
    """Write the record; it is no change of its own."""
    if not system.files.is_dir(layout.STATE_DIR):
        system.files.mkdirs(os.path.dirname(layout.STATE_DIR))
        system.files.mkdir_silently(layout.STATE_DIR, mode=0o700, owner=ROOT_OWNER)
    data = json.dumps({"format": _FORMAT, "files": rows}, indent=2).encode() + b"\n"
    system.files.put(RECORD, data, mode=0o600, owner=ROOT_OWNER)


def _load(system: System) -> list[State]:
    """The record; [] if there is none. Raises MachineError: it is damaged, or another version's."""
    data = system.files.read(RECORD)
    if data is None:
        return []
    try:
        read = json.loads(data)
    except ValueError:
        read = None
    rows = read.get("files") if isinstance(read, dict) and read.get("format") == _FORMAT else None
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise MachineError(f"{RECORD} is damaged or from another version: undo by hand what it names, then delete it")
    return rows


def _is_row(row: object) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("path"), str):
        return False
    if not row["path"].startswith("/etc/") and row["path"] != files.DBUS_ID:
        return False
    return _is_state(row.get("before")) and (row.get("after") is None or _is_state(row["after"]))


def _is_state(state: Optional[object]) -> bool:
    if not isinstance(state, dict):
        return False
    if state.get("kind") == "link":
        return isinstance(state.get("target"), str)
    if state.get("kind") == "file":
        return isinstance(state.get("content"), str) and isinstance(state.get("mode"), int)
    return state.get("kind") == "absent"
