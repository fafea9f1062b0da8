"""The handlers: one module per YAML key. A handler decides what the machine should be like; `ctx.system` changes it.

A handler's module holds ``SUMMARY`` (one line), ``NEEDS`` (metadata fields without which it is skipped), ``USES``
(optional: further fields that it reads), ``needs(options)`` and ``uses(options, config)`` (optional: the same, where
they depend on the options or on other entries), ``FREQUENCY``, ``REQUIRED``, a ``Record`` ``Options`` whose field names
are the YAML keys, and ``apply(ctx, options) -> None``, which calls the verbs of `ctx.system` and either returns or
raises an AzureliteError.
"""

from __future__ import annotations

import importlib
from typing import Any, Callable, Iterable, Mapping, Optional, Union

from azurelite import plugins
from azurelite.config.load import ENTRY_KEYS, Config, Frequency, HandlerEntry
from azurelite.config.load import REPORT_READY as REPORT_READY
from azurelite.config.schema import Problems, bind, unknown
from azurelite.errors import ConfigError, HandlerError
from azurelite.fabric.client import Fabric
from azurelite.metadata import Metadata, Secret
from azurelite.outcome import Outcome
from azurelite.plugins import Answer, Asked, Plugin
from azurelite.record import Record, field, replace
from azurelite.state.store import Memory
from azurelite.system.machine import System
from azurelite.system.root import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from azurelite.config.condition import Condition

_NAMES = (
    "certificates",
    "custom_data",
    "disable_service",
    "eject_media",
    "growroot",
    "hostname",
    "locale",
    "mounts",
    "network",
    "packages",
    "passwords",
    "power_state",
    "random_seed",
    "report_ready",
    "resource_disk",
    "run",
    "ssh_host_keys",
    "ssh_keys",
    "sshd",
    "swap",
    "tags",
    "time_sync",
    "timezone",
    "user",
    "user_data",
    "users",
    "wireserver_firewall",
    "write_files",
)
_RUNNING = ("run", "user_data")
BUILTIN = {name: f"azurelite.handlers.{name}" for name in _NAMES}
EJECT_MEDIA = "eject_media"
PROGRAM_TIMEOUT = "timeout"  # the option that azurelite itself reads of an executable's entry
MOST_SECONDS = 7 * 86400  # for a program


class Context(Record):
    """Everything that a handler may use.

    These attributes are public: a plug-in may use them, and with `system` what `files`, `commands`, `accounts`,
    `perform`, `root`, `live` and `dry_run` offer. Everything below them that is not documented as theirs may change.

    Attributes:
        metadata: what Azure says about the VM.
        system: the machine.
        fabric: Azure's endpoints.
        outcome: the results of the steps before this one.
        note: log a message that a person should read although nothing failed.
        report_ready: tell Azure that the VM is ready; raises FabricError when Azure does not accept it.
        memory: what handlers remember about this VM between runs.
        media_device: host path of the drive that held the provisioning disc; None without a disc.
        config: the configuration of the run, for handlers that run others.
    """

    metadata: Metadata
    system: System
    fabric: Fabric
    outcome: Outcome
    note: Callable[[str], None]
    report_ready: Callable[[], None]
    memory: Memory
    media_device: Optional[str] = None
    config: Config = field(default_factory=Config)


class Handler(Record):
    """A handler with the options of its entry, ready to run.

    Attributes:
        name: its YAML key.
        summary: what it does, in one line.
        needs: metadata fields without which it is skipped.
        uses: further metadata fields that it reads; it runs again when one of them changes.
        frequency: "instance" (once per VM id), "boot" (at every boot) or "once" (once on this machine).
        required: when it fails, provisioning fails.
        options: an instance of its `Options`; for a plug-in a dict, checked by its own `Options` if it has that class.
        apply: does the work; not used for a plug-in.
        id: the `id` of the entry, otherwise its name.
        when: conditions on the metadata that must all hold for it to run.
        timeout: seconds that a handler from outside may run; None for azurelite's own handlers.
        unusable: why a plug-in cannot be run.
        place: where the code of a plug-in is, which runs in a fresh interpreter; "" for all other handlers.
        given: the options of a plug-in as they are in the configuration.
    """

    name: str
    summary: str
    needs: tuple[str, ...]
    uses: tuple[str, ...]
    frequency: Frequency
    required: bool
    options: Any
    apply: Callable[[Context, Any], None]
    id: str = ""
    when: tuple[Condition, ...] = ()
    timeout: Optional[float] = None
    unusable: Optional[HandlerError] = None
    place: str = ""
    given: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def key(self) -> str:
        """The entry's name in plans, records and outcomes."""
        return self.id or self.name

    @property
    def runs_programs(self) -> bool:
        """Whether it runs code from outside azurelite, which may do damage when it runs twice."""
        return self.name not in BUILTIN or self.name in _RUNNING


