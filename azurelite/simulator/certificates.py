"""The VM's certificates at the URL in the goal state: the rules of the request, and the document.

This module knows the headers, the ids in the path and the CertificateFile document, but not how keys are made.
"""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote
from xml.sax.saxutils import escape

from azurelite.simulator.goalstate import DECLARATION, error_answer, not_allowed, version_refusal
from azurelite.simulator.keyring import CIPHERS, CertificatesError, KeyRing
from azurelite.simulator.message import Answer, Ask, xml_answer
from azurelite.simulator.scenario import Vm

PFX = "Pkcs7BlobWithPfxContents"

_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_LINE = 64  # characters of base64


def answer_certificates(ask: Ask, vm: Vm, ring: KeyRing) -> Answer:
    """The answer to a request for the VM's certificates."""
    if not vm.certificates:
        return error_answer(404, "ResourceNotFound", "This VM has no certificates.")
    if ask.method != "GET":
        return not_allowed("GET")
    refusal = version_refusal(ask, vm) or _identity_refusal(ask, vm) or _header_refusal(ask)
    if refusal is not None:
        return refusal
    try:
        package = ring.package(
            vm.certificate_keys,
            recipient=base64.b64decode(ask.header("x-ms-guest-agent-public-x509-cert") or ""),
            cipher=_cipher(ask),
            pfx=vm.certificate_format in (None, PFX),
        )
    except ValueError as error:
        return error_answer(400, "InvalidHeaderValue", f"x-ms-guest-agent-public-x509-cert: {error}")
    except CertificatesError as error:
        return error_answer(500, "InternalError", str(error))
    return xml_answer(200, certificate_file(package, vm.incarnation, form=vm.certificate_format))


def certificate_file(package: bytes, incarnation: int, *, form: str | None) -> str:
    """The document; `form` None leaves the Format element out."""
    encoded = base64.b64encode(package).decode()
    data = "\r\n".join(encoded[start : start + _LINE] for start in range(0, len(encoded), _LINE))
    lines = [
        DECLARATION,
        f'<CertificateFile xmlns:xsi="{_XSI}" xsi:noNamespaceSchemaLocation="certificates10.xsd">',
        "  <Version>2010-12-15</Version>",
        f"  <Incarnation>{incarnation}</Incarnation>",
        *([] if form is None else [f"  <Format>{escape(form)}</Format>"]),
        f"  <Data>{data}</Data>",
        "</CertificateFile>",
        "",
    ]
    return "\r\n".join(lines)


def _identity_refusal(ask: Ask, vm: Vm) -> Answer | None:
    _, _, container, instance = (unquote(part) for part in ask.path.split("/"))
    if instance != vm.instance_id:
        return error_answer(404, "ResourceNotFound", f"The role instance {instance!r} is not this VM's.")
    if container != vm.container_id:
        message = "The container id is not, or no longer, this VM's."
        return error_answer(vm.stale_container_status, "InvalidContainerConfiguration", message)
    asked = dict(ask.query).get("incarnation")
    if asked is None:
        return error_answer(400, "MissingRequiredQueryParameter", "The parameter incarnation was not specified.")
    if asked != str(vm.incarnation):
        message = f"The goal state incarnation {asked!r} is gone; the current one is {vm.incarnation}."
        return error_answer(410, "ResourceNotAvailable", message)
    return None


def _header_refusal(ask: Ask) -> Answer | None:
    name = "x-ms-guest-agent-public-x509-cert"
    encoded = ask.header(name)
    if encoded is None:
        return error_answer(400, "MissingRequiredHeader", f"The header {name} was not specified.")
    try:
        if not re.fullmatch("[A-Za-z0-9+/]+={0,2}", encoded) or not base64.b64decode(encoded, validate=True):
            raise ValueError
    except (ValueError, binascii.Error):
        return error_answer(400, "InvalidHeaderValue", f"{name} must be base64 of DER, on one line.")
    if _cipher(ask) not in CIPHERS:
        return error_answer(400, "InvalidHeaderValue", f"x-ms-cipher-name must be one of {', '.join(CIPHERS)}.")
    return None


def _cipher(ask: Ask) -> str:
    said = ask.header("x-ms-cipher-name")
    return "AES128_CBC" if said is None else said
