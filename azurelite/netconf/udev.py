"""NICs' wished-for names as a rule of udev, for the renderers that cannot rename."""

from __future__ import annotations

from typing import Iterable

from azurelite.netconf.files import HEADER, File
from azurelite.netconf.nics import Nic


def render(nics: Iterable[Nic]) -> tuple[File, ...]:
    """One file of rules, or none where no NIC is to be renamed."""
    rules = ""
    for nic in nics:
        if nic.renamed:
            driver = f'DRIVERS=="{nic.driver}", ' if nic.driver else ""
            rules += f'SUBSYSTEM=="net", ACTION=="add", {driver}ATTR{{address}}=="{nic.mac}", NAME="{nic.name}"\n'
    return (File("/etc/udev/rules.d/70-azurelite-net.rules", HEADER + rules),) if rules else ()
