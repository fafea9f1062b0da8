"""The tree of errors. Every error that azurelite raises on purpose stands here.

::

    AzureliteError
    ├── ConfigError          the YAML or the command line is wrong                      exit 2
    │   └── ConfigProblemsError  several at once; it stands in schema.py, beside what collects them
    ├── NotAzureError        the firmware does not prove Azure: nothing may be dialled  exit 0 in `provision`
    ├── FabricError          Azure's side gave no usable answer in time                 exit 3
    │   ├── TransportError     no HTTP answer: no connection, a time-out, a torn line, too many bytes
    │   ├── HttpStatusError    an HTTP answer with an unwelcome status
    │   ├── DocumentError      an answer that cannot be read (not XML, not JSON, wrong shape)
    │   ├── MediaError         the provisioning media cannot be read
    │   ├── CertificateError   the VM's certificates cannot be had or read
    │   └── ReportRefusedError Azure did not take the health report
    ├── IdentityError        no VM id to be had
    ├── MachineError         a file, command or account operation failed on this machine
    │   ├── FileError
    │   └── CommandError
    └── HandlerError         a handler refuses a value or cannot do its work

An error knows three things besides its message: ``reason``, the short phrase that Azure's
troubleshooting page for Linux provisioning knows it by; ``data``, supporting key/value pairs
for the report; and, through its class, the exit code. None of them ever holds a secret.
"""

from __future__ import annotations

from types import TracebackType


class AzureliteError(Exception):
    """Base of all errors.

    Args:
        message: one sentence for a person: what, where, and the remedy.
        reason: the phrase reported to Azure; the message when left out.
        data: supporting data for the report, in the order in which they should appear.
    """

    exit_code = 1

    def __init__(self, message: str, *, reason: str | None = None, data: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or message
        self.data: dict[str, str] = dict(data or {})


class ConfigError(AzureliteError):
    """The configuration or the command line is wrong; the message names file, line and key."""

    exit_code = 2


class NotAzureError(AzureliteError):
    """The firmware does not say that this is Azure, and no administrator asserted it."""

    exit_code = 0


class FabricError(AzureliteError):
    """Azure's side could not be reached or gave no usable answer in time."""

    exit_code = 3


class TransportError(FabricError):
    """No complete HTTP answer arrived.

    Args:
        kind: "connection timeout", "connection error", "read timeout" or "response too large".
        url: the address that was asked.
        detail: what the network stack said.
    """

    def __init__(self, kind: str, *, url: str, detail: str) -> None:
        super().__init__(f"{kind} asking {url}: {detail}", reason=kind, data={"url": url, "exception": detail})
        self.kind = kind
        self.url = url
        self.detail = detail


class HttpStatusError(FabricError):
    """An HTTP answer outside 2xx.

    Args:
        status: the HTTP status code.
        url: the address that was asked.
        body: the answer's body, for callers that must read it (never printed).
    """

    def __init__(self, status: int, *, url: str, body: bytes = b"") -> None:
        super().__init__(
            f"HTTP {status} from {url}",
            reason=f"http error {status}",
            data={"http_code": str(status), "url": url},
        )
        self.status = status
        self.url = url
        self.body = body


class DocumentError(FabricError):
    """A document from Azure cannot be read.

    Args:
        source: what was read, in a reader's words ("IMDS instance document", "goal state").
        detail: what is wrong and where, without quoting values.
        reason: the phrase reported to Azure.
        transient: the fabric may answer better when asked again.
    """

    def __init__(self, source: str, detail: str, *, reason: str | None = None, transient: bool = False) -> None:
        super().__init__(f"{source}: {detail}", reason=reason or f"error parsing {source}", data={"exception": detail})
        self.source = source
        self.transient = transient


class MediaError(FabricError):
    """The provisioning media cannot be read, or what is on it is not what Azure writes."""


class CertificateError(FabricError):
    """The VM's certificates cannot be fetched, decrypted or read."""


class ReportRefusedError(FabricError):
    """Azure did not accept the health report; it must never be taken for a success."""


class IdentityError(AzureliteError):
    """Neither the firmware nor IMDS names this VM."""


class MachineError(AzureliteError):
    """An operation on this machine failed."""


class FileError(MachineError):
    """A file operation failed; the message holds the guest path and the system's reason."""


class CommandError(MachineError):
    """A command failed, timed out or is not installed."""


class HandlerError(AzureliteError):
    """A handler refuses a value, or cannot do its work."""


def place_of(traceback: TracebackType | None) -> str:
    """Where a defect struck: file and line of the innermost frame, "?" where that is not known."""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return "?"
    return f"{traceback.tb_frame.f_code.co_filename.rpartition('/')[2]}:{traceback.tb_lineno}"
