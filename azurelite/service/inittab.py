"""The line of BusyBox's inittab that runs azurelite. Only the text is known here, and which file it is."""

from __future__ import annotations

import re

from azurelite.errors import MachineError
from azurelite.service.texts import MARK, marked
from azurelite.system.machine import System

INITTAB = "/etc/inittab"
_SYSINIT = r"[^#:]*:[^:]*:sysinit:"
_RUNS_IT = r"[^#:]*:[^:]*:[a-z]+:.*azurelite(\.pyz)? provision"


def enable(system: System, program: str) -> None:
    """See to it that the line is there, behind those that bring the network up.

    Raises:
        FileError: the file cannot be changed.
        MachineError: there is no such file, and one with this line alone would take its defaults from BusyBox's init.
    """
    data = system.files.read(INITTAB)
    if data is None:
        raise MachineError(
            f"there is no {INITTAB}, so BusyBox's init runs /etc/init.d/rcS and what that runs: have it run "
            "`azurelite provision` behind the network, or write an inittab first"
        )
    system.files.rewrite(INITTAB, _encode(with_line(_decode(data), program)))


def disable(system: System) -> None:
    """See to it that the line is not there. A line that somebody else wrote stays. Raises FileError."""
    data = system.files.read(INITTAB)
    if data is not None:
        system.files.rewrite(INITTAB, _encode(without_line(_decode(data))))


def with_line(text: str, program: str) -> str:
    """The inittab with the line, in place of an older one; as it is where somebody else wrote such a line."""
    block = f"{MARK}\n{_line(program)}\n"
    if block in text:
        return text
    text = without_line(text)
    lines = text.splitlines(keepends=True)
    if any(re.match(_RUNS_IT, line) for line in lines):
        return text
    behind = max((number for number, line in enumerate(lines, 1) if re.match(_SYSINIT, line)), default=len(lines))
    before, after = "".join(lines[:behind]), "".join(lines[behind:])
    if before and not before.endswith("\n"):
        return f"{before}\n{block[:-1]}"  # as without a last newline as it was
    return before + block + after


def without_line(text: str) -> str:
    """The inittab without the marked line."""
    mark = re.escape(MARK)
    return re.sub(rf"^{mark}\n.*\n", "", re.sub(rf"\n{mark}\n[^\n]*\Z", "", text), flags=re.MULTILINE)


def _line(program: str) -> str:
    return marked("busybox/inittab", program).decode().splitlines()[-1]


def _decode(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def _encode(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
