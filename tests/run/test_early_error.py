"""What runs ahead of the network: the host name from the disc at the first boot, and nothing at later ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest
from kit import SWAPPED_VM_ID, VM_ID, FastClock, Guest

from azurelite.cli import main
from azurelite.run.provision import Options, provision
from azurelite.simulator import Simulator
from azurelite.simulator.ovf import ovf_document
from azurelite.state import marker
from azurelite.system.root import Root

UNIT = Path(__file__).parents[2] / "azurelite/service/units/systemd/azurelite-hostname.service"
COMMAND = UNIT.read_text(encoding="utf-8").partition("\nExecStart=/usr/bin/azurelite ")[2].partition("\n")[0].split()
OTHER_ID = "0f0e0d0c-0b0a-4908-8706-050403020100"
MARKER = f"var/lib/azurelite/vms/{VM_ID}/provisioned"
DISC = "run/azurelite/media/ovf-env.xml"
CLOUD_INIT = "var/lib/cloud/data/instance-id"
WAAGENT = "var/lib/waagent/provisioned"

Boot = Callable[[], str]


@pytest.fixture
def image(guest: Guest, fabric: Simulator) -> Guest:
    """A VM whose disc names it web-1, as the fabric does."""
    guest.put({DISC: ovf_document(fabric.scenario.vm).decode()})
    media = {"device": "/run/azurelite/media"}
    return guest.on_azure().configure(
        fabric, datasource={"media": media}, handlers=["hostname", "user", "report_ready"]
    )


def early(guest: Guest) -> int:
    return main([*COMMAND, "--root", guest.root])


def test_a_name_that_somebody_changed_later_stays(image: Guest, fabric: Simulator) -> None:
    assert COMMAND == ["apply", "hostname", "--sources", "media", "--first-boot"]
    assert early(image) == 0
    assert image.text("etc/hostname") == "web-1\n"
    assert provision(Options(root=image.root, clock=FastClock())).outcome == "provisioned"
    image.path(DISC).unlink()  # at the next boot it is gone, but azurelite has its copy
    image.put({"etc/hostname": "renamed\n"})
    before, asked = image.snapshot(), len(fabric.requests)
    assert early(image) == 0
    assert (image.snapshot(), len(fabric.requests)) == (before, asked)


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ({MARKER: ""}, "was provisioned earlier"),
        ({MARKER.replace(VM_ID, SWAPPED_VM_ID): ""}, "was provisioned earlier"),
        ({CLOUD_INIT: VM_ID.upper() + "\n"}, "was provisioned by cloud-init"),
        ({WAAGENT: SWAPPED_VM_ID}, "was provisioned by the Azure Linux agent"),
    ],
)
def test_nothing_is_done_to_a_vm_that_is_provisioned(
    image: Guest, capsys: pytest.CaptureFixture[str], there: dict[str, str], said: str
) -> None:
    before = image.put(there).snapshot()
    assert early(image) == 0
    assert said in capsys.readouterr().out
    assert image.snapshot() == before
    assert main([*COMMAND, "--root", image.root, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "nothing to do"


@pytest.mark.parametrize(
    "there",
    [
        {},
        {MARKER.replace(VM_ID, OTHER_ID): ""},  # of the VM that the image was captured from
        {CLOUD_INIT: OTHER_ID},
        {CLOUD_INIT: VM_ID, f"var/lib/azurelite/vms/{VM_ID}/owed": "{}"},  # azurelite is at it itself
    ],
)
def test_a_first_boot_is_one_whatever_other_vms_left_on_the_disk(image: Guest, there: dict[str, str]) -> None:
    assert early(image.put(there)) == 0
    assert image.text("etc/hostname") == "web-1\n"


def test_without_an_id_in_the_firmware_any_vm_may_be_this_one(guest: Guest) -> None:
    root = Root(guest.root)
    assert marker.done_before(root, None) is None
    guest.put({f"var/lib/azurelite/vms/{OTHER_ID}/provisioned": ""})
    assert "the record of a VM" in str(marker.done_before(root, None))


def test_apply_without_the_flag_does_it_again(image: Guest) -> None:
    assert main(["apply", "hostname", "--sources", "media", "--root", image.put({MARKER: ""}).root]) == 0
    assert image.text("etc/hostname") == "web-1\n"


@pytest.mark.parametrize("words", [["--first-boot=1"], ["--first-boot", "--nonsense"]])
def test_how_it_is_spelled(image: Guest, words: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["apply", "hostname", *words])
    assert caught.value.code == 2
    assert capsys.readouterr().err
