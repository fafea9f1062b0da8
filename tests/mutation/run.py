"""Break the code in small ways, one at a time, and see that a test fails: `tox -e mutation`.

The operators are cosmic-ray's, the run is not: cosmic-ray starts one fixed command for every mutant, which would be the
whole suite each time, and mutmut replaces the functions by its own, which this suite's tests of signatures, imports and
forked processes see. Here each mutant meets only the tests that run its line, those that run the least first, until
one fails. A survivor must stand in `survivors.txt` with a reason.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from queue import SimpleQueue

from coverage import CoverageData

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from mutation.always import ALWAYS
from mutation.mutants import Mutant, chosen, drawn, mutants_of

ROOT = Path(__file__).parents[2]
PACKAGES = ("run", "state", "fabric")
SURVIVORS = Path(__file__).parent / "survivors.txt"
LEAST_SCORE = 0.85
MINUTES_A_MUTANT = 5
# Internal error, no tests: pytest did not try the tests. It says wrong usage (4) where the fixtures cannot be imported
# with the mutant, which every test notices.
NO_VERDICT = (3, 5)
MOST_UNFIT = 5  # tests that a busy machine may fail without any mutant: they are not used
MARKS = "not namespaces and not thorough"
# Tests that coverage does not see at work: of a fresh interpreter, and thorough ones, too slow for every mutant.
BESIDE = {
    "azurelite/fabric/certificates.py": ["tests/fabric/test_fabric_certificates.py"],
    "azurelite/run/background.py": ["tests/cli/test_detach.py"],
    "azurelite/run/plugin_interpreter.py": ["tests/test_plugins.py"],
}

_moments = count(1)


class Copy:
    """A copy of the repository in which one mutant at a time is tried."""

    def __init__(self, folder: Path, origin: Path) -> None:
        self.folder, self.origin = folder, origin
        listed = ["git", "ls-files", "-co", "--exclude-standard"]
        for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines():
            if (origin / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(origin / name, folder / name, follow_symlinks=False)

    @property
    def said(self) -> Path:
        """The file with the output of the last run of pytest."""
        return self.folder / "said.txt"

    def pytest(self, *words: str, seconds: float) -> int:
        """Run pytest here; its exit status, 1 when it takes too long."""
        path = os.pathsep.join([str(self.folder), str(self.folder / "tests")])
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", MARKS]
        with self.said.open("wb") as said:
            process = subprocess.Popen(
                [*command, *words],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": path},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return 1
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what a mutant left running
            process.wait()

    def put(self, file: str, text: str) -> None:
        """Write a file, with a time of its own: byte code is kept by the second and the size."""
        path = self.folder / file
        path.write_text(text, encoding="utf-8")
        moment = 1_000_000_000 + next(_moments)
        os.utime(path, (moment, moment))

    def listed(self, tests: list[str]) -> Path:
        """A file that names tests for pytest."""
        path = self.folder / "chosen-tests.txt"
        path.write_text("\n".join(tests) + "\n", encoding="utf-8")
        return path

    def kills(self, mutant: Mutant, tests: list[str]) -> bool:
        """A test fails with the mutant."""
        text = mutant.text(self.origin)
        if text is None:  # of `--all`: Python cannot tell it from the original
            return True
        self.put(mutant.file, text)
        try:
            words = ["-x", "-p", "mutation.alarm", "-m", "not namespaces", f"@{self.listed(tests)}"]
            status = self.pytest(*words, seconds=60 * MINUTES_A_MUTANT)
            return status not in (0, *NO_VERDICT)
        finally:
            self.put(mutant.file, (self.origin / mutant.file).read_text(encoding="utf-8"))


class Covered:
    """Which tests run which lines."""

    def __init__(self, copy: Copy, tests: list[str]) -> None:
        sources = [f"--cov=azurelite.{name}" for name in (*PACKAGES, "datasource")]
        words = ["-n", "2", "--cov-context=test", "--cov-report=", *sources, *tests]
        status = copy.pytest(*words, seconds=3600)
        said = copy.said.read_text(encoding="utf-8", errors="replace")
        unfit = {line.split()[1] for line in said.splitlines() if line.startswith("FAILED ")}
        if status not in (0, 1) or len(unfit) > MOST_UNFIT or bool(unfit) != bool(status):
            print(said[-20_000:], file=sys.stderr)
            raise SystemExit(f"the tests fail without any mutant (exit status {status}): see above")
        for test in sorted(unfit):
            print(f"not used, because it fails without any mutant: {test}", flush=True)
        data = CoverageData(str(copy.folder / ".coverage"))
        data.read()
        self._lines: dict[str, dict[int, set[str]]] = {}
        self._weight: dict[str, int] = {}
        for path in data.measured_files():
            lines = self._lines[str(Path(path).relative_to(copy.folder))] = {}
            for line, contexts in data.contexts_by_lineno(path).items():
                lines[line] = {context.rpartition("|")[0] for context in contexts if context} - unfit
                for test in lines[line]:
                    self._weight[test] = self._weight.get(test, 0) + 1
        # A test that pytest does not find is a status that is not 0, and must not count as a kill.
        if copy.pytest("--collect-only", f"@{copy.listed(list(self._weight))}", seconds=600) != 0:
            raise SystemExit("the names of the tests that coverage wrote down are not those that pytest takes")

    def by(self, mutant: Mutant) -> list[str]:
        """The tests to try, those first that run the least: of the line, or of the file where that is not known."""
        lines = self._lines.get(mutant.file, {})
        tests = lines.get(mutant.line, set()) if mutant.local else set().union(*lines.values())
        return sorted(tests, key=lambda test: (self._weight[test], test)) + BESIDE.get(mutant.file, [])


def reasons() -> dict[str, str]:
    """Key of a survivor -> why no test can or need notice it."""
    lines = SURVIVORS.read_text(encoding="utf-8").splitlines() if SURVIVORS.exists() else []
    rows = [line.rpartition(" | ") for line in lines if line and not line.startswith("#")]
    return {key: reason for key, _, reason in rows}


def all_mutants() -> list[Mutant]:
    """Those of the three packages."""
    files = [path for name in PACKAGES for path in sorted((ROOT / "azurelite" / name).rglob("*.py"))]
    return [mutant for path in files for mutant in mutants_of(ROOT, str(path.relative_to(ROOT)))]


def try_all(mutants: list[Mutant], copies: list[Copy], covered: Covered) -> dict[str, bool]:
    """Key -> a test noticed it; said as it goes."""
    free: SimpleQueue[Copy] = SimpleQueue()
    for copy in copies:
        free.put(copy)
    killed: dict[str, bool] = {}

    def one(mutant: Mutant) -> None:
        tests = covered.by(mutant)
        copy = free.get()
        started = time.monotonic()
        try:
            killed[mutant.key] = bool(tests) and copy.kills(mutant, tests)
        finally:
            free.put(copy)
        said = "killed" if killed[mutant.key] else f"SURVIVED {len(tests)} tests"
        print(f"{len(killed)}/{len(mutants)} {time.monotonic() - started:.0f} s {said}: {mutant.key}", flush=True)

    with ThreadPoolExecutor(len(copies)) as pool:
        list(pool.map(one, mutants))
    return killed


def verdict(killed: dict[str, bool], always: set[str]) -> int:
    """Print what came of it; 0 where it is good enough."""
    known = reasons()
    survivors = [key for key, dead in killed.items() if not dead]
    unexplained = [key for key in survivors if key not in known or key in always]
    score = 1 - len(survivors) / len(killed)
    print(f"\n{len(killed)} mutants, {len(survivors)} survived, {len(unexplained)} without a reason; score {score:.1%}")
    for key in unexplained:
        print(f"kill it by a test, or explain it in {SURVIVORS.name}: {key}")
    for key in known.keys() & {key for key, dead in killed.items() if dead}:
        print(f"take it out of {SURVIVORS.name}, a test notices it: {key}")
    return 0 if score >= LEAST_SCORE and not unexplained else 1


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="try every mutant, for hours")
    parser.add_argument("--count", type=int, default=400, help="mutants in the sample (400)")
    parser.add_argument("--workers", type=int, default=2, help="mutants tried at a time (2)")
    parser.add_argument("--only", action="append", metavar="TEXT", help="mutants whose key holds one of the texts")
    parser.add_argument("--list", action="store_true", help="print the keys and try none")
    parser.add_argument("tests", nargs="*", help="paths of tests (all)")
    arguments = parser.parse_args()
    always = [chosen(ROOT, *row) for row in ALWAYS]
    found = [mutant for mutant in all_mutants() if any(text in mutant.key for text in arguments.only or [""])]
    sample = always + (found if arguments.all else drawn(found, arguments.count, ROOT))
    if arguments.list:
        print(*(mutant.key for mutant in sample), sep="\n")
        print(f"{len(sample)} of {len(found) + len(always)}")
        return 0
    with tempfile.TemporaryDirectory(prefix="azurelite-mutation-") as folder:
        # The repository may change during the run; what is broken and mended is a copy of how it was at the start.
        origin = Copy(Path(folder, "origin"), ROOT).folder
        copies = [Copy(Path(folder, str(number)), origin) for number in range(arguments.workers)]
        covered = Covered(copies[0], arguments.tests)
        return verdict(try_all(sample, copies, covered), {mutant.key for mutant in always})


if __name__ == "__main__":
    sys.exit(main())
