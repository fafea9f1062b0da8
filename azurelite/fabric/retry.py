"""When asking again can help, and how long to wait before: one table per endpoint."""

from __future__ import annotations

from typing import Mapping, Optional

from azurelite.record import Record

# Seconds. A longer Retry-After than this would only burn the time that Azure gives a VM.
LONGEST_PAUSE = 30.0
# At boot the network comes up at some moment; asking again costs this machine a system call, and nobody else anything.
_NO_NETWORK = 0.1
_JITTER = 0.25  # a pause grows by up to this share, so that a fleet does not ask in step


class RetryTable(Record):
    """Which failures are worth another try.

    Attributes:
        statuses: HTTP status -> pause in seconds; a status that is not here is final.
        transport: pause in seconds after a failure with no HTTP answer.
    """

    statuses: Mapping[int, float]
    transport: float = 1.0

    def pause(
        self,
        status: Optional[int],
        *,
        retry_after: Optional[str],
        jitter: float,
        left: float = float("inf"),
        no_network: bool = False,
    ) -> Optional[float]:
        """How long to wait before the next try.

        Args:
            status: the HTTP status, or None when no answer came.
            retry_after: the answer's Retry-After header; only seconds are understood, a date is passed over.
            jitter: a random number, 0 ≤ n < 1.
            left: seconds until no further try is made. A long pause is cut so that one more try is: better too early
                than not at all.
            no_network: this machine has no way to the server yet.

        Returns:
            Seconds, or None when another try cannot help.
        """
        base = self.transport if status is None else self.statuses.get(status)
        if base is None:
            return None
        asked = float(retry_after) if retry_after is not None and retry_after.strip().isdecimal() else 0.0
        pause = min(max(base, asked), LONGEST_PAUSE) * (1 + _JITTER * jitter)
        if no_network:
            pause = min(pause, _NO_NETWORK)
        base = min(base, LONGEST_PAUSE)
        if pause >= left > 2 * base:
            return left - base
        return pause if pause < left else None


# IMDS, per its documentation: 404 and 410 while it comes up, 429 above 5 requests a second, 500 retry.
IMDS = RetryTable({404: 1, 408: 1, 410: 1, 429: 1, 500: 1, 502: 1, 503: 1, 504: 1})

# WireServer answers 403, 429 and 503 when it throttles (the Azure Linux agent's own reading).
GOAL_STATE = RetryTable({403: 1, 408: 1, 410: 1, 429: 1, 500: 1, 502: 1, 503: 1, 504: 1, 507: 1})

# The health report: 410 is not here, for then the same report can never be accepted, nor 404, for then the other
# dialect has its turn first (see wireserver.py).
HEALTH = RetryTable({403: 1, 408: 1, 429: 1, 500: 1, 502: 1, 503: 1, 504: 1, 507: 1})
