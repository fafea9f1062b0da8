"""What `provision` would do. See `azurelite.Azure.plan`."""

from __future__ import annotations

import os
from typing import Iterator, Optional

from azurelite import layout
from azurelite.handlers import REPORT_READY
from azurelite.record import Record, replace
from azurelite.run.login import foretell_login
from azurelite.run.plan import Step, due_later, foreseen, is_offline, make_plan, wanted_sources
from azurelite.run.provision import LATER_BOOT_SECONDS
from azurelite.run.session import Session
from azurelite.state import marker
from azurelite.state.store import State

# What an ordinary user cannot read -> what the plan then says wrongly.
_FOR_ROOT = (
    (layout.STATE_DIR, "steps that were done earlier are listed as steps to run"),
    (f"{layout.DMI_DIR}/product_uuid", "the VM id is known only if IMDS answers"),
    ("/etc/shadow", "whether an account has a password is unknown"),
)


class Plan(Record):
    """What `provision` would do.

    Attributes:
        headline: one line about the VM.
        steps: in order.
        login: whether the administrator could log in by SSH after these steps; None: nobody is expected.
        unseen: what this user may not read, and what that means for the plan.
    """

    headline: str
    steps: tuple[Step, ...]
    login: Optional[str] = None
    unseen: tuple[str, ...] = ()


def preview(session: Session, *, force: bool) -> Plan:
    """See `azurelite.Azure.plan`."""
    return replace(_preview(session, force=force), unseen=tuple(_unseen(session)))


def _unseen(session: Session) -> Iterator[str]:
    """What this user may not read; root may read everything."""
    root = session.root
    for path, text in _FOR_ROOT:
        try:
            host_path = root.host_path(path)
        except OSError:
            continue
        if os.path.exists(host_path) and not os.access(host_path, os.R_OK):
            yield f"{path}: {text}"
    if root.is_host and os.geteuid() != 0 and "media" in session.config.datasource.sources:
        yield "the provisioning disc: what only it has counts as missing"


def _preview(session: Session, *, force: bool) -> Plan:
    off = marker.switched_off(session.root)
    if off is not None:
        return Plan(f"azurelite is disabled: {off}", ())
    handlers = session.handlers
    system = session.system(dry_run=True)
    vm_id = session.identity.vm_id
    done = State(system, vm_id, session.clock) if vm_id is not None and not force else None
    later = done is not None and done.is_provisioned(reporting=any(one.name == REPORT_READY for one in handlers))
    offline = is_offline(handlers, session.config.datasource.sources, on_azure=session.on_azure())
    with session.endpoints(offline=offline, seconds=LATER_BOOT_SECONDS if later else None) as fabric:
        if later and done is not None:
            said = f"VM {vm_id} was provisioned earlier; only the steps of every boot run"
            owed = done.owed()
            wanted = wanted_sources(due_later(handlers, owed), session.config.datasource.sources)
            metadata = session.crawl(fabric, system, sources=wanted).metadata
            return Plan(said, make_plan(handlers, metadata, done, later_boot=True, owed=owed))
        metadata = session.crawl(fabric, system).metadata
        state = State(system, metadata.vm_id, session.clock) if metadata.vm_id is not None and not force else None
        plan = foreseen(make_plan(handlers, metadata, state))
        return Plan(f"VM {metadata.vm_id}", plan, foretell_login(plan, metadata, system, fabric))
