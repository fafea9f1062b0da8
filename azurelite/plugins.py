"""Finds and describes what is not part of azurelite: handlers (plug-ins and executables), and sources of metadata.

There are three ways to add a handler: an entry point of the group `azurelite.handlers` in an installed package,
`module:function` in the YAML, and an executable in /etc/azurelite/handlers.d, which needs no Python packaging. For a
source there are the first two, with the group `azurelite.datasources`. This process never imports foreign code: a
separate interpreter does (azurelite/run/plugin_interpreter.py), one for all handlers.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
from typing import Any, Callable, Iterable, Iterator, Mapping, Optional, Sequence

from azurelite import layout
from azurelite.clock import Deadline, SystemClock
from azurelite.config.document import Document, KeyPath
from azurelite.config.load import OWN_SOURCES, SOURCES, Frequency
from azurelite.errors import HandlerError, MachineError
from azurelite.metadata import Secret
from azurelite.record import Record, field
from azurelite.system.root import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from azurelite.system.child import Child

LOG = logging.getLogger(__name__)

GROUP = "azurelite.handlers"
SOURCE_GROUP = "azurelite.datasources"
RUN_SECONDS = 300.0
DAMAGED = "{} damaged its answer: remove code from it that writes to file descriptors it did not open"
FETCH_SECONDS = 60.0  # for a source that has no TIMEOUT
PROGRAM_SECONDS = RUN_SECONDS - 10  # for an executable whose entry has no `timeout`
_LEAST_MASKED = 4  # characters: shorter secrets would mask half of every line
_ANSWER_SECONDS = 10.0  # to import a plug-in, describe it and check its options
# What a plug-in's interpreter runs. `-I` keeps the current folder and PYTHON* variables away until `sys.path` is set.
_BEGIN = (
    "import sys, json; given = json.loads(sys.stdin.buffer.read()); sys.path[:] = given['path']; "
    "from azurelite.run.plugin_interpreter import serve; serve(given, int(sys.argv[1]))"
)


class Plugin(Record):
    """The description of a handler, from its code.

    Attributes:
        summary: one line.
        needs: metadata fields without which it is skipped.
        uses: further metadata fields that its work depends on.
        frequency: how often it runs, unless its entry says otherwise.
        required: whether its failure fails the run, unless its entry says otherwise.
        options: its class of options; None: it takes any keys, as a dict. For a plug-in this is a class made from
            its description, which checks nothing.
        apply: does the work, with a context and its options; not for a plug-in, whose code is not in this process.
        timeout: seconds; after them it is killed, and its step fails.
        needs_of: returns the needs for given options, if they differ from `needs`.
        uses_of: returns the uses for given options and configuration, if they differ from `uses`.
        place: `module` or `module:object` of a plug-in; "" for other handlers.
        text: the docstring of a plug-in's module.
        example: an entry of the configuration, if a plug-in has one.
    """

    summary: str
    needs: tuple[str, ...]
    uses: tuple[str, ...]
    frequency: Frequency
    required: bool
    options: Optional[type]
    apply: Callable[[Any, Any], None]
    timeout: float = RUN_SECONDS
    needs_of: Optional[Callable[[Any], tuple[str, ...]]] = None
    uses_of: Optional[Callable[[Any, Any], tuple[str, ...]]] = None
    place: str = ""
    text: str = ""
    example: str = ""


class Asked(Record):
    """A question about one plug-in.

    Attributes:
        name: for messages.
        place: `module` or `module:object`.
        options: of its entry, to be checked; None: only describe the plug-in.
        path: the keys that lead to the entry in the configuration.
    """

    name: str
    place: str
    options: Optional[Mapping[str, Any]] = field(default=None, repr=False)
    path: KeyPath = ()


class Answer(Record):
    """The answer about one plug-in.

    Attributes:
        plugin: its description; None if it cannot be used.
        error: why it cannot be used, with the remedy.
        options: of its entry, checked: plain values, secrets as `Secret`.
        problems: mistakes in the options: path in the configuration, and text.
    """

    plugin: Optional[Plugin] = None
    error: Optional[HandlerError] = None
    options: Any = None
    problems: tuple[tuple[KeyPath, str], ...] = ()


def place_of(name: str, group: str = GROUP) -> Optional[str]:
    """`module` or `module:object` of a plug-in, from an entry point's name or from such a place; None if unknown."""
    return name if ":" in name else entry_points(group).get(name)