def bind_handlers(config: Config, root: Optional[Root] = None) -> tuple[Handler, ...]:
    """The handlers that the configuration lists, with their options checked.

    Args:
        config: the configuration.
        root: the guest, whose /etc/azurelite/handlers.d is searched.

    Raises:
        ConfigError: lists every mistake: unknown handlers and options, required handlers after `report_ready`.
    """
    problems = Problems()
    names = [entry.name for entry in config.handlers]
    ready = names.index(REPORT_READY) if REPORT_READY in names else len(names)
    answers = ask_plugins(config.handlers, root)
    handlers = []
    for i, entry in enumerate(config.handlers):
        with problems.collecting():
            handlers.append(bind_handler(entry, config, root, answers))
            if i > ready and handlers[-1].required:
                wanted = f"{entry.key!r} is required but comes after {REPORT_READY!r}"
                problems.add(config.document, entry.path, f"{wanted}: move it before that, or set `required: false`")
        if i < ready < len(names) and entry.name == EJECT_MEDIA:
            wanted = f"{entry.key!r} comes before {REPORT_READY!r}"
            problems.add(
                config.document, entry.path, f"{wanted}: move it after that, Azure expects the disc until then"
            )
    problems.raise_if_any()
    return tuple(handlers)


def ask_plugins(entries: Iterable[HandlerEntry], root: Optional[Root]) -> dict[str, Answer]:
    """What one interpreter says of all plug-ins among the entries, by the entries' keys. Without any it is not started.

    Args:
        entries: as the configuration lists them.
        root: the guest, whose executables are handlers as well.
    """
    asked = {}
    for entry in entries:
        place = _plugin_place(entry.name, root)
        if place is not None:
            asked[entry.key] = Asked(entry.name, place, entry.options, entry.path)
    return dict(zip(asked, plugins.ask(list(asked.values()))))


def _plugin_place(name: str, root: Optional[Root]) -> Optional[str]:
    if name in BUILTIN or (root is not None and name in plugins.executables(root)):
        return None
    return plugins.place_of(name)


def bind_handler(
    entry: HandlerEntry, config: Config, root: Optional[Root] = None, answers: Optional[Mapping[str, Answer]] = None
) -> Handler:
    """One handler with its options checked.

    A plug-in that cannot be used becomes a handler that fails when it is run, so that it blocks Ready only with
    `required: true`.

    Args:
        entry: an entry of the configuration.
        config: the configuration.
        root: the guest, whose executables are handlers as well.
        answers: what `ask_plugins` returned for this entry and others; None: ask for this one now.

    Raises:
        ConfigError: the handler does not exist, or its options are wrong.
    """
    place = config.document.place(entry.path)
    odd = (entry.frequency, entry.required, entry.when or None, entry.id or None)
    if entry.name == REPORT_READY and odd != (None, None, None, None):
        keys = "no `frequency`, `required`, `when` or `id`"
        raise ConfigError(f"{place}: {REPORT_READY!r} takes {keys}: remove them, Azure expects Ready once per VM")
    if entry.key != entry.name and entry.key in BUILTIN:  # its record would pass for that handler's
        raise ConfigError(f"{place}: the `id` {entry.key!r} is the name of a handler: choose another id")
    answer = (ask_plugins([entry], root) if answers is None else answers).get(entry.key)
    if answer is None:
        answer = _own_answer(entry, config, root)
    problems = Problems()
    for path, text in answer.problems:
        problems.add(config.document, path, text)
    problems.raise_if_any()
    offered = _NO_PLUGIN if answer.plugin is None or answer.error is not None else answer.plugin
    options = entry.options if answer.error is not None else answer.options
    return Handler(
        name=entry.name,
        id=entry.key,
        summary=offered.summary,
        needs=offered.needs if offered.needs_of is None else offered.needs_of(options),
        uses=offered.uses if offered.uses_of is None else offered.uses_of(options, config),
        frequency=entry.frequency or offered.frequency,
        required=offered.required if entry.required is None else entry.required,
        options=options,
        apply=offered.apply,
        when=entry.when,
        timeout=None if entry.name in BUILTIN else offered.timeout,
        unusable=answer.error,
        place=offered.place,
        given=entry.options if offered.place else {},
    )


