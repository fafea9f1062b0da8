"""The main program of the plug-ins' interpreter: imports plug-ins, describes them, checks options, or runs one.

azurelite/plugins.py starts it. It reads the task from standard input and writes each answer, one line of JSON, to a
separate descriptor. Output and tracebacks of a plug-in go to standard error, and from there into the log.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import sys
from typing import Any, Mapping, NoReturn, Optional

from azurelite import errors, outcome
from azurelite.clock import Clock, Deadline, SystemClock
from azurelite.config.document import Document
from azurelite.config.load import ENTRY_KEYS, Config, parse_config
from azurelite.config.option_types import options_as_data, plain
from azurelite.config.schema import ConfigProblemsError, Problems, bind, has_keys
from azurelite.errors import AzureliteError, HandlerError, TransportError
from azurelite.fabric.client import Fabric
from azurelite.fabric.exchange import Exchange
from azurelite.fabric.settings import ImdsSettings, WireServerSettings
from azurelite.guard import guard
from azurelite.handlers import Context
from azurelite.metadata import NAMES, Gaps, Metadata, SshKey
from azurelite.plugins import FETCH_SECONDS, RUN_SECONDS
from azurelite.state.store import State
from azurelite.system.changes import Change
from azurelite.system.machine import System
from azurelite.system.portable import pack, unpack
from azurelite.system.wishes import adopt_wishes

_FREQUENCIES = ("instance", "boot", "once")
_FIELDS = frozenset(NAMES)


def serve(given: Mapping[str, Any], answers: int) -> NoReturn:
    """Do the task and end.

    Args:
        given: the task, as azurelite/plugins.py and plugin_process.py make it.
        answers: the descriptor for answers.
    """
    os.set_inheritable(answers, False)  # programs that a plug-in starts must not hold it open
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    logging.getLogger("azurelite").setLevel(given["level"])
    logging.getLogger("azurelite.guard").setLevel(logging.DEBUG)  # tracebacks of plug-ins
    if given["task"] == "describe":
        for place, options, path in given["plugins"]:
            _send(answers, _describe(place, options, tuple(path)))
    else:
        own = os.getpid()
        told = _run(given) if given["task"] == "run" else _fetch(given, answers)
        if os.getpid() != own:  # a child that the plug-in has forked and that came back from `apply`
            os._exit(1)
        _send(answers, told)
    os._exit(0)


def _send(answers: int, told: Mapping[str, Any]) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # the plug-in has closed it
            stream.flush()
    view = memoryview(json.dumps(told, default=str).encode() + b"\n")
    try:
        while view:
            view = view[os.write(answers, view) :]
    except OSError as error:
        sys.exit(f"cannot write the answer: {error.strerror}")


def _describe(place: str, options: Any, path: tuple[Any, ...]) -> dict[str, Any]:
    """The description of one plug-in with its checked options, or an error."""
    found: list[Any] = []
    error = guard(lambda: found.append(_load(place)))
    if error is not None:
        return {"error": error.message}
    module, _ = found[0]
    told: dict[str, Any] = {"checked": None, "problems": []}
    cls = getattr(module, "Options", None)
    error = guard(lambda: told.update(plugin=_as_data(*found[0])))
    if error is not None:
        told.update(plugin=_as_data(*found[0], with_options=False), unusable=error.message)
    elif options is not None:
        error = guard(lambda: told.update(checked=pack(_checked(cls, unpack(options), path))))
        if isinstance(error, ConfigProblemsError):
            told["problems"] = [[list(one.path), one.text] for one in error.problems]
        elif error is not None:
            told["unusable"] = error.message
    return told


def _load(place: str) -> tuple[Any, Any]:
    """The module (or another holder of a handler's names) and its function, checked. Raises HandlerError."""
    module, apply = _imported(place, "apply")
    if not callable(apply):
        raise HandlerError("it has no function `apply(ctx, options)`: define one")
    strange = sorted({*_tuple(module, "NEEDS"), *_tuple(module, "USES")} - _FIELDS)
    if strange:
        raise HandlerError(f"{strange[0]!r} in NEEDS or USES is not a field of the metadata")
    if getattr(module, "FREQUENCY", "instance") not in _FREQUENCIES:
        raise HandlerError(f"its FREQUENCY must be one of: {', '.join(_FREQUENCIES)}")
    options = getattr(module, "Options", None)
    if options is not None and not (isinstance(options, type) and has_keys(options)):
        raise HandlerError("its Options must be a frozen dataclass or a Record")
    _seconds(module, RUN_SECONDS)
    return module, apply


def _seconds(module: Any, default: float) -> float:
    """The TIMEOUT of a plug-in. Raises HandlerError."""
    try:
        seconds = float(getattr(module, "TIMEOUT", default))
    except (TypeError, ValueError):
        seconds = 0.0
    if not seconds > 0:  # also what is no number
        raise HandlerError("its TIMEOUT must be a number of seconds above 0")
    return seconds


def _imported(place: str, function: str) -> tuple[Any, Any]:
    """The module (or another holder of names) at a place, and its function of that name, or the one at the place."""
    module_name, _, path = place.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise HandlerError(f"cannot import module {error.name or module_name!r}: install it") from error
    found: Any = module
    for part in path.split(".") if path else ():
        if not hasattr(found, part):
            raise HandlerError(f"{module_name} has no {path!r}")
        found = getattr(found, part)
    if hasattr(found, function) or found is module:
        return found, getattr(found, function, None)
    return module, found


def _as_data(module: Any, apply: Any, *, with_options: bool = True) -> dict[str, Any]:
    """The description for azurelite's own process. Raises NameError if Options cannot be described."""
    options = getattr(module, "Options", None) if with_options else None
    summary = str(getattr(module, "SUMMARY", "") or getattr(apply, "__doc__", "") or "a plug-in").strip()
    return {
        "summary": summary.partition("\n")[0],
        "needs": _tuple(module, "NEEDS"),
        "uses": _tuple(module, "USES"),
        "frequency": getattr(module, "FREQUENCY", "instance"),
        "required": bool(getattr(module, "REQUIRED", False)),
        "timeout": _seconds(module, RUN_SECONDS),
        "options": None if options is None else options_as_data(options),
        "text": str(module.__doc__ or "").strip(),
        "example": str(getattr(module, "EXAMPLE", "")),
    }


def _tuple(module: Any, name: str) -> tuple[str, ...]:
    return tuple(getattr(module, name, ()))


def _checked(cls: Any, options: Any, path: tuple[Any, ...]) -> Any:
    return options if cls is None else plain(bind(cls, options, Document({}, {}), path, also=ENTRY_KEYS))


def _run(given: Mapping[str, Any]) -> dict[str, Any]:
    """Run one plug-in. Returns its changes, its notes and its failure."""
    clock = SystemClock()
    system = System(given["root"], dry_run=given["dry_run"], clock=clock)
    system.commands.search_path = given["search_path"]
    if given["limit"] is not None:
        system.commands.limit = Deadline(clock, given["limit"])
    if system.dry_run:
        adopt_wishes(system, given["wishes"])
    state = State(system, given["vm_id"], clock)
    if not system.dry_run:
        system.journal.listener = state.note_change
    notes: list[str] = []
    with _fabric(given["fabric"], system, clock) as fabric:
        ctx = Context(
            metadata=_metadata(unpack(given["metadata"])),
            system=system,
            fabric=fabric,
            outcome=_outcome(unpack(given["outcome"])),
            note=notes.append,
            report_ready=_refuse_report,
            memory=state.memory,
            media_device=given["media_device"],
            config=_config(unpack(given["config"])),
        )
        error = guard(lambda: _apply(given["place"], unpack(given["options"]), ctx))
    return {
        "changes": [[change.kind, change.target, change.detail] for change in system.journal.since(0)],
        "notes": [str(note) for note in notes],
        "failure": None if error is None else _failure(error),
    }


def _apply(place: str, options: Any, ctx: Context) -> None:
    module, apply = _load(place)
    cls = getattr(module, "Options", None)
    if cls is not None:
        options = bind(cls, options, Document({}, {}), ())
    with ctx.system.together():
        apply(ctx, options)


def _fetch(given: Mapping[str, Any], answers: int) -> dict[str, Any]:
    """Ask one source: send its timeout, then return its answer or its failure."""
    from azurelite.datasource.others import Guest

    told: dict[str, Any] = {}

    def fetch() -> None:
        module, function = _imported(given["place"], "fetch")
        if not callable(function):
            raise HandlerError("it has no function `fetch(guest)`: define one")
        seconds = _seconds(module, FETCH_SECONDS)
        _send(answers, {"timeout": seconds})
        deadline = Deadline(SystemClock(), min(seconds, given["guest"]["seconds"]))
        guest = {name: value for name, value in given["guest"].items() if name != "seconds"}
        told["found"] = pack(function(Guest(**guest, deadline=deadline)))

    error = guard(fetch)
    return told if error is None else {"failure": _failure(error)}


def _failure(error: AzureliteError) -> list[Any]:
    """The failure as text, because a plug-in may put any type into an error."""
    return [str(error.message), str(error.reason), {str(key): str(value) for key, value in error.data.items()}]


def _refuse_report() -> NoReturn:
    raise HandlerError("a plug-in cannot report to Azure: list `report_ready` after it")


def _fabric(given: Mapping[str, Any], system: System, clock: Clock) -> Fabric:
    def explain(address: str, error: TransportError) -> str:
        from azurelite.system.network.reach import explain as by_routes

        return by_routes(system.root, address, error, uid=os.geteuid())

    fabric = Fabric(
        given["seconds"],
        imds=ImdsSettings(**unpack(given["imds"])),
        wireserver=WireServerSettings(**unpack(given["wireserver"])),
        clock=clock,
        interface=given["interface"],
        explain=explain,
        told_wireserver=given["told_wireserver"],
        offline=given["offline"],
    )
    fabric.reading = Deadline(clock, given["reading"])
    return fabric


def _metadata(values: dict[str, Any]) -> Metadata:
    keys = values["public_ssh_keys"]
    values["public_ssh_keys"] = None if keys is None else tuple(SshKey(**key) for key in keys)
    return Metadata(**{**values, "gaps": Gaps.read(values["gaps"])})


def _config(given: Mapping[str, Any]) -> Config:
    """The configuration of the run, which has been checked before. It has no line numbers."""
    return parse_config(Document(given["data"], {}, given["file"]), Problems())


def _outcome(values: dict[str, Any]) -> outcome.Outcome:
    steps = tuple(_step(step) for step in values["steps"])
    report = outcome.ReportResult(**values["report"]) if values["report"] is not None else None
    exchanges = tuple(Exchange(**one) for one in values["exchanges"])
    error = _error(values["error"])
    return outcome.Outcome(**{**values, "steps": steps, "report": report, "exchanges": exchanges, "error": error})


def _step(values: dict[str, Any]) -> outcome.StepResult:
    changes = tuple(Change(**change) for change in values["changes"])
    return outcome.StepResult(**{**values, "changes": changes, "error": _error(values["error"])})


def _error(told: Optional[list[Any]]) -> Optional[AzureliteError]:
    """The error of an earlier step, of the same class if that class is azurelite's."""
    if told is None:
        return None
    name, message, reason, data = told
    kind = getattr(errors, name, AzureliteError)
    error: AzureliteError = kind.__new__(kind, message)
    AzureliteError.__init__(error, message, reason=reason, data=data)
    return error
