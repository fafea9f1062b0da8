"""The IMDS instance document -> Metadata. Pure: bytes in, values out. One bad value costs only itself.

IMDS writes nearly every value as a string, and an absent value as an empty string.
"""

from __future__ import annotations

import json
import logging
import math
from typing import Any, Optional

from azurelite.errors import DocumentError
from azurelite.layout import is_uuid
from azurelite.metadata import Metadata, Secret, SshKey

LOG = logging.getLogger(__name__)

_SOURCE = "IMDS instance document"
_REASON = "error parsing IMDS metadata"
_MOST_DEPTH = 64  # levels; Azure's document has about ten
_SECRET_ENDINGS = ("userdata", "customdata", "password", "secret")


def parse_imds(document: bytes, *, unreadable: Optional[dict[str, DocumentError]] = None) -> Metadata:
    """Read the instance document.

    Args:
        document: JSON in UTF-8.
        unreadable: receives the fields that the document has in a form that cannot be read, each with its problem.

    Returns:
        The fields that IMDS has. A value of a wrong type is logged with its key and skipped.

    Raises:
        DocumentError: not JSON, not UTF-8, or not an object.
    """
    tree = _load(document)
    compute = _object(tree, "compute", where="")
    profile = _object(compute, "osProfile", where="compute.")
    extended = _object(_object(tree, "extended", where=""), "compute", where="extended.")
    vm_id = _vm_id(compute)
    lost = {} if unreadable is None else unreadable
    return Metadata(
        instance_id=vm_id,
        vm_id=vm_id,
        local_hostname=_text(profile, "computerName", where="compute.osProfile."),
        region=_text(compute, "location", where="compute."),
        availability_zone=_text(compute, "zone", where="compute."),
        fault_domain=_text(compute, "platformFaultDomain", where="compute."),
        vm_size=_text(compute, "vmSize", where="compute."),
        username=_text(profile, "adminUsername", where="compute.osProfile."),
        disable_password_authentication=_flag(profile, "disablePasswordAuthentication", where="compute.osProfile."),
        public_ssh_keys=_keys(compute),
        user_data=_user_data(compute, lost),
        tags=_tags(compute),
        network=_network(tree),
        pps_type=_pps_type(extended),
        raw={"imds": without_secrets(tree)},
    )


def resource_part(imds: Metadata) -> Metadata:
    """The name of the VM's resource as host name, for a document without `computerName`.

    A specialised disk keeps its host name; then nothing is returned.

    Args:
        imds: what `parse_imds` returned.
    """
    compute = imds.raw.get("imds", {}).get("compute")
    if not isinstance(compute, dict) or _lacks_profile(imds):
        return Metadata()
    return Metadata(local_hostname=_text(compute, "name", where="compute."))


def is_specialised(metadata: Metadata) -> bool:
    """Whether the VM's disk is certainly a specialised one: Azure provides neither a profile nor a provisioning disc.

    False if a source could not be read, or was not read.
    """
    return _lacks_profile(metadata) and metadata.raw.get("ovf", "unknown") is None


def _lacks_profile(metadata: Metadata) -> bool:
    """Whether a complete IMDS document has no `osProfile`, as for a VM on a specialised disk.

    Old api-versions never have one. Only those since 2020-10-01 are asked for `extended`, which they then have.
    """
    tree = metadata.raw.get("imds", {})
    compute = tree.get("compute")
    return isinstance(compute, dict) and "extended" in tree and compute.get("osProfile") is None


def without_secrets(tree: dict[str, Any]) -> dict[str, Any]:
    """The document without user data, custom data, passwords and secrets, at any depth."""
    public: dict[str, Any] = _shown(_writable(tree))
    return public


def _shown(node: Any) -> Any:
    if isinstance(node, list):
        return [_shown(child) for child in node]
    if isinstance(node, dict):
        return {key: _shown(value) for key, value in node.items() if not _is_secret(key, value)}
    return node


def _is_secret(key: str, value: Any) -> bool:
    """Whether a key's value must not be shown. `hasCustomData`, a boolean, may be: it holds no data."""
    return key.lower().endswith(_SECRET_ENDINGS) and not isinstance(value, bool)


