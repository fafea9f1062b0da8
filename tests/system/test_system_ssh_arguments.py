"""The arguments of sshd: only those of the line that starts it, by the rules of systemd, shells and getopt."""

from __future__ import annotations

import os

import pytest
from kit import Guest

from azurelite.system.machine import System
from azurelite.system.ssh.arguments import read_arguments

UNIT = "usr/lib/systemd/system/ssh.service"
START = "ExecStart=/usr/sbin/sshd -D"

# Text of a file -> what `-o` sets, the files that are named
UNITS: dict[str, tuple[list[str], list[str]]] = {
    START: ([], []),
    f"{START} -f /etc/ssh/other": ([], ["/etc/ssh/other"]),
    f"{START} -f/etc/ssh/other": ([], ["/etc/ssh/other"]),
    f"{START} -Df /etc/ssh/other": ([], ["/etc/ssh/other"]),
    f"{START} -f other": ([], []),
    f"{START} -f ${{FILE}}": ([], []),
    f"{START} -f '/etc/ssh/an other'": ([], ["/etc/ssh/an other"]),
    f"{START} \\\n  -f /etc/ssh/other": ([], ["/etc/ssh/other"]),
    f"{START} -p 22 -f /etc/ssh/other -o UsePAM=no": (["usepam no"], ["/etc/ssh/other"]),
    f"{START} -h -f /etc/ssh/other": ([], []),  # -h takes a value
    f"{START} $OPTIONS -oUsePAM=no": (["usepam no"], []),
    f"{START} -o 'AllowUsers bob carol'": (["allowusers bob carol"], []),
    f'{START} -o "AllowUsers=bob carol"': (["allowusers bob carol"], []),
    f"{START} -o PubkeyAcceptedKeyTypes=x": (["pubkeyacceptedalgorithms x"], []),
    "ExecStart=-@/usr/sbin/sshd sshd -D -oUsePAM=no": ([], []),  # a first operand ends the options
    "ExecStart=-/usr/sbin/sshd -i -oUsePAM=no": (["usepam no"], []),
    "ExecStart=/bin/sh -c 'exec /usr/sbin/sshd -D -f /etc/ssh/other'": ([], ["/etc/ssh/other"]),
    f"ExecStartPre=/bin/rm -f /run/x\n{START}": ([], []),
    f"ExecStartPre=-/bin/rm -f /run/x -o x=y\n{START}": ([], []),
    f"ExecStartPre=/usr/sbin/sshd -t -f /etc/ssh/other\n{START}": ([], []),
    f"ExecStartPre=/usr/bin/install -d -m 755 -o root /run/sshd\n{START}": ([], []),
    f"{START}\nExecReload=/usr/sbin/sshd -t -f /etc/ssh/other": ([], []),
    f"{START}\nExecStopPost=/bin/rm -f /etc/ssh/other": ([], []),
    f"{START} -f /etc/ssh/first\nExecStart=\n{START} -f /etc/ssh/second": ([], ["/etc/ssh/second"]),
    f"#{START} -f /etc/ssh/other\n;{START} -f /etc/ssh/other": ([], []),
    f'Environment="OPTIONS=-f /etc/ssh/other -o UsePAM=no" B=c\n{START} $OPTIONS': (["usepam no"], ["/etc/ssh/other"]),
    f"EnvironmentFile=-/etc/ours\n{START} $OPTIONS": (["usepam yes"], []),
    "Description=sshd -f /etc/ssh/other": ([], []),
    "": ([], []),
}
FILES: dict[tuple[str, str], tuple[list[str], list[str]]] = {
    ("etc/default/ssh", "SSHD_OPTS=\n"): ([], []),
    ("etc/default/ssh", "SSHD_OPTS='-f /etc/ssh/other'\n"): ([], ["/etc/ssh/other"]),
    ("etc/default/ssh", "export SSHD_OPTS=-oUsePAM=no\n"): (["usepam no"], []),
    ("etc/default/ssh", "# SSHD_OPTS=-oUsePAM=no\n"): ([], []),
    ("etc/default/ssh", "SSHD_OPTS=-oUsePAM=no # ours\n"): (["usepam no"], []),
    ("etc/default/ssh", "SSHD_OPTS='-o UsePAM=no\n"): (["usepam no"], []),  # the quote is not closed
    ("etc/default/ssh", "CLEAN='rm -f /run/x'\n"): ([], []),
    ("etc/sysconfig/sshd", "OPTIONS=-u0 -o UsePAM=no\n"): (["usepam no"], []),
    ("etc/sysconfig/sshd", 'OPTIONS="-u0 -o UsePAM=no"\n'): (["usepam no"], []),
    ("etc/conf.d/sshd", 'SSHD_CONFDIR="/srv/ssh/"\n'): ([], ["/srv/ssh/sshd_config"]),
    ("etc/conf.d/sshd", 'SSHD_CONFIG="/srv/ssh/config"\n'): ([], ["/srv/ssh/config"]),
    ("etc/conf.d/sshd", 'SSHD_CONFIG="${X}/config"\n'): ([], []),
    ("etc/init.d/sshd", 'command_args="${SSHD_OPTS} -f ${SSHD_CONFIG}"\n'): ([], []),
    ("etc/init.d/ssh", "start-stop-daemon --start --exec /usr/sbin/sshd -- -f /a $SSHD_OPTS\n"): ([], ["/a"]),
    ("etc/init.d/ssh", "[ -x /usr/sbin/sshd ] || exit 0\nrm -f /run/sshd.pid\n"): ([], []),
    ("etc/sv/sshd/run", "#!/bin/sh\nrm -f /run/x\nexec /usr/sbin/sshd -D -e 2>&1\n"): ([], []),
    ("etc/sv/sshd/run", "exec chpst -u root /usr/sbin/sshd -De -f /etc/ssh/other 2>&1\n"): ([], ["/etc/ssh/other"]),
    ("etc/sv/sshd/conf", 'OPTS="-oUsePAM=no"\n'): (["usepam no"], []),
    ("etc/crypto-policies/back-ends/opensshserver.config", "CRYPTO_POLICY='-oCiphers=a,b -oMACs=c'\n"): (
        ["ciphers a,b", "macs c"],
        [],
    ),
}


