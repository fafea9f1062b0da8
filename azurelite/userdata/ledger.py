"""A record of the scripts in user data: which ones were started and how they ended, as one text to store.

A script is recorded before it is started, so that one that reboots the machine is not started again at every boot. It
is identified by its name and its content: the same name with other content is another script.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Optional, Union

from azurelite.userdata.steps import ScriptStep

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
