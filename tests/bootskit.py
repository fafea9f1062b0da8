"""Timelines and statuses as a run writes them, for tests of what reads them."""

from __future__ import annotations

import json
from typing import Any

from kit import Guest

THIS, BEFORE = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
IMDS = "GET http://169.254.169.254/metadata/instance"
SPANS: list[dict[str, Any]] = [
    {"kind": "run", "name": "provision", "start": 0.0, "end": 8.0, "status": "failed", "detail": None, "parent": None},
    {"kind": "crawl", "name": "metadata", "start": 0.1, "end": 5.0, "status": "done", "detail": None, "parent": 0},
    {"kind": "request", "name": IMDS, "start": 0.2, "end": 2.2, "status": "500", "detail": None, "parent": 1},
    {"kind": "request", "name": IMDS, "start": 3.2, "end": 4.7, "status": "200", "detail": None, "parent": 1},
    {"kind": "request", "name": "GET http://168.63.129.16/?comp=versions", "start": 0.2, "end": 0.4,
     "status": "200", "detail": None, "parent": 1},
    {"kind": "step", "name": "hostname", "start": 5.0, "end": 5.25, "status": "done", "detail": None, "parent": 0},
    {"kind": "step", "name": "swap", "start": 5.25, "end": 5.25, "status": "skipped", "detail": "no disk", "parent": 0},
    {"kind": "step", "name": "<b>&\"user\"", "start": 5.25, "end": 7.5, "status": "failed",
     "detail": "useradd <failed>", "parent": 0},
    {"kind": "report", "name": "NotReady", "start": 7.5, "end": 7.9, "status": "done", "detail": None, "parent": 0},
]  # fmt: skip


def timeline(**changed: Any) -> dict[str, Any]:
    """A `timeline.json`."""
    made = {"format": 1, "boot_id": THIS, "started": "2026-03-01T10:00:00Z", "uptime": 4.5, "spans": SPANS}
    return {**made, **changed}


def status(**changed: Any) -> dict[str, Any]:
    """A `status.json`."""
    return {"format": 1, "boot_id": THIS, "state": "failed", "reason": "no sudo", "vm_id": None, **changed}


def put(guest: Guest, folder: str, *documents: Any) -> None:
    """Write a timeline, and a status if one is given; text is written as it is."""
    for name, document in zip(("timeline.json", "status.json"), documents):
        guest.put({f"{folder}/{name}": document if isinstance(document, str) else json.dumps(document)})


def two_boots(guest: Guest) -> Guest:
    """This boot, kept as 0007, and one before it, in which all was quicker."""
    quick = [{**span, "start": span["start"] / 2, "end": span["end"] / 2} for span in SPANS if span["name"] != "swap"]
    guest.put({"proc/sys/kernel/random/boot_id": f"{THIS}\n"})
    put(guest, "run/azurelite", timeline(), status())
    put(guest, "var/lib/azurelite/boots/0007", timeline(), status())
    earlier = {"boot_id": BEFORE, "uptime": 3.0}
    put(guest, "var/lib/azurelite/boots/0006", timeline(spans=quick, **earlier), status(boot_id=BEFORE, state="done"))
    return guest
