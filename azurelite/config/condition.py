"""`when`: one comparison with a metadata value. There is no template language, and no request is sent.

::

    tags.role                    the value is present: not empty, not false
    not tags.role                it is absent, empty or false
    tags.role == web             it equals this text
    tags.role != web             it differs from this text, or is absent
    tags.role in [web, db]       it equals one of these texts
    tags.role not in [web, db]   it equals none of them

A field is a key of the public metadata, its parts separated by dots; an item of a list is named by its position
(`network.interface.0.macAddress`). The text after `tags.` is one tag name. It may contain dots and spaces, and its case
does not matter, as in Azure. Values are compared as text and case matters, except for `true` and `false`: Azure writes
both `true` and `True`. A bare `null` stands for an absent value. Quote a part or value that looks like an operator.
A secret can only be tested for presence.
"""

from __future__ import annotations

import re
from typing import Any, Literal, Mapping, Optional

from azurelite.config.schema import unknown_text
from azurelite.metadata import NAMES, SECRETS, Metadata, Secret
from azurelite.record import Record

Test = Literal["present", "absent", "==", "!=", "in", "not in"]

FIELDS = NAMES
# Document in Metadata.raw -> the source that it is from.
RAW = {"imds": "imds", "goal_state": "wireserver", "ovf": "media"}
_WITH_PARTS = ("tags", "network", "raw", "provenance", "public_ssh_keys")
_TRUTH = ("true", "false")
_FORMS = "FIELD, not FIELD, FIELD == VALUE, FIELD != VALUE or FIELD in [VALUE, VALUE]"
_LONGEST = 1000  # characters

# Quoted text; the first operator outside of quotes.
_QUOTED = r"'[^']*'|\"[^\"]*\""
_OPERATOR = rf"(?:{_QUOTED}|[^'\"])*?(?P<operator>\s*(?:==|!=)|\s+not\s+in(?=\s*\[)|\s+in(?=\s*\[))"
_JOINED = r"==|!=|&&|\|\||[<>]|\s(?:and|or|in)\s|\s=\s"
_EQUALS = r"[^'\"]*="  # in an unquoted tag name: probably meant as a comparison


class Condition(Record):
    """One condition.

    Attributes:
        text: the condition as written.
        path: the parts of the field.
        test: the comparison.
        values: the values to compare with; None stands for `null`.
    """

    text: str
    path: tuple[str, ...]
    test: Test
    values: tuple[Optional[str], ...] = ()

    @property
    def source(self) -> Optional[str]:
        """The only source of this part of `raw`; None for any other field."""
        return RAW.get(self.path[1]) if self.path[0] == "raw" and len(self.path) > 1 else None

    def is_decidable(self, metadata: Metadata) -> bool:
        """Whether the field is known. If not, a source that failed may have had it."""
        if self.path[0] == "raw" and len(self.path) > 1:
            return self.path[1] in metadata.raw
        return getattr(metadata, self.path[0]) is not None

    def holds(self, metadata: Metadata) -> bool:
        """Whether the condition holds for this metadata."""
        value = _value(metadata, self.path)
        if self.test in ("present", "absent"):
            return _is_there(value) == (self.test == "present")
        same = any(_is_same(value, wanted) for wanted in self.values)
        return same == (self.test in ("==", "in"))


def parse_condition(text: str) -> Condition:
    """Read one condition.

    Raises:
        ValueError: it has another form or names an unknown field; the message never contains the value.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"is longer than {_LONGEST} characters")
    stripped = text.strip()
    found = re.match(_OPERATOR, stripped)
    if found is None:
        word, _, rest = stripped.partition(" ")
        field = rest.strip() if word == "not" else stripped
        return Condition(stripped, _path(field), "absent" if word == "not" else "present")
    operator = " ".join(found["operator"].split())
    field, after = stripped[: found.start("operator")], stripped[found.end() :].strip()
    if field.startswith("not "):
        raise ValueError("`not` takes only a field: write FIELD != VALUE or FIELD not in [VALUE]")
    path = _path(field)
    if path[0] in SECRETS:
        raise ValueError(
            f"`{path[0]}` is a secret and can only be tested for presence: write `{path[0]}` or `not {path[0]}`"
        )
    if len(path) == 1 and path[0] in _WITH_PARTS:
        raise ValueError(f"`{path[0]}` has several parts: name one of them, for example {path[0]}.NAME")
    values = _list(after) if operator in ("in", "not in") else (_literal(after),)
    return Condition(stripped, path, _TESTS[operator], values)


_TESTS: Mapping[str, Test] = {"==": "==", "!=": "!=", "in": "in", "not in": "not in"}


def _path(text: str) -> tuple[str, ...]:
    """The parts of a field, checked as far as is possible without the metadata. Raises ValueError."""
    if not text:
        raise ValueError(f"must be {_FORMS}")
    head, _, rest = text.partition(".")
    if head not in FIELDS and re.search(_JOINED, f" {text} "):
        raise ValueError(f"must be {_FORMS}; for several conditions that must all hold, write a list")
    if head not in FIELDS:
        raise ValueError(unknown_text("field", head, FIELDS))
    if head == text:
        return (head,)
    if head not in _WITH_PARTS:
        raise ValueError(f"`{head}` has no parts: remove the text after it")
    parts = _parts(rest, whole=head == "tags")
    if head == "raw" and parts[0] not in RAW:
        raise ValueError(unknown_text("field", parts[0], RAW))
    if head == "public_ssh_keys" and (len(parts) > 1 or not parts[0].isdecimal()):
        raise ValueError("a key of `public_ssh_keys` is named by its position: write public_ssh_keys.0")
    return (head, *parts)


def _parts(text: str, *, whole: bool) -> tuple[str, ...]:
    if whole and text[:1] not in ("'", '"'):
        if re.search(_JOINED, f" {text} ") or re.match(_EQUALS, text):
            raise ValueError(f"must be {_FORMS}; put a tag name that looks like an operator in quotes")
        parts = [text]
    else:
        parts = re.findall(rf"(?:^|(?<=\.))({_QUOTED}|[^.'\"]+)(?=\.|$)", text)
        if ".".join(parts) != text or (whole and len(parts) > 1):
            raise ValueError("the parts of a field are separated by dots: put a part that contains dots in quotes")
    parts = [part[1:-1] if part[0] in "'\"" else part for part in parts if part]
    if not parts or not all(parts):
        raise ValueError("a name is missing after the dot: write FIELD.NAME, for example tags.role")
    return tuple(parts)


def _literal(text: str) -> Optional[str]:
    if re.fullmatch(_QUOTED, text):
        return text[1:-1]
    if not text:
        raise ValueError("the value is missing: write '' for empty text, null for an absent value")
    if re.search(_JOINED, f" {text} "):
        raise ValueError(
            "only one comparison is allowed: write a list of conditions, or put the value in quotes if that is its text"
        )
    if text[0] in "'\"[":
        raise ValueError("the value must be plain or quoted text: for several values, write FIELD in [VALUE, VALUE]")
    return None if text == "null" else text


def _list(text: str) -> tuple[Optional[str], ...]:
    if not re.fullmatch(rf"\[(?:{_QUOTED}|[^'\"\[\]])*\]", text):
        raise ValueError("`in` needs a list: write FIELD in [VALUE, VALUE]")
    items = re.findall(rf"\s*((?:{_QUOTED}|[^,'\"])*)\s*(?:,|$)", text[1:-1])
    values = tuple(_literal(item.strip()) for item in items if item.strip())
    if not values:
        raise ValueError("the list after `in` is empty: write FIELD in [VALUE, VALUE]")
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
