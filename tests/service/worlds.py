"""Guests of every init system as folders, and what `service install` and `remove` change in them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Optional

from kit import Guest

import azurelite
from azurelite.service import Installed, install, remove
from azurelite.system.changes import Change
from azurelite.system.machine import System

Action = Literal["install", "remove"]
UNITS = Path(azurelite.__file__).parent / "service" / "units"
DEPEND = """TARGETS = chrony sudo dbus ssh rc.local
INTERACTIVE =
rc.local: ssh chrony sudo dbus
"""


@dataclass(frozen=True)
class World:
    """A guest of one kind.

    Attributes:
        init: what is to be found in it.
        files: its files.
        links: its links.
        folders: its empty folders.
        expected: what must be there afterwards: a file, or a link (path -> target).
    """

    init: str
    files: tuple[str, ...] = ()
    links: dict[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    expected: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    early: bool = False


SYSTEMD = "etc/systemd/system"
WANTED = f"{SYSTEMD}/multi-user.target.wants/azurelite.service"
SYSTEMD_FOLDERS = (f"{SYSTEMD}/multi-user.target.wants", f"{SYSTEMD}/sysinit.target.wants", "etc/systemd/system-preset")
RC = {f"etc/rc{level}.d/S02ssh": "../init.d/ssh" for level in "2345"}

WORLDS = {
    "systemd": World(
        "systemd",
        ("usr/lib/systemd/systemd",),
        {"sbin/init": "/lib/systemd/systemd"},
        SYSTEMD_FOLDERS,
        {WANTED: "/etc/systemd/system/azurelite.service", "etc/systemd/system-preset/50-azurelite.preset": ""},
    ),
    "systemd, early": World(
        "systemd",
        ("usr/lib/systemd/systemd",),
        folders=SYSTEMD_FOLDERS,
        expected={f"{SYSTEMD}/sysinit.target.wants/azurelite-hostname.service":
                  "/etc/systemd/system/azurelite-hostname.service", WANTED: "/etc/systemd/system/azurelite.service"},
        early=True,
    ),
    "systemd, packaged": World(
        "systemd",
        ("usr/lib/systemd/systemd", "usr/lib/systemd/system/azurelite.service"),
        {"lib": "usr/lib"},
        SYSTEMD_FOLDERS,
        {WANTED: "/usr/lib/systemd/system/azurelite.service"},
    ),
    "systemd, packaged in an old place": World(
        "systemd",
        ("lib/systemd/systemd", "lib/systemd/system/azurelite.service"),
        folders=SYSTEMD_FOLDERS,
        expected={WANTED: "/lib/systemd/system/azurelite.service"},
    ),
    "OpenRC": World(
        "openrc",
        ("etc/runlevels/boot/x", "etc/inittab", "etc/init.d/sshd", "sbin/openrc"),
        {"sbin/init": "/bin/busybox"},
        ("etc/runlevels/default",),
        {"etc/runlevels/default/azurelite": "/etc/init.d/azurelite", "etc/init.d/azurelite": ""},
    ),
    "sysvinit": World(
        "sysvinit",
        ("sbin/init", "etc/init.d/ssh", "etc/inittab"),
        RC,
        expected={f"etc/rc{level}.d/S02azurelite": "../init.d/azurelite" for level in "2345"},
    ),
    "sysvinit, side by side": World(
        "sysvinit",
        ("sbin/init", "etc/init.d/ssh", "etc/inittab"),
        RC,
        expected={"etc/rc2.d/S02azurelite": "../init.d/azurelite"},
        texts={"etc/init.d/.depend.start": DEPEND},
    ),
    "sysvinit, Red Hat's folders": World(
        "sysvinit",
        ("sbin/init", "etc/init.d/functions", "etc/inittab"),
        {
            "etc/init.d": "rc.d/init.d",
            **{f"etc/rc{level}.d": f"rc.d/rc{level}.d" for level in "2345"},
            **{f"etc/rc.d/rc{level}.d/S10network": "../init.d/network" for level in "2345"},
            **{f"etc/rc.d/rc{level}.d/S55sshd": "../init.d/sshd" for level in "2345"},
        },
        expected={f"etc/rc.d/rc{level}.d/S15azurelite": "../init.d/azurelite" for level in "2345"},
    ),
    "runit": World(
        "runit",
        ("etc/runit/2",),
        {"sbin/init": "runit-init", "etc/sv/ssh/supervise": "/run/runit/supervise/ssh"},
        ("etc/sv", "etc/runit/runsvdir/default"),
        {
            "etc/runit/runsvdir/default/azurelite": "/etc/sv/azurelite",
            "etc/sv/azurelite/supervise": "/run/runit/supervise/azurelite",
            "etc/sv/azurelite/run": "",
            "etc/sv/azurelite/finish": "",
        },
    ),
    "runit, Artix's folders": World(
        "runit",
        ("etc/runit/2",),
        {"sbin/init": "runit-init", "etc/runit/sv/sshd/supervise": "/run/runit/supervise.sshd"},
        ("etc/runit/runsvdir/default",),
        {
            "etc/runit/runsvdir/default/azurelite": "/etc/runit/sv/azurelite",
            "etc/runit/sv/azurelite/supervise": "/run/runit/supervise.azurelite",
        },
    ),
    "s6-rc": World(
        "s6",
        ("etc/s6/sv/sshd/type", "etc/s6/adminsv/default/type", "etc/s6/adminsv/default/contents.d/sshd"),
        {"sbin/init": "/etc/s6-linux-init/current/bin/init"},
        expected={"etc/s6/adminsv/azurelite/up": "", "etc/s6/adminsv/azurelite/type": "",
                  "etc/s6/adminsv/default/contents.d/azurelite": ""},
    ),
    "s6": World(
        "s6",
        ("etc/s6-linux-init/current/run-image/service/getty/run", "usr/bin/s6-svscan"),
        expected={"etc/s6-linux-init/current/run-image/service/azurelite/run": ""},
    ),
    "s6, made by hand": World(
        "s6",
        ("etc/s6/svc/sshd/run", "etc/rc2.d/README"),
        expected={"etc/s6/svc/azurelite/run": "", "etc/s6/svc/azurelite/finish": ""},
        texts={"sbin/init": "#!/bin/sh\n# busybox was here\nmount -t proc proc /proc\nexec s6-svscan /run/service\n"},
    ),
    "dinit": World(
        "dinit",
        ("etc/dinit.d/boot",),
        {"sbin/init": "/usr/bin/dinit"},
        ("etc/dinit.d/boot.d",),
        {"etc/dinit.d/boot.d/azurelite": "../azurelite", "etc/dinit.d/azurelite": ""},
    ),
    "finit": World(
        "finit",
        ("etc/finit.conf", "etc/rc2.d/README"),
        {"sbin/init": "finit"},
        ("etc/finit.d",),
        {"etc/finit.d/azurelite.conf": ""},
    ),
    "BusyBox": World(
        "busybox",
        ("etc/rc2.d/README",),
        {"sbin/init": "../bin/busybox"},
        texts={"etc/inittab": "# x\n::sysinit:/etc/init.d/rcS\ntty1::askfirst:/bin/sh\n::ctrlaltdel:/sbin/reboot\n"},
    ),
    "BusyBox, no last newline": World(
        "busybox", links={"sbin/init": "../bin/busybox"}, texts={"etc/inittab": "::sysinit:/etc/init.d/rcS"}
    ),
    "FreeBSD": World(
        "freebsd",
        ("etc/rc.subr", "etc/defaults/rc.conf", "sbin/init"),
        folders=("usr/local/etc/rc.d", "etc/rc.conf.d"),
        expected={"usr/local/etc/rc.d/azurelite": "", "etc/rc.conf.d/azurelite": ""},
    ),
}  # fmt: skip


def build(folder: Path, world: World, *, program: str = "usr/bin/azurelite") -> Guest:
    guest = Guest(folder)
    guest.put({**dict.fromkeys(world.files, ""), **world.texts})
    for path in world.folders:
        guest.path(path).mkdir(parents=True, exist_ok=True)
    for path, target in world.links.items():
        guest.path(path).parent.mkdir(parents=True, exist_ok=True)
        if path.startswith("etc/") and not Path(path).name[0].isupper() and target.startswith("rc.d/"):
            guest.path(f"etc/{target}").mkdir(parents=True, exist_ok=True)
            if guest.path(path).is_dir():
                shutil.rmtree(guest.path(path))
        guest.path(path).symlink_to(target)
    if program:
        guest.put({program: "#!/usr/bin/python3\n", "usr/bin/python3": ""})
        for path in (program, "usr/bin/python3"):
            guest.path(path).chmod(0o755)
    return guest


def changes(
    guest: Guest,
    action: Action,
    *,
    dry_run: bool = False,
    init: Optional[str] = None,
    program: Optional[str] = None,
    early: bool = False,
) -> tuple[tuple[Change, ...], Installed]:
    system = System(guest.root, dry_run=dry_run, search_path="/nonexistent")
    if action == "install":
        done = install(system, init=init, program=program, early=early)
    else:
        done = remove(system, init=init)
    return system.journal.since(0), done


class Host(System):
    """A folder that is taken for the root of the running system."""

    def __init__(self, root: str, *, dry_run: bool, search_path: str) -> None:
        super().__init__(root, dry_run=dry_run)
        self.root.is_host = True
        self.commands.search_path = search_path
