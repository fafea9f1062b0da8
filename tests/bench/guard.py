"""Writes the pins of the guard: what each verb imports, and the instructions of the main job.

    python tests/bench/guard.py [--write] [--no-instructions] [PYTHON...]

Prints what it finds; with --write that becomes what test_guard.py holds azurelite to. PYTHONs are the interpreters to
do it for; without any, all that are found: python3.9 and later, on the search path or of pyenv, and the oldest once
more with the oldest packages that azurelite takes. Each gets azurelite from a wheel in an environment of its own.
Instructions need valgrind.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import pins
from bench.build import BuildError, install, wheel
from bench.watching import VERBS, Subject, multiple, subject, watch

VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
SHOWN = 12  # names of a verb that differ from its pin
OLDEST = ("defusedxml==0.6.0", "PyYAML==5.3.1", "urllib3==1.26.0")


@dataclass
class Found:
    """What all interpreters told: names by verb and version, multiples by interpreter and verb."""

    imports: dict[str, dict[str, frozenset[str]]] = field(default_factory=lambda: {verb: {} for verb in VERBS})
    multiples: dict[str, dict[str, float]] = field(default_factory=dict)

    def write(self) -> None:
        """Make it the pins."""
        for verb, by_version in self.imports.items():
            if by_version:
                pins.save(verb, by_version)
        if self.multiples:
            pins.save_numbers(self.multiples)

    def text(self) -> str:
        """A line for each, with what differs from the pins."""
        lines = [f"{key}: {found}" for key, found in self.multiples.items()]
        for verb, by_version in self.imports.items():
            for version, names in by_version.items():
                strayed = pins.load(verb).strayed(version, names, own=False)
                more = [f"and {len(strayed) - SHOWN} more"] if len(strayed) > SHOWN else []
                lines.append(" ".join([f"{version} {verb}: {len(names)} names", *strayed[:SHOWN], *more]))
        return "\n".join(lines) + "\n"


def main() -> int:
    """Find out, write where that is asked for, and print."""
    given = _arguments()
    try:
        with tempfile.TemporaryDirectory(prefix="azurelite-guard-") as name:
            found = _found(given, Path(name))
    except (BuildError, RuntimeError) as error:
        sys.stderr.write(f"guard: {error}\n")
        return 1
    if given.write:
        found.write()
    sys.stdout.write(found.text())
    return 0


def _found(given: argparse.Namespace, scratch: Path) -> Found:
    wanted: list[tuple[str, Sequence[str]]] = [(python, ()) for python in given.pythons or interpreters()]
    if not given.pythons:
        # Its imports are not kept: azurelite's own are the same, and nobody minds what an old urllib3 imports.
        wanted += [(python, OLDEST) for python in interpreters()[:1]]
    found = Found()
    built = wheel(scratch)
    for number, (python, packages) in enumerate(wanted):
        folder = scratch / str(number)
        folder.mkdir()
        one = subject(str(_environment(python, built, folder, packages)))
        for verb in () if packages else VERBS:
            found.imports[verb][one.version] = _imports(one, verb, folder)
        if given.instructions:
            found.multiples[pins.key_of(one.version, one.urllib3)] = _count(one, folder)
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Writes the pins of the guard; see the head of this file.")
    parser.add_argument("pythons", nargs="*", metavar="PYTHON", help="interpreters; all that are found when left out")
    parser.add_argument("--write", action="store_true", help="pin what is found")
    parser.add_argument("--no-instructions", dest="instructions", action="store_false", help="imports only: quick")
    return parser.parse_args()


def interpreters() -> list[str]:
    """One of each version, of the search path or of pyenv."""
    found = []
    for version in VERSIONS:
        path = _on_path(f"python{version}") or _of_pyenv(version)
        if path is not None:
            found.append(path)
    return found


def _on_path(name: str) -> Optional[str]:
    """A program that is there and runs; pyenv leaves shims that do not."""
    path = shutil.which(name)
    works = path is not None and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0
    return path if works else None


def _of_pyenv(version: str) -> Optional[str]:
    if shutil.which("pyenv") is None:
        return None
    folder = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=True).stdout.strip()
    paths = sorted(Path(folder, "versions").glob(f"{version}.*/bin/python{version}"))
    return str(paths[-1]) if paths else None


def _environment(python: str, built: Path, folder: Path, packages: Sequence[str]) -> Path:
    """An environment with azurelite and its packages, the newest where nothing else is said; its interpreter."""
    made = folder / "venv"
    done = subprocess.run([python, "-m", "venv", "--without-pip", made], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{python}: {(done.stderr or done.stdout).strip()}")
    install(made / "bin/python", [str(built), *packages])
    return made / "bin/python"


def _imports(one: Subject, verb: str, folder: Path) -> frozenset[str]:
    seen = watch(one, verb, folder)
    if seen.code != 0:
        raise RuntimeError(f"{verb} on {one.version}: exit {seen.code}: {seen.said}")
    return seen.modules


def _count(one: Subject, folder: Path) -> dict[str, float]:
    if shutil.which("valgrind") is None:
        raise BuildError("valgrind is missing: install it, or leave instructions out with --no-instructions")
    return {verb: round(multiple(one, verb, folder), 2) for verb in pins.COUNTED}


if __name__ == "__main__":
    sys.exit(main())
