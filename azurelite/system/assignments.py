"""Settings in texts with lines of `KEY=value` (sysconfig, conf.d, rc.conf) or in OpenWrt's UCI format.

The functions change one value and leave all other lines as they are. They do not access files. The caller checks
values: they must not need more quoting than the quotes given here.
"""

from __future__ import annotations

import re
from typing import Optional

from azurelite.system.blocks import ended


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
