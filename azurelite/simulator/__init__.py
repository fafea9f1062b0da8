"""A fake Azure fabric: IMDS and WireServer on one HTTP address, driven by a scenario and as strict as Azure.

It also makes the other things that a VM gets: the provisioning media as an image, certificates with their private keys
(by the openssl program, only when requested), and the new provisioning document of a VM that leaves a pool.

This package shares no code with the client that it tests, so that a misreading of Azure in one of them shows in the
other. It does not provision; it answers requests, records them, and plays faults on demand.

Example::

    with Simulator(Scenario.default()) as sim:
        provision(imds=sim.url, wireserver=sim.url)
        assert sim.reports[-1].state == "Ready"
        disc.write_bytes(sim.media("udf"))
"""

from __future__ import annotations

from azurelite.simulator.keyring import Certificate, CertificatesError
from azurelite.simulator.record import Report, Request
from azurelite.simulator.scenario import Fault, Scenario, ScenarioError, Vm
from azurelite.simulator.server import Simulator, config_text

__all__ = [
    "Certificate",
    "CertificatesError",
    "Fault",
    "Report",
    "Request",
    "Scenario",
    "ScenarioError",
    "Simulator",
    "Vm",
    "config_text",
]
