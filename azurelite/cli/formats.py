"""The metadata in other formats: shell variables, and cloud-init's instance-data.json."""

from __future__ import annotations

import re
from typing import Any, Mapping

from azurelite.config.schema import word_of
from azurelite.system.blocks import get

_PREFIX = "AZURELITE_"


def as_env(document: Mapping[str, Any]) -> str:
    """Lines of NAME="value" that a shell and systemd's EnvironmentFile= both read.

    Args:
        document: the metadata dict, with secrets replaced. `raw` and `provenance` are left out. A key inside a mapping
            or list becomes part of the name, as in AZURELITE_TAGS_ROLE or AZURELITE_PUBLIC_SSH_KEYS_0.

    Returns:
        One line per value that is not None; line breaks inside a value become spaces.
    """
    lines: list[str] = []
    for key, value in document.items():
        if key not in ("raw", "provenance"):
            _add(lines, key, value)
    return "\n".join(lines)


def _add(lines: list[str], name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _add(lines, f"{name}_{key}", item)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _add(lines, f"{name}_{i}", item)
    elif value is not None:
        quoted = re.sub(r'(["\\$`])', r"\\\1", " ".join(word_of(value).splitlines()))
        lines.append(f'{_PREFIX}{re.sub("[^A-Z0-9_]", "_", name.upper())}="{quoted}"')


def as_cloud_init(document: Mapping[str, Any], *, os_release: str, machine: Mapping[str, str]) -> dict[str, Any]:
    """The format of cloud-init's instance-data.json, for scripts that were written for cloud-init.

    Args:
        document: the metadata dict, with secrets replaced.
        os_release: the text of /etc/os-release.
        machine: kernel_release, machine, python_version and system_platform of the running system.

    Returns:
        `v1` with cloud-init's standard keys (with their hyphenated aliases) and `ds.meta_data`. The availability
        zone is the VM's zone, or the fault domain if the VM has no zone; cloud-init always prints the fault domain.
    """
    region = document.get("region")
    v1: dict[str, Any] = {
        "availability_zone": document.get("availability_zone") or document.get("fault_domain"),
        "cloud_id": "azure-china" if (region or "").startswith("china") else "azure",
        "cloud_name": "azure",
        "distro": get(os_release, "ID"),
        "distro_release": get(os_release, "VERSION_CODENAME"),
        "distro_version": get(os_release, "VERSION_ID"),
        "instance_id": document.get("instance_id"),
        "local_hostname": document.get("local_hostname"),
        "platform": "azure",
        "public_ssh_keys": document.get("public_ssh_keys") or [],
        "region": region,
        "subplatform": "imds (IMDS)" if "imds" in document.get("raw", {}) else "config-disk",
        **machine,
    }
    for name in ("availability_zone", "cloud_name", "instance_id", "local_hostname"):
        v1[name.replace("_", "-")] = v1[name]
    meta_data = {
        "imds": document.get("raw", {}).get("imds"),
        "instance-id": document.get("instance_id"),
        "local-hostname": document.get("local_hostname"),
    }
    return {"ds": {"meta_data": meta_data}, "v1": v1}
