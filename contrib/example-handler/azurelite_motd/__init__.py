"""`motd`: write a line about the VM to /etc/motd. An example of a handler in its own package."""

from __future__ import annotations

from dataclasses import dataclass

from azurelite.errors import HandlerError
from azurelite.handlers import Context

SUMMARY = "greet those who log in with the VM's size and region"
NEEDS = ("local_hostname",)  # the handler is skipped without these metadata fields
USES = ("vm_size", "region")  # further fields that it reads; it runs again when one changes
FREQUENCY = "instance"  # once per VM; "boot": at every boot; "once": once on this machine
REQUIRED = False  # True: if it fails, provisioning fails
TIMEOUT = 20.0  # seconds; then the handler is stopped, and has failed


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
    """Write the line. Raises HandlerError if the guest has no /etc, FileError if the file cannot be written."""
    if not ctx.system.files.is_dir("/etc"):
        raise HandlerError("/etc does not exist: set `--root` to the root of a system")
    known = [text for text in (ctx.metadata.vm_size, ctx.metadata.region) if text is not None]
    about = f" ({', '.join(known)})" if known else ""
    line = f"{options.greeting} {ctx.metadata.local_hostname}{about}\n"
    # `rewrite` compares first, records the change, and writes unless this is a dry run. Every handler must do these.
    ctx.system.files.rewrite("/etc/motd", line.encode())
