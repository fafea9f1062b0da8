"""Translate single sections of cloud-config into options of a handler. The order of the sections is in `translate`."""

from __future__ import annotations

import re
from typing import Any, Callable, Mapping, Optional, Sequence, Union

from azurelite.config.document import KeyPath
from azurelite.config.sizes import parse_size
from azurelite.metadata import Secret
from azurelite.system.packages import package_of
from azurelite.userdata.cloudconfig import OFF, CloudConfig, FileEntry, PackageName, Swap
from azurelite.userdata.people import whole

_MOUNT_FIELDS = (None, None, "auto", "defaults,nofail", "0", "2")
_SHORT_DEVICE = r"(x?[shv]d[a-z]+\d*|nvme\d+n\d+(p\d+)?|sr\d+)"
_PASSWORDS: Mapping[Union[bool, str], str] = {
    **dict.fromkeys(("true", "yes", "on", "1"), "yes"),
    **dict.fromkeys(("false", "no", "off", "0"), "no"),
}


def file(entry: FileEntry) -> dict[str, Any]:
    """An entry of the handler `write_files`."""
    options: dict[str, Any] = {"path": entry.path, "content": entry.content or Secret("")}
    encoding = (entry.encoding or "").strip().lower() or None
    if encoding is not None and isinstance(options["content"].reveal(), bytes):  # `!!binary`: base64 is decoded already
        encoding = re.sub(r"\+?b(ase)?64$", "", encoding) or None
    given = {
        "encoding": encoding,
        "owner": _owner(entry.owner),
        "permissions": (entry.permissions.strip() or None) if isinstance(entry.permissions, str) else entry.permissions,
        "append": entry.append or None,
    }
    options.update({key: value for key, value in given.items() if value is not None})
    return options


def _owner(given: Optional[str]) -> Optional[str]:
    """The owner as cloud-init reads it: blanks around a name do not count; "-1" and "none" are no name."""
    parts = [part.strip() for part in (given or "").split(":", 1)]
    user, group = ("" if part.lower() in ("-1", "none") else part for part in (*parts, "")[:2])
    return (f"{user}:{group}" if group else user) or None


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


def mounts(
    given: Sequence[Sequence[Any]],
    defaults: Sequence[Any],
    refuse: Callable[[int, str], None],
    named: Callable[[int], str],
) -> dict[int, dict[str, Any]]:
    """Entries of the handler `mounts`, by their positions in the cloud-config.

    Args:
        given: the section.
        defaults: the section `mount_default_fields`.
        refuse: called with the position of an entry that cannot be used, and why.
        named: how messages name the entry at a position.
    """
    found: dict[int, dict[str, Any]] = {}
    for i, entry in enumerate(given):
        try:
            fields = _mount_fields(entry, defaults)
        except ValueError as error:
            refuse(i, str(error))
            continue
        if fields["path"] is None:  # takes back the earlier entries of the device
            found = {other: known for other, known in found.items() if known["device"] != fields["device"]}
            continue
        if fields["type"] == "swap":
            del fields["path"]
        again = next((other for other, known in found.items() if known.get("path", "") == fields.get("path")), None)
        if again is not None:
            refuse(i, f"`{named(again)}` has the same path: remove one of them")
        else:
            found[i] = fields
    return found


def _mount_fields(given: Sequence[Any], defaults: Sequence[Any]) -> dict[str, Any]:
    """The six fields of a mount; `path` is None for an entry that disables a mount. Raises ValueError."""
    defaults = (*defaults, *_MOUNT_FIELDS[len(defaults) :])
    fields = [*given, *[None] * 6][:6]
    device, path, kind, options, dump, check = (
        default if value is None else value for value, default in zip(fields, defaults)
    )
    if device is None:
        raise ValueError("it has no device: write [device, path]")
    return {
        "device": f"/dev/{device}" if re.fullmatch(_SHORT_DEVICE, str(device)) else str(device),
        "path": None if path is None else str(path),
        "type": str(kind),
        "options": str(options),
        "dump": whole(dump or 0, "the fifth field"),
        "check": whole(check or 0, "the sixth field"),
    }


def hostname(config: CloudConfig) -> tuple[dict[str, Any], Optional[str]]:
    """Options of the handler `hostname`, empty if there is nothing to set; and the part of `fqdn` that is not used.

    As in cloud-init, `hostname` is the name of the machine, else the first label of `fqdn`, and `fqdn` is the whole
    name where it is preferred.
    """
    options: dict[str, Any] = {}
    unused = None
    if config.hostname or config.fqdn:
        if config.preserve_hostname:
            return {}, None
        label, _, domain = (config.fqdn or config.hostname or "").partition(".")
        name = label if config.prefer_fqdn_over_hostname or not config.hostname else config.hostname.partition(".")[0]
        unused = label if name != label else None
        options = {"name": name}
        if domain:
            options["domain"] = domain
            options["fqdn"] = "domain" if config.prefer_fqdn_over_hostname else "short"
    if config.manage_etc_hosts is not None:
        options["hosts"] = config.manage_etc_hosts not in OFF
    return options, unused


def password_authentication(wanted: Union[bool, str, None]) -> Optional[str]:
    """The option `password_authentication` of the handler `sshd`, or None for unchanged. Raises ValueError."""
    if wanted is None or wanted == "unchanged":
        return None
    if isinstance(wanted, bool):
        return "yes" if wanted else "no"
    if wanted.lower() not in _PASSWORDS:
        raise ValueError('it must be true, false or "unchanged"')
    return _PASSWORDS[wanted.lower()]


def packages(
    config: CloudConfig, manager: Callable[[], Optional[str]], refuse: Callable[[KeyPath, str, bool], None]
) -> tuple[dict[str, Any], list[KeyPath]]:
    """Options of the handler `packages`, empty if there is nothing to do; and the paths of the packages to install.

    Args:
        config: the cloud-config.
        manager: returns the name of this system's package manager, None where there is none.
        refuse: called with the path of an item that is not installed, why, and whether it is a mistake.
    """
    listed: list[tuple[KeyPath, PackageName]] = []
    for i, item in enumerate(config.packages or ()):
        if not isinstance(item, Mapping):
            listed.append((("packages", i), item))
            continue
        for name, inner in item.items():
            if name == manager() or (manager() is None and name != "snap"):
                listed += [(("packages", i, name, j), one) for j, one in enumerate(inner)]
            else:
                refuse(("packages", i, name), f"{name} is not the package manager of this system", False)
    found = []
    for path, one in listed:
        try:
            package_of(one)
        except ValueError as error:
            refuse(path, str(error), True)
        else:
            found.append((path, one if isinstance(one, str) else list(one)))
    options: dict[str, Any] = {"install": [one for _, one in found]} if found else {}
    update = config.apt_update if config.package_update is None else config.package_update
    if update or (found and update is not None):
        options["update"] = update
    if config.package_upgrade or config.apt_upgrade:
        options["upgrade"] = True
    return options, [path for path, _ in found]


def _bytes(value: Any, key: str) -> int:
    """A size as cloud-init reads it, for example `1G`, `512MB` or `.5T`. Raises ValueError."""
    text = str(value)
    fraction = re.fullmatch(r"(?:[0-9]{0,15}\.[0-9]{1,9})\s?([KMGT]?)B?", text)
    try:
        if fraction is not None:
            return int(float(text.rstrip("KMGTB ")) * parse_size(f"1{fraction[1]}"))
        return parse_size(text)
    except ValueError as error:
        raise ValueError(f"`{key}` must be a number of bytes, or a number with K, M, G or T") from error
