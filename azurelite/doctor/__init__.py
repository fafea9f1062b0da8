"""Is this image fit to be captured? Examines a guest and changes nothing; `fixes.py` changes."""

from __future__ import annotations

from typing import Callable, Iterator

from azurelite.doctor.checks import agents, boot, drivers, files, leftovers, network, service, ssh
from azurelite.doctor.finding import NOT_CHECKED, Finding, Report, sorted_findings
from azurelite.doctor.subject import Subject
from azurelite.errors import AzureliteError
from azurelite.guard import guard
from azurelite.system.machine import System

Check = Callable[[Subject], Iterator[Finding]]

# In the order in which a boot needs them.
CHECKS: dict[str, Check] = {
    "boot.loader": boot.loader,
    "boot.console": boot.console,
    "boot.kernel-words": boot.kernel_words,
    "drivers.hyperv": drivers.hyperv,
    "drivers.initramfs": drivers.initramfs,
    "drivers.disc": drivers.disc,
    "network.client": network.client,
    "network.enabled": network.enabled,
    "network.nic": network.right_nic,
    "service.enabled": service.installed,
    "service.program": service.program,
    "service.order": service.order,
    "service.switch": service.switched_on,
    "service.config": service.configuration,
    "agents.cloud-init": agents.cloud_init,
    "agents.waagent": agents.waagent,
    "agents.azure-init": agents.azure_init,
    "agents.traces": agents.traces,
    "agents.records": agents.own_records,
    "ssh.server": ssh.server,
    "ssh.config": ssh.configuration,
    "ssh.host-keys": ssh.host_keys,
    "leftovers.users": leftovers.users,
    "leftovers.passwords": leftovers.passwords,
    "leftovers.root": leftovers.root_locked,
    "leftovers.keys": leftovers.keys,
    "leftovers.rules": leftovers.rules,
    "leftovers.histories": leftovers.histories,
    "leftovers.traces": leftovers.traces,
    "files.machine-id": files.machine_id,
    "files.resolv-conf": files.name_servers,
    "files.nic-names": files.nic_names,
    "files.fstab": files.mounts,
    "files.time-sync": files.time_sync,
}


def examine(system: System, *, name: str, more: tuple[Finding, ...] = ()) -> Report:
    """Run all checks on a guest.

    Args:
        system: the guest; nothing is changed.
        name: what it is, for the report.
        more: findings about the image around it.
    """
    subject = Subject(system)
    findings: list[Finding] = list(more)
    passed: list[str] = []
    for check, run in CHECKS.items():
        found = guard(lambda run=run: list(run(subject)))  # type: ignore[misc]
        if isinstance(found, AzureliteError):
            found = [Finding(check, NOT_CHECKED, found.message, system.root.path, found.remedy)]
        findings += found
        passed += [] if found else [check]
    return Report(name, sorted_findings(findings), tuple(passed))
