"""An exchange over HTTP: what is sent, what is taken for an answer, what is asked again and what never is."""

from __future__ import annotations

import logging
import socket
import time
import uuid

import pytest
from fabric.conftest import Asker, Link, Raw, Scripts, Simulate
from kit import FastClock

from azurelite.clock import Deadline
from azurelite.errors import HttpStatusError, TransportError
from azurelite.fabric.exchange import Request
from azurelite.fabric.http import SIZE_CAP
from azurelite.fabric.retry import RetryTable

PROXY_VARIABLES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
HEAD = b"HTTP/1.1 200 OK\r\n"


def headers_of(request: bytes) -> dict[str, str]:
    lines = request.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}


class TestRerouting:
    @pytest.mark.parametrize("variable", PROXY_VARIABLES)
    def test_no_proxy_variable_is_obeyed(
        self, ask: Asker, raw: Raw, scripts: type[Scripts], monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        black_hole = raw(lambda link: link.wait(5))
        server = raw(scripts.always(scripts.OK))
        for name in ("no_proxy", "NO_PROXY", *PROXY_VARIABLES):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(variable, black_hole.url)
        assert ask(server.url).body == b"ok"
        assert black_hole.connections == 0

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_a_final_status_and_never_followed(
        self, ask: Asker, raw: Raw, scripts: type[Scripts], status: int
    ) -> None:
        elsewhere = raw(scripts.always(scripts.OK))
        head = f"HTTP/1.1 {status} Moved\r\nLocation: {elsewhere.url}/\r\nContent-Length: 0\r\n\r\n"
        server = raw(scripts.always(head.encode()))
        with pytest.raises(HttpStatusError) as caught:
            ask(server.url, seconds=60)
        assert caught.value.status == status
        assert (len(server.requests), elsewhere.connections) == (1, 0)

    def test_a_redirect_to_itself_without_end_is_asked_once(self, ask: Asker, simulate: Simulate) -> None:
        simulator = simulate({"endpoint": "any", "redirect": "/"})
        with pytest.raises(HttpStatusError):
            ask(simulator.url, seconds=60)
        assert len(simulator.requests) == 1


class TestWhatIsSent:
    def test_user_agent_and_host_and_the_headers_given(self, ask: Asker, raw: Raw, scripts: type[Scripts]) -> None:
        server = raw(scripts.always(scripts.OK))
        ask(f"{server.url}/metadata/instance?a=1&b=2")
        sent = headers_of(server.requests[0])
        assert server.requests[0].startswith(b"GET /metadata/instance?a=1&b=2 HTTP/1.1\r\n")
        assert sent["user-agent"].startswith("azurelite/")
        assert sent["host"] == server.url.rpartition("/")[2]
        assert sent["metadata"] == "true"
        assert "x-forwarded-for" not in sent

    def test_every_try_has_a_fresh_client_request_id(self, ask: Asker, simulate: Simulate) -> None:
        simulator = simulate({"endpoint": "any", "status": 503, "requests": "1-4"}, {"endpoint": "any", "status": 200})
        ask(simulator.url, seconds=60)
        ids = [uuid.UUID(request.headers["x-ms-client-request-id"]) for request in simulator.requests]
        assert len(set(ids)) == 5
        assert {(one.version, one.variant) for one in ids} == {(4, uuid.RFC_4122)}

    def test_a_body_is_posted_with_its_length(self, ask: Asker, simulate: Simulate) -> None:
        simulator = simulate({"endpoint": "any", "status": 200})
        ask(simulator.url, body=b"caf\xc3\xa9")
        assert [(one.method, one.body) for one in simulator.requests] == [("POST", b"caf\xc3\xa9")]


class TestWhatCounts:
    @pytest.mark.parametrize("status", [200, 201, 202, 204, 206])
    def test_every_2xx_is_an_answer(self, ask: Asker, simulate: Simulate, status: int) -> None:
        simulator = simulate({"endpoint": "any", "status": status})
        assert ask(simulator.url).status == status

    @pytest.mark.parametrize("status", [101, 199, 300, 304, 400, 401, 451, 600, 999])
    def test_every_other_status_is_final_unless_the_table_has_it(
        self, ask: Asker, raw: Raw, scripts: type[Scripts], status: int
    ) -> None:
        server = raw(scripts.answering(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status))
        with pytest.raises(HttpStatusError) as caught:
            ask(server.url, seconds=60)
        assert (caught.value.status, len(server.requests)) == (status, 1)
        assert caught.value.data == {"http_code": str(status), "url": server.url}

    def test_the_body_of_a_refusal_is_there_to_read_and_not_in_the_message(
        self, ask: Asker, simulate: Simulate
    ) -> None:
        simulator = simulate({"endpoint": "any", "status": 400, "body": "InvalidContainerConfiguration"})
        with pytest.raises(HttpStatusError) as caught:
            ask(simulator.url)
        assert caught.value.body == b"InvalidContainerConfiguration"
        assert "InvalidContainerConfiguration" not in str(caught.value)

    @pytest.mark.parametrize(
        ("answer", "body"),
        [
            pytest.param(b"HTTP/1.0 200 OK\r\n\r\nabc", b"abc", id="HTTP 1.0"),
            pytest.param(HEAD + b"\r\nabc", b"abc", id="no length: until it hangs up"),
            pytest.param(HEAD + b"Content-Length: 3\r\n\r\nabcdef", b"abc", id="more than announced"),
            pytest.param(HEAD + b"Content-Length: 0\r\n\r\n", b"", id="empty"),
            pytest.param(
                HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"abc", id="chunked"
            ),
            pytest.param(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", b"abc", id="never unpacked"),
            pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"Content-Length: 3\r\n\r\nabc", b"abc", id="100"),
        ],
    )
    def test_bodies_are_taken_as_they_come(
        self, ask: Asker, raw: Raw, scripts: type[Scripts], answer: bytes, body: bytes
    ) -> None:
        assert ask(raw(scripts.answering(answer)).url).body == body


class TestTornAnswers:
    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(b"", id="nothing"),
            pytest.param(b"HTT", id="torn protocol"),
            pytest.param(b"HTTP/1.1 2", id="torn status"),
            pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", id="another protocol"),
            pytest.param(b"HTTP/2 200 OK\r\n\r\n", id="an unknown version"),
            pytest.param(b"HTTP/1.1 000 No\r\n\r\n", id="a status below 100"),
            pytest.param(HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n", id="a header line without end"),
            pytest.param(HEAD + b"X: a\r\n" * 200 + b"\r\n", id="headers without end"),
            pytest.param(HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", id="two lengths"),
            pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", id="torn chunk"),
            pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", id="no last chunk"),
            pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n", id="no chunk size"),
            pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n-3\r\nab\r\n", id="a chunk below nothing"),
            pytest.param(HEAD + b"Content-Length: 10\r\n\r\nabc", id="fewer bytes than announced"),
        ],
    )
    def test_half_an_answer_is_none_and_is_asked_for_again(
        self, ask: Asker, raw: Raw, scripts: type[Scripts], answer: bytes
    ) -> None:
        def script(link: Link) -> None:
            scripts.answering(answer if link.number == 1 else scripts.OK)(link)

        server = raw(script)
        assert ask(server.url, seconds=5).body == b"ok"
        assert [exchange.error for exchange in ask.http.exchanges] == ["connection error", None]
        assert ask.clock.slept == [1.0]

    def test_a_reset_is_a_connection_error_and_asked_again(self, ask: Asker, raw: Raw, scripts: type[Scripts]) -> None:
        def script(link: Link) -> None:
            (scripts.resetting if link.number == 1 else scripts.answering(scripts.OK))(link)

        assert ask(raw(script).url, seconds=5).body == b"ok"
        assert [exchange.error for exchange in ask.http.exchanges] == ["connection error", None]

    def test_the_reason_is_one_clean_phrase(self, ask: Asker, raw: Raw, scripts: type[Scripts]) -> None:
        with pytest.raises(TransportError) as caught:
            ask(raw(scripts.resetting).url)
        assert caught.value.reason == "connection error"
        assert caught.value.data["exception"] == "Connection reset by peer"

    @pytest.mark.parametrize(
        ("answer", "detail"),
        [
            (b"", "the connection was closed without an answer"),
            (b"SSH-2.0-x\r\n", "the answer is not HTTP"),
            (HEAD + b"Content-Length: 10\r\n\r\nabc", "the answer was cut off"),
        ],
    )
    def test_the_detail_is_about_the_answer_and_not_about_the_library(
        self, ask: Asker, raw: Raw, scripts: type[Scripts], answer: bytes, detail: str
    ) -> None:
        with pytest.raises(TransportError) as caught:
            ask(raw(scripts.answering(answer)).url)
        assert caught.value.data["exception"].strip() == detail

    def test_a_refused_connection_ends_at_the_deadline(self, ask: Asker) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(TransportError) as caught:
            ask(url, seconds=10)
        assert (caught.value.kind, caught.value.data["exception"]) == ("connection error", "Connection refused")
        assert 5 <= len(ask.clock.slept) <= 10
        assert sum(ask.clock.slept) <= 10

    def test_an_address_refused_at_first_is_asked_again(self) -> None:
        """As WireServer's may be at boot."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        listening = []

        class Opening(FastClock):
            def sleep(self, seconds: float) -> None:
                super().sleep(seconds)
                listening.append(socket.create_server(("127.0.0.1", port)))

        with pytest.raises(TransportError) as caught:
            Asker(Opening())(f"http://127.0.0.1:{port}", seconds=1.5, timeout=0.2)
        listening[0].close()
        assert caught.value.kind == "read timeout"  # so somebody was there, who then said nothing


class TestSizeCap:
    def test_the_largest_answer_passes(self, ask: Asker, simulate: Simulate) -> None:
        simulator = simulate({"endpoint": "any", "size": SIZE_CAP})
        assert len(ask(simulator.url, timeout=5, seconds=5).body) == SIZE_CAP

    def test_one_byte_more_is_refused_at_once(self, ask: Asker, simulate: Simulate) -> None:
        simulator = simulate({"endpoint": "any", "size": SIZE_CAP + 1})
        with pytest.raises(TransportError) as caught:
            ask(simulator.url, timeout=5, seconds=60)
        assert (caught.value.kind, len(simulator.requests)) == ("response too large", 1)
        assert [(one.status, one.error) for one in ask.http.exchanges] == [(None, "response too large")]

    @pytest.mark.parametrize("status", [b"200 OK", b"503 Busy"])
    @pytest.mark.parametrize(
        ("head", "block"),
        [
            pytest.param(b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 0x10000 + b"\r\n", id="chunked"),
            pytest.param(b"\r\n", b"x" * 0x10000, id="no length"),
            pytest.param(b"Content-Length: 99999999999\r\n\r\n", b"x" * 0x10000, id="a length as large"),
        ],
    )
    def test_an_endless_body_is_cut_off(self, ask: Asker, raw: Raw, status: bytes, head: bytes, block: bytes) -> None:
        def script(link: Link) -> None:
            link.read()
            link.send(b"HTTP/1.1 " + status + b"\r\n" + head)
            while not link.wait(0):
                link.send(block)

        server = raw(script)
        with pytest.raises(TransportError) as caught:
            ask(server.url, timeout=5, seconds=60)
        assert (caught.value.kind, server.connections) == ("response too large", 1)

    def test_the_client_is_of_use_afterwards(self, ask: Asker, simulate: Simulate) -> None:
        simulator = simulate(
            {"endpoint": "any", "size": SIZE_CAP + 1, "requests": 1}, {"endpoint": "any", "status": 200}
        )
        with pytest.raises(TransportError):
            ask(simulator.url, timeout=5)
        assert ask(simulator.url).status == 200


class TestRepeating:
    def test_an_endless_503_ends_at_the_deadline(self, ask: Asker, simulate: Simulate) -> None:
        simulator = simulate({"endpoint": "any", "status": 503})
        started = time.monotonic()
        with pytest.raises(HttpStatusError) as caught:
            ask(simulator.url, seconds=60)
        assert caught.value.status == 503
        assert 50 <= sum(ask.clock.slept) <= 60
        assert len(simulator.requests) == len(ask.clock.slept) + 1
        assert time.monotonic() - started < 5

    @pytest.mark.parametrize(
        ("header", "pause"),
        [
            ("5", 5),
            (" 7 ", 7),
            ("0", 1),
            ("", 1),
            ("30", 30),
            ("31", 30),
            ("86400", 30),
            ("9" * 400, 30),
            ("-5", 1),
            ("+5", 1),
            ("1.5", 1),
            ("1e3", 1),
            ("0x10", 1),
            ("soon", 1),
            ("2, 9", 1),
            ("\xb2", 1),  # a digit, but no number
            ("Fri, 31 Dec 2100 23:59:59 GMT", 1),
        ],
    )
    def test_retry_after_in_seconds_is_honoured_up_to_30(
        self, ask: Asker, simulate: Simulate, header: str, pause: int
    ) -> None:
        busy = {"endpoint": "any", "status": 503, "requests": 1, "headers": {"Retry-After": header}}
        simulator = simulate(busy, {"endpoint": "any", "status": 200})
        ask(simulator.url, seconds=60)
        assert ask.clock.slept == [pause]

    def test_retry_after_never_leads_past_the_deadline(self, ask: Asker, simulate: Simulate) -> None:
        simulator = simulate({"endpoint": "any", "status": 503, "headers": {"Retry-After": "20"}})
        with pytest.raises(HttpStatusError):
            ask(simulator.url, seconds=15)
        assert len(simulator.requests) == 2, "one more try, just ahead of the deadline"
        assert 13 < sum(ask.clock.slept) < 15

    def test_retry_after_on_a_final_status_changes_nothing(self, ask: Asker, simulate: Simulate) -> None:
        simulator = simulate({"endpoint": "any", "status": 400, "headers": {"Retry-After": "1"}})
        with pytest.raises(HttpStatusError):
            ask(simulator.url, seconds=60)
        assert len(simulator.requests) == 1

    def test_the_clocks_jitter_lengthens_the_pause(self, simulate: Simulate) -> None:
        class Jittery(FastClock):
            def jitter(self) -> float:
                return 0.5

        simulator = simulate({"endpoint": "any", "status": 503, "requests": 1}, {"endpoint": "any", "status": 200})
        jittery = Asker(Jittery())
        jittery(simulator.url, seconds=60, table=RetryTable({503: 4}))
        jittery.http.close()
        assert jittery.clock.slept == [4.5]

    def test_trouble_is_told_once_per_kind_and_never_as_a_warning(
        self, ask: Asker, simulate: Simulate, caplog: pytest.LogCaptureFixture
    ) -> None:
        troubles = [503, 503, 500, 503]
        faults = [{"endpoint": "any", "status": s, "requests": n} for n, s in enumerate(troubles, 1)]
        simulator = simulate(*faults, {"endpoint": "any", "status": 200})
        with caplog.at_level(logging.INFO):
            ask(simulator.url, seconds=60, table=RetryTable({500: 1, 503: 1}))
        told = [(record.levelname, record.getMessage().partition(" from")[0]) for record in caplog.records]
        assert told == [("INFO", "http: HTTP 503"), ("INFO", "http: HTTP 500"), ("INFO", "http: HTTP 503")]


class TestNoTime:
    def test_nothing_is_sent_when_no_time_is_left(self, ask: Asker, raw: Raw, scripts: type[Scripts]) -> None:
        server = raw(scripts.always(scripts.OK))
        with pytest.raises(TransportError) as caught:
            ask(server.url, seconds=0)
        assert caught.value.kind == "connection timeout"
        assert (server.connections, ask.http.exchanges, ask.clock.slept) == (0, [], [])

    def test_one_exchange_is_bounded_by_the_deadline_too(self, ask: Asker, raw: Raw) -> None:
        server = raw(lambda link: link.read() and link.wait(5))
        started = time.monotonic()
        with pytest.raises(TransportError) as caught:
            ask(server.url, seconds=0.2, timeout=10)
        assert caught.value.kind == "read timeout"
        assert time.monotonic() - started < 2


class TestRecord:
    def test_every_exchange_is_recorded(self, ask: Asker, raw: Raw, scripts: type[Scripts]) -> None:
        def script(link: Link) -> None:
            busy = scripts.answering(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", scripts.OK)
            (scripts.resetting if link.number == 1 else busy)(link)

        server = raw(script)
        ask(server.url, seconds=10)
        rows = [(one.method, one.url, one.status, one.error) for one in ask.http.exchanges]
        assert rows == [
            ("GET", server.url, None, "connection error"),
            ("GET", server.url, 503, None),
            ("GET", server.url, 200, None),
        ]
        starts = [one.started for one in ask.http.exchanges]
        assert starts == sorted(starts)
        assert starts[1] >= 1  # the pause is part of the story
        assert all(0 <= one.seconds < 1 for one in ask.http.exchanges)

    def test_a_time_out_is_recorded_with_its_length(self, ask: Asker, raw: Raw) -> None:
        server = raw(lambda link: link.read() and link.wait(5))
        with pytest.raises(TransportError):
            ask(server.url, timeout=0.2)
        (exchange,) = ask.http.exchanges
        assert (exchange.status, exchange.error) == (None, "read timeout")
        assert 0.15 <= exchange.seconds < 2


def test_ipv6_addresses_can_be_asked(ask: Asker) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 loopback here")
    with listener, pytest.raises(TransportError) as caught:
        ask(f"http://[::1]:{listener.getsockname()[1]}", timeout=0.1)
    assert caught.value.kind == "read timeout"


def test_a_deadline_is_made_once_and_holds_for_all_tries(ask: Asker, simulate: Simulate) -> None:
    simulator = simulate({"endpoint": "any", "status": 503})
    deadline = Deadline(ask.clock, 10)
    for _ in range(2):
        with pytest.raises((HttpStatusError, TransportError)):
            ask.http.ask(Request(simulator.url, {}, 1), table=RetryTable({503: 1}), deadline=deadline)
    assert sum(ask.clock.slept) <= 10