def _own_answer(entry: HandlerEntry, config: Config, root: Optional[Root]) -> Answer:
    """Describe a built-in handler or an executable, and check the options of its entry. Raises ConfigError."""
    try:
        offered = _offered(entry, config, root)
    except HandlerError as error:
        return Answer(error=error)
    wanted: Any = offered.options
    if wanted is None:
        return Answer(replace(offered, timeout=_program_seconds(entry, config)), options=entry.options)
    return Answer(offered, options=bind(wanted, entry.options, config.document, entry.path, also=ENTRY_KEYS))


def _program_seconds(entry: HandlerEntry, config: Config) -> float:
    """The option `timeout` of an executable. Raises ConfigError."""
    seconds = entry.options.get(PROGRAM_TIMEOUT, plugins.PROGRAM_SECONDS)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= MOST_SECONDS:
        place = config.document.place((*entry.path, PROGRAM_TIMEOUT))
        raise ConfigError(f"{place}: `timeout` must be a number of seconds above 0, at most {MOST_SECONDS} (a week)")
    return float(seconds)


def known_names(root: Optional[Root] = None) -> list[str]:
    """The names that an entry may have: azurelite's own handlers, plug-ins of installed packages, executables."""
    return sorted({*BUILTIN, *plugins.entry_points(), *(plugins.executables(root) if root is not None else ())})


def look_up(name: str, root: Optional[Root] = None) -> Optional[Plugin]:
    """The handler of that name, or None if there is none. Raises HandlerError: the plug-in cannot be used."""
    found = look_up_all([name], root).get(name)
    if isinstance(found, HandlerError):
        raise found
    return found


def look_up_all(names: Iterable[str], root: Optional[Root] = None) -> dict[str, Union[Plugin, HandlerError]]:
    """The handlers of these names, or why one cannot be used; one interpreter answers for all plug-ins."""
    found: dict[str, Any] = {}
    asked = []
    for name in names:
        place = _plugin_place(name, root)
        if place is not None:
            asked.append(Asked(name, place))
            continue
        try:
            found[name] = _own(name, root)
        except HandlerError as error:
            found[name] = error
    for one, answer in zip(asked, plugins.ask(asked)):
        found[one.name] = answer.error or answer.plugin
    return {name: known for name, known in found.items() if known is not None}


def _own(name: str, root: Optional[Root]) -> Optional[Plugin]:
    """One of azurelite's own handlers, or an executable of the guest. Raises HandlerError."""
    if name in BUILTIN:
        module = importlib.import_module(BUILTIN[name])
        return Plugin(
            module.SUMMARY,
            module.NEEDS,
            getattr(module, "USES", ()),
            module.FREQUENCY,
            module.REQUIRED,
            module.Options,
            module.apply,
            needs_of=getattr(module, "needs", None),
            uses_of=getattr(module, "uses", None),
        )
    path = plugins.executable(name, root) if root is not None else None
    return None if path is None else _program(path)


def _offered(entry: HandlerEntry, config: Config, root: Optional[Root]) -> Plugin:
    offered = _own(entry.name, root)
    if offered is not None:
        return offered
    if entry.required is False:  # the administrator expects that it may be missing
        raise HandlerError(f"the handler {entry.name!r} does not exist: install the plug-in, or remove the entry")
    error = unknown("handler", entry.name, known_names(root), where=config.document.place(entry.path))
    raise ConfigError(f"{error.message} (set `required: false` for a plug-in that may be missing)")


def _program(path: str) -> Plugin:
    """An executable as a handler. It receives its options as environment variables."""
    run = importlib.import_module(BUILTIN["run"])

    def apply(ctx: Context, options: dict[str, Any]) -> None:
        env = {_variable(key): Secret(_as_text(value)) for key, value in options.items()}
        seconds = float(options.get(PROGRAM_TIMEOUT, plugins.PROGRAM_SECONDS))
        run.apply(ctx, run.Options(argv=(path,), env=env, timeout=seconds))

    return Plugin(f"run {path}", (), (), "instance", required=False, options=None, apply=apply)


def _variable(key: str) -> str:
    usable = "".join(c if c.isascii() and c.isalnum() else "_" for c in key)
    return f"AZURELITE_OPTION_{usable.upper()}"


def _as_text(value: Any) -> str:
    import json

    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text.replace("\0", "")


def do_nothing(ctx: Context, options: Any) -> None:
    """In the place of work that cannot be done."""
    del ctx, options


# Stands in for a plug-in that cannot be used; the plan makes its step fail.
_NO_PLUGIN = Plugin("a plug-in", (), (), "instance", required=False, options=None, apply=do_nothing)
