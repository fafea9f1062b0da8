"""Checks for single YAML values: each returns the value with its type, or raises ValueError with the reason.

This module knows types and ranges, but not the keys; the caller adds the key to the message.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from typing import Any, Callable, TypeVar

T = TypeVar("T")
Check = Callable[[object], Any]

_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "the boolean"),
    (int, "the integer"),
    (float, "the number"),
    (str, "the text"),
    (datetime.date, "the date"),
)


def said(value: object) -> str:
    """A value for an error message, as "the integer 3"."""
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    shown = repr(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    kind = next((name for kind, name in _KINDS if isinstance(value, kind)), type(value).__name__)
    return f"{kind} {shown}"


def text(value: object) -> str:
    """The value as text. Raises ValueError."""
    if isinstance(value, str):
        return value
    hint = " (write it in quotes)" if isinstance(value, (bool, int, float, datetime.date)) else ""
    raise ValueError(f"expected a text, got {said(value)}{hint}")


def one_line(value: object) -> str:
    """The value as text without control characters. Raises ValueError."""
    line = text(value)
    if re.search(r"[\x00-\x1f\x7f]", line):
        raise ValueError(f"expected one line without control characters, got {said(line)}")
    return line


def texts(value: object) -> tuple[str, ...]:
    """The value as texts. Raises ValueError."""
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"expected a list of texts, got {said(value)}")
    return tuple(text(item) for item in value)


def text_map(value: object) -> dict[str, str]:
    """The value as a mapping of texts. Raises ValueError."""
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a mapping of texts, got {said(value)}")
    return {text(key): text(item) for key, item in value.items()}


def header_map(value: object) -> dict[str, str]:
    """The value as HTTP headers. Raises ValueError."""
    headers = text_map(value)
    for name, content in headers.items():
        # A line break here would end the headers and forge an answer that is not in the scenario.
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or re.search(r"[\r\n\0]", content):
            raise ValueError(f"expected HTTP headers, got {name!r}: {content!r}")
    return headers


def flag(value: object) -> bool:
    """The value as true or false. Raises ValueError."""
    if isinstance(value, bool):
        return value
    raise ValueError(f"expected true or false, got {said(value)}")


def flag_or_text(value: object) -> bool | str:
    """The value as true, false or text. Raises ValueError."""
    if isinstance(value, (bool, str)):
        return value
    raise ValueError(f"expected true, false or a text, got {said(value)}")


def document(value: object) -> dict[str, Any]:
    """The value as a mapping that JSON can hold. Raises ValueError."""
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a mapping, got {said(value)}")
    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected values that JSON can hold: {error}") from None
    return dict(value)


def integer(least: int, most: int | None = None) -> Check:
    """A check for whole numbers in a range."""
    bounds = f"an integer from {least} to {most}" if most is not None else f"an integer, {least} or more"

    def check(value: object) -> int:
        if type(value) is not int or value < least or (most is not None and value > most):  # True is an int too
            raise ValueError(f"expected {bounds}, got {said(value)}")
        return value

    return check


def seconds(value: object) -> float:
    """The value as seconds. Raises ValueError."""
    # The comparison is false for NaN too.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise ValueError(f"expected seconds, 0 or more, got {said(value)}")
    return float(value)


def one_of(*choices: T) -> Check:
    """A check for one of the choices."""

    def check(value: object) -> T:
        for choice in choices:
            # True equals 1 in Python, so the type must be equal, too.
            if type(value) is type(choice) and value == choice:
                return choice
        raise ValueError(f"expected one of {', '.join(map(str, choices))}, got {said(value)}")

    return check


def some_of(*choices: str) -> Check:
    """A check for a list of the choices, which may be empty."""
    known = one_of(*choices)

    def check(value: object) -> tuple[str, ...]:
        return tuple(known(item) for item in texts(value))

    return check


def or_null(check: Check) -> Check:
    """The check, but null is allowed, too."""
    return lambda value: None if value is None else check(value)


def request_range(value: object) -> tuple[int, int | None]:
    """Which requests: `1`, `"1-3"`, `"4-"`, or None for all. Returns (first, last), 1-based; last None: no end."""
    if value is None:
        return 1, None
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        match = re.fullmatch(r"\s*([0-9]+)\s*(?:(-)\s*([0-9]*)\s*)?", str(value))
        if match:
            first = int(match[1])
            last = int(match[3]) if match[3] else None if match[2] else first
            if first >= 1 and (last is None or last >= first):
                return first, last
    raise ValueError(f'expected a request number from 1, "1-3" or "4-", got {said(value)}')
