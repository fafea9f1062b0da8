"""VMs that Azure keeps in a pool (pre-provisioning, PPS): booted before they have an owner, provisioned afterwards.

Such a VM reports Ready, waits until Azure moves it into its owner's network, asks IMDS for the owner's ovf-env.xml
until it exists, and is then provisioned like any other VM. Only platform images have been seen in pools.

Asking too early is harmless (the answer is 404), but waiting for a network event that was missed would never end. So
any event that may be the move to the owner's network counts as the move.
"""

from __future__ import annotations

import logging
from typing import Any, Callable, Optional

from azurelite import layout
from azurelite.clock import Clock, Deadline, iso_utc
from azurelite.datasource.imds import parse_imds
from azurelite.datasource.ovf import parse_ovf
from azurelite.errors import AzureliteError, DocumentError, FabricError, FileError, MediaError, TransportError
from azurelite.fabric.client import Fabric
from azurelite.hypervisor.identity import read_identity, swap_bytes
from azurelite.media.find import MediaDocument
from azurelite.metadata import Metadata
from azurelite.run.reporter import Reporter
from azurelite.system.machine import System
from azurelite.system.network.interfaces import primary_interface
from azurelite.system.network.links import LinkWatch, await_replacement, await_switch

LOG = logging.getLogger(__name__)

RUNNING, SAVABLE, OS_DISK = "Running", "Savable", "PreprovisionedOSDisk"
_BY_RANK = (SAVABLE, OS_DISK, RUNNING)  # if media and IMDS differ, the first of these applies
_NO_POOL = (None, "None", "Unknown")
_UNTIL_POWER_OFF = 365 * 86400.0  # seconds; the host switches the VM off at a time of its choice
# Seconds. The host may remove a savable VM's network before it answers. A report that is retried for longer could reach
# Azure from the owner's network, and would then mark a VM as ready that is not.
_SAVABLE_READY = 60.0
_POLL_PAUSE = 1.0  # seconds; 404 means "not assigned yet", maybe for days
_POLL_SHARE = 3600.0  # seconds for one round of requests; each round logs an error once
_STALE_IMDS = 60.0  # seconds for which IMDS may still describe the pool after the VM has an owner
_UNREADABLE_TRIES = 30  # documents; a host that is starting may send an incomplete one
OpenFabric = Callable[[], Fabric]
OpenWatch = Callable[[], LinkWatch]


def pool_type(metadata: Metadata, system: System) -> Optional[str]:
    """The type of pool in which this VM waits for an owner, or None for an ordinary VM.

    A run that reported Ready to the pool and was then interrupted has left a marker: the VM is still waiting. The
    marker of another VM, which came with the image, counts only if Azure says that this VM is in a pool as well.
    """
    kind = _kind(metadata)
    waiting = _waits_as(system)
    if waiting is None or (waiting and kind is None and not _is_this_vm(waiting, system)):
        return kind
    return kind or RUNNING


def leave_pool(
    kind: str, *, system: System, fabric: Fabric, open_fabric: OpenFabric, open_watch: OpenWatch = LinkWatch
) -> MediaDocument:
    """Report Ready to the pool, wait for the owner, and fetch their ovf-env.xml. There is no time limit.

    Args:
        kind: "Running", "Savable" or "PreprovisionedOSDisk".
        system: the guest.
        fabric: the endpoints of this run so far; they get a new time budget when this returns or raises.
        open_fabric: makes new endpoints with a new time budget.
        open_watch: starts to watch the guest's network links.

    Returns:
        The owner's ovf-env.xml.

    Raises:
        AzureliteError: Ready was refused, the links cannot be watched, the host did not switch the VM off, the owner's
            document stays unreadable, or IMDS keeps describing the pool.
    """
    try:
        waiting = _waits_as(system)
        if waiting is None or not _is_this_vm(waiting, system):
            _wait_in_pool(kind, system=system, fabric=fabric, open_watch=open_watch)
        document = _ask_for_owner(open_fabric, clock=fabric.clock)
        _wait_for_imds(open_fabric, Deadline(fabric.clock, _STALE_IMDS))
        return document
    finally:  # days may have passed, and a failure must be reported too
        with open_fabric() as fresh:
            fabric.renew(fresh.deadline.remaining())


def still_in_pool(metadata: Metadata) -> Optional[AzureliteError]:
    """An error if the crawl after the pool must not be used: IMDS still describes the pool, with the pool's user."""
    return _speaks_of_pool(_at(metadata.raw, "imds", "extended", "compute", "ppsType"))


def forget_pool(system: System) -> None:
    """Remove the marker: Azure has accepted the owner's Ready, so a later boot is an ordinary one."""
    if system.dry_run:
        return
    try:
        system.files.remove(layout.POOL_MARKER)
    except FileError as error:  # harmless: this VM is marked as provisioned, which is checked first
        LOG.warning("%s", error)


