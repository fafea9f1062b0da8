"""Lines of text files as their C readers see them: split at the line feed alone, numbers in ASCII digits alone."""

from __future__ import annotations

from typing import Optional

_MOST = 2**32 - 1  # this one stands for "no number" in system calls


def split_lines(data: Optional[bytes]) -> list[str]:
    """The lines of a file, without their ends; bytes that are no UTF-8 survive. No file has no lines.

    Python's own `splitlines` also splits at characters that may stand inside a line of /etc/passwd.
    """
    lines = (data or b"").decode(errors="surrogateescape").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def as_number(text: str) -> Optional[int]:
    """A decimal number that a user or group may have, or None where the text is something else."""
    number = int(text) if len(text) <= 10 and text.isascii() and text.isdigit() else None
    return number if number is not None and number < _MOST else None
