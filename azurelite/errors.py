"""The tree of errors: every error that azurelite raises on purpose.

::

    AzureliteError
    ├── ConfigError          the YAML or the command line is wrong                      exit 2
    │   └── ConfigProblemsError  several at once; defined in config/schema.py, which collects them
    ├── NotAzureError        the firmware does not prove Azure: no request is sent    exit 0 in `provision`
    ├── DisabledError        azurelite is switched off on this machine                  exit 0
    ├── OutOfOrderError      a call that comes too early or too late
    ├── FabricError          Azure's side gave no usable answer in time                 exit 3 (*)
    │   ├── TransportError     no complete HTTP answer: no connection, timeout, cut off, too large
    │   ├── HttpStatusError    an HTTP answer with a status outside 2xx
    │   ├── DocumentError      an answer that cannot be read (not XML, not JSON, wrong shape)
    │   ├── MediaError         the provisioning media cannot be read
    │   ├── CertificateError   the VM's certificates cannot be fetched or read
    │   └── ReportRefusedError Azure did not accept the health report
    ├── IdentityError        no VM id was found
    ├── MachineError         a file, command or account operation failed on this machine
    │   ├── FileError
    │   └── CommandError
    └── HandlerError         a handler refuses a value or cannot do its work
        └── SkippedError       its work cannot be done here; the step is skipped, or fails if it is required

(*) exit 1 in `provision` and `apply` where Azure accepted the report of it: then Azure was reached.

Besides its message, an error has a ``reason``: the short phrase that Azure's troubleshooting page
for Linux provisioning uses for it, or one of the same form; ``phrase`` is that of its class.
``data`` holds supporting key/value pairs for the report. ``short`` refers to an error whose message
the log already has. The class gives the exit code. No attribute ever holds a secret.
"""

from __future__ import annotations

from types import TracebackType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Self


class AzureliteError(Exception):
    """Base of all errors.

    Args:
        message: one line for a person: what happened, where, and the remedy.
        reason: the phrase reported to Azure; when left out that of the class, or else the message.
        data: supporting data for the report, in the order in which they should appear.
        short: what later lines of the log say in place of the message, as "IMDS unreachable"; None: the message.
        remedy: what helps in this case; None: what the class says.

    Attributes:
        message, data, short: as given.
        reason: as given, or what stands for it.
        phrase: what `reason` is when none is given; None: the message.
        remedy: what helps in general, one sentence; the message has the remedy of the single case.
    """

    exit_code = 1
    phrase: str | None = None
    remedy = "Remove the cause that the message names, then run azurelite again."

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        data: dict[str, str] | None = None,
        short: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.phrase or message
        self.data: dict[str, str] = dict(data or {})
        self.short = short
        if remedy is not None:
            self.remedy = remedy

    def as_dict(self) -> dict[str, object]:
        """JSON-ready: message, reason and data; `read` makes an error of it."""
        return {"message": self.message, "reason": self.reason, "data": self.data}

    @classmethod
    def read(cls, told: object) -> Self:
        """An error that `as_dict` wrote; for this class and those that take the same arguments.

        Raises:
            ValueError: it is no such dict.
        """
        if not isinstance(told, dict) or not isinstance(told.get("message"), str):
            raise ValueError("an error must be an object with a message")
        reason, data = told.get("reason"), told.get("data")
        plain = {str(key): str(value) for key, value in data.items()} if isinstance(data, dict) else {}
        return cls(told["message"], reason=reason if isinstance(reason, str) else None, data=plain)

    def reason_in(self, step: str | None) -> str:
        """The phrase for a report about this step. Without words of its own, the error gets those of the step."""
        if self.reason != self.message or step is None:
            return self.reason
        return f"failed to provision {step}"

    def once(self, said: set[str]) -> str:
        """The text for one line of the log: the message, or `short` where an earlier line had the message.

        Args:
            said: the messages that the log has; this one is added.
        """
        text = self.short if self.short is not None and self.message in said else self.message
        said.add(self.message)
        return text


class ConfigError(AzureliteError):
    """The configuration or the command line is wrong; the message names file, line and key."""

    exit_code = 2
    phrase = "invalid azurelite configuration"
    remedy = "Correct the place that the message names; `azurelite config check` checks the files."


class NotAzureError(AzureliteError):
    """Neither the firmware nor the configuration (`datasource.platform: azure`) says that this is Azure."""

    exit_code = 0
    remedy = "If this machine is on Azure, set `datasource.platform: azure`."


