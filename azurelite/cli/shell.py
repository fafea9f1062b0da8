"""A verb between the shell and the library: its log, its errors in one line, its exit code."""

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
    """Run a verb, its log on standard error, and tell what it raises in one line.

    Args:
        verb: does the work and returns an exit code.
        debug: say more, and show where an error comes from.
        own_process: the process ends with this verb: a defect is told in one line, in place of Python's traceback.

    Returns:
        The exit code of the verb, or of what it raised.
    """
    if own_process and not debug:
        sys.excepthook = _tell_briefly
    try:
        with _logging(debug=debug):
            code = verb()
    except AzureliteError as error:
        if debug:
            import traceback

            traceback.print_exc()
        _complain(str(error))
        return error.exit_code
    except ModuleNotFoundError as error:
        package = _PACKAGES.get((error.name or "").partition(".")[0])
        if package is None or debug:
            raise
        _complain(f"the Python package {package} is missing for {sys.executable}: install it")
        return 1
    except BrokenPipeError:  # the reader went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        _complain(f"what is to be printed cannot be written: {error.strerror}")
        return 1
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    return _flushed(code)


def _complain(text: str) -> None:
    """One line for people, where there are any: the exit code says it as well."""
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr is not None:
            print(f"azurelite: {text}", file=sys.stderr, flush=True)


def _flushed(code: int) -> int:
    """What is printed leaves now. A reader that went away changes nothing of what the verb did."""
    try:
        if sys.stdout is not None:  # it was closed when the process began
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        _complain(f"what is to be printed cannot be written: {error.strerror}")
        return code or 1
    return code


def _tell_briefly(kind: type[BaseException], error: BaseException, where: Optional[TracebackType]) -> None:
    """A defect in one line. Its own text may quote what it choked on, so only its kind and place are told."""
    del error
    print(
        f"azurelite: unhandled {kind.__name__} at {place_of(where)}: run with --debug for the details", file=sys.stderr
    )


@contextlib.contextmanager
def _logging(*, debug: bool) -> Iterator[None]:
    """The log on standard error for the length of one verb: what an operator reads on the serial console."""
    logger = logging.getLogger("azurelite")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("azurelite: %(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
