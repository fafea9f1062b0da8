"""The rule for sudo or doas of an account. It is checked before the account is created."""

from __future__ import annotations

from typing import Literal, Optional, Sequence

from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.system.accounts.privileges import Tool, Wish, doas_wish, fulfil, sudo_wish, tool_of

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
