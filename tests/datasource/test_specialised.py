"""A specialised disk is recognised by two facts: IMDS has no `osProfile`, and no drive has a provisioning disc."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Optional

import pytest
from kit import VM_ID, FastClock, Guest

from azurelite.datasource.crawl import crawl
from azurelite.datasource.imds import is_specialised
from azurelite.fabric.client import Fabric
from azurelite.fabric.settings import ImdsSettings
from azurelite.hypervisor.identity import Identity
from azurelite.layout import saved_media
from azurelite.media.find import EmptyDriveError, fetch_media, trouble_of_drive
from azurelite.metadata import Metadata
from azurelite.simulator import Scenario, Simulator
from azurelite.system.machine import System

WITHOUT = {"imds": {"compute": {"osProfile": None}}}
DISC = "disc"  # stands for the text of a provisioning disc


class Case(NamedTuple):
    """How a VM is found, and the answer."""

    specialised: bool
    vm: Mapping[str, Any] = WITHOUT
    files: Mapping[str, str] = {}
    media: str = "auto"
    sources: tuple[str, ...] = ("media", "imds")


CASES = {
    "no profile, no disc": Case(True),
    "a profile": Case(False, vm={}),
    "an empty profile": Case(False, vm={"imds": {"compute": {"osProfile": {}}}}),
    "the oldest version with a profile": Case(True, vm={**WITHOUT, "api_versions": ["2020-10-01"]}),
    "an older version": Case(False, vm={**WITHOUT, "api_versions": ["2020-09-01"]}),
    "a version without any profile": Case(False, vm={"api_versions": ["2019-06-01"]}),
    "a disc that cannot be read": Case(False, files={"dev/sr0": "no file system"}),
    "a damaged document": Case(False, files={"media/ovf-env.xml": "<Environment"}, media="/media"),
    "a disc that is gone since an earlier boot": Case(False, files={saved_media(VM_ID)[1:]: DISC}),
    "another VM's disc of an earlier boot": Case(
        True, files={saved_media("0f0e0d0c-0b0a-4908-8706-050403020100")[1:]: DISC}
    ),
    "an empty folder in place of the disc": Case(False, files={"media/x": ""}, media="/media"),
    "no disc is looked for": Case(False, media="none"),
    "discs are no source": Case(False, sources=("imds",)),
    "IMDS is no source": Case(False, sources=("media",)),
    "IMDS is out of order": Case(False, vm={"imds": {"compute": None}}),
}


def read(guest: Guest, case: Case) -> Metadata:
    with Simulator(Scenario.from_dict({"vm": dict(case.vm)})) as simulator:
        for name, text in case.files.items():
            guest.put({name: simulator.ovf().decode() if text is DISC else text})
        with Fabric(60, imds=ImdsSettings(simulator.url), clock=FastClock()) as fabric:
            return crawl(
                fabric,
                identity=Identity(on_azure=True, system_uuid=VM_ID, vm_id=VM_ID),
                sources=case.sources,
                system=System(guest.root, dry_run=True),
                media=case.media,
            ).metadata


@pytest.mark.parametrize("name", CASES)
def test_each_way_in_which_a_vm_is_found(guest: Guest, name: str) -> None:
    metadata = read(guest, CASES[name])
    assert is_specialised(metadata) is CASES[name].specialised, metadata.raw
    assert is_specialised(Metadata.from_dict(metadata.as_dict())) is CASES[name].specialised, "replayed from a file"


@pytest.mark.parametrize(("status", "is_empty"), [(0, None), (1, True), (2, True), (3, False), (4, None)])
def test_an_empty_drive_has_no_disc_and_one_that_is_not_ready_may_have_one(
    status: int, is_empty: Optional[bool]
) -> None:
    trouble = trouble_of_drive(status)
    assert (None if trouble is None else isinstance(trouble, EmptyDriveError)) is is_empty


def test_a_drive_that_cannot_be_read_is_reported_to_the_caller(guest: Guest) -> None:
    unread: list[str] = []
    guest.put({"dev/sr0": "no file system"})
    fetch_media(System(guest.root, dry_run=True), "auto", lambda _: True, unread=unread)
    assert unread == ["/dev/sr0"]
