"""The manifest: one row for each change that azurelite made, from which `generalize` undoes it before a capture.

A row is a JSON object on a line of /var/lib/azurelite/manifest.jsonl. Rows are only appended, and synced together with
the other writes of their step, so that a power cut loses no row of a step that lasts. Rows without `format` are of an
older release, which did not note what was there before: they prove nothing. Secrets are never in it.
"""

from __future__ import annotations

import json
from typing import Any, Optional

from azurelite.layout import MANIFEST
from azurelite.record import Record, field
from azurelite.system.changes import Change
from azurelite.system.files import Files
from azurelite.system.root import is_plain_path

FORMAT = 2  # 1 had no such field
ACCOUNT = "account"  # the kind of a row about an account that azurelite made or adopted


class Row(Record):
    """One row.

    Attributes:
        vm_id: the VM that was provisioned, None if its id was unknown.
        step: the handler that made the change; "" if it is unknown.
        kind: of the change, or `ACCOUNT`.
        target: path, account or group.
        detail: as in `Change`.
        older: whether an older release wrote it.
        made: whether the file, group or account is new; None if nobody knows.
        uid, home, home_made: of an account: its number, its home, and whether azurelite created that home.
        lines: the lines that were added to a file that others write to as well.
        digest: SHA-256 of the content that was written; None if it is not known.
    """

    vm_id: Optional[str]
    step: str
    kind: str
    target: str
    detail: str
    older: bool = False
    made: Optional[bool] = None
    uid: int = -1
    home: str = ""
    home_made: bool = False
    lines: tuple[str, ...] = ()
    digest: Optional[str] = None


class Manifest(Record):
    """What could be read of the manifest.

    Attributes:
        exists: whether there is one.
        rows: the rows, oldest first.
        damaged: the numbers of the lines that cannot be read, or that a newer release wrote.
    """

    exists: bool
    rows: tuple[Row, ...] = field(default_factory=tuple)
    damaged: tuple[int, ...] = field(default_factory=tuple)

    def of(self, kind: str) -> tuple[Row, ...]:
        """The rows of one kind."""
        return tuple(row for row in self.rows if row.kind == kind)


def row_text(vm_id: Optional[str], step: str, change: Change) -> str:
    """The line of the manifest for a change."""
    head = {"format": FORMAT, "vm_id": vm_id, "step": step}
    return json.dumps({**head, **change.as_dict(), **change.facts})


def read_manifest(files: Files) -> Manifest:
    """Read the manifest. Lines that cannot be read are counted, and do no harm to the others. Raises FileError."""
    if files.stat(MANIFEST) is None:
        return Manifest(exists=False)
    rows, damaged = [], []
    for number, line in enumerate(files.lines(MANIFEST), 1):
        row = _row(line)
        if row is not None:
            rows.append(row)
        else:
            damaged.append(number)
    return Manifest(exists=True, rows=tuple(rows), damaged=tuple(damaged))


def _row(line: str) -> Optional[Row]:
    try:
        given = json.loads(line)
        if not isinstance(given, dict) or given.get("format", FORMAT) != FORMAT:
            return None
        return _checked(given, older="format" not in given)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _checked(given: dict[str, Any], *, older: bool) -> Row:
    """The row, with only values of the right types. Raises KeyError, TypeError, ValueError."""
    named = {name: given[name] for name in ("kind", "target", "detail")}
    vm_id, step, made = given.get("vm_id"), given.get("step", ""), given.get("made")
    lines = given.get("lines", [])
    texts = (*named.values(), step, vm_id or "", given.get("home", ""), given.get("is") or "", *lines)
    numbers = (given.get("uid", -1),)
    if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
        raise TypeError("a value of another type")
    _check_names(given["kind"], given["target"], given.get("home", ""))
    for text in texts:
        text.encode("utf-8", "surrogateescape")  # what cannot be in a path raises UnicodeEncodeError, a ValueError
    if older:
        return Row(vm_id, step, **named, older=True)
    return Row(
        vm_id,
        step,
        **named,
        made=made if isinstance(made, bool) else None,
        uid=numbers[0],
        home=given.get("home", ""),
        home_made=given.get("home_made") is True,
        lines=tuple(lines),
        digest=given.get("is"),
    )


def _check_names(kind: str, target: str, home: str) -> None:
    """Raise ValueError for a path or name that azurelite has never written, so that nothing is removed by it."""
    if kind == "write" and not is_plain_path(target):
        raise ValueError("no path of a file")
    if kind in (ACCOUNT, "user", "group") and ("/" in target or not target.isprintable()):
        raise ValueError("no name of an account")
    if "\0" in home or (home and not home.startswith("/")):
        raise ValueError("no home")


def knows_account(files: Files, change: Change) -> bool:
    """Whether a row says already that azurelite made or adopted this account; making one is always news."""
    if change.facts["made"]:
        return False
    same = (change.target, change.facts["uid"], change.facts["home"])
    return any((row.target, row.uid, row.home) == same for row in read_manifest(files).of(ACCOUNT))
