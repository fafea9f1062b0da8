"""The line of BusyBox's inittab that runs azurelite: add it, remove it."""

from __future__ import annotations

import re

from azurelite.errors import MachineError
from azurelite.service.pieces import MARK, marked
from azurelite.system.machine import System
from azurelite.system.services.enabling import INITTAB

_SYSINIT = r"[^#:]*:[^:]*:sysinit:"
_RUNS_IT = r"[^#:]*:[^:]*:[a-z]+:.*azurelite(\.pyz)? provision"


def enable(system: System, program: str) -> None:
    """Add the line after those that bring the network up.

    Raises:
        FileError: the file cannot be changed.
        MachineError: there is no such file; a file with this line only would replace the defaults of BusyBox's init.
    """
    text = system.files.text(INITTAB)
    if text is None:
        raise MachineError(f"there is no {INITTAB}: write one, or have /etc/init.d/rcS run `azurelite provision`")
    system.files.rewrite_text(INITTAB, with_line(text, program))


def disable(system: System) -> None:
    """Remove the line. One that `service install` did not write stays. Raises FileError."""
    text = system.files.text(INITTAB)
    if text is not None:
        system.files.rewrite_text(INITTAB, without_line(text))


def with_line(text: str, program: str) -> str:
    """Return the inittab with the line in place of an older one; unchanged where another line runs azurelite."""
    block = f"{MARK}\n{_line(program)}\n"
    if block in text:
        return text
    text = without_line(text)
    lines = text.splitlines(keepends=True)
    if any(re.match(_RUNS_IT, line) for line in lines):
        return text
    end = max((number for number, line in enumerate(lines, 1) if re.match(_SYSINIT, line)), default=len(lines))
    before, after = "".join(lines[:end]), "".join(lines[end:])
    if before and not before.endswith("\n"):
        return f"{before}\n{block[:-1]}"  # no newline at the end, as before
    return before + block + after


def without_line(text: str) -> str:
    """Return the inittab without the marked line."""
    mark = re.escape(MARK)
    return re.sub(rf"^{mark}\n.*\n", "", re.sub(rf"\n{mark}\n[^\n]*\Z", "", text), flags=re.MULTILINE)


def _line(program: str) -> str:
    return marked("busybox/inittab", program).decode().splitlines()[-1]
