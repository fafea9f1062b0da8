"""`network`: configure the NICs that IMDS lists, in the files of the guest's own network program.

A VM with one NIC and one address does not need it if the image uses DHCP. It is for VMs with several NICs or
addresses: DHCP assigns only the first address of a NIC, and does not say which NIC is the primary one.

A NIC is identified by its MAC and its driver, never by its name. The first NIC is the one with the routes to Azure,
because the order in IMDS is not guaranteed. The order is stored for the life of the VM, so that adding a NIC does not
change the others; with `frequency: boot` a new NIC is found. The network program is chosen by what is installed and
enabled, not by the distribution's name.
"""

from __future__ import annotations

from typing import Iterable, Literal, Mapping, Optional, Sequence

from azurelite.config.load import Frequency
from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.netconf import ifupdown, netplan, networkd, networkmanager
from azurelite.netconf.nics import MARK, METRIC_STEP, PLACES, File, Listing, Nic, read_nics, udev_rules
from azurelite.record import Record, replace
from azurelite.system.changes import Change
from azurelite.system.globs import expand
from azurelite.system.network.interfaces import NETVSC, built_on
from azurelite.system.network.nics import LocalNic, local_nics, nic_of
from azurelite.system.network.routes import kernel_routes
from azurelite.system.services.services import Services

SUMMARY = "configure the NICs that IMDS lists: DHCP, secondary addresses, route metrics"
NEEDS = ("network",)
FREQUENCY: Frequency = "instance"
REQUIRED = False  # the VM has a working network without it

_ORDER = "network-order"  # key in the memory; its value is the MACs, the primary NIC's first
_AZURE = (0xA83F8110, 0xA9FEA9FE)  # 168.63.129.16 and 169.254.169.254
_NETWORKD = ("/usr/lib/systemd/systemd-networkd", "/lib/systemd/systemd-networkd")
_HOW = {
    "networkd": "`networkctl reload`",
    "netplan": "`netplan apply`",
    "networkmanager": "`nmcli connection reload` and `nmcli connection up`",
    "ifupdown": "`ifdown` and `ifup` for the NIC",
}


class Options(Record):
    """Options of `network`.

    Attributes:
        renderer: the network program to write files for: "networkd", "netplan", "networkmanager" or "ifupdown";
            "auto": the one that is installed and enabled (an error if there is none).
        secondary_addresses: configure the addresses of a NIC after its first one, which DHCP does not assign. They
            get the prefix /32 or /128, so that the first address stays the source of outgoing connections.
        route_metrics: 100 for the routes of the primary NIC, 200 for the next, and so on, so that two NICs in one
            subnet do not alternate.
        set_name: name the NICs eth0, eth1, … in that order from the next boot on, by netplan or a udev rule. The
            kernel uses such names too and they can clash; leave it off if you can.
        apply: also change the running system: add the secondary addresses and let the renderer configure new NICs.
            The primary NIC's other settings change at the next boot. When false, everything does.
    """

    renderer: Literal["auto", "networkd", "netplan", "networkmanager", "ifupdown"] = "auto"
    secondary_addresses: bool = True
    route_metrics: bool = True
    set_name: bool = False
    apply: bool = False


def apply(ctx: Context, options: Options) -> None:
    """Write the files that changed, and remove azurelite's files for NICs that are gone.

    Raises:
        HandlerError: no network program was found, or it does not read azurelite's file.
        FileError: a file could not be written.
        CommandError: with `apply`, a program failed.
    """
    if ctx.metadata.network is None:
        return
    listing = read_nics(ctx.metadata.network, secondary_addresses=options.secondary_addresses)
    for problem in listing.problems:
        ctx.note(problem)
    if not listing.nics:
        return
    renderer = options.renderer if options.renderer != "auto" else _find_renderer(ctx)
    local = {nic.mac: nic_of(nic.mac, local_nics(ctx.system.root)) for nic in listing.nics}
    order = _order(ctx, listing, local)
    by_mac = {nic.mac: nic for nic in listing.nics if not _is_used_otherwise(ctx, local[nic.mac])}
    nics = [_placed(by_mac[mac], rank, local[mac], options) for rank, mac in enumerate(order) if mac in by_mac]
    files = _render(ctx, renderer, nics)
    # A NIC whose entry in IMDS is unreadable, or that is not visible here, is not gone.
    complete = listing.complete and not (renderer == "ifupdown" and any(nic.name is None for nic in nics))
    primary = order[0] if options.apply and renderer != "networkmanager" else None
    later = [file for file in files if file.mac is not None and file.mac == primary]
    written = [file for file in files if file not in later and _write(ctx, file)]
    removed = complete and _remove_stale(ctx, files)
    if options.apply and (written or removed):
        _reload(ctx, renderer)
    # Written after the reload on purpose: networkd releases the lease of a NIC whose file has changed.
    written += [file for file in later if _write(ctx, file)]
    if options.apply:
        _put_addresses(ctx, written, nics, local)
        if ctx.system.root.is_host and any(file.mac == order[0] for file in written):
            ctx.note("secondary addresses are set; the primary NIC's new route metric takes effect at the next boot")
    elif (written or removed) and ctx.system.root.is_host:
        ctx.note(f"the files for {renderer} take effect at the next boot: to apply them now, run {_HOW[renderer]}")
    ctx.memory.remember(_ORDER, " ".join(order))


