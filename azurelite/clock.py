"""Time and random numbers as arguments: a Clock, the system's one, and deadlines made from a clock.

Deadlines are monotonic: a clock step by NTP at boot does not change them.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object  # `typing` would cost time at each start


class Clock(Protocol):
    """What azurelite needs of a clock: any object with these methods is one, as `azurelite.simulator.FastClock`."""

    def monotonic(self) -> float:
        """Seconds on a clock that never steps."""

    def sleep(self, seconds: float) -> None:
        """Wait for that many seconds."""

    def now(self) -> float:
        """Seconds since 1970, UTC. May be wrong early in boot, so use it only for time stamps that people read."""

    def jitter(self) -> float:
        """A random number, 0 ≤ n < 1."""


class SystemClock:
    """The real clock."""

    def monotonic(self) -> float:
        """Seconds on a clock that never steps."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait for that many seconds."""
        time.sleep(seconds)

    def now(self) -> float:
        """Seconds since 1970, UTC."""
        return time.time()

    def jitter(self) -> float:
        """A random number, 0 ≤ n < 1."""
        return os.urandom(1)[0] / 256


class Deadline:
    """A point in monotonic time. It is made once and passed down; derived deadlines are never later."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock = clock
        self._at = clock.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self._at - self.clock.monotonic())

    def within(self, seconds: float) -> Deadline:
        """The earlier of this deadline and `seconds` from now."""
        return Deadline(self.clock, min(seconds, self.remaining()))

    def before(self, seconds: float) -> Deadline:
        """A deadline `seconds` before this one, which leaves that time for later work."""
        return Deadline(self.clock, max(0.0, self.remaining() - seconds))


def iso_utc(seconds: float) -> str:
    """`seconds` since 1970 as ISO 8601 in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(seconds))
