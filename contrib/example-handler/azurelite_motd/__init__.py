"""`motd`: a line about the VM in /etc/motd. An example of a handler that comes with a package of its own."""

from __future__ import annotations

from dataclasses import dataclass

from azurelite.errors import HandlerError
from azurelite.handlers import Context

SUMMARY = "greet those who log in with the VM's size and region"
NEEDS = ("local_hostname",)  # without these fields of the metadata the handler is skipped
USES = ("vm_size", "region")  # and with other values of these it runs again
FREQUENCY = "instance"  # once per VM; "boot": at every boot; "once": once on this machine
REQUIRED = False  # True: the VM is not ready when it fails
TIMEOUT = 20.0  # seconds; then it is ended, and has failed


@dataclass(frozen=True)
class Options:
    """Options of `motd`.

    Attributes:
        greeting: the first words.
    """

    greeting: str = "Welcome to"

    def __post_init__(self) -> None:
        if "\n" in self.greeting:
            raise ValueError("greeting must be one line")


def apply(ctx: Context, options: Options) -> None:
    """Write the line. Raises HandlerError where the guest has no /etc, FileError where it cannot be written."""
    if not ctx.system.files.is_dir("/etc"):
        raise HandlerError("there is no /etc: give `--root` the root of a system")
    known = [text for text in (ctx.metadata.vm_size, ctx.metadata.region) if text is not None]
    about = f" ({', '.join(known)})" if known else ""
    line = f"{options.greeting} {ctx.metadata.local_hostname}{about}\n"
    # Compares first, records the change, and acts unless the run is dry: the three promises of a handler.
    ctx.system.files.rewrite("/etc/motd", line.encode())
