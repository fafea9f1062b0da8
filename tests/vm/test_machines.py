"""azurelite on emulated machines: a real kernel, Azure's firmware and disc, DHCP, each kind of init, and a login.

What is asserted is seen from outside: what the fabric and the DHCP server heard, the serial line, the disc drive, and
what somebody finds who logs in with the key.
"""

from __future__ import annotations

from typing import Callable

import pytest
from vm.image import MachineRoot
from vm.lab import NAME, PASSWORD, USER, Lab, out, row, told

CUSTOM_DATA = "#!/bin/sh\necho only the disc says so >/var/lib/from-the-disc\n"
LOOKS = {
    "hostname": "uname -n; cat /etc/hostname",
    "me": "id -un",
    "root": "sudo -n id -u",
    "custom data": "sudo -n cat /var/lib/from-the-disc",
    "password": f"sudo -n getent shadow {USER} | perl -F: -lane 'print crypt(q({PASSWORD}), $F[1]) eq $F[1] ? 1 : 0'",
    "status": "sudo -n cat /run/azurelite/status-full.json",
    "process": "sudo -n cat /run/azurelite-process",
    "python": "python3 -c 'import platform; print(platform.python_version())'",
    "first process": "sudo -n readlink -f /proc/1/exe",
}

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces, pytest.mark.vm, pytest.mark.usefixtures("able")]

LATER = {"disc": False, "reports": False, "ejects": False}

SYSTEMD = MachineRoot("bookworm", "systemd", "networkd")
INITS = (
    MachineRoot("bookworm", "openrc", "dhclient"),
    SYSTEMD,
    MachineRoot("bookworm", "sysvinit", "ifupdown+dhcpcd"),
    MachineRoot("bookworm", "runit", "ifupdown+udhcpc"),
    MachineRoot("bookworm", "busybox", "udhcpc"),
)
FIRST_PROCESS = {
    "systemd": "/usr/lib/systemd/systemd",
    "openrc": "/usr/sbin/init",
    "sysvinit": "/usr/sbin/init",
    "runit": "/usr/sbin/runit",
    "busybox": "/usr/bin/busybox",
}


@pytest.mark.parametrize("root", INITS, ids=lambda root: root.init)
def test_first_boot_is_ready_and_lets_the_person_in_and_the_second_is_silent(
    lab: Lab, root: MachineRoot, record_property: Callable[[str, object], None]
) -> None:
    first, second = lab.boot(
        root,
        {"looks": LOOKS},
        {**LATER, "looks": {"hostname": LOOKS["hostname"], "root": LOOKS["root"]}},
        vm={"custom_data": CUSTOM_DATA},
    )

    assert [(report["state"], report["accepted"]) for report in first["reports"]] == [("Ready", True)], told(first)
    assert out(first, "hostname").split() == [NAME, NAME]
    assert out(first, "me") == USER
    assert out(first, "root") == "0"
    # Nothing but the disc has these two.
    assert out(first, "custom data") == "only the disc says so"
    assert out(first, "password") == "1", told(first)
    assert first["tray"]["tray_open"] is True, told(first)
    assert first["tray"]["locked"] is False
    assert NAME in [name for _, name, _ in first["dhcp"]], told(first)
    assert "azurelite: " in first["console"], told(first)
    assert PASSWORD not in first["console"]
    assert FIRST_PROCESS[root.init] in out(first, "first process")
    assert first["ended"], told(first)
    record_property("machine", row("first boot", root, first))

    assert second["requests"] == [], told(second)
    assert second["reports"] == []
    assert out(second, "hostname").split() == [NAME, NAME]
    assert out(second, "root") == "0"
    assert "provisioned earlier" in second["console"], told(second)
    # The name from the first request on; only udhcpc says none where ifupdown calls it.
    names = {""} if root.client == "ifupdown+udhcpc" else {NAME}
    assert {name for _, name, _ in second["dhcp"]} == names, told(second)


OTHER_VM = "103d8e5f-b794-0e4d-8f55-0c6f6b1f7a21"
OTHER_FIRMWARE = "5f8e3d10-94b7-4d0e-8f55-0c6f6b1f7a21"  # the same, as a generation 1 machine shows it
# The rule for sudo goes with the account, so the same command ends the machine.
END = "(sleep 3; sync; echo o >/proc/sysrq-trigger) >/dev/null 2>&1 </dev/null &"
CAPTURE = f"sudo -n sh -c 'azurelite generalize --yes --all --delete-homes; echo $?; {END}'"
LEFT = "sudo -n sh -c 'ls /var/lib/azurelite/vms; find /home -name mine; getent passwd'"