class DisabledError(AzureliteError):
    """azurelite is switched off on this machine: nothing is changed, and Azure is told nothing."""

    exit_code = 0
    remedy = "Remove the switch that the message names, if azurelite should work here."


class OutOfOrderError(AzureliteError):
    """A call that comes too early or too late, as a report of Ready after a required step has failed.

    `reason` and `data` are those of what is in the way, so that `report_failure` can be given this error.
    """

    remedy = "Repair what the message names and run it again, or report the failure."


class FabricError(AzureliteError):
    """Azure's side could not be reached or gave no usable answer in time."""

    exit_code = 3
    remedy = "Check that this VM reaches 169.254.169.254 and 168.63.129.16; the next boot tries again."


NO_TIME = "the deadline has passed"  # the detail of a TransportError when nothing was asked


class TransportError(FabricError):
    """No complete HTTP answer arrived.

    Args:
        kind: "connection timeout", "connection error", "read timeout" or "response too large".
        url: the address of the request.
        detail: the error text of the network stack.
        cause: the likely cause and its remedy; it becomes the message.
        short: see `AzureliteError`.
    """

    def __init__(self, kind: str, *, url: str, detail: str, cause: str | None = None, short: str | None = None) -> None:
        message = f"{kind} at {url}: {detail}" if cause is None else cause
        exception = detail if cause is None else f"{detail}: {cause}"
        super().__init__(message, reason=kind, data={"url": url, "exception": exception}, short=short)
        self.kind = kind
        self.url = url
        self.detail = detail


class HttpStatusError(FabricError):
    """An HTTP answer outside 2xx.

    Args:
        status: the HTTP status code.
        url: the address of the request.
        body: the answer's body, for callers that must read it; never printed.
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
        source: the name of the document for messages, as "IMDS instance document" or "goal state".
        detail: what is wrong and where; never a value.
        reason: the phrase reported to Azure.
        transient: a retry may get a readable document.
    """

    def __init__(self, source: str, detail: str, *, reason: str | None = None, transient: bool = False) -> None:
        super().__init__(f"{source}: {detail}", reason=reason or f"error parsing {source}", data={"exception": detail})
        self.source = source
        self.transient = transient


class MediaError(FabricError):
    """The provisioning media cannot be read, or its content is not in the form that Azure writes."""

    phrase = "error reading provisioning media"
    remedy = "Check the provisioning disc; a redeployed VM gets a new one."


class CertificateError(FabricError):
    """The VM's certificates cannot be fetched, decrypted or read."""

    phrase = "error fetching certificates"
    remedy = "Check that `openssl` is installed and that this VM reaches 168.63.129.16."


class ReportRefusedError(FabricError):
    """Azure did not accept the health report; never treat this as a success."""

    phrase = "health report refused"
    remedy = "Run azurelite again: it fetches a new goal state and reports once more."


class IdentityError(AzureliteError):
    """Neither the firmware nor IMDS gives a VM id."""

    phrase = "failure to identify Azure VM ID"
    remedy = "Check that this VM reaches 169.254.169.254, or that its firmware has an id."


class MachineError(AzureliteError):
    """An operation on this machine failed."""


class FileError(MachineError):
    """A file operation failed; the message holds the guest path and the system's reason."""

    remedy = "Check that the file system is writable and has room."


class CommandError(MachineError):
    """A command failed, timed out or is not installed."""

    remedy = "Run the command by hand to see what it lacks, or install the program that the message names."


class CannotRunError(CommandError):
    """A program is not installed, or this machine cannot run it: another program may do its work."""

    remedy = "Install the program for this machine, or another that does its work."


class HandlerError(AzureliteError):
    """A handler refuses a value, or cannot do its work."""

    remedy = "Correct the image, configuration or deployment; then run `azurelite provision`, or `apply` after Ready."


class SkippedError(HandlerError):
    """A handler cannot do its work here, for example run a program of a root that is not the running system.

    Its step is not done: it is skipped, and a later boot does it. If the step is required, it has failed.
    """

    remedy = "Nothing is to be done: a later boot of the system does it."


def place_of(traceback: TracebackType | None) -> str:
    """File and line of the innermost frame of a traceback, as "plan.py:12"; "?" where that is not known."""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return "?"
    return f"{traceback.tb_frame.f_code.co_filename.rpartition('/')[2]}:{traceback.tb_lineno}"
