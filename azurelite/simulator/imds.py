"""The Instance Metadata Service: the instance document of a Vm, and IMDS's answers to requests for it.

This module knows IMDS's rules (headers, api-version, formats, rate) and which api-version introduced which field, but
no socket, fault or WireServer; also the route that a pool VM polls, and attested data, whose `signature` holds the
document itself, so that verifying it fails. Facts are from Azure's IMDS documentation unless a comment says otherwise.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections import deque
from typing import Any
from urllib.parse import unquote

from azurelite.simulator.message import Answer, Ask, json_answer, text_answer
from azurelite.simulator.scenario import Vm

ROOT = "/metadata/instance"
WINDOW = 1.0  # seconds over which the documented request rate is counted

SUBSCRIPTION = "8d10da13-8125-4ba9-a717-bf7490507b3d"
_GROUP = "azurelite-demo"

# "Version introduced" in the documentation's schema tables, for fields newer than the oldest api-version.
_SINCE = {
    "additionalCapabilities": "2021-11-01",
    "azEnvironment": "2018-10-01",
    "customData": "2019-02-01",
    "evictionPolicy": "2020-12-01",
    "extendedLocation": "2021-03-01",
    "host": "2021-11-15",
    "hostGroup": "2021-11-15",
    "isHostCompatibilityLayerVm": "2020-06-01",
    "licenseType": "2020-09-01",
    "osProfile": "2020-07-15",
    "osProfile.disablePasswordAuthentication": "2020-10-01",
    "placementGroupId": "2017-08-01",
    "plan": "2018-04-02",
    "platformSubFaultDomain": "2021-10-01",
    "priority": "2020-12-01",
    "provider": "2018-10-01",
    "publicKeys": "2018-04-02",
    "resourceGroupName": "2017-08-01",
    "resourceId": "2019-03-11",
    "securityProfile": "2020-06-01",
    "securityProfile.encryptionAtHost": "2021-11-01",
    "securityProfile.securityType": "2021-12-13",
    "storageProfile": "2019-06-01",
    "storageProfile.resourceDisk": "2021-02-01",
    "subscriptionId": "2017-08-01",
    "tags": "2017-08-01",
    "tagsList": "2019-06-04",
    "userData": "2021-01-01",
    "virtualMachineScaleSet": "2021-03-01",
    "vmScaleSetName": "2017-12-01",
    "zone": "2017-12-01",
}


class RateLimit:
    """At most `limit` requests in any second; None: no limit. A refused request is not counted itself."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._admitted: deque[float] = deque()

    def admits(self, now: float) -> bool:
        """True when a request at `now` (monotonic seconds) is within the limit; it is then counted."""
        if self._limit is None:
            return True
        while self._admitted and now - self._admitted[0] >= WINDOW:
            self._admitted.popleft()
        if len(self._admitted) >= self._limit:
            return False
        self._admitted.append(now)
        return True


def answer_instance(ask: Ask, vm: Vm) -> Answer:
    """The answer to a request below /metadata/instance."""
    problem = refusal(ask) or version_refusal(ask, vm)
    if problem is not None:
        return problem
    query = dict(ask.query)
    extended = query.get("extended", "").lower() == "true"
    node: Any = instance_document(vm, api_version=query["api-version"], extended=extended)
    for part in _route(ask.path):
        node = _child(node, part)
        if node is None:
            return _error(404, "Not found")
    return _shown(node, query.get("format", "json"))


def answer_versions(ask: Ask, vm: Vm) -> Answer:
    """The answer to a request for /metadata/versions, the only IMDS route that needs no api-version."""
    return refusal(ask) or json_answer(200, {"apiVersions": sorted(vm.api_versions)})


def throttled() -> Answer:
    """The answer to a request over the documented rate."""
    return json_answer(429, {"error": "Too many requests"}, headers=(("Retry-After", "1"),))