def check_sources(names: Sequence[str], document: Document, path: KeyPath) -> None:
    """Raises ConfigProblemsError: there is no source of such a name. Without a plug-in among them it looks for none.

    Args:
        names: of sources.
        document: with the list of the names, for messages.
        path: of the list in it.
    """
    from azurelite.config.schema import Problems, unknown_text

    problems = Problems()
    for i, name in enumerate(names):
        if name not in SOURCES and ":" not in name and name not in plugged_sources():
            text = unknown_text("source", name, (*SOURCES, *plugged_sources()))
            problems.add(document, (*path, i), f"{text} (a plug-in must be installed)")
    problems.raise_if_any()


def plugged_sources() -> list[str]:
    """The names of the sources in installed packages. azurelite's own names are not theirs to take."""
    return sorted(name for name in entry_points(SOURCE_GROUP) if name not in OWN_SOURCES)


def ask(asked: Sequence[Asked]) -> list[Answer]:
    """Describe plug-ins, and check the options of their entries. Without a question, no interpreter is started.

    A plug-in that ends or blocks the interpreter cannot be used. A new interpreter continues with the next plug-in.
    """
    answers: list[Answer] = []
    while len(answers) < len(asked):
        answers += _ask_once(asked[len(answers) :])
    return answers


def _ask_once(asked: Sequence[Asked]) -> list[Answer]:
    """The answers of one interpreter, in order, up to the first plug-in that breaks it."""
    from azurelite.system.portable import pack

    answers: list[Answer] = []
    plugins = [[one.place, None if one.options is None else pack(one.options), list(one.path)] for one in asked]
    try:
        # Which options are secret only the plug-ins know.
        secrets = [text for one in asked for text in secrets_of(one.options, typed=False)]
        with start({"task": "describe", "plugins": plugins}, name=asked[0].name, secrets=secrets) as child:
            for one in asked:
                child.what = f"plug-in {one.name}"
                answers.append(_answer(one, child.answer(Deadline(SystemClock(), _ANSWER_SECONDS))))
    except MachineError as error:  # of the plug-in that was to answer next
        answers.append(Answer(error=HandlerError(error.message)))
    return answers


def _answer(one: Asked, line: bytes) -> Answer:
    """Read one answer. Raises MachineError if the plug-in has damaged it."""
    from azurelite.config.option_types import options_from_data
    from azurelite.system.portable import unpack

    told = read_answer(line, f"plug-in {one.name}")
    if "error" in told:
        return Answer(error=HandlerError(f"plug-in {one.name}: {told['error']}"))
    try:
        known = told["plugin"]
        options = options_from_data(known["options"]) if known["options"] is not None else None
        fields = {**known, "needs": tuple(known["needs"]), "uses": tuple(known["uses"]), "options": options}
        plugin = Plugin(**fields, apply=_elsewhere, place=one.place)
        if "unusable" in told:
            text = f"plug-in {one.name}: unusable Options: {told['unusable']}"
            return Answer(plugin, HandlerError(text))
        problems = tuple((tuple(path), text) for path, text in told["problems"])
        return Answer(plugin, options=unpack(told["checked"]), problems=problems)
    except (KeyError, TypeError, ValueError) as error:
        raise MachineError(DAMAGED.format(f"plug-in {one.name}")) from error


