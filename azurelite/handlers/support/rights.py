"""Which rule for sudo or doas an account gets, decided ahead of everything that changes the machine."""

from __future__ import annotations

from typing import Literal, Optional, Sequence

from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.system.accounts.privileges import Tool, Wish, doas_wish, fulfil, sudo_wish, tool_of

Sudo = Literal["auto", "nopasswd", "password", "none"]
By = Literal["auto", "sudo", "doas"]


def right_of(ctx: Context, name: str, sudo: Sudo, *, by: By = "auto") -> Optional[Wish]:
    """The rule that lets the user act as root, or None where there is to be none.

    Raises:
        HandlerError: it was asked for, and neither sudo nor doas is there.
        MachineError: the tool's own program refuses the file.
    """
    if sudo == "none":
        return None
    tool = tool_of(ctx.system, by)
    if tool is None:
        wanted = "sudo" if by == "auto" else by
        if sudo == "auto":
            ctx.note(f"{wanted} is not installed: the user gets no rule for it")
            return None
        raise HandlerError(f"{wanted} is not installed: install it, or set `sudo: none`")
    if tool == "sudo":
        tag = "" if sudo == "password" else "NOPASSWD: "
        return sudo_wish(ctx.system, name, [f"ALL=(ALL:ALL) {tag}ALL"], own=True)
    nopass = "" if sudo == "password" else "nopass "
    return doas_wish(ctx.system, name, [f'permit {nopass}keepenv "{name}"'], own=True)


def given_rules(ctx: Context, name: str, rules: Sequence[str], tool: Tool) -> Wish:
    """The file with rules that somebody wrote down himself.

    Raises:
        HandlerError: the tool is not there.
        MachineError: the tool's own program refuses them.
    """
    if tool_of(ctx.system, tool) is None:
        raise HandlerError(f"{tool} is not installed: install it, or leave `{tool}_rules` out")
    wish = sudo_wish if tool == "sudo" else doas_wish
    return wish(ctx.system, name, rules)


def grant(ctx: Context, wish: Optional[Wish]) -> None:
    """Write the rule. Raises FileError."""
    if wish is not None:
        fulfil(ctx.system, wish)
