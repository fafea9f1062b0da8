"""The steps that user data is translated into, and the record of which scripts were started and how they ended."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Mapping, Optional, Union

from azurelite.config.document import KeyPath, Place
from azurelite.record import Record, field


class HandlerStep(Record):
    """Run a handler.

    Attributes:
        section: the key of the cloud-config that it comes from.
        handler: the handler's name.
        options: its options, as in the YAML of the configuration; they may hold secrets.
        places: the files and lines of the options in the cloud-config.
        source: the path of the item that it comes from, where it is only one; else of the section.
        moved: path of an option -> path in the cloud-config, for options that come from there.
    """

    section: str
    handler: str
    options: dict[str, Any] = field(repr=False)
    places: Mapping[KeyPath, Place] = field(default_factory=dict, repr=False)
    source: KeyPath = ()
    moved: Mapping[KeyPath, KeyPath] = field(default_factory=dict)


class ScriptStep(Record):
    """Run a script.

    Attributes:
        name: the name of its file and of its log.
        data: its content; it begins with `#!`.
    """

    name: str
    data: bytes = field(repr=False)


class MessageStep(Record):
    """Print a text to the log; variables such as `$uptime` are not replaced yet."""

    text: str


Step = Union[HandlerStep, ScriptStep, MessageStep]


Status = Union[int, str, None]  # exit status; a message if the script could not be started or was killed
BEGUN = "begun"


class Ledger:
    """The record of the scripts of one document.

    Args:
        text: the `text` of an earlier ledger; None if there is none.
    """

    def __init__(self, text: Optional[str]) -> None:
        try:
            known = json.loads(text or "{}")
        except ValueError:
            known = {}
        self._known: dict[str, Any] = known if isinstance(known, dict) else {}

    def knows(self, script: ScriptStep) -> bool:
        """Whether the script was started."""
        entry = self._known.get(script.name)
        return isinstance(entry, dict) and entry.get("sha256") == _digest(script)

    def status(self, script: ScriptStep) -> Status:
        """How a recorded script ended; BEGUN if its end was not recorded."""
        status: Status = self._known[script.name].get("status")
        return status

    def note(self, script: ScriptStep, status: Status) -> None:
        """Record that the script has started or ended."""
        self._known[script.name] = {"sha256": _digest(script), "status": status}

    @property
    def text(self) -> str:
        """The whole record, to be stored."""
        return json.dumps(self._known) + "\n"


def _digest(script: ScriptStep) -> str:
    return hashlib.sha256(script.data).hexdigest()
