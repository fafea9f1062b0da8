"""ovf-env.xml, the file on the provisioning media -> Metadata. Pure: bytes in, values out.

Azure's elements live in one XML namespace, under prefixes that differ from host to host. An element that is empty,
or nil, is as good as absent: what Azure does not want to say it often says with an empty element.
What is wrong with one value is collected in `Ovf.problems` and never hides the other values.
"""

from __future__ import annotations

import base64
import codecs
import re
from typing import Any, Optional
from xml.etree.ElementTree import Element, register_namespace, tostring  # noqa: TID251 - no parsing; goalstate.py parses

from azurelite.errors import DocumentError, MediaError
from azurelite.fabric.goalstate import parse_xml
from azurelite.metadata import Metadata, Secret, SshKey
from azurelite.record import Record

_SOURCE = "ovf-env.xml"
_UNEXPECTED = "unexpected metadata parsing ovf-env.xml"
_AZURE = "http://schemas.microsoft.com/windowsazure"
_PREFIXES = {"oe": "http://schemas.dmtf.org/ovf/environment/1", "wa": _AZURE}
_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_LINUX = "LinuxProvisioningConfigurationSet"
_LONGEST_PASSWORD = 72  # characters; what Azure itself takes
_MOST_DEPTH = 64  # levels; an honest document has seven
# Other agents leave their own copies of the file in the image, with one of these in the password's place:
# cloud-init writes the word, the Azure Linux agent the star. Azure takes neither as a password.
_STAND_INS = ("REDACTED", "*")
_TRUE, _FALSE = ("true", "1", "on", "yes"), ("false", "0", "off", "no")
_THUMBPRINT = r"[0-9A-F]{40}"
_FLAGS = ("DisableSshPasswordAuthentication", "PreprovisionedVm", "ProvisionGuestProxyAgent")
# What may be shown to everybody. Elements that are not here are not shown: a future one could be a secret.
_HARMLESS_TEXTS = (
    *("ConfigurationSetType", "HostName", "UserName", *_FLAGS, "PreprovisionedVMType"),
    *("ProvisionGuestAgent", "GuestAgentPackageName", "KmsServerHostname"),
)
_SECRET_ENDINGS = ("password", "customdata", "userdata")


class Ovf(Record):
    """What the media says.

    Attributes:
        metadata: the fields that the media knows.
        fingerprints: thumbprints of the keys that are named but not written out, upper-case hex without colons,
            in the document's order; the keys themselves are in the VM's certificates.
        problems: values that had to be left out, each with its element's name; nobody has logged them yet.
        refused: the one of the problems with which no VM should be called provisioned: a password that is too long.
    """

    metadata: Metadata
    fingerprints: tuple[str, ...] = ()
    problems: tuple[DocumentError, ...] = ()
    refused: Optional[DocumentError] = None


def parse_ovf(document: bytes) -> Ovf:
    """Read ovf-env.xml.

    Args:
        document: the file; a byte order mark is fine. The caller has capped its size.

    Raises:
        MediaError: XML, but not Azure's: it has no ProvisioningSection, so another disc may be looked at.
        DocumentError: not XML, a DTD or entity in it, nested too deep, no configuration for Linux, or an element
            twice that can only be once.
    """
    root = _load(document)
    reader = _Reader()
    provisioning = reader.child(root, "ProvisioningSection")
    if provisioning is None:
        raise MediaError(f"{_SOURCE} is not Azure's: it has no ProvisioningSection", reason="no Azure ovf-env.xml")
    linux = reader.child(provisioning, _LINUX)
    if linux is None:
        raise _unexpected(f"missing configuration for '{_LINUX}'")
    section = reader.child(root, "PlatformSettingsSection")
    platform = reader.child(section, "PlatformSettings")
    keys, fingerprints = _keys(reader, linux)
    password, refused = _password(reader, linux)
    metadata = Metadata(
        local_hostname=reader.text(linux, "HostName"),
        username=reader.text(linux, "UserName"),
        password=password,
        disable_password_authentication=reader.flag(linux, "DisableSshPasswordAuthentication"),
        public_ssh_keys=keys or None,
        custom_data=_custom_data(reader, linux),
        pps_type=_pps_type(reader, platform),
        provision_guest_proxy_agent=reader.flag(platform, "ProvisionGuestProxyAgent"),
        raw={"ovf": {**_harmless(linux), **_harmless(platform), **_shown_keys(keys, fingerprints)}},
    )
    return Ovf(metadata, fingerprints, tuple(reader.problems), refused)


def redacted(document: bytes) -> bytes:
    """The document without passwords, custom data and user data, for a copy that stays on the machine.

    Raises:
        DocumentError: it cannot be read, so nothing can be said about its secrets.
    """
    root = _load(document)
    for element in list(root.iter()):
        if _local(element).lower().endswith(_SECRET_ENDINGS):
            tail = element.tail
            element.clear()
            element.tail = tail
    for prefix, namespace in _PREFIXES.items():
        register_namespace(prefix, namespace)
    text: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return text


