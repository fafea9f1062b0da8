"""`hostname`: set the host name given at creation, in the system's files and in the running kernel.

A name is repaired: blanks around it and a dot at its end are removed; characters that a host name cannot have become
`-`; `-` at either end of a label is removed; a name longer than the kernel's 64 characters is cut at its first dot,
then to 63; 10.0.0.4 becomes ip-10-0-0-4. A name of which nothing is left is refused.

With `frequency: boot`, a name that somebody set after azurelite did is kept. Azure's DNS learns the name from the
DHCP client: when the name changes, the running client is made to send it again.
"""

from __future__ import annotations

import logging
import re
from typing import Literal, Optional, Union

from azurelite.config.load import Frequency, HandlerEntry
from azurelite.errors import FileError, HandlerError
from azurelite.handlers import Context
from azurelite.record import Record
from azurelite.system.network.hostnames import answered_by_nss, static_name, write_hosts, write_name

LOG = logging.getLogger(__name__)

SUMMARY = "set the host name"
NEEDS = ("local_hostname",)
FREQUENCY: Frequency = "instance"
REQUIRED = False  # a VM with the wrong name can be reached and repaired; a VM that Azure deletes cannot

_KERNEL_LIMIT = 64  # characters, Linux's __NEW_UTS_LEN
_LABEL_LIMIT = 63  # characters, RFC 1123
_DOMAIN_LIMIT = 253  # characters of a full name, RFC 1035
_ILLEGAL = r"[^A-Za-z0-9.-]"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_MEMORY = "hostname"


class Options(Record):
    """Options of `hostname`.

    Attributes:
        name: set this name instead of the one from Azure.
        fqdn: how to treat a name with dots: "short" uses its first label, "keep" the whole name, "domain" its first
            label followed by `domain`.
        domain: the domain for "domain", for example "corp.example"; with "short" it appears in /etc/hosts only.
        hosts: true: add a line for the name to /etc/hosts if it has none; "auto": only if that file exists and the
            name is not resolved otherwise (nss-myhostname, nss-resolve); false: never.
        publish: true: make the running DHCP client send a changed name to Azure's DNS, and configure dhclient and
            dhcpcd to send it at later boots; "always": also send a name that the machine has already, as after a
            change by `hostnamectl`; false: neither.
    """

    name: Optional[str] = None
    fqdn: Literal["short", "keep", "domain"] = "short"
    domain: Optional[str] = None
    hosts: Union[bool, Literal["auto"]] = "auto"
    publish: Union[bool, Literal["always"]] = True

    def __post_init__(self) -> None:
        if self.name is not None and not re.search(r"[A-Za-z0-9]", self.name):
            raise ValueError("name needs a letter or a digit")
        if self.domain is not None and not re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", self.domain):
            raise ValueError("domain must be labels of letters, digits and `-` joined by dots, such as corp.example")
        if (self.fqdn == "domain") > (self.domain is not None):
            raise ValueError("`fqdn: domain` needs `domain`")
        if self.fqdn == "keep" and self.domain is not None:
            raise ValueError("`domain` cannot be combined with `fqdn: keep`")


def needs(options: Options) -> tuple[str, ...]:
    """The metadata fields that these options need: none if `name` is set."""
    return () if options.name is not None else NEEDS


def apply(ctx: Context, options: Options) -> None:
    """Set the host name. Raises HandlerError for a name that cannot be repaired, MachineError if setting it fails."""
    given = (ctx.metadata.local_hostname or "") if options.name is None else options.name
    name, full = _names(given, options)
    old = static_name(ctx.system.files)
    if old not in (None, name) and ctx.memory.recall(_MEMORY) == name:
        LOG.info("hostname: %s is kept: somebody changed the name after azurelite set %s", old, name)
        return
    asked = f"{given}.{options.domain}" if options.fqdn == "domain" else given
    if name != asked:
        ctx.note(
            f"the host name {given[:100]!r} from {'Azure' if options.name is None else 'the configuration'} "
            f"was changed to {name!r}"
        )
    changed = ctx.system.set_kernel_hostname(name)
    write_name(ctx.system.files, name)
    _name_in_hosts(ctx, options, name, full=full, old=old)
    if options.publish is not False:
        from azurelite.system.network.renew import publish, send_name_at_boot

        send_name_at_boot(ctx.system.files)
        if changed or options.publish == "always":
            publish(ctx.system, name)
    if any(_is_of_each_boot(entry, options) for entry in ctx.config.handlers):
        ctx.memory.remember(_MEMORY, name)  # only then, because this disk write delays Ready


def _is_of_each_boot(entry: HandlerEntry, options: Options) -> bool:
    """Whether an entry sets the same name at each boot. A name that only a caller of `apply` gives is not remembered.

    Otherwise the next boot would take that name for its own, and set Azure's.
    """
    return entry.name == "hostname" and entry.frequency == "boot" and entry.options.get("name") == options.name


def usable_name(given: str, *, keep_domain: bool) -> str:
    """The name, repaired so that the kernel accepts it. Raises HandlerError if nothing is left of it."""
    labels = _labels(given)
    whole = ".".join(labels)
    return whole if keep_domain and len(whole) <= _KERNEL_LIMIT else labels[0]


def _labels(given: str) -> list[str]:
    labels = [re.sub(_ILLEGAL, "-", label).strip("-")[:_LABEL_LIMIT].rstrip("-") for label in given.strip().split(".")]
    labels = [label for label in labels if label]
    if not labels:
        raise HandlerError(
            f"{given[:100]!r} cannot be used as host name: give a name with a letter or a digit",
            reason="failed to provision hostname",
            data={"error": "invalid host name"},
        )
    if len(labels) == 4 and all(label.isdigit() and len(label) < 4 for label in labels):
        return ["-".join(["ip", *labels])]  # an address, of which cutting at the first dot would leave "10"
    return labels


def _names(given: str, options: Options) -> tuple[str, str]:
    """The host name, and the full name for /etc/hosts, which may be the same."""
    short = _labels(given)[0]
    if options.domain is None:
        whole = ".".join(_labels(given))
        name = usable_name(given, keep_domain=options.fqdn == "keep")
    else:
        whole = f"{short}.{options.domain}"
        name = whole if options.fqdn == "domain" and len(whole) <= _KERNEL_LIMIT else short
    return name, whole if len(whole) <= _DOMAIN_LIMIT else name


def _name_in_hosts(ctx: Context, options: Options, name: str, *, full: str, old: Optional[str]) -> None:
    files = ctx.system.files
    if options.hosts is True:
        write_hosts(files, name, fqdn=full, old=old, create=True)
    elif options.hosts == "auto" and not answered_by_nss(files):
        try:
            write_hosts(files, name, fqdn=full, old=old, create=False)
        except FileError as error:  # a container runtime mounts it; NixOS makes it a link into its store
            ctx.note(f"the host name was not added to /etc/hosts: {error}")
