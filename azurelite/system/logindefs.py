"""/etc/login.defs: which numbers a guest gives to people and which to the system."""

from __future__ import annotations

from azurelite.system.files import Files
from azurelite.system.tables import as_number, split_lines


def login_range(files: Files, kind: str) -> tuple[int, int]:
    """The numbers that people's accounts or groups may have.

    Args:
        files: the guest's files.
        kind: "UID" or "GID".

    Returns:
        Lowest and highest number, 1000 and 60000 where login.defs does not say otherwise.
    """
    lines = (line.split() for line in split_lines(files.read("/etc/login.defs")))
    settings = {words[0]: as_number(words[1]) for words in lines if len(words) >= 2}
    lowest, highest = settings.get(f"{kind}_MIN"), settings.get(f"{kind}_MAX")
    return 1000 if lowest is None else lowest, 60000 if highest is None else highest
