"""Examine an image file: its format, its partitions, and the root file system in it, mounted read-only.

The image is untrusted. It is never written, its journals are not replayed, and what is mounted is seen by one child
only, which is killed when the time is over. What cannot be read here is "not checked", never good.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Iterator, Optional

from azurelite.doctor import examine
from azurelite.doctor.finding import ERROR, NOT_CHECKED, NOTE, Finding, Report, sorted_findings
from azurelite.doctor.formats import Image, identify
from azurelite.doctor.partitions import BIOS_BOOT, Partition, Table, read_table
from azurelite.errors import AzureliteError, CommandError, MachineError
from azurelite.system.bounded import in_own_mounts, running
from azurelite.system.disks.filesystems import content_of
from azurelite.system.machine import System
from azurelite.system.scratch import scratch_folder

_SECONDS = 300.0  # for all of it
_EACH = 60.0  # for one program
_NEVER = "ro,nosuid,nodev,noexec,loop"
# A journal that is replayed would be written; without it the last changes may be missing.
_OPTIONS = {"ext4": "noload", "xfs": "norecovery", "btrfs": "rescue=nologreplay"}
_SUBVOLUMES = ("", "/@", "/@rootfs", "/root", "/@/.snapshots/1/snapshot")
_FALLBACKS = ("BOOTX64.EFI", "BOOTAA64.EFI")
_LOADER = "boot.loader"


def examine_image(path: str, *, search_path: Optional[str] = None) -> Report:
    """Examine an image file.

    Args:
        path: host path.
        search_path: where programs are searched, as PATH.

    Raises:
        ConfigError: it is no image.
    """
    image = identify(path)
    if image.trouble is not None:
        return _unread(image, image.trouble)
    if os.geteuid() != 0:
        return _unread(image, "only root can mount an image: use sudo")
    system = System("/", dry_run=True, search_path=search_path)
    try:
        with scratch_folder(holds="mount points") as folder:
            told = json.loads(in_own_mounts(lambda: _told(system, image, folder), seconds=_SECONDS))
    except AzureliteError as error:
        return _unread(image, error.message)
    return Report(path, tuple(Finding(*row) for row in told["findings"]), tuple(told["passed"]))


def _unread(image: Image, why: str) -> Report:
    found = Finding("image.content", NOT_CHECKED, f"the content was not examined: {why}", image.path,
                    "Mount the image yourself, and use --root.")  # fmt: skip
    return Report(image.path, sorted_findings([*image.findings, found]), ())


def _told(system: System, image: Image, folder: str) -> bytes:
    """The report as JSON; in the child."""
    try:
        with _disk(system, image, folder) as disk:
            report = _examined(system, image, disk, folder)
    except AzureliteError as error:
        report = _unread(image, error.message)
    rows = [[getattr(one, field.name) for field in Finding.FIELDS] for one in report.findings]
    return json.dumps({"findings": rows, "passed": list(report.passed)}).encode()


@contextlib.contextmanager
def _disk(system: System, image: Image, folder: str) -> Iterator[str]:
    """The path of a file that holds the plain bytes of the disk."""
    if image.kind in ("raw", "fixed VHD"):
        yield os.path.abspath(image.path)  # a name that starts with "-" would be an option of `mount`
        return
    name = "qemu-storage-daemon"
    if system.commands.find(name) is None:
        raise MachineError(f"a {image.kind} is read by {name}, which is not installed here")
    export = os.path.join(folder, "disk")
    with open(export, "wb"):
        pass
    file = {"driver": "file", "filename": os.path.abspath(image.path), "node-name": "file", "read-only": True}
    layer: dict[str, object] = {"driver": "qcow2" if image.kind == "qcow2" else "vpc", "node-name": "disk"}
    layer.update({"file": "file", "read-only": True}, **({"backing": None} if image.kind == "qcow2" else {}))
    argv = [system.commands.need(name), "--blockdev", json.dumps(file), "--blockdev", json.dumps(layer), "--export"]
    argv.append(f"type=fuse,id=disk,node-name=disk,mountpoint={export},writable=off")
    with running(argv, ready=lambda: os.stat(export).st_size > 0, seconds=_EACH):
        yield export


def _examined(system: System, image: Image, disk: str, folder: str) -> Report:
    with open(disk, "rb") as file:

        def read(at: int, length: int) -> bytes:
            return os.pread(file.fileno(), length, at)

        table = read_table(read, image.size)
        kinds = {one: content_of(lambda at, length, one=one: read(one.start + at, min(length, one.size - at)),  # type: ignore[misc]
                                 one.size).kind for one in table.partitions}  # fmt: skip
    findings = [*image.findings, *_generation(system, image, disk, table)]
    findings += [_closed(image, one, kind) for one, kind in kinds.items() if kind in ("luks", "lvm")]
    top = os.path.join(folder, "root")
    os.mkdir(top)
    why = "no partition has ext4, xfs or btrfs"
    for one, kind in kinds.items():
        if kind in _OPTIONS:
            try:
                _mount(system, disk, one, kind, top)
            except CommandError as error:
                why = error.message
                continue
            root = _root_in(top)
            if root is not None:
                _mount_boot(system, disk, kinds, one, root)
                report = examine(System(root, search_path=system.commands.search_path), name=image.path)
                # The loader was looked for in the partitions, where it may be outside of the root.
                inner = [one for one in report.findings if one.name != _LOADER]
                passed = tuple(name for name in report.passed if name != _LOADER)
                return Report(image.path, sorted_findings([*findings, *inner]), passed)
            system.commands.run(["umount", top], timeout=_EACH)
            why = "no partition holds a root file system"
    unread = _unread(image, why)
    return Report(image.path, sorted_findings([*findings, *unread.findings]), ())


def _mount(system: System, disk: str, one: Partition, kind: str, folder: str) -> None:
    options = f"{_NEVER},{_OPTIONS[kind]},offset={one.start},sizelimit={one.size}"
    system.commands.run(["mount", "-t", kind, "-o", options, disk, folder], timeout=_EACH)


def _root_in(top: str) -> Optional[str]:
    """The host path of the root in a mounted file system, which btrfs often has in a subvolume."""
    for inner in _SUBVOLUMES:
        if os.path.isdir(f"{top}{inner}/etc") and not os.path.islink(f"{top}{inner}"):
            return f"{top}{inner}"
    return None


def _mount_boot(system: System, disk: str, kinds: dict[Partition, str], used: Partition, root: str) -> None:
    """Mount the partition with the kernels, where the root has none."""
    boot = f"{root}/boot"
    if os.path.islink(boot) or not os.path.isdir(boot) or os.listdir(boot):
        return
    for one, kind in kinds.items():
        if one != used and kind in _OPTIONS:
            with contextlib.suppress(CommandError):
                _mount(system, disk, one, kind, boot)
                if any(name.startswith(("vmlinuz", "grub", "loader", "extlinux")) for name in os.listdir(boot)):
                    return
                system.commands.run(["umount", boot], timeout=_EACH)


def _generation(system: System, image: Image, disk: str, table: Table) -> Iterator[Finding]:
    """Whether generation 1 (BIOS) or 2 (EFI) can boot it."""
    place = f"{image.path}: {table.kind}"
    bios = table.boot_code and (table.kind == "MBR" or any(one.kind == BIOS_BOOT for one in table.partitions))
    esp = table.esp
    efi = _has_fallback(system, disk, esp) if esp is not None else False
    if efi is None:
        text = "the EFI system partition was not read: mtools is not installed here, or the partition is damaged"
        yield Finding("image.generation", NOT_CHECKED, text, place, "Install mtools, and run doctor again.")
    elif not efi and not bios:
        lacks = "EFI system partition" if esp is None else f"EFI/BOOT/{_FALLBACKS[0]} in its EFI system partition"
        text = f"neither generation of VMs boots it: it has no {lacks}, and no boot loader for a BIOS"
        yield Finding("image.generation", ERROR, text, place, "Install a boot loader, for EFI with --removable.")
    elif esp is not None and not efi:
        text = f"it boots as generation 1 only: EFI/BOOT/{_FALLBACKS[0]} is missing"
        yield Finding("image.generation", NOTE, text, place, "Install the EFI boot loader with --removable.")


def _has_fallback(system: System, disk: str, esp: Partition) -> Optional[bool]:
    """Whether the EFI system partition has the fallback loader; None if it cannot be read."""
    try:
        system.commands.run(["mdir", "-b", "-i", f"{disk}@@{esp.start}", "::/"], timeout=_EACH)
    except CommandError:
        return None
    try:
        text = system.commands.run(["mdir", "-b", "-i", f"{disk}@@{esp.start}", "::/EFI/BOOT"], timeout=_EACH)
    except CommandError:  # there is no such folder
        return False
    return any(line.strip().upper().endswith(_FALLBACKS) for line in text.splitlines())


def _closed(image: Image, one: Partition, kind: str) -> Finding:
    text = f"partition {one.number} is {'encrypted' if kind == 'luks' else 'a volume of LVM'}, and was not opened"
    return Finding("image.content", NOT_CHECKED, text, image.path, "Open and mount it yourself, and use --root.")