def _is_used_otherwise(ctx: Context, nic: Optional[LocalNic]) -> bool:
    """Whether a bridge, bond or VLAN uses the NIC. Its address belongs there, and two leases would be one too many."""
    above = built_on(ctx.system.root, nic.name) if nic is not None else []
    if nic is not None and above:
        ctx.note(f"{nic.name} is not configured, because it is part of {', '.join(above)}: configure that in the image")
    return bool(above)


def _find_renderer(ctx: Context) -> str:
    files, installed, services = ctx.system.files, ctx.system.installed, Services(ctx.system)
    if installed("netplan") and files.is_dir("/etc/netplan"):
        return "networkmanager" if _netplan_uses_networkmanager(ctx) else "netplan"
    if installed("NetworkManager") and services.enabled("NetworkManager"):
        return "networkmanager"
    if installed(*_NETWORKD) and services.enabled("systemd-networkd"):
        return "networkd"
    if installed("ifup") and files.exists(ifupdown.MAIN):
        return "ifupdown"
    raise HandlerError(
        "neither netplan, NetworkManager, systemd-networkd nor ifupdown is installed and enabled: "
        "set `renderer`, or remove the entry `network`"
    )


def _netplan_uses_networkmanager(ctx: Context) -> bool:
    paths = (f"{folder}/{name}" for folder in netplan.FOLDERS for name in ctx.system.files.names(folder))
    return netplan.hands_on((ctx.system.files.text(path) or "") for path in paths if path.endswith(".yaml"))


def _order(ctx: Context, listing: Listing, local: Mapping[str, Optional[LocalNic]]) -> list[str]:
    """The MACs, the primary NIC's first: in the stored order, else by the routes, else in the order of IMDS.

    While IMDS has an unreadable entry, stored MACs that it does not list keep their position, so that no NIC moves.
    """
    listed = [nic.mac for nic in listing.nics]
    remembered = (ctx.memory.recall(_ORDER) or "").split()
    known = [mac for mac in remembered if mac in listed or not listing.complete]
    stays = bool(known) and known[0] == remembered[0]
    first = known[:1] if stays else _primary(ctx, listed, local)
    return list(dict.fromkeys([*first, *known, *listed]))


def _primary(ctx: Context, listed: Sequence[str], local: Mapping[str, Optional[LocalNic]]) -> list[str]:
    """The MAC of the NIC with the routes to Azure's own addresses, or else of the one with the default route.

    DHCP gives the routes to Azure's addresses to the primary NIC only. If several NICs have the same metric, the first
    in IMDS's order is taken. The list is empty if there is no such route.
    """
    by_name = {nic.name: mac for mac, nic in local.items() if nic is not None}
    routes = kernel_routes(ctx.system.root) or []
    for wanted in (
        [route for route in routes if route.prefix == 32 and route.network in _AZURE],
        [route for route in routes if route.prefix == 0],
    ):
        found = [(route.metric, by_name[route.interface]) for route in wanted if route.interface in by_name]
        best = {mac for metric, mac in found if metric == min(found)[0]}
        if best:
            return [mac for mac in listed if mac in best][:1]
    return []


def _placed(nic: Nic, rank: int, local: Optional[LocalNic], options: Options) -> Nic:
    """The NIC with its rank, metric, driver and name."""
    return replace(
        nic,
        rank=rank,
        metric=(rank + 1) * METRIC_STEP if options.route_metrics else None,
        # A NIC that is not visible here is a Hyper-V NIC, as all on Azure. With accelerated networking a second
        # device has the same MAC; the driver excludes that one.
        driver=NETVSC if local is None else local.driver,
        name=f"eth{rank}" if options.set_name else local.name if local is not None else None,
        renamed=options.set_name,
    )


