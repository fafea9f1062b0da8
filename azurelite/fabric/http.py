"""HTTP for Azure's endpoints: no proxy, no redirect, no environment variable, a size limit, one deadline.

It sends requests and retries them. It does not know what the requests are for.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
from typing import Callable, Optional, Protocol, Union
from urllib.parse import urlsplit

from urllib3 import Timeout
from urllib3 import exceptions as urllib3_errors

from azurelite.clock import Clock, Deadline
from azurelite.errors import NO_TIME, AzureliteError, ConfigError, FabricError, HttpStatusError, TransportError
from azurelite.fabric.connection import BoundedPool, Limit, check_interface
from azurelite.fabric.exchange import Exchange, Request, Response
from azurelite.fabric.retry import RetryTable
from azurelite.guard import guard
from azurelite.record import replace
from azurelite.version import VERSION

LOG = logging.getLogger(__name__)

SIZE_CAP = 4 * 1024 * 1024  # bytes; a genuine response (64 KiB of user data and the list of NICs) is far smaller
_CHUNK = 65536
_NO_NETWORK = os.strerror(errno.ENETUNREACH)
_NO_REQUESTS = "no request is sent in a run without Azure"
Explain = Callable[[str, TransportError], str]
_WORDS = {
    "RemoteDisconnected": "the connection was closed without an answer",
    "BadStatusLine": "the answer is not HTTP",
    "IncompleteRead": "the answer was cut off",
}


class _Answer(Protocol):
    """The part of a response that urllib3 1.26 and 2.x have in common."""

    def read(self, amt: Optional[int] = None) -> bytes: ...

    def release_conn(self) -> None: ...

    def close(self) -> None: ...


class _Ahead:
    """A request that runs in a thread."""

    def __init__(self, exchange: Callable[[], Response]) -> None:
        self._exchange = exchange
        self._came: Union[Response, AzureliteError, None] = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def answer(self) -> Optional[Response]:
        """Wait for the response; None if a defect ended the thread. Raises what `ask` raises."""
        self._thread.join()
        if isinstance(self._came, (FabricError, ConfigError)):
            raise self._came
        return self._came if isinstance(self._came, Response) else None

    def _run(self) -> None:
        self._came = guard(self._exchange)


class HttpClient:
    """Requests with retries. One connection per server is kept alive.

    Args:
        clock: time, pauses and jitter.
        interface: the NIC for all requests; None: the routing table decides.
        explain: returns the likely cause and remedy of a failure to reach an address, in one sentence.
        offline: send no request at all: each one fails at once.

    Attributes:
        waiting: called before each pause between two tries, with the reason; None: nobody wants to know.
        listener: gets the record of each request after its end, in the thread of `ask`; of successive tries without a
            network only the first. None: nobody wants to know.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        interface: Optional[str] = None,
        explain: Optional[Explain] = None,
        offline: bool = False,
    ) -> None:
        self._clock = clock
        self._offline = offline
        self._explain = explain
        self.waiting: Optional[Callable[[str], None]] = None
        self.listener: Optional[Callable[[Exchange], None]] = None
        self._told = 0  # records that the listener has
        self._interface = interface
        self._opened = clock.monotonic()
        self._pools: dict[tuple[str, int], BoundedPool] = {}
        self._ahead: dict[str, _Ahead] = {}
        self._exchanges: list[Exchange] = []
        self._waiting: dict[tuple[str, str], int] = {}  # method and URL -> index of the record without a network

    @property
    def exchanges(self) -> list[Exchange]:
        """The records of all requests so far, by start time."""
        return sorted(self._exchanges, key=lambda exchange: exchange.started)

    def ask_ahead(self, request: Request, *, deadline: Deadline, beside: str) -> None:
        """Send a request in a thread, in parallel to another one. `ask` uses its response as the first try.

        Args:
            request: a GET; `ask` must get the same URL.
            deadline: as for `ask`.
            beside: the URL of the other request. For the same server nothing happens: it has only one connection.
        """
        if self._offline or self._place(request.url) == self._place(beside):
            return
        with contextlib.suppress(RuntimeError):  # the thread cannot be started: `ask` sends the request later
            self._ahead[request.url] = _Ahead(lambda: self._exchange(request, deadline))

    def ask(self, request: Request, *, table: RetryTable, deadline: Deadline) -> Response:
        """Send a request, and retry until a response of 2xx, a final status or the deadline.

        Args:
            request: the request.
            table: which failures are retried, and after which pause.
            deadline: after it there are no more tries.

        Returns:
            The response.

        Raises:
            ConfigError: the machine has no interface of the given name.
            HttpStatusError: a final status, or a retryable one until the deadline.
            TransportError: no complete response until the deadline, or one over the size limit.
        """
        if self._offline:
            raise TransportError("connection error", url=request.url, detail=_NO_REQUESTS)
        said: Optional[str] = None
        tries: dict[Optional[int], int] = {}  # status -> how often it came
        while True:
            retry_after: Optional[str] = None
            status: Optional[int] = None
            error: FabricError
            try:
                response = self._try(request, deadline)
            except TransportError as caught:
                if caught.kind == "response too large":
                    raise
                error = caught
            else:
                status = response.status
                if 200 <= status < 300:
                    return response
                retry_after = response.headers.get("Retry-After")
                error = HttpStatusError(status, url=request.url, body=response.body)
            tries[status] = tries.get(status, 0) + 1
            pause = table.pause(
                status,
                retry_after=retry_after,
                jitter=self._clock.jitter(),
                left=deadline.remaining(),
                no_network=_no_network(error),
                tries=tries[status],
            )
            if pause is None:
                raise self._explained(error)
            if error.reason != said:  # once per kind of failure; not a warning, because a later try may succeed
                said = error.reason
                LOG.info("http: %s; retrying", error)
            self.pause(pause, str(error))

    def pause(self, seconds: float, what: str) -> None:
        """Sleep before another try, because of `what`."""
        if self.waiting is not None:
            self.waiting(what)
        self._clock.sleep(seconds)

    def _try(self, request: Request, deadline: Deadline) -> Response:
        """One try, or the result of the request that `ask_ahead` has sent."""
        try:
            ahead = self._ahead.pop(request.url, None)
            answer = ahead.answer() if ahead is not None else None
            return answer if answer is not None else self._exchange(request, deadline)
        finally:
            self._tell()

    def _tell(self) -> None:
        while self.listener is not None and self._told < len(self._exchanges):
            self._told += 1
            self.listener(self._exchanges[self._told - 1])

    def _explained(self, error: FabricError) -> FabricError:
        """The failure with its likely cause, unless the server is on this machine (a simulator)."""
        if self._explain is None or not isinstance(error, TransportError):
            return error
        address = urlsplit(error.url).hostname or ""
        if address.startswith("127.") or address in ("localhost", "::1"):
            return error
        cause = self._explain(address, error)
        return TransportError(
            error.kind, url=error.url, detail=error.detail, cause=cause, short=f"{address} unreachable"
        )

    def close(self) -> None:
        """Close the kept connections."""
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
        self._ahead.clear()
        self._tell()

    def __del__(self) -> None:
        # For a caller that closes nothing, as in `Azure().plan()`: pools of urllib3 1.26 leave their sockets open.
        for pool in self._pools.values():
            pool.close()

    def _exchange(self, request: Request, deadline: Deadline) -> Response:
        method, url = request.method, request.url
        pool, target = self._pool(url)
        limit = deadline.within(request.timeout)
        if limit.remaining() <= 0:
            raise TransportError("connection timeout", url=url, detail=NO_TIME)
        pool.limit.deadline = limit
        started = self._clock.monotonic()
        status: Optional[int] = None
        kind: Optional[str] = None
        no_network = False
        try:
            answer = pool.urlopen(
                method,
                target,
                body=request.body,
                headers={**request.headers, **_own_headers()},
                retries=False,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
                decode_content=False,
                enforce_content_length=True,  # without it, urllib3 1.26 accepts a truncated body
                timeout=Timeout(connect=max(limit.remaining(), 0.001), read=request.timeout),
            )
            status = answer.status
            return Response(status, answer.headers, _read_capped(answer, url))
        except TransportError as error:
            kind = error.kind
            raise
        except (urllib3_errors.HTTPError, ValueError) as error:  # ValueError: a chunk of negative size
            kind, detail = _kind(error), _detail(error)
            no_network = detail == _NO_NETWORK
            raise TransportError(kind, url=url, detail=detail) from error
        finally:
            took = self._clock.monotonic() - started
            LOG.debug("http: %s %s: %s in %.3f s", method, url, kind or status, took)
            since = started - self._opened
            self._note(
                Exchange(method, url, status if kind is None else None, kind, since, took), no_network=no_network
            )

    def _note(self, exchange: Exchange, *, no_network: bool) -> None:
        """Record a request. Successive tries without a network, ten per second, become one long record."""
        asked = (exchange.method, exchange.url)
        place = self._waiting.get(asked)
        if not no_network:
            self._waiting.pop(asked, None)
        elif place is None:
            self._waiting[asked] = len(self._exchanges)
        else:
            began = self._exchanges[place].started
            self._exchanges[place] = replace(
                exchange, started=began, seconds=exchange.started + exchange.seconds - began
            )
            return
        self._exchanges.append(exchange)

    @staticmethod
    def _place(url: str) -> tuple[str, int]:
        parts = urlsplit(url)
        return parts.hostname or "", parts.port or 80

    def _pool(self, url: str) -> tuple[BoundedPool, str]:
        parts = urlsplit(url)
        place = self._place(url)
        if place not in self._pools:
            if self._interface is not None:
                check_interface(self._interface)
            self._pools[place] = BoundedPool(*place, Limit(self._clock), interface=self._interface)
        target = parts.path or "/"
        return self._pools[place], f"{target}?{parts.query}" if parts.query else target


