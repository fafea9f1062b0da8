"""Handlers that come from outside: where they are looked for, and what an interpreter of their own says of them.

Three ways: an entry point of the group `azurelite.handlers` of an installed package, `module:function` in the YAML, and
an executable in /etc/azurelite/handlers.d for people without Python packaging. This process never imports foreign code:
a fresh interpreter does (azurelite/run/plugin_interpreter.py), and one of them answers for all plug-ins at once.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
from typing import Any, Callable, Mapping, Optional, Sequence

from azurelite import layout
from azurelite.clock import Clock, Deadline
from azurelite.config.document import KeyPath
from azurelite.config.load import Frequency
from azurelite.errors import HandlerError, MachineError
from azurelite.record import Record, field
from azurelite.system.root import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from azurelite.system.child import Child

LOG = logging.getLogger(__name__)

GROUP = "azurelite.handlers"
RUN_SECONDS = 300.0
PROGRAM_SECONDS = RUN_SECONDS - 10  # for an executable
_ANSWER_SECONDS = 10.0  # to import a plug-in, describe it and check its options
# What a plug-in's interpreter runs. `-I` keeps the current folder and PYTHON* variables away until `sys.path` is set.
_BEGIN = (
    "import sys, json; given = json.loads(sys.stdin.buffer.read()); sys.path[:] = given['path']; "
    "from azurelite.run.plugin_interpreter import serve; serve(given, int(sys.argv[1]))"
)


class Plugin(Record):
    """A handler as its code describes it.

    Attributes:
        summary: one line.
        needs: metadata fields without which it is skipped.
        uses: further metadata fields that its work depends on.
        frequency: how often it runs where the entry does not say.
        required: where the entry does not say; not, unless its author says so.
        options: its class of options, or None: it takes any keys, as a dict. For a plug-in this is a class made from
            its description, which checks nothing.
        apply: does the work, with a context and its options; not for a plug-in, whose code is not in this process.
        timeout: seconds; then it is ended, and its step has failed.
        needs_of: the needs of given options, where they differ from `needs`.
        place: `module` or `module:object` of a plug-in; "" for all other handlers.
        text: what a plug-in's module says of it.
        example: an entry of the configuration, where a plug-in gives one.
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
    place: str = ""
    text: str = ""
    example: str = ""


class Asked(Record):
    """What is asked about one plug-in.

    Attributes:
        name: for messages.
        place: `module` or `module:object`.
        options: of its entry, to be checked; None: there is no entry, only the description is wanted.
        path: where the entry stands in the configuration.
    """

    name: str
    place: str
    options: Optional[Mapping[str, Any]] = field(default=None, repr=False)
    path: KeyPath = ()


class Answer(Record):
    """What is known of one plug-in.

    Attributes:
        plugin: its description, where it can be used.
        error: why it cannot be used, with the remedy.
        options: of its entry, checked: plain values, secrets as `Secret`.
        problems: what is wrong with the options: path in the configuration, and text.
    """

    plugin: Optional[Plugin] = None
    error: Optional[HandlerError] = None
    options: Any = None
    problems: tuple[tuple[KeyPath, str], ...] = ()


def place_of(name: str) -> Optional[str]:
    """`module` or `module:object` of the plug-in of that name (an entry point, or such a place), or None."""
    return name if ":" in name else entry_points().get(name)


def ask(asked: Sequence[Asked], *, clock: Optional[Clock] = None) -> list[Answer]:
    """Describe plug-ins, and check the options of their entries. Starts no interpreter when nothing is asked.

    A plug-in that ends or blocks the interpreter cannot be used; another interpreter answers for those after it.
    """
    answers: list[Answer] = []
    while len(answers) < len(asked):
        answers += _ask_once(asked[len(answers) :], clock or Clock())
    return answers


