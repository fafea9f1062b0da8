"""A fake Azure fabric: IMDS and WireServer on one HTTP address, driven by a scenario and as strict as Azure.

Beside the two it makes what else a VM is told by: the provisioning media as an image, certificates with their private
keys (by the openssl program, and only when somebody asks), and the new life of a VM that leaves the pool.

This package stands alone. It shares no code with the client it judges, so that a misreading of Azure on one side shows
up on the other. It knows nothing of provisioning; it only answers requests, records them and misbehaves on demand.

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
