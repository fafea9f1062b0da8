"""Runs one verb in an interpreter that brings nothing of its own, and tells what it did.

    python -S -s watched.py TOLD FOLDER:FOLDER... WORD...

FOLDERs are where packages lie; WORDs are those after `azurelite`. TOLD becomes a JSON document: `modules` that were
imported beyond the interpreter's own start, `connections` (host and port of each), `processes` that were started
besides, `threads`, and `code`. With "-" for TOLD nothing is watched and nothing written: what a count of instructions
is taken of.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

told, folders, *words = sys.argv[1:]
sys.path[:] = [*folders.split(":"), *(entry for entry in sys.path[1:])]
sys.argv[:] = ["azurelite", *words]


def watch() -> None:
    """Keep account from here on, and write it whichever way the process ends."""
    import os

    before = set(sys.modules)
    leave = os._exit
    started: list[str] = []
    dialled: list[list[object]] = []
    starting = ("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen")

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        if event in starting:
            started.append(event)
        elif event == "socket.connect" and isinstance(arguments[1], tuple):
            dialled.append(list(arguments[1][:2]))

    def write(code: object) -> None:
        names = sorted(set(sys.modules) - before)
        import json

        with open(told, "w", encoding="utf-8") as file:
            json.dump({"modules": names, "connections": dialled, "processes": started, "code": code}, file)

    def leave_watched(status: int) -> NoReturn:
        write(status)
        leave(status)

    os._exit = leave_watched  # a run that skips the tear-down ends there
    sys.addaudithook(hear)
    code: object = 1
    try:
        run()
    except SystemExit as stop:
        code = stop.code
    write(code)
    sys.exit(code)


def run() -> NoReturn:
    """The verb."""
    from azurelite.cli import command

    command()


if told == "-":
    run()
watch()