def _ask_once(asked: Sequence[Asked], clock: Clock) -> list[Answer]:
    """One interpreter's answers, in order: all of them, or those up to the first that it broke at."""
    from azurelite.system.portable import pack

    answers: list[Answer] = []
    plugins = [[one.place, None if one.options is None else pack(one.options), list(one.path)] for one in asked]
    try:
        with start({"task": "describe", "plugins": plugins}, name=asked[0].name) as child:
            for one in asked:
                child.what = f"the plug-in {one.name}"
                answers.append(_answer(one, child.answer(Deadline(clock, _ANSWER_SECONDS))))
    except MachineError as error:  # of the one whose turn it was
        answers.append(Answer(error=HandlerError(f"{error.message}: it cannot be used")))
    return answers


def _answer(one: Asked, line: bytes) -> Answer:
    """Read one answer. Raises MachineError: it was not the interpreter that wrote it."""
    from azurelite.config.option_types import options_from_data
    from azurelite.system.portable import unpack

    told = read_answer(line, f"the plug-in {one.name}")
    if "error" in told:
        return Answer(error=HandlerError(f"the plug-in {one.name} cannot be used: {told['error']}"))
    try:
        known = told["plugin"]
        options = options_from_data(known["options"]) if known["options"] is not None else None
        fields = {**known, "needs": tuple(known["needs"]), "uses": tuple(known["uses"]), "options": options}
        plugin = Plugin(**fields, apply=_elsewhere, place=one.place)
        if "unusable" in told:
            text = f"the Options of the plug-in {one.name} cannot be used: {told['unusable']}"
            return Answer(plugin, HandlerError(text))
        problems = tuple((tuple(path), text) for path, text in told["problems"])
        return Answer(plugin, options=unpack(told["checked"]), problems=problems)
    except (KeyError, TypeError, ValueError) as error:
        raise MachineError(f"the plug-in {one.name} gave an answer that cannot be read") from error


def read_answer(line: bytes, what: str) -> dict[str, Any]:
    """A line that an interpreter wrote. Raises MachineError: a plug-in wrote into it."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise MachineError(f"{what} gave an answer that cannot be read")
    return told


def start(given: Mapping[str, Any], *, name: str) -> Child:
    """An interpreter for plug-ins, see azurelite/run/plugin_interpreter.py.

    Args:
        given: its task. It goes by standard input, for it may hold secrets.
        name: of the plug-in, for messages and the log.

    Raises:
        MachineError: it cannot be started.
    """
    from azurelite.system.child import Child

    if not sys.executable:
        raise MachineError(f"the plug-in {name} cannot be started: the path of this Python is not known")
    words = [sys.executable, "-I"]
    words += ["-S"] if sys.flags.no_site else []
    words += ["-B"] if sys.dont_write_bytecode else []
    words += ["-X", "utf8"] if sys.flags.utf8_mode else []
    words += ["-X", f"pycache_prefix={sys.pycache_prefix}"] if sys.pycache_prefix else []
    text = json.dumps({**given, "path": _search_path(), "level": LOG.getEffectiveLevel()})
    child = Child([*words, "-c", _BEGIN], text.encode(), what=f"the plug-in {name}", say=lambda line: _say(child, line))
    return child


def _say(child: Child, line: str) -> None:
    if line.strip():
        LOG.info("%s: %s", child.what, line.rstrip())


def _search_path() -> list[str]:
    """This process's `sys.path` in absolute paths, without the current folder unless somebody named it.

    azurelite's own folder is always in it: the interpreter must run the azurelite that started it.
    """
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    try:
        here = os.getcwd()
    except FileNotFoundError:  # it was removed: relative entries lead nowhere
        return [own, *(entry for entry in sys.path if os.path.isabs(entry) and entry != own)]
    named = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    entries = [os.path.abspath(entry) for entry in sys.path if entry]
    entries = [entry for entry in entries if entry != here or entry in named]
    return entries if own in entries else [own, *entries]


def _elsewhere(ctx: Any, options: Any) -> None:
    del ctx, options
    raise HandlerError("a plug-in runs in an interpreter of its own")


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
