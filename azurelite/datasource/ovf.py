"""ovf-env.xml, the file on the provisioning media -> Metadata. Pure: bytes in, values out.

Azure's elements have one XML namespace, under prefixes that differ from host to host. An empty element and a nil one
count as absent: Azure often writes an empty element for a value that is not set.
A value that cannot be used is skipped and named in `Ovf.problems`; the other values still count.
"""

from __future__ import annotations

import codecs
import re
from typing import Any, Mapping, Optional
from xml.etree.ElementTree import Element, register_namespace, tostring  # noqa: TID251 - no parsing; goalstate.py parses

from azurelite.errors import DocumentError, MediaError
from azurelite.fabric.goalstate import parse_xml
from azurelite.metadata import Metadata, Secret, SshKey
from azurelite.record import Record, field

_SOURCE = "ovf-env.xml"
_UNEXPECTED = "unexpected metadata parsing ovf-env.xml"
_AZURE = "http://schemas.microsoft.com/windowsazure"
_PREFIXES = {"oe": "http://schemas.dmtf.org/ovf/environment/1", "wa": _AZURE}
_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_LINUX = "LinuxProvisioningConfigurationSet"
_LONGEST_PASSWORD = 72  # characters; the limit of Azure itself
_MOST_DEPTH = 64  # levels; Azure's document has seven
# Other agents keep a copy of the file in the image, with the password replaced: cloud-init writes REDACTED,
# the Azure Linux agent writes *. Azure accepts neither as a password.
_REDACTIONS = ("REDACTED", "*")
_TRUE, _FALSE = ("true", "1", "on", "yes"), ("false", "0", "off", "no")
_THUMBPRINT = r"[0-9A-F]{40}"
_FLAGS = ("DisableSshPasswordAuthentication", "PreprovisionedVm", "ProvisionGuestProxyAgent")
# Elements that may be shown to every user. All others are hidden: a future one could be a secret.
_HARMLESS_TEXTS = (
    *("ConfigurationSetType", "HostName", "UserName", *_FLAGS, "PreprovisionedVMType"),
    *("ProvisionGuestAgent", "GuestAgentPackageName", "KmsServerHostname"),
)
_SECRET_ENDINGS = ("password", "customdata", "userdata")


class Ovf(Record):
    """The content of the document.

    Attributes:
        metadata: the fields that the media has.
        fingerprints: thumbprints of keys that the document names but does not contain, upper-case hex without colons,
            in the document's order; the keys themselves are in the VM's certificates.
        problems: the values that were skipped, each with its element's name; not logged yet.
        refused: the problem that makes provisioning fail: a password that is too long.
        unreadable: fields that the document has in a form that cannot be read, each with its problem.
    """

    metadata: Metadata
    fingerprints: tuple[str, ...] = ()
    problems: tuple[DocumentError, ...] = ()
    refused: Optional[DocumentError] = None
    unreadable: Mapping[str, DocumentError] = field(default_factory=dict)


def parse_ovf(document: bytes) -> Ovf:
    """Read ovf-env.xml.

    Args:
        document: the file, with or without a byte order mark. The caller limits its size.

    Raises:
        MediaError: XML, but not Azure's: it has no ProvisioningSection. Another disc may have Azure's.
        DocumentError: not XML, with a DTD or entity, nested too deep, without a configuration for Linux, or with an
            element repeated that must be unique.
    """
    root = _load(document)
    reader = _Reader()
    provisioning = reader.child(root, "ProvisioningSection")
    if provisioning is None:
        raise MediaError(f"{_SOURCE} is not Azure's: ProvisioningSection is missing", reason="no Azure ovf-env.xml")
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
    return Ovf(metadata, fingerprints, tuple(reader.problems), refused, reader.unreadable)


