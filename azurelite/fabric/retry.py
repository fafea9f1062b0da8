"""Which failures are retried, and after which pause: one table per endpoint."""

from __future__ import annotations

from typing import Mapping, Optional

from azurelite.record import Record, field

# Seconds. A longer Retry-After is cut to this, because Azure gives a VM limited time.
LONGEST_PAUSE = 30.0
# At boot the network may come up at any moment, and a try without a network costs only a system call.
_NO_NETWORK = 0.1
_JITTER = 0.25  # a pause is up to this share longer, so that many VMs do not retry at the same moment


class RetryTable(Record):
    """The failures that are retried.

    Attributes:
        statuses: HTTP status -> pause in seconds; any other status is final.
        transport: pause in seconds after a failure without a response; None: there is no retry.
        most: HTTP status -> number of tries after which it is final, where another request may do better; a status
            that is not listed is retried until the deadline.
    """

    statuses: Mapping[int, float]
    transport: Optional[float] = 1.0
    most: Mapping[int, int] = field(default_factory=dict)

    def pause(
        self,
        status: Optional[int],
        *,
        retry_after: Optional[str],
        jitter: float,
        left: float = float("inf"),
        no_network: bool = False,
        tries: int = 1,
    ) -> Optional[float]:
        """How long to wait before the next try.

        Args:
            status: the HTTP status; None if there was no response.
            retry_after: the Retry-After header; seconds are supported, a date is ignored.
            jitter: a random number, 0 ≤ n < 1.
            left: seconds until the deadline. A long pause is shortened so that one more try fits: too early is better
                than not at all.
            no_network: this machine has no route to the server yet.
            tries: how often this status has come so far.

        Returns:
            Seconds; None if a retry is useless.
        """
        base = self.transport if status is None else self.statuses.get(status)
        if base is None or (status is not None and tries >= self.most.get(status, tries + 1)):
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

# WireServer answers 403, 429 and 503 when it throttles; the Azure Linux agent treats them so.
GOAL_STATE = RetryTable({403: 1, 408: 1, 410: 1, 429: 1, 500: 1, 502: 1, 503: 1, 504: 1, 507: 1})

# The health report. 410 is missing, because then Azure never accepts the same report; 404 is missing, because then the
# other dialect is tried first (see wireserver.py).
HEALTH = RetryTable({403: 1, 408: 1, 429: 1, 500: 1, 502: 1, 503: 1, 504: 1, 507: 1})

# What is not worth a second request.
NEVER = RetryTable({}, transport=None)
