"""The provisioning media: where `ovf-env.xml` may lie, and getting it from there.

Azure attaches a small UDF disc at the first boot only. It is read without the kernel's help, from the place where
somebody mounted it, or, where neither works, mounted for a moment. Whether a document is Azure's is for the caller to
say. Nothing here waits for a device to appear.
"""

from __future__ import annotations

import fcntl
import os
import stat
from functools import partial
from typing import BinaryIO, Callable, Iterator, Optional

from azurelite.errors import MachineError, MediaError
from azurelite.hypervisor.identity import is_uuid, swap_bytes
from azurelite.layout import RUN_DIR, saved_media, vm_folder
from azurelite.record import Record
from azurelite.system.disks.mounts import Mounts, mounted_discs
from azurelite.system.machine import System
from azurelite.system.root import Root

NAME = "ovf-env.xml"
DOCUMENT_CAP = 1024 * 1024  # bytes; custom data, the largest part, has 64 KiB at most
AUTO, NONE = "auto", "none"

_BLOCK_DEVICES = "/sys/class/block"
_CDROM_TYPE = b"5"  # SCSI peripheral device type "CD/DVD device", in /sys/class/block/*/device/type
_DISC_NAMES = (*(f"sr{number}" for number in range(10)), "cdrom", "cd0")  # cd0 is FreeBSD's
_NEVER_DISCS = ("fd", "nbd", "ram", "zram")  # a floppy drive takes seconds to say that it is empty
_SMALL = 1 << 30  # bytes; a fixed disk beyond it is never opened
_DRIVE_STATUS, _CURRENT_SLOT = 0x5326, 0x7FFFFFFF  # CDROM_DRIVE_STATUS, CDSL_CURRENT of linux/cdrom.h
_NOT_READY = {1: "no disc is in the drive", 2: "the drive's tray is open", 3: "the drive is not ready"}


class MediaDocument(Record):
    """An `ovf-env.xml` as it was found.

    Attributes:
        document: its bytes.
        source: where, for people: "/dev/sr0", "/dev/sr0 (mounted at /media/x)", a folder or an image file.
        device: guest path of the drive that it came from, which may be ejected; None for anything else.
    """

    document: bytes
    source: str
    device: Optional[str] = None


class Candidate(Record):
    """A place to look.

    Attributes:
        path: guest path of a device, an image file or a folder.
        mounted_at: guest path of the folder where the device's disc is mounted already.
        is_folder: it is a folder.
        probe: most likely no disc at all: it is passed over without a word when it announces no file system.
    """

    path: str
    mounted_at: Optional[str] = None
    is_folder: bool = False
    probe: bool = False


def candidates(root: Root, setting: str, *, vm_id: Optional[str] = None) -> list[Candidate]:
    """The places to look, in order, none of them twice. Looks at names only; opens no device.

    Args:
        root: the guest.
        setting: "auto", "none", or the guest path of a device, image file or folder.
        vm_id: the VM whose saved copy comes last, where there is one: the disc is gone at its second boot.
    """
    if setting == NONE:
        return []
    found = list(_auto(root)) if setting == AUTO else [Candidate(setting, is_folder=_is_folder(root, setting))]
    for spelling in _spellings(vm_id):
        if _is_there(root, saved_media(spelling)):
            found.append(Candidate(vm_folder(spelling), is_folder=True))
    return found


def _spellings(vm_id: Optional[str]) -> tuple[str, ...]:
    """The id and, as a kernel may have begun to read it the other way round, the one with swapped bytes."""
    if vm_id is None:
        return ()
    return (vm_id, swap_bytes(vm_id)) if is_uuid(vm_id) else (vm_id,)


def fetch_media(
    system: System, setting: str, accept: Callable[[bytes], bool], *, vm_id: Optional[str] = None
) -> tuple[Optional[MediaDocument], list[str]]:
    """Look for the first `ovf-env.xml` that `accept` takes.

    A dry run and a foreign root read as well, but never use the kernel's mount.

    Args:
        system: the guest.
        setting: see `candidates`.
        accept: says whether the bytes are Azure's document.
        vm_id: see `candidates`.

    Returns:
        The document or None, and a sentence about each place that was passed over.
    """
    passed: list[str] = []
    for candidate in candidates(system.root, setting, vm_id=vm_id):
        for source, read in _ways(system, candidate):
            try:
                document = read()
            except MediaError as error:
                passed.append(f"{source}: {error}")
                continue
            if document is not None and accept(document):
                return MediaDocument(document, source, _device_of(system.root, candidate)), passed
            if document is not None:
                passed.append(f"{source}: its {NAME} is not one that Azure writes")
            elif not candidate.probe:
                passed.append(f"{source}: it holds no {NAME}")
            break
    return None, passed