class _Reader:
    """Looks into elements and collects what is wrong in there."""

    def __init__(self) -> None:
        self.problems: list[DocumentError] = []

    def child(self, parent: Optional[Element], name: str) -> Optional[Element]:
        """The one child of that name; None where there is none, or no parent."""
        found = [] if parent is None else parent.findall(f"{{{_AZURE}}}{name}")
        if len(found) > 1:
            raise _unexpected(f"multiple configuration matches for '{name}' ({len(found)})")
        return found[0] if found else None

    def verbatim(self, parent: Optional[Element], name: str) -> Optional[str]:
        """The text of a child as it stands; None where it is absent, nil, empty or nothing but white space."""
        child = self.child(parent, name)
        if child is not None and len(child):
            self.problem(name, "holds elements where a text should be")
            return None
        return None if child is None else _value(child)

    def text(self, parent: Optional[Element], name: str) -> Optional[str]:
        """The same without the white space around it, which pretty printing puts there."""
        text = self.verbatim(parent, name)
        return None if text is None else text.strip()

    def flag(self, parent: Optional[Element], name: str) -> Optional[bool]:
        """A boolean."""
        word = (self.text(parent, name) or "").lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        if word:
            self.problem(name, "is neither true nor false")
        return None

    def problem(self, name: str, what: str) -> None:
        """Remember what is wrong with an element; its value is never quoted."""
        self.problems.append(_unexpected(f"{name} {what}"))


def _load(document: bytes) -> Element:
    if document.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:  # expat joins half a surrogate pair with whatever follows it
            document.decode("utf-16")
        except ValueError as error:
            raise DocumentError(_SOURCE, "not the UTF-16 that it begins as") from error
    root = parse_xml(document, source=_SOURCE)
    level = [root]
    for _ in range(_MOST_DEPTH):
        level = [child for element in level for child in element]
    if level:  # whoever walks the tree later may do so by recursion
        raise DocumentError(_SOURCE, f"nested deeper than {_MOST_DEPTH} levels")
    return root


def _unexpected(detail: str) -> DocumentError:
    return DocumentError(_SOURCE, detail, reason=f"{_UNEXPECTED}: {detail}")


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _value(element: Element) -> Optional[str]:
    if element.get(_NIL, "").strip().lower() in ("true", "1"):
        return None
    text = element.text or ""
    return text if text.strip() else None


def _password(reader: _Reader, linux: Element) -> tuple[Optional[Secret], Optional[DocumentError]]:
    """White space around a password may belong to it, so it stays."""
    text = reader.verbatim(linux, "UserPassword")
    if text is None or text in _STAND_INS:
        return None, None
    if len(text) <= _LONGEST_PASSWORD:
        return Secret(text), None
    refused = DocumentError(
        _SOURCE,
        f"UserPassword has {len(text)} characters, and Azure takes at most {_LONGEST_PASSWORD}",
        reason=f"unsupported password length={len(text)} max={_LONGEST_PASSWORD}",
    )
    refused.data = {"length": str(len(text)), "max_length": str(_LONGEST_PASSWORD)}
    reader.problems.append(refused)
    return None, refused


def _custom_data(reader: _Reader, linux: Element) -> Optional[Secret]:
    text = "".join((reader.verbatim(linux, "CustomData") or "").split())
    if not text:
        return None
    try:
        if len(text) % 4:
            raise ValueError("cut off")
        return Secret(base64.b64decode(text, validate=True))
    except ValueError:
        reader.problem("CustomData", "is not base64; it is left out")
        return None


def _pps_type(reader: _Reader, platform: Optional[Element]) -> Optional[str]:
    """The type by its name; the older flag alone says "Running"."""
    kind = reader.text(platform, "PreprovisionedVMType")
    flag = reader.flag(platform, "PreprovisionedVm")
    if kind in (None, "None", "Unknown"):
        return "Running" if flag else None
    return kind


def _keys(reader: _Reader, linux: Element) -> tuple[tuple[SshKey, ...], tuple[str, ...]]:
    """Keys that are written out, and the thumbprints of those that are only named."""
    entries = reader.child(reader.child(linux, "SSH"), "PublicKeys")
    keys: list[SshKey] = []
    fingerprints: list[str] = []
    for entry in [] if entries is None else entries.findall(f"{{{_AZURE}}}PublicKey"):
        value, path = reader.text(entry, "Value"), reader.text(entry, "Path")
        fingerprint = "".join((reader.text(entry, "Fingerprint") or "").replace(":", "").split()).upper()
        if value is not None:
            keys.append(SshKey.read(value, path))
        elif re.fullmatch(_THUMBPRINT, fingerprint):
            fingerprints.append(fingerprint)
        else:
            reader.problem("PublicKey", "has neither a Value nor a Fingerprint of 40 hexadecimal digits; it is skipped")
    return tuple(keys), tuple(dict.fromkeys(fingerprints))


def _harmless(parent: Optional[Element]) -> dict[str, Any]:
    found = {}
    for child in () if parent is None else parent:
        name, text = _local(child), _value(child)
        if child.tag == f"{{{_AZURE}}}{name}" and name in _HARMLESS_TEXTS and text is not None:
            found[name] = text.strip()
    return found


def _shown_keys(keys: tuple[SshKey, ...], fingerprints: tuple[str, ...]) -> dict[str, Any]:
    shown = [{"Path": key.path, "Value": key.key_data} for key in keys]
    named = [{"Fingerprint": fingerprint} for fingerprint in fingerprints]
    return {"PublicKeys": [*shown, *named]} if shown or named else {}
