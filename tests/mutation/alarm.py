"""A pytest plug-in: a test that a mutant hangs up fails after half a minute."""

from __future__ import annotations

import signal
from typing import Any, Iterator

import pytest

SECONDS = 30.0


class TooLongError(BaseException):
    """Not an Exception, so that no code under test can swallow it."""


def _ring(*_: Any) -> None:
    raise TooLongError(f"the test has run for {SECONDS:g} seconds")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Ring when the test takes too long."""
    signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