def _ways(system: System, candidate: Candidate) -> Iterator[tuple[str, Callable[[], Optional[bytes]]]]:
    """How to read a place: under which name, and by what. The next is for when the one before it failed."""
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
        resolved = _resolved(root, f"/dev/{name.replace('!', '/')}")  # a slash in a device's name, as sysfs has it
        if resolved not in seen and _may_be_disc(root, name) and _is_there(root, resolved):
            seen.add(resolved)
            yield Candidate(resolved, probe=True)


def _may_be_disc(root: Root, name: str) -> bool:
    size = _sysfs(root, name, "size")  # in units of 512 bytes, whatever the device's own are
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
    """The guest path that a link leads to."""
    try:
        return root.host_path(path)[len(root.path.rstrip("/")) :]
    except OSError:
        return path


def _is_folder(root: Root, path: str) -> bool:
    try:
        found = root.stat(path)
    except OSError:  # told when it is opened
        return False
    return found is not None and stat.S_ISDIR(found.st_mode)


def _is_there(root: Root, path: str) -> bool:
    try:
        found = root.stat(path)
    except OSError:
        return True  # what is wrong with it is told when it is opened
    return found is not None and not stat.S_ISDIR(found.st_mode)


def _device_of(root: Root, candidate: Candidate) -> Optional[str]:
    try:
        found = root.stat(candidate.path)
    except OSError:
        return None
    is_drive = found is not None and stat.S_ISBLK(found.st_mode) and not candidate.probe
    return candidate.path if is_drive else None


def _from_mounted(root: Root, folder: str) -> Optional[bytes]:
    """From the root of a mounted disc: its links lead nowhere but into it."""
    try:
        inside = Root(root.host_path(folder))
    except OSError as error:
        raise MediaError(f"{folder} cannot be read: {error.strerror}") from error
    return _from_folder(inside, "/")


def _from_folder(root: Root, folder: str) -> Optional[bytes]:
    from azurelite.media.disc import pick

    try:
        names = root.names(folder)
        index = pick(names, NAME)
        document = None if index is None else root.read(f"{folder}/{names[index]}", limit=DOCUMENT_CAP + 1)
    except OSError as error:
        raise MediaError(f"{NAME} cannot be read: {error.strerror or error}{_hint(error)}") from error
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
    """By the kernel's mount, which may know what the reader here does not."""
    try:
        mounts = Mounts(system.commands, folder=system.root.host_path(RUN_DIR))
        with mounts.read_only(system.root.host_path(path)) as folder:
            return _from_folder(Root(folder), "/")
    except (MachineError, OSError) as error:
        raise MediaError(f"{trouble}; and the kernel cannot mount it: {error}") from error


def _opened(root: Root, path: str) -> BinaryIO:
    """A device or image, opened such that nothing is waited for and no tray is pulled in."""
    try:
        folder, name = root.open_parent(path)
        try:
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise MediaError(f"it cannot be opened: {error.strerror or error}{_hint(error)}") from error
    try:
        _check_device(descriptor)
    except MediaError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb", buffering=0)


def _check_device(descriptor: int) -> None:
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISBLK(mode) or stat.S_ISREG(mode) or stat.S_ISCHR(mode)):  # FreeBSD has no block devices
        raise MediaError("it is neither a device nor an image file")
    if stat.S_ISBLK(mode):
        try:  # an empty drive that was opened without waiting would only say "Input/output error"
            status = fcntl.ioctl(descriptor, _DRIVE_STATUS, _CURRENT_SLOT)
        except OSError:
            return  # not a drive of discs
        if status in _NOT_READY:
            raise MediaError(_NOT_READY[status])


def _hint(error: OSError) -> str:
    return ": run as root" if isinstance(error, PermissionError) and os.geteuid() != 0 else ""
