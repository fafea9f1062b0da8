"""The command line. `main` takes the shortest way out when there is nothing to do, and the parser otherwise."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        arguments: without the program's name; those of the process when None.

    Returns:
        The exit code: 0 done or nothing to do, 1 failed, 2 usage or configuration, 3 fabric not reached.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["provision"]:
        said = _nothing_to_do(given[1:])
        if said is not None:
            print(said)
            return 0
    from azurelite.cli.parser import run

    return run(given)


def _nothing_to_do(given: list[str]) -> str | None:
    """Decide the usual later boot, `azurelite provision` with at most --root and --config, without the parser."""
    options: dict[str, str] = {}
    while given:
        name, _, value = given.pop(0).partition("=")
        if name not in ("--root", "--config"):
            return None
        if not value:
            if not given:
                return None
            value = given.pop(0)
        options[name] = value
    from azurelite import quick
    from azurelite.fabric.identity import read_identity
    from azurelite.system.root import Root

    if options.get("--root") == "":
        return None
    root = Root(options.get("--root", "/"))
    off = quick.switched_off(root)
    if off is not None:
        return f"azurelite is switched off: {off}"
    vm_id = read_identity(root).vm_id
    if vm_id is not None and quick.nothing_to_do(root, vm_id, config_file=options.get("--config")):
        return f"this VM ({vm_id}) is provisioned already"
    return None
