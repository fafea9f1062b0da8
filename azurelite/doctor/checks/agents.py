"""Other provisioning agents: whether one would run beside azurelite, and what one left behind."""

from __future__ import annotations

import re
from typing import Iterator, Optional

from azurelite import layout
from azurelite.doctor.finding import ERROR, NOTE, WARNING, Finding
from azurelite.doctor.subject import Subject

CLOUD_INIT_SWITCH = "/etc/cloud/cloud-init.disabled"
WAAGENT_CONF = "/etc/waagent.conf"
WAAGENT_KEY = "Provisioning.Agent"
WAAGENT_VALUE = "disabled"
AZURE_INIT = "azure-init"
_WAAGENT = ("waagent", "walinuxagent")
_CLOUD_INIT = ("cloud-init-local", "cloud-init", "cloud-init-main", "cloud-init-network")
_TWO = "two agents would provision the same VM"


def cloud_init(subject: Subject) -> Iterator[Finding]:
    """cloud-init does not start."""
    if cloud_init_enabled(subject):
        yield _finding(
            subject,
            "agents.cloud-init",
            "cloud-init starts at boot",
            "/etc/cloud",
            f"Create {CLOUD_INIT_SWITCH}, or remove cloud-init.",
            fix="cloud-init",
        )


def waagent(subject: Subject) -> Iterator[Finding]:
    """The Azure Linux agent does not provision. It may run: extensions need it."""
    setting = waagent_setting(subject)
    if setting is None or setting == WAAGENT_VALUE:
        return
    if setting in ("auto", "cloud-init") and cloud_init_enabled(subject):
        return  # it waits for cloud-init, which is a finding of its own
    yield _finding(
        subject,
        "agents.waagent",
        f"the Azure Linux agent provisions ({WAAGENT_KEY}={setting})",
        WAAGENT_CONF,
        f"Set {WAAGENT_KEY}={WAAGENT_VALUE} in {WAAGENT_CONF}; its service may keep running for extensions.",
        fix="waagent",
    )


def azure_init(subject: Subject) -> Iterator[Finding]:
    """azure-init does not start."""
    if subject.enabled(AZURE_INIT) is True:
        yield _finding(
            subject,
            "agents.azure-init",
            "azure-init starts at boot",
            "azure-init.service",
            "Disable the service azure-init.",
            fix=AZURE_INIT,
        )


def traces(subject: Subject) -> Iterator[Finding]:
    """No agent has the record of a VM that it provisioned."""
    for agent, path in layout.OTHER_AGENTS:
        if subject.files.exists(path):
            yield _trace(agent, path)
    for agent, folder, pattern in _FOLDERS:
        names = [name for name in subject.names(folder) if re.fullmatch(pattern, name)]
        if names:
            yield _trace(agent, f"{folder}/{names[0]}")


def own_records(subject: Subject) -> Iterator[Finding]:
    """azurelite has no record of a VM."""
    for folder in subject.names(layout.VMS_DIR):
        if folder != layout.NO_VM_ID:
            yield Finding(
                "agents.records",
                NOTE,
                f"azurelite provisioned VM {folder} on this disk; a VM with another id is provisioned nevertheless",
                f"{layout.VMS_DIR}/{folder}",
                "Run `azurelite generalize` before you capture the image.",
            )


# Agent, folder, what it leaves there.
_FOLDERS = (
    ("cloud-init", "/var/lib/cloud/instances", r".+"),
    (
        "the Azure Linux agent",
        "/var/lib/waagent",
        r"ovf-env\.xml|published_hostname|GoalState.*\.xml|.*\.(crt|prv|p7m)",
    ),
    ("azure-init", "/var/lib/azure-init", r".+\.provisioned|.+"),
)


def cloud_init_enabled(subject: Subject) -> bool:
    """Whether cloud-init starts: by a service, or by its generator, which needs no link. Raises FileError."""
    if subject.files.exists(CLOUD_INIT_SWITCH) or not subject.system.installed("cloud-init"):
        return False
    if subject.services.init != "systemd":
        return subject.enabled(*_CLOUD_INIT) is True
    generator = subject.first("/usr/lib/systemd/system-generators/cloud-init-generator",
                              "/lib/systemd/system-generators/cloud-init-generator")  # fmt: skip
    masked = [subject.system.root.link_target(f"/etc/systemd/system/{name}.service") for name in _CLOUD_INIT]
    if "/dev/null" in (masked[0], masked[1]):
        return False
    return generator is not None or subject.enabled(*_CLOUD_INIT) is True


def waagent_setting(subject: Subject) -> Optional[str]:
    """Which provisioner the Azure Linux agent uses; None if it does not start at boot. Raises FileError."""
    if not subject.system.installed("waagent") or subject.enabled(*_WAAGENT) is not True:
        return None
    value = "auto"
    for line in subject.text(WAAGENT_CONF).splitlines():
        key, _, given = line.partition("#")[0].partition("=")
        if key.strip() == WAAGENT_KEY and given.strip():
            value = given.strip().lower()
    return value


def _finding(subject: Subject, name: str, text: str, place: str, remedy: str, *, fix: str) -> Finding:
    """Without azurelite the other agent is the image's only one, and it is nobody's to switch off."""
    if subject.azurelite_enabled:
        return Finding(name, ERROR, f"{text}, and azurelite as well: {_TWO}", place, remedy, fix)
    return Finding(name, NOTE, f"{text}; azurelite does not", place, remedy)


def _trace(agent: str, path: str) -> Finding:
    return Finding(
        "agents.traces",
        WARNING,
        f"{agent} has the record of a VM that it provisioned on this disk",
        path,
        "Remove it before you capture the image: `azurelite generalize` has a group for it.",
    )
