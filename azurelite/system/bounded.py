"""Work on untrusted data: its output is cut, it is killed after a time, and its mounts are seen by nobody else."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import threading
import time
from typing import Callable, Iterator, Sequence

from azurelite.errors import MachineError

_NEW_MOUNTS = 0x00020000  # CLONE_NEWNS
_PRIVATE = 0x4000 | 0x40000  # MS_REC | MS_PRIVATE
_MOST = 4 * 1024 * 1024  # bytes of an answer


def unpacked(program: str, data: bytes, *, limit: int, seconds: float) -> bytes:
    """The first `limit` bytes that a decompressor writes; b"" if it cannot unpack the data.

    Args:
        program: its path; it is called with `-dc`.
        data: its standard input.
        limit: bytes.
        seconds: after which it is killed.
    """
    with tempfile.TemporaryFile() as packed:
        packed.write(data)
        packed.seek(0)
        process = subprocess.Popen(
            [program, "-dc"], stdin=packed, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/"
        )
        stop = threading.Timer(seconds, process.kill)
        stop.start()
        try:
            return process.stdout.read(limit) if process.stdout is not None else b""
        finally:
            stop.cancel()
            process.kill()
            process.communicate()


@contextlib.contextmanager
def running(argv: Sequence[str], *, ready: Callable[[], bool], seconds: float) -> Iterator[None]:
    """Run a program in the background for the length of a `with` block.

    Args:
        argv: its path and arguments.
        ready: whether it does its work by now.
        seconds: how long it may take until then.

    Raises:
        MachineError: it ended, or is not ready in time.
    """
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + seconds
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                raise MachineError(f"{os.path.basename(argv[0])} does not serve the image: check that it can read it")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def in_own_mounts(work: Callable[[], bytes], *, seconds: float) -> bytes:
    """The result of `work`, which runs in a child with mounts of its own: they end with it, however it ends.

    Args:
        work: called in the child.
        seconds: after which the child and what it started are killed.

    Raises:
        MachineError: the kernel refuses mounts of its own, or the time is over, or the child failed.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _work_and_end(work, writing)
    os.close(writing)
    got = bytearray()
    end = time.monotonic() + seconds
    try:
        while len(got) < _MOST and time.monotonic() < end:
            if select.select([reading], [], [], 0.2)[0]:
                chunk = os.read(reading, 65536)
                if not chunk:
                    break
                got += chunk
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):  # it has no group yet, or no other process is left in it
            os.killpg(child, signal.SIGKILL)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if not got.endswith(b"\0"):
        raise MachineError("the image was not examined in time, or its file systems cannot be mounted here")
    return bytes(got[:-1])


def _work_and_end(work: Callable[[], bytes], writing: int) -> None:
    import ctypes

    try:
        os.setpgid(0, 0)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_NEW_MOUNTS) == 0 and libc.mount(b"none", b"/", None, _PRIVATE, None) == 0:
            with open(writing, "wb") as file:
                file.write(work() + b"\0")
    finally:
        os._exit(0)
