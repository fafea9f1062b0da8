"""Plain values -> a checked, frozen Record: the one way in which YAML keys become typed options.

The Record (or a plug-in's dataclass) is the schema. Its field names are the keys, its types the types of the values,
its defaults the values of absent keys. All mistakes are collected and reported together. Messages name the place, the
key and the nearest valid key; never a value.
"""

from __future__ import annotations

import collections.abc
import contextlib
import re
from typing import (
    Any,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Literal,
    Mapping,
    Optional,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from azurelite.config.document import Document, KeyPath, Place, Problem, quotable, quotable_path
from azurelite.errors import ConfigError
from azurelite.metadata import Secret
from azurelite.record import MISSING, Field, Record, field

T = TypeVar("T")

MAPPINGS = (dict, collections.abc.Mapping)
MOST_PROBLEMS = 100  # that are kept; a file with more is not a configuration
_MOST = 10**15  # no setting is larger; a float cannot hold very much larger numbers
_LONGEST_NAME = 64  # characters of an unknown name that are compared with the known names
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Secret: "text"}
# YAML 1.1 reads these words as truth values; where one of them is a choice, the value is that choice.
_TRUE_WORDS = ("yes", "on", "true")
_FALSE_WORDS = ("no", "off", "false")
_WRONG: Any = object()  # in place of a value of the wrong type; used only in this file
ODD: Any = object()  # in place of a value that could not be read, and that the reader has reported


class ConfigProblemsError(ConfigError):
    """All mistakes in a configuration; the message is the first one.

    Args:
        problems: at least one.
        more: the number of mistakes that are not in `problems`.

    Attributes:
        problems: in the order in which they were found.
        more: as given.
    """

    def __init__(self, problems: tuple[Problem, ...], *, more: int = 0) -> None:
        others = len(problems) - 1 + more
        hint = f" (and {others} more: `azurelite config check` lists them)" if others else ""
        super().__init__(f"{problems[0]}{hint}")
        self.problems = problems
        self.more = more


class Problems:
    """Collects mistakes, so that all are reported at once, and warnings.

    Attributes:
        found: the first MOST_PROBLEMS mistakes, in the order in which they were found.
        more: the number of mistakes after those.
        warnings: what is allowed but probably not meant.
    """

    def __init__(self) -> None:
        self.found: list[Problem] = []
        self.more = 0
        self.warnings: list[Problem] = []

    def add(self, document: Document, path: KeyPath, text: str) -> None:
        """Add a mistake in the value at `path`; the text does not contain the place."""
        self._keep(Problem(text, document.place(path), document.nearest(path), path))

    def warn(self, document: Document, path: KeyPath, text: str) -> None:
        """Add a warning about the value at `path`; the text does not contain the place."""
        warning = Problem(text, document.place(path), document.nearest(path), path)
        if warning not in self.warnings and len(self.warnings) < MOST_PROBLEMS:
            self.warnings.append(warning)

    @contextlib.contextmanager
    def collecting(self) -> Iterator[None]:
        """Add a ConfigError that is raised inside, and continue after the `with` block."""
        try:
            yield
        except ConfigProblemsError as error:
            for problem in error.problems:
                self._keep(problem)
            self.more += error.more
        except ConfigError as error:
            self._keep(_problem(error.message))

    def raise_if_any(self) -> None:
        """Raise one ConfigProblemsError for all mistakes found."""
        if self.found:
            raise ConfigProblemsError(tuple(self.found), more=self.more)

    def _keep(self, problem: Problem) -> None:
        if len(self.found) < MOST_PROBLEMS:
            self.found.append(problem)
        else:
            self.more += 1


def _problem(message: str) -> Problem:
    """A `Problem` from a message that begins with FILE:LINE:COLUMN."""
    found = re.match(r"([^\n]+?):([0-9]+):([0-9]+): ", message)
    if found is None:
        return Problem(message)
    at = Place(found[1], int(found[2]), int(found[3]))
    return Problem(message[found.end() :], str(at), at)


