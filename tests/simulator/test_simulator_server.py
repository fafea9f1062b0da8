"""The server itself: life cycle, keep-alive, the record and its log, and clients that misbehave."""

from __future__ import annotations

import ast
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from simulator.conftest import Client, HealthXml, Simulate

import azurelite.simulator
from azurelite.simulator import Scenario, Simulator, config_text

GET = b"GET /metadata/versions HTTP/1.1\r\nHost: x\r\nMetadata: true\r\n\r\n"


class TestLife:
    def test_constructor_does_nothing(self, tmp_path: Path) -> None:
        sim = Simulator(Scenario.default(), log=tmp_path / "absent" / "log")
        with pytest.raises(RuntimeError, match="not been started"):
            _ = sim.url
        assert (sim.requests, sim.reports) == ([], [])
        sim.stop()

    def test_address_is_known_once_started(self) -> None:
        with Simulator(Scenario.default()) as sim:
            host, port = sim.address
            assert sim.url == f"http://{host}:{port}"
            with pytest.raises(RuntimeError, match="already running"):
                sim.start()
        assert sim.url == f"http://{host}:{port}"

    def test_stopped_means_gone(self, simulate: Simulate) -> None:
        client = simulate()
        link = socket.create_connection(client.sim.address, timeout=5)
        link.sendall(GET)
        assert link.recv(65536).startswith(b"HTTP/1.1 200 ")
        client.sim.stop()
        assert link.recv(65536) == b""
        link.close()
        with pytest.raises(OSError, match="refused"):
            client.imds()
        assert len(client.sim.requests) == 1

    def test_can_be_started_again(self, simulate: Simulate) -> None:
        client = simulate()
        client.sim.stop()
        client.sim.start()
        assert client.imds().status == 200

    def test_stop_does_not_wait_for_a_delayed_answer(self, simulate: Simulate) -> None:
        client = simulate({"faults": [{"endpoint": "imds", "delay": 60}]})
        failed: list[BaseException] = []

        def ask() -> None:
            try:
                client.imds()
            except (OSError, http.client.HTTPException) as error:
                failed.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        while not client.sim.requests:
            time.sleep(0.005)
        before = time.monotonic()
        client.sim.stop()
        asking.join(5)
        assert failed
        assert time.monotonic() - before < 2

    def test_several_addresses_show_one_state(self) -> None:
        with Simulator(Scenario.default(), listen=[("127.0.0.1", 0), ("127.0.0.2", 0)]) as sim:
            assert [host for host, _ in sim.addresses] == ["127.0.0.1", "127.0.0.2"]
            for host, port in sim.addresses:
                connection = http.client.HTTPConnection(host, port, timeout=5)
                connection.request("GET", "/machine?comp=goalstate", headers={"x-ms-version": "2012-11-30"})
                assert f"http://{host}:{port}/machine/".encode() in connection.getresponse().read()
                connection.close()
            assert [request.number for request in sim.requests] == [1, 2]

    def test_taken_address_is_an_error_and_leaves_nothing_open(self, simulate: Simulate) -> None:
        taken = simulate().sim.address
        sim = Simulator(Scenario.default(), listen=[("127.0.0.1", 0), taken])
        with pytest.raises(OSError, match="in use"):
            sim.start()
        sim.stop()

    def test_config_points_here(self, simulate: Simulate) -> None:
        client = simulate()
        assert yaml.safe_load(config_text(client.sim.url)) == {
            "datasource": {
                "platform": "azure",
                "imds": {"endpoint": client.sim.url},
                "wireserver": {"endpoint": client.sim.url},
            }
        }


