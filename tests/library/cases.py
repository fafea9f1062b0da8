"""Virtual machines with one fault each, for tests of what holds Ready back."""

from __future__ import annotations

import shutil
from typing import Any, Optional

import pytest
from kit import ED25519, Guest

from azurelite.record import Record
from azurelite.simulator import Fault, Scenario, Simulator
from azurelite.simulator.disc import disc_image

THUMBPRINT_ONLY = {"ovf_keys": "fingerprint", "ssh_keys": [ED25519]}
SILENT_IMDS = Fault(endpoint="imds", status=500)


class Case(Record):
    """A VM, what Azure's side does wrong, and what the configuration asks for.

    Attributes:
        vm: the keys of a scenario that differ.
        faults: of the endpoints.
        disc: whether there is a provisioning disc.
        handlers: of the configuration; None: the default list.
        files: further files of the guest.
        ready: whether `provision` reports Ready.
        tried: one of these calls comes first; without it the failure is not known: the step is the program's business.
    """

    vm: dict[str, Any]
    ready: bool
    faults: tuple[Fault, ...] = ()
    disc: bool = True
    handlers: Optional[list[Any]] = None
    files: Optional[dict[str, str]] = None
    tried: tuple[str, ...] = ()


CASES: dict[str, Case] = {
    "all is well": Case({}, ready=True),
    "no disc": Case({}, ready=True, disc=False),
    "an optional step fails": Case({"hostname": "___"}, ready=True),
    "an optional step is required here": Case(
        {"hostname": "___"},
        ready=False,
        handlers=[{"hostname": {"required": True}}, "user", "ssh_keys", "sshd", "report_ready"],
        tried=("apply_once", "apply_all"),
    ),
    "no administrator": Case({"username": ""}, ready=False),
    "neither a key nor a password": Case({"ssh_keys": [], "password": None}, ready=False, tried=("apply", "apply_all")),
    "an administrator that no system takes": Case({"username": "root"}, ready=False, tried=("apply", "apply_all")),
    "a password that is too long": Case({"password": "x" * 200}, ready=False),
    "certificates answer 500": Case(
        {"password": "Secret-1234", **THUMBPRINT_ONLY, "ovf_username": "azureuser"},
        ready=False,
        faults=(Fault(endpoint="certificates", status=500), SILENT_IMDS),
    ),
    "IMDS is silent and there is no disc": Case({}, ready=False, disc=False, faults=(SILENT_IMDS,)),
    "custom data that is required and lost": Case(
        {"custom_data": "#!/bin/sh\n", "imds": {"extended": {"compute": {"hasCustomData": True}}}},
        ready=False,
        disc=False,
        handlers=["hostname", "user", "ssh_keys", "sshd", {"custom_data": {"required": True}}, "report_ready"],
    ),
    "the administrator is shut out": Case(
        {},
        ready=False,
        files={"etc/ssh/sshd_config": "DenyUsers azureuser\n", "usr/sbin/sshd": "#!/bin/sh\n"},
        tried=("apply", "apply_all"),
    ),
    "the VM waits in a pool": Case({"pps_type": "Running"}, ready=False),
}


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl: install openssl")


def named(*names: str) -> list[Any]:
    """Names of cases as parameters of a test; the simulator makes certificates with openssl for some."""
    marks = [pytest.mark.spawns, needs_openssl]
    return [pytest.param(name, marks=marks if "certificates" in name else []) for name in names]


def made(case: Case, guest: Guest) -> Simulator:
    """The guest of a case, and its Azure, not started yet."""
    vm = {"ssh_keys": [ED25519], "dialects": ["xml"], **case.vm}
    fabric = Simulator(Scenario(Scenario.from_dict({"vm": vm}).vm, case.faults), rate_limit=None)
    guest.put({"dev/.keep": "", **(case.files or {})})
    if case.files is not None:
        guest.path("usr/sbin/sshd").chmod(0o755)
    if case.disc:
        guest.path("dev/sr0").write_bytes(disc_image({"ovf-env.xml": fabric.ovf()}, kind="udf"))
    return fabric


def settings(case: Case, fabric: Simulator) -> dict[str, Any]:
    """The configuration of a case, as a mapping."""
    device = "/dev/sr0" if case.disc else "none"
    sections: dict[str, Any] = {
        "datasource": {
            "imds": {"endpoint": fabric.url},
            "wireserver": {"endpoint": fabric.url},
            "media": {"device": device},
            "deadline": 60,
        }
    }
    return sections if case.handlers is None else {**sections, "handlers": case.handlers}
