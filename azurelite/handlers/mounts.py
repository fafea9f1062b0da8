"""`mounts`: add lines to /etc/fstab, and mount those whose device exists.

Every line of azurelite ends with `# azurelite`. Other lines are never changed, and a mount point that one of them
uses is skipped.
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

SUMMARY = "add file systems to /etc/fstab and mount them"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False

_DEFAULTS = "defaults,nofail"
_SHORT = r"(sd|vd|xvd|hd|nvme|mmcblk)[a-z0-9]+"  # the name of a disk without /dev/
_BY = {"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel"}
_CONTROL = r"[\x00-\x1f\x7f]"
_SECONDS = 60.0


class Mount(Record):
    """One line of /etc/fstab.

    Attributes:
        device: "/dev/…", "UUID=…", "LABEL=…", "server:/share", "tmpfs"; avoid /dev/sdX, names like that can change.
        path: the mount point; it is created if missing. Leave it out for swap.
        type: the file system, for example "ext4", "xfs", "nfs", "tmpfs" or "swap"; "auto" detects it.
        options: mount options as in fstab. With "nofail" (in the default) the VM also boots without the device;
            with "noauto" it is not mounted.
        dump: the fifth field of fstab.
        check: the sixth field of fstab; when left out, 2 for disks and 0 for everything else.
    """

    device: str = ""
    path: str = ""
    type: str = "auto"
    options: str = _DEFAULTS
    dump: int = 0
    check: Optional[int] = None

    def __post_init__(self) -> None:
        if not self.device or re.search(_CONTROL, self.device) or self.device.startswith("#"):
            raise ValueError("device is missing or has an invalid character: write it as /dev/… or UUID=…")
        if re.fullmatch(r"(ephemeral|swap)[0-9]*(\.[0-9]+)?", self.device):
            raise ValueError("device is the temporary disk or swap: use the handler resource_disk or swap instead")
        if self.type != "swap":
            if not self.path.startswith("/") or re.search(_CONTROL, self.path) or ".." in self.path.split("/"):
                raise ValueError("path must be an absolute path such as /data")
            if not self.path.strip("/"):
                raise ValueError("path must not be `/`")
        elif self.path not in ("", "none", "swap"):
            raise ValueError("path must be left out for swap")
        if not re.fullmatch(r"[A-Za-z0-9_.,+-]+", self.type):
            raise ValueError("type must be the type of a file system, such as ext4")
        if not re.fullmatch(r"[^\s\x00-\x1f\x7f#\\]+", self.options):
            raise ValueError("options must be separated by commas, without spaces")
        if not 0 <= self.dump <= 9 or (self.check is not None and not 0 <= self.check <= 9):
            raise ValueError("dump and check must be from 0 to 9")

    def entry(self) -> fstab.Entry:
        """The line for /etc/fstab."""
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
        entries: the lines, in this order, each with `device`, `path`, `type`, `options`, `dump` and `check`.
    """

    entries: tuple[Mount, ...] = ()

    def __post_init__(self) -> None:
        keys = [mount.entry().key for mount in self.entries]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"entries has {key[0] or key[1]} twice: remove one of the two")


def apply(ctx: Context, options: Options) -> None:
    """Add the lines, create the mount points, mount.

    Raises:
        HandlerError: there is no /etc, a mount point is not a folder, or an entry without `nofail` was not mounted.
        FileError: a mount point could not be created, or /etc/fstab not written.
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
            ctx.note(f"{what} skipped: {fstab.PATH} already has a different line for it: remove one of the two")
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
    """Check that the path is a folder, or that one can be created there. Raises HandlerError."""
    files = ctx.system.files
    while not files.exists(path) and path != "/":
        path = path.rpartition("/")[0] or "/"
    if not files.is_dir(path):
        raise HandlerError(f"{path} is not a folder, so nothing can be mounted there: move it, or change `path`")


def _mount(ctx: Context, entry: fstab.Entry) -> Optional[str]:
    """Mount it now. Returns the failure of an entry without `nofail`, otherwise None."""
    words = entry.options.split(",")
    if "noauto" in words or (entry.path != "none" and mounted_on(ctx.system.root, entry.path) is not None):
        return None
    device = _node(entry.device)
    try:
        if device is not None and not ctx.system.files.exists(device):
            failure = f"{entry.device} does not exist"
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
    """The path of the device's node; None for entries without a device, such as network shares and tmpfs."""
    kind, _, value = device.partition("=")
    if kind in _BY:
        # udev writes characters that are not allowed in a file name as \xNN
        safe = re.sub(r"[^A-Za-z0-9#+.:=@_/-]|/", lambda m: "".join(f"\\x{b:02x}" for b in m[0].encode()), value)
        return f"/dev/disk/{_BY[kind]}/{safe}"
    return device if device.startswith("/") and not device.startswith("//") else None
