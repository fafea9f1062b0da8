"""The command line. The commands of a boot need no parser, and most boots only check that the VM is done."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from typing import NoReturn

    Importing = Callable[[], AbstractContextManager[None]]

# The commands of units and initramfs hooks, optionally with `--root DIR` -> verb and arguments of its `perform`. Every
# other command line goes through argparse.
BOOT_COMMANDS: dict[tuple[str, ...], tuple[str, dict[str, object]]] = {
    ("provision",): ("provision", {}),
    ("provision", "--detach"): ("provision", {"detach": True}),
    ("report", "ready"): ("report", {"kind": "ready"}),
    ("apply", "hostname", "--sources", "media", "--first-boot"): (
        "apply", {"handlers": ["hostname"], "sources": ["media"], "first_boot": True}
    ),
}  # fmt: skip


def command() -> NoReturn:
    """The program `azurelite`: run one verb, then end the process.

    Python's objects are not freed one by one, because a boot waits for the end: the kernel frees the memory at once.
    """
    import atexit

    if sys.getfilesystemencoding() != "utf-8":
        _start_in_utf8()
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    code = [1]
    atexit.register(lambda: _end(code[0]))  # registered first, so called last: after threads and other exit functions
    try:
        code[0] = _run(sys.argv[1:], own_process=True)
    except SystemExit as error:  # raised by the parser
        code[0] = error.code if isinstance(error.code, int) else 0
    sys.exit(code[0])


def _start_in_utf8() -> None:
    """Start again with UTF-8 for paths, names and standard streams: a machine's files are that, whatever its locale.

    A boot often has no locale, or an old image has another one, which cannot write every name that Azure sends.
    """
    try:
        with open("/proc/self/cmdline", "rb") as file:
            interpreter, *words = file.read().split(b"\0")[:-1]
        os.execv(sys.executable, [interpreter, b"-X", b"utf8", *words])  # noqa: S606 - itself
    except (OSError, ValueError):  # no /proc, or Python does not know its own path: what needs no other letters works
        return


def _end(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # it was closed before the program started
                stream.flush()
        except (OSError, ValueError):  # the reader has closed the pipe
            pass
    os._exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb inside a process that continues afterwards. Leaves the interpreter unchanged.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        The exit code: 0 done or nothing to do, 1 failed, 2 usage or configuration, 3 Azure not reached.
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
            try:
                print(said, flush=True)
            except OSError:  # nobody reads it, and there is nothing to do
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
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
    """Run `perform` of a verb's module."""
    import importlib

    def verb() -> int:
        with importing():
            perform = importlib.import_module(f"azurelite.cli.{module}").perform
        code: int = perform(root=root, **options)
        return code

    with importing():
        from azurelite.cli.shell import run_verb
    return run_verb(verb, own_process=own_process)
