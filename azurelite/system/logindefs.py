"""/etc/login.defs: which numbers a guest gives to people and which to the system."""

from __future__ import annotations

from azurelite.system.files import Files


def login_range(files: Files, kind: str) -> tuple[int, int]:
    """The numbers that people's accounts or groups may have.

    Args:
        files: the guest's files.
        kind: "UID" or "GID".

    Returns:
        Lowest and highest number, 1000 and 60000 where login.defs does not say otherwise.
    """
    text = (files.read("/etc/login.defs") or b"").decode(errors="replace")
    settings = dict(line.split()[:2] for line in text.splitlines() if len(line.split()) >= 2)
    return _number(settings.get(f"{kind}_MIN"), 1000), _number(settings.get(f"{kind}_MAX"), 60000)


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isdigit() else default
