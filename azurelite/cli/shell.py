"""Runs a verb for the shell: the log on standard error, one line per error, the exit code."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from types import TracebackType
from typing import Callable, Iterator, Optional

from azurelite.errors import AzureliteError, place_of

# What azurelite needs besides Python itself: the module -> its package.
_PACKAGES = {"yaml": "PyYAML", "defusedxml": "defusedxml", "urllib3": "urllib3"}


def run_verb(verb: Callable[[], int], *, debug: bool = False, own_process: bool = False) -> int:
    """Run a verb with its log on standard error, and print what it raises in one line.

    Args:
        verb: does the work and returns an exit code.
        debug: log debug lines, and print the traceback of an error.
        own_process: the process ends with this verb; a defect is printed in one line instead of a traceback.

    Returns:
        The exit code of the verb, or of the error that it raised.
    """
    if own_process and not debug:
        sys.excepthook = _tell_briefly
    try:
        with _logging(debug=debug, to_the_end=own_process):
            code = verb()
    except AzureliteError as error:
        if debug:
            import traceback

            traceback.print_exc()
        complain(str(error))
        return error.exit_code
    except ModuleNotFoundError as error:
        package = _PACKAGES.get((error.name or "").partition(".")[0])
        if package is None or debug:
            raise
        complain(f"{sys.executable} has no Python package {package}: install it")
        return 1
    except BrokenPipeError:  # the reader has closed the pipe, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        complain(f"cannot write to standard output: {error.strerror}")
        return 1
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    return _flushed(code)


def complain(text: str) -> None:
    """Print the error that ends the program, in one line. Without standard error, the exit code has to do."""
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr is not None:
            print(f"azurelite: error: {text}", file=sys.stderr, flush=True)


def _flushed(code: int) -> int:
    """Flush standard output. A reader that has closed the pipe does not change the exit code."""
    try:
        if sys.stdout is not None:  # it was closed before the program started
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        complain(f"cannot write to standard output: {error.strerror}")
        return code or 1
    return code


def _tell_briefly(kind: type[BaseException], error: BaseException, where: Optional[TracebackType]) -> None:
    """Print a defect in one line: only its type and place, because its text may quote a secret."""
    del error
    complain(f"unhandled {kind.__name__} at {place_of(where)}: run with --debug for the details")


class LineFormat(logging.Formatter):
    """Formats a line of the log as `azurelite: LEVEL: SOURCE: TEXT`.

    The source is the first word of the message, as in "imds: unreachable"; without one, it is the logger's module.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        text = super().format(record)
        source = "" if _names_source(text) else f"{record.name.rpartition('.')[2]}: "
        return f"azurelite: {record.levelname.lower()}: {source}{text}"


def _names_source(text: str) -> bool:
    """Whether the text begins with a handler, a source of metadata or the like: one word, as `run-1` or `pkg:apply`."""
    first, colon, _ = text.partition(": ")
    return colon != "" and first.translate({ord(sign): "_" for sign in ".:-"}).isidentifier()


@contextlib.contextmanager
def _logging(*, debug: bool, to_the_end: bool) -> Iterator[None]:
    """Write the log to standard error, which is often the serial console, while one verb runs.

    Args:
        debug: with debug lines.
        to_the_end: until the process ends: `power_state` decides then.
    """
    logger = logging.getLogger("azurelite")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormat())
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    try:
        yield
    finally:
        if not to_the_end:
            logger.removeHandler(handler)
            logger.setLevel(before)
