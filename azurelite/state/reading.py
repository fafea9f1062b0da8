"""Reading how this boot and earlier ones went: at once, as any user, without the network."""

from __future__ import annotations

from typing import Any, Optional

from azurelite import layout
from azurelite.clock import Clock, SystemClock, iso_utc
from azurelite.errors import ConfigError
from azurelite.hypervisor.identity import read_identity
from azurelite.state import marker, quick, records
from azurelite.state.status import NEVER_RAN, UNFINISHED, blank
from azurelite.system.root import Root

_PAUSE = 0.25  # seconds between two looks of `wait_for`
_ENABLE = "Check that the boot service is enabled: `azurelite service install`."


def current(root: Root, *, problems: list[str], clock: Optional[Clock] = None) -> dict[str, Any]:
    """The status of this boot, with all keys. A run whose process is gone has failed.

    Args:
        root: the guest.
        problems: gets why a status is not used: it is damaged, or of another version.
        clock: for the time stamp where there is no status.
    """
    here = quick.boot_id(root)
    found = None
    try:
        found = records.read_record(root, layout.STATUS)
    except ConfigError as error:
        problems.append(str(error))
    if found is None or found["boot_id"] != here:
        now = (clock or SystemClock()).now()
        return _kept(root, here) or _without_status(root, blank(NEVER_RAN, boot_id=here, updated=iso_utc(now), pid=0))
    if found["state"] in UNFINISHED and records.is_crashed(found, boot_id=here):
        return {**found, **records.crash_of(found)}
    return found


def wait_for(
    root: Root, limit: Optional[float], *, problems: list[str], clock: Optional[Clock] = None
) -> tuple[dict[str, Any], bool]:
    """The status of this boot once there is an outcome, and whether the time was over before.

    Args:
        root: the guest.
        limit: seconds; None: do not wait.
        problems: as in `current`.
        clock: time.
    """
    clock = clock or SystemClock()
    began = clock.monotonic()
    while True:
        problems.clear()
        found = current(root, clock=clock, problems=problems)
        if limit is None or found["state"] not in (*UNFINISHED, NEVER_RAN):
            return found, False
        left = began + limit - clock.monotonic()
        if left <= 0:
            return found, True
        clock.sleep(min(_PAUSE, left))


def earlier(root: Root, back: int) -> dict[str, Any]:
    """The status of an earlier boot in which azurelite had something to do.

    Args:
        root: the guest.
        back: 1 is the last one before this boot.

    Raises:
        ConfigError: it is not kept, or cannot be read.
    """
    name = records.boot_before(earlier_boots(root), back)
    record = records.read_record(root, f"{layout.BOOTS_DIR}/{name}/status.json")
    if record is None:
        raise ConfigError(f"--boot -{back}: its status is missing: give another number")
    return record


def earlier_boots(root: Root) -> list[str]:
    """The folders in `boots` of the boots before this one, the oldest first. Raises ConfigError."""
    names = records.kept_boots(root)
    here = quick.boot_id(root)
    if names and here is not None and records.boot_id_of(root, names[-1]) == here:
        names.pop()
    return names


def _kept(root: Root, here: Optional[str]) -> Optional[dict[str, Any]]:
    """What a run of this boot kept below /var/lib, for root: /run may be full or read-only."""
    try:
        names = records.boot_names(root) if here is not None else []
    except OSError:  # an ordinary user
        return None
    found = records.found_status(root, f"{layout.BOOTS_DIR}/{names[-1]}/status.json") if names else None
    return found if found is not None and found["boot_id"] == here else None


def _without_status(root: Root, made: dict[str, Any]) -> dict[str, Any]:
    off = marker.switched_off(root)
    if off is not None:
        return {**made, "state": "disabled", "reason": f"azurelite is disabled: {off}"}
    vm_id = read_identity(root).vm_id
    if vm_id is not None and marker.nothing_to_do(root, vm_id, config_file=None):
        reason = f"VM {vm_id} was provisioned earlier; this boot has left no status"
        return {**made, "state": "done", "outcome": "already provisioned", "vm_id": vm_id, "reason": reason}
    return {**made, "remedy": _ENABLE}
