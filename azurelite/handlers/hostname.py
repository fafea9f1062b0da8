"""`hostname`: the name given at creation, in the places that the system keeps it and in the running kernel.

What is repaired, and how: blanks around the name and a dot at its end go; characters that no host name may
have become `-`; `-` at either end of a label goes; a name longer than the kernel's 64 characters is cut at its
first dot, and then to 63; 10.0.0.4 becomes ip-10-0-0-4. What is refused: a name of which nothing is left.

With `frequency: boot` a name that somebody has given the machine since azurelite did stays. Azure's DNS knows a VM by
what its DHCP client says: where the name has changed, the one that runs is asked to say it again.
"""

from __future__ import annotations

import logging
import re
from typing import Literal, Optional, Union

from azurelite.config.load import Frequency
from azurelite.errors import FileError, HandlerError
from azurelite.handlers import Context
from azurelite.record import Record
from azurelite.system.network.hostnames import answered_by_nss, static_name, write_hosts, write_name

LOG = logging.getLogger(__name__)

SUMMARY = "set the host name"
NEEDS = ("local_hostname",)
FREQUENCY: Frequency = "instance"
REQUIRED = False  # a VM with the image's name can be reached and repaired; a VM that Azure deletes cannot

_KERNEL_LIMIT = 64  # characters, Linux's __NEW_UTS_LEN
_LABEL_LIMIT = 63  # characters, RFC 1123
_ILLEGAL = r"[^A-Za-z0-9.-]"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_MEMORY = "hostname"


class Options(Record):
    """Options of `hostname`.

    Attributes:
        name: the name, in place of the one that Azure has.
        fqdn: what becomes of a name with dots: "short" keeps its first label, "keep" all of it; "domain" makes it
            the first label and `domain`.
        domain: the domain for "domain", as "corp.example"; with "short" it stands in /etc/hosts alone.
        hosts: true: the name gets a line in /etc/hosts unless it has one; "auto": only where that file is there and
            nothing else answers for the name (nss-myhostname, nss-resolve); false: never.
        publish: have the running DHCP client tell Azure's DNS a name that has changed, and see to it that dhclient
            and dhcpcd tell it at later boots.
    """

    name: Optional[str] = None
    fqdn: Literal["short", "keep", "domain"] = "short"
    domain: Optional[str] = None
    hosts: Union[bool, Literal["auto"]] = "auto"
    publish: bool = True

    def __post_init__(self) -> None:
        if self.name is not None and not re.search(r"[A-Za-z0-9]", self.name):
            raise ValueError("name needs a letter or a digit")
        if self.domain is not None and not re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", self.domain):
            raise ValueError("domain must be labels of letters, digits and `-` with dots between, as corp.example")
        if (self.fqdn == "domain") > (self.domain is not None):
            raise ValueError("`fqdn: domain` needs a `domain`")
        if self.fqdn == "keep" and self.domain is not None:
            raise ValueError("`domain` does not go with `fqdn: keep`")


def needs(options: Options) -> tuple[str, ...]:
    """The metadata that these options cannot do without: none where they give the name themselves."""
    return () if options.name is not None else NEEDS


def apply(ctx: Context, options: Options) -> None:
    """Set the host name. Raises HandlerError for a name beyond repair, MachineError when it cannot be set."""
    given = (ctx.metadata.local_hostname or "") if options.name is None else options.name
    name, full = _names(given, options)
    old = static_name(ctx.system.files)
    if old not in (None, name) and ctx.memory.recall(_MEMORY) == name:
        LOG.info("the host name was changed to %s since azurelite set %s: it stays", old, name)
        return
    asked = f"{given}.{options.domain}" if options.fqdn == "domain" else given
    if name != asked:
        ctx.note(
            f"{'Azure' if options.name is None else 'the configuration'}'s host name {given[:100]!r} became {name!r}"
        )
    changed = ctx.system.set_kernel_hostname(name)
    write_name(ctx.system.files, name)
    _name_in_hosts(ctx, options, name, full=full, old=old)
    if options.publish:
        from azurelite.system.network.renew import publish, send_name_at_boot

        send_name_at_boot(ctx.system.files)
        if changed:
            publish(ctx.system, name)
    if any(entry.name == "hostname" and entry.frequency == "boot" for entry in ctx.config.handlers):
        ctx.memory.remember(_MEMORY, name)  # not otherwise: it is written to the disk while Azure waits


def usable_name(given: str, *, keep_domain: bool) -> str:
    """The name as a machine can bear it. Raises HandlerError when nothing is left of it."""
    labels = _labels(given)
    whole = ".".join(labels)
    return whole if keep_domain and len(whole) <= _KERNEL_LIMIT else labels[0]


def _labels(given: str) -> list[str]:
    labels = [re.sub(_ILLEGAL, "-", label).strip("-")[:_LABEL_LIMIT].rstrip("-") for label in given.strip().split(".")]
    labels = [label for label in labels if label]
    if not labels:
        raise HandlerError(
            f"{given[:100]!r} cannot be made a host name: it needs a letter or a digit",
            reason="failed to provision hostname",
            data={"error": "invalid host name"},
        )
    if len(labels) == 4 and all(label.isdigit() and len(label) < 4 for label in labels):
        return ["-".join(["ip", *labels])]  # an address; cut at a dot it would be a name like "10"
    return labels


def _names(given: str, options: Options) -> tuple[str, str]:
    """The machine's name, and its full name for /etc/hosts, which may be the same."""
    short = _labels(given)[0]
    if options.domain is None:
        whole = ".".join(_labels(given))
        return usable_name(given, keep_domain=options.fqdn == "keep"), whole
    whole = f"{short}.{options.domain}"
    return (whole if options.fqdn == "domain" and len(whole) <= _KERNEL_LIMIT else short), whole


def _name_in_hosts(ctx: Context, options: Options, name: str, *, full: str, old: Optional[str]) -> None:
    files = ctx.system.files
    if options.hosts is True:
        write_hosts(files, name, fqdn=full, old=old, create=True)
    elif options.hosts == "auto" and not answered_by_nss(files):
        try:
            write_hosts(files, name, fqdn=full, old=old, create=False)
        except FileError as error:  # a container's runtime or a store of packages may own it
            ctx.note(f"the host name is not in /etc/hosts: {error}")
