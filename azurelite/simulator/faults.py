"""Faults: which fault applies to a request, and how a damaged answer is sent.

This module counts requests and damages bytes. It does not know the true answer of an endpoint.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Callable

from azurelite.simulator.message import Answer
from azurelite.simulator.scenario import Fault

_BLOCK = 64 * 1024
_JSON_ENDPOINTS = ("imds", "imds_versions", "attested", "health_json")
# Neither XML nor JSON nor UTF-8.
_GARBAGE = b"\x00\xff\xfe\x80garbage\x1b[2J\xc3\x28{<\x00" * 8


class FaultPlan:
    """Counts requests per endpoint and finds the fault for each; the first that matches wins."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._faults = tuple(faults)
        self._counts: Counter[str] = Counter()

    def next(self, endpoint: str) -> Fault | None:
        """The fault for the next request of `endpoint`; None: no fault."""
        for name in (endpoint, "any"):
            self._counts[name] += 1
        for fault in self._faults:
            if fault.endpoint in (endpoint, "any") and fault.hits(self._counts[fault.endpoint]):
                return fault
        return None


def disguise(truth: Answer | None, fault: Fault, *, endpoint: str) -> Answer | None:
    """The answer with the fault: the true one with more headers, or a made-up one; None: drop the connection."""
    if fault.drop:
        return None
    if truth is not None and not fault.replaces:
        return truth.with_headers(fault.headers)
    kind = "application/json" if endpoint in _JSON_ENDPOINTS else "text/xml"
    headers = {"Content-Type": f"{kind}; charset=utf-8"}
    status, body = 200, (fault.body or "").encode()
    if fault.garbage:
        body = _GARBAGE
    if fault.redirect is not None:
        status, headers = 302, {"Location": fault.redirect}
    answer = Answer(fault.status if fault.status is not None else status, body, tuple(headers.items()))
    return answer.with_headers(fault.headers)


def play(
    answer: Answer | None,
    fault: Fault | None,
    *,
    send: Callable[[bytes], object],
    wait: Callable[[float], bool],
    bodiless: bool = False,
) -> bool:
    """Send an answer as the fault says. Returns True when the connection can be used again.

    `send` writes bytes; `wait` sleeps that many seconds and returns True when the simulator is being stopped.
    `bodiless`: the request was a HEAD. Raises OSError when the client is gone.
    """
    fault = fault or Fault()
    if (fault.delay and wait(fault.delay)) or answer is None:
        return False
    empty = bodiless or answer.status in (204, 304)
    length = 0 if answer.status == 204 else len(answer.body) if fault.size is None else fault.size
    sent = 0 if empty else length if fault.truncate is None else min(length, fault.truncate)
    blocks = iter(()) if empty else _blocks(answer.body, fault, sent=sent)
    for piece in _pieces(answer.head(length=length), blocks, fault):
        send(piece)
        if fault.drip and wait(fault.drip):
            return False
    return empty or sent == length


def _blocks(body: bytes, fault: Fault, *, sent: int) -> Iterator[bytes]:
    if fault.size is None:
        yield body[:sent]
        return
    block = b"x" * _BLOCK
    for start in range(0, sent, _BLOCK):
        yield block[: sent - start]


def _pieces(head: bytes, blocks: Iterator[bytes], fault: Fault) -> Iterator[bytes]:
    """The bytes of each `send`. Without a drip, head and body are sent together, in one segment where they fit."""
    if fault.drip is None:
        yield head + next(blocks, b"")
        yield from blocks
        return
    if fault.drip_headers:
        yield from _singles(head)
    else:
        yield head
    for block in blocks:
        yield from _singles(block)


def _singles(data: bytes) -> Iterator[bytes]:
    return (data[index : index + 1] for index in range(len(data)))
