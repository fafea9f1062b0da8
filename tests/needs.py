"""What a test needs of the machine. A test that lacks it is skipped, and the reason names it and the package."""

from __future__ import annotations

import os
import shutil
from typing import Optional

import pytest

# Debian's package of each program whose name is not the package's.
PACKAGES = {
    "dropbearkey": "dropbear-bin",
    "git": "git",
    "busybox": "busybox-static",
    "ip": "iproute2",
    "mcopy": "mtools",
    "mdir": "mtools",
    "mke2fs": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "mmd": "mtools",
    "nc.openbsd": "netcat-openbsd",
    "nc.traditional": "netcat-traditional",
    "qemu-storage-daemon": "qemu-system-common",
    "service": "init-system-helpers",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "systemctl": "systemd",
    "systemd-analyze": "systemd",
    "unshare": "util-linux",
    "visudo": "sudo",
}
PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


def lacking(*programs: str) -> Optional[str]:
    """Why a test that needs these programs cannot run here; None when all are there."""
    absent = [name for name in programs if shutil.which(name, path=PATH) is None]
    if not absent:
        return None
    return f"needs {' and '.join(absent)}: install {' '.join(sorted({PACKAGES.get(name, name) for name in absent}))}"


def needs(*programs: str) -> pytest.MarkDecorator:
    """Mark a test that needs these programs."""
    reason = lacking(*programs)
    return pytest.mark.skipif(reason is not None, reason=reason or "all is there")


def require(*programs: str, root: bool = False) -> None:
    """Skip the test that calls it unless these programs are there, and it is run by root where that is asked for."""
    reason = "needs root" if root and os.geteuid() != 0 else lacking(*programs)
    if reason:
        pytest.skip(reason)
