"""The VM's identity where sysfs has none: programs that read the firmware, in one small table.

`identity.py` reads Linux's sysfs, which is enough for an ordinary boot; this module adds the programs.
"""

from __future__ import annotations

from typing import Optional

from azurelite import layout
from azurelite.errors import CommandError
from azurelite.hypervisor.identity import AZURE_CHASSIS_TAG, Identity, read_identity, vm_id_of
from azurelite.layout import is_uuid
from azurelite.record import Record
from azurelite.system.process import Commands
from azurelite.system.root import Root

_TIMEOUT = 10.0  # seconds for one program
_SEED_LIMIT = 65536  # bytes; the table has a few hundred


class _Source(Record):
    """A program that prints SMBIOS strings: its commands for the chassis tag and the UUID."""

    chassis_tag: Optional[tuple[str, ...]]
    system_uuid: tuple[str, ...]


_SOURCES = (
    _Source(("dmidecode", "--string", "chassis-asset-tag"), ("dmidecode", "--string", "system-uuid")),
    _Source(("kenv", "-q", "smbios.chassis.tag"), ("kenv", "-q", "smbios.system.uuid")),  # FreeBSD, DragonFly
    _Source(None, ("sysctl", "-n", "hw.uuid")),  # OpenBSD gives no tag: `datasource.platform: azure` is needed
)


def identify(root: Root, commands: Commands) -> Identity:
    """The VM's identity: from sysfs, else, on the running system only, from the first program that gives a UUID."""
    found = read_identity(root)
    on_azure, uuid = found.on_azure, found.system_uuid
    if root.is_host and uuid is None:
        for source in _SOURCES:
            uuid = _ask(commands, source.system_uuid).lower()
            if is_uuid(uuid):
                on_azure = on_azure or _ask(commands, source.chassis_tag) == AZURE_CHASSIS_TAG
                break
    usable = uuid if uuid is not None and is_uuid(uuid) else None
    return Identity(
        on_azure=on_azure,
        system_uuid=usable,
        vm_id=vm_id_of(root, usable) if usable else None,
        random_seed=_random_seed(root),
    )


def _ask(commands: Commands, argv: Optional[tuple[str, ...]]) -> str:
    if argv is None or commands.find(argv[0]) is None:
        return ""
    try:
        return commands.run(argv, timeout=_TIMEOUT).strip()
    except CommandError:
        return ""


def _random_seed(root: Root) -> bytes:
    """The random seed from Hyper-V, in the ACPI table OEM0, which only root can read; empty without one."""
    try:
        return root.read(layout.RANDOM_SEED, limit=_SEED_LIMIT) or b""
    except OSError:
        return b""
