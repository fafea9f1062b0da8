"""A block of azurelite's own lines between two marker lines in another program's file, as functions on text."""

from __future__ import annotations

from typing import Sequence

from azurelite.record import Record


def ended(text: str, newline: str = "\n") -> str:
    """The text with a line break at its end, so that a line can be appended."""
    return text if not text or text.endswith("\n") else text + newline


class Block(Record):
    """The block of one file. All other lines of the file stay as they are, with their line breaks.

    Attributes:
        begin: the line before it.
        end: the line after it.
        first: put it at the beginning, for files where the first value of a setting wins; else at the end.
    """

    begin: str
    end: str
    first: bool = False

    def lines(self, text: str) -> list[str]:
        """The lines in the block; [] if the text has no block."""
        return self._split(text)[1]

    def removed(self, text: str) -> str:
        """The text without the block."""
        return self._split(text)[0]

    def put(self, text: str, lines: Sequence[str]) -> str:
        """The text with these lines as the content of the block; without lines the block is removed."""
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
        whole = self.end in (line.rstrip("\r") for line in lines)  # of an incomplete block only the marker is removed
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
