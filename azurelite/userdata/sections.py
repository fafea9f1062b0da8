"""Translate single sections of cloud-config into options of a handler. The order of the sections is in `translate`."""

from __future__ import annotations

import re
from typing import Any, Mapping, Optional, Sequence, Union

from azurelite.config.sizes import parse_size
from azurelite.metadata import Secret
from azurelite.userdata.cloudconfig import CloudConfig, FileEntry, Swap
from azurelite.userdata.people import whole

OFF = ("off", "false", False)  # the values that disable a section with a mode
_MOUNT_FIELDS = (None, None, "auto", "defaults,nofail", "0", "2")
_SHORT_DEVICE = r"(x?[shv]d[a-z]+\d*|nvme\d+n\d+(p\d+)?|sr\d+)"
_PASSWORDS: Mapping[Union[bool, str], str] = {
    **dict.fromkeys(("true", "yes", "on"), "yes"),
    **dict.fromkeys(("false", "no", "off"), "no"),
}


def file(entry: FileEntry) -> dict[str, Any]:
    """An entry of the handler `write_files`."""
    options: dict[str, Any] = {"path": entry.path, "content": entry.content or Secret("")}
    encoding = entry.encoding
    if encoding is not None and isinstance(options["content"].reveal(), bytes):  # `!!binary`: base64 is decoded already
        encoding = re.sub(r"\+?b(ase)?64$", "", encoding) or None
    given = {
        "encoding": encoding,
        "owner": entry.owner,
        "permissions": entry.permissions,
        "append": entry.append or None,
    }
    options.update({key: value for key, value in given.items() if value is not None})
    return options


def swap(wanted: Optional[Swap]) -> Optional[dict[str, Any]]:
    """Options of the handler `swap`, or None without swap. Raises ValueError."""
    if wanted is None or wanted.size in (None, 0, "0"):
        return None
    most = None if wanted.maxsize is None else _bytes(wanted.maxsize, "maxsize")
    if wanted.size == "auto":
        limit = {} if most is None else {"max_size": most}
        return {"path": wanted.filename, "size": "auto", **limit}
    size = _bytes(wanted.size, "size")
    return {"path": wanted.filename, "size": size if most is None else min(size, most)}


def mount_fields(given: Sequence[Any], defaults: Sequence[Any]) -> Optional[dict[str, Any]]:
    """An entry of the handler `mounts`, or None for an entry that disables a mount. Raises ValueError."""
    defaults = (*defaults, *_MOUNT_FIELDS[len(defaults) :])
    fields = [*given, *[None] * 6][:6]
    device, path, kind, options, dump, check = (
        default if value is None else value for value, default in zip(fields, defaults)
    )
    if device is None or path is None:
        return None
    where = {} if kind == "swap" else {"path": str(path)}
    return {
        "device": f"/dev/{device}" if re.fullmatch(_SHORT_DEVICE, str(device)) else str(device),
        **where,
        "type": str(kind),
        "options": str(options),
        "dump": whole(dump or 0, "mounts"),
        "check": whole(check or 0, "mounts"),
    }


def hostname(config: CloudConfig) -> dict[str, Any]:
    """Options of the handler `hostname`; empty if there is nothing to set. Raises ValueError."""
    options: dict[str, Any] = {}
    if config.hostname or config.fqdn:
        if config.preserve_hostname:
            return {}
        first, _, domain = (config.fqdn or config.hostname or "").partition(".")
        name = (config.hostname or first).partition(".")[0]
        if name != first:
            raise ValueError("the first label of `fqdn` must be `hostname`")
        options = {"name": name}
        if domain:
            options["domain"] = domain
            options["fqdn"] = "domain" if config.prefer_fqdn_over_hostname else "short"
    if config.manage_etc_hosts is not None:
        options["hosts"] = config.manage_etc_hosts not in OFF
    return options


def password_authentication(wanted: Union[bool, str, None]) -> Optional[str]:
    """The option `password_authentication` of the handler `sshd`, or None for unchanged. Raises ValueError."""
    if wanted is None or wanted == "unchanged":
        return None
    if isinstance(wanted, bool):
        return "yes" if wanted else "no"
    if wanted.lower() not in _PASSWORDS:
        raise ValueError('it must be true, false or "unchanged"')
    return _PASSWORDS[wanted.lower()]


def packages(config: CloudConfig) -> dict[str, Any]:
    """Options of the handler `packages`; empty if there is nothing to do. Raises ValueError."""
    names = [item if isinstance(item, str) else list(item) for item in config.packages or ()]
    if any(isinstance(item, list) and len(item) != 2 for item in names):
        raise ValueError("an item that is a list must be [name, version]")
    options: dict[str, Any] = {"install": names} if names else {}
    update = config.apt_update if config.package_update is None else config.package_update
    if update or (names and update is not None):
        options["update"] = update
    if config.package_upgrade or config.apt_upgrade:
        options["upgrade"] = True
    return options


def _bytes(value: Any, key: str) -> int:
    try:
        return parse_size(str(value))
    except ValueError as error:
        raise ValueError(f"`{key}` must be a number of bytes, or a number with K, M, G or T") from error