def _load(document: bytes) -> dict[str, Any]:
    try:
        tree = json.loads(document.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # the decoder's own errors are ValueErrors
        where = f" at line {error.lineno} column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise DocumentError(_SOURCE, f"not JSON in UTF-8{where}", reason=_REASON) from error
    if not _is_shallow(tree):
        raise DocumentError(_SOURCE, f"nested deeper than {_MOST_DEPTH} levels", reason=_REASON)
    if not isinstance(tree, dict):
        raise DocumentError(_SOURCE, f"not an object but of type {type(tree).__name__}", reason=_REASON)
    if not isinstance(tree.get("compute"), dict):
        raise DocumentError(_SOURCE, "the object `compute` is missing", reason="invalid IMDS metadata for key=compute")
    return tree


def _writable(node: Any) -> Any:
    """The tree with what no JSON file can hold replaced: lone surrogates by "?", NaN and infinity by None."""
    if isinstance(node, str):
        return node.encode("utf-8", "replace").decode()
    if isinstance(node, float):
        return node if math.isfinite(node) else None
    if isinstance(node, list):
        return [_writable(child) for child in node]
    if isinstance(node, dict):
        return {_writable(key): _writable(value) for key, value in node.items()}
    return node


def _is_shallow(tree: Any) -> bool:
    """At most _MOST_DEPTH levels deep, so that later code can walk the document by recursion."""
    level = [tree]
    for _ in range(_MOST_DEPTH):
        level = [child for node in level if isinstance(node, (dict, list)) for child in _children(node)]
        if not level:
            return True
    return False


def _children(node: dict[str, Any] | list[Any]) -> list[Any]:
    return list(node.values()) if isinstance(node, dict) else node


def _object(tree: dict[str, Any], key: str, *, where: str) -> dict[str, Any]:
    value = tree.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        _skip(where + key, value)
        return {}
    return value


def _text(tree: dict[str, Any], key: str, *, where: str) -> Optional[str]:
    value = tree.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or _writable(value) != value:
        _skip(where + key, value)
        return None
    return value


def _vm_id(compute: dict[str, Any]) -> Optional[str]:
    """The VM id. It becomes part of a path, so anything but a UUID is skipped."""
    text = (_text(compute, "vmId", where="compute.") or "").lower()
    if text and not is_uuid(text):
        _skip("compute.vmId", text)
    return text if is_uuid(text) else None


def _flag(tree: dict[str, Any], key: str, *, where: str) -> Optional[bool]:
    """A boolean. JSON true and the string "true" mean the same; another agent reads JSON true as false."""
    value = tree.get(key)
    if isinstance(value, bool):
        return value
    text = (_text(tree, key, where=where) or "").strip().lower()
    if text in ("true", "false"):
        return text == "true"
    if text:
        _skip(where + key, value)
    return None


def _keys(compute: dict[str, Any]) -> Optional[tuple[SshKey, ...]]:
    entries = compute.get("publicKeys")
    if entries is None:
        return None
    if not isinstance(entries, list):
        _skip("compute.publicKeys", entries)
        return None
    keys: list[SshKey] = []
    for number, entry in enumerate(entries):
        where = f"compute.publicKeys[{number}]."
        if not isinstance(entry, dict):
            _skip(where[:-1], entry)
            continue
        known = len(keys)
        data = _text(entry, "keyData", where=where)
        if data is not None:
            keys += SshKey.read_all(data, _text(entry, "path", where=where))
        if len(keys) == known and isinstance(entry.get("keyData"), (str, type(None))):
            LOG.warning("imds: %skeyData skipped: it is empty", where)
    return tuple(keys)


def _user_data(compute: dict[str, Any], unreadable: dict[str, DocumentError]) -> Optional[Secret]:
    value = compute.get("userData")
    if value is None:
        return None
    try:
        if not isinstance(value, str):
            raise ValueError("not text")
        return Secret.from_base64(value) or None
    except ValueError:
        problem = "compute.userData skipped: it is not base64"
        LOG.warning("imds: %s", problem)
        unreadable["user_data"] = DocumentError(_SOURCE, problem, reason="user data is not base64")
        return None


def _tags(compute: dict[str, Any]) -> Optional[dict[str, str]]:
    """The tags, from `tagsList` where it is there.

    Older api-versions have only `tags`, which joins with `;` and `:`: ambiguous, because a value may hold both.
    """
    entries = _writable(compute.get("tagsList"))
    if not isinstance(entries, list):
        if entries is not None:
            _skip("compute.tagsList", entries)
        joined = _text(compute, "tags", where="compute.") or ""
        for number, tag in enumerate(joined.split(";")):
            if tag and ":" not in tag:
                LOG.warning("imds: compute.tags: part %d skipped: it has no `:`", number + 1)
        return dict(tag.split(":", 1) for tag in joined.split(";") if ":" in tag) or None
    tags: dict[str, str] = {}
    for number, entry in enumerate(entries):
        name, value = (entry.get("name"), entry.get("value")) if isinstance(entry, dict) else (None, None)
        if isinstance(name, str) and isinstance(value, str):
            tags[name] = value
        else:
            _skip(f"compute.tagsList[{number}]", entry)
    return tags or None


def _network(tree: dict[str, Any]) -> Optional[dict[str, Any]]:
    network: dict[str, Any] = _writable(_object(tree, "network", where=""))
    return network if isinstance(tree.get("network"), dict) else None


def _pps_type(extended: dict[str, Any]) -> Optional[str]:
    value = _text(extended, "ppsType", where="extended.compute.")
    return None if value == "None" else value


def _skip(key: str, value: object) -> None:
    LOG.warning("imds: %s skipped: unusable value of type %s", key, type(value).__name__)