def bind(
    cls: type[T],
    value: Any,
    document: Document,
    path: KeyPath,
    *,
    also: tuple[str, ...] = (),
) -> T:
    """Create a `cls` from a mapping.

    Args:
        cls: a Record or dataclass with types that YAML can express: bool, int, float, str, Literal, Optional, Union,
            tuple, Mapping[str, X], Secret, Record, dataclass.
        value: the mapping; None stands for an empty one.
        document: the document of the mapping, for messages.
        path: its path in the document.
        also: valid keys that the caller handles; suggested for a misspelt key, too.

    Raises:
        ConfigProblemsError: all unknown keys, wrong types and values that `cls` refuses.
    """
    problems = Problems()
    made: T = _Binder(document, problems).bind(cls, value, path, also=also)
    problems.raise_if_any()
    return made


class Bound(Record):
    """What `bind_leniently` made.

    Attributes:
        value: the Record; None if nothing of it is usable.
        problems: the first MOST_PROBLEMS mistakes.
        more: the number of mistakes after those.
        kept: for lists that lost items: path -> the original positions of the items that are left.
    """

    value: Any
    problems: tuple[Problem, ...] = ()
    more: int = 0
    kept: Mapping[KeyPath, tuple[int, ...]] = field(default_factory=dict)


def bind_leniently(cls: type[Any], value: Any, document: Document, *, whole: Collection[str]) -> Bound:
    """Create a `cls` as `bind` does, but lose only the fields and list items that have a mistake.

    A list in a list (a command) is used whole or not at all.

    Args:
        cls: as in `bind`.
        value: the mapping.
        document: the document of the mapping, for messages; its places begin at the mapping.
        whole: paths such as `swap` or `write_files[]`, of which a single mistake costs everything below.
    """
    problems = Problems()
    binder = _Binder(document, problems, whole)
    made = binder.bind(cls, value, ())
    return Bound(None if made is _WRONG else made, tuple(problems.found), problems.more, binder.kept)