def _render(ctx: Context, renderer: str, nics: Sequence[Nic]) -> tuple[File, ...]:
    if renderer == "netplan":
        if _netplan_uses_networkmanager(ctx):
            raise HandlerError(
                "netplan with NetworkManager cannot select a NIC by its driver: set `renderer: networkmanager`"
            )
        return netplan.render(nics)
    if renderer == "networkd":
        return networkd.render(nics) + udev_rules(nics)
    if renderer == "networkmanager":
        return networkmanager.render(nics) + udev_rules(nics)
    return _for_ifupdown(ctx, nics) + udev_rules(nics)


def _for_ifupdown(ctx: Context, nics: Sequence[Nic]) -> tuple[File, ...]:
    main = ctx.system.files.text(ifupdown.MAIN) or ""
    if not ifupdown.takes_in(main):
        raise HandlerError(
            f"{ifupdown.MAIN} does not include {ifupdown.FOLDER}: add the line `source {ifupdown.FOLDER}/*` to it"
        )
    taken = ifupdown.interfaces_named(_included_files(ctx, ifupdown.MAIN).values())
    busybox = ctx.system.root.host_path(ctx.system.program("ifup") or "/").endswith("/busybox")
    for nic in nics:
        for problem in ifupdown.problems(nic, taken=taken, busybox=busybox):
            ctx.note(problem)
    return ifupdown.render(nics, taken=taken, busybox=busybox)


def _included_files(ctx: Context, main: str) -> dict[str, str]:
    """Path -> text of ifupdown's main file and of all files that it includes, without azurelite's own."""
    files = ctx.system.files
    texts: dict[str, str] = {}
    pending = [main]
    while pending:
        path = pending.pop()
        if path not in texts and path != ifupdown.PATH and not files.is_dir(path):
            texts[path] = ctx.system.files.text(path) or ""
            pending += [
                found for pattern in ifupdown.sources(texts[path], path) for found in expand(pattern, files.names)
            ]
    return texts


def _write(ctx: Context, file: File) -> bool:
    folder = file.path.rpartition("/")[0]
    ctx.system.files.mkdirs(folder, mode=0o700 if folder == networkmanager.FOLDER else 0o755)
    return ctx.system.files.write(file.path, file.text.encode(), mode=file.mode)


def _remove_stale(ctx: Context, files: Iterable[File]) -> bool:
    """Remove files that azurelite wrote for NICs that are gone or for another renderer.

    A file is azurelite's if both its name and its first line say so.
    """
    wanted = {file.path for file in files}
    removed = False
    for folder, prefix in PLACES:
        for name in ctx.system.files.names(folder):
            path = f"{folder}/{name}"
            own = name.startswith(prefix) and path not in wanted and not ctx.system.files.is_dir(path)
            if own and (ctx.system.files.text(path) or "").startswith(MARK):
                removed = ctx.system.files.delete(path) or removed
    return removed


def _reload(ctx: Context, renderer: str) -> None:
    """Make the running network program reload its files; one that is not running reads them when it starts."""
    if not ctx.system.root.is_host:
        return
    exists = ctx.system.files.exists
    if renderer == "netplan":
        ctx.system.perform(Change("service", "netplan", "generate the configuration"), ["netplan", "generate"])
    if renderer in ("networkd", "netplan") and exists("/run/systemd/netif/state"):
        ctx.system.perform(Change("service", "systemd-networkd", "reload"), ["networkctl", "reload"])
    if renderer in ("networkmanager", "netplan") and exists("/run/NetworkManager/devices"):
        ctx.system.perform(Change("service", "NetworkManager", "reload"), ["nmcli", "connection", "reload"])


def _put_addresses(
    ctx: Context, written: Sequence[File], nics: Sequence[Nic], local: Mapping[str, Optional[LocalNic]]
) -> None:
    """Add the secondary addresses of the NICs whose file was written. `ip address replace` accepts existing ones."""
    if not ctx.system.root.is_host:
        return
    macs = {file.mac for file in written}
    shared = any(file.path == ifupdown.PATH for file in written)
    for nic in nics:
        here = local[nic.mac]
        if here is not None and (shared or nic.mac in macs):
            for address in nic.addresses:
                argv = ["ip", "address", "replace", address, "dev", here.name]
                ctx.system.perform(Change("address", here.name, address), argv)
