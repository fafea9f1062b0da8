"""Which init system a guest has: what proves one, and what other packages bring without it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from kit import Guest

from azurelite.errors import ConfigError
from azurelite.service import install
from azurelite.system.machine import System
from azurelite.system.services.detect import detect

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

# Name -> links, files, folders, hard links, and what it is.
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
    "FreeBSD": ({}, {"etc/rc.subr": "", "etc/defaults/rc.conf": "", "sbin/init": ELF}, "freebsd"),
}  # fmt: skip


def build(guest: Guest, links: dict[str, str], files: dict[str, str]) -> Guest:
    guest.put(files)
    for path, target in links.items():
        guest.path(path).parent.mkdir(parents=True, exist_ok=True)
        guest.path(path).symlink_to(target)
    return guest


@pytest.fixture
def empty(tmp_path: Path) -> Guest:
    made = Guest(tmp_path / "image")
    made.folder.mkdir()
    return made


@pytest.mark.parametrize("kind", GUESTS)
def test_what_proves_an_init(empty: Guest, kind: str) -> None:
    links, files, expected = GUESTS[kind]
    assert detect(System(build(empty, links, files).root)) == expected


@pytest.mark.parametrize(
    ("program", "init"), [("bin/busybox", "busybox"), ("sbin/finit", "finit"), ("bin/dinit", "dinit")]
)
def test_another_name_of_the_same_program(empty: Guest, program: str, init: str) -> None:
    empty.put({program: ELF, "sbin/.keep": "", "etc/dinit.d/boot": "", "etc/rc2.d/x": "", "etc/inittab": ""})
    os.link(empty.path(program), empty.path("sbin/init"))
    assert detect(System(empty.root)) == init


def test_without_a_proof_nothing_is_made_and_it_is_said_what_was_looked_for(empty: Guest) -> None:
    build(empty, {}, {**dict.fromkeys(DEBIAN, ""), "usr/bin/azurelite": "#!/bin/sh\n"})
    empty.path("usr/bin/azurelite").chmod(0o755)
    before = empty.snapshot()
    with pytest.raises(ConfigError, match=r"looked for .*runit-init.*--init"):
        install(System(empty.root, search_path="/nonexistent"))
    assert empty.snapshot() == before
    done = install(System(empty.root, search_path="/nonexistent"), init="sysvinit")  # it is to come later
    assert done.init == "sysvinit"


def test_a_script_is_no_secret_to_a_dry_run(empty: Guest) -> None:
    build(empty, {}, {"sbin/init": S6_LINUX_INIT})
    one: Any = detect(System(empty.root, dry_run=True))
    assert one == detect(System(empty.root))
