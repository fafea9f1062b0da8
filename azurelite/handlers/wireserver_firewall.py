"""`wireserver_firewall`: permit only root to connect to WireServer, which gives the VM's goal state to any program.

The goal state includes certificates. DNS (port 53) stays open to all users, because Azure's resolver has the same
address. Forwarded packets, for example from a container, belong to no user and are blocked as well. The kernel loses
the rules at shutdown, so this handler runs at every boot. If the Azure Linux agent has set its own rules for the
address, no rules for local users are added, and the agent's rules are not changed.
"""

from __future__ import annotations

import logging
from typing import Literal, Union

from azurelite.config.load import Frequency
from azurelite.errors import HandlerError, SkippedError
from azurelite.handlers import Context
from azurelite.record import Record
from azurelite.system.network.firewall import Fence, open_backend, set_fence

LOG = logging.getLogger(__name__)

SUMMARY = "block WireServer for all users but root"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "boot"
REQUIRED = False

_WIRESERVER = "168.63.129.16"
_IMDS = "169.254.169.254"


class Options(Record):
    """Options of `wireserver_firewall`.

    Attributes:
        users: user names or user ids that may connect in addition to root.
        imds: block IMDS in the same way; users of programs that get tokens from IMDS must then be in `users`.
        forward: permit forwarded packets (of containers and nested virtual machines).
        action: "drop": blocked connections time out, as with the Azure Linux agent; "reject": they fail at once.
        backend: the tool: "nft" or "iptables"; "auto": nft, or iptables if nft is not installed or the kernel does
            not support it.
    """

    users: tuple[Union[int, str], ...] = ()
    imds: bool = False
    forward: bool = False
    action: Literal["drop", "reject"] = "drop"
    backend: Literal["auto", "nft", "iptables"] = "auto"

    def __post_init__(self) -> None:
        if any(isinstance(user, int) and not 0 <= user < 2**32 - 1 for user in self.users):
            raise ValueError("users has an invalid user id: it must be from 0 to 4294967294")


def apply(ctx: Context, options: Options) -> None:
    """Set the rules.

    Raises:
        SkippedError: the root is not the running system.
        HandlerError: a user does not exist, or no firewall tool is installed.
        CommandError: the kernel does not support the rules, or azurelite does not run as root.
    """
    addresses = (_WIRESERVER, _IMDS) if options.imds else (_WIRESERVER,)
    fence = Fence(addresses, _uids(ctx, options), options.action, options.forward)
    if not ctx.system.root.is_host:
        raise SkippedError("only a running system has firewall rules")
    backend = open_backend(ctx.system, options.backend, options.action)
    if backend is None:
        tool = "nft or iptables" if options.backend == "auto" else options.backend
        raise HandlerError(f"{tool} is not installed: add it to the image (nftables)")
    for address in set_fence(ctx.system, backend, fence):
        LOG.info("wireserver_firewall: %s skipped: the Azure Linux agent has set rules for it", address)


def _uids(ctx: Context, options: Options) -> tuple[int, ...]:
    uids = {0}
    for user in options.users:
        found = None if isinstance(user, int) else ctx.system.accounts.user(user)
        if isinstance(user, str) and found is None:
            raise HandlerError(f"the user {user!r} does not exist: list the handler `users` before this one")
        uids.add(user if isinstance(user, int) else found.owner.uid)  # type: ignore[union-attr]
    return tuple(sorted(uids))