class TestRecord:
    def test_request(self, simulate: Simulate) -> None:
        client = simulate()
        client.ask("/x?a=%20", method="PUT", headers={"X-Thing": "1"}, body=b"\xff")
        client.imds()
        first, second = client.sim.requests
        assert (first.number, first.endpoint, first.method, first.target) == (1, "unknown", "PUT", "/x?a=%20")
        assert (first.headers["X-Thing"], first.body, first.status, first.fault) == ("1", b"\xff", 404, False)
        assert second.number == 2
        assert 0 <= first.at <= second.at < 60

    def test_repeated_header_is_joined(self, simulate: Simulate) -> None:
        client = simulate()
        client.raw(b"GET / HTTP/1.1\r\nHost: x\r\nA: 1\r\nA: 2\r\nConnection: close\r\n\r\n")
        assert client.sim.requests[0].headers["A"] == "1, 2"

    def test_lists_are_copies(self, simulate: Simulate) -> None:
        client = simulate()
        client.sim.requests.append(None)  # type: ignore[arg-type]
        client.sim.reports.append(None)  # type: ignore[arg-type]
        assert (client.sim.requests, client.sim.reports) == ([], [])

    def test_log_has_a_line_per_request(self, simulate: Simulate, tmp_path: Path, health_xml: HealthXml) -> None:
        path = tmp_path / "log.jsonl"
        client = simulate({"faults": [{"endpoint": "imds", "drop": True}]}, log=path)
        client.post_health(health_xml())
        with pytest.raises((http.client.BadStatusLine, ConnectionError)):
            client.imds()
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [(line["number"], line["endpoint"], line["status"], line["fault"]) for line in lines] == [
            (1, "health", 200, False),
            (2, "imds", None, True),
        ]
        assert lines[0]["body"] == health_xml().decode()
        assert set(lines[0]) == {"number", "at", "endpoint", "method", "target", "headers", "body", "status", "fault"}

    def test_many_threads_are_counted_once_each(self, simulate: Simulate) -> None:
        client = simulate()
        threads = [threading.Thread(target=lambda: [client.imds() for _ in range(5)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [request.number for request in client.sim.requests] == list(range(1, 41))
        assert {request.status for request in client.sim.requests} == {200}


class TestHttp:
    def test_keep_alive(self, fabric: Client) -> None:
        connection = http.client.HTTPConnection(*fabric.sim.address, timeout=5)
        connection.connect()
        link = connection.sock
        for _ in range(3):
            connection.request("GET", "/metadata/versions", headers={"Metadata": "true"})
            assert connection.getresponse().read()
            assert connection.sock is link
        connection.close()

    @pytest.mark.parametrize("ending", [b"HTTP/1.0\r\n\r\n", b"HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"])
    def test_closes_when_asked_to(self, fabric: Client, ending: bytes) -> None:
        assert fabric.raw(b"GET /?comp=versions " + ending).startswith(b"HTTP/1.1 200 OK\r\n")

    def test_head_has_no_body(self, fabric: Client) -> None:
        received = fabric.raw(b"HEAD /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert received.startswith(b"HTTP/1.1 404 ")
        assert received.endswith(b"\r\n\r\n")

    @pytest.mark.parametrize(
        ("length", "status"), [(1024 * 1024, 404), (1024 * 1024 + 1, 413), (12 * 1024 * 1024, 413)]
    )
    def test_body_limit(self, fabric: Client, length: int, status: int) -> None:
        reply = fabric.ask("/somewhere", method="POST", body=b"x" * length)
        assert reply.status == status
        assert len(fabric.sim.requests[-1].body) == (0 if status == 413 else length)
        assert fabric.sim.requests[-1].status == status

    @pytest.mark.parametrize(
        ("header", "status"),
        [
            (b"Transfer-Encoding: chunked", b"411"),
            (b"Content-Length: -1", b"400"),
            (b"Content-Length: ten", b"400"),
            (b"Content-Length: " + b"9" * 5000, b"400"),
        ],
    )
    def test_body_that_cannot_be_framed(self, fabric: Client, header: bytes, status: bytes) -> None:
        received = fabric.raw(b"POST /machine?comp=health HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n")
        assert received.split(b" ")[1] == status

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"GET",
            b"\x16\x03\x01\x00\xff",
            b"GET /metadata/instance HTTP/1.1\r\nHost: x\r\nMeta",
            b"POST /machine?comp=health HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf",
            b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET /metadata/instance?api-version=2021-08-01&%zz=%ff HTTP/1.1\r\nHost: x\r\nMetadata: true\r\n\r\n",
        ],
    )
    def test_survives_who_hangs_up(self, fabric: Client, capfd: pytest.CaptureFixture[str], data: bytes) -> None:
        with socket.create_connection(fabric.sim.address, timeout=5) as link:
            link.sendall(data)
            # RST rather than FIN: the rudest way to leave.
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        assert fabric.ask("/?comp=versions").status == 200
        time.sleep(0.02)  # for the other thread to notice, and to complain if it would
        assert capfd.readouterr() == ("", "")

    def test_proxy_form_of_a_target_is_no_route(self, fabric: Client) -> None:
        received = fabric.raw(
            b"GET http://169.254.169.254/metadata/versions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        assert received.startswith(b"HTTP/1.1 404 ")


def imported(tree: ast.Module, *, deep: bool) -> Iterator[str]:
    """The modules that a file imports: at its top only, or in its functions too."""
    for node in ast.walk(tree) if deep else tree.body:
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize(
    "path", sorted(Path(azurelite.simulator.__file__).parent.glob("*.py")), ids=lambda path: path.name
)
def test_stands_alone(path: Path) -> None:
    """Nothing of the client that is to be judged, and no YAML or XML reader before it is needed."""
    tree = ast.parse(path.read_text())
    own = {name for name in imported(tree, deep=True) if name.split(".")[0] == "azurelite"}
    assert all(name.startswith("azurelite.simulator") for name in own)
    assert not {name.split(".")[0] for name in imported(tree, deep=False)} & {"yaml", "defusedxml", "urllib3"}
