"""Roots for `doctor`: one that is fit for each of three init systems, and how each defect is made in one."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Callable

from kit import Guest

from azurelite.service import install
from azurelite.system.machine import System

KERNEL = "6.1.0-9"
MODULES = f"lib/modules/{KERNEL}"
_DRIVERS = ("hv/hv_vmbus", "scsi/hv_storvsc", "net/hyperv/hv_netvsc", "scsi/sr_mod", "fs/udf/udf", "fs/isofs/isofs")


def cpio(*names: str) -> bytes:
    """An archive of empty files, in the "new ASCII" format."""
    made = b""
    for name in (*names, "TRAILER!!!"):
        head = b"070701" + b"".join(b"%08x" % (len(name) + 1 if at == 11 else 0) for at in range(13))
        one = head + name.encode() + b"\0"
        made += one + b"\0" * (-len(one) % 4)
    return made


def initramfs(*drivers: str) -> bytes:
    """As Debian makes it: microcode as an archive of its own, then the compressed one."""
    names = [f"lib/modules/{KERNEL}/kernel/{name}.ko" for name in drivers]
    return cpio("kernel/x86/microcode/GenuineIntel.bin") + b"\0" * 8 + gzip.compress(cpio("init", *names))


_COMMON: dict[str, str | bytes] = {
    f"{MODULES}/modules.dep": "".join(f"kernel/{name}.ko.xz:\n" for name in _DRIVERS),
    f"{MODULES}/modules.builtin": "kernel/fs/ext4/ext4.ko\n",
    f"boot/initrd.img-{KERNEL}": initramfs("hv/hv_vmbus", "scsi/hv_storvsc"),
    "boot/grub/grub.cfg": f"linux /vmlinuz-{KERNEL} root=UUID=1234 ro console=tty1 console=ttyS0\n",
    "boot/grub/i386-pc/core.img": "x",
    "boot/efi/EFI/BOOT/BOOTX64.EFI": "x",
    "etc/machine-id": "",
    "etc/fstab": "UUID=1234 / ext4 defaults 0 1\n/dev/disk/azure/resource-part1 /mnt auto nofail 0 2\n",
    "etc/ssh/sshd_config": 'Port 22\nPasswordAuthentication no\nMatch User "x"\n  X11Forwarding no\n',
    "etc/chrony/chrony.conf": "pool example.org\n",
    "etc/azurelite/azurelite.yaml": "handlers: [hostname, user, ssh_keys, ssh_host_keys, report_ready]\n",
    "etc/resolv.conf": "nameserver 127.0.0.53\n",
    "etc/sudoers.d/README": "#\n",
    "etc/sudoers": "Defaults env_reset\nroot ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n",
    "root/.bashrc": "umask 022\n",
}  # fmt: skip
_PROGRAMS = ("usr/bin/azurelite", "usr/sbin/sshd", "usr/sbin/chronyd", "usr/sbin/dhclient")


def _enable_systemd(guest: Guest, unit: str) -> None:
    guest.put({f"usr/lib/systemd/system/{unit}.service": "[Service]\nExecStart=/bin/x\n"})
    link(guest, f"etc/systemd/system/multi-user.target.wants/{unit}.service", f"/usr/lib/systemd/system/{unit}.service")


def link(guest: Guest, path: str, target: str) -> None:
    """Make a symbolic link, and the folders on the way."""
    guest.path(path).parent.mkdir(parents=True, exist_ok=True)
    guest.path(path).symlink_to(target)


def program(guest: Guest, *paths: str) -> None:
    """Make programs that are never run."""
    for path in paths:
        guest.put({path: "#!/bin/sh\n"}).path(path).chmod(0o755)


def _systemd(guest: Guest) -> None:
    program(guest, "usr/lib/systemd/systemd", "usr/lib/systemd/systemd-networkd")
    link(guest, "sbin/init", "../usr/lib/systemd/systemd")
    for unit in ("sshd", "chronyd", "systemd-networkd"):
        _enable_systemd(guest, unit)
    guest.put({"etc/systemd/network/80-dhcp.network": "[Match]\nName=eth* en*\n[Network]\nDHCP=yes\n"})


def _openrc(guest: Guest) -> None:
    program(guest, "sbin/openrc", "sbin/openrc-init", "sbin/init")
    for name in ("sshd", "chronyd", "networking"):
        program(guest, f"etc/init.d/{name}")
        link(guest, f"etc/runlevels/default/{name}", f"/etc/init.d/{name}")
    guest.put({"etc/network/interfaces": "auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet dhcp\n"})


def _runit(guest: Guest) -> None:
    program(guest, "sbin/runit-init", "etc/runit/2", "usr/bin/dhcpcd")
    link(guest, "sbin/init", "runit-init")
    for name in ("sshd", "chronyd", "dhcpcd"):
        program(guest, f"etc/sv/{name}/run")
        link(guest, f"etc/runit/runsvdir/default/{name}", f"/etc/sv/{name}")


INITS: dict[str, Callable[[Guest], None]] = {"systemd": _systemd, "openrc": _openrc, "runit": _runit}


def fit(folder: Path, init: str = "systemd") -> Guest:
    """A root that is fit to be captured."""
    from kit import BASE

    folder.mkdir(parents=True)
    guest = Guest(folder).put({**BASE, **_COMMON})
    program(guest, *_PROGRAMS)
    INITS[init](guest)
    install(System(guest.root), init=init, program="/usr/bin/azurelite")
    return guest


def append(guest: Guest, path: str, text: str) -> None:
    """Add text to a file."""
    guest.put({path: guest.text(path) + text})


def replaced(guest: Guest, path: str, old: str, new: str) -> None:
    """Replace a text that the file has."""
    assert old in guest.text(path)
    guest.put({path: guest.text(path).replace(old, new)})


def cloud_init(guest: Guest) -> None:
    """cloud-init, enabled as its package does it."""
    program(guest, "usr/bin/cloud-init", "usr/lib/systemd/system-generators/cloud-init-generator")
    _enable_systemd(guest, "cloud-init")


def waagent(guest: Guest, setting: str = "Provisioning.Agent=auto\n") -> None:
    """The Azure Linux agent, enabled."""
    program(guest, "usr/sbin/waagent")
    _enable_systemd(guest, "waagent")
    guest.put({"etc/waagent.conf": f"# a comment\n{setting}ResourceDisk.Format=n\n"})


def azure_init(guest: Guest) -> None:
    """azure-init, enabled."""
    _enable_systemd(guest, "azure-init")
