"""Which init system a guest has: one table of roots, each asked for what is installed and for what runs."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Optional

import pytest
from kit import Guest
from service.worlds import Host

from azurelite.errors import ConfigError, MachineError
from azurelite.service import install
from azurelite.system.machine import System
from azurelite.system.services.detect import installed, running
from azurelite.system.services.services import Services

S6_LINUX_INIT = '#!/usr/bin/execlineb -S0\n\n/usr/bin/s6-linux-init -c "/etc/s6/current" -m 00022 -- "$@"\n'
BY_HAND = (
    "#!/bin/sh\n# no systemd here, and runit would be too much\n/bin/busybox mount -t proc proc /proc\nexec {} /etc/x\n"
)
# What openssh-server, runit-helper and others bring into Debian's images before there is any init.
DEBIAN = ("etc/sv/ssh/run", "etc/runit/runsvdir/default/ssh", "etc/rc2.d/S01ssh", "etc/rc3.d/S01ssh", "etc/init.d/ssh",
          "lib/lsb/init-functions", "usr/lib/systemd/system/ssh.service")  # fmt: skip

ELF = "\x7fELF"
SYSV = {"etc/inittab": "", "etc/rc2.d/x": ""}
ALTERNATIVES = {"sbin/init": "../etc/alternatives/init", "etc/alternatives/init": "/lib/systemd/systemd"}
RUNLEVELS = {"etc/runlevels/boot/x": ""}

MERGED = {"sbin": "usr/sbin", "bin": "usr/bin", "lib": "usr/lib"}
ARCH = {"sbin": "usr/bin", "bin": "usr/bin", "usr/sbin": "bin", "lib": "usr/lib"}  # Arch, Artix and Void
OUT = "../../../../../../../.."  # ends at the guest's root
S6_OVERLAY = "#!/bin/sh -e\naddpath /command\nexec s6-overlay-suexec ' /package/admin/s6-overlay-3.1.6.2/x' \"$@\"\n"
RUNIT = {"sbin/runit-init": ELF + "runit", "etc/runit/2": ""}  # Debian's package: it may only supervise
CGROUP = "#!/bin/sh\nmount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd\n"

# Name -> links, files, and what is installed.
GUESTS: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "nothing": ({}, {}, "none"),
    "Debian without an init": ({}, dict.fromkeys(DEBIAN, ""), "none"),
    "only /etc/rc2.d": ({}, {"etc/rc2.d/S01ssh": ""}, "none"),
    "only /etc/inittab": ({}, {"etc/inittab": ""}, "none"),
    "runit's package without runit-init": ({}, {"etc/runit/2": "", "usr/bin/runsvdir": ""}, "none"),
    "a folder of s6's": ({}, {"etc/s6/sv/x/type": ""}, "none"),
    "a folder of dinit's": ({}, {"etc/dinit.d/boot": ""}, "none"),
    "a folder of OpenRC's": ({}, {"etc/runlevels/default/x": ""}, "none"),
    "a program of unknown kind": ({}, {"sbin/init": ELF, "etc/rc2.d/S01ssh": ""}, "none"),
    "a script of unknown kind": ({}, {"sbin/init": "#!/bin/sh\n# not runit\nexec /opt/first\n"}, "none"),
    "systemd": ({"sbin/init": "/lib/systemd/systemd"}, dict.fromkeys(DEBIAN, ""), "systemd"),
    "systemd, over two links": (ALTERNATIVES, {}, "systemd"),
    "systemd without /sbin/init": ({}, {"usr/lib/systemd/systemd": ""}, "systemd"),
    "systemd's program beside sysvinit": ({}, {"sbin/init": ELF, "lib/systemd/systemd": "", **SYSV}, "sysvinit"),
    "sysvinit": ({}, {**dict.fromkeys(DEBIAN, ""), "sbin/init": ELF, "etc/inittab": ""}, "sysvinit"),
    "OpenRC, BusyBox": ({"sbin/init": "/bin/busybox"}, {**RUNLEVELS, "sbin/openrc": "", "etc/inittab": ""}, "openrc"),
    "OpenRC under sysvinit": ({}, {"sbin/init": ELF, **RUNLEVELS, "usr/sbin/openrc": "", **SYSV}, "openrc"),
    "OpenRC's own": ({"sbin/init": "openrc-init"}, {}, "openrc"),
    "BusyBox beside a folder of OpenRC's": ({"sbin/init": "/bin/busybox"}, RUNLEVELS, "busybox"),
    "BusyBox, a version in its name": ({"sbin/init": "/bin/busybox-1.36.1"}, {}, "busybox"),
    "runit": ({"sbin/init": "/lib/runit/runit-init"}, {"etc/rc2.d/x": ""}, "runit"),
    "runit, copied": ({}, {"sbin/init": ELF, "sbin/runit-init": ELF, "etc/runit/2": ""}, "runit"),
    "dinit": ({"sbin/init": "../usr/bin/dinit"}, {}, "dinit"),
    "dinit, copied": ({}, {"sbin/init": ELF, "usr/sbin/dinit": ELF, "etc/dinit.d/boot.d/x": ""}, "dinit"),
    "finit": ({"sbin/init": "finit"}, {"etc/rc2.d/x": ""}, "finit"),
    "s6-linux-init's script": ({}, {"sbin/init": S6_LINUX_INIT, "etc/s6/adminsv/x/type": "", "etc/rc2.d/x": ""}, "s6"),
    "s6-linux-init's link": ({"sbin/init": "/etc/s6-linux-init/current/bin/init"}, {}, "s6"),
    "a script for s6": ({}, {"sbin/init": BY_HAND.format("s6-svscan"), "etc/rc2.d/x": ""}, "s6"),
    "a script for runit": ({}, {"sbin/init": BY_HAND.format("runsvdir")}, "runit"),
    "a script for dinit": ({}, {"sbin/init": BY_HAND.format("/usr/bin/dinit -p 9")}, "dinit"),
    "merged /usr, systemd": ({**MERGED, "usr/sbin/init": "../lib/systemd/systemd"}, {}, "systemd"),
    "merged /usr by absolute links": (
        {"sbin": "/usr/sbin", "lib": "/usr/lib", "usr/sbin/init": "/lib/systemd/systemd"}, {}, "systemd"),
    "merged /usr, sysvinit": ({**MERGED}, {"usr/sbin/init": ELF, **SYSV}, "sysvinit"),
    "one folder of programs, runit (Void)": (
        {**ARCH, "usr/bin/init": "runit-init"}, {"usr/bin/runit-init": ELF}, "runit"),
    "Artix, dinit": ({**ARCH, "usr/bin/init": "dinit"}, {"etc/dinit.d/boot": ""}, "dinit"),
    "Artix, OpenRC": ({**ARCH, "usr/bin/init": "openrc-init"}, {**RUNLEVELS, "usr/bin/openrc": ""}, "openrc"),
    "Artix, s6": (ARCH, {"usr/bin/init": S6_LINUX_INIT, "etc/s6/sv/x/type": ""}, "s6"),
    "links that lead out of the root": ({"sbin/init": f"{OUT}/usr/lib/systemd/systemd"}, {}, "systemd"),
    "out of the root, over a folder": (
        {"sbin": f"{OUT}/usr/sbin", "usr/sbin/init": "/opt/x", "opt/x": "../bin/dinit"}, {}, "dinit"),
    "links in a circle": ({"sbin/init": "x", "sbin/x": "init"}, {}, "none"),
    "a folder in a circle": ({"sbin": "sbin"}, {"etc/rc2.d/S01ssh": ""}, "none"),
    "links in a circle beside systemd": ({"sbin/init": "init"}, {"lib/systemd/systemd": ""}, "systemd"),
    "a link to nothing beside systemd": ({"sbin/init": "/opt/gone"}, {"lib/systemd/systemd": ""}, "systemd"),
    "runit's package below sysvinit": ({}, {**RUNIT, "sbin/init": ELF, **SYSV}, "sysvinit"),
    "runit's package below systemd": ({"sbin/init": "/lib/systemd/systemd"}, {**RUNIT, **SYSV}, "systemd"),
    "runit's package below BusyBox": ({"sbin/init": "/bin/busybox"}, {**RUNIT, **SYSV}, "busybox"),
    "s6's package below sysvinit": (
        {}, {"bin/s6-svscan": ELF + "s6", "etc/s6/x": "", "sbin/init": ELF, **SYSV}, "sysvinit"),
    "Devuan with several": (
        {"sbin/init": "/lib/sysvinit/init"}, {**RUNIT, "lib/systemd/systemd": "", **SYSV}, "sysvinit"),
    "Devuan, sysvinit's init and OpenRC": (
        {"sbin/init": "/lib/sysvinit/init"}, {**SYSV, **RUNLEVELS, "sbin/openrc": ""}, "openrc"),
    "Devuan, runit of several": (
        {"sbin/init": "/lib/runit/runit-init"}, {**RUNIT, **SYSV, "lib/sysvinit/init": ELF}, "runit"),
    "Slackware": ({}, {"sbin/init": ELF, "etc/inittab": "", "etc/rc.d/rc3.d/x": "", "etc/rc.d/rc.M": ""}, "sysvinit"),
    "Slackware without run levels": ({}, {"sbin/init": ELF, "etc/inittab": "", "etc/rc.d/rc.M": ""}, "none"),
    "BusyBox as /linuxrc": ({"linuxrc": "bin/busybox"}, {"etc/inittab": "", "etc/init.d/rcS": ""}, "busybox"),
    "BusyBox copied": ({}, {"sbin/init": ELF + "bb", "bin/busybox": ELF + "bb", **SYSV}, "busybox"),
    "s6-overlay on Alpine": (
        {"sbin/init": "/bin/busybox"}, {"init": S6_OVERLAY, "etc/s6-overlay/s6-rc.d/x/type": ""}, "s6"),
    "a folder of s6-overlay's": ({}, {"etc/s6-overlay/s6-rc.d/x/type": ""}, "none"),
    "an initramfs's /init": ({"sbin/init": "/lib/systemd/systemd"}, {"init": BY_HAND.format("s6-svscan")}, "systemd"),
    "a wrapper around systemd": ({}, {"sbin/init": "#!/bin/sh\nexec /lib/systemd/systemd \"$@\"\n"}, "systemd"),
    "a wrapper around a link": (
        {"sbin/init.real": "/bin/busybox"}, {"sbin/init": CGROUP + 'exec /sbin/init.real "$@"\n'}, "busybox"),
    "a wrapper that mounts name=systemd": ({}, {"sbin/init": CGROUP + "exec runit-init\n"}, "runit"),
    "a wrapper with a variable": ({}, {"sbin/init": CGROUP + 'INIT=/usr/bin/dinit\nexec "$INIT"\n'}, "dinit"),
    "a wrapper that runs itself": ({}, {"sbin/init": "#!/bin/sh\nexec chroot /new /sbin/init\n"}, "none"),
    "a script with BusyBox's shell": ({}, {"sbin/init": BY_HAND.format("/bin/busybox sh")}, "none"),
    "a script for BusyBox's init": ({}, {"sbin/init": BY_HAND.format("/bin/busybox init")}, "busybox"),
    "finit beside sysvinit": ({"sbin/init": "/sbin/finit"}, {"etc/finit.conf": "", **SYSV}, "finit"),
    "FreeBSD beside OpenRC": (
        {}, {"etc/rc.subr": "", "etc/defaults/rc.conf": "", **RUNLEVELS, "sbin/openrc": ""}, "freebsd"),
    "FreeBSD": ({}, {"etc/rc.subr": "", "etc/defaults/rc.conf": "", "sbin/init": ELF}, "freebsd"),
}  # fmt: skip


def build(guest: Guest, links: dict[str, str], files: dict[str, str]) -> Guest:
    guest.put(files)
    for path, target in links.items():
        guest.path(path).parent.mkdir(parents=True, exist_ok=True)
        guest.path(path).symlink_to(target)
    return guest


def put_program(guest: Guest) -> None:
    guest.put({"opt/azurelite": "#!/bin/sh\n"})
    guest.path("opt/azurelite").chmod(0o755)


@pytest.fixture
def empty(tmp_path: Path) -> Guest:
    made = Guest(tmp_path / "image")
    made.folder.mkdir()
    return made


# Process 1: the program, what it was called as, where its root is from /proc/1 (None: /proc is not mounted).
PLACES: dict[str, Optional[tuple[str, str, str]]] = {
    "a chroot without /proc": None,
    "a chroot of a machine with systemd": ("/usr/lib/systemd/systemd", "/sbin/init", "../../etc"),
    "a container with a shell": ("/usr/bin/dash", "sh", "../.."),
    "a container with a shell as /init": ("/usr/bin/dash", "/init", "../.."),
    "a container with BusyBox's shell": ("/bin/busybox", "sh", "../.."),
    "a container with docker-init": ("/sbin/docker-init", "/sbin/docker-init", "../.."),
}


def enter(guest: Guest, first: Optional[tuple[str, str, str]]) -> System:
    guest.put({"etc/.keep": ""})
    if first is not None:
        guest.put({"proc/1/cmdline": f"{first[1]}\0--x\0"})
        guest.path("proc/1/exe").symlink_to(first[0])
        guest.path("proc/1/root").symlink_to(first[2])
    return Host(guest.root, dry_run=True, search_path="/nonexistent")


@pytest.mark.parametrize("kind", GUESTS)
def test_what_proves_an_init(empty: Guest, kind: str) -> None:
    links, files, expected = GUESTS[kind]
    system = System(build(empty, links, files).root)
    assert (installed(system), running(system)) == (expected, "none")
    assert Services(system).init == expected
    if expected != "none":  # the other caller finds the same one
        put_program(empty)
        with contextlib.suppress(MachineError):  # s6, dinit and BusyBox want a folder or a file that is not here
            assert install(System(empty.root, dry_run=True, search_path="/nonexistent")).init == expected


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", [kind for kind in GUESTS if not kind.startswith("FreeBSD")])
def test_where_no_init_runs_nothing_runs_whatever_is_installed(empty: Guest, kind: str, place: str) -> None:
    links, files, expected = GUESTS[kind]
    system = enter(
        build(empty, links, {**files, "run/openrc/softlevel": "", "run/systemd/system/x": ""}), PLACES[place]
    )
    assert (installed(system), running(system)) == (expected, "none")
    empty.put({"run/sshd.pid": "7\n", "proc/7/comm": "sshd\n"})
    assert Services(system).running("sshd") is None


# Name -> program, what it was called as, kind of root (of GUESTS), files in /run, and what runs
BOOTED: dict[str, tuple[str, str, str, tuple[str, ...], str]] = {
    "systemd": ("/usr/lib/systemd/systemd", "/sbin/init", "systemd", ("systemd/system/x",), "systemd"),
    "systemd since an upgrade": ("/usr/lib/systemd/systemd (deleted)", "/sbin/init", "nothing", (), "systemd"),
    "systemd, as an ordinary user sees it": ("", "/sbin/init", "nothing", ("systemd/system/x",), "systemd"),
    "systemd in a container": ("/usr/lib/systemd/systemd", "/lib/systemd/systemd", "nothing", (), "systemd"),
    "systemd with runit below it": (
        "/lib/systemd/systemd", "/sbin/init", "runit's package below systemd", ("runit/x",), "systemd"),
    "sysvinit with runit below it": ("/sbin/init", "init", "runit's package below sysvinit", ("runit/x",), "sysvinit"),
    "runit, other than the image says": ("/sbin/runit", "runit", "Devuan with several", (), "runit"),
    "Alpine": ("/bin/busybox", "/sbin/init", "OpenRC, BusyBox", ("openrc/softlevel",), "openrc"),
    "BusyBox": ("/bin/busybox", "init", "BusyBox beside a folder of OpenRC's", (), "busybox"),
    "BusyBox as /linuxrc": ("/bin/busybox", "/linuxrc", "BusyBox as /linuxrc", (), "busybox"),
    "Gentoo": ("/sbin/init", "init", "OpenRC under sysvinit", ("openrc/softlevel",), "openrc"),
    "OpenRC's own": ("/usr/bin/openrc-init", "/sbin/init", "OpenRC's own", ("openrc/softlevel",), "openrc"),
    "dinit": ("/usr/bin/dinit", "/sbin/init", "dinit", ("dinitctl",), "dinit"),
    "dinit copied": ("/sbin/init", "/sbin/init", "nothing", ("dinitctl",), "dinit"),
    "s6-overlay": (
        "/package/admin/s6/command/s6-svscan", "/package/admin/s6/command/s6-svscan", "s6-overlay on Alpine", (), "s6"),
    "finit": ("/sbin/finit", "/sbin/init", "finit", (), "finit"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BOOTED)
def test_what_runs_is_known_by_process_1_and_is_what_is_installed(empty: Guest, kind: str) -> None:
    program, called, root, marks, expected = BOOTED[kind]
    links, files, _ = GUESTS[root]
    guest = build(empty, links, {**files, **dict.fromkeys((f"run/{mark}" for mark in marks), "")})
    system = enter(guest, (program or "/", called, "../.."))
    if not program:
        guest.path("proc/1/exe").unlink()
    assert (running(system), installed(system)) == (expected, expected)


def test_an_init_that_nobody_knows_is_unknown_and_its_services_are_processes(empty: Guest) -> None:
    system = enter(empty, ("/sbin/init", "init", "../.."))
    assert (running(system), installed(system)) == ("unknown", "none")
    empty.put({"run/sshd.pid": "7\n", "proc/7/comm": "sshd\n"})
    assert Services(system).running("sshd") == "sshd"


def test_freebsd_has_no_proc_and_asks_each_service(empty: Guest) -> None:
    links, files, _ = GUESTS["FreeBSD"]
    system = Host(build(empty, links, files).root, dry_run=True, search_path="/nonexistent")
    assert (running(system), installed(system)) == ("freebsd", "freebsd")


@pytest.mark.parametrize(
    ("program", "init"), [("bin/busybox", "busybox"), ("sbin/finit", "finit"), ("bin/dinit", "dinit")]
)
def test_another_name_of_the_same_program(empty: Guest, program: str, init: str) -> None:
    empty.put({program: ELF, "sbin/.keep": "", "etc/dinit.d/boot": "", "etc/rc2.d/x": "", "etc/inittab": ""})
    os.link(empty.path(program), empty.path("sbin/init"))
    assert installed(System(empty.root)) == init


def test_without_a_proof_nothing_is_made_and_the_remedy_is_said(empty: Guest) -> None:
    build(empty, {}, {**dict.fromkeys(DEBIAN, ""), "usr/bin/azurelite": "#!/bin/sh\n"})
    empty.path("usr/bin/azurelite").chmod(0o755)
    before = empty.snapshot()
    with pytest.raises(ConfigError, match="no init system was found in this guest: give --init one of systemd, "):
        install(System(empty.root, search_path="/nonexistent"))
    assert empty.snapshot() == before
    done = install(System(empty.root, search_path="/nonexistent"), init="sysvinit")  # it is to come later
    assert done.init == "sysvinit"


def test_a_script_is_no_secret_to_a_dry_run(empty: Guest) -> None:
    build(empty, {}, {"sbin/init": S6_LINUX_INIT})
    one: Any = installed(System(empty.root, dry_run=True))
    assert one == installed(System(empty.root))
