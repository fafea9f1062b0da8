"""The texts of the units: azurelite's own files, with the program's path filled in and a mark that says who wrote them.

The files are package data, so a wheel and a zipapp also have them.
"""

from __future__ import annotations

import os
import re
from typing import Optional

MARK = "# Put here by `azurelite service install`, which writes it anew; `azurelite service remove` takes it away."
# The path of the program in the plain files.
_PROGRAM = rb"/usr/(?:local/)?bin/azurelite(?:\.pyz)?(?![\w./-])"
_ANY_PROGRAM = rb"/[A-Za-z0-9._+/-]*azurelite(?:\.pyz)?(?![\w./-])"


def units_folder() -> str:
    """Return where the plain files are, for a message; for azurelite.pyz, how to unpack them."""
    package = os.path.dirname(os.path.abspath(__file__))
    folder = os.path.join(package, "units")
    if os.path.isdir(folder):
        return folder
    return (
        f"azurelite/service/units in {os.path.dirname(os.path.dirname(package))} (`python3 -m zipfile -e` unpacks it)"
    )


def plain(unit: str) -> bytes:
    """Return a unit as a package has it.

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
    """Return a unit as `service install` writes it: with the mark, and with the program's path in the guest."""
    text = re.sub(_PROGRAM, lambda _: program.encode(), plain(unit))
    first, newline, rest = text.partition(b"\n")
    mark = MARK.encode() + b"\n"
    return first + newline + mark + rest if first.startswith(b"#!") else mark + text


def names_program(unit: str) -> bool:
    """Tell whether the unit names the program's path."""
    return re.search(_PROGRAM, plain(unit)) is not None


def is_marked(data: Optional[bytes]) -> bool:
    """Tell whether `service install` wrote it."""
    return data is not None and MARK.encode() in data.splitlines()[:2]


def runs_it(data: bytes) -> bool:
    """Tell whether it runs `azurelite provision`: also a distribution's own text, or an older release's."""
    lines = [line for line in data.splitlines() if not line.lstrip().startswith(b"#")]
    text = b"\n".join(lines)
    return (
        b"azurelite" in text and re.search(rb"(azurelite(_command|\.pyz)?|command)\}?\"? provision\b", text) is not None
    )


def is_plain(data: bytes, unit: str) -> bool:
    """Tell whether it is the unit as a package has it, with any path of the program."""
    return re.sub(_ANY_PROGRAM, b"", data) == re.sub(_ANY_PROGRAM, b"", plain(unit))