def _kind(metadata: Metadata) -> Optional[str]:
    """The type of pool that media or IMDS names. An unknown name never hides a known one."""
    said = {metadata.pps_type, _at(metadata.raw, "imds", "extended", "compute", "ppsType")}
    for kind in _BY_RANK:
        if kind in said:
            return kind
    unknown = sorted(str(kind) for kind in said if kind not in _NO_POOL)
    if not unknown:
        return None
    flag = _at(metadata.raw, "ovf", "PreprovisionedVm")
    taken = RUNNING if flag is not None and flag.lower() in ("true", "1") else None
    LOG.warning(
        "pool: unknown pre-provisioning type %r; continuing as %s",
        unknown[0],
        "an ordinary VM" if taken is None else f"type {taken!r}",
    )
    return taken


def _at(tree: Any, *keys: str) -> Optional[str]:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree if isinstance(tree, str) else None


def _wait_in_pool(kind: str, *, system: System, fabric: Fabric, open_watch: OpenWatch) -> None:
    if kind == OS_DISK:
        _report_ready(system, fabric, fabric.deadline)
        fabric.clock.sleep(_UNTIL_POWER_OFF)
        raise AzureliteError("the host did not switch the VM off", reason="error waiting for host shutdown")
    nic = primary_interface(system.root)  # read it while the link is up
    with open_watch() as watch:  # opened before the report, so that no change is missed
        if kind == SAVABLE:
            try:
                _report_ready(system, fabric, fabric.deadline.within(_SAVABLE_READY))
            except FabricError as error:
                LOG.info("pool: Azure has not answered the Ready report (%s): waiting for an owner anyway", error)
        else:
            _report_ready(system, fabric, fabric.deadline)
        _mark(kind, system, fabric.clock)
        LOG.info("pool: Azure keeps this VM ready for a future owner (type %s): waiting without a time limit", kind)
        if system.commands.waiting is not None:
            system.commands.waiting("an owner of this VM")
        if kind == SAVABLE:
            LOG.info("pool: the network link was replaced by %s", await_replacement(watch.events()) or "another one")
        else:
            await_switch(watch.events(), nic)
            LOG.info("pool: the network link was switched")


def _report_ready(system: System, fabric: Fabric, deadline: Deadline) -> None:
    Reporter(fabric, system.files, read_identity(system.root).vm_id).ready(deadline)


def _mark(kind: str, system: System, clock: Clock) -> None:
    text = f"{read_identity(system.root).vm_id or ''}\n{kind} since {iso_utc(clock.now())}\n"
    try:
        system.files.make_own_folder(layout.STATE_DIR)
        system.files.put(layout.POOL_MARKER, text.encode(), mode=0o600, owner=None)
    except FileError as error:
        LOG.warning("pool: %s; if this run is interrupted, the next one reports Ready to the pool again", error)


def _waits_as(system: System) -> Optional[str]:
    """The id of the VM that a run has reported to the pool; "" if the id is unknown, None if there was no such run."""
    try:
        marker = system.files.text(layout.POOL_MARKER)
    except FileError as error:
        LOG.warning("%s", error)
        return None
    return None if marker is None else marker.partition("\n")[0].strip()


def _is_this_vm(vm_id: str, system: System) -> bool:
    """Compare with this VM's id in either byte order, because kernels differ in how they read it."""
    own = read_identity(system.root).vm_id
    return own is None or vm_id in (own, swap_bytes(own))


def _ask_for_owner(open_fabric: OpenFabric, *, clock: Clock) -> MediaDocument:
    said: Optional[str] = None
    unreadable = 0
    while True:
        try:
            with open_fabric() as fabric:
                document = fabric.imds.fetch_reprovision_data(Deadline(clock, _POLL_SHARE))
            parse_ovf(document)
        except FabricError as error:
            unreadable = unreadable + 1 if _is_unreadable(error) else 0
            if unreadable == _UNREADABLE_TRIES:
                raise
            if error.reason != said:
                said = error.reason
                LOG.info("pool: no owner yet: %s", error)
        else:
            return MediaDocument(document, "reprovisiondata")
        clock.sleep(_POLL_PAUSE)


def _is_unreadable(error: FabricError) -> bool:
    """Whether the document exists but is unusable. One that does not exist yet is waited for without a limit."""
    answer = error.__cause__ or error
    too_large = isinstance(answer, TransportError) and answer.kind == "response too large"
    return too_large or isinstance(error, (DocumentError, MediaError))


def _wait_for_imds(open_fabric: OpenFabric, deadline: Deadline) -> None:
    """Wait until IMDS describes the owner's VM. Before that, the pool's user would win over ovf-env.xml."""
    while True:
        trouble: Optional[AzureliteError]
        try:
            with open_fabric() as fabric:
                trouble = _speaks_of_pool(parse_imds(fabric.imds.fetch_instance(deadline)).pps_type)
        except FabricError as error:
            trouble = error
        if trouble is None:
            return
        if deadline.remaining() <= _POLL_PAUSE:
            if isinstance(trouble, FabricError):  # the crawl asks IMDS again and checks the answer
                return
            raise trouble
        deadline.clock.sleep(_POLL_PAUSE)


def _speaks_of_pool(kind: Optional[str]) -> Optional[AzureliteError]:
    if kind not in _BY_RANK:
        return None
    key = "extended.compute.ppsType"
    return AzureliteError(
        f"IMDS: {key} is still {kind!r}, although this VM has an owner", reason=f"invalid IMDS metadata for key={key}"
    )
