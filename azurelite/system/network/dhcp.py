"""A temporary DHCP lease from an installed client, applied for the length of a `with` block and then undone.

For images whose own network starts after provisioning. The client only obtains the lease: its script is replaced by
one that writes the lease to a private folder, so resolv.conf, hooks, the hostname and the system's leases do not
change. Address and routes are set here with `ip` and removed one by one when the block ends, also on errors. A link
that was up is not changed; one that was down is set down again. Nothing remains, so no change is recorded.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
from typing import Iterator, Optional

from azurelite.clock import Deadline
from azurelite.errors import CommandError, FileError, MachineError
from azurelite.record import Record
from azurelite.system.machine import System
from azurelite.system.network.interfaces import dotted, unicast
from azurelite.system.network.leases import read_value
from azurelite.system.network.routes import Route, prefix_of, read_option
from azurelite.system.root import Root
from azurelite.system.scratch import put_private, scratch_folder

LOG = logging.getLogger(__name__)

CLIENTS = ("udhcpc", "dhclient", "dhcpcd")  # the one with the fewest side effects first
_METRIC = "4242"  # higher than the system's routes have; also identifies our own when they are removed
_IP_SECONDS = 10.0  # limit for one call of `ip`, which takes milliseconds
_HOST = Root("/")  # where the clients run
_FOLDERS = ("/run", "/tmp", "/var/tmp", "/dev/shm", "/root")  # noqa: S108 - mkdtemp creates a private one there
_DHCPCD_STATE, _DHCPCD_RUN = "/var/lib/dhcpcd", "/run/dhcpcd"  # compiled-in paths
_PROMOTE = "/proc/sys/net/ipv4/conf/@/promote_secondaries"

# Only numbers formatted by the client are written. BusyBox passes the event in $1, the others in $reason.
_SCRIPT = """#!/bin/sh
case "${reason:-$1}" in
bound|renew|BOUND|RENEW|REBIND|REBOOT) ;;
*) exit 0 ;;
esac
{
printf 'address=%s\\n' "${ip:-$new_ip_address}"
printf 'mask=%s\\n' "${subnet:-$new_subnet_mask}"
printf 'routers=%s\\n' "${router:-$new_routers}"
printf 'routes=%s\\n' "${staticroutes:-${new_classless_static_routes:-$new_azurelite_routes}}"
printf 'routes=%s\\n' "${msstaticroutes:-${new_ms_classless_static_routes:-$new_azurelite_ms_routes}}"
printf 'wireserver=%s\\n' "${opt245:-$new_azurelite_wireserver}"
echo end
} > "@FOLDER@/lease"
@THEN@
"""
_DHCLIENT_CONF = """timeout @SECONDS@;
initial-interval 1;
backoff-cutoff 3;
select-timeout 0;
option azurelite-routes code 121 = array of unsigned integer 8;
option azurelite-ms-routes code 249 = array of unsigned integer 8;
option azurelite-wireserver code 245 = ip-address;
request subnet-mask, routers, azurelite-routes, azurelite-ms-routes, azurelite-wireserver;
"""
_DHCPCD_CONF = """nodelay
noipv4ll
define 245 ipaddress azurelite_wireserver
option subnet_mask, routers, classless_static_routes, ms_classless_static_routes, azurelite_wireserver
"""


class Lease(Record):
    """What the DHCP server sent.

    Attributes:
        address: IPv4 address.
        prefix: bits of its network.
        routes: classless static routes (option 121, else Microsoft's 249), else a default route via the first router.
        wireserver: option 245 in dotted form, or None if the server did not send it.
    """

    address: str
    prefix: int
    routes: tuple[Route, ...]
    wireserver: Optional[str]

    def holds(self, address: str) -> bool:
        """Whether the address is in the lease's own network."""
        ours, other = dotted(self.address) or b"", dotted(address) or b""
        shift = 32 - self.prefix
        return int.from_bytes(ours, "big") >> shift == int.from_bytes(other, "big") >> shift


class EphemeralDhcp:
    """A lease, applied while the `with` block runs.

    Args:
        system: the machine; it must be the running one.
        interface: the NIC to use.
        deadline: for obtaining the lease; removing it has no deadline.
    """

    def __init__(self, system: System, interface: str, deadline: Deadline) -> None:
        self._system = system
        self._interface = interface
        self._deadline = deadline
        self._program: list[str] = []  # `ip`
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Lease:
        """Obtain and apply a lease. Raises MachineError after undoing all changes."""
        if not self._system.live:
            raise MachineError("an ephemeral lease changes the running system: do not use it with --root or --dry-run")
        self._program = _argv(self._system, "ip")
        if not self._program:
            raise MachineError("an ephemeral lease needs `ip`, which is not installed: install iproute2 or BusyBox")
        with contextlib.ExitStack() as undo:
            if not self._is_up():
                self._ip(undo, ["link", "set", "dev", self._interface], "up", "down", [])
            lease = self._ask()
            self._apply(lease, undo)
            self._undo = undo.pop_all()
        return lease

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _is_up(self) -> bool:
        said = self._run("link", "show", "dev", self._interface)
        flags = re.search(r"<([A-Z0-9_,-]*)>", said)
        return flags is not None and "UP" in flags.group(1).split(",")

    def _ask(self) -> Lease:
        installed = [name for name in CLIENTS if _argv(self._system, name)]
        if not installed:
            raise MachineError(
                f"no DHCP client is installed: add {', '.join(CLIENTS[:-1])} or {CLIENTS[-1]} to the image"
            )
        said = []
        for i in range(len(installed)):
            seconds = self._deadline.remaining() / (len(installed) - i)
            if seconds < 1:
                said.append("the deadline has passed")
                break
            try:
                return _obtain(self._system, installed[i], self._interface, seconds)
            except (MachineError, OSError) as error:
                said.append(f"{installed[i]}: {error}")
        raise MachineError(
            f"no DHCP lease on {self._interface}: {'; '.join(said)}", reason="failure to obtain DHCP lease"
        )

    def _apply(self, lease: Lease, undo: contextlib.ExitStack) -> None:
        there = self._run("-4", "-o", "addr", "show", "dev", self._interface)
        if f" {lease.address}/" not in there:
            address = [f"{lease.address}/{lease.prefix}", "dev", self._interface]
            self._ip(undo, ["-4", "addr"], "add", "del", address)
        for route in lease.routes:
            way = [route.destination]
            if route.gateway is not None:
                way += ["via", route.gateway]
            way += ["dev", self._interface, "metric", _METRIC]
            if route.gateway is not None and not lease.holds(route.gateway):
                way.append("onlink")
            try:
                self._ip(undo, ["-4", "route"], "add", "del", way)
            except CommandError as error:  # it exists already, or the kernel rejects it: the other routes may suffice
                LOG.info("skipped the lease's route to %s: %s", route.destination, error)

    def _ip(self, undo: contextlib.ExitStack, start: list[str], act: str, opposite: str, rest: list[str]) -> None:
        """Run `ip`. The command that undoes it is registered first, so that an interrupt cannot skip the undo."""
        back = [[*start, opposite, *rest]]
        undo.callback(self._take_back, back)
        try:
            self._run(*start, act, *rest)
        except CommandError as error:
            if "was killed" not in str(error):  # a killed command may have taken effect
                back.clear()
            raise

    def _take_back(self, acts: list[list[str]]) -> None:
        for words in acts:
            try:
                self._run(*words)
            except CommandError as error:  # another program removed it, or the NIC is gone
                LOG.warning("cannot remove a part of the ephemeral lease: %s", error)

    def _run(self, *words: str) -> str:
        return self._system.commands.run([*self._program, *words], timeout=_IP_SECONDS)


def _obtain(system: System, client: str, interface: str, seconds: float) -> Lease:
    """Obtain a lease with a client. Raises CommandError or MachineError with the end of its output."""
    with scratch_folder(_FOLDERS, executable=True) as folder, contextlib.ExitStack() as kept:
        argv = _command(system, client, interface, folder, int(seconds))
        if client == "dhcpcd":
            kept.enter_context(_kept(os.path.join(folder, "kept"), interface))
        failure = "ended without a lease"
        try:
            system.commands.run(argv, timeout=seconds)
        except CommandError as error:  # the script kills dhclient as soon as it has a lease
            failure = str(error)
        lease = read_lease(_HOST.text(os.path.join(folder, "lease")))
    if lease is None:
        raise MachineError(failure)
    return lease


def _argv(system: System, name: str) -> list[str]:
    """The start of the command line of a program; [] if it is missing. It may be inside BusyBox, without a link."""
    find = system.commands.find
    if find(name) is not None:
        return [name]
    if find("busybox") is None:
        return []
    try:
        inside = system.commands.run(["busybox", "--list"], timeout=_IP_SECONDS).split()
    except CommandError:
        return []
    return ["busybox", name] if name in inside else []


def _command(system: System, client: str, interface: str, folder: str, seconds: int) -> list[str]:
    script = os.path.join(folder, "script")
    then = 'kill -9 "$PPID"' if client == "dhclient" else ":"  # else it would keep running and renew the lease
    put_private(script, _SCRIPT.replace("@FOLDER@", folder).replace("@THEN@", then).encode(), mode=0o700)
    if client == "udhcpc":
        tries = ["-t", str(max(1, seconds // 2)), "-T", "2"]
        options = ["-O", "121", "-O", "249", "-O", "245"]
        return [*_argv(system, client), "-f", "-q", "-n", "-i", interface, "-s", script, *options, *tries]
    conf = os.path.join(folder, "conf")
    if client == "dhcpcd":
        put_private(conf, _DHCPCD_CONF.encode())
        quiet = ["--oneshot", "--nobackground", "--ipv4only", "--noarp", "--persistent", "--noconfigure"]
        return [client, *quiet, "--timeout", str(max(1, seconds - 1)), "--config", conf, "--script", script, interface]
    put_private(conf, _DHCLIENT_CONF.replace("@SECONDS@", str(max(1, seconds - 1))).encode())
    # Run a copy: AppArmor and SELinux confine the original, by its path, to other folders and another script.
    copy = shutil.copy(system.commands.find(client) or client, os.path.join(folder, client))
    leases, number = os.path.join(folder, "leases"), os.path.join(folder, "pid")
    return [copy, "-4", "-d", "-1", "-cf", conf, "-lf", leases, "-pf", number, "-sf", script, interface]


def read_lease(text: str) -> Optional[Lease]:
    """Parse what the script wrote; None if it is incomplete or has no usable address. Never raises."""
    lines = text.split("\n")
    if "end" not in lines:
        return None
    given: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition("=")
        given[key] = given.get(key) or value.strip()
    address = unicast(dotted(given.get("address", "")) or b"")
    if address is None:
        return None
    routes = read_option(given.get("routes", ""))
    if not routes:  # with classless routes a client must ignore the routers (RFC 3442)
        router = unicast(dotted((given.get("routers", "").split() or [""])[0]) or b"")
        routes = () if router is None else (Route(0, 0, gateway=router),)
    return Lease(address, _prefix(given.get("mask", "")), routes, read_value(given.get("wireserver", "")))


def _prefix(mask: str) -> int:
    return prefix_of(int.from_bytes(dotted(mask) or b"", "big")) or 32


@contextlib.contextmanager
def _kept(safe: str, interface: str) -> Iterator[None]:
    """Restore what dhcpcd changes regardless of its options: its leases and identity, and a kernel setting."""
    before = {folder: _names(folder) for folder in (_DHCPCD_STATE, _DHCPCD_RUN)}
    setting = _PROMOTE.replace("@", interface)
    promote = _HOST.text(setting)
    os.mkdir(safe)
    for path in (os.path.join(_DHCPCD_STATE, name) for name in before[_DHCPCD_STATE] or ()):
        if os.path.isfile(path):
            shutil.copy2(path, safe)
    try:
        yield
    finally:
        with contextlib.suppress(FileError):
            if promote != _HOST.text(setting):
                put_private(setting, promote.encode())
        for folder, names in before.items():
            for name in _names(folder) or ():
                with contextlib.suppress(OSError):  # continue with the other files
                    _bring_back(os.path.join(folder, name), os.path.join(safe, name), known=name in (names or ()))
            with contextlib.suppress(OSError):
                if names is None:
                    os.rmdir(folder)


def _bring_back(path: str, copy: str, *, known: bool) -> None:
    if not known:  # a new lease, or the pid file and sockets of a killed dhcpcd
        os.unlink(path)
    elif os.path.isfile(copy) and os.stat(copy).st_mtime_ns != os.stat(path).st_mtime_ns:
        shutil.copy2(copy, path)


def _names(folder: str) -> Optional[list[str]]:
    try:
        return os.listdir(folder)
    except OSError:
        return None
