"""User data and custom data that Azure has and that cannot be read: named, and a failure where they are required."""

from __future__ import annotations

import base64
import logging
from typing import Any, Optional

import pytest
from kit import ED25519, VM_ID, FastClock, Guest

import azurelite
from azurelite.outcome import Outcome
from azurelite.run.provision import Options, provision
from azurelite.simulator import Fault, Scenario, Simulator
from azurelite.simulator.disc import disc_image

DATA = "#cloud-config\ntimezone: UTC\n"
ENCODED = base64.b64encode(DATA.encode()).decode()
NO_DISC = "there is no provisioning disc"
EMPTY_DISC = "the provisioning disc holds none"
NO_BASE64 = "CustomData skipped: it is not base64"
USER_NO_BASE64 = "compute.userData skipped: it is not base64"

# What the disc holds, what IMDS says -> words of the failure; None: nothing is lost. The disc: "good", "damaged" custom
# data, "none", or no disc at all. IMDS: its user data, and whether it announces custom data.
LOSSES: list[tuple[str, Any, bool, Optional[str]]] = [
    ("good", None, True, None),
    ("damaged", None, True, NO_BASE64),
    ("damaged", None, False, NO_BASE64),
    ("none", None, True, EMPTY_DISC),
    ("none", None, False, None),
    ("no disc", None, True, NO_DISC),
    ("no disc", None, False, None),
    ("no disc", "", False, None),
    ("no disc", " \n", False, None),
    ("no disc", "x", False, USER_NO_BASE64),
    ("no disc", "#cloud-config", False, USER_NO_BASE64),
    ("no disc", 7, False, USER_NO_BASE64),
    ("no disc", {"a": "b"}, False, USER_NO_BASE64),
    ("no disc", True, False, USER_NO_BASE64),
    ("no disc", "é", False, USER_NO_BASE64),
]


def scenario(imds: Any, announced: bool, *faults: Fault) -> Simulator:
    told = {"compute": {"userData": imds}, "extended": {"compute": {"hasCustomData": announced}}}
    vm = {"ssh_keys": [ED25519], "custom_data": DATA, "imds": told, "ovf_username": "azureuser"}
    return Simulator(Scenario(Scenario.from_dict({"vm": vm}).vm, faults), rate_limit=None)


def run(guest: Guest, fabric: Simulator, disc: str, *entries: Any) -> Outcome:
    if disc != "no disc":
        text = {"good": ENCODED, "damaged": ENCODED[:-1], "none": ""}[disc]
        document = fabric.ovf().replace(ENCODED.encode(), text.encode())
        guest.put({"dev/.keep": ""}).path("dev/sr0").write_bytes(disc_image({"ovf-env.xml": document}, kind="udf"))
    guest.put({"usr/share/zoneinfo/UTC": "TZif"}).on_azure()
    datasource = {"media": {"device": "/dev/sr0" if disc != "no disc" else "auto"}, "deadline": 100}
    guest.configure(fabric, handlers=["user", "ssh_keys", *entries, "report_ready"], datasource=datasource)
    return provision(Options(root=guest.root, clock=FastClock()))


@pytest.mark.parametrize(("disc", "imds", "announced", "words"), LOSSES)
@pytest.mark.parametrize("required", [True, False])
def test_a_loss_is_named_and_fails_what_is_required(
    guest: Guest, caplog: Any, disc: str, imds: Any, announced: bool, words: Optional[str], required: bool
) -> None:
    with scenario(imds, announced) as fabric:
        outcome = run(guest, fabric, disc, {"user_data": {"required": required}})
    step = outcome.steps[2]
    assert step.status == ("failed" if words else "done")
    assert outcome.exit_code == (1 if words and required else 0)
    assert [report.state for report in fabric.reports] == ["NotReady" if outcome.exit_code else "Ready"]
    if words is None:
        assert guest.path("etc/localtime").is_symlink() is (disc == "good")
        return
    assert words in str(step.error)
    assert words in caplog.text
    if required:
        assert words in str(fabric.reports[0].description)
    if words == NO_BASE64:
        assert "custom data is lost" not in caplog.text, "the disc had some"
        assert "no provisioning" not in caplog.text
    assert not guest.path(f"var/lib/azurelite/vms/{VM_ID}/owed").exists(), "a retry is useless"


# entries -> which of them fail, by position, if custom data is damaged and user data is there
ENTRIES: list[tuple[list[Any], list[bool]]] = [
    ([{"user_data": {"required": True}}], [True]),
    ([{"user_data": {"required": False}}], [False]),
    ([{"user_data": {"required": True, "sources": ["user_data"]}}], [False]),
    ([{"user_data": {"required": False, "sources": ["custom_data"]}}], [True]),
    ([{"user_data": {"required": True}}, {"custom_data": {"required": False}}], [False, True]),
    ([{"user_data": {"required": True}}, {"custom_data": {"required": True}}], [False, True]),
]


@pytest.mark.parametrize(("entries", "failed"), ENTRIES)
def test_what_remains_is_used_unless_all_is_required(
    guest: Guest, caplog: Any, entries: list[Any], failed: list[bool]
) -> None:
    caplog.set_level(logging.WARNING)
    with scenario(ENCODED, announced=True) as fabric:
        outcome = run(guest, fabric, "damaged", *entries)
    assert [step.status == "failed" for step in outcome.steps[2:-1]] == failed
    assert guest.path("etc/localtime").is_symlink() is not failed[0]
    notes = [note for step in outcome.steps for note in step.notes if "continuing without custom data" in note]
    assert len(notes) == (entries == ENTRIES[1][0])


@pytest.mark.parametrize("copy_is_kept", [True, False])
def test_what_is_lost_after_the_first_boot_does_not_fail_later_ones(guest: Guest, copy_is_kept: bool) -> None:
    """The disc is gone then, and IMDS goes on announcing its custom data."""
    with scenario(None, announced=True) as fabric:
        entry = {"user_data": {"frequency": "boot"}}
        first = run(guest, fabric, "good", entry)
        assert first.steps[2].status == "done"
        guest.path("dev/sr0").unlink()
        if not copy_is_kept:
            guest.path(f"var/lib/azurelite/vms/{VM_ID}/ovf-env.xml").unlink()
        later = provision(Options(root=guest.root, clock=FastClock()))
    assert later.outcome == "already provisioned"
    assert later.steps[2].status == "done"


def test_the_crawl_alone_goes_on(guest: Guest) -> None:
    with scenario("x", announced=True) as fabric:
        guest.on_azure().configure(fabric)
        assert azurelite.crawl(root=guest.root, clock=FastClock())["user_data"] is None