def test_a_captured_disk_is_another_vm_with_nothing_of_the_first(lab: Lab) -> None:
    first, second = lab.boot(
        SYSTEMD,
        {"looks": {"mine": "touch ~/mine; id -u", "generalize": CAPTURE}},
        {
            "uuid": OTHER_FIRMWARE,
            "looks": {"hostname": LOOKS["hostname"], "me": "id -un", "root": LOOKS["root"], "left": LEFT},
        },
        config={"handlers": ["hostname", "user", "ssh_host_keys", "ssh_keys", "sshd", "report_ready"]},
    )
    assert [(report["state"], report["accepted"]) for report in first["reports"]] == [("Ready", True)], told(first)
    assert first["ended"], told(first)
    assert [(report["state"], report["accepted"]) for report in second["reports"]] == [("Ready", True)], told(second)
    assert out(second, "hostname").split() == [NAME, NAME]
    assert (out(second, "me"), out(second, "root")) == (USER, "0")
    record, *accounts = out(second, "left").splitlines()
    assert record == OTHER_VM, told(second)
    assert [line for line in accounts if ":" not in line] == []  # no file of the first person
    assert sum(line.startswith(f"{USER}:") for line in accounts) == 1


SITE_CHECK = {
    "run": {
        "id": "site-check",
        "required": True,
        "stdin": "none",
        "shell": "echo the licence server is not there; exit 7",
    }
}
WHY = "sudo -n sh -c 'cat /var/log/azurelite/run-shell-*.log'"


def test_a_required_step_that_fails_is_told_to_azure_and_on_the_console(lab: Lab) -> None:
    (boot,) = lab.boot(
        SYSTEMD,
        {"ejects": False, "says": "^.*azurelite.*failed", "looks": {"why": WHY}},
        config={"handlers": ["hostname", "user", "ssh_keys", SITE_CHECK, "report_ready"]},
    )
    assert [(report["state"], report["accepted"]) for report in boot["reports"]] == [("NotReady", True)], told(boot)
    (report,) = boot["reports"]
    for words in ("site-check", "shell exited with status 7"):
        assert words in report["description"], report
        assert words in boot["console"], told(boot)
    # Who has the key may look why; what the program said is for root alone. The disc stays for the next try.
    assert out(boot, "why") == "the licence server is not there"
    assert boot["tray"]["tray_open"] is False


def test_with_the_early_unit_the_first_dhcp_request_has_the_name_of_the_disc(
    lab: Lab, record_property: Callable[[str, object], None]
) -> None:
    looks = {
        "hostname": LOOKS["hostname"],
        "failed units": "systemctl --failed --plain --no-legend",
        "before": "systemctl show -p ActiveEnterTimestampMonotonic --value azurelite-hostname systemd-networkd",
    }
    first, second = lab.boot(
        SYSTEMD,
        {"looks": {**LOOKS, **looks}},
        {**LATER, "looks": looks},
        early=True,
    )
    assert [(report["state"], report["accepted"]) for report in first["reports"]] == [("Ready", True)], told(first)
    assert {name for _, name, _ in first["dhcp"]} == {NAME}, told(first)
    named, networked = (int(stamp) for stamp in out(first, "before").split())
    assert 0 < named < networked
    record_property("machine", row("early name", SYSTEMD, first))
    for boot in (first, second):
        assert out(boot, "hostname").split() == [NAME, NAME]
        assert out(boot, "failed units") == "", told(boot)
    assert second["requests"] == [], told(second)


def test_the_example_for_the_initramfs_keeps_what_the_disc_says(
    lab: Lab, record_property: Callable[[str, object], None]
) -> None:
    """The system itself is told to look at the copy, and at no disc."""
    root = MachineRoot("bookworm", "systemd", "networkd", ("initramfs-tools",))
    (boot,) = lab.boot(
        root,
        {"ejects": False, "looks": {**LOOKS, "kept": "sudo -n stat -c '%a %U' /run/azurelite/media/ovf-env.xml"}},
        config={"datasource": {"media": {"device": "/run/azurelite/media"}}},
        early=True,
        initramfs=True,
        vm={"custom_data": CUSTOM_DATA},
    )
    assert [(report["state"], report["accepted"]) for report in boot["reports"]] == [("Ready", True)], told(boot)
    assert {name for _, name, _ in boot["dhcp"]} == {NAME}, told(boot)
    assert out(boot, "custom data") == "only the disc says so"
    assert out(boot, "password") == "1", told(boot)
    assert out(boot, "kept") == "600 root"
    assert boot["tray"]["tray_open"] is False  # it knows the copy, and no drive
    record_property("machine", row("initramfs", root, boot))
