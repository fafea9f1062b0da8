"""Runs a verb for the shell: the log on standard error, one line per error, the exit code."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from types import TracebackType
from typing import Callable, Iterator, Optional

from azurelite.cli.logfile import keep_line, printable, priority, summary, with_source
from azurelite.errors import AzureliteError, place_of

# What azurelite needs besides Python itself: the module -> its package.
_PACKAGES = {"yaml": "PyYAML", "defusedxml": "defusedxml", "urllib3": "urllib3"}

_COLOURS = {"debug": "\033[2m", "warning": "\033[33m", "error": "\033[31m"}


def run_verb(
    verb: Callable[[], int], *, debug: bool = False, level: int = logging.INFO, own_process: bool = False
) -> int:
    """Run a verb with its log on standard error, and print what it raises in one line.

    Args:
        verb: does the work and returns an exit code.
        debug: log debug lines, and print the traceback of an error.
        level: of the least important lines on standard error; `debug` wins.
        own_process: the process ends with this verb; a defect is printed in one line instead of a traceback.

    Returns:
        The exit code of the verb, or of the error that it raised.
    """
    if own_process and not debug:
        sys.excepthook = _tell_briefly
    try:
        with _logging(logging.DEBUG if debug else level, tracebacks=debug, to_the_end=own_process):
            try:
                code = verb()
            except AzureliteError as error:
                return _failed(error, debug=debug)
    except ModuleNotFoundError as error:
        if debug or not complain_of_package(error):
            raise
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


def _failed(error: AzureliteError, *, debug: bool) -> int:
    """Print and keep the error that ends the verb. Returns its exit code."""
    if debug:
        import traceback

        traceback.print_exc()
    complain(str(error))
    keep_line(logging.ERROR, str(error))
    for line in summary(error.remedy):
        _print(f"azurelite: {line}", level=logging.ERROR)
    return error.exit_code


def complain_of_package(error: ModuleNotFoundError) -> bool:
    """Print the error if a package that azurelite needs is missing. Returns whether it is one."""
    package = _PACKAGES.get((error.name or "").partition(".")[0])
    if package is not None:
        complain(f"{sys.executable} has no Python package {package}: install it")
    return package is not None


def complain(text: str) -> None:
    """Print the error that ends the program, in one line. Without standard error, the exit code has to do."""
    _print(f"azurelite: error: {text}", level=logging.ERROR)


def _print(line: str, *, level: int) -> None:
    """Print a line on standard error, if it is open."""
    number = f"<{priority(level)}>" if _is_journal() else ""
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr is not None:
            print(number + line, file=sys.stderr, flush=True)


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

    Args:
        tracebacks: with tracebacks, whose text may quote a secret.
        coloured: for a terminal.
        numbered: for the journal, which reads the level from a number in front of each line.
    """

    def __init__(self, *, tracebacks: bool = False, coloured: bool = False, numbered: bool = False) -> None:
        super().__init__()
        self._tracebacks, self._coloured, self._numbered = tracebacks, coloured, numbered

    def format(self, record: logging.LogRecord) -> str:
        """The line; with a traceback, several."""
        level = record.levelname.lower()
        shown = _COLOURS[level] + level + "\033[0m" if self._coloured and level in _COLOURS else level
        lines = [f"azurelite: {shown}: {printable(with_source(record))}"]
        if self._tracebacks and record.exc_info:
            lines += self.formatException(record.exc_info).splitlines()
        number = f"<{priority(record.levelno)}>" if self._numbered else ""
        return "\n".join(number + line for line in lines)


def _is_journal() -> bool:
    """Whether standard error is connected to systemd's journal; JOURNAL_STREAM has its device and inode."""
    stream = os.environ.get("JOURNAL_STREAM")
    if not stream or sys.stderr is None:
        return False
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):  # closed, or no file
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"


def _is_coloured() -> bool:
    """Whether standard error is a terminal of a person. The console of a boot is none: its text is saved."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "") in ("", "dumb") or sys.stderr is None:
        return False
    with contextlib.suppress(OSError, ValueError):
        return sys.stderr.isatty() and os.ttyname(sys.stderr.fileno()) != "/dev/console"
    return False


@contextlib.contextmanager
def _logging(level: int, *, tracebacks: bool, to_the_end: bool) -> Iterator[None]:
    """Write the log to standard error, which is often the serial console, while one verb runs.

    Args:
        level: of the least important lines.
        tracebacks: with tracebacks of defects.
        to_the_end: until the process ends: `power_state` decides then.
    """
    logger = logging.getLogger("azurelite")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormat(tracebacks=tracebacks, coloured=_is_coloured(), numbered=_is_journal()))
    handler.setLevel(level)
    before, others = logger.level, list(logger.handlers)
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        if not to_the_end:
            for one in [one for one in logger.handlers if one not in others]:
                logger.removeHandler(one)
                one.close()
            logger.setLevel(before)
