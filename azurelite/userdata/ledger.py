"""Which scripts of the user data were begun, and how each ended, as one text that is remembered from run to run.

A script is noted before it is started, so that one that takes the machine down (`reboot`) is not begun again at each
boot. It is known by its name and its content: another content under the same name is another script.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Optional, Union

from azurelite.userdata.steps import ScriptStep

Status = Union[int, str, None]  # how it ended; in words where it came to no end of its own
BEGUN = "begun"


class Ledger:
    """What is known of the scripts of one document.

    Args:
        text: as an earlier ledger's `text` gave it; None where there was none.
    """

    def __init__(self, text: Optional[str]) -> None:
        try:
            known = json.loads(text or "{}")
        except ValueError:
            known = {}
        self._known: dict[str, Any] = known if isinstance(known, dict) else {}

    def knows(self, script: ScriptStep) -> bool:
        """The script was begun, at least."""
        entry = self._known.get(script.name)
        return isinstance(entry, dict) and entry.get("sha256") == _digest(script)

    def status(self, script: ScriptStep) -> Status:
        """How a script that is known has ended; BEGUN where nobody saw its end."""
        status: Status = self._known[script.name].get("status")
        return status

    def note(self, script: ScriptStep, status: Status) -> None:
        """Take down that the script has begun, or has ended."""
        self._known[script.name] = {"sha256": _digest(script), "status": status}

    @property
    def text(self) -> str:
        """All of it, to be remembered."""
        return json.dumps(self._known) + "\n"


def _digest(script: ScriptStep) -> str:
    return hashlib.sha256(script.data).hexdigest()
