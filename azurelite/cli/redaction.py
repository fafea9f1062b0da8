"""Replaces what identifies a machine and its people in a text: names, addresses and ids become NAME-1, ADDRESS-2, ID-3.

The same value has the same replacement in all texts, so they can still be compared.
"""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Any, Iterable, Iterator

_KEPT = {"168.63.129.16", "169.254.169.254"}  # Azure's own, the same for every VM
_FIRST_UID, _LAST_UID = 1000, 65533
_MAC_DIGITS = 12
_PLAIN = {"localhost", "root"}
_NAMED = {"username", "local_hostname", "computerName", "adminUsername", "resourceGroupName", "vmScaleSetName", "name"}
_SKIPPED = {"tagsList", "plan", "extendedLocation"}  # their names are no names of machines or people
_PATTERNS = (
    ("ID", r"(?<![0-9a-f])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9a-f])"),
    ("ADDRESS", r"(?<![0-9a-z])(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}(?![0-9a-z])|(?<![0-9a-z])[0-9a-f]{12}(?![0-9a-z])"),
    ("ADDRESS", r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\d)"),
    ("ADDRESS", r"(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f]{0,4})(?![\w:])"),
    ("KEY", r"AAAA[0-9a-z+/]{20,}=*"),
)


class Redaction:
    """Hides values in texts.

    Args:
        names: of accounts, hosts and resources; hidden where they are whole words, in any case.
    """

    def __init__(self, names: Iterable[str]) -> None:
        spelled = {form for name in names for form in (name, json.dumps(name)[1:-1])}
        words = sorted(spelled - _PLAIN - {""}, key=lambda word: (-len(word), word))
        named = "|".join(re.escape(word) for word in words)
        self._kinds = [kind for kind, _ in _PATTERNS]
        parts = [pattern for _, pattern in _PATTERNS]
        if named:
            self._kinds.append("NAME")
            parts.append(f"(?<![0-9a-z])(?:{named})(?![0-9a-z])")
        self._pattern = re.compile("|".join(f"({part})" for part in parts), re.IGNORECASE)
        self._known: dict[str, str] = {}

    def hide(self, text: str) -> str:
        """The text without the values."""
        return self._pattern.sub(self._replaced, text)

    def _replaced(self, found: re.Match[str]) -> str:
        value = found.group()
        kind = self._kinds[(found.lastindex or 1) - 1]
        if kind == "ADDRESS" and _is_harmless(value):
            return value
        return self._known.setdefault(value.lower(), f"{kind}-{len(self._known) + 1}")


def names_of(passwd: str, hostname: str, metadata: Any) -> set[str]:
    """The names to hide.

    Args:
        passwd: the text of /etc/passwd; its accounts of people count.
        hostname: the text of /etc/hostname.
        metadata: the public metadata that the last run has saved, or None.
    """
    rows = [line.split(":") for line in passwd.splitlines()]
    people = {row[0] for row in rows if len(row) > 2 and row[2].isdecimal() and _FIRST_UID <= int(row[2]) <= _LAST_UID}
    hosts = {hostname.strip(), hostname.strip().partition(".")[0]}
    return {name for name in people | hosts | set(_named(metadata)) if name.strip()}


def _named(document: Any) -> Iterator[str]:
    if isinstance(document, list):
        for one in document:
            yield from _named(one)
    elif isinstance(document, dict):
        for key, value in document.items():
            if isinstance(value, str) and key in _NAMED:
                yield value
            elif key not in _SKIPPED:
                yield from _named(value)


def _is_harmless(text: str) -> bool:
    """Whether it is no address of this machine: Azure's own, the loopback, or only a time of day."""
    if text in _KEPT:
        return True
    try:
        address = ipaddress.ip_address(text)
    except ValueError:  # a MAC address is one, a time such as 22:59:04 is none
        return len(text.replace(":", "").replace("-", "")) != _MAC_DIGITS
    return address.is_loopback or address.is_unspecified
