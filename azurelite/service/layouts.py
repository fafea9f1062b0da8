"""What lies where, for each init system: the one table of places.

Places are chosen by what a guest holds, never by a distribution's name.
"""

from __future__ import annotations

from typing import Callable, Optional

from azurelite.errors import CommandError
from azurelite.record import Record
from azurelite.service.pieces import Link, Text, Unit, is_mask, state
from azurelite.service.texts import names_program
from azurelite.system.changes import Change
from azurelite.system.machine import System

_OWN_SYSTEMD = "/etc/systemd/system"
_SHIPPED_SYSTEMD = ("/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_SHIPPED_DINIT = ("/usr/local/lib/dinit.d", "/usr/lib/dinit.d", "/lib/dinit.d")
_RUNIT_SERVICES = ("/etc/sv", "/etc/runit/sv")
# Where a supervisor of s6's finds its services at boot; the later ones are those of hand-made systems.
S6_SCANNED = ("/etc/s6-linux-init/current/run-image/service", "/etc/s6-linux-init/run-image/service", "/etc/s6/svc")


class Layout(Record):
    """A service in one guest.

    Attributes:
        units: what `azurelite provision` is run by.
        early: what gives the host name ahead of the network.
        lacking: what must be there first, as a sentence for a person.
        after: told when something changed; (system, notes) -> None.
    """

    units: tuple[Unit, ...]
    early: tuple[Unit, ...] = ()
    lacking: Optional[str] = None
    after: Optional[Callable[[System, list[str]], None]] = None

    def wanted(self, *, early: bool) -> tuple[Unit, ...]:
        """The units to install."""
        return (*self.units, *self.early) if early else self.units

    def needs_program(self, system: System, *, early: bool) -> bool:
        """Some unit is to be written, and must name the program. Raises FileError."""
        written = (unit for unit in self.wanted(early=early) if state(system, unit) != "packaged")
        return any(names_program(text.unit) for unit in written for text in unit.texts)

    def tell(self, system: System, notes: list[str]) -> None:
        """Tell the init system of a change that was made."""
        if self.after is not None:
            self.after(system, notes)


def _systemd(system: System) -> Layout:
    def units(name: str, target: str) -> tuple[Unit, ...]:
        service = f"{name}.service"
        own = f"{_OWN_SYSTEMD}/{service}"
        shipped = next(
            (f"{one}/{service}" for one in _SHIPPED_SYSTEMD if system.files.exists(f"{one}/{service}")), None
        )
        enabling = f"{_OWN_SYSTEMD}/{target}.wants/{service}"
        text = Text(own, f"systemd/{service}")
        whose = state(system, Unit((text,)))
        if shipped is None or (whose == "foreign" and is_mask(system, own)):
            unit = Unit((text,), enabling=(Link(enabling, own),))
        elif whose == "ours":
            unit = Unit(enabling=(Link(enabling, shipped),), superseded=own)
        else:  # a whole copy in /etc is how an administrator changes what a package ships
            unit = Unit(enabling=(Link(enabling, shipped if whose == "absent" else own),))
        # Where a first boot goes by the presets alone (Fedora), a unit that none of them names is disabled by it.
        preset = f"50-{name}.preset"
        rule = Unit((Text(f"/etc/systemd/system-preset/{preset}", f"systemd/{preset}"),))
        if unit.texts or state(system, rule) == "ours" or _disabled_unless_named(system):
            return unit, rule
        return (unit,)

    return Layout(
        units("azurelite", "multi-user.target"), units("azurelite-hostname", "sysinit.target"), after=_reload_systemd
    )


def _disabled_unless_named(system: System) -> bool:
    """Some preset switches off everything that no other one names."""
    for folder in ("/etc/systemd/system-preset", "/usr/lib/systemd/system-preset", "/lib/systemd/system-preset"):
        for name in system.files.names(folder):
            lines = (system.files.read(f"{folder}/{name}") or b"").splitlines() if name.endswith(".preset") else []
            if any(line.split() == [b"disable", b"*"] for line in lines):
                return True
    return False


def _reload_systemd(system: System, notes: list[str]) -> None:
    if not (system.root.is_host and system.files.exists("/run/systemd/system")):
        return
    try:
        system.perform(Change("service", "systemd", "read the units again"), ["systemctl", "daemon-reload"])
    except CommandError as error:
        notes.append(f"systemd will read the units at the next boot, for now it could not: {error}")


def _openrc(system: System) -> Layout:
    del system
    script = "/etc/init.d/azurelite"
    enabling = Link("/etc/runlevels/default/azurelite", script, exact=True)
    return Layout((Unit((Text(script, "openrc/azurelite", 0o755),), enabling=(enabling,)),))


def _sysvinit(system: System) -> Layout:
    del system  # what enables it is in sysv.py
    return Layout((Unit((Text("/etc/init.d/azurelite", "sysvinit/azurelite", 0o755),)),))


def _runit(system: System) -> Layout:
    services = next((folder for folder in _RUNIT_SERVICES if system.files.is_dir(folder)), _RUNIT_SERVICES[0])
    lists = ("/etc/runit/runsvdir/default", "/etc/service", "/service")
    chosen = next((folder for folder in lists if system.files.is_dir(folder)), lists[0])
    own = f"{services}/azurelite"
    supervise = _supervise(system, services)
    unit = Unit(
        (Text(f"{own}/run", "runit/run", 0o755), Text(f"{own}/finish", "runit/finish", 0o755)),
        inner=(Link(f"{own}/supervise", supervise),) if supervise is not None else (),
        enabling=(Link(f"{chosen}/azurelite", own, exact=True),),
        folder=own,
    )
    return Layout((unit,), after=_tell_of_runit)


def _tell_of_runit(system: System, notes: list[str]) -> None:
    runs = system.root.is_host and system.files.exists("/run/runit")
    if runs and any(system.files.exists(f"{folder}/azurelite/run") for folder in _RUNIT_SERVICES):
        notes.append("runit starts a new service within seconds, not at the next boot")


def _supervise(system: System, services: str) -> Optional[str]:
    """Where the supervisor keeps its own files, as other services have it: /etc may be read-only at boot."""
    for name in system.files.names(services):
        target = system.root.link_target(f"{services}/{name}/supervise") or ""
        start, found, _ = target.rpartition(name)
        if name != "azurelite" and found and target.endswith(name) and start.startswith("/run/"):
            return f"{start}azurelite"
    return None


def _s6(system: System) -> Layout:
    sources = [source for source in ("/etc/s6/adminsv", "/etc/s6/sv") if system.files.is_dir(source)]
    # A bundle without a type is no bundle, and the whole list no longer compiles with one in it.
    whole = [source for source in sources if system.files.exists(f"{source}/default/type")]
    if sources:
        source = (whole or sources)[0]
        own = f"{source}/azurelite"
        unit = Unit(
            (Text(f"{own}/up", "s6-rc/azurelite/up"), Text(f"{own}/type", "s6-rc/azurelite/type", plain=True)),
            enabling=(Text(f"{source}/default/contents.d/azurelite", "", plain=True),),
            folder=own,
        )
        lacking = (
            f"there is no bundle `default` in {' or '.join(sources)}, by which s6-rc would start it: make one first"
        )
        return Layout((unit,), lacking=None if whole else lacking, after=_compile_s6)
    scanned = next((folder for folder in S6_SCANNED if system.files.is_dir(folder)), None)
    if scanned is None:
        folders = ", ".join(("/etc/s6/adminsv", "/etc/s6/sv", *S6_SCANNED))
        return Layout((), lacking=f"there is no folder that s6 starts services from: looked for {folders}; make one")
    own = f"{scanned}/azurelite"
    texts = (Text(f"{own}/run", "s6/run", 0o755), Text(f"{own}/finish", "s6/finish", 0o755))
    return Layout((Unit(texts, folder=own),))


def _compile_s6(system: System, notes: list[str]) -> None:
    """s6-rc starts what was compiled into its list, not what lies in the folders."""
    if system.root.is_host and system.commands.find("s6-db-reload") is not None:
        system.perform(Change("service", "azurelite", "compile the list of services"), ["s6-db-reload"])
    else:
        notes.append("s6-rc starts what was compiled: run s6-db-reload in this guest, or s6-rc-compile by hand")


def _dinit(system: System) -> Layout:
    shipped = any(system.files.exists(f"{folder}/azurelite") for folder in _SHIPPED_DINIT)
    text = Text("/etc/dinit.d/azurelite", "dinit/azurelite")
    packaged = shipped and state(system, Unit((text,))) == "absent"
    enabling = Link("/etc/dinit.d/boot.d/azurelite", "../azurelite")
    lacking = None
    if not system.files.is_dir("/etc/dinit.d/boot.d"):
        lacking = (
            "there is no /etc/dinit.d/boot.d, which dinit's service `boot` would start others from: make it and have "
            "/etc/dinit.d/boot say `waits-for.d: boot.d`"
        )
    return Layout((Unit(() if packaged else (text,), enabling=(enabling,)),), lacking=lacking)


def _finit(system: System) -> Layout:
    del system
    return Layout((Unit((Text("/etc/finit.d/azurelite.conf", "finit/azurelite.conf"),)),))


def _busybox(system: System) -> Layout:
    del system  # a line in a file of somebody else's: inittab.py
    return Layout(())


def _freebsd(system: System) -> Layout:
    del system
    script = Text("/usr/local/etc/rc.d/azurelite", "freebsd/azurelite", 0o755)
    return Layout((Unit((script,)), Unit((Text("/etc/rc.conf.d/azurelite", "freebsd/rc.conf"),))))


LAYOUTS: dict[str, Callable[[System], Layout]] = {
    "systemd": _systemd,
    "openrc": _openrc,
    "sysvinit": _sysvinit,
    "runit": _runit,
    "s6": _s6,
    "dinit": _dinit,
    "finit": _finit,
    "busybox": _busybox,
    "freebsd": _freebsd,
}
