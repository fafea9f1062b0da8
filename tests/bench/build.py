"""What is measured, made ready: azurelite as its users have it, and the programs in C.

azurelite is built into a wheel from a copy of the sources and installed, with the versions of its packages that the
interpreter running the benchmark has, into a virtual environment of that interpreter. Nothing is written into the
checkout.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))

from wheels import build_wheel  # noqa: E402

ARTICLE = (
    TOP / "tests/peers/article_report_ready.py"
)  # its Python script, which the peers' tests judge the simulator by
PACKAGES = ("defusedxml", "PyYAML", "urllib3")


@dataclass(frozen=True)
class Tools:
    """Where the programs lie.

    Attributes:
        launcher: launch.c.
        client: client.c.
        python: the interpreter of the environment that azurelite is installed in.
        azurelite: its entry point there.
    """

    launcher: Path
    client: Path
    python: Path
    azurelite: Path


class BuildError(RuntimeError):
    """Something could not be made ready. The message says what, and what to install."""


def build(scratch: Path) -> Tools:
    """Build all of it below a folder. Raises BuildError."""
    environment = scratch / "venv"
    tools = Tools(
        launcher=_compile("launch", scratch),
        client=_compile("client", scratch),
        python=environment / "bin/python",
        azurelite=environment / "bin/azurelite",
    )
    _run(sys.executable, "-m", "venv", "--without-pip", str(environment))
    pinned = [f"{name}=={importlib.metadata.version(name)}" for name in PACKAGES]
    install(tools.python, [str(wheel(scratch)), *pinned])
    return tools


def wheel(scratch: Path) -> Path:
    """Build azurelite's wheel. Raises BuildError."""
    try:
        return build_wheel(scratch)
    except subprocess.CalledProcessError as error:
        raise BuildError(f"azurelite's wheel cannot be built: {error.stderr}") from error


def install(python: Path, wanted: Sequence[str]) -> None:
    """Install into the environment of an interpreter, which needs no pip of its own, and byte-compile."""
    quiet = ("-q", "--disable-pip-version-check", "--no-warn-script-location")
    _run(sys.executable, "-m", "pip", "--python", str(python), "install", "--compile", *quiet, *wanted)


def _compile(name: str, scratch: Path) -> Path:
    if shutil.which("gcc") is None:
        raise BuildError("gcc is missing: install gcc and the C library's headers (on Debian, gcc and libc6-dev)")
    program = scratch / name
    _run("gcc", "-O2", "-static", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(HERE / f"{name}.c"))
    return program


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()}")
