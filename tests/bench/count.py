"""What need not be timed: processes and connections by strace, instructions by valgrind; once a row, off the clock.

A tool that is not there leaves its figures out.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Optional, Sequence

from bench.figures import Counts
from bench.rows import ENVIRONMENT, Place, Row

CACHEGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
CALLS = "execve,clone,clone3,fork,vfork,connect"


def counts(row: Row, place: Place, *, instructions: bool) -> Counts:
    """Run a row under each tool."""
    processes, connections = _traced(row, place) if shutil.which("strace") else (None, None)
    row.prepare(place)
    words = own_name(row.words(place), row.names)
    return Counts(
        instructions=instructions_of(words, place.scratch) if instructions and shutil.which("valgrind") else None,
        processes=processes,
        connections=connections,
    )


def own_name(words: Sequence[str], wanted: bool) -> list[str]:
    """A command as the launcher's -u has it run."""
    return [*(["unshare", "--uts"] if wanted else []), *words]


def _traced(row: Row, place: Place) -> tuple[int, int]:
    """How many processes ran, the first among them, and how many connections to the fabric they made."""
    row.prepare(place)
    log = place.scratch / "strace.txt"
    command = ["strace", "-f", "-qq", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", log]
    _run([*command, *own_name(row.words(place), row.names)])
    return read_trace(log.read_text(), (place.door.imds, place.door.wireserver))


def read_trace(text: str, doors: Sequence[str]) -> tuple[int, int]:
    """Processes and connections in what strace wrote. Threads are no processes."""
    # With -f a call that others interrupt is in two pieces; flags stand in the first, so that one is counted.
    begun = [line for line in text.splitlines() if "resumed>" not in line]
    forks = [line for line in begun if re.search(r"\b(clone3?|v?fork)\(", line) and "CLONE_THREAD" not in line]
    ports = {door.rsplit(":", 1)[1] for door in doors}
    connects = [re.search(r"\bconnect\(.*sin_port=htons\((\d+)\)", line) for line in begun]
    return 1 + len(forks), sum(1 for found in connects if found is not None and found[1] in ports)


def instructions_of(words: Sequence[str], scratch: Path, *, environment: Optional[dict[str, str]] = None) -> int:
    """User-space instructions of a command and of all that it starts.

    A child that is forked and runs nothing else begins with its parent's count, so only what is executed is added.
    Raises ValueError when valgrind tells nothing.
    """
    logs = scratch / "valgrind"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    given = {**ENVIRONMENT, "PYTHONHASHSEED": "0", **(environment or {})}
    _run([*CACHEGRIND, "--trace-children=yes", f"--log-file={logs}/%p.log", *words], given)
    return read_logs([path.read_text(errors="replace") for path in logs.iterdir()])


def read_logs(texts: Sequence[str]) -> int:
    """The sum over cachegrind's logs, one of each process."""
    programs: dict[str, tuple[int, str, str]] = {}
    for text in texts:
        refs = re.findall(r"==(\d+)== I\s+refs:\s+([\d,]+)", text)
        command = re.search(r"Command: (.*)", text)
        parent = re.search(r"Parent PID: (\d+)", text)
        if refs and command and parent:
            programs[refs[-1][0]] = (int(refs[-1][1].replace(",", "")), command[1], parent[1])
    if not programs:
        raise ValueError("valgrind told no number of instructions")
    alone = [
        count
        for count, command, parent in programs.values()
        if parent not in programs or programs[parent][1] != command
    ]
    return sum(alone)


def _run(command: Sequence[object], environment: Optional[dict[str, str]] = None) -> None:
    subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=environment or ENVIRONMENT, timeout=600, check=True,
    )  # fmt: skip
