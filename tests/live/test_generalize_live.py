"""`sudo azurelite generalize` over ssh, as the account that it removes: a real sshd, a real sudo, real processes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

AZURELITE = f"{sys.executable} -m azurelite"
PROVISION = {"argv": [sys.executable, "-m", "azurelite", "provision", "--json"]}
CONFIG = "Include /etc/ssh/sshd_config.d/*.conf\n"
SSHD = (
    "mkdir -p /run/sshd; ssh-keygen -A >/dev/null; kill $(cat /run/sshd.pid 2>/dev/null) 2>/dev/null; "
    "/usr/sbin/sshd -E /run/sshd.log -o UsePAM=no </dev/null >/dev/null 2>&1; sleep 0.3; chmod 600 /root/key; "
)
LOGIN = (
    "ssh -n -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=5 "
    "-i /root/key -o IdentitiesOnly=yes -o BatchMode=yes livewire@127.0.0.1 "
)
# The login goes on after its account is gone: its shell answers, and its processes are left alone.
REMOVE = f"sudo -n {AZURELITE} generalize --yes --all --delete-homes; echo code $?; kill -0 $$ && echo alive"
# A home with another file system in it, then one that is a mount point, then neither.
MOUNTS = f"""
cd /home/livewire && mkdir m && mount -t tmpfs none m && touch m/x && cd /
{AZURELITE} generalize --yes --delete-homes; ls /home/livewire/m
umount /home/livewire/m; mount --bind /home/livewire /home/livewire
{AZURELITE} generalize --yes --delete-homes; ls -d /home/livewire/m
umount /home/livewire
{AZURELITE} generalize --yes --delete-homes; test -e /home/livewire || echo gone
"""
OTHER_VM = "11111111-2222-4333-8444-555555555555"

pytestmark = [
    pytest.mark.spawns,
    pytest.mark.namespaces,
    pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="needs sshd: install openssh-server"),
    pytest.mark.skipif(shutil.which("sudo") is None, reason="needs sudo: install it"),
]


def sh(script: str, **more: Any) -> dict[str, Any]:
    return {"argv": ["sh", "-c", script], **more}


def test_the_owner_removes_their_own_account_over_ssh(on_stage: Callable[..., Any], tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", tmp_path / "key"], check=True)
    private, public = (tmp_path / "key").read_text(), (tmp_path / "key.pub").read_text().strip()
    left = "getent passwd livewire; ls /home/livewire; grep -rl livewire /etc /var/lib/azurelite 2>/dev/null"
    runs = [
        {**PROVISION, "files": {"/etc/ssh/sshd_config": CONFIG, "/root/key": private}},
        sh(f"{SSHD}({LOGIN} sleep 60 >/dev/null 2>&1 & echo $! > /run/other); sleep 1; {LOGIN} '{REMOVE}'"),
        sh(f"kill $(cat /run/other); pkill -u livewire sleep; sleep 1; {LOGIN} '{REMOVE}'"),
        sh(f"{LOGIN} id"),
        sh(left),
        {**PROVISION, "vm_id": OTHER_VM},
        sh(f"{SSHD}{LOGIN} id -un"),
        sh(f"sleep 1; {MOUNTS}"),
    ]
    vm = {"username": "livewire", "ssh_keys": [public], "disable_password_authentication": True}
    first, busy, removed, refused, rest, second, login, mounts = on_stage({"scenario": {"vm": vm}, "runs": runs})
    assert first["code"] == 0, first["err"]
    assert "runs as it: end it, and run again (nothing was changed)" in busy["err"], busy
    assert "code 1\nalive\n" in busy["out"], busy
    assert "this login ends here: its account livewire is removed last" in removed["out"], removed
    assert "code 0\nalive\n" in removed["out"], removed
    assert refused["code"] == 255, refused
    assert rest["out"] == "", rest
    assert second["code"] == 0, second["err"]
    assert [report["state"] for report in second["reports"]] == ["Ready"]
    assert (login["code"], login["out"]) == (0, "livewire\n"), login
    for words in ("/home/livewire/m (another file system) stays", "\nx\n", "it is a mount point", "\ngone\n"):
        assert words in mounts["out"], mounts
