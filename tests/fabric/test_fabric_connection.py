"""Time bounds of one exchange, whatever a server does with its bytes; and one connection for many requests."""

from __future__ import annotations

import socket
import time

import pytest
from fabric.conftest import Asker, Dial, Link, Raw, Script, Scripts

from azurelite.errors import TransportError
from azurelite.fabric.retry import RetryTable

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"


def silent(link: Link) -> None:
    link.read()
    link.wait(10)


def drip_headers(link: Link) -> None:
    link.read()
    link.drip(b"HTTP/1.1 200 OK\r\n" + b"X-Slow: 1\r\n" * 50)


def drip_body(link: Link) -> None:
    link.read()
    link.send(HEAD)
    link.drip(b"x" * 500)


def drip_chunks(link: Link) -> None:
    link.read()
    link.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    link.drip(b"1\r\nx\r\n" * 100)


def stall_in_body(link: Link) -> None:
    link.read()
    link.send(HEAD + b"x" * 499)
    link.wait(10)


def endless_continue(link: Link) -> None:
    link.read()
    while not link.wait(0.02):
        link.send(b"HTTP/1.1 100 Continue\r\n\r\n")


def drip_refusal(link: Link) -> None:
    link.read()
    link.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 500\r\n\r\n")
    link.drip(b"x" * 500)


class TestBounds:
    @pytest.mark.parametrize(
        "script", [silent, drip_headers, drip_body, drip_chunks, stall_in_body, endless_continue, drip_refusal]
    )
    def test_the_time_out_spans_the_whole_exchange(self, ask: Asker, raw: Raw, script: Script) -> None:
        started = time.monotonic()
        with pytest.raises(TransportError) as caught:
            ask(raw(script).url, timeout=0.2)
        assert caught.value.kind == "read timeout"
        assert 0.15 < time.monotonic() - started < 1.5

    def test_a_server_that_never_accepts_is_a_read_time_out(self, ask: Asker) -> None:
        """The kernel shakes hands for it, so the request goes out and nobody reads it."""
        with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(TransportError) as caught:
            ask(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.2)
        assert caught.value.kind == "read timeout"

    def test_a_connection_that_is_never_made_is_a_connection_time_out(self, ask: Asker) -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        fillers = []
        try:
            for _ in range(4):  # until the kernel's queue is full and drops what else would connect
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
                fillers.append(filler)
            started = time.monotonic()
            with pytest.raises(TransportError) as caught:
                ask(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.3)
        finally:
            for each in (listener, *fillers):
                each.close()
        assert caught.value.kind == "connection timeout"
        assert time.monotonic() - started < 1.5

    def test_a_peer_that_does_not_read_what_is_posted(self, ask: Asker) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            started = time.monotonic()
            with pytest.raises(TransportError):
                ask(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.2, body=b"x" * 32_000_000)
        assert time.monotonic() - started < 1.5

    def test_the_bound_of_the_last_exchange_is_not_that_of_the_next(
        self, ask: Asker, raw: Raw, scripts: type[Scripts]
    ) -> None:
        def script(link: Link) -> None:
            scripts.answering(scripts.OK)(link)
            link.wait(10)  # and reads no more

        server = raw(script)
        ask(server.url, timeout=5, seconds=5)
        started = time.monotonic()
        with pytest.raises(TransportError):
            ask(server.url, timeout=0.2, body=b"x" * 32_000_000)
        assert time.monotonic() - started < 1.5
        assert server.connections == 1

    def test_a_read_time_out_is_asked_again(self, ask: Asker, raw: Raw, scripts: type[Scripts]) -> None:
        def script(link: Link) -> None:
            if link.number == 1:
                silent(link)
            else:
                scripts.answering(scripts.OK)(link)

        assert ask(raw(script).url, timeout=0.2, seconds=5).body == b"ok"
        assert [exchange.error for exchange in ask.http.exchanges] == ["read timeout", None]

    def test_slow_but_in_time_is_fine(self, ask: Asker, raw: Raw) -> None:
        def script(link: Link) -> None:
            link.read()
            link.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", pause=0.001)

        assert ask(raw(script).url, timeout=2).body == b"ok"

    def test_each_exchange_has_the_whole_time_out_again(self, ask: Asker, raw: Raw, scripts: type[Scripts]) -> None:
        def script(link: Link) -> None:
            while link.read():
                ask.clock.skipped += 6
                link.send(scripts.OK)

        server = raw(script)
        for _ in range(3):
            assert ask(server.url, timeout=10, seconds=60).body == b"ok"
        assert (server.connections, ask.clock.slept) == (1, [])


