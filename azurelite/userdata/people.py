"""Translate `users`, `groups` and passwords of cloud-config into options of the handlers `users` and `passwords`."""

from __future__ import annotations

import re
from typing import Any, Callable, Iterator, Mapping, Optional, Union

from azurelite.metadata import Secret
from azurelite.userdata.cloudconfig import Chpasswd, CloudConfig, UserEntry, Words

_HASHED = r"\$(1|2a|2b|2y|5|6|7|y|gy|sha1|md5)\$.+"
_RANDOM = ("R", "RANDOM")
_SIMPLE = {
    "gecos": "comment",
    "primary_group": "primary_group",
    "shell": "shell",
    "homedir": "home",
    "expiredate": "expire_date",
    "lock_passwd": "lock_password",
}
_NUMBERS = ("uid", "inactive")


def words(value: Optional[Words]) -> list[str]:
    """A text separated by commas, or a list, as a list."""
    if value is None:
        return []
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else list(value)


def clear(secret: Secret) -> str:
    """The text of a secret, for parsing it."""
    return secret.reveal_bytes().decode(errors="replace")


def account(entry: UserEntry, name: str, *, refuse: Callable[[str, str], None]) -> dict[str, Any]:
    """One entry of the handler `users`.

    Args:
        entry: the entry of the cloud-config.
        name: the name of the account.
        refuse: called with the name of a field that is not used, and why.
    """
    options: dict[str, Any] = {"name": name, "create_groups": entry.create_groups}
    for key, option in _SIMPLE.items():
        value = getattr(entry, key)
        if value is not None:
            options[option] = value
    if entry.groups is not None:
        options["groups"] = words(entry.groups)
    if entry.ssh_authorized_keys is not None:
        keys = entry.ssh_authorized_keys
        options["ssh_authorized_keys"] = [keys] if isinstance(keys, str) else list(keys)
    options.update(_numbers(entry, refuse))
    if entry.no_create_home or entry.system:
        options["create_home"] = False
    if entry.system:
        options["system"] = True
    options.update(_own_password(entry))
    if entry.sudo is True:
        refuse("sudo", 'it must be a rule such as "ALL=(ALL) NOPASSWD:ALL", or false')
    options.update(_rules(entry))
    return options


def groups(value: Any) -> list[dict[str, Any]]:
    """The option `groups` of the handler `users`."""
    found: dict[str, list[str]] = {}
    for item in [value] if isinstance(value, (str, Mapping)) else value or ():
        if isinstance(item, Mapping):
            for name, members in item.items():
                found.setdefault(name, []).extend(words(members))
        else:
            for name in words(item):
                found.setdefault(name, [])
    return [{"name": name, "members": members} for name, members in found.items()]


def passwords(
    config: CloudConfig, administrator: Optional[str], refuse: Callable[[str, str], None]
) -> Optional[dict[str, Any]]:
    """Options of the handler `passwords`, or None if there is no password to set.

    Args:
        config: the cloud-config.
        administrator: the account that `password` is for.
        refuse: called with the key of a password that cannot be used, and why.
    """
    users: list[dict[str, Any]] = []
    chpasswd = config.chpasswd or Chpasswd()
    if config.password is not None:
        if administrator is None:
            refuse("password", "it is for the administrator, but Azure gave no user name: use `chpasswd.users`")
        else:
            users.append(_password(administrator, clear(config.password)))
    users += _listed(chpasswd.list, refuse)
    for entry in chpasswd.users:
        secret = {} if entry.password is None or entry.type == "RANDOM" else {"password": entry.password}
        users.append({"name": entry.name, "type": entry.type, **secret})
    return {"users": users, "expire": chpasswd.expire} if users else None


def whole(value: Union[int, str], key: str) -> int:
    """A whole number, which may be in quotes. Raises ValueError."""
    if isinstance(value, int):
        return value
    if not (value.isascii() and value.isdigit() and len(value) <= 10):
        raise ValueError(f"`{key}` must be a whole number")
    return int(value)


def _numbers(entry: UserEntry, refuse: Callable[[str, str], None]) -> Iterator[tuple[str, int]]:
    for key in _NUMBERS:
        try:
            if getattr(entry, key) is not None:
                yield key, whole(getattr(entry, key), key)
        except ValueError as error:
            refuse(key, str(error))


def _own_password(entry: UserEntry) -> dict[str, Any]:
    options: dict[str, Any] = {}
    hashed = entry.hashed_passwd or entry.passwd
    if hashed:
        options["hashed_password"] = hashed
    if hashed and not entry.hashed_passwd:  # `passwd` applies to new accounts only, `hashed_passwd` to all
        options["password_for_existing"] = False
    if entry.plain_text_passwd:
        options["plain_text_password"] = entry.plain_text_passwd
    return options


def _rules(entry: UserEntry) -> dict[str, Any]:
    options: dict[str, Any] = {"sudo": "none"}
    for key, given in (("sudo_rules", None if entry.sudo is True else entry.sudo), ("doas_rules", entry.doas)):
        rules = [given] if isinstance(given, str) else list(given or ())
        if any(rules):
            options[key] = [rule for rule in rules if rule]
    return options


def _listed(given: Any, refuse: Callable[[str, str], None]) -> list[dict[str, Any]]:
    texts = [given] if isinstance(given, Secret) else given or ()
    lines = [line.strip() for text in texts for line in clear(text).splitlines() if line.strip()]
    found = []
    for number, line in enumerate(lines, 1):
        name, colon, value = line.partition(":")
        if not colon or not name or not value:
            refuse("chpasswd", f"line {number} of `chpasswd.list` must be `name:password`")
        else:
            found.append({"name": name, "type": "RANDOM"} if value in _RANDOM else _password(name, value))
    return found


def _password(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "type": "hash" if re.fullmatch(_HASHED, value) else "text", "password": Secret(value)}
