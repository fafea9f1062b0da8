"""`wireserver_firewall`: root alone may speak to WireServer, which gives a VM's goal state and certificates to anybody.

Names (port 53) stay open to all: Azure's resolver has the same address. What is only passed on, as from a container,
has no user and is refused as well. The rules end with the boot, so this runs at every one. Where the Azure Linux
agent has set rules of its own for the address, none are added for this machine's users and none of its are touched.
"""

from __future__ import annotations

import logging
from typing import Literal, Union

from azurelite.config.load import Frequency
from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.record import Record
from azurelite.system.network.firewall import Fence, open_backend, set_fence

LOG = logging.getLogger(__name__)

SUMMARY = "let root alone speak to WireServer"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "boot"
REQUIRED = False

_WIRESERVER = "168.63.129.16"
_IMDS = "169.254.169.254"


class Options(Record):
    """Options of `wireserver_firewall`.

    Attributes:
        users: who may speak to it besides root: names, or numbers of users.
        imds: the same for IMDS; many programs ask it for tokens and must then be among `users`.
        forward: let packets through that this machine only passes on (containers, virtual machines inside).
        action: "drop": others wait for nothing, as with the Azure Linux agent; "reject": they are told at once.
        backend: the tool: "auto" is nft, and iptables where nft is not installed or the kernel cannot.
    """

    users: tuple[Union[int, str], ...] = ()
    imds: bool = False
    forward: bool = False
    action: Literal["drop", "reject"] = "drop"
    backend: Literal["auto", "nft", "iptables"] = "auto"

    def __post_init__(self) -> None:
        if any(isinstance(user, int) and not 0 <= user < 2**32 - 1 for user in self.users):
            raise ValueError("users has a number that no user can have")


def apply(ctx: Context, options: Options) -> None:
    """Set the rules; in a foreign root there is nothing to set.

    Raises:
        HandlerError: no such user, or no tool for rules.
        CommandError: the kernel lacks what the rules need, or azurelite does not run as root.
    """
    addresses = (_WIRESERVER, _IMDS) if options.imds else (_WIRESERVER,)
    fence = Fence(addresses, _uids(ctx, options), options.action, options.forward)
    if not ctx.system.root.is_host:
        LOG.info("rules are set where the system runs: there is nothing to do in another root")
        return
    backend = open_backend(ctx.system, options.backend, options.action)
    if backend is None:
        tool = "nft or iptables" if options.backend == "auto" else options.backend
        raise HandlerError(f"{tool} is not installed: add it to the image (nftables)")
    for address in set_fence(ctx.system, backend, fence):
        LOG.info("%s is kept by the Azure Linux agent's rules: it gets no second ones", address)


def _uids(ctx: Context, options: Options) -> tuple[int, ...]:
    uids = {0}
    for user in options.users:
        found = None if isinstance(user, int) else ctx.system.accounts.user(user)
        if isinstance(user, str) and found is None:
            raise HandlerError(f"`users` names {user!r}, and there is no such user: list `users` ahead of this handler")
        uids.add(user if isinstance(user, int) else found.owner.uid)  # type: ignore[union-attr]
    return tuple(sorted(uids))
