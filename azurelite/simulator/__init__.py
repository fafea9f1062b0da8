"""A fake Azure fabric: IMDS and WireServer on one HTTP address, driven by a scenario and as strict as Azure.

It also makes the other things that a VM gets: the provisioning media as an image, certificates with their private keys
(by the openssl program, only when requested), and the new provisioning document of a VM that leaves a pool. For tests
of programs that use azurelite, `make_guest` makes the VM's disk, as a folder, and `FastClock` is a clock whose sleeps
take no time. `pytest_plugin` has all three as fixtures.

This package shares no code with the client that it tests, so that a misreading of Azure in one of them shows in the
other. It does not provision; it answers requests, records them, and plays faults on demand.

Example::

    with Simulator(Scenario.default(), rate_limit=None) as sim:
        guest = make_guest("/tmp/guest", sim)
        azurelite.Azure(root=guest.root, clock=FastClock()).provision().check()
        assert sim.reports[-1].state == "Ready"
"""

from __future__ import annotations

from azurelite.simulator.guest import FastClock, Guest, make_guest
from azurelite.simulator.keyring import Certificate, CertificatesError
from azurelite.simulator.record import Report, Request
from azurelite.simulator.scenario import Fault, Scenario, ScenarioError, Vm
from azurelite.simulator.server import Simulator, config_text

__all__ = [
    "Certificate",
    "CertificatesError",
    "FastClock",
    "Fault",
    "Guest",
    "Report",
    "Request",
    "Scenario",
    "ScenarioError",
    "Simulator",
    "Vm",
    "config_text",
    "make_guest",
]
