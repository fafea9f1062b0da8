"""Checks of the names, paths and rules of an account, and its rule for sudo or doas, checked before it is created.

Each check returns what is wrong, or None; it never repeats a secret.
"""

from __future__ import annotations

import re
from typing import Iterable, Literal, Optional, Sequence

from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.handlers.support.administrator import NAME
from azurelite.keys.openssh import PublicKey
from azurelite.metadata import SshKey
from azurelite.system.accounts.privileges import Tool, Wish, doas_wish, fulfil, sudo_wish, tool_of

SHELLS = ("/bin/bash", "/usr/bin/bash", "/bin/ash", "/bin/sh")
_PATH = r"(/[A-Za-z0-9_.+-]+)+"
_MOST_ID = 2**31 - 1
_LONGEST_RULE = 1000  # characters


def wrong_name(name: str) -> Optional[str]:
    """Why an account cannot have that name."""
    if not re.fullmatch(NAME, name) or name.endswith("."):
        return "name must be at most 32 letters, digits, `_`, `.` and `-`, with a letter or `_` first"
    return "name must not be ALL, which means every user in sudoers" if name == "ALL" else None


def wrong_group(name: str) -> Optional[str]:
    """Why a group cannot have that name."""
    wrong = "name must be at most 32 letters, digits, `_`, `.` and `-`, with a letter or `_` first"
    return None if re.fullmatch(NAME, name) else wrong


def wrong_path(path: str) -> Optional[str]:
    """Why the path is refused; the text continues the name of the option."""
    if not re.fullmatch(_PATH, path) or any(part in (".", "..") for part in path.split("/")):
        return "must be an absolute path of letters, digits, `_`, `.`, `+` and `-`, without `..`"
    return None


def wrong_comment(comment: str) -> Optional[str]:
    """Why the comment field of /etc/passwd cannot hold that."""
    if ":" in comment or not comment.isprintable() or len(comment) > 200:
        return "comment must be one line of at most 200 characters, without `:`"
    return None


def wrong_uid(uid: int) -> Optional[str]:
    """Why an account cannot have that user id."""
    if 0 < uid < _MOST_ID and uid not in (65534, 65535):
        return None
    return f"uid must be from 1 to {_MOST_ID - 1}, but not 65534 or 65535 (nobody)"


def wrong_sudo_rule(rule: str) -> Optional[str]:
    """Why that cannot follow a user name in sudoers. A second line could be a rule for another user."""
    if not rule.isprintable() or rule.rstrip().endswith("\\") or len(rule) > _LONGEST_RULE:
        return "must be one line of printable text that does not end in a backslash"
    if not re.fullmatch(r"[^=\s#@+%\"'][^=]*=.*\S.*", rule):
        return "must have the form HOSTS=(RUNAS) COMMANDS, without the user name before it"
    return None


def wrong_doas_rule(rule: str, name: str) -> Optional[str]:
    """Why that cannot be a line of doas.conf for that user only."""
    if not rule.isprintable() or rule.rstrip().endswith("\\") or "#" in rule or len(rule) > _LONGEST_RULE:
        return "must be one line of printable text without a comment"
    words = rule.replace('"', "").split()
    if not words or words[0] not in ("permit", "deny"):
        return "must begin with permit or deny"
    options, at = ("nopass", "nolog", "persist", "keepenv"), 1
    while at < len(words) and (words[at] in options or words[at] == "setenv"):
        if words[at] == "setenv":
            while at < len(words) and words[at] != "}" and not words[at].endswith("}"):
                at += 1
        at += 1
    return None if words[at : at + 1] == [name] else "must be a rule for this account"


def days_of(date: str) -> Optional[int]:
    """The date as days since 1970-01-01, or None if it is not a date of the form 2030-12-31."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", date):
        return None
    from datetime import date as calendar

    try:
        return (calendar.fromisoformat(date) - calendar(1970, 1, 1)).days
    except ValueError:
        return None


def octal(text: str) -> Optional[int]:
    """The permission bits of a folder from text such as "0750", or None for any other text."""
    return int(text, 8) if re.fullmatch(r"0?[0-7]{3}", text) else None


def find_shell(ctx: Context) -> str:
    """The first of bash, ash and sh that the guest has."""
    return next((path for path in SHELLS if ctx.system.files.is_executable(path)), "/bin/sh")


def login_keys(named: Iterable[tuple[str, SshKey]]) -> tuple[list[PublicKey], list[str]]:
    """The keys that sshd accepts from authorized_keys, and for each other one a sentence that names it and says why.

    Args:
        named: what a person calls the key, and the key.
    """
    usable: list[PublicKey] = []
    wrong: list[str] = []
    for name, given in named:
        if given.key is not None and not given.key.is_certificate:
            usable.append(given.key)
        else:
            why = given.problem or "an OpenSSH certificate does not work in authorized_keys: give the public key itself"
            wrong.append(f"{name} skipped: {why}")
    return usable, wrong


Sudo = Literal["auto", "nopasswd", "password", "none"]
By = Literal["auto", "sudo", "doas"]


def right_of(ctx: Context, name: str, sudo: Sudo, *, by: By = "auto") -> Optional[Wish]:
    """The rule that permits the user to act as root, or None for no rule.

    Raises:
        HandlerError: a rule was requested, but the tool is not installed.
        MachineError: the tool's own checker rejects the file.
    """
    if sudo == "none":
        return None
    tool = tool_of(ctx.system, by)
    if tool is None:
        wanted = "sudo" if by == "auto" else by
        if sudo == "auto":
            ctx.note(f"{wanted} is not installed: no rule for {name} is written")
            return None
        raise HandlerError(f"{wanted} is not installed: install it, or set `sudo: none`")
    if tool == "sudo":
        tag = "" if sudo == "password" else "NOPASSWD: "
        return sudo_wish(ctx.system, name, [f"ALL=(ALL:ALL) {tag}ALL"], own=True)
    nopass = "" if sudo == "password" else "nopass "
    return doas_wish(ctx.system, name, [f'permit {nopass}keepenv "{name}"'], own=True)


def given_rules(ctx: Context, name: str, rules: Sequence[str], tool: Tool) -> Wish:
    """The file with the rules from the configuration.

    Raises:
        HandlerError: the tool is not installed.
        MachineError: the tool's own checker rejects them.
    """
    if tool_of(ctx.system, tool) is None:
        raise HandlerError(f"{tool} is not installed: install it, or remove `{tool}_rules`")
    wish = sudo_wish if tool == "sudo" else doas_wish
    return wish(ctx.system, name, rules)


def grant(ctx: Context, wish: Optional[Wish]) -> None:
    """Write the rule. Raises FileError."""
    if wish is not None:
        fulfil(ctx.system, wish)