class TestKeepAlive:
    def test_one_connection_serves_many_requests(self, ask: Asker, raw: Raw, scripts: type[Scripts]) -> None:
        server = raw(scripts.always(scripts.OK))
        for _ in range(5):
            ask(server.url)
        assert (len(server.requests), server.connections) == (5, 1)

    def test_a_refusal_keeps_the_connection(self, ask: Asker, raw: Raw, scripts: type[Scripts]) -> None:
        busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nlater"
        server = raw(scripts.answering(busy, busy, scripts.OK))
        assert ask(server.url, seconds=10).body == b"ok"
        assert server.connections == 1

    def test_a_chunked_answer_keeps_the_connection(self, ask: Asker, raw: Raw, scripts: type[Scripts]) -> None:
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        server = raw(scripts.always(chunked))
        for _ in range(3):
            assert ask(server.url).body == b"ok"
        assert server.connections == 1

    def test_the_crawl_and_the_report_share_it(self, dial: Dial, raw: Raw) -> None:
        """IMDS and WireServer are two addresses on Azure; on one address they are one connection."""

        def script(link: Link) -> None:
            while link.read():
                link.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        server = raw(script)
        fabric = dial(server.url)
        for _ in range(3):
            fabric.imds.fetch_instance(fabric.reading)
        assert server.connections == 1

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", id="without a word"),
            pytest.param(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", id="announced"),
            pytest.param(b"HTTP/1.0 200 OK\r\n\r\nok", id="HTTP 1.0"),
        ],
    )
    def test_a_connection_closed_between_requests_is_made_anew(
        self, ask: Asker, raw: Raw, scripts: type[Scripts], answer: bytes
    ) -> None:
        server = raw(scripts.answering(answer))
        assert ask(server.url).body == b"ok"
        time.sleep(0.05)  # for the server's FIN to arrive
        assert ask(server.url, seconds=5).body == b"ok"
        assert (server.connections, len(server.requests)) == (2, 2)

    def test_a_connection_closed_in_the_face_of_the_next_request_costs_one_more_try(
        self, ask: Asker, raw: Raw, scripts: type[Scripts]
    ) -> None:
        def script(link: Link) -> None:
            link.read()
            link.send(scripts.OK)
            link.read()  # and hang up, as a server does whose idle time ran out at this moment

        server = raw(script)
        assert [ask(server.url, seconds=5).body for _ in range(2)] == [b"ok", b"ok"]
        assert [one.error for one in ask.http.exchanges] == [None, "connection error", None]
        assert server.connections == 2

    def test_bytes_left_over_from_one_answer_never_begin_the_next(self, ask: Asker, raw: Raw) -> None:
        """A body longer than announced: what is too much must not be read as the next answer's head."""
        poisoned = (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        )

        def script(link: Link) -> None:
            link.read()
            link.send(poisoned)
            link.read()

        def second(link: Link) -> None:
            if link.number == 1:
                script(link)
            else:
                link.read()
                link.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        server = raw(second)
        assert [ask(server.url, seconds=5).body for _ in range(2)] == [b"ok", b"ok"]

    def test_closing_hangs_up(self, ask: Asker, raw: Raw, scripts: type[Scripts]) -> None:
        hung_up = []

        def script(link: Link) -> None:
            scripts.always(scripts.OK)(link)
            hung_up.append(True)

        server = raw(script)
        ask(server.url)
        ask.http.close()
        for _ in range(100):
            if hung_up:
                break
            time.sleep(0.01)
        assert hung_up

    def test_two_servers_have_two_connections(self, ask: Asker, raw: Raw, scripts: type[Scripts]) -> None:
        first, second = raw(scripts.always(scripts.OK)), raw(scripts.always(scripts.OK))
        for _ in range(2):
            ask(first.url)
            ask(second.url)
        assert (first.connections, second.connections) == (1, 1)


def test_a_pause_before_another_try_does_not_count_as_waiting_for_an_answer(
    ask: Asker, raw: Raw, scripts: type[Scripts]
) -> None:
    """The limit of one exchange is set when it begins, not when the first try began."""
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    server = raw(scripts.answering(busy, scripts.OK))
    assert ask(server.url, seconds=60, timeout=0.5, table=RetryTable({503: 20})).body == b"ok"
