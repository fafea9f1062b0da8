"""What a pool VM polls for: the provisioning document of the VM that it becomes.

Knows when there is something to fetch. Refuses to know the document itself, and how a VM leaves the pool.
"""

from __future__ import annotations

from azurelite.simulator import imds
from azurelite.simulator.message import Answer, Ask, json_answer
from azurelite.simulator.scenario import Vm


def answer_reprovision_data(ask: Ask, vm: Vm, *, document: bytes | None) -> Answer:
    """The document as it stands; None: the VM is in the pool yet, or was never in one, which is 404."""
    refusal = imds.refusal(ask) or imds.version_refusal(ask, vm)
    if refusal is not None:
        return refusal
    if document is None:
        return json_answer(404, {"error": "Not found"})
    return Answer(200, document, (("Content-Type", "text/xml; charset=utf-8"),))
