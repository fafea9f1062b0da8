"""The SSH server: there, enabled, with a configuration that it accepts, and without host keys of its own."""

from __future__ import annotations

from typing import Iterator

from azurelite.doctor.finding import ERROR, WARNING, Finding
from azurelite.doctor.subject import Subject
from azurelite.doctor.words import SSHD_KEYWORDS, YES_OR_NO
from azurelite.system.ssh import hostkeys
from azurelite.system.ssh.sshd_config import read_config

_SERVICES = ("sshd", "ssh", "dropbear")
_SOCKETS = ("ssh.socket", "sshd.socket", "dropbear.socket")
_MAKERS = (
    "/usr/lib/systemd/system/sshd-keygen@.service",
    "/usr/lib/systemd/system/sshd-keygen.service",
    "/usr/lib/systemd/system/sshdgenkeys.service",
    "/usr/lib/systemd/system/ssh-keygen.service",
    "/usr/lib/systemd/system/regenerate_ssh_host_keys.service",
)
_CONFIG = "/etc/ssh/sshd_config"
_OWN_MAKERS = ("openrc", "runit", "s6", "freebsd", "busybox", "finit", "dinit")  # their sshd services make keys


def server(subject: Subject) -> Iterator[Finding]:
    """There is one, and it starts at boot."""
    if hostkeys.server(subject.system) is None:
        yield Finding(
            "ssh.server",
            ERROR,
            "there is no SSH server, so nobody can log in to the VM",
            "/usr/sbin/sshd",
            "Install OpenSSH's server, or dropbear.",
        )
        return
    by_socket = subject.services.init == "systemd" and any(subject.unit_enabled(unit) for unit in _SOCKETS)
    if subject.enabled(*_SERVICES) is not True and not by_socket:
        yield Finding(
            "ssh.enabled",
            ERROR,
            "the SSH server does not start at boot",
            "sshd",
            "Enable its service (sshd, ssh or dropbear).",
        )


def configuration(subject: Subject) -> Iterator[Finding]:
    """sshd accepts its configuration, and lets keys in."""
    if hostkeys.server(subject.system) != "openssh":
        return
    config = read_config(subject.files)
    if config is None:
        yield Finding("ssh.config", WARNING, "sshd has no configuration file", _CONFIG, f"Write {_CONFIG}.")
        return
    for setting in config.settings:
        value = setting.values[0].lower() if setting.values else ""
        if setting.keyword not in SSHD_KEYWORDS:
            text = f"sshd does not know {setting.keyword!r}, and does not start"
        elif not setting.values:
            text = f"{setting.keyword} has no value, so sshd does not start"
        elif setting.keyword in YES_OR_NO and value not in ("yes", "no"):
            text = f"{setting.keyword} must be yes or no, so sshd does not start"
        else:
            continue
        yield Finding("ssh.config", ERROR, text, setting.place, "Correct the line, then run `sshd -t`.")
    if config.value("pubkeyauthentication") == "no":
        found = config.first("pubkeyauthentication")
        place = found.place if found is not None else config.path
        yield Finding("ssh.config", ERROR, "sshd refuses all keys", place, "Set PubkeyAuthentication yes.")
    if subject.live:
        yield from _by_sshd(subject)


def host_keys(subject: Subject) -> Iterator[Finding]:
    """The image has no host keys, and each VM gets its own."""
    kind = hostkeys.server(subject.system)
    if kind is None:
        return
    found = hostkeys.existing(subject.system, kind)
    made = "ssh_host_keys" in subject.plan()
    if found:
        yield Finding(
            "ssh.host-keys",
            WARNING if made and subject.azurelite_enabled else ERROR,
            "the image has SSH host keys, which all its VMs would share",
            found[0],
            "Delete them (`azurelite generalize` has a group for it), or add the handler ssh_host_keys.",
        )
    elif not made and kind == "openssh" and not _makes_keys(subject):
        yield Finding(
            "ssh.host-keys",
            WARNING,
            "the image has no SSH host keys, and nothing was found that makes them",
            "/etc/ssh",
            "Add the handler ssh_host_keys, or a service that runs `ssh-keygen -A` before sshd.",
        )


def _makes_keys(subject: Subject) -> bool:
    return subject.services.init in _OWN_MAKERS or subject.first(*_MAKERS) is not None


def _by_sshd(subject: Subject) -> Iterator[Finding]:
    """What the running system's own sshd says."""
    from azurelite.system.ssh.starting import start_obstacle, ways_to_start

    config = read_config(subject.files)
    obstacle = start_obstacle(subject.system, ways_to_start(subject.system, config)) if config is not None else None
    if obstacle is not None:
        severity = ERROR if obstacle.certain else WARNING
        yield Finding("ssh.config", severity, obstacle.text, _CONFIG, "Correct it, then run `sshd -t`.")
