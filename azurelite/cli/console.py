"""Output with colours for people. It is plain text through a pipe or with NO_COLOR set."""

from __future__ import annotations

import itertools
import os
import sys
import threading

_COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34"}


class Console:
    """Prints on standard output.

    Attributes:
        lively: whether standard output is a terminal, which can show colours and a progress line.
    """

    def __init__(self) -> None:
        self.stream = sys.stdout
        self.lively = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self._coloured = self.lively and not os.environ.get("NO_COLOR")

    def paint(self, text: str, *looks: str) -> str:
        """The text with colours, or unchanged if colours are off."""
        if not self._coloured or not looks:
            return text
        return f"\033[{';'.join(_COLOURS[look] for look in looks)}m{text}\033[0m"

    def line(self, text: str = "") -> None:
        """Print a line."""
        print(text, file=self.stream)

    def heading(self, text: str) -> None:
        """Print a heading with an empty line before it."""
        self.line()
        self.line(self.paint(text, "bold"))


class Waiting:
    """A progress line on a terminal during a long action. Prints nothing elsewhere.

    Args:
        console: the terminal.
        text: the action.
    """

    def __init__(self, console: Console, text: str) -> None:
        self._console = console
        self._text = text
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._turn, daemon=True)

    def __enter__(self) -> Waiting:
        if self._console.lively:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()
            self._console.stream.write("\r\033[K")
            self._console.stream.flush()

    def _turn(self) -> None:
        seconds = 0.0
        for sign in itertools.cycle("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"):
            self._console.stream.write(f"\r\033[K{sign} {self._text} ({seconds:.0f} s)")
            self._console.stream.flush()
            if self._over.wait(0.1):
                return
            seconds += 0.1