class _Binder:
    def __init__(self, document: Document, problems: Problems, whole: Optional[Collection[str]] = None) -> None:
        self._document = document
        self._problems = problems
        self._whole = whole  # None: every mistake costs everything around it
        self.kept: dict[KeyPath, tuple[int, ...]] = {}

    def _divisible(self, path: KeyPath) -> bool:
        """Whether a part of the value at `path` may be lost while the rest is used."""
        if self._whole is None:
            return False
        names = [part if isinstance(part, str) else "[]" for part in path]
        starts = (".".join(names[: end + 1]).replace(".[", "[") for end in range(len(names)))
        return not any(start in self._whole for start in starts)

    def bind(self, cls: Any, value: Any, path: KeyPath, *, also: tuple[str, ...] = ()) -> Any:
        if value is ODD:
            return _WRONG
        if value is None:
            value = {}
        if not isinstance(value, dict):
            return self._refuse(path, f"{_name(path)} must be a mapping of keys")
        types = get_type_hints(cls)
        known = [field.name for field in fields_of(cls)]
        values = {}
        wrong: set[Optional[str]] = set()  # names with a mistake reported already
        for key, item in value.items():
            if key not in known:
                near = self._unknown((*path, key), (*known, *also))
                wrong |= {near} - {None}
                continue
            values[key] = self.convert(types[key], item, (*path, key))
            if values[key] is _WRONG:
                wrong.add(key)
        good = {key: item for key, item in values.items() if item is not _WRONG}
        try:
            made = cls(**good)
        except ValueError as error:
            # A message about a key that is reported already is about the default that replaced its value.
            if not wrong & set(re.findall(r"\w+", str(error))):
                self._refuse(path, f"{_name(path)}: {error}")
            return _WRONG
        return made if len(good) == len(values) or self._divisible(path) else _WRONG

    def convert(self, wanted: Any, value: Any, path: KeyPath) -> Any:
        """The value as the type `wanted`, or _WRONG."""
        if value is ODD:
            return _WRONG
        if has_keys(wanted):
            return self.bind(wanted, value, path)
        readers: dict[Any, Callable[[Any, Any, KeyPath], Any]] = {
            Union: self._union,
            Literal: self._literal,
            tuple: self._list,
            **dict.fromkeys(MAPPINGS, self._mapping),
        }
        return readers.get(get_origin(wanted), self._plain)(wanted, value, path)

    def _union(self, wanted: Any, value: Any, path: KeyPath) -> Any:
        """Optional[X], or Union[X, Y]: the first type that fits the value."""
        arguments = get_args(wanted)
        inner = [argument for argument in arguments if argument is not type(None)]
        if value is None and len(inner) < len(arguments):
            return None
        chosen = next((kind for kind in inner if _has_shape(kind, value)), None)
        if chosen is None and len(inner) > 1:
            return self._refuse(path, f"{_name(path)} must be {' or '.join(_word(kind) for kind in inner)}")
        return self.convert(chosen or inner[0], value, path)

    def _literal(self, wanted: Any, value: Any, path: KeyPath) -> Any:
        choices = get_args(wanted)
        chosen = choice_of(choices, value)
        if chosen is None:
            return self._refuse(path, f"{_name(path)} must be one of: {', '.join(map(word_of, choices))}")
        return chosen

    def _list(self, wanted: Any, value: Any, path: KeyPath) -> Any:
        if not isinstance(value, list):
            return self._refuse(path, f"{_name(path)} must be a list")
        kind = get_args(wanted)[0]
        items = tuple(self.convert(kind, item, (*path, i)) for i, item in enumerate(value))
        good = tuple(item for item in items if item is not _WRONG)
        if len(good) == len(items):
            return items
        if isinstance(path[-1], int) or not self._divisible(path):
            return _WRONG
        self.kept[path] = tuple(i for i, item in enumerate(items) if item is not _WRONG)
        return good

    def _mapping(self, wanted: Any, value: Any, path: KeyPath) -> Any:
        if not isinstance(value, dict):
            return self._refuse(path, f"{_name(path)} must be a mapping of keys")
        kind = get_args(wanted)[1]
        made = {key: self.convert(kind, item, (*path, key)) for key, item in value.items()}
        good = {key: item for key, item in made.items() if item is not _WRONG}
        return good if len(good) == len(made) or self._divisible(path) else _WRONG

    def _plain(self, wanted: Any, value: Any, path: KeyPath) -> Any:
        if wanted is Any:
            return value
        if not _has_shape(wanted, value):
            hint = (
                ": put it in quotes"
                if wanted in (str, Secret) and not isinstance(value, (dict, list, type(None)))
                else ""
            )
            return self._refuse(path, f"{_name(path)} must be {_WORDS[wanted]}{hint}")
        if wanted is Secret:
            return value if isinstance(value, Secret) else Secret(value)
        return float(value) if wanted is float else value

    def _unknown(self, path: KeyPath, known: tuple[str, ...]) -> Optional[str]:
        """Report an unknown key. Returns the key that was probably meant."""
        key = str(path[-1])
        text = f"in {_name(path[:-1])}: {unknown_text('key', key, known)}"
        self._problems.add(self._document, path, text)
        return nearest(key, known)

    def _refuse(self, path: KeyPath, text: str) -> Any:
        self._problems.add(self._document, path, text)
        return _WRONG


def has_keys(thing: object) -> bool:
    """Whether it is a Record or a standard dataclass (which a plug-in's Options may be), class or value."""
    return hasattr(thing, "FIELDS") or hasattr(thing, "__dataclass_fields__")


