"""VMs that Azure keeps in a pool (pre-provisioning, PPS): ready before they have an owner, configured once they have.

Such a VM reports Ready as it is, waits until Azure moves it into its owner's network, asks IMDS for the owner's
ovf-env.xml until there is one, and is then provisioned like any other. Only platform images have been seen in pools.
"""

from __future__ import annotations

import logging
from typing import Callable, Optional

from azurelite import layout
from azurelite.clock import Clock, Deadline, iso_utc
from azurelite.datasource.crawl import Crawl
from azurelite.errors import AzureliteError, FabricError
from azurelite.fabric.client import Fabric
from azurelite.fabric.media import MediaDocument
from azurelite.reporter import Reporter
from azurelite.system.interfaces import primary_interface
from azurelite.system.links import LinkWatch
from azurelite.system.machine import System

LOG = logging.getLogger(__name__)

RUNNING, SAVABLE, OS_DISK = "Running", "Savable", "PreprovisionedOSDisk"
_KNOWN = (RUNNING, SAVABLE, OS_DISK)
_UNTIL_POWER_OFF = 3600.0  # seconds; the host switches an OS-disk VM off within minutes
_POLL_PAUSE = 1.0  # seconds; 404 means "not assigned yet", maybe for days
_POLL_SHARE = 30.0  # seconds for one round of asking
OpenFabric = Callable[[], Fabric]


def pool_type(crawled: Crawl, system: System) -> Optional[str]:
    """How this VM waits for an owner, or None for an ordinary one.

    A marker left by a run that had reported Ready to the pool already, and then ended, counts as waiting still.
    """
    if system.files.stat(layout.POOL_MARKER) is not None:
        return crawled.metadata.pps_type or RUNNING
    kind = crawled.metadata.pps_type
    if kind is not None and kind not in _KNOWN:
        LOG.warning("Azure says an unknown kind of pre-provisioning, %r; this VM is taken for an ordinary one", kind)
    return kind if kind in _KNOWN else None


def leave_pool(kind: str, *, system: System, fabric: Fabric, open_fabric: OpenFabric) -> MediaDocument:
    """Report Ready to the pool, wait for the owner, and fetch his document. Takes as long as it takes.

    Args:
        kind: "Running", "Savable" or "PreprovisionedOSDisk".
        system: the guest.
        fabric: the endpoints of this run so far.
        open_fabric: makes new endpoints with a new time budget: what was asked before does not count here.

    Returns:
        The owner's ovf-env.xml.

    Raises:
        AzureliteError: Ready was refused, links cannot be watched, or the host did not switch the VM off.
    """
    if system.files.stat(layout.POOL_MARKER) is None:
        _wait_in_pool(kind, system=system, fabric=fabric)
    return _ask_for_owner(open_fabric, clock=fabric.clock)


def forget_pool(system: System) -> None:
    """The owner's Ready was accepted: a later boot is an ordinary one."""
    if not system.dry_run:
        system.files.remove(layout.POOL_MARKER)


def _wait_in_pool(kind: str, *, system: System, fabric: Fabric) -> None:
    reporter = Reporter(fabric, system.files, None)
    with LinkWatch() as watch:  # opened first, so that no change is missed
        try:
            reporter.ready(fabric.deadline)
        except FabricError:
            if kind != SAVABLE:  # the host may take a savable VM's network away before it answers
                raise
        LOG.info("this VM waits in a pool (%s) for its owner", kind)
        if kind == OS_DISK:
            fabric.clock.sleep(_UNTIL_POWER_OFF)
            raise AzureliteError("the host did not switch the VM off", reason="error waiting for host shutdown")
        text = f"{kind} since {iso_utc(fabric.clock.now())}\n"
        system.files.make_own_folder(layout.STATE_DIR, mode=0o700)
        system.files.put(layout.POOL_MARKER, text.encode(), mode=0o600, owner=None)
        if kind == SAVABLE:
            LOG.info("the new network link is %s", watch.wait_for_replacement())
        else:
            watch.wait_for_switch(primary_interface(system.root) or "eth0")


def _ask_for_owner(open_fabric: OpenFabric, *, clock: Clock) -> MediaDocument:
    said: Optional[str] = None
    while True:
        with open_fabric() as fabric:
            try:
                document = fabric.imds.fetch_reprovision_data(Deadline(clock, _POLL_SHARE))
            except FabricError as error:
                if error.reason != said:
                    said = error.reason
                    LOG.info("no owner yet: %s", error)
            else:
                return MediaDocument(document, "reprovisiondata")
        clock.sleep(_POLL_PAUSE)
