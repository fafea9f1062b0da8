"""`azurelite simulate [SCENARIO]`."""

from __future__ import annotations

import argparse
import signal
import threading
from typing import Optional

from azurelite.errors import ConfigError
from azurelite.simulator import Scenario, ScenarioError, Simulator, config_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own options."""
    parser.add_argument("scenario", nargs="?", metavar="SCENARIO", help="a YAML file; default: a plain VM")
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        action="append",
        help="listen here; may be repeated; default: a free port of 127.0.0.1",
    )
    parser.add_argument("--log", metavar="FILE", help="write each request to FILE, as a line of JSON")
    parser.add_argument(
        "--print-config", action="store_true", help="print the YAML that makes azurelite use this simulator, then serve"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted."""
    addresses = [_address(text) for text in arguments.listen or ["127.0.0.1:0"]]
    simulator = Simulator(load_scenario(arguments.scenario), listen=addresses, log=arguments.log)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        simulator.start()
    except OSError as error:
        raise ConfigError(f"cannot listen on {arguments.listen}: {error.strerror}: choose another --listen") from error
    try:
        print(config_text(simulator.url) if arguments.print_config else f"serving on {simulator.url}", flush=True)
        stop.wait()
    except KeyboardInterrupt:
        pass
    finally:
        simulator.stop()
    return 0


def load_scenario(path: Optional[str]) -> Scenario:
    """The scenario in a file, or the plain VM. Raises ConfigError."""
    if path is None:
        return Scenario.default()
    try:
        return Scenario.load(path)
    except ScenarioError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: give a readable scenario file") from error


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ConfigError(f"--listen {text}: give HOST:PORT, for example 127.0.0.1:8080")
    return host.strip("[]"), int(port)
