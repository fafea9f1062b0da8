"""Changes to other programs' files, as functions on text: a block of azurelite's own lines, and single settings.

A block is between two marker lines. A setting is a line `KEY=value` (sysconfig, conf.d, rc.conf) or an option in
OpenWrt's UCI format; its caller checks the value, which must not need more quoting than the quotes given here. All
other lines stay as they are.
"""

from __future__ import annotations

import re
from typing import Optional, Sequence

from azurelite.record import Record


def ended(text: str, newline: str = "\n") -> str:
    """The text with a line break at its end, so that a line can be appended."""
    return text if not text or text.endswith("\n") else text + newline


class Block(Record):
    """The block of one file. All other lines of the file stay as they are, with their line breaks.

    Attributes:
        begin: the line before it.
        end: the line after it.
        first: put it at the beginning, for files where the first value of a setting wins; else at the end.
    """

    begin: str
    end: str
    first: bool = False

    def lines(self, text: str) -> list[str]:
        """The lines in the block; [] if the text has no block."""
        return self._split(text)[1]

    def removed(self, text: str) -> str:
        """The text without the block."""
        return self._split(text)[0]

    def put(self, text: str, lines: Sequence[str]) -> str:
        """The text with these lines as the content of the block; without lines the block is removed."""
        rest = self.removed(text)
        if not lines:
            return rest
        newline = "\r\n" if "\r\n" in text else "\n"
        block = "".join(f"{line}{newline}" for line in (self.begin, *lines, self.end))
        if self.first:
            return block + rest
        return ended(rest, newline) + block

    def _split(self, text: str) -> tuple[str, list[str]]:
        lines = text.split("\n")
        whole = self.end in (line.rstrip("\r") for line in lines)  # of an incomplete block only the marker is removed
        rest, own = [], []
        inside = False
        for line in lines:
            bare = line.rstrip("\r")
            if bare in (self.begin, self.end):
                inside = bare == self.begin and whole
            elif inside:
                own.append(bare)
            else:
                rest.append(line)
        return "\n".join(rest), own


def get(text: str, key: str) -> Optional[str]:
    """The effective value (the last one) without its quotes, or None if the key is not set."""
    found = re.findall(rf"^[ \t]*(?:export[ \t]+)?{re.escape(key)}=(.*)$", text, re.MULTILINE)
    return found[-1].strip().strip("\"'") if found else None


def assign(text: str, key: str, value: str, *, quote: str = '"') -> str:
    """The text with `key` set to `value` wherever it is set, or on a new last line."""
    line = re.compile(rf"^([ \t]*(?:export[ \t]+)?{re.escape(key)}=).*$", re.MULTILINE)
    text, count = line.subn(lambda match: f"{match[1]}{quote}{value}{quote}", text)
    if count == 0:
        text = f"{ended(text)}{key}={quote}{value}{quote}\n"
    return text


def uci_set(text: str, section: str, option: str, value: str) -> Optional[str]:
    """The text of a UCI file with an option set in each section of that type; None if there is no such section."""
    lines: list[str] = []
    inside = found = False
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["config"]:
            inside = words[1:2] == [section]
            found = found or inside
            lines.append(line)
            if inside:
                lines.append(f"\toption {option} '{value}'")
        elif not (inside and words[:2] == ["option", option]):
            lines.append(line)
    return "".join(f"{line}\n" for line in lines) if found else None