def read(guest: Guest) -> tuple[list[str], list[str]]:
    found = read_arguments(System(guest.root).files)
    return [" ".join((one.keyword, *one.values)) for one in found.settings], list(found.files)


@pytest.mark.parametrize("text", UNITS)
def test_each_line_of_a_unit(guest: Guest, text: str) -> None:
    guest.put({UNIT: f"[Service]\n{text}\n", "etc/ours": "# -f /no\nOPTIONS=-oUsePAM=yes\n"})
    assert read(guest) == UNITS[text]


@pytest.mark.parametrize("entry", FILES)
def test_each_file_of_variables_and_each_script(guest: Guest, entry: tuple[str, str]) -> None:
    guest.put(dict([entry]))
    assert read(guest) == FILES[entry]


def test_what_hides_and_changes_a_unit(guest: Guest) -> None:
    guest.put({UNIT: f"{START} -f /vendor\n"})
    assert read(guest)[1] == ["/vendor"]
    guest.put({"etc/systemd/system/ssh.service": f"{START} -f /admin\n"})
    assert read(guest)[1] == ["/admin"]
    guest.put({"usr/lib/systemd/system/ssh.service.d/x.conf": f"ExecStart=\n{START} -f /drop-in\n"})
    assert read(guest)[1] == ["/drop-in"]
    guest.put({"etc/systemd/system/ssh.service.d/x.conf": "Nice=1\n"})
    assert read(guest)[1] == ["/admin"], "a drop-in of the same name hides the vendor's"
    guest.put({"lib/systemd/system/sshd@.service": f"{START} -i -f /each\n"})
    assert read(guest)[1] == ["/admin", "/each"]


@pytest.mark.parametrize(
    ("text", "programs"),
    [
        (START, ["/usr/sbin/sshd"]),
        ("ExecStart=-/opt/sbin/sshd -D", ["/opt/sbin/sshd"]),
        ("ExecStart=/bin/sh -c 'exec /opt/sbin/sshd -D'", ["/opt/sbin/sshd"]),
        ("ExecStart=/bin/sh -c 'exec sshd -D'", []),
        ("ExecStartPre=/opt/sbin/sshd -t", []),
        (f"Environment=SSHD=/opt/sbin/sshd\n{START}", ["/usr/sbin/sshd"]),
    ],
)
def test_the_program_that_is_started(guest: Guest, text: str, programs: list[str]) -> None:
    guest.put({UNIT: f"[Service]\n{text}\n"})
    assert list(read_arguments(System(guest.root).files).programs) == programs


def test_a_masked_unit_starts_nothing(guest: Guest) -> None:
    guest.put({UNIT: f"{START} -f /vendor\n", "etc/systemd/system/x": ""})
    guest.path("dev").mkdir(exist_ok=True)
    os.mkfifo(guest.path("dev/null"))  # no regular file, as a device; anybody can make one
    guest.path("etc/systemd/system/ssh.service").symlink_to("/dev/null")
    assert read(guest) == ([], [])
