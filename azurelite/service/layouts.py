"""Where each init system looks for azurelite's service: the one table of places.

The files and folders of a guest decide, never the name of its distribution.
"""

from __future__ import annotations

from typing import Callable, Optional

from azurelite.errors import CommandError, FileError
from azurelite.record import Record
from azurelite.service.pieces import Link, Text, Unit, is_mask, names_program, state
from azurelite.system.machine import System
from azurelite.system.services.enabling import (
    DINIT_SHIPPED,
    FINIT_FOLDER,
    RUNIT_SERVICES,
    S6_COMPILER,
    S6_SCANNED,
    SYSTEMD_OWN,
    SYSTEMD_SHIPPED,
    compile_s6,
)


class Layout(Record):
    """A service in one guest.

    Attributes:
        units: they run `azurelite provision`.
        early: they set the host name before the network starts.
        lacking: what has to be made first, as a message.
        after: called when something changed; (system, notes) -> None.
    """

    units: tuple[Unit, ...]
    early: tuple[Unit, ...] = ()
    lacking: Optional[str] = None
    after: Optional[Callable[[System, list[str]], None]] = None

    def wanted(self, *, early: bool) -> tuple[Unit, ...]:
        """Return the units to install."""
        return (*self.units, *self.early) if early else self.units

    def needs_program(self, system: System, *, early: bool) -> bool:
        """Tell whether a unit that names the program has to be written. Raises FileError."""
        written = (unit for unit in self.wanted(early=early) if state(system, unit) != "packaged")
        return any(names_program(text.unit) for unit in written for text in unit.texts)

    def tell(self, system: System, notes: list[str]) -> None:
        """Tell the init system that its files have changed."""
        if self.after is not None:
            self.after(system, notes)


def _systemd(system: System) -> Layout:
    def units(name: str, target: str) -> tuple[Unit, ...]:
        service = f"{name}.service"
        own = f"{SYSTEMD_OWN}/{service}"
        shipped = next((f"{one}/{service}" for one in SYSTEMD_SHIPPED if system.files.exists(f"{one}/{service}")), None)
        enabling = f"{SYSTEMD_OWN}/{target}.wants/{service}"
        text = Text(own, f"systemd/{service}")
        whose = state(system, Unit((text,)))
        if shipped is None or (whose == "foreign" and is_mask(system, own)):
            unit = Unit((text,), enabling=(Link(enabling, own),))
        elif whose == "ours":
            unit = Unit(enabling=(Link(enabling, shipped),), superseded=own)
        else:  # a whole copy in /etc is how an administrator changes what a package ships
            unit = Unit(enabling=(Link(enabling, shipped if whose == "absent" else own),))
        # On Fedora the first boot applies the presets, and these disable each unit that none of them names.
        preset = f"50-{name}.preset"
        rule = Unit((Text(f"/etc/systemd/system-preset/{preset}", f"systemd/{preset}"),))
        if unit.texts or state(system, rule) == "ours" or _disabled_unless_named(system):
            return unit, rule
        return (unit,)

    return Layout(
        units("azurelite", "multi-user.target"), units("azurelite-hostname", "sysinit.target"), after=_reload_systemd
    )


def _disabled_unless_named(system: System) -> bool:
    """Tell whether a preset disables every unit that no other preset names."""
    for folder in ("/etc/systemd/system-preset", "/usr/lib/systemd/system-preset", "/lib/systemd/system-preset"):
        for name in system.files.names(folder):
            lines = (system.files.read(f"{folder}/{name}") or b"").splitlines() if name.endswith(".preset") else []
            if any(line.split() == [b"disable", b"*"] for line in lines):
                return True
    return False


def _reload_systemd(system: System, notes: list[str]) -> None:
    from azurelite.system.services.services import reload_systemd

    try:
        reload_systemd(system, "reload the units")
    except (CommandError, FileError) as error:
        notes.append(f"systemd did not reload its units and will read them at the next boot: {error}")


def _openrc(system: System) -> Layout:
    del system
    script = "/etc/init.d/azurelite"
    enabling = Link("/etc/runlevels/default/azurelite", script, exact=True)
    return Layout((Unit((Text(script, "openrc/azurelite", 0o755),), enabling=(enabling,)),))


def _sysvinit(system: System) -> Layout:
    del system  # sysv.py enables it
    return Layout((Unit((Text("/etc/init.d/azurelite", "sysvinit/azurelite", 0o755),)),))


def _runit(system: System) -> Layout:
    services = next((folder for folder in RUNIT_SERVICES if system.files.is_dir(folder)), RUNIT_SERVICES[0])
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
    if runs and any(system.files.exists(f"{folder}/azurelite/run") for folder in RUNIT_SERVICES):
        notes.append("runit starts a new service within seconds, not at the next boot")


def _supervise(system: System, services: str) -> Optional[str]:
    """Return where the supervisor keeps its own files, as other services do: /etc may be read-only at boot."""
    for name in system.files.names(services):
        target = system.root.link_target(f"{services}/{name}/supervise") or ""
        start, found, _ = target.rpartition(name)
        if name != "azurelite" and found and target.endswith(name) and start.startswith("/run/"):
            return f"{start}azurelite"
    return None


def _s6(system: System) -> Layout:
    sources = [source for source in ("/etc/s6/adminsv", "/etc/s6/sv") if system.files.is_dir(source)]
    # A folder without the file `type` is no bundle, and with one of those the database does not compile.
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
            f"s6-rc cannot start azurelite: there is no bundle `default` in {' or '.join(sources)}: make one first"
        )
        return Layout((unit,), lacking=None if whole else lacking, after=_compile_s6)
    scanned = next((folder for folder in S6_SCANNED if system.files.is_dir(folder)), None)
    if scanned is None:
        folders = ", ".join(("/etc/s6/adminsv", "/etc/s6/sv", *S6_SCANNED))
        return Layout((), lacking=f"there is no folder that s6 starts services from: make one of {folders}")
    own = f"{scanned}/azurelite"
    texts = (Text(f"{own}/run", "s6/run", 0o755), Text(f"{own}/finish", "s6/finish", 0o755))
    return Layout((Unit(texts, folder=own),))


def _compile_s6(system: System, notes: list[str]) -> None:
    if system.root.is_host and system.commands.find(S6_COMPILER) is not None:
        compile_s6(system, "azurelite")
    else:
        notes.append(
            "s6-rc only starts what is in its compiled database: run s6-db-reload or s6-rc-compile in this guest"
        )


def _dinit(system: System) -> Layout:
    shipped = any(system.files.exists(f"{folder}/azurelite") for folder in DINIT_SHIPPED)
    text = Text("/etc/dinit.d/azurelite", "dinit/azurelite")
    packaged = shipped and state(system, Unit((text,))) == "absent"
    enabling = Link("/etc/dinit.d/boot.d/azurelite", "../azurelite")
    lacking = None
    if not system.files.is_dir("/etc/dinit.d/boot.d"):
        lacking = (
            "dinit's service `boot` cannot start azurelite: there is no /etc/dinit.d/boot.d: make it, and add "
            "`waits-for.d: boot.d` to /etc/dinit.d/boot"
        )
    return Layout((Unit(() if packaged else (text,), enabling=(enabling,)),), lacking=lacking)


def _finit(system: System) -> Layout:
    del system
    return Layout((Unit((Text(f"{FINIT_FOLDER}/azurelite.conf", "finit/azurelite.conf"),)),))


def _busybox(system: System) -> Layout:
    del system  # a line in a shared file: inittab.py
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
