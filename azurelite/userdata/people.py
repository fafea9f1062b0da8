"""Translate `users`, `groups` and passwords of cloud-config into options of the handlers `users` and `passwords`."""

from __future__ import annotations

import re
from typing import Any, Callable, Iterator, Mapping, Optional, Union

from azurelite.config.document import KeyPath
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
        if value not in (None, ""):  # a template without a value, which cloud-init skips, too
            options[option] = value
    if entry.groups is not None:
        options["groups"] = words(entry.groups)
    if entry.ssh_authorized_keys is not None:
        keys = entry.ssh_authorized_keys
        options["ssh_authorized_keys"] = [key for key in ([keys] if isinstance(keys, str) else keys) if key.strip()]
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


def groups(value: Any) -> tuple[list[dict[str, Any]], list[KeyPath]]:
    """The option `groups` of the handler `users`, and the path in the cloud-config of each group."""
    found: dict[str, list[str]] = {}
    paths: dict[str, KeyPath] = {}
    one = isinstance(value, (str, Mapping))
    for i, item in enumerate([value] if one else value or ()):
        path: KeyPath = ("groups",) if one else ("groups", i)
        inner = item if isinstance(item, Mapping) else dict.fromkeys(words(item))
        for name, members in inner.items():
            found.setdefault(name, []).extend(words(members))
            paths.setdefault(name, (*path, name) if isinstance(item, Mapping) else path)
    return [{"name": name, "members": members} for name, members in found.items()], list(paths.values())


def passwords(
    config: CloudConfig, administrator: Optional[str], refuse: Callable[[KeyPath, str], None]
) -> tuple[dict[str, Any], list[KeyPath]]:
    """Options of the handler `passwords`, empty if there is none to set; and the paths of those in the cloud-config.

    Args:
        config: the cloud-config.
        administrator: the account that `password` is for.
        refuse: called with the path of a password that cannot be used, and why.
    """
    users: list[tuple[KeyPath, dict[str, Any]]] = []
    chpasswd = config.chpasswd or Chpasswd()
    if config.password is not None:
        if administrator is None:
            refuse(("password",), "it is for the administrator, but Azure gave no user name: use `chpasswd.users`")
        else:
            users.append((("password",), _password(administrator, clear(config.password))))
    users += _listed(chpasswd.list, refuse)
    for i, entry in enumerate(chpasswd.users):
        secret = {} if entry.password is None or entry.type == "RANDOM" else {"password": entry.password}
        users.append((("chpasswd", "users", i), {"name": entry.name, "type": entry.type, **secret}))
    options = {"users": [user for _, user in users], "expire": chpasswd.expire} if users else {}
    return options, [path for path, _ in users]


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
            if getattr(entry, key) not in (None, ""):
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


def _listed(given: Any, refuse: Callable[[KeyPath, str], None]) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """The passwords of `chpasswd.list`, which is a text of lines or a list of lines."""
    path: KeyPath = ("chpasswd", "list")
    texts = [(path, given)] if isinstance(given, Secret) else [((*path, i), text) for i, text in enumerate(given or ())]
    for path, text in texts:
        for number, line in enumerate(clear(text).splitlines(), 1):
            name, colon, value = line.strip().partition(":")
            if not line.strip():
                continue
            if not colon or not name or not value:
                refuse(path, f"line {number} must be `name:password`")
            else:
                random = value in _RANDOM
                yield path, {"name": name, "type": "RANDOM"} if random else _password(name, value)


def _password(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "type": "hash" if re.fullmatch(_HASHED, value) else "text", "password": Secret(value)}
