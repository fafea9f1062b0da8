"""`mounts`: lines of /etc/fstab, and what they say is mounted at once where its device is there.

Every line has `# azurelite` at its end; lines without it are other people's, stay byte for byte, and keep their mount
points to themselves.
"""

from __future__ import annotations

import re
from typing import Optional

from azurelite.config.load import Frequency
from azurelite.errors import CommandError, HandlerError
from azurelite.handlers import Context
from azurelite.record import Record
from azurelite.system.changes import Change
from azurelite.system.disks import fstab
from azurelite.system.disks.mounts import mounted_on
from azurelite.system.disks.swapfile import SwapFile

SUMMARY = "enter file systems in /etc/fstab and mount them"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False

_DEFAULTS = "defaults,nofail"
_SHORT = r"(sd|vd|xvd|hd|nvme|mmcblk)[a-z0-9]+"  # a disk as people call it
_BY = {"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel"}
_CONTROL = r"[\x00-\x1f\x7f]"
_SECONDS = 60.0


class Mount(Record):
    """One line.

    Attributes:
        device: "/dev/…", "UUID=…", "LABEL=…", "server:/share", "tmpfs"; better no /dev/sdX, for those change.
        path: the mount point, which is made where it is missing; leave it out for swap.
        type: as "ext4", "xfs", "nfs", "tmpfs", "swap"; "auto" finds out.
        options: as in fstab. With "nofail", the default, a VM boots without the device, too; with "noauto" it is
            not mounted.
        dump: fstab's fifth field.
        check: fstab's sixth field; 2 for disks and 0 for everything else when left out.
    """

    device: str = ""
    path: str = ""
    type: str = "auto"
    options: str = _DEFAULTS
    dump: int = 0
    check: Optional[int] = None

    def __post_init__(self) -> None:
        if not self.device or re.search(_CONTROL, self.device) or self.device.startswith("#"):
            raise ValueError("device is missing, or holds what no device can: give it as /dev/… or UUID=…")
        if re.fullmatch(r"(ephemeral|swap)[0-9]*(\.[0-9]+)?", self.device):
            raise ValueError("device is the temporary disk or swap: use the handlers resource_disk and swap for those")
        if self.type != "swap":
            if not self.path.startswith("/") or re.search(_CONTROL, self.path) or ".." in self.path.split("/"):
                raise ValueError("path must be an absolute path, as /data")
            if not self.path.strip("/"):
                raise ValueError("path must not be the root")
        elif self.path not in ("", "none", "swap"):
            raise ValueError("path must be left out for swap")
        if not re.fullmatch(r"[A-Za-z0-9_.,+-]+", self.type):
            raise ValueError("type must be a file system's type, as ext4")
        if not re.fullmatch(r"[^\s\x00-\x1f\x7f#\\]+", self.options):
            raise ValueError("options must be words with commas between them and no spaces")
        if not 0 <= self.dump <= 9 or (self.check is not None and not 0 <= self.check <= 9):
            raise ValueError("dump and check must be from 0 to 9")

    def entry(self) -> fstab.Entry:
        """It as a line of the table."""
        device = f"/dev/{self.device}" if re.fullmatch(_SHORT, self.device) else self.device
        if self.type == "swap":
            options = "sw,nofail" if self.options == _DEFAULTS else self.options
            return fstab.Entry(device, "none", "swap", options, self.dump, self.check or 0)
        is_disk = device.startswith("/dev/") or device.partition("=")[0] in _BY
        check = self.check if self.check is not None else 2 if is_disk else 0
        path = "/" + "/".join(part for part in self.path.split("/") if part not in ("", "."))
        return fstab.Entry(device, path, self.type, self.options, self.dump, check)


class Options(Record):
    """Options of `mounts`.

    Attributes:
        entries: the lines, in their order, each with device, path, type, options, dump and check.
    """

    entries: tuple[Mount, ...] = ()

    def __post_init__(self) -> None:
        keys = [mount.entry().key for mount in self.entries]
        if len(set(keys)) != len(keys):
            raise ValueError("entries has two with one path")


def apply(ctx: Context, options: Options) -> None:
    """Enter the lines, make the mount points, mount.

    Raises:
        HandlerError: there is no /etc, or what has no `nofail` could not be mounted.
        FileError: a mount point or the table could not be written.
    """
    if not options.entries:
        return
    table = fstab.Fstab(ctx.system)
    entries = []
    for mount in options.entries:
        entry = mount.entry()
        foreign = table.foreign(entry)
        if foreign is not None and (foreign.device, foreign.kind) != (entry.device, entry.kind):
            what = entry.path if entry.path != "none" else entry.device
            ctx.note(f"{fstab.PATH} has somebody else's line for {what}: it stays, and this one is left out")
            continue
        entries.append(entry)
        if foreign is None:
            table.ensure(entry)
    table.check()
    points = [entry.path for entry in entries if entry.path != "none"]
    for path in points:
        _check_place(ctx, path)
    for path in points:
        ctx.system.files.mkdirs(path)
    table.save()
    if ctx.system.root.is_host:
        failures = [failure for failure in (_mount(ctx, entry) for entry in entries) if failure is not None]
        if failures:
            raise HandlerError("; ".join(failures))


def _check_place(ctx: Context, path: str) -> None:
    """There is a folder at the path, or can be. Raises HandlerError."""
    files = ctx.system.files
    while not files.exists(path) and path != "/":
        path = path.rpartition("/")[0] or "/"
    if not files.is_dir(path):
        raise HandlerError(f"{path} is no folder, so nothing can be mounted there: move it away, or change `path`")


def _mount(ctx: Context, entry: fstab.Entry) -> Optional[str]:
    """Mount it now; why that failed, if it may not."""
    words = entry.options.split(",")
    if "noauto" in words or (entry.path != "none" and mounted_on(ctx.system.root, entry.path) is not None):
        return None
    device = _node(entry.device)
    try:
        if device is not None and not ctx.system.files.exists(device):
            failure = f"{entry.device} is not there"
        elif entry.path == "none":
            SwapFile(ctx.system, device or entry.device).switch_on()
            return None
        else:
            ctx.system.perform(Change("mount", entry.path, entry.device), ["mount", entry.path], timeout=_SECONDS)
            return None
    except CommandError as error:
        failure = error.message
    if "nofail" not in words:
        return f"{entry.path if entry.path != 'none' else entry.device}: {failure}"
    ctx.note(f"{entry.path if entry.path != 'none' else entry.device} is not mounted yet: {failure}")
    return None


def _node(device: str) -> Optional[str]:
    """The path at which a device turns up, or None for what is no device: a server's share, memory."""
    kind, _, value = device.partition("=")
    if kind in _BY:
        # udev writes what may not stand in a name as \xNN
        safe = re.sub(r"[^A-Za-z0-9#+.:=@_/-]|/", lambda m: "".join(f"\\x{b:02x}" for b in m[0].encode()), value)
        return f"/dev/disk/{_BY[kind]}/{safe}"
    return device if device.startswith("/") and not device.startswith("//") else None
