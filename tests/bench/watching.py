"""What a verb imports, asks for and starts, and how many instructions it takes: one interpreter, one fresh guest.

Used by the guard (test_guard.py) and by what writes its pins (guard.py). Knows no pins.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Mapping, Optional, Sequence

from bench.count import instructions_of
from bench.fabric import PORTS, Door
from bench.rows import ENVIRONMENT, Guest

from azurelite.simulator import Scenario, Simulator

WATCHED = Path(__file__).resolve().parent / "watched.py"
ROOT = "ROOT"  # stands for the guest's folder in the words of a verb
# Each on a fresh guest; `provisioned` on one that the main job was done on before.
VERBS: Mapping[str, tuple[str, ...]] = {
    "provision": ("provision", "--root", ROOT),
    "provision-dry": ("provision", "--dry-run", "--root", ROOT),
    "provisioned": ("provision", "--root", ROOT),
    "report-ready": ("report", "ready", "--root", ROOT),
    "report-failure": ("report", "failure", "--reason", "no disk", "--root", ROOT),
    "metadata": ("metadata", "--root", ROOT),
    "plan": ("plan", "--root", ROOT),
    "apply-hostname": ("apply", "hostname", "--root", ROOT),
    "config-show": ("config", "show", "--root", ROOT),
    "config-check": ("config", "check", "--root", ROOT),
    "handlers": ("handlers",),
    "handlers-user": ("handlers", "user"),
    "service-install": ("service", "install", "--init", "systemd", "--root", ROOT),
    "version": ("--version",),
}
_FOLDERS = """
import json, os, sys, azurelite, defusedxml, urllib3, yaml
files = [os.path.realpath(one.__file__) for one in (urllib3, yaml, defusedxml, azurelite)]
folders = [os.path.dirname(os.path.dirname(file)) for file in files]
print(json.dumps([folders, "%d.%d" % sys.version_info[:2], urllib3.__version__.partition(".")[0]]))
"""


@dataclass(frozen=True)
class Subject:
    """An interpreter with azurelite.

    Attributes:
        python: its path.
        folders: where azurelite and its packages lie.
        version: its major and minor.
        urllib3: the major version of urllib3, on which half of all imports depend.
    """

    python: str
    folders: tuple[str, ...]
    version: str
    urllib3: str


@dataclass(frozen=True)
class Seen:
    """What a verb did.

    Attributes:
        modules: azurelite's by their full names, others' by their top level.
        connections: host and port of each.
        processes: how each that it started was started.
        endpoints: the simulator's words for what was asked, in order.
        code: its exit code.
        said: its standard error.
    """

    modules: frozenset[str]
    connections: tuple[tuple[str, int], ...]
    processes: tuple[str, ...]
    endpoints: tuple[str, ...]
    code: int
    said: str


def subject(python: str) -> Subject:
    """An interpreter that can import azurelite. Raises CalledProcessError for any other."""
    done = subprocess.run([python, "-c", _FOLDERS], stdout=subprocess.PIPE, text=True, check=True, cwd="/")
    folders, version, major = json.loads(done.stdout)
    return Subject(python, tuple(dict.fromkeys(folders)), version, major)


def watch(one: Subject, verb: str, scratch: Path) -> Seen:
    """Run a verb and say what it did. Raises RuntimeError when it did not get as far as telling."""
    told = scratch / f"{verb}.json"
    with guest(one, verb, scratch) as (simulator, root):
        before = len(simulator.requests)
        done = _run(_words(one, verb, root, told=str(told)))
        if not told.exists():
            raise RuntimeError(f"{verb}: {done.stderr.strip()}")
        found: dict[str, Any] = json.loads(told.read_bytes())
        endpoints = tuple(request.endpoint for request in simulator.requests[before:])
    return Seen(
        modules=names_of(found["modules"]),
        connections=tuple((host, port) for host, port in found["connections"]),
        processes=tuple(found["processes"]),
        endpoints=endpoints,
        code=int(found["code"] or 0),
        said=done.stderr.strip(),
    )


def names_of(modules: Sequence[str]) -> frozenset[str]:
    """azurelite's modules by their full names, others by their top level; what is private to others is left out."""
    tops = [(name, name.partition(".")[0]) for name in modules]
    return frozenset(name if top == "azurelite" else top for name, top in tops if not top.startswith("_"))


def multiple(one: Subject, verb: str, scratch: Path) -> float:
    """A verb's instructions as a multiple of those of the interpreter's own start. Needs valgrind.

    Byte code is made beforehand, in a cache of its own: how azurelite was installed plays no part.
    """
    cached = ("-X", f"pycache_prefix={scratch}/pycache")
    with guest(one, verb, scratch) as (_, root):
        _run(_words(one, verb, root, options=cached))
    with guest(one, verb, scratch) as (_, root):
        taken = instructions_of(_words(one, verb, root, options=cached), scratch)
    start = [one.python, *cached, "-S", "-s", "-c", "pass"]
    _run(start)
    return taken / instructions_of(start, scratch)


@contextlib.contextmanager
def guest(one: Subject, verb: str, scratch: Path) -> Iterator[tuple[Simulator, Path]]:
    """A guest as the verb wants to find it, and its fabric. Raises RuntimeError when it cannot be provisioned."""
    with Simulator(Scenario.default(), listen=PORTS, rate_limit=None) as simulator:
        root = scratch / f"root-{verb}"
        imds, wireserver = (f"{host}:{port}" for host, port in simulator.addresses)
        Guest(files={"usr/bin/azurelite": ""}).make(root, Door(0, imds, wireserver))
        (root / "usr/bin/azurelite").chmod(0o755)  # what a unit would start
        if verb == "provisioned":
            done = _run(_words(one, "provision", root))
            if done.returncode != 0:
                raise RuntimeError(f"{verb}: {done.stderr.strip()}")
        yield simulator, root


def _words(one: Subject, verb: str, root: Path, *, told: str = "-", options: Sequence[str] = ()) -> list[str]:
    words = [str(root) if word == ROOT else word for word in VERBS[verb]]
    return [one.python, *options, "-S", "-s", str(WATCHED), told, ":".join(one.folders), *words]


def _run(words: Sequence[str], environment: Optional[Mapping[str, str]] = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
        env={**ENVIRONMENT, "PYTHONHASHSEED": "0", **(environment or {})},
    )  # fmt: skip
