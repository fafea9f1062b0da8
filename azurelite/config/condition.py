"""`when`: one comparison of a metadata value. There is no template language, and nothing here asks anybody.

::

    tags.role                    the value is there: not empty, not false
    not tags.role                it is not
    tags.role == web             it is this text
    tags.role != web             it is another one, or not there
    tags.role in [web, db]       it is one of these texts
    tags.role not in [web, db]   it is none of them

A field is a key of the public metadata with dots between its parts, a position where a list stands
(`network.interface.0.macAddress`). What follows `tags.` is one name, which may hold dots and blanks and is found in any
case, as Azure's tag names are. Values are compared as text, letter by letter; `true` and `false` match in any
case, for Azure writes both `true` and `True`, and a bare `null` is what is not there. A part or a value that looks like
an operator goes in quotes. Of a secret only its presence may be asked.
"""

from __future__ import annotations

import re
from typing import Any, Literal, Mapping, Optional

from azurelite.config.schema import unknown_text
from azurelite.metadata import Metadata, Secret
from azurelite.record import Record

Test = Literal["present", "absent", "==", "!=", "in", "not in"]

FIELDS = tuple(field.name for field in Metadata.FIELDS)
SECRETS = ("password", "custom_data", "user_data", "random_seed")
# Metadata.raw: its documents, and the source that each is from.
RAW = {"imds": "imds", "goal_state": "wireserver", "ovf": "media"}
_WITH_PARTS = ("tags", "network", "raw", "provenance", "public_ssh_keys")
_TRUTH = ("true", "false")
_FORMS = "FIELD, not FIELD, FIELD == VALUE, FIELD != VALUE or FIELD in [VALUE, VALUE]"
_LONGEST = 1000  # characters

# A text in quotes, or what stands bare: which operator comes first outside of quotes.
_QUOTED = r"'[^']*'|\"[^\"]*\""
_OPERATOR = rf"(?:{_QUOTED}|[^'\"])*?(?P<operator>\s*(?:==|!=)|\s+not\s+in(?=\s*\[)|\s+in(?=\s*\[))"
_JOINED = r"==|!=|&&|\|\||[<>]|\s(?:and|or|in)\s|\s=\s"
_EQUALS = r"[^'\"]*="  # in a tag's name that stands bare: meant for a comparison


class Condition(Record):
    """One condition.

    Attributes:
        text: as it was written.
        path: the field, part by part.
        test: what is asked of it.
        values: what it is compared with; None stands for `null`.
    """

    text: str
    path: tuple[str, ...]
    test: Test
    values: tuple[Optional[str], ...] = ()

    @property
    def source(self) -> Optional[str]:
        """The source that alone gives this part of `raw`; None for any other field."""
        return RAW.get(self.path[1]) if self.path[0] == "raw" and len(self.path) > 1 else None

    def is_decidable(self, metadata: Metadata) -> bool:
        """The field is there to be looked into; where it is not, a source that failed may have had it."""
        if self.path[0] == "raw" and len(self.path) > 1:
            return self.path[1] in metadata.raw
        return getattr(metadata, self.path[0]) is not None

    def holds(self, metadata: Metadata) -> bool:
        """Whether it holds, of what is known."""
        value = _value(metadata.as_dict(), self.path)
        if self.test in ("present", "absent"):
            return _is_there(value) == (self.test == "present")
        same = any(_is_same(value, wanted) for wanted in self.values)
        return same == (self.test in ("==", "in"))


def parse_condition(text: str) -> Condition:
    """Read one condition.

    Raises:
        ValueError: it has another form, or asks for a field that does not exist; never with the value in it.
    """
    if len(text) > _LONGEST:
        raise ValueError("is far too long for a condition")
    stripped = text.strip()
    found = re.match(_OPERATOR, stripped)
    if found is None:
        word, _, rest = stripped.partition(" ")
        field = rest.strip() if word == "not" else stripped
        return Condition(stripped, _path(field), "absent" if word == "not" else "present")
    operator = " ".join(found["operator"].split())
    field, after = stripped[: found.start("operator")], stripped[found.end() :].strip()
    if field.startswith("not "):
        raise ValueError("`not` stands before a field alone: write FIELD != VALUE or FIELD not in [VALUE]")
    path = _path(field)
    if path[0] in SECRETS:
        raise ValueError(
            f"`{path[0]}` is a secret: only whether it is there can be asked: `{path[0]}` or `not {path[0]}`"
        )
    if len(path) == 1 and path[0] in _WITH_PARTS:
        raise ValueError(f"`{path[0]}` is no single value: name a part of it, as {path[0]}.NAME")
    values = _list(after) if operator in ("in", "not in") else (_literal(after),)
    return Condition(stripped, path, _TESTS[operator], values)


