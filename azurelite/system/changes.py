"""What was changed on the machine: one record per change, written down before the change is made."""

from __future__ import annotations

from typing import Callable, Iterable

from azurelite.record import Record


class Change(Record):
    """One change to the machine.

    Attributes:
        kind: "write", "mkdir", "mode", "delete", "link", "user", "group", "hostname", or what a program is asked to
            do: "run", "service", "disk", "mount", "swap", "package",
            "firewall", …
        target: the guest path, user, group or name that changes.
        detail: how, in a few words; never a secret and never a file's content.
    """

    kind: str
    target: str
    detail: str

    def as_dict(self) -> dict[str, str]:
        """JSON-ready."""
        return dict(vars(self))

    def __str__(self) -> str:
        return f"{self.kind} {self.target} ({self.detail})" if self.detail else f"{self.kind} {self.target}"


class Journal:
    """Collects changes in order, and hands each to a listener ahead of the act.

    Ahead, so that a power cut between the two leaves a record too many rather than one too few.
    """

    def __init__(self, listener: Callable[[Change], None] | None = None) -> None:
        self.listener = listener
        self._changes: list[Change] = []

    def record(self, change: Change) -> None:
        """Note a change that is about to be made."""
        if self.listener is not None:
            self.listener(change)
        self._changes.append(change)

    def adopt(self, changes: Iterable[Change]) -> None:
        """Take in changes that another process of this run made and handed to the listener itself."""
        self._changes.extend(changes)

    def since(self, mark: int) -> tuple[Change, ...]:
        """The changes recorded after the first `mark` ones."""
        return tuple(self._changes[mark:])

    def __len__(self) -> int:
        return len(self._changes)
