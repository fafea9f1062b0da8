"""`bootcmd` and `runcmd` of cloud-config -> one shell script each, and boothooks -> scripts."""

from __future__ import annotations

from typing import Iterable

from azurelite.userdata.cloudconfig import CommandLine
from azurelite.userdata.parts import Part
from azurelite.userdata.steps import ScriptStep

_HOOK = b"#cloud-boothook"


def shell_script(commands: Iterable[CommandLine], *, name: str) -> ScriptStep:
    """One script of all commands: a text is a line for the shell, a list is taken word for word.

    One script, so that a `cd` or a variable lasts to the next line; a failing line stops none of those behind it.
    """
    lines = ["#!/bin/sh"]
    for command in commands:
        if isinstance(command, str):
            lines.append(command)
        elif command is not None:
            lines.append(" ".join(_quoted(_word(word)) for word in command))
    return ScriptStep(name, "".join(f"{line}\n" for line in lines).encode())


def boothook(part: Part) -> ScriptStep:
    """The script in a part of the kind "boothook": without `#!` it is for the shell."""
    data = part.data[len(_HOOK) :].lstrip() if part.data.startswith(_HOOK) else part.data
    return ScriptStep(part.name, data if data.startswith(b"#!") else b"#!/bin/sh\n" + data)


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"
