"""/etc/login.defs: which numbers a guest gives to people and which to the system."""

from __future__ import annotations

from azurelite.system.files import Files
from azurelite.system.tables import as_number, split_lines

_USUAL = {"UID": (1000, 60000), "GID": (1000, 60000), "SYS_UID": (100, 999), "SYS_GID": (100, 999)}


def login_range(files: Files, kind: str) -> tuple[int, int]:
    """The numbers that accounts or groups of a kind may have.

    Args:
        files: the guest's files.
        kind: "UID" or "GID" of people, "SYS_UID" or "SYS_GID" of the system's.

    Returns:
        Lowest and highest number: people's 1000 and 60000, the system's 100 and 999 where login.defs does not say
        otherwise.
    """
    lines = (line.split() for line in split_lines(files.read("/etc/login.defs")))
    settings = {words[0]: as_number(words[1]) for words in lines if len(words) >= 2}
    lowest, highest = settings.get(f"{kind}_MIN"), settings.get(f"{kind}_MAX")
    usual = _USUAL[kind]
    return usual[0] if lowest is None else lowest, usual[1] if highest is None else highest
