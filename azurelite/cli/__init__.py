"""The command line. `main` takes the shortest way out when there is nothing to do, and the parser only where needed."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


def command() -> NoReturn:
    """The program `azurelite`: `main`, and the end of the process.

    What a run leaves in memory is not taken apart piece by piece: the kernel does that at once, and a boot waits.
    """
    import atexit

    code = [1]
    atexit.register(lambda: _end(code[0]))  # the first is called last: behind threads and what others registered
    try:
        code[0] = main()
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
    """Run one verb.

    Args:
        arguments: without the program's name; those of the process when None.

    Returns:
        The exit code: 0 done or nothing to do, 1 failed, 2 usage or configuration, 3 fabric not reached.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["provision"]:
        options = _guest_options(given[1:], flag="--detach")
        if options is not None:
            return _provision(*options)
    if given[:2] == ["report", "ready"]:
        options = _guest_options(given[2:])
        if options is not None:
            return _run_lean("report", kind="ready", root=options[0], config=options[1])
    if given[:1] == ["apply"] and "--first-boot" in given:
        said = _had_its_first_boot(given)
        if said is not None:
            print(said)
            return 0
    from azurelite.cli.parser import run

    return run(given)


def _guest_options(given: list[str], *, flag: str = "") -> tuple[str, str | None, bool] | None:
    """--root, --config and the flag where nothing else is given, or None.

    What a unit runs needs no parser, which is slow.
    """
    options: dict[str, str] = {}
    flagged = False
    while given:
        word = given.pop(0)
        if word == flag != "":
            flagged = True
            continue
        name, _, value = word.partition("=")
        if name not in ("--root", "--config"):
            return None
        if not value:
            if not given or given[0].startswith("-"):
                return None
            value = given.pop(0)
        options[name] = value
    root = options.get("--root", "/")
    return (root, options.get("--config"), flagged) if root else None


def _provision(root: str, config: str | None, detach: bool) -> int:
    said = _nothing_to_do(root, config)
    if said is not None:
        print(said)
        return 0
    return _run_lean("provision", root=root, config=config, detach=detach)


def _run_lean(module: str, **options: object) -> int:
    """`perform` of a verb's module, with no import that it does not need."""
    import importlib

    from azurelite.cli.startup import lean_imports

    def verb() -> int:
        with lean_imports():
            perform = importlib.import_module(f"azurelite.cli.{module}").perform
        code: int = perform(**options)
        return code

    with lean_imports():
        from azurelite.cli.shell import run_verb
    return run_verb(verb)


def _had_its_first_boot(given: list[str]) -> str | None:
    """Why the unit ahead of the network has nothing to do, as at every later boot; None: the parser has to look."""
    if any(word.startswith("--") and word not in ("--first-boot", "--sources") for word in given):
        return None
    from azurelite.hypervisor.identity import read_identity
    from azurelite.state import marker
    from azurelite.system.root import Root

    guest = Root("/")
    return marker.done_before(guest, read_identity(guest).vm_id)


def _nothing_to_do(root: str, config: str | None) -> str | None:
    """Why there is nothing to do, as at every usual later boot, or None."""
    from azurelite.hypervisor.identity import read_identity
    from azurelite.state import marker
    from azurelite.system.root import Root

    guest = Root(root)
    off = marker.switched_off(guest)
    if off is not None:
        return f"azurelite is switched off: {off}"
    vm_id = read_identity(guest).vm_id
    if vm_id is not None and marker.nothing_to_do(guest, vm_id, config_file=config):
        return f"this VM ({vm_id}) is provisioned already"
    return None
