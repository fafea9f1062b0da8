"""A block of azurelite's own lines between two marks in another program's file: read, put in, taken out. Text only."""

from __future__ import annotations

from typing import Sequence

from azurelite.record import Record


def ended(text: str, newline: str = "\n") -> str:
    """The text, its last line with an end, so that a line can follow it."""
    return text if not text or text.endswith("\n") else text + newline


class Block(Record):
    """The block of one file. All other lines of the file stay as they are, also their line ends.

    Attributes:
        begin: the line before it.
        end: the line after it.
        first: it stands before everything else, where the first value of a setting wins; otherwise at the end.
    """

    begin: str
    end: str
    first: bool = False

    def lines(self, text: str) -> list[str]:
        """The lines in the block; none where the text has no block."""
        return self._split(text)[1]

    def removed(self, text: str) -> str:
        """The text without the block."""
        return self._split(text)[0]

    def put(self, text: str, lines: Sequence[str]) -> str:
        """The text with these lines in the block, in place of those that were in it; no lines: without the block."""
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
        whole = self.end in (line.rstrip("\r") for line in lines)  # a torn block loses its mark, not what follows
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
