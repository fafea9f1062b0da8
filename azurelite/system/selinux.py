"""SELinux labels of homes and what is in them: sshd may read a user's keys only under the label of such files.

`restorecon` knows the policy and is asked where it is installed. Elsewhere, and in a foreign root whose /home bears
labels, the labels of the targeted policy are written. It never fails a run: a wrong label is said in the log.
"""

from __future__ import annotations

import errno
import logging
import os
from typing import Protocol

from azurelite.errors import CommandError, FileError
from azurelite.system.files import Files
from azurelite.system.process import Commands

LOG = logging.getLogger(__name__)

_ATTRIBUTE = "security.selinux"
_CONTEXT = b"unconfined_u:object_r:%s:s0\0"
_TIMEOUT = 30.0  # seconds


class Machine(Protocol):
    """What has the files and the programs of a guest, as `System` does."""

    files: Files
    commands: Commands


def relabel(system: Machine, path: str, *, recursive: bool = True) -> None:
    """Give a home, or something below one, the label that it should have. Nothing where SELinux is off.

    Args:
        system: the machine.
        path: guest path, as "/home/azureuser/.ssh"; it was just written.
        recursive: with everything below it.
    """
    if system.files.dry_run or not uses_labels(system.files):
        return
    if system.files.root.is_host and system.commands.find("restorecon") is not None:
        try:
            system.commands.run(["restorecon", *(["-R"] if recursive else []), "--", path], timeout=_TIMEOUT)
        except CommandError as error:
            LOG.warning("the SELinux label of %s is not set: %s", path, error)
        return
    try:
        _label(system.files, path, recursive=recursive)
    except (OSError, FileError) as error:
        LOG.warning("the SELinux label of %s is not set: %s", path, error)


def uses_labels(files: Files) -> bool:
    """SELinux is on in the running system; or the files of a foreign root bear labels."""
    if files.root.is_host:
        return os.path.exists("/sys/fs/selinux/enforce")
    try:
        return bool(os.getxattr(files.root.host_path("/home"), _ATTRIBUTE))
    except (OSError, AttributeError):  # no label, no /home; or a system that has no such attributes
        return False


def _label(files: Files, path: str, *, recursive: bool) -> None:
    with files.parent(path, beneath=path) as (folder, name):
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.setxattr(descriptor, _ATTRIBUTE, _CONTEXT % _kind(path))
        try:
            names = os.listdir(descriptor) if recursive else []
        except NotADirectoryError:
            names = []
    finally:
        os.close(descriptor)
    for inner in names:
        try:
            _label(files, f"{path}/{inner}", recursive=True)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENXIO):  # a link or a socket keeps what it has
                raise


def _kind(path: str) -> bytes:
    parts = path.strip("/").split("/")
    if ".ssh" in parts:
        return b"ssh_home_t"
    return b"user_home_dir_t" if len(parts) == 2 and parts[0] == "home" else b"user_home_t"
