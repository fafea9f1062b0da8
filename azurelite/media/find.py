"""The provisioning media: the places that may hold `ovf-env.xml`, and how to read it there.

Azure attaches a small UDF disc at the first boot only. It is read from the folder where it is mounted, else by the
readers in this package without the kernel, else through a temporary mount. The caller decides whether a document is
Azure's. Nothing here waits for a device to appear.
"""

from __future__ import annotations

import fcntl
import os
import stat
from functools import partial
from typing import BinaryIO, Callable, Iterator, Optional

from azurelite.errors import MachineError, MediaError
from azurelite.hypervisor.identity import swap_bytes
from azurelite.layout import RUN_DIR, is_uuid, saved_media, vm_folder
from azurelite.record import Record
from azurelite.system.disks.mounts import Mounts, mounted_discs
from azurelite.system.machine import System
from azurelite.system.root import Root

NAME = "ovf-env.xml"
DOCUMENT_CAP = 1024 * 1024  # bytes; custom data, the largest part, is at most 64 KiB
AUTO, NONE = "auto", "none"

_BLOCK_DEVICES = "/sys/class/block"
_CDROM_TYPE = b"5"  # SCSI peripheral device type "CD/DVD device", in /sys/class/block/*/device/type
_DISC_NAMES = (*(f"sr{number}" for number in range(10)), "cdrom", "cd0")  # cd0 is FreeBSD's
_NEVER_DISCS = ("fd", "nbd", "ram", "zram")  # a floppy drive takes seconds to say that it is empty
_SMALL = 1 << 30  # bytes; a larger fixed disk is never opened
_DRIVE_STATUS, _CURRENT_SLOT = 0x5326, 0x7FFFFFFF  # CDROM_DRIVE_STATUS, CDSL_CURRENT of linux/cdrom.h
_EMPTY = {1: "the drive is empty", 2: "the drive's tray is open"}
_NOT_READY = 3


class EmptyDriveError(MediaError):
    """There is no disc in the drive."""


class MediaDocument(Record):
    """An `ovf-env.xml`, and where it was found.

    Attributes:
        document: its bytes.
        source: the place, for messages: "/dev/sr0", "/dev/sr0 (mounted at /media/x)", a folder or an image file.
        device: guest path of the drive, which can be ejected; None for any other place.
    """

    document: bytes
    source: str
    device: Optional[str] = None


class Candidate(Record):
    """A place that may hold the document.

    Attributes:
        path: guest path of a device, an image file or a folder.
        mounted_at: guest path of the folder where the disc is mounted already; None where it is not mounted.
        is_folder: it is a folder.
        probe: probably no disc: it is skipped without a message when it has no UDF or ISO 9660 file system.
    """

    path: str
    mounted_at: Optional[str] = None
    is_folder: bool = False
    probe: bool = False


def candidates(root: Root, setting: str, *, vm_id: Optional[str] = None) -> list[Candidate]:
    """The places to look, in order, each once. Reads only names; opens no device.

    Args:
        root: the guest.
        setting: "auto", "none", or the guest path of a device, image file or folder.
        vm_id: the VM whose saved copy, if any, comes last; the disc is gone at the second boot.
    """
    if setting == NONE:
        return []
    found = list(_auto(root)) if setting == AUTO else [Candidate(setting, is_folder=_is_folder(root, setting))]
    for spelling in _spellings(vm_id):
        if _is_there(root, saved_media(spelling)):
            found.append(Candidate(vm_folder(spelling), is_folder=True))
    return found


def _spellings(vm_id: Optional[str]) -> tuple[str, ...]:
    """The VM id as given and with swapped bytes: another kernel may read the UUID in the other byte order."""
    if vm_id is None:
        return ()
    return (vm_id, swap_bytes(vm_id)) if is_uuid(vm_id) else (vm_id,)