def redacted(document: bytes) -> bytes:
    """The document without passwords, custom data and user data: the copy that is stored on the machine.

    Raises:
        DocumentError: it cannot be read, so its secrets cannot be found.
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
    """Reads elements and collects the problems."""

    def __init__(self) -> None:
        self.problems: list[DocumentError] = []
        self.unreadable: dict[str, DocumentError] = {}

    def child(self, parent: Optional[Element], name: str) -> Optional[Element]:
        """The only child of that name; None where there is none, or no parent. Raises DocumentError for several."""
        found = [] if parent is None else parent.findall(f"{{{_AZURE}}}{name}")
        if len(found) > 1:
            raise _unexpected(f"multiple configuration matches for '{name}' ({len(found)})")
        return found[0] if found else None

    def verbatim(self, parent: Optional[Element], name: str) -> Optional[str]:
        """The unchanged text of a child; None where it is absent, nil, empty or only white space."""
        child = self.child(parent, name)
        if child is not None and len(child):
            self.problem(name, "contains elements instead of text")
            return None
        return None if child is None else _value(child)

    def text(self, parent: Optional[Element], name: str) -> Optional[str]:
        """As `verbatim`, but without the white space around the text, which pretty printing adds."""
        text = self.verbatim(parent, name)
        return None if text is None else text.strip()

    def flag(self, parent: Optional[Element], name: str) -> Optional[bool]:
        """A boolean."""
        word = (self.text(parent, name) or "").lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        if word:
            self.problem(name, "must be true or false")
        return None

    def problem(self, name: str, what: str, *, field: Optional[str] = None) -> None:
        """Record a problem with an element, and the field that it costs. Its value is never quoted."""
        self.problems.append(_unexpected(f"{name} {what}"))
        if field is not None:
            self.unreadable[field] = self.problems[-1]


def _load(document: bytes) -> Element:
    if document.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:  # expat would accept a lone surrogate and join it with the next character
            document.decode("utf-16")
        except ValueError as error:
            raise DocumentError(_SOURCE, "not valid UTF-16, although it has its byte order mark") from error
    root = parse_xml(document, source=_SOURCE)
    level = [root]
    for _ in range(_MOST_DEPTH):
        level = [child for element in level for child in element]
    if level:  # later code walks the tree by recursion
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
    """The password, or the problem with it. White space around it may belong to it, so it is kept."""
    text = reader.verbatim(linux, "UserPassword")
    if text is None or text in _REDACTIONS:
        return None, None
    if len(text) <= _LONGEST_PASSWORD:
        return Secret(text), None
    refused = DocumentError(
        _SOURCE,
        f"UserPassword has {len(text)} characters, but Azure allows at most {_LONGEST_PASSWORD}",
        reason=f"unsupported password length={len(text)} max={_LONGEST_PASSWORD}",
    )
    refused.data = {"length": str(len(text)), "max_length": str(_LONGEST_PASSWORD)}
    reader.problems.append(refused)
    return None, refused


def _custom_data(reader: _Reader, linux: Element) -> Optional[Secret]:
    try:
        return Secret.from_base64(reader.verbatim(linux, "CustomData") or "") or None
    except ValueError:
        reader.problem("CustomData", "skipped: it is not base64", field="custom_data")
        return None


def _pps_type(reader: _Reader, platform: Optional[Element]) -> Optional[str]:
    """The pre-provisioning type; "Running" where only the older flag PreprovisionedVm is set."""
    kind = reader.text(platform, "PreprovisionedVMType")
    flag = reader.flag(platform, "PreprovisionedVm")
    if kind in (None, "None", "Unknown"):
        return "Running" if flag else None
    return kind


def _keys(reader: _Reader, linux: Element) -> tuple[tuple[SshKey, ...], tuple[str, ...]]:
    """The keys that the document contains, and the thumbprints of those that it only names."""
    entries = reader.child(reader.child(linux, "SSH"), "PublicKeys")
    keys: list[SshKey] = []
    fingerprints: list[str] = []
    for entry in [] if entries is None else entries.findall(f"{{{_AZURE}}}PublicKey"):
        value, path = reader.text(entry, "Value"), reader.text(entry, "Path")
        fingerprint = "".join((reader.text(entry, "Fingerprint") or "").replace(":", "").split()).upper()
        if value is not None:
            keys += SshKey.read_all(value, path)
        elif re.fullmatch(_THUMBPRINT, fingerprint):
            fingerprints.append(fingerprint)
        else:
            reader.problem("PublicKey", "skipped: it has neither a Value nor a Fingerprint of 40 hexadecimal digits")
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
