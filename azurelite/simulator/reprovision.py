"""The route that a pool VM polls: the provisioning document of the VM that it becomes.

This module knows only when there is a document, not its content or how a VM leaves the pool.
"""

from __future__ import annotations

from azurelite.simulator import imds
from azurelite.simulator.message import Answer, Ask, json_answer
from azurelite.simulator.scenario import Vm


def answer_reprovision_data(ask: Ask, vm: Vm, *, document: bytes | None) -> Answer:
    """The answer with `document`; 404 where it is None: the VM is still in the pool, or never was in one."""
    refusal = imds.refusal(ask) or imds.version_refusal(ask, vm)
    if refusal is not None:
        return refusal
    if document is None:
        return json_answer(404, {"error": "Not found"})
    return Answer(200, document, (("Content-Type", "text/xml; charset=utf-8"),))