def read_answer(line: bytes, what: str) -> dict[str, Any]:
    """Parse a line of JSON from an interpreter. Raises MachineError if a plug-in has damaged it."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise MachineError(DAMAGED.format(what))
    return told


def start(given: Mapping[str, Any], *, name: str, secrets: Iterable[str] = (), keep: Optional[int] = None) -> Child:
    """Start an interpreter for plug-ins, see azurelite/run/plugin_interpreter.py.

    Args:
        given: its task, sent by standard input because it may hold secrets.
        name: of the plug-in, for messages and the log.
        secrets: texts that are masked in what it prints.
        keep: a descriptor that stays open in it: the run's lock, so that a plug-in whose run was killed still holds it.

    Raises:
        MachineError: it cannot be started.
    """
    from azurelite.system.child import Child

    if not sys.executable:
        raise MachineError(
            f"plug-in {name} not started: sys.executable is empty: start azurelite with the full path of its Python"
        )
    words = [sys.executable, "-I"]
    words += ["-S"] if sys.flags.no_site else []
    words += ["-B"] if sys.dont_write_bytecode else []
    words += ["-X", "utf8"] if sys.flags.utf8_mode else []
    words += ["-X", f"pycache_prefix={sys.pycache_prefix}"] if sys.pycache_prefix else []
    text = json.dumps({**given, "path": _search_path(), "level": LOG.getEffectiveLevel()})
    hidden = sorted({secret for secret in secrets if len(secret) >= _LEAST_MASKED}, key=len, reverse=True)
    child = Child(
        [*words, "-c", _BEGIN], text.encode(), what=f"plug-in {name}", say=lambda line: _say(child, line, hidden),
        keep=keep,
    )  # fmt: skip
    return child


def secrets_of(value: Any, *, typed: bool = True) -> Iterator[str]:
    """The secrets in a value, a mapping or a list, as text; not `typed`: every text, because any may be secret."""
    if isinstance(value, Secret):
        value, typed = value.reveal(), False
    if isinstance(value, (str, bytes)) and not typed:
        yield value.decode(errors="replace") if isinstance(value, bytes) else value
    elif isinstance(value, (Mapping, list, tuple)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from secrets_of(item, typed=typed)


def _say(child: Child, line: str, hidden: Sequence[str]) -> None:
    for secret in hidden:
        line = line.replace(secret, "***")
    if line.strip():
        LOG.info("%s: %s", child.what.rpartition(" ")[2], line.rstrip())


def _search_path() -> list[str]:
    """This process's `sys.path` as absolute paths, without the current folder that Python has put first for `-m`.

    azurelite's own folder is always in it, so that the interpreter runs the same azurelite.
    """
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    try:
        here = os.getcwd()
    except FileNotFoundError:  # it was removed: relative entries lead nowhere
        return [own, *(entry for entry in sys.path if os.path.isabs(entry) and entry != own)]
    entries = [os.path.abspath(entry) for entry in sys.path if entry]
    safe = sys.flags.isolated or getattr(sys.flags, "safe_path", False)  # nothing was put there
    if sys.path[:1] == [here] and not safe and not _belongs_to_python(here):
        del entries[0]
    return entries if own in entries else [own, *entries]


def _belongs_to_python(folder: str) -> bool:
    """The standard library's folder, its extension modules' or one of installed packages."""
    return folder.startswith((sys.prefix + os.sep, sys.base_prefix + os.sep, sys.exec_prefix + os.sep))


def _elsewhere(ctx: Any, options: Any) -> None:
    del ctx, options
    raise HandlerError("a plug-in cannot be called directly: list it under `handlers`, and call azurelite.apply")


def entry_points(group: str = GROUP) -> dict[str, str]:
    """Name -> `module` or `module:object`, of the handlers, or another group, in installed packages."""
    from importlib import metadata

    found: Any = metadata.entry_points()
    # Python 3.9 has a dict of lists; later ones have a selection.
    chosen = found.select(group=group) if hasattr(found, "select") else found.get(group, [])
    return {entry.name: entry.value for entry in chosen}


def executables(root: Root) -> list[str]:
    """The names of the files in /etc/azurelite/handlers.d, also of those that cannot be run."""
    return [name for name in root.names(layout.HANDLERS_DIR) if "." not in name]


def executable(name: str, root: Root) -> Optional[str]:
    """The guest path of the executable of that name; None if there is none.

    Raises:
        HandlerError: it is not executable, or others than root can change it.
    """
    if name not in executables(root):
        return None
    path = f"{layout.HANDLERS_DIR}/{name}"
    found = root.stat(path)
    if found is None or not stat.S_ISREG(found.st_mode) or not found.st_mode & 0o111:
        raise HandlerError(f"{path} is not an executable file: `chmod 755` or remove it")
    if found.st_mode & 0o022 or (os.geteuid() == 0 and found.st_uid != 0):
        raise HandlerError(f"{path} can be changed by users other than root: `chown root` and `chmod 755` it")
    return path