def instance_document(vm: Vm, *, api_version: str, extended: bool) -> dict[str, Any]:
    """The document in that api-version, with the scenario's `imds` merged in."""
    built: dict[str, Any] = {"compute": _compute(vm), "network": {"interface": [_interface()]}}
    if extended:
        # Not in the documentation; clients see hasCustomData as a real boolean, unlike every other primitive.
        built["extended"] = {"compute": {"hasCustomData": bool(vm.custom_data), "ppsType": vm.pps_type}}
    document: dict[str, Any] = _merged(built, vm.imds)
    if not extended:
        document.pop("extended", None)
    compute = document.get("compute")
    if isinstance(compute, dict):
        for dotted, since in _SINCE.items():
            if api_version < since:
                _remove(compute, dotted)
    return document


def refusal(ask: Ask) -> Answer | None:
    """The error answer to a request that breaks a rule of all routes below /metadata; None for a valid one."""
    if ask.method != "GET":
        return json_answer(405, {"error": "Method not allowed"}, headers=(("Allow", "GET"),))
    if (ask.header("Metadata") or "").strip().lower() != "true":
        return _error(400, "Bad request. Required metadata header not specified or not correct")
    if ask.header("X-Forwarded-For") is not None:
        return _error(400, "Bad request. Forbidden header X-Forwarded-For was specified")
    names = [name for name, _ in ask.query]
    if len(names) != len(set(names)):
        return _error(400, "Bad request. Duplicate query parameter")
    return None


def version_refusal(ask: Ask, vm: Vm) -> Answer | None:
    """The error answer to a request without a known api-version, with newer ones; None for a valid one."""
    if dict(ask.query).get("api-version") in vm.api_versions:
        return None
    problem = "Bad request. api-version is invalid or was not specified in the request."
    return json_answer(400, {"error": problem, "newest-versions": sorted(vm.api_versions, reverse=True)[:3]})


def _error(status: int, text: str) -> Answer:
    return json_answer(status, {"error": text})


def _route(path: str) -> list[str]:
    below = path[len(ROOT) :].strip("/")
    return [unquote(part) for part in below.split("/")] if below else []


def _child(node: Any, part: str) -> Any:
    """The child with that key or index; None without one."""
    if isinstance(node, dict):
        return node.get(part)
    if isinstance(node, list) and part.isascii() and part.isdigit() and int(part) < len(node):
        return node[int(part)]
    return None


def _shown(node: Any, form: str) -> Answer:
    leaf = not isinstance(node, (dict, list))
    if form not in ("json", "text") or (leaf and form == "json"):
        return _error(400, "Bad request. The format is not supported for this element; a leaf needs format=text")
    if form == "json":
        return json_answer(200, node)
    if leaf:
        return text_answer(200, str(node).lower() if isinstance(node, bool) else str(node))
    named = node.items() if isinstance(node, dict) else enumerate(node)
    return text_answer(200, "\n".join(f"{key}/" if isinstance(item, (dict, list)) else f"{key}" for key, item in named))