_TESTS: Mapping[str, Test] = {"==": "==", "!=": "!=", "in": "in", "not in": "not in"}


def _path(text: str) -> tuple[str, ...]:
    """The parts of a field, checked as far as they can be before Azure is asked."""
    if not text:
        raise ValueError(f"a condition is {_FORMS}")
    head, _, rest = text.partition(".")
    if head not in FIELDS and re.search(_JOINED, f" {text} "):
        raise ValueError(f"a condition is {_FORMS}; several go in a list, and then all of them must hold")
    if head not in FIELDS:
        raise ValueError(unknown_text("field", head, FIELDS))
    if head == text:
        return (head,)
    if head not in _WITH_PARTS:
        raise ValueError(f"`{head}` has no parts: leave out what follows it")
    parts = _parts(rest, whole=head == "tags")
    if head == "raw" and parts[0] not in RAW:
        raise ValueError(unknown_text("field", parts[0], RAW))
    if head == "public_ssh_keys" and (len(parts) > 1 or not parts[0].isdecimal()):
        raise ValueError("of `public_ssh_keys` one can be named by its position, as public_ssh_keys.0")
    return (head, *parts)


def _parts(text: str, *, whole: bool) -> tuple[str, ...]:
    if whole and text[:1] not in ("'", '"'):
        if re.search(_JOINED, f" {text} ") or re.match(_EQUALS, text):
            raise ValueError(f"a condition is {_FORMS}; a tag's name that looks like that goes in quotes")
        parts = [text]
    else:
        parts = re.findall(rf"(?:^|(?<=\.))({_QUOTED}|[^.'\"]+)(?=\.|$)", text)
        if ".".join(parts) != text or (whole and len(parts) > 1):
            raise ValueError("a field is its parts with dots between them; a part with dots in it goes in quotes")
    parts = [part[1:-1] if part[0] in "'\"" else part for part in parts if part]
    if not parts or not all(parts):
        raise ValueError("a field ends in the name of a part, as tags.role")
    return tuple(parts)


def _literal(text: str) -> Optional[str]:
    if re.fullmatch(_QUOTED, text):
        return text[1:-1]
    if not text:
        raise ValueError("the value is missing: '' is the empty text, null what is not there")
    if re.search(_JOINED, f" {text} "):
        raise ValueError("one comparison is one condition: several go in a list, a value that looks like one in quotes")
    if text[0] in "'\"[":
        raise ValueError("a value is one text, bare or in quotes; several are compared by FIELD in [VALUE, VALUE]")
    return None if text == "null" else text


def _list(text: str) -> tuple[Optional[str], ...]:
    if not re.fullmatch(rf"\[(?:{_QUOTED}|[^'\"\[\]])*\]", text):
        raise ValueError("behind `in` stands a list: FIELD in [VALUE, VALUE]")
    items = re.findall(rf"\s*((?:{_QUOTED}|[^,'\"])*)\s*(?:,|$)", text[1:-1])
    values = tuple(_literal(item.strip()) for item in items if item.strip())
    if not values:
        raise ValueError("the list behind `in` is empty: nothing is in it")
    return values


def _value(document: Any, path: tuple[str, ...]) -> Any:
    value: Any = document
    for depth, part in enumerate(path):
        if isinstance(value, Mapping):
            name = part
            if depth == 1 and path[0] == "tags" and part not in value:
                name = next((key for key in value if key.casefold() == part.casefold()), part)
            value = value.get(name)
        elif isinstance(value, (list, tuple)) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _is_there(value: Any) -> bool:
    return bool(value) and not (isinstance(value, str) and value.casefold() == "false")


def _is_same(value: Any, wanted: Optional[str]) -> bool:
    if value is None or wanted is None or isinstance(value, (Mapping, list, tuple, Secret)):
        return value is None and wanted is None
    text = str(value)
    if wanted.casefold() in _TRUTH:
        return text.casefold() == wanted.casefold()
    return text == wanted