def fetch_media(
    system: System,
    setting: str,
    accept: Callable[[bytes], bool],
    *,
    vm_id: Optional[str] = None,
    unread: Optional[list[str]] = None,
) -> tuple[Optional[MediaDocument], list[str]]:
    """Find the first `ovf-env.xml` that `accept` accepts.

    A dry run and a foreign root read the places, too, but never mount.

    Args:
        system: the guest.
        setting: see `candidates`.
        accept: returns whether the bytes are Azure's document.
        vm_id: see `candidates`.
        unread: receives the places that could not be read, so that they may hold the document.

    Returns:
        The document or None, and one line for each place that was skipped.
    """
    skipped: list[str] = []
    for candidate in candidates(system.root, setting, vm_id=vm_id):
        for source, read in _ways(system, candidate):
            try:
                document = read()
            except MediaError as error:
                skipped.append(f"{source}: {error}")
                if unread is not None and not isinstance(error, EmptyDriveError):
                    unread.append(source)
                continue
            if document is not None and accept(document):
                return MediaDocument(document, source, _device_of(system.root, candidate)), skipped
            if document is not None:
                skipped.append(f"{source}: its {NAME} is not Azure's")
            elif not candidate.probe:
                skipped.append(f"{source}: no {NAME}")
            break
    return None, skipped


def _ways(system: System, candidate: Candidate) -> Iterator[tuple[str, Callable[[], Optional[bytes]]]]:
    """The ways to read a place: a name for messages, and a function. Each is a fallback for the one before."""
    if candidate.is_folder:
        yield candidate.path, partial(_from_folder, system.root, candidate.path)
        return
    if candidate.mounted_at is not None:
        source = f"{candidate.path} (mounted at {candidate.mounted_at})"
        yield source, partial(_from_mounted, system.root, candidate.mounted_at)
    yield candidate.path, partial(_from_device, system, candidate)


def _auto(root: Root) -> Iterator[Candidate]:
    seen: set[str] = set()
    for disc in mounted_discs(root):
        resolved = _resolved(root, disc.device)
        if resolved not in seen:
            seen.add(resolved)
            yield Candidate(resolved, mounted_at=disc.folder)
    devices = _names(root, _BLOCK_DEVICES)
    drives = [name for name in devices if _sysfs(root, name, "device/type") == _CDROM_TYPE]
    for name in (*_DISC_NAMES, *drives):
        resolved = _resolved(root, f"/dev/{name}")
        if resolved not in seen and _is_there(root, resolved):
            seen.add(resolved)
            yield Candidate(resolved)
    for name in devices:
        resolved = _resolved(root, f"/dev/{name.replace('!', '/')}")  # sysfs writes `!` for a slash in a device's name
        if resolved not in seen and _may_be_disc(root, name) and _is_there(root, resolved):
            seen.add(resolved)
            yield Candidate(resolved, probe=True)


def _may_be_disc(root: Root, name: str) -> bool:
    size = _sysfs(root, name, "size")  # in units of 512 bytes, for every device
    if name.startswith(_NEVER_DISCS) or not size.isdigit() or int(size) == 0:
        return False
    return int(size) * 512 <= _SMALL or _sysfs(root, name, "removable") == b"1"


def _sysfs(root: Root, name: str, attribute: str) -> bytes:
    try:
        return (root.read(f"{_BLOCK_DEVICES}/{name}/{attribute}", limit=32) or b"").strip()
    except OSError:
        return b""


def _names(root: Root, folder: str) -> list[str]:
    try:
        return root.names(folder)
    except OSError:
        return []


def _resolved(root: Root, path: str) -> str:
    """The guest path with links resolved."""
    try:
        return root.host_path(path)[len(root.path.rstrip("/")) :]
    except OSError:
        return path


def _is_folder(root: Root, path: str) -> bool:
    try:
        found = root.stat(path)
    except OSError:  # reported when it is opened
        return False
    return found is not None and stat.S_ISDIR(found.st_mode)


