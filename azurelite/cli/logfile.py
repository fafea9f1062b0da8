"""The log of the runs: /var/log/azurelite.log, and the syslog daemon of a system without systemd's journal.

Only verbs that change the machine or report to Azure keep a log, and never in a dry run. A log that cannot be written
costs one note.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
import time
from typing import Iterator, Optional

import azurelite
from azurelite import layout
from azurelite.system.root import Root

LOG = logging.getLogger(__name__)

LIMIT = 1024 * 1024  # bytes of the log; then it becomes the older one, and a new one begins
_LONGEST = 8192  # characters of a line
_SOCKETS = ("/dev/log", "/var/run/log")  # Linux; the BSDs
_JOURNAL = "/run/systemd/journal/socket"
_DAEMON = 3 << 3  # the syslog facility
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Kept(logging.Handler):
    """A place that keeps the log after the run.

    Attributes:
        problem: why nothing is kept; None if all is well, or nothing was logged yet.
        summary: an error that ends the verb is followed by what to do, and by the place of the log.
    """

    problem: Optional[str] = None
    summary = False


class LogFile(Kept):
    """Appends lines to a log below the root. It is opened when the first line comes.

    Args:
        root: the guest.
        path: guest path of the log.
        limit: bytes; a longer log is renamed to `PATH.1`, which replaces an older one.
    """

    def __init__(self, root: Root, path: str = layout.LOG, *, limit: int = LIMIT) -> None:
        super().__init__()
        self.path = path
        self._root = root
        self._limit = limit
        self._folder = self._file = -1
        self._name = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line. After the first failure, nothing more is written."""
        if self.problem is not None:
            return
        try:
            if self._file < 0:
                self._folder, self._name = self._root.open_parent(self.path, beneath=self.path)
                self._open()
                self._write(
                    _line(time.time(), "info", f"log: azurelite {azurelite.__version__} begins, process {os.getpid()}")
                )
            self._write(_line(record.created, record.levelname.lower(), with_source(record)))
        except OSError as error:
            self.problem = error.strerror or "it cannot be written"
            # For another user than root that is no news: their other writes will fail as well.
            LOG.log(
                logging.DEBUG if os.geteuid() else logging.INFO, "log: %s is not written: %s", self.path, self.problem
            )

    def close(self) -> None:
        """Close the log."""
        for descriptor in (self._file, self._folder):
            if descriptor >= 0:
                os.close(descriptor)
        self._folder = self._file = -1
        super().close()

    def _write(self, line: bytes) -> None:
        found = os.fstat(self._file)
        if found.st_size > 0 and found.st_size + len(line) > self._limit:
            self._turn(found)
        os.write(self._file, line)  # in one call: another process may append as well

    def _turn(self, full: os.stat_result) -> None:
        """Begin a new log, unless another process has just done so."""
        try:
            now = os.stat(self._name, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            now = None
        if now is not None and (now.st_dev, now.st_ino) == (full.st_dev, full.st_ino):
            os.rename(self._name, f"{self._name}.1", src_dir_fd=self._folder, dst_dir_fd=self._folder)
        os.close(self._file)
        self._file = -1
        self._open()

    def _open(self) -> None:
        try:
            self._file = os.open(self._name, _FLAGS | os.O_CREAT | os.O_EXCL, 0o640, dir_fd=self._folder)
        except FileExistsError:
            self._file = os.open(self._name, _FLAGS, dir_fd=self._folder)
            found = os.fstat(self._file)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or found.st_uid not in (0, os.geteuid()):
                raise OSError(errno.EPERM, "it is no regular file of its own, or another user owns it") from None
            if found.st_mode & 0o027 and found.st_uid == os.geteuid():  # an image or a rotation may have left it open
                os.fchmod(self._file, stat.S_IMODE(found.st_mode) & ~0o027)
        else:
            os.fchmod(self._file, 0o640)  # whatever the umask


class Syslog(Kept):
    """Sends lines to the syslog daemon. A line that it does not take at once is lost.

    Args:
        address: host path of its socket; it need not exist yet.
    """

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address
        self._socket: Optional[socket.socket] = None

    def emit(self, record: logging.LogRecord) -> None:
        """Send a line."""
        text = printable(with_source(record))[:_LONGEST]
        line = f"<{_DAEMON | priority(record.levelno)}>azurelite[{os.getpid()}]: {text}".encode(errors="replace")
        try:
            if self._socket is None:
                self._socket = _connected(self._address)
            self._socket.send(line)
        except OSError:  # not started yet, restarted, or busy
            self._hang_up()

    def close(self) -> None:
        """Close the connection."""
        self._hang_up()
        super().close()

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None


def keep_log(root: str, *, summary: bool = False) -> None:
    """Keep the log from here to the end of the verb.

    Args:
        root: host path of the guest's `/`.
        summary: see `Kept`.
    """
    guest = Root(root)
    logger = logging.getLogger("azurelite")
    if layout.KERNEL_DEBUG_WORD in guest.text(layout.KERNEL_COMMAND_LINE).split() and logger.level == logging.INFO:
        logger.setLevel(logging.DEBUG)
        for handler in logger.handlers:
            handler.setLevel(logging.DEBUG)
    file = LogFile(guest)
    file.summary = summary
    logger.addHandler(file)
    if guest.is_host and not os.path.exists(_JOURNAL):
        address = next((path for path in _SOCKETS if os.path.exists(path)), _SOCKETS[0])
        logger.addHandler(Syslog(address))
    logger.setLevel(min(logger.level, logging.INFO))


def keepers() -> Iterator[Kept]:
    """The places that keep the log of this verb."""
    return (one for one in logging.getLogger("azurelite").handlers if isinstance(one, Kept))


def keep_line(level: int, text: str) -> None:
    """Keep a line that standard output or standard error has already."""
    record = logging.LogRecord("azurelite.cli.result", level, __file__, 0, "%s", (text,), None)
    for one in keepers():
        one.handle(record)


def summary(remedy: str) -> list[str]:
    """What the console says at the end of a failed run: what to do, and where the log is."""
    files = [one for one in keepers() if isinstance(one, LogFile) and one.summary]
    if not files:
        return []
    if files[0].problem is not None and os.geteuid():
        return [f"what to do: {remedy}"]  # such a user could write no status either
    where = f"log: {files[0].path}; " if files[0].problem is None else ""  # a note has named the problem
    return [f"what to do: {remedy}", f"{where}see also `azurelite status --long`"]


def with_source(record: logging.LogRecord) -> str:
    """The text of a record with its source: its first word, as in "imds: unreachable", or the logger's module.

    Without the traceback, whose text may quote a secret.
    """
    text = record.getMessage()
    return text if _names_source(text) else f"{record.name.rpartition('.')[2]}: {text}"


def printable(text: str) -> str:
    """The text in one line: whatever a terminal would obey is escaped."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def priority(level: int) -> int:
    """The number that syslog and the journal give a level."""
    if level >= logging.WARNING:
        return 3 if level >= logging.ERROR else 4
    return 6 if level >= logging.INFO else 7


def _line(when: float, level: str, text: str) -> bytes:
    """A line of the log file, as `2026-11-28T22:49:05.123Z info: hostname: write /etc/hostname`."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(when))
    return f"{stamp}.{int(when % 1 * 1000):03d}Z {level}: {printable(text)[:_LONGEST]}\n".encode(errors="replace")


def _names_source(text: str) -> bool:
    """Whether the text begins with a handler, a source of metadata or the like: one word, as `run-1` or `pkg:apply`."""
    first, colon, _ = text.partition(": ")
    return colon != "" and first.translate({ord(sign): "_" for sign in ".:-"}).isidentifier()


def _connected(address: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.connect(address)
    except OSError:
        made.close()
        raise
    return made
