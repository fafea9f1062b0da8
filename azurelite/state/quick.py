"""Writing small files without the machinery of `system.files`: atomically, not synced, without a record.

The status is written several times per run, also by the boots that run next to nothing, so this imports only `os`.
"""

from __future__ import annotations

import os

from azurelite import layout
from azurelite.system.root import Root

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
BOOT_ID = "/proc/sys/kernel/random/boot_id"
STATUS_NAME = layout.STATUS.rpartition("/")[2]
_LONGEST = 16384  # bytes of the last failure
_MANY = 65536  # bytes of a status of this boot
_FINAL = ('"state": "done"', '"state": "degraded"', '"state": "background"')


def put(folder: int, name: str, data: bytes, *, mode: int) -> None:
    """Write a file in an open folder, in place of one of that name. Raises OSError."""
    beside = f".{name}.{os.getpid()}"
    try:
        descriptor = os.open(beside, _NEW, 0o600, dir_fd=folder)
    except FileExistsError:  # of a process that had this number and was killed
        os.unlink(beside, dir_fd=folder)
        descriptor = os.open(beside, _NEW, 0o600, dir_fd=folder)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
        os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        os.unlink(beside, dir_fd=folder)
        raise


def open_run_folder(root: Root) -> int:
    """Open /run/azurelite, which is made if it is missing; the caller closes the descriptor. Raises OSError."""
    parent, name = root.open_parent(layout.RUN_DIR)
    try:
        try:
            return os.open(name, _FOLDER, dir_fd=parent)
        except FileNotFoundError:
            os.mkdir(name, 0o755, dir_fd=parent)
            descriptor = os.open(name, _FOLDER, dir_fd=parent)
            os.fchmod(descriptor, 0o755)
            return descriptor
    finally:
        os.close(parent)


def boot_id(root: Root) -> str | None:
    """The kernel's id of this boot; None where it has none, as in a root that is not the running system."""
    return root.text(BOOT_ID).strip() or None


def failure_path(vm_id: str | None) -> str:
    """The guest path of the public part of the last failure of a VM."""
    return f"{layout.FAILURES_DIR}/{vm_id or 'unknown-vm'}.json"


def last_failure(root: Root, *vm_ids: str | None) -> str:
    """The last failure of the first of these VMs that has one, as a JSON object; "null" if there is none.

    A file that is damaged, as by a power cut, counts as none.
    """
    for vm_id in vm_ids:
        text = root.text(failure_path(vm_id), limit=_LONGEST).strip()
        if text.startswith("{") and _is_object(text):
            return text
    return "null"


def _is_object(text: str) -> bool:
    """Whether the text is a JSON object in one line. Few boots have a failure to tell, so few import `json`."""
    import json

    try:
        return "\n" not in text and isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def note_idle_boot(root: Root, state: str, reason: str, *, vm_id: str | None, others: tuple[str, ...] = ()) -> None:
    """Write the status of a run that found nothing to do. A status of this boot that says more stays.

    Args:
        root: the guest.
        state: "done" or "disabled".
        reason: one line.
        vm_id: the VM.
        others: other forms of its id.
    """
    here = boot_id(root)
    found = root.text(layout.STATUS, limit=_MANY)
    if state == "done" and f'"boot_id": {_quoted(here)},' in found and any(one in found for one in _FINAL):
        return
    lines = {
        "format": "1",
        "boot_id": _quoted(here),
        "state": _quoted(state),
        "step": "null",
        "reason": _quoted(reason),
        "remedy": "null",
        "updated": _quoted(_now()),
        "pid": str(os.getpid()),
        "outcome": _quoted("already provisioned" if state == "done" else state),
        "vm_id": _quoted(vm_id),
        "seconds": "0.0",
        "report": "null",
        "steps": "[]",
        "requests": "0",
        "log": _quoted(layout.LOG),
        "outputs": "[]",
        "last_failure": last_failure(root, vm_id, *others),
    }
    text = ",\n".join(f'  "{key}": {value}' for key, value in lines.items())
    try:
        folder = open_run_folder(root)
        try:
            put(folder, STATUS_NAME, f"{{\n{text}\n}}\n".encode(), mode=0o644)
        finally:
            os.close(folder)
    except OSError:  # not root, or a read-only guest: nobody needs the file for the boot
        return


def _now() -> str:
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())


def _quoted(text: str | None) -> str:
    """The text as JSON, without the module `json`."""
    if text is None:
        return "null"
    plain = "".join(one if " " <= one <= "~" and one not in '"\\' else f"\\u{ord(one) & 0xFFFF:04x}" for one in text)
    return f'"{plain}"'
