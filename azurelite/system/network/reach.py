"""Why an Azure address cannot be reached: one sentence with the likely cause and the remedy.

It reads the guest's routes (/proc/net), interfaces (/sys/class/net) and a few file names, and sends nothing. What it
says is for a person who sees a console or a health report and cannot log in. It looks in the order in which a packet
would meet the trouble.
"""

from __future__ import annotations

from typing import Optional

from azurelite.errors import TransportError
from azurelite.record import Record
from azurelite.system.network import interfaces
from azurelite.system.network.interfaces import dotted, has_carrier, operstate, primary_interface
from azurelite.system.network.routes import Route, best, kernel_routes, number, special_routes
from azurelite.system.root import Root

IMDS = "169.254.169.254"
NO_PROXY = "a proxy plays no part, Azure's addresses are always asked directly"

_UNIT_FOLDERS = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_IMDSD_SOCKET = "/run/systemd/io.systemd.InstanceMetadata"
NO_TIME = "no time was left to ask"


class _View(Record):
    """What is known of one failure."""

    root: Root
    address: str
    number: int
    kind: str
    detail: str
    uid: int
    table: Optional[list[Route]]  # None where the kernel shows none
    others: list[Route]  # local addresses and routes that reject, of all tables

    @property
    def route(self) -> Optional[Route]:
        """The route of the main table that is taken."""
        return best([route for route in self.table or [] if route.kind == "unicast"], self.number)


def explain(root: Root, address: str, error: TransportError, *, uid: int) -> str:
    """Why `address` gave no answer, and what to do about it.

    Args:
        root: where the guest's /proc and /sys are.
        address: the dotted address that was asked.
        error: how that failed.
        uid: the user who asked; on many images only root may.

    Returns:
        One sentence, without a full stop.
    """
    octets = dotted(address)
    detail = error.data.get("exception", "")
    if octets is None:
        cause = f"{address!r} is no IPv4 address and its name was not found: give an endpoint as http://168.63.129.16"
    else:
        table = kernel_routes(root)
        view = _View(root, address, number(octets), error.kind, detail, uid, table, _others(root, table))
        cause = _cause(view)
    return f"{address} cannot be reached: {cause} ({NO_PROXY})"


def _cause(view: _View) -> str:
    for look in (_answered, _served_here, _rejected, _unrouted, _wrong_interface, _link_down, _filtered, _unanswered):
        cause = look(view)
        if cause is not None:
            return cause
    return f"{view.detail or view.kind}, though a route exists: look at `ip route get {view.address}` and the firewall"


def _answered(view: _View) -> Optional[str]:
    if view.kind in ("read timeout", "response too large"):
        return (
            f"it took the connection but gave no usable answer ({view.detail}): the host may be busy, ask again later"
        )
    if view.detail == NO_TIME:
        return "no time was left to ask: give the run a longer `datasource.deadline`"
    return None


def _served_here(view: _View) -> Optional[str]:
    here = best(view.others, view.number)
    if view.number >> 24 != 127 and (here is None or here.kind != "local"):
        return None
    return f"it is an address of this machine, and what should listen there does not answer ({view.detail})"


def _rejected(view: _View) -> Optional[str]:
    reject = best([route for route in view.others if route.kind != "local"], view.number)
    if reject is None or (view.route is not None and view.route.prefix > reject.prefix):
        return None
    said = f"a route of type {reject.kind} covers it"
    if view.address == IMDS and _has_imdsd(view.root):
        return (
            f"{said}, as systemd-imdsd sets one so that only itself can ask IMDS: "
            "boot with systemd.imds.network=unlocked on the kernel's command line"
        )
    return f"{said}: remove it, or find who sets it, with `ip route show table all type {reject.kind}`"


def _unrouted(view: _View) -> Optional[str]:
    if view.table is None or view.route is not None:
        return None
    real = [name for name in interfaces.interfaces(view.root) if name != "lo"]
    primary = primary_interface(view.root)
    remedy = "start azurelite when the network is up, or let it ask for a lease with `datasource.dhcp: ephemeral`"
    if not real:
        return "this machine has no network interface: is the driver hv_netvsc in its kernel?"
    if primary is not None and not has_carrier(view.root, primary):
        return f"there is no route to it, for {primary} is {_state(view.root, primary)}: {remedy}"
    return f"there is neither a route to it nor a default route: {remedy}"


def _wrong_interface(view: _View) -> Optional[str]:
    route = view.route
    primary = primary_interface(view.root)
    if route is None or primary is None or route.interface in (primary, None):
        return None
    try:
        if f"lower_{primary}" in view.root.names(f"{interfaces.NET}/{route.interface}"):  # a bridge, bond or VLAN on it
            return None
    except OSError:
        pass
    return (
        f"the route to it leaves by {route.interface}, while Azure answers on the primary one only, {primary}: "
        f"set `datasource.interface: {primary}`, or add a host route"
    )


def _link_down(view: _View) -> Optional[str]:
    route = view.route
    if route is None or route.interface is None:
        return None
    state = operstate(view.root, route.interface)
    if state is None or state in ("up", "unknown") or has_carrier(view.root, route.interface):
        return None
    return (
        f"the route to it leaves by {route.interface}, which is {_state(view.root, route.interface)}: wait for its link"
    )


def _filtered(view: _View) -> Optional[str]:
    forbidden = view.detail in ("Operation not permitted", "Permission denied")
    if not forbidden and view.detail != "Connection refused" and view.kind != "connection timeout":
        return None
    what = "rejects" if forbidden or view.detail == "Connection refused" else "drops"
    agent = ", as the Azure Linux agent (waagent) sets one in table security," if _has_agent_rule(view.root) else ""
    if view.uid != 0:
        return f"a firewall rule of this machine{agent} {what} what others than root ask: run as root"
    look = "look at `iptables -t security -S OUTPUT` and `nft list ruleset`"
    if what == "drops":
        return f"no answer came by a route that looks right; it may be that a firewall rule{agent} drops it: {look}"
    return f"a firewall rule of this machine{agent} {what} it: {look}"


def _unanswered(view: _View) -> Optional[str]:
    route = view.route
    if view.detail == "No route to host" and route is not None:
        hop = f"the gateway {route.gateway}" if route.gateway else "nobody"
        verb = "does not answer" if route.gateway else "answers"
        return f"{hop} {verb} on {route.interface}: is that network Azure's, and does no firewall rule reject it?"
    return None


def _state(root: Root, name: str) -> str:
    state = operstate(root, name)
    return "down" if state == "down" else f"without a carrier (state {state or 'not known'})"


def _has_imdsd(root: Root) -> bool:
    try:
        if root.stat(_IMDSD_SOCKET) is not None:
            return True
    except OSError:
        pass
    return _has_unit(root, "systemd-imdsd")


def _has_agent_rule(root: Root) -> bool:
    """waagent's rule is in use (the kernel tells root only), or its unit that sets it at each boot is installed."""
    return "security" in root.text("/proc/net/ip_tables_names").split() or _has_unit(root, "waagent-network-setup")


def _has_unit(root: Root, start: str) -> bool:
    for folder in _UNIT_FOLDERS:
        try:
            if any(name.startswith(start) for name in root.names(folder)):
                return True
        except OSError:
            continue
    return False


def _others(root: Root, table: Optional[list[Route]]) -> list[Route]:
    special = special_routes(root)
    if special is not None:
        return special
    return [route for route in table or [] if route.kind != "unicast"]