def fields_of(owner: Any) -> tuple[Field, ...]:
    """The fields of a Record or of a standard dataclass, class or value."""
    if hasattr(owner, "FIELDS"):
        found: tuple[Field, ...] = owner.FIELDS
        return found
    import dataclasses

    made = []
    for one in dataclasses.fields(owner):
        if not one.init:  # computed by the class, not an option
            continue
        given = [MISSING if x is dataclasses.MISSING else x for x in (one.default, one.default_factory)]
        made.append(Field(*given, repr=one.repr))
        made[-1].name, made[-1].type = one.name, one.type
    return tuple(made)


def word_of(value: object) -> str:
    """A plain value as YAML and JSON write it: `true`, not `True`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def choice_of(choices: tuple[Any, ...], value: Any) -> Any:
    """The choice that a value means, or None. YAML 1.1 reads a bare `yes` as true."""
    words = _TRUE_WORDS if value is True else _FALSE_WORDS if value is False else ()
    exact = next((choice for choice in choices if choice == value and type(choice) is type(value)), None)
    return exact if exact is not None else next((word for word in words if word in choices), None)


def _has_shape(kind: Any, value: Any) -> bool:
    origin = get_origin(kind)
    if has_keys(kind) or origin in MAPPINGS:
        return isinstance(value, dict)
    if origin is tuple:
        return isinstance(value, list)
    if origin is Literal:
        return choice_of(get_args(kind), value) is not None
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind is float and isinstance(value, (int, float)):
        return abs(value) < _MOST  # False for infinity and NaN, too
    return isinstance(value, (str, Secret) if kind is Secret else kind)


def _word(kind: Any) -> str:
    if has_keys(kind) or get_origin(kind) in MAPPINGS:
        return "a mapping of keys"
    if get_origin(kind) is Literal:
        return " or ".join(map(word_of, get_args(kind)))
    return "a list" if get_origin(kind) is tuple else _WORDS[kind]


def nearest(name: str, known: Iterable[str], *, forms: bool = True) -> Optional[str]:
    """The known name that was probably meant: one or two typing errors away, or a longer or shorter form of it.

    Two errors need a name of five characters, and so does another letter in the place of one: `snap` is not `swap`. A
    form needs three in common. Case, `-` and `_` do not count. `forms`: look for these as well.
    """
    typed = _folded(name[:_LONGEST_NAME])
    found: list[tuple[int, int, str]] = []
    for candidate in known:
        folded = _folded(candidate)
        short, long = sorted((typed, folded), key=len)
        distance = _distance(typed, folded) if len(long) - len(short) <= 2 else len(long)
        other_letter = len(short) == len(long) and sorted(short) != sorted(long)
        if distance <= (2 if len(short) >= 5 else 0 if other_letter else 1) and len(short) > distance:
            found.append((distance, len(candidate), candidate))
        elif forms and len(short) >= 3 and long.startswith(short):
            found.append((3, len(long) - len(short), candidate))
    return min(found)[2] if found else None


def _folded(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _distance(one: str, other: str) -> int:
    """The number of characters to add, drop, replace or swap with the next one."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, left in enumerate(one):
        row = [i + 1]
        for j, right in enumerate(other):
            best = min(last[j + 1] + 1, row[j] + 1, last[j] + (left != right))
            if i and j and left == other[j - 1] and one[i - 1] == right:
                best = min(best, before[j - 1] + 1)
            row.append(best)
        before, last = last, row
    return last[-1]


def unknown_text(what: str, name: str, known: Iterable[str]) -> str:
    """The message for an unknown name, with the nearest known name."""
    known = sorted(known)
    near = nearest(name, known)
    remedy = f"did you mean {near!r}?" if near else f"known: {', '.join(known) or 'none'}"
    return f"unknown {what} {quotable(name)!r}; {remedy}"


def unknown(what: str, name: str, known: Iterable[str], *, where: str) -> ConfigError:
    """The error for an unknown name, with the nearest known name."""
    return ConfigError(f"{where}: {unknown_text(what, name, known)}")


def _name(path: KeyPath) -> str:
    return f"`{quotable_path(path)}`" if path else "the file"
