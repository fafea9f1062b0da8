"""The pins beside the guard: how they are written down, read and compared. Pure, but for the files.

`pins/VERB.txt` has a line for each name that the verb imports. A name that only some interpreters import, because one
of their own modules does, is followed by their versions. `pins/instructions.json` has multiples of an interpreter's
own start, by the versions of Python and urllib3.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Mapping, Optional

PINS = Path(__file__).resolve().parent / "pins"
NUMBERS = "instructions.json"
COMMAND = "python tests/bench/guard.py --write"
MORE = 0.10  # of what is pinned, before it is an error
COUNTED = ("provision", "report-ready", "provisioned")  # the verbs whose instructions are counted


@dataclass(frozen=True)
class Pin:
    """What one verb imports, by the version of the interpreter."""

    names: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def text(self) -> str:
        """As a file."""
        versions = sorted(self.names, key=by_number)
        lines = [f"# written by: {COMMAND}", f"# versions: {' '.join(versions)}"]
        for name in sorted(frozenset().union(*self.names.values())):
            having = [version for version in versions if name in self.names[version]]
            lines.append(name if having == versions else " ".join([name, *having]))
        return "\n".join(lines) + "\n"

    @classmethod
    def read(cls, text: str) -> Pin:
        """From a file."""
        lines = text.splitlines()
        versions = lines[1].partition(":")[2].split()
        names: dict[str, set[str]] = {version: set() for version in versions}
        for line in lines[2:]:
            name, *having = line.split()
            for version in having or versions:
                names[version].add(name)
        return cls({version: frozenset(found) for version, found in names.items()})

    def strayed(self, version: str, found: frozenset[str], *, own: bool) -> list[str]:
        """What differs, a line for each name; none: as pinned.

        azurelite's own modules must be the very ones. Of others there may be fewer, and on an interpreter that is not
        pinned they are not looked at, nor with `own`.
        """
        pinned = self.names.get(version) or frozenset().union(*self.names.values())
        every = version in self.names and not own
        fresh = sorted(name for name in found - pinned if every or is_own(name))
        gone = sorted(name for name in pinned - found if is_own(name))
        return [f"+ {name}" for name in fresh] + [f"- {name}" for name in gone]


def is_own(name: str) -> bool:
    """A module of azurelite."""
    return name.partition(".")[0] == "azurelite"


def by_number(version: str) -> list[int]:
    """3.9 sorts before 3.10."""
    return [int(part) for part in version.split(".")]


def load(verb: str) -> Pin:
    """A verb's pin; an empty one where there is none."""
    path = PINS / f"{verb}.txt"
    return Pin.read(path.read_text(encoding="utf-8")) if path.exists() else Pin()


def save(verb: str, found: Mapping[str, frozenset[str]]) -> None:
    """Pin a verb on some interpreters; what is pinned of others stays."""
    PINS.mkdir(exist_ok=True)
    (PINS / f"{verb}.txt").write_text(Pin({**load(verb).names, **found}).text(), encoding="utf-8")


def numbers() -> dict[str, dict[str, float]]:
    """Multiples by interpreter and verb."""
    path = PINS / NUMBERS
    found: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def save_numbers(found: Mapping[str, Mapping[str, float]]) -> None:
    """Pin multiples of some interpreters; what is pinned of others stays."""
    PINS.mkdir(exist_ok=True)
    merged = {**numbers(), **found}
    ordered = {key: merged[key] for key in sorted(merged, key=lambda key: by_number(key.split()[0]))}
    (PINS / NUMBERS).write_text(json.dumps(ordered, indent=2) + "\n", encoding="utf-8")


def key_of(version: str, urllib3: str) -> str:
    """What multiples are kept by."""
    return f"{version} urllib3 {urllib3}"


def too_many(found: float, pinned: Optional[float]) -> bool:
    """A multiple is over its pin by more than is allowed. Without a pin there is nothing to be over."""
    return pinned is not None and found > pinned * (1 + MORE)
