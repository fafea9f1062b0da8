"""Handlers that come from outside: where they are looked for, and what is known of one before it runs.

Three ways: an entry point of the group `azurelite.handlers` of an installed package, `module:function` in the YAML, and
an executable in /etc/azurelite/handlers.d for people without Python packaging. A foreign module is imported in a child
process first: one that hangs or ends the process at its import is then as good as missing.
"""

from __future__ import annotations

import importlib
import os
import stat
import sys
from typing import Any, Callable, Optional

from azurelite import layout
from azurelite.cli.startup import whole_modules
from azurelite.clock import Clock, Deadline
from azurelite.config.load import Frequency
from azurelite.config.schema import fields_of, has_keys
from azurelite.errors import AzureliteError, HandlerError
from azurelite.guard import guard
from azurelite.metadata import Metadata
from azurelite.record import Record
from azurelite.system.root import Root

GROUP = "azurelite.handlers"
_IMPORT_SECONDS = 10.0
_RUN_SECONDS = 300.0
PROGRAM_SECONDS = _RUN_SECONDS - 10  # an executable is ended by itself, ahead of the process that waits for it
_FREQUENCIES = ("instance", "boot", "once")
_FIELDS = frozenset(field.name for field in fields_of(Metadata))


class Plugin(Record):
    """A handler from outside.

    Attributes:
        summary: one line.
        needs: metadata fields without which it is skipped.
        uses: further metadata fields that its work depends on.
        frequency: how often it runs where the entry does not say.
        required: where the entry does not say; not, unless its author says so.
        options: its class of options, or None: it takes any keys, as a dict.
        apply: does the work, with a context and its options.
        timeout: seconds; then it is ended, and its step has failed.
        needs_of: the needs of given options, where they differ from `needs`.
    """

    summary: str
    needs: tuple[str, ...]
    uses: tuple[str, ...]
    frequency: Frequency
    required: bool
    options: Optional[type]
    apply: Callable[[Any, Any], None]
    timeout: float = _RUN_SECONDS
    needs_of: Optional[Callable[[Any], tuple[str, ...]]] = None


def find_plugin(name: str, *, clock: Optional[Clock] = None) -> Optional[Plugin]:
    """The handler of that name that Python code offers, or None where there is none.

    Args:
        name: an entry point, or `module:function`.
        clock: for the time that an import may take.

    Raises:
        HandlerError: there is one, and it cannot be used; with the remedy.
    """
    place = name if ":" in name else entry_points().get(name)
    return None if place is None else _load(name, place, clock or Clock())


def entry_points() -> dict[str, str]:
    """Name -> `module` or `module:object` of the handlers that installed packages offer."""
    from importlib import metadata

    found: Any = metadata.entry_points()
    # Python 3.9 has a dict of lists; later ones have a selection.
    group = found.select(group=GROUP) if hasattr(found, "select") else found.get(GROUP, [])
    return {entry.name: entry.value for entry in group}


def executables(root: Root) -> list[str]:
    """The names of the executables in /etc/azurelite/handlers.d, whether they can be used or not."""
    return [name for name in root.names(layout.HANDLERS_DIR) if "." not in name]


def executable(name: str, root: Root) -> Optional[str]:
    """The guest path of the executable of that name, or None where there is none.

    Raises:
        HandlerError: it must not be run, or cannot be.
    """
    if name not in executables(root):
        return None
    path = f"{layout.HANDLERS_DIR}/{name}"
    found = root.stat(path)
    if found is None or not stat.S_ISREG(found.st_mode) or not found.st_mode & 0o111:
        raise HandlerError(f"{path} is not an executable file: `chmod 755` it, or take it away")
    if found.st_mode & 0o022 or (os.geteuid() == 0 and found.st_uid != 0):
        raise HandlerError(f"{path} may be changed by others than root, who runs it: `chown root` and `chmod 755` it")
    return path


def try_apart(action: Callable[[], None], *, what: str, clock: Optional[Clock] = None) -> Optional[str]:
    """Try foreign code in a child process, where it may hang or end the process.

    Returns:
        What it failed at, in words; None when it came to its end.

    Raises:
        HandlerError: it hung, or ended the process.
    """
    from azurelite.system.child import in_child

    def attempt() -> bytes:
        error = guard(action)
        return b"" if error is None else error.message.encode(errors="replace")

    deadline = Deadline(clock or Clock(), _IMPORT_SECONDS)
    try:
        return in_child(attempt, what=what, deadline=deadline).decode(errors="replace") or None
    except AzureliteError as error:
        raise HandlerError(f"{error.message}: it cannot be used") from error


def _load(name: str, place: str, clock: Clock) -> Plugin:
    what = f"the plug-in {name}"
    with whole_modules():
        complaint = try_apart(lambda: _check(place), what=what, clock=clock)
        if complaint is not None:
            raise HandlerError(f"{what} cannot be used: {complaint}")
        return _described(_imported(place))


def _check(place: str) -> None:
    _described(_imported(place))


def _imported(place: str) -> tuple[Any, Any]:
    """The module (or another holder of a handler's names), and the function that does the work."""
    module_name, _, path = place.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise HandlerError(f"no module {error.name or module_name!r} can be imported: install it") from error
    found: Any = module
    for part in path.split(".") if path else ():
        if not hasattr(found, part):
            raise HandlerError(f"{module_name} has no {path!r}")
        found = getattr(found, part)
    if hasattr(found, "apply"):
        return found, found.apply
    return sys.modules[module_name], found


def _described(found: tuple[Any, Any]) -> Plugin:
    """The plug-in by its names, each checked: they come from outside. Raises HandlerError."""
    module, apply = found
    if not callable(apply):
        raise HandlerError("it has no function `apply(ctx, options)`")
    needs, uses = (tuple(getattr(module, field, ())) for field in ("NEEDS", "USES"))
    strange = sorted({*needs, *uses} - _FIELDS)
    if strange:
        raise HandlerError(f"it needs {strange[0]!r}, which is no field of the metadata")
    frequency: Frequency = getattr(module, "FREQUENCY", "instance")
    if frequency not in _FREQUENCIES:
        raise HandlerError(f"its FREQUENCY must be one of: {', '.join(_FREQUENCIES)}")
    options = getattr(module, "Options", None)
    if options is not None and not (isinstance(options, type) and has_keys(options)):
        raise HandlerError("its Options must be a dataclass")
    summary = str(getattr(module, "SUMMARY", "") or getattr(apply, "__doc__", "") or "a plug-in").strip()
    return Plugin(
        summary=summary.partition("\n")[0],
        needs=needs,
        uses=uses,
        frequency=frequency,
        required=bool(getattr(module, "REQUIRED", False)),
        options=options,
        apply=apply,
        timeout=float(getattr(module, "TIMEOUT", _RUN_SECONDS)),
    )
