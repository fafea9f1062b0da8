"""The provisioning document: ovf-env.xml as Azure puts it on the provisioning media and serves it to a pool VM.

This module knows the namespaces, elements and their order, but not the disc around the document or how certificates are
made: it gets their thumbprints.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from xml.sax.saxutils import escape

from azurelite.simulator.scenario import Vm

FILE_NAME = "ovf-env.xml"
ENVIRONMENT = "http://schemas.dmtf.org/ovf/environment/1"
AZURE = "http://schemas.microsoft.com/windowsazure"

_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_TAKEN = ("xml", "xmlns", "xsi")
# Characters that XML 1.0 cannot hold, not even escaped.
_INVALID = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def ovf_document(vm: Vm, *, prefix: str = "wa", thumbprints: Sequence[str] = ()) -> bytes:
    """The document as UTF-8 without BOM; where `ovf_text` is set, only that.

    `prefix`: the prefix of Azure's namespace on the sections; the sets within them redeclare the default namespace,
    as Azure's do. "": no prefix anywhere. `thumbprints`: of the VM's certificates, for `ovf_keys: fingerprint`.
    Raises ValueError for an invalid prefix, for a value that XML cannot hold, and for missing thumbprints.
    """
    if vm.ovf_text is not None:
        return vm.ovf_text.encode()
    if prefix and (not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", prefix) or prefix in _TAKEN):
        raise ValueError(f"invalid or reserved namespace prefix: {prefix!r}")
    if vm.ovf_keys == "fingerprint" and not thumbprints:
        raise ValueError("ovf_keys: fingerprint needs the thumbprints of the VM's certificates")
    bound = f' xmlns:{prefix}="{AZURE}"' if prefix else ""
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f'<Environment xmlns="{ENVIRONMENT}"{bound} xmlns:xsi="{_XSI}">',
        *_section("ProvisioningSection", _provisioning_set(vm, thumbprints), prefix=prefix),
        *_section("PlatformSettingsSection", _platform_settings(vm), prefix=prefix),
        "</Environment>",
        "",
    ]
    return "\r\n".join(lines).encode()


def _section(name: str, settings: list[str], *, prefix: str) -> list[str]:
    mark = f"{prefix}:" if prefix else ""
    opening = f"  <{mark}{name}>" if prefix else f'  <{name} xmlns="{AZURE}">'
    version = f"    <{mark}Version>1.0</{mark}Version>"
    return [opening, version, *(f"    {line}" for line in settings), f"  </{mark}{name}>"]


def _provisioning_set(vm: Vm, thumbprints: Sequence[str]) -> list[str]:
    said = vm.disable_password_authentication
    custom_data = None if vm.custom_data is None else base64.b64encode(vm.custom_data.encode()).decode()
    return [
        f'<LinuxProvisioningConfigurationSet xmlns="{AZURE}">',
        *_element("ConfigurationSetType", "LinuxProvisioningConfiguration"),
        *_element("HostName", vm.hostname if vm.ovf_hostname is None else vm.ovf_hostname),
        *_element("UserName", vm.username if vm.ovf_username is None else vm.ovf_username),
        *_element("UserPassword", vm.password),
        *_element("DisableSshPasswordAuthentication", _flag(said) if isinstance(said, bool) else said),
        *_ssh(vm, thumbprints),
        *_element("CustomData", custom_data),
        "</LinuxProvisioningConfigurationSet>",
    ]


def _ssh(vm: Vm, thumbprints: Sequence[str]) -> list[str]:
    if vm.ovf_keys == "fingerprint":
        keys: list[tuple[str, str | None]] = [(thumbprint, None) for thumbprint in thumbprints]
    elif vm.ovf_keys == "value":
        # A pasted key has no certificate; clients use its value and ignore the fingerprint.
        keys = [(hashlib.sha1(key.encode()).hexdigest().upper(), key) for key in vm.ssh_keys]
    else:
        keys = []
    if not keys:
        return []
    owner = (vm.username if vm.ovf_username is None else vm.ovf_username) or "azureuser"
    lines = ["  <SSH>", "    <PublicKeys>"]
    for fingerprint, value in keys:
        inner = [
            *_element("Fingerprint", fingerprint),
            *_element("Path", f"/home/{owner}/.ssh/authorized_keys"),
            *_element("Value", value),
        ]
        lines += ["      <PublicKey>", *(f"      {line}" for line in inner), "      </PublicKey>"]
    return [*lines, "    </PublicKeys>", "  </SSH>"]


def _platform_settings(vm: Vm) -> list[str]:
    agent = vm.provision_guest_proxy_agent
    kind = _element("PreprovisionedVMType", vm.preprovisioned_type) or ['  <PreprovisionedVMType xsi:nil="true" />']
    return [
        f'<PlatformSettings xmlns="{AZURE}">',
        *_element("KmsServerHostname", "azkms.core.windows.net"),
        *_element("ProvisionGuestAgent", "true"),
        '  <GuestAgentPackageName xsi:nil="true" />',
        *_element("PreprovisionedVm", _flag(vm.preprovisioned_vm)),
        *kind,
        *_element("ProvisionGuestProxyAgent", None if agent is None else _flag(agent)),
        "</PlatformSettings>",
    ]


def _element(name: str, value: str | None) -> list[str]:
    """One line, or none for None. A carriage return is escaped: a parser would turn a bare one into a line feed."""
    if value is None:
        return []
    odd = _INVALID.search(value)
    if odd is not None:
        raise ValueError(f"{name}: XML cannot hold the character {odd[0]!r}")
    return ["  <{0}>{1}</{0}>".format(name, escape(value, {"\r": "&#13;"}))]


def _flag(value: bool) -> str:
    return str(value).lower()
