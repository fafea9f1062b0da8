"""`hostname`: the name given at creation, in /etc/hostname and in the running kernel.

What is repaired, and how: blanks around the name and a dot at its end go; characters that no host name may
have become `-`; `-` at either end of a label goes; a name longer than the kernel's 64 characters is cut at its
first dot, and then to 63. What is refused: a name of which nothing is left.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from azurelite.config import Frequency
from azurelite.errors import HandlerError
from azurelite.handlers import Context

SUMMARY = "set the host name"
NEEDS = ("local_hostname",)
FREQUENCY: Frequency = "instance"
REQUIRED = False  # a VM with the image's name can be reached and repaired; a VM that Azure deletes cannot

_KERNEL_LIMIT = 64  # characters, Linux's __NEW_UTS_LEN
_LABEL_LIMIT = 63  # characters, RFC 1123
_ILLEGAL = r"[^A-Za-z0-9.-]"


@dataclass(frozen=True)
class Options:
    """Options of `hostname`.

    Attributes:
        fqdn: what becomes of a name with dots: "short" keeps its first label, "keep" all of it.
    """

    fqdn: Literal["short", "keep"] = "short"


def apply(ctx: Context, options: Options) -> None:
    """Set the host name. Raises HandlerError for a name beyond repair, MachineError when it cannot be set."""
    given = ctx.metadata.local_hostname or ""
    name = usable_name(given, keep_domain=options.fqdn == "keep")
    if name != given:
        ctx.note(f"Azure's host name {given[:100]!r} became {name!r}")
    ctx.system.set_kernel_hostname(name)
    ctx.system.files.write("/etc/hostname", f"{name}\n".encode(), mode=0o644)


def usable_name(given: str, *, keep_domain: bool) -> str:
    """The name as a machine can bear it. Raises HandlerError when nothing is left of it."""
    labels = [re.sub(_ILLEGAL, "-", label).strip("-")[:_LABEL_LIMIT].rstrip("-") for label in given.strip().split(".")]
    labels = [label for label in labels if label]
    if not labels:
        raise HandlerError(
            f"{given[:100]!r} cannot be made a host name: it needs a letter or a digit",
            reason="failed to provision hostname",
            data={"error": "invalid host name"},
        )
    whole = ".".join(labels)
    return whole if keep_domain and len(whole) <= _KERNEL_LIMIT else labels[0]
