"""A library keeps to itself: it prints nothing, exits nowhere, and reads no environment variable but PATH."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kit import Guest

import azurelite
from azurelite.simulator import Fault, Scenario, Simulator

PACKAGE = Path(azurelite.__file__).parent
# The command line is a program; a plug-in's interpreter is a process of its own, whose standard error azurelite reads;
# `--detach` flushes the streams before it forks; the simulator hands its caller's environment to openssl.
LOUD = ("cli/", "run/plugin_interpreter.py", "run/background.py")
READERS = ("cli/", "simulator/keyring.py")
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv", "expandvars", "expanduser"}
STREAMS = {"stdout", "stderr", "stdin", "__stdout__", "__stderr__", "displayhook", "excepthook", "exit"}


def modules(*, without: tuple[str, ...]) -> list[Path]:
    found = [path for path in PACKAGE.rglob("*.py") if not str(path.relative_to(PACKAGE)).startswith(without)]
    return [path for path in found if path.name != "__main__.py"]


def prints(tree: ast.AST) -> list[str]:
    """The places that write to the caller's terminal, or end the caller's process."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in ("print", "input", "exit", "quit", "SystemExit", "breakpoint"):
            found.append(f"line {node.lineno}: {node.id}")
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            whole = f"{node.value.id}.{node.attr}"
            if (node.value.id == "sys" and node.attr in STREAMS) or whole in ("warnings.warn", "logging.basicConfig"):
                found.append(f"line {node.lineno}: {whole}")
            if node.value.id == "traceback" and node.attr.startswith("print"):
                found.append(f"line {node.lineno}: {whole}")
        if isinstance(node, ast.ImportFrom) and node.module == "sys":
            found += [f"line {node.lineno}: {alias.name}" for alias in node.names if alias.name in STREAMS]
    return found


def environment(tree: ast.AST) -> list[str]:
    """The places that use an environment variable; `os.environ.get("PATH")` is allowed."""
    allowed = {
        id(node.func.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "get"
        and [getattr(given, "value", None) for given in node.args] == ["PATH"]
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT and id(node) not in allowed:
            found.append(f"line {node.lineno}: {node.attr}")
        if isinstance(node, ast.ImportFrom) and node.module in ("os", "os.path"):
            found += [f"line {node.lineno}: {alias.name}" for alias in node.names if alias.name in ENVIRONMENT]
    return found


def offences(path: Path, check: object) -> list[str]:
    assert callable(check)
    return [f"{path.relative_to(PACKAGE)}: {offence}" for offence in check(ast.parse(path.read_text("utf-8")))]


def test_nothing_prints_or_exits_but_the_command_line() -> None:
    assert [one for path in modules(without=LOUD) for one in offences(path, prints)] == []


def test_no_variable_of_the_environment_is_read_but_path() -> None:
    assert [one for path in modules(without=READERS) for one in offences(path, environment)] == []


@pytest.mark.parametrize(
    "code",
    [
        "print('x')",
        "import sys; sys.stderr.write('x')",
        "from sys import stdout",
        "raise SystemExit(1)",
        "import sys; sys.exit(1)",
        "import warnings; warnings.warn('x')",
        "import traceback; traceback.print_exc()",
        "show = print",
    ],
)
def test_what_prints_is_found(code: str) -> None:
    assert len(prints(ast.parse(code))) == 1


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import os; os.environ.get('PATH')", 0),
        ("import os; os.environ.get('HOME')", 1),
        ("import os; os.environ['PATH']", 1),
        ("import os; dict(os.environ)", 1),
        ("import os; os.getenv('PATH')", 1),
        ("from os import environ", 1),
        ("import os; os.path.expanduser('~')", 1),
    ],
)
def test_what_reads_the_environment_is_found(code: str, found: int) -> None:
    assert len(environment(ast.parse(code))) == found


CALLS = """
import azurelite

azurelite.Metadata.from_dict({"nonsense": 1})  # logs a warning
for call in (
    lambda: azurelite.crawl(root=ROOT, seconds=4),
    lambda: azurelite.apply(["hostname", "user"], root=ROOT, seconds=4).check(),
    lambda: azurelite.report_progress(root=ROOT, seconds=4),
    lambda: azurelite.report_ready(root=ROOT, seconds=4),
    lambda: azurelite.provision(root=ROOT, seconds=4).check(),
    lambda: azurelite.crawl(root=ROOT, config={"nonsense": 1}),
):
    try:
        call()
    except azurelite.AzureliteError:
        pass
"""


@pytest.mark.spawns
@pytest.mark.parametrize("status", [None, 404])
def test_a_program_that_sets_up_no_log_sees_none(guest: Guest, status: int | None) -> None:
    faults = () if status is None else (Fault(endpoint="any", status=status),)
    path = {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry), "PATH": os.environ["PATH"]}
    with Simulator(Scenario(Scenario.default().vm, faults), rate_limit=None) as simulator:
        guest.on_azure().configure(simulator)
        code = CALLS.replace("ROOT", repr(guest.root))
        done = subprocess.run([sys.executable, "-c", code], env=path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert simulator.requests