def _merged(base: Any, over: Any) -> Any:
    """`over` merged into `base`: mappings merge, None removes the key, any other value replaces."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        base = {}
    if not isinstance(over, dict):
        return over
    result = dict(base)
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def _remove(tree: dict[str, Any], dotted: str) -> None:
    *parents, last = dotted.split(".")
    node: Any = tree
    for key in parents:
        node = node.get(key) if isinstance(node, dict) else None
    if isinstance(node, dict):
        node.pop(last, None)


def _compute(vm: Vm) -> dict[str, Any]:
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{_GROUP}"
    own = {
        "location": vm.location,
        "name": vm.name,
        "osProfile": _os_profile(vm),
        "platformFaultDomain": vm.fault_domain,
        "publicKeys": _public_keys(vm),
        "resourceGroupName": _GROUP,
        "resourceId": f"{group}/providers/Microsoft.Compute/virtualMachines/{vm.name}",
        "storageProfile": _storage(vm, group=group),
        "subscriptionId": SUBSCRIPTION,
        "tags": ";".join(f"{name}:{value}" for name, value in vm.tags.items()),
        "tagsList": [{"name": name, "value": value} for name, value in vm.tags.items()],
        "userData": base64.b64encode((vm.user_data or "").encode()).decode(),
        "vmId": vm.vm_id,
        "vmSize": vm.size,
        "zone": vm.zone,
    }
    # IMDS lists its keys in alphabetical order, ignoring case.
    return dict(sorted({**own, **_alike()}.items(), key=lambda pair: pair[0].lower()))


def _alike() -> dict[str, Any]:
    """The fields that are equal for every VM of this fabric. A value that does not apply is empty."""
    return {
        "additionalCapabilities": {"hibernationEnabled": "false"},
        "azEnvironment": "AzurePublicCloud",
        "customData": "",
        "evictionPolicy": "",
        "extendedLocation": {"name": "", "type": ""},
        "host": {"id": ""},
        "hostGroup": {"id": ""},
        "isHostCompatibilityLayerVm": "false",
        "licenseType": "",
        "offer": "",
        "osType": "Linux",
        "placementGroupId": "",
        "plan": {"name": "", "product": "", "publisher": ""},
        "platformSubFaultDomain": "",
        "platformUpdateDomain": "0",
        "priority": "",
        "provider": "Microsoft.Compute",
        "publisher": "",
        "securityProfile": {
            "encryptionAtHost": "false",
            "secureBootEnabled": "false",
            "securityType": "",
            "virtualTpmEnabled": "false",
        },
        "sku": "",
        "version": "",
        "virtualMachineScaleSet": {"id": ""},
        "vmScaleSetName": "",
    }


def _os_profile(vm: Vm) -> dict[str, str]:
    said = vm.disable_password_authentication
    profile = {
        "adminUsername": vm.username or "",
        "computerName": vm.hostname,
        "disablePasswordAuthentication": str(said).lower() if isinstance(said, bool) else said,
    }
    if vm.username is None:
        del profile["adminUsername"]
    return profile


def _public_keys(vm: Vm) -> list[dict[str, str]]:
    path = f"/home/{vm.username or 'azureuser'}/.ssh/authorized_keys"
    return [{"keyData": key, "path": path} for key in vm.ssh_keys]


def _storage(vm: Vm, *, group: str) -> dict[str, Any]:
    disk, image = f"{vm.name}_OsDisk_1", f"{group}/providers/Microsoft.Compute/images/custom-linux"
    return {
        "dataDisks": [],
        "imageReference": {"id": image, "offer": "", "publisher": "", "sku": "", "version": ""},
        "osDisk": {
            "caching": "ReadWrite",
            "createOption": "FromImage",
            "diffDiskSettings": {"option": ""},
            "diskSizeGB": "30",
            "encryptionSettings": {"enabled": "false"},
            "image": {"uri": ""},
            "managedDisk": {
                "id": f"{group}/providers/Microsoft.Compute/disks/{disk}",
                "storageAccountType": "Premium_LRS",
            },
            "name": disk,
            "osType": "Linux",
            "vhd": {"uri": ""},
            "writeAcceleratorEnabled": "false",
        },
        "resourceDisk": {"size": "8388608"},
    }


def _interface() -> dict[str, Any]:
    return {
        "ipv4": {
            "ipAddress": [{"privateIpAddress": "10.0.0.4", "publicIpAddress": ""}],
            "subnet": [{"address": "10.0.0.0", "prefix": "24"}],
        },
        "ipv6": {"ipAddress": []},
        "macAddress": "000D3A5E7B21",
    }


ATTESTED = "/metadata/attested/document"
_LIFETIME = 6 * 3600  # seconds


def answer_attested(ask: Ask, vm: Vm) -> Answer:
    """The answer to a request for attested data."""
    refused = refusal(ask) or version_refusal(ask, vm)
    if refused is not None:
        return refused
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
        "subscriptionId": SUBSCRIPTION,
        "timeStamp": {"createdOn": made, "expiresOn": ends},
        "vmId": vm.vm_id,
    }


def answer_reprovision_data(ask: Ask, vm: Vm, *, document: bytes | None) -> Answer:
    """The answer with `document`; 404 where it is None: the VM is still in the pool, or never was in one."""
    refused = refusal(ask) or version_refusal(ask, vm)
    if refused is not None:
        return refused
    if document is None:
        return json_answer(404, {"error": "Not found"})
    return Answer(200, document, (("Content-Type", "text/xml; charset=utf-8"),))
