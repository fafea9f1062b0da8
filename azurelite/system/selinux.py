"""SELinux labels of homes and their content: sshd may read a user's keys only if they have the right label.

`restorecon` knows the policy and is used if it is installed. Otherwise, and in a foreign root whose /home has labels,
the labels of the targeted policy are written. A failure is logged and does not fail the run.
"""

from __future__ import annotations

import errno
import logging
import os
from typing import Protocol

from azurelite.errors import CommandError, FileError
from azurelite.system.files import LABEL as _ATTRIBUTE
from azurelite.system.files import SELINUX, Files
from azurelite.system.process import Commands

LOG = logging.getLogger(__name__)

_CONTEXT = b"unconfined_u:object_r:%s:s0\0"
_TIMEOUT = 30.0  # seconds


class Machine(Protocol):
    """An object with the files and programs of a guest, such as `System`."""

    files: Files
    commands: Commands


def relabel(system: Machine, path: str) -> None:
    """Set the label of a home or of something in it. Does nothing if SELinux is off.

    Args:
        system: the machine.
        path: guest path, as "/home/azureuser/.ssh"; it was just written.
    """
    if system.files.dry_run or not uses_labels(system.files):
        return
    if system.files.root.is_host and system.commands.find("restorecon") is not None:
        try:
            system.commands.run(["restorecon", "-R", "--", path], timeout=_TIMEOUT)
        except CommandError as error:
            LOG.warning("cannot set the SELinux label of %s: %s", path, error)
        return
    try:
        _label(system.files, path)
    except (OSError, FileError) as error:
        LOG.warning("cannot set the SELinux label of %s: %s", path, error)


def label_created(system: Machine) -> None:
    """Let `restorecon` label the files and folders created since the last call, where SELinux is on."""
    created = list(dict.fromkeys(system.files.created))
    system.files.created.clear()
    if not (created and system.files.root.is_host and uses_labels(system.files)):
        return
    if system.commands.find("restorecon") is None:
        return  # they have the labels of their folders
    try:
        system.commands.run(["restorecon", "-i", "--", *created], timeout=_TIMEOUT)
    except CommandError as error:
        LOG.warning("cannot set the SELinux labels of new files: %s", error)


def uses_labels(files: Files) -> bool:
    """Whether SELinux is on in the running system, or the files of a foreign root have labels."""
    if files.root.is_host:
        return os.path.exists(SELINUX)
    try:
        return bool(os.getxattr(files.root.host_path("/home"), _ATTRIBUTE))
    except (OSError, AttributeError):  # no label, no /home, or a system without extended attributes
        return False


def _label(files: Files, path: str) -> None:
    with files.parent(path, beneath=path) as (folder, name):
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.setxattr(descriptor, _ATTRIBUTE, _CONTEXT % _kind(path))
        try:
            names = os.listdir(descriptor)
        except NotADirectoryError:
            names = []
    finally:
        os.close(descriptor)
    for inner in names:
        try:
            _label(files, f"{path}/{inner}")
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENXIO):  # a link or a socket keeps its label
                raise


def _kind(path: str) -> bytes:
    parts = path.strip("/").split("/")
    if ".ssh" in parts:
        return b"ssh_home_t"
    return b"user_home_dir_t" if len(parts) == 2 and parts[0] == "home" else b"user_home_t"
