"""Asking sshd what it thinks of a configuration before it becomes the real one.

sshd is asked on the running system alone: the host's sshd, its keys and its version say nothing of a foreign root.
"""

from __future__ import annotations

import os
import re
from typing import Optional

from azurelite.errors import CommandError
from azurelite.system.explain import explained
from azurelite.system.machine import System
from azurelite.system.scratch import scratch_folder

_TIMEOUT = 20.0  # seconds
_SHOWN = 300  # characters


def complaint(system: System, path: str, candidate: str, present: str) -> Optional[str]:
    """What sshd has against a configuration file that it has not against the present one, or None.

    sshd also refuses where its host keys or its run-time folder are not there yet, as on a first boot. That is no
    fault of the text: it says so of the present one as well.

    Args:
        system: the machine.
        path: guest path of the file, for the answer.
        candidate: the text of the main file as it would be.
        present: its text as it is.

    Raises:
        FileError: no room for a temporary file.
    """
    if not system.root.is_host or system.commands.find("sshd") is None:
        return None
    with scratch_folder() as folder:
        words = _refusal(system, path, candidate, folder)
        if words is None or words == _refusal(system, path, present, folder):
            return None
    return words[-_SHOWN:]


def _refusal(system: System, path: str, text: str, folder: str) -> Optional[str]:
    """sshd's words against the text, with no line numbers, or None where it is content."""
    name = os.path.join(folder, "sshd_config")
    with explained("write", name), open(name, "wb") as file:
        file.write(text.encode(errors="surrogateescape"))
    try:
        system.commands.run(["sshd", "-t", "-f", name], timeout=_TIMEOUT)
    except CommandError as error:
        return re.sub(r"line \d+", "line", error.message.replace(name, path))
    return None
