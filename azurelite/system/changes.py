"""What was changed on the machine: one record per change, written down before the change is made."""

from __future__ import annotations

import re
from typing import Any, Callable, Iterable, Mapping, Optional

from azurelite.record import Record, field

# How a kind of change reads; what the sentence does not use of the detail follows in brackets.
_SENTENCES = {
    "write": "write {target}",
    "mkdir": "create folder {target}",
    "mode": "set mode and owner of {target}",
    "delete": "delete {target}",
    "link": "link {target} {detail}",
    "rename": "rename {target} {detail}",
    "hostname": "set kernel hostname to {target}",
    "run": "run {target}",
    "eject": "eject {target}",
    "mount": "mount {target}",
    "address": "add address {detail} to {target}",
    "seed": "seed {target}",
    "power": "{target}",
    "firewall": "restrict access to {target}",
}
# The other kinds have their verb in the detail: "create", "add to group wheel", "create, home /home/bob".
_VERB = r"(\w+)(, | to |$)(.*)"
_NOUNS = {"disk": "", "package": "", "swap": "swap file "}


class Change(Record):
    """One change to the machine.

    As text it is a sentence that "would " can be put before: `Change("group", "wheel", "create")` is
    "create group wheel". Contents do not count when changes are compared: a dry run's are equal to the real ones.

    Attributes:
        kind: "write", "mkdir", "mode", "delete", "link", "rename", "user", "group", "hostname", or what a program runs
            for: "run", "service", "disk", "mount", "swap", "package",
            "firewall", …
        target: the guest path, user, group or name that changes.
        detail: how, in a few words; never a secret and never a file's content. For a user, group, service, disk,
            swap file or package it begins with the verb, as "create, home /home/bob".
        before, after: the content of the file before and after the change; None where the file does not exist. Both
            are None if the content is not kept: nobody listens, it may be secret, it is larger than 256 KiB, or the
            change is not about one file.
        facts: what the manifest needs to undo the change, JSON-ready; never a secret. They do not count when changes
            are compared either.
    """

    kind: str
    target: str
    detail: str
    before: Optional[bytes] = field(default=None, repr=False)
    after: Optional[bytes] = field(default=None, repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __eq__(self, other: object) -> bool:
        return self.as_dict() == other.as_dict() if isinstance(other, Change) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.kind, self.target, self.detail))

    def as_dict(self) -> dict[str, str]:
        """JSON-ready, without contents."""
        return {"kind": self.kind, "target": self.target, "detail": self.detail}

    def diff(self) -> str:
        """A unified diff of the file; "" if its content is not known, does not change, or is no plain text."""
        if self.before == self.after:
            return ""
        from azurelite.system.contents import diff

        return diff(self.target, self.before, self.after)

    def __str__(self) -> str:
        if self.kind in _SENTENCES:
            sentence = _SENTENCES[self.kind]
            text, rest = sentence.format(target=self.target, detail=self.detail), self.detail
            return f"{text} ({rest})" if rest and "{detail}" not in sentence else text
        what = _NOUNS.get(self.kind, f"{self.kind} ") + self.target
        found = re.fullmatch(_VERB, self.detail)
        if found is None:
            return f"{self.detail} ({what})" if self.detail else what
        verb, link, rest = found.groups()
        return f"{verb} {what} ({rest})" if link == ", " else f"{verb} {what}{link}{rest}"


_MOST_LINES = 64  # of one change that the manifest keeps


def facts_of_file(before: Optional[bytes], after: bytes, *, secret: bool, lines: bool) -> dict[str, Any]:
    """What the manifest keeps of a written file: whether it is new, digests of both contents, added lines.

    Args:
        before: the content that is replaced; None: the file is new.
        after: the new content.
        secret: the content is a secret, so nothing of it is kept, not even a digest, which could be guessed.
        lines: the file is shared with others, so that it can only be undone line by line.
    """
    import hashlib

    facts: dict[str, Any] = {"made": before is None}
    if secret:
        return facts
    facts["is"] = hashlib.sha256(after).hexdigest()
    if before is not None:
        facts["was"] = hashlib.sha256(before).hexdigest()
    if lines:
        old = (before or b"").decode(errors="surrogateescape").split("\n")
        facts["lines"] = []
        for line in after.decode(errors="surrogateescape").split("\n"):
            if line in old:
                old.remove(line)
            elif len(facts["lines"]) < _MOST_LINES:
                facts["lines"].append(line)
    return facts


class Journal:
    """Collects changes in order, and hands each to its listeners before it is made.

    Before, so that a power cut between the two leaves a record too many rather than one too few.

    Attributes:
        listener: gets the changes of this process.
        watcher: gets also those of other processes, afterwards.
        keeps_contents: somebody wants the contents of changed files, which costs memory.
    """

    def __init__(self) -> None:
        self.listener: Callable[[Change], None] | None = None
        self.watcher: Callable[[Change], None] | None = None
        self.keeps_contents = False
        self._changes: list[Change] = []

    def record(self, change: Change) -> None:
        """Note a change that is about to be made."""
        if self.listener is not None:
            self.listener(change)
        self.adopt((change,))

    def tell(self, fact: Change) -> None:
        """Hand the listener what is known only after a change, such as the number of a new account."""
        if self.listener is not None:
            self.listener(fact)

    def adopt(self, changes: Iterable[Change]) -> None:
        """Add changes that another process of this run made and already gave to its listener."""
        for change in changes:
            if self.watcher is not None:
                self.watcher(change)
            self._changes.append(change)

    def since(self, mark: int) -> tuple[Change, ...]:
        """The changes recorded after the first `mark` ones."""
        return tuple(self._changes[mark:])

    def __len__(self) -> int:
        return len(self._changes)