def _is_there(root: Root, path: str) -> bool:
    try:
        found = root.stat(path)
    except OSError:
        return True  # the error is reported when it is opened
    return found is not None and not stat.S_ISDIR(found.st_mode)


def _device_of(root: Root, candidate: Candidate) -> Optional[str]:
    try:
        found = root.stat(candidate.path)
    except OSError:
        return None
    is_drive = found is not None and stat.S_ISBLK(found.st_mode) and not candidate.probe
    return candidate.path if is_drive else None


def _from_mounted(root: Root, folder: str) -> Optional[bytes]:
    """Read from a mounted disc. Its root is the limit for links on it."""
    try:
        inside = Root(root.host_path(folder))
    except OSError as error:
        raise MediaError(f"cannot read {folder}: {error.strerror}") from error
    return _from_folder(inside, "/")


def _from_folder(root: Root, folder: str) -> Optional[bytes]:
    from azurelite.media.disc import pick

    try:
        names = root.names(folder)
        index = pick(names, NAME)
        document = None if index is None else root.read(f"{folder}/{names[index]}", limit=DOCUMENT_CAP + 1)
    except OSError as error:
        raise MediaError(f"cannot read {NAME}: {error.strerror or error}{_hint(error)}") from error
    if document is not None and len(document) > DOCUMENT_CAP:
        raise MediaError(f"{NAME} is longer than {DOCUMENT_CAP} bytes")
    return document


def _from_device(system: System, candidate: Candidate) -> Optional[bytes]:
    from azurelite.media.disc import file_systems_of, read_from_disc

    with _opened(system.root, candidate.path) as source:
        kinds = file_systems_of(source)
        if candidate.probe and not kinds:
            return None
        try:
            return read_from_disc(source, NAME, limit=DOCUMENT_CAP)
        except MediaError as error:
            if not (kinds and system.live) or candidate.probe:
                raise
            return _from_kernel(system, candidate.path, error)


def _from_kernel(system: System, path: str, trouble: MediaError) -> Optional[bytes]:
    """Read through a temporary mount: the kernel may support what the readers here do not."""
    try:
        mounts = Mounts(system.commands, folder=system.root.host_path(RUN_DIR))
        with mounts.read_only(system.root.host_path(path)) as folder:
            return _from_folder(Root(folder), "/")
    except (MachineError, OSError) as error:
        raise MediaError(f"{trouble}; the kernel cannot mount it either: {error}") from error


def _opened(root: Root, path: str) -> BinaryIO:
    """Open a device or image without waiting, and without closing an open tray. Raises MediaError."""
    try:
        folder, name = root.open_parent(path)
        try:
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise MediaError(f"cannot open it: {error.strerror or error}{_hint(error)}") from error
    try:
        _check_device(descriptor)
    except MediaError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb", buffering=0)


def _check_device(descriptor: int) -> None:
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISBLK(mode) or stat.S_ISREG(mode) or stat.S_ISCHR(mode)):  # FreeBSD has no block devices
        raise MediaError("neither a device nor an image file")
    if stat.S_ISBLK(mode):
        try:  # reading an empty drive, opened without waiting, would only fail with "Input/output error"
            status = fcntl.ioctl(descriptor, _DRIVE_STATUS, _CURRENT_SLOT)
        except OSError:
            return  # not an optical drive
        trouble = trouble_of_drive(status)
        if trouble is not None:
            raise trouble


def trouble_of_drive(status: int) -> Optional[MediaError]:
    """Why a drive of this status (`CDS_*` of linux/cdrom.h) cannot be read; None if it may be."""
    if status in _EMPTY:
        return EmptyDriveError(_EMPTY[status])
    return MediaError("the drive is not ready") if status == _NOT_READY else None


def _hint(error: OSError) -> str:
    return ". Run as root" if isinstance(error, PermissionError) and os.geteuid() != 0 else ""
