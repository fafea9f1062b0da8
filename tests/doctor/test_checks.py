"""Each defect is found, with its name and severity, and nothing is found in roots that are fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Callable

import pytest
from doctorroots import INITS, MODULES, append, azure_init, cloud_init, fit, initramfs, link, replaced, waagent
from kit import Guest

from azurelite.cli import main
from azurelite.doctor import CHECKS, examine
from azurelite.doctor.finding import Report
from azurelite.doctor.initramfs import names_in
from azurelite.system.machine import System

HASH = "$6$salt$hash"


def examined(guest: Guest) -> Report:
    return examine(System(guest.root), name=guest.root)


def found_in(guest: Guest) -> set[tuple[str, str]]:
    return {(one.name, one.severity) for one in examined(guest).findings}


@pytest.mark.parametrize("init", INITS)
def test_nothing_is_found_in_a_root_that_is_fit(tmp_path: Path, init: str) -> None:
    report = examined(fit(tmp_path / "root", init))
    assert report.findings == ()
    assert report.fit
    assert report.passed == tuple(CHECKS)


def without(path: str) -> Callable[[Guest], None]:
    def act(guest: Guest) -> None:
        one = guest.path(path)
        shutil.rmtree(one) if one.is_dir() and not one.is_symlink() else one.unlink()

    return act


def put(path: str, text: str) -> Callable[[Guest], object]:
    return lambda guest: guest.put({path: text})


def more(path: str, text: str) -> Callable[[Guest], object]:
    return lambda guest: append(guest, path, text)


def change(path: str, old: str, new: str) -> Callable[[Guest], object]:
    return lambda guest: replaced(guest, path, old, new)


WANTS = "etc/systemd/system/multi-user.target.wants"
NETWORK = "etc/systemd/network/80-dhcp.network"
DEFECTS: dict[str, tuple[Callable[[Guest], object], str, str]] = {
    "no storage driver": (change(f"{MODULES}/modules.dep", "hv_storvsc", "virtio"), "drivers.hyperv", "error"),
    "no network driver": (change(f"{MODULES}/modules.dep", "hv_netvsc", "e1000"), "drivers.hyperv", "error"),
    "driver not in the initramfs": (
        lambda guest: guest.put({"boot/initrd.img-6.1.0-9": initramfs("hv/hv_vmbus")}), "drivers.initramfs", "error"),
    "no initramfs": (without("boot/initrd.img-6.1.0-9"), "drivers.initramfs", "error"),
    "damaged initramfs": (put("boot/initrd.img-6.1.0-9", "\x1f\x1f?"), "drivers.initramfs", "not checked"),
    "no drive for the disc": (change(f"{MODULES}/modules.dep", "sr_mod", "x"), "drivers.disc", "warning"),
    "no UDF": (change(f"{MODULES}/modules.dep", "udf.ko", "x.ko"), "drivers.disc", "note"),
    "no kernel": (without("lib/modules"), "drivers.hyperv", "not checked"),
    "no DHCP client": (
        lambda guest: [without(path)(guest) for path in ("usr/sbin/dhclient", "usr/lib/systemd/systemd-networkd")],
        "network.client", "error"),
    "network not enabled": (without(f"{WANTS}/systemd-networkd.service"), "network.enabled", "error"),
    "static address": (change(NETWORK, "DHCP=yes", "Address=10.0.0.9/24"), "network.enabled", "error"),
    "wrong NIC": (change(NETWORK, "eth* en*", "ens33"), "network.nic", "error"),
    "bound to a MAC": (change(NETWORK, "Name=eth* en*", "MACAddress=00:0d:3a:00:00:01"), "network.nic", "error"),
    "netplan bound to a MAC": (
        put("etc/netplan/50-cloud-init.yaml",
            "network: {ethernets: {eth0: {dhcp4: true, match: {macaddress: '00:0d:3a:00:00:01'}}}}\n"),
        "network.nic", "error"),
    "service not enabled": (without(f"{WANTS}/azurelite.service"), "service.enabled", "error"),
    "no init system": (
        lambda guest: [without(path)(guest) for path in ("sbin/init", "usr/lib/systemd/systemd")],
        "service.enabled", "error"),
    "program missing": (without("usr/bin/azurelite"), "service.program", "error"),
    "service without order": (
        put("etc/systemd/system/azurelite.service", "[Service]\nExecStart=/usr/bin/azurelite provision\n"),
        "service.order", "warning"),
    "switched off by a file": (put("etc/azurelite/disabled", ""), "service.switch", "error"),
    "switched off by the kernel": (change("boot/grub/grub.cfg", "ro ", "ro azurelite=off "), "boot.switch", "error"),
    "wrong configuration": (
        put("etc/azurelite/azurelite.yaml", "handlers: [{user: {nope: 1}}, ssh_host_keys, report_ready]\n"),
        "service.config", "error"),
    "plug-in": (
        put("etc/azurelite/azurelite.yaml", "handlers: [nope, ssh_host_keys, report_ready]\n"),
        "service.config", "not checked"),
    "Ready not reported": (put("etc/azurelite/azurelite.yaml", "handlers: [user, ssh_host_keys]\n"),
                           "service.config", "warning"),
    "cloud-init": (cloud_init, "agents.cloud-init", "error"),
    "waagent": (waagent, "agents.waagent", "error"),
    "azure-init": (azure_init, "agents.azure-init", "error"),
    "trace of cloud-init": (put("var/lib/cloud/instances/i-1/x", ""), "agents.traces", "warning"),
    "trace of waagent": (put("var/lib/waagent/ovf-env.xml", "x"), "agents.traces", "warning"),
    "record of a VM": (put("var/lib/azurelite/vms/c0ffee00-0000-4000-8000-000000000001/provisioned", "x"),
                       "agents.records", "note"),
    "no sshd": (lambda guest: [without(path)(guest) for path in ("usr/sbin/sshd", "etc/ssh/sshd_config")],
                "ssh.server", "error"),
    "sshd not enabled": (without(f"{WANTS}/sshd.service"), "ssh.enabled", "error"),
    "unknown keyword": (more("etc/ssh/sshd_config", "PermitRotLogin no\n"), "ssh.config", "error"),
    "wrong value": (change("etc/ssh/sshd_config", "PasswordAuthentication no", "PasswordAuthentication off"),
                    "ssh.config", "error"),
    "keys refused": (change("etc/ssh/sshd_config", "Port 22", "PubkeyAuthentication no"), "ssh.config", "error"),
    "host keys": (put("etc/ssh/ssh_host_ed25519_key", "x"), "ssh.host-keys", "warning"),
    "host keys that stay": (
        lambda guest: guest.put({"etc/ssh/ssh_host_ed25519_key": "x",
                                 "etc/azurelite/azurelite.yaml": "handlers: [user, report_ready]\n"}),
        "ssh.host-keys", "error"),
    "no maker of host keys": (put("etc/azurelite/azurelite.yaml", "handlers: [user, report_ready]\n"),
                              "ssh.host-keys", "warning"),
    "user": (more("etc/passwd", "bob:x:1000:1000::/home/bob:/bin/sh\n"), "leftovers.users", "warning"),
    "password": (change("etc/shadow", "daemon:*", f"daemon:{HASH}"), "leftovers.passwords", "error"),
    "root's password": (change("etc/shadow", "root:*", f"root:{HASH}"), "leftovers.root", "error"),
    "root without password": (change("etc/shadow", "root:*", "root:"), "leftovers.root", "error"),
    "root's key": (put("root/.ssh/authorized_keys", "ssh-ed25519 AAAA builder\n"), "leftovers.keys", "error"),
    "private key": (put("home/bob/.ssh/id_ed25519", "x"), "leftovers.keys", "error"),
    "sudo rule": (put("etc/sudoers.d/90-cloud-init-users", "bob ALL=(ALL) NOPASSWD:ALL\n"),
                  "leftovers.rules", "warning"),
    "doas rule": (put("etc/doas.conf", "permit nopass keepenv bob\n"), "leftovers.rules", "warning"),
    "history": (put("root/.bash_history", "secret\n"), "leftovers.histories", "warning"),
    "lease": (put("var/lib/dhcp/dhclient.eth0.leases", "lease {}\n"), "leftovers.leases", "note"),
    "random seed": (put("var/lib/systemd/random-seed", "x"), "leftovers.random-seed", "warning"),
    "machine id": (put("etc/machine-id", "0123456789abcdef0123456789abcdef\n"), "files.machine-id", "error"),
    "D-Bus's machine id": (put("var/lib/dbus/machine-id", "0123\n"), "files.machine-id", "error"),
    "name server": (put("etc/resolv.conf", "nameserver 192.168.1.1\n"), "files.resolv-conf", "warning"),
    "udev's NIC names": (
        put("etc/udev/rules.d/70-persistent-net.rules",
            'SUBSYSTEM=="net", ATTR{address}=="00:15:5d:00:00:01", NAME="eth0"\n'),
        "files.nic-names", "error"),
    "device in fstab": (more("etc/fstab", "/dev/sdb1 /data ext4 defaults 0 2\n"), "files.fstab", "error"),
    "cloud-init's line in fstab": (
        more("etc/fstab", "/dev/disk/cloud/azure_resource-part1 /x auto nofail,comment=cloudconfig 0 2\n"),
        "files.fstab", "warning"),
    "no time sync": (without("usr/sbin/chronyd"), "files.time-sync", "warning"),
    "time sync not enabled": (without(f"{WANTS}/chronyd.service"), "files.time-sync", "warning"),
    "no serial console": (change("boot/grub/grub.cfg", "console=ttyS0", ""), "boot.console", "warning"),
    "root device": (change("boot/grub/grub.cfg", "root=UUID=1234", "root=/dev/vda1"), "boot.root-device", "error"),
    "no boot loader": (lambda guest: [without("boot/grub/i386-pc")(guest), without("boot/efi")(guest)],
                       "boot.loader", "not checked"),
    "no fallback for EFI": (
        lambda guest: [without("boot/grub/i386-pc")(guest), without("boot/efi/EFI/BOOT")(guest),
                       guest.put({"boot/efi/EFI/debian/shimx64.efi": "x"})],
        "boot.loader", "error"),
}  # fmt: skip
# What one defect brings with it.
ALSO = {
    "no init system": None,  # nothing is enabled then
    "no kernel": {("drivers.hyperv", "not checked")},
    "record of a VM": set(),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_found_and_no_other(tmp_path: Path, name: str) -> None:
    act, check, severity = DEFECTS[name]
    guest = fit(tmp_path / "root")
    act(guest)
    report = examined(guest)
    found = {(one.name, one.severity) for one in report.findings}
    assert (check, severity) in found, found
    if ALSO.get(name, ()) is not None:
        assert {one for one, _ in found} == {check}, report.findings
    assert report.fit == all(word != "error" for _, word in found)
    assert all(one.text and one.place and one.remedy.endswith(".") for one in report.findings)


@pytest.mark.parametrize(
    "act",
    [
        lambda guest: (guest.put({"etc/cloud/cloud-init.disabled": ""}), [act(guest) for act in (cloud_init,)]),
        lambda guest: waagent(guest, "Provisioning.Agent=auto\nProvisioning.Agent=disabled\n"),
        lambda guest: link(guest, "etc/systemd/system/azure-init.service", "/dev/null"),
        put("etc/machine-id", "uninitialized\n"),
        put("root/.ssh/authorized_keys", ""),
        put("etc/doas.conf", "permit persist :wheel\npermit nopass root\n"),
        put("etc/sudoers.d/x", "Defaults !lecture\n%wheel ALL=(ALL) ALL\n"),
        put("etc/sudoers.d/x", '"" ALL=(ALL) ALL\n'),
        put("etc/doas.conf", "setenv { A }\n"),
        more("etc/shadow", "backup:!:1::::::\nx:!$6$salt$hash:1::::::\n"),
    ],
)
def test_what_only_looks_like_a_defect(tmp_path: Path, act: Callable[[Guest], object]) -> None:
    guest = fit(tmp_path / "root")
    act(guest)
    assert found_in(guest) == set()


@pytest.mark.parametrize(
    "files",
    [
        {"etc/rcS.d/S09networking": "", "etc/network/interfaces": "iface eth0 inet dhcp\n"},
        {"etc/runit/1": "#!/bin/sh\nudhcpc -i eth0\n"},
        {"etc/rc.local": "ifup eth0\n", "etc/network/interfaces": "iface eth0 inet dhcp\n"},
    ],
)
def test_a_script_may_bring_the_network_up(tmp_path: Path, files: dict[str, str]) -> None:
    guest = fit(tmp_path / "root", "runit")
    without("etc/runit/runsvdir/default/dhcpcd")(guest)
    guest.path("usr/bin/dhcpcd").unlink()
    guest.path("usr/sbin/dhclient").unlink()
    guest.put({"bin/busybox": b"ELF\0udhcpc\0"})
    assert found_in(guest) == {("network.enabled", "error")}
    guest.put(files)
    assert found_in(guest) == set()


def test_without_azurelite_the_other_agent_is_no_error(tmp_path: Path) -> None:
    guest = fit(tmp_path / "root")
    cloud_init(guest)
    without(f"{WANTS}/azurelite.service")(guest)
    found = found_in(guest)
    assert ("agents.cloud-init", "note") in found


def test_what_cannot_be_read_is_not_checked(tmp_path: Path) -> None:
    guest = fit(tmp_path / "root")
    guest.path("etc/fstab").unlink()
    guest.path("etc/fstab").mkdir()
    assert ("files.fstab", "not checked") in found_in(guest)


@pytest.mark.parametrize("data", [b"", b"\x1f\x8bnope", b"\xfd7zXZ\0nope", b"070701" + b"z" * 200, b"070701", b"?"])
def test_a_damaged_initramfs_is_read_without_a_crash(guest: Guest, data: bytes) -> None:
    guest.put({"boot/initrd": data})
    names, why = names_in(System(guest.root, search_path="/nonexistent"), "/boot/initrd")
    assert (names is None) == (why != "")


def test_the_verb_prints_findings_and_a_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    guest = fit(tmp_path / "root", "runit")
    assert main(["doctor", "--root", guest.root]) == 0
    assert "fit to be captured: 0 errors, 0 warnings, 0 notes" in capsys.readouterr().out
    guest.put({"root/.bash_history": "x"})
    assert main(["doctor", "--root", guest.root]) == 0
    guest.put({"etc/machine-id": "0123\n"})
    assert main(["doctor", "--root", guest.root]) == 4
    text = capsys.readouterr().out
    assert "error: files.machine-id: the image has a machine id" in text
    assert "not fit to be captured: 1 error, 1 warning, 0 notes, 0 not checked" in text
    assert main(["doctor", "--root", guest.root, "--json"]) == 4
    told = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in told["findings"]] == ["files.machine-id", "leftovers.histories"]
    assert (told["fit"], told["findings"][0]["fixable"], told["counts"]["warning"]) == (False, True, 1)


def test_names_in_an_image_do_not_reach_the_terminal_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guest = fit(tmp_path / "root")
    guest.put({"etc/sudoers.d/x": "\x1b[2Jbob ALL=(ALL) ALL\n"})
    main(["doctor", "--root", guest.root])
    text = capsys.readouterr().out
    assert "\\x1b[2Jbob" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    "words",
    [
        ["--root", "/nonexistent"],
        ["x.vhd", "--fix"],
        ["x.vhd", "--undo"],
        ["x.vhd", "--image", "x.vhd"],
        ["x.vhd", "--root", "/tmp"],
        ["--fix", "--undo"],
        ["--dry-run"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_nothing_is_changed_by_looking(tmp_path: Path) -> None:
    guest = fit(tmp_path / "root")
    before = guest.snapshot()
    examined(guest)
    assert guest.snapshot() == before


def test_the_guide_has_a_heading_for_each_finding() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text(encoding="utf-8")
    headings = {line[4:] for line in guide.splitlines() if line.startswith("### ")}
    named = {name for _, name, _ in DEFECTS.values()} | set(CHECKS)
    assert headings == named | {"image.format", "image.generation", "image.content"}
