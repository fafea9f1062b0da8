"""Why an Azure address is unreachable: one line with the likely cause and the remedy.

It reads the guest's routes (/proc/net), interfaces (/sys/class/net) and a few file names, and sends no packet.
The text is for a person who sees a console or a health report and cannot log in. The checks run in the order in which
a packet would pass the places that they look at.
"""

from __future__ import annotations

from typing import Optional

from azurelite.errors import NO_TIME, TransportError
from azurelite.record import Record
from azurelite.system.network import interfaces
from azurelite.system.network.interfaces import dotted, has_carrier, operstate, primary_interface
from azurelite.system.network.routes import Route, best, kernel_routes, number, special_routes
from azurelite.system.root import Root
from azurelite.system.services.enabling import SYSTEMD_UNITS

IMDS = "169.254.169.254"
NO_PROXY = "proxies are never used for Azure's addresses"

_IMDSD_SOCKET = "/run/systemd/io.systemd.InstanceMetadata"


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
    dhcp: bool  # azurelite asks for a lease itself

    @property
    def route(self) -> Optional[Route]:
        """The route of the main table that is taken."""
        return best([route for route in self.table or [] if route.kind == "unicast"], self.number)


def explain(root: Root, address: str, error: TransportError, *, uid: int, dhcp: bool = False) -> str:
    """Why `address` did not answer, and what to do about it.

    Args:
        root: where the guest's /proc and /sys are.
        address: the dotted address that was asked.
        error: how that failed.
        uid: the user who asked; on many images only root may.
        dhcp: azurelite asks for a lease itself (`datasource.dhcp: ephemeral`).

    Returns:
        One line, without a full stop at its end: "unreachable" or another state, the cause, the remedy.
    """
    octets = dotted(address)
    detail = error.data.get("exception", "")
    if octets is None:
        cause = (
            f"unreachable: the name {address!r} was not found. Set the endpoint to an address, as http://168.63.129.16"
        )
    else:
        table = kernel_routes(root)
        view = _View(root, address, number(octets), error.kind, detail, uid, table, _others(root, table), dhcp)
        cause = _cause(view)
    return f"{cause} ({NO_PROXY})"


def _cause(view: _View) -> str:
    for look in (_answered, _served_here, _rejected, _unrouted, _wrong_interface, _link_down, _filtered, _unanswered):
        cause = look(view)
        if cause is not None:
            return cause
    said = view.detail or view.kind
    where = f"{view.address}, although a route exists ({said})"
    return f"unreachable: no connection to {where}. Check `ip route get {view.address}` and the firewall"


def _answered(view: _View) -> Optional[str]:
    if view.kind in ("read timeout", "response too large"):
        return (
            f"no answer: {view.address} accepted the connection but sent no usable answer ({view.detail}). "
            "The host may be busy; retry later"
        )
    if view.detail == NO_TIME:
        return f"{NO_TIME}: {view.address} was not contacted. Raise `datasource.deadline`"
    return None


def _served_here(view: _View) -> Optional[str]:
    here = best(view.others, view.number)
    if view.number >> 24 != 127 and (here is None or here.kind != "local"):
        return None
    said = f"{view.address} is an address of this machine, and no service answers there ({view.detail})"
    return f"unreachable: {said}. Check the endpoint in the configuration"


def _rejected(view: _View) -> Optional[str]:
    reject = best([route for route in view.others if route.kind != "local"], view.number)
    if reject is None or (view.route is not None and view.route.prefix > reject.prefix):
        return None
    said = f"unreachable: a route of type {reject.kind} blocks {view.address}"
    if view.address == IMDS and _has_imdsd(view.root):
        return (
            f"{said}; systemd-imdsd sets it so that only systemd-imdsd can use IMDS. "
            "Boot with systemd.imds.network=unlocked on the kernel command line"
        )
    return f"{said}. Remove the route; `ip route show table all type {reject.kind}` shows it"


def _unrouted(view: _View) -> Optional[str]:
    if view.table is None or view.route is not None:
        return None
    real = [name for name in interfaces.interfaces(view.root) if name != "lo"]
    primary = primary_interface(view.root)
    remedy = "Bring the network up before azurelite starts"
    if not view.dhcp:
        remedy += ", or set `datasource.dhcp: ephemeral`"
    if not real:
        return "unreachable: this machine has no network interface. Check that the kernel has the driver hv_netvsc"
    if primary is not None and not has_carrier(view.root, primary):
        return f"unreachable: no route to {view.address} ({primary} is {_state(view.root, primary)}). {remedy}"
    return f"unreachable: no route to {view.address} and no default route. {remedy}"


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
        f"unreachable: the route to {view.address} uses {route.interface}, but Azure answers only on the primary "
        f"interface {primary}. Set `datasource.interface: {primary}`, or add a host route"
    )


def _link_down(view: _View) -> Optional[str]:
    route = view.route
    if route is None or route.interface is None:
        return None
    state = operstate(view.root, route.interface)
    if state is None or state in ("up", "unknown") or has_carrier(view.root, route.interface):
        return None
    return (
        f"unreachable: the route to {view.address} uses {route.interface}, which is "
        f"{_state(view.root, route.interface)}. Wait for its link"
    )


def _filtered(view: _View) -> Optional[str]:
    forbidden = view.detail in ("Operation not permitted", "Permission denied")
    if not forbidden and view.detail != "Connection refused" and view.kind != "connection timeout":
        return None
    what = "rejects" if forbidden or view.detail == "Connection refused" else "drops"
    agent = " (the Azure Linux agent, waagent, sets one in table security)" if _has_agent_rule(view.root) else ""
    if view.uid != 0:
        return f"unreachable: a firewall rule of this machine{agent} {what} requests of non-root users. Run as root"
    look = "Check `iptables -t security -S OUTPUT` and `nft list ruleset`"
    if what == "drops":
        said = f"the route to {view.address} is fine, but nothing answers"
        return f"unreachable: {said}; a firewall rule{agent} may drop the requests. {look}"
    return f"unreachable: a firewall rule of this machine{agent} {what} requests to {view.address}. {look}"


def _unanswered(view: _View) -> Optional[str]:
    route = view.route
    if view.detail == "No route to host" and route is not None:
        said = f"the gateway {route.gateway} does not answer" if route.gateway else f"{view.address} does not answer"
        check = f"Check that this network is Azure's and that no firewall rule rejects {view.address}"
        return f"unreachable: {said} on {route.interface}. {check}"
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
    """Whether waagent's firewall rule is active (only root can see that), or the unit that sets it is installed."""
    return "security" in root.text("/proc/net/ip_tables_names").split() or _has_unit(root, "waagent-network-setup")


def _has_unit(root: Root, start: str) -> bool:
    for folder in SYSTEMD_UNITS:
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
