"""The command line. What a boot runs needs no parser, and at most boots nothing but the check that all is done."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from typing import NoReturn

    Importing = Callable[[], AbstractContextManager[None]]

# What units and initramfs hooks run: verb and what its module's `perform` is given. All else goes through argparse.
# One `--root DIR` may follow.
BOOT_COMMANDS: dict[tuple[str, ...], tuple[str, dict[str, object]]] = {
    ("provision",): ("provision", {}),
    ("provision", "--detach"): ("provision", {"detach": True}),
    ("report", "ready"): ("report", {"kind": "ready"}),
    ("apply", "hostname", "--sources", "media", "--first-boot"): (
        "apply", {"handlers": ["hostname"], "sources": ["media"], "first_boot": True}
    ),
}  # fmt: skip


def command() -> NoReturn:
    """The program `azurelite`: one verb, and the end of the process.

    What a run leaves in memory is not taken apart piece by piece: the kernel does that at once, and a boot waits.
    """
    import atexit

    code = [1]
    atexit.register(lambda: _end(code[0]))  # the first is called last: after threads and what others registered
    try:
        code[0] = _run(sys.argv[1:], own_process=True)
    except SystemExit as error:  # of the parser
        code[0] = error.code if isinstance(error.code, int) else 0
    sys.exit(code[0])


def _end(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # it was closed when the process began
                stream.flush()
        except (OSError, ValueError):  # the reader went away
            pass
    os._exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb inside a process that goes on afterwards. The interpreter is left as it was found.

    Args:
        arguments: without the program's name; those of the process when None.

    Returns:
        The exit code: 0 done or nothing to do, 1 failed, 2 usage or configuration, 3 fabric not reached.
    """
    return _run(list(sys.argv[1:] if arguments is None else arguments), own_process=False)


def _run(given: list[str], *, own_process: bool) -> int:
    has_root = len(given) > 2 and given[-2] == "--root" and given[-1] != "" and given[-1][0] != "-"
    root = given[-1] if has_root else "/"
    known = BOOT_COMMANDS.get(tuple(given[:-2] if has_root else given))
    if known is not None:
        from azurelite.cli.later_boot import nothing_to_do

        said = nothing_to_do(known[0], root)
        if said is not None:
            print(said)
            return 0
    importing: Importing
    if own_process:
        from azurelite.cli.startup import lean_imports

        importing = lean_imports
    else:
        from contextlib import nullcontext

        importing = nullcontext
    if known is None:
        with importing():
            from azurelite.cli.parser import run
        return run(given, importing, own_process=own_process)
    return _perform(*known, root, importing, own_process=own_process)


def _perform(module: str, options: dict[str, object], root: str, importing: Importing, *, own_process: bool) -> int:
    """`perform` of a verb's module."""
    import importlib

    def verb() -> int:
        with importing():
            perform = importlib.import_module(f"azurelite.cli.{module}").perform
        code: int = perform(root=root, **options)
        return code

    with importing():
        from azurelite.cli.shell import run_verb
    return run_verb(verb, own_process=own_process)
