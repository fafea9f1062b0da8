"""Sizes as people write them in a configuration, in bytes."""

from __future__ import annotations

import re
from typing import Union

MIB = 1024 * 1024
_UNITS = {"": 1, "K": 1024, "M": MIB, "G": 1024 * MIB, "T": 1024 * 1024 * MIB}
_SIZE = r"([0-9]{1,15})\s?([KMGT]?)(i?B)?"


def parse_size(text: str) -> int:
    """A size as people write it ("2G", "512MiB", "1073741824") in bytes. Raises ValueError."""
    match = re.fullmatch(_SIZE, text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError("is not a size: write a number of bytes, or a number and K, M, G or T, for example 2G")
    return int(match[1]) * _UNITS[match[2].upper()]


def check_size(key: str, value: Union[int, str]) -> int:
    """A size in bytes, whole MiB. Raises ValueError, which names the key."""
    try:
        size = value if isinstance(value, int) else parse_size(value)
    except ValueError as error:
        raise ValueError(f"{key} {error}") from error
    if size < 0 or 0 < size < MIB:
        raise ValueError(f"{key} must be 0, or at least 1M")
    return size // MIB * MIB
