"""The texts of the units: azurelite's own files, with the program's place put in and a mark of who wrote them.

The files are package data, so that a wheel and a zipapp have them, too.
"""

from __future__ import annotations

import os
import re
from typing import Optional

MARK = "# Put here by `azurelite service install`, which writes it anew; `azurelite service remove` takes it away."
# Where the plain files say that the program lies.
_PROGRAM = rb"/usr/(?:local/)?bin/azurelite(?:\.pyz)?(?![\w./-])"
_ANY_PROGRAM = rb"/[A-Za-z0-9._+/-]*azurelite(?:\.pyz)?(?![\w./-])"


def units_folder() -> str:
    """Where the plain files lie, for a person; in azurelite.pyz nobody finds them without being told how."""
    package = os.path.dirname(os.path.abspath(__file__))
    folder = os.path.join(package, "units")
    if os.path.isdir(folder):
        return folder
    return (
        f"azurelite/service/units in {os.path.dirname(os.path.dirname(package))} (`python3 -m zipfile -e` unpacks it)"
    )


def plain(unit: str) -> bytes:
    """A unit as a package would hold it.

    Args:
        unit: its path below `units/`, as "systemd/azurelite.service"; empty: a file without content.
    """
    if not unit:
        return b""
    from importlib.resources import files

    found = files("azurelite.service").joinpath("units")
    for part in unit.split("/"):
        found = found.joinpath(part)
    return found.read_bytes()


def marked(unit: str, program: str) -> bytes:
    """A unit as `service install` puts it in place: marked, and with the guest's own path of the program."""
    text = re.sub(_PROGRAM, lambda _: program.encode(), plain(unit))
    first, newline, rest = text.partition(b"\n")
    mark = MARK.encode() + b"\n"
    return first + newline + mark + rest if first.startswith(b"#!") else mark + text


def names_program(unit: str) -> bool:
    """The unit says where the program lies."""
    return re.search(_PROGRAM, plain(unit)) is not None


def is_marked(data: Optional[bytes]) -> bool:
    """`service install` wrote it."""
    return data is not None and MARK.encode() in data.splitlines()[:2]


def runs_it(data: bytes) -> bool:
    """Whoever wrote it, it runs `azurelite provision`: a distribution's own text of the unit, or an older release's."""
    lines = [line for line in data.splitlines() if not line.lstrip().startswith(b"#")]
    text = b"\n".join(lines)
    return (
        b"azurelite" in text and re.search(rb"(azurelite(_command|\.pyz)?|command)\}?\"? provision\b", text) is not None
    )


def is_plain(data: bytes, unit: str) -> bool:
    """It is the unit as a package would hold it, wherever the package has put the program."""
    return re.sub(_ANY_PROGRAM, b"", data) == re.sub(_ANY_PROGRAM, b"", plain(unit))
