"""Attested data: the rules of the request, and the document without a real signature.

The member `signature` holds the document itself, so verifying it fails: there is no signer.
"""

from __future__ import annotations

import base64
import json
import re
import time

from azurelite.simulator import imds
from azurelite.simulator.message import Answer, Ask, json_answer
from azurelite.simulator.scenario import Vm

PATH = "/metadata/attested/document"
_LIFETIME = 6 * 3600  # seconds


def answer_attested(ask: Ask, vm: Vm) -> Answer:
    """The answer to a request for attested data."""
    refusal = imds.refusal(ask) or imds.version_refusal(ask, vm)
    if refusal is not None:
        return refusal
    query = dict(ask.query)
    if query.get("format", "json") != "json":
        return json_answer(400, {"error": "Bad request. The format is not supported for this element"})
    nonce = query.get("nonce")
    if nonce is not None and not re.fullmatch("[0-9]{1,10}", nonce):
        return json_answer(400, {"error": "Bad request. nonce must be a number of up to ten digits"})
    signed = json.dumps(_document(vm, nonce=nonce, now=time.time())).encode()
    return json_answer(200, {"encoding": "pkcs7", "signature": base64.b64encode(signed).decode()})


def _document(vm: Vm, *, nonce: str | None, now: float) -> dict[str, object]:
    made, ends = (time.strftime("%m/%d/%y %H:%M:%S -0000", time.gmtime(at)) for at in (now, now + _LIFETIME))
    return {
        "licenseType": "",
        "nonce": nonce or time.strftime("%Y%m%d-%H%M%S", time.gmtime(now)),
        "plan": {"name": "", "product": "", "publisher": ""},
        "sku": "",
        "subscriptionId": imds.SUBSCRIPTION,
        "timeStamp": {"createdOn": made, "expiresOn": ends},
        "vmId": vm.vm_id,
    }