def _no_network(error: FabricError) -> bool:
    return isinstance(error, TransportError) and error.detail == _NO_NETWORK


def _own_headers() -> dict[str, str]:
    digits = os.urandom(16).hex()
    request_id = "-".join((digits[:8], digits[8:12], f"4{digits[13:16]}", f"a{digits[17:20]}", digits[20:]))
    return {"User-Agent": f"azurelite/{VERSION}", "x-ms-client-request-id": request_id}


def _read_capped(answer: _Answer, url: str) -> bytes:
    body = bytearray()
    while True:
        chunk = answer.read(_CHUNK)
        if not chunk:
            answer.release_conn()
            return bytes(body)
        body += chunk
        if len(body) > SIZE_CAP:
            answer.close()
            raise TransportError("response too large", url=url, detail=f"more than {SIZE_CAP} bytes")


def _kind(error: Exception) -> str:
    if isinstance(error, urllib3_errors.NewConnectionError):  # first: in urllib3 1.26 it is also a ConnectTimeoutError
        return "connection error"
    if isinstance(error, urllib3_errors.ConnectTimeoutError):
        return "connection timeout"
    if isinstance(error, urllib3_errors.ReadTimeoutError):
        return "read timeout"
    return "connection error"


def _detail(error: Exception) -> str:
    """The innermost cause, in the system's words: urllib3's own texts contain addresses of Python objects."""
    cause: BaseException = error
    while True:
        inner = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
        if inner is None:
            break
        cause = inner
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    # The text of other exceptions may quote what the server sent, so use only their type.
    return _WORDS.get(type(cause).__name__, type(cause).__name__)
