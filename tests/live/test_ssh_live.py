"""Logging in: a real sshd in the guest that azurelite provisioned, and a real ssh that comes by loopback.

The machine is a set of namespaces that ends with the test.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

from azurelite.keys.openssh import authorized_lines, opening

HERE = Path(__file__).parent
AZURELITE = [sys.executable, "-m", "azurelite"]
PROVISION = {"argv": [*AZURELITE, "provision", "--json"]}
CONFIG = "Include /etc/ssh/sshd_config.d/*.conf\nPasswordAuthentication yes\n"
# It stays behind until the namespaces end, so it must not hold the pipes; one of an earlier run is ended first.
SSHD = (
    "mkdir -p /run/sshd; ssh-keygen -A >/dev/null; kill $(cat /run/sshd.pid 2>/dev/null) 2>/dev/null; "
    "/usr/sbin/sshd -E /run/sshd.log -o UsePAM=no </dev/null >/dev/null 2>&1; sleep 0.3; "
)
SSH = "ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=5 "
KEYED_LOGIN = SSH + "-i /root/key -o IdentitiesOnly=yes -o BatchMode=yes livewire@127.0.0.1"
KEYED = f"{SSHD}chmod 600 /root/key; {KEYED_LOGIN} id -un"
# What the server would go on with, for somebody who has no key.
OFFERED = SSHD + SSH + "-o PubkeyAuthentication=no -o BatchMode=yes livewire@127.0.0.1 true"

pytestmark = [
    pytest.mark.spawns,
    pytest.mark.namespaces,
    pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="needs sshd: install openssh-server"),
]
Stage = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def key(tmp_path: Path) -> tuple[str, str]:
    """A new key: its private and its public half."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", tmp_path / "key"], check=True)
    return (tmp_path / "key").read_text(), (tmp_path / "key.pub").read_text().strip()


@pytest.fixture
def stage(on_stage: Callable[..., Any]) -> Stage:
    """Run a job on the stage; a list with what came of each of its runs."""

    def run(*runs: dict[str, Any], vm: dict[str, Any]) -> list[dict[str, Any]]:
        job = {"scenario": {"vm": {"username": "livewire", **vm}}, "runs": list(runs)}
        results: list[dict[str, Any]] = on_stage(job)
        return results

    return run


def sh(script: str, **files: str) -> dict[str, Any]:
    return {
        "argv": ["sh", "-c", script],
        "files": {f"/{name.replace('__', '/')}": text for name, text in files.items()},
    }


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        "UsePAM yes\nMatch User root\n X11Forwarding no\n",
        "AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u\n",
        "AuthorizedKeysFile none\nMatch User live*\n AuthorizedKeysFile .config/sshd/%u-%U\n",
        "Include /etc/ssh/sshd_config.d/*.conf\nAuthorizedKeysFile %h/.ssh/authorized_keys /etc/ssh/all\n",
    ],
    ids=["drop-in", "edit", "central", "match", "two"],
)
def test_login_works_with_the_key_and_passwords_are_not_offered(
    stage: Stage, key: tuple[str, str], config: str
) -> None:
    private, public = key
    first, login, offered, again = stage(
        {**PROVISION, "files": {"/etc/ssh/sshd_config": config}},
        sh(KEYED, root__key=private),
        sh(OFFERED),
        {"argv": [*AZURELITE, "apply", "ssh_keys", "sshd", "--dry-run"]},
        vm={"ssh_keys": [public], "disable_password_authentication": True},
    )
    assert first["code"] == 0, first["err"]
    assert (login["code"], login["out"]) == (0, "livewire\n"), login["err"]
    assert offered["code"] == 255
    assert "Permission denied (publickey)." in offered["err"]
    assert again["code"] == 0, again["err"]
    assert "write" not in again["out"]


OVF = """<?xml version="1.0"?><Environment xmlns="http://schemas.dmtf.org/ovf/environment/1"
    xmlns:wa="http://schemas.microsoft.com/windowsazure"><wa:ProvisioningSection>
    <wa:LinuxProvisioningConfigurationSet><wa:HostName>from-disc</wa:HostName><wa:UserName>livewire</wa:UserName>
    <wa:UserPassword>correct horse 7</wa:UserPassword>
    <wa:DisableSshPasswordAuthentication>false</wa:DisableSshPasswordAuthentication>
    </wa:LinuxProvisioningConfigurationSet></wa:ProvisioningSection></Environment>"""


def test_without_a_key_login_works_with_the_password_of_the_media(stage: Stage) -> None:
    files = {
        "/media/disc/ovf-env.xml": OVF,
        "/etc/azurelite/azurelite.yaml": "datasource: {media: {device: /media/disc}}\n",
        "/etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\n",
        "/etc/ssh/sshd_config.d/50-hardened.conf": "PasswordAuthentication no\nKbdInteractiveAuthentication no\n",
        "/root/ask": "#!/bin/sh\necho 'correct horse 7'\n",
    }
    enter = (
        SSHD + "chmod 700 /root/ask; SSH_ASKPASS=/root/ask SSH_ASKPASS_REQUIRE=force setsid "
        f"{SSH} -o PubkeyAuthentication=no -o NumberOfPasswordPrompts=1 livewire@127.0.0.1 id -un"
    )
    first, login = stage(
        {**PROVISION, "files": files}, sh(enter), vm={"ssh_keys": [], "disable_password_authentication": False}
    )
    assert first["code"] == 0, first["err"] + first["out"]
    assert (login["code"], login["out"]) == (0, "livewire\n"), login["err"]
    assert "correct horse" not in first["out"] + first["err"]


LINES = [
    # the line, whether azurelite counts on it, what sshd makes of it: a shell's word, that of a forced command, nothing
    ("{key}", True, "shell"),
    ("  {key}  comment", True, "shell"),
    ("no-pty,No-Agent-Forwarding {key}", True, "shell"),
    ('environment="A=\\\\"b, c",no-pty\t{key}', True, "shell"),
    ("{key}\r", True, "shell"),
    ("# {key}", False, ""),
    ("cert-authority {key}", False, ""),
    ("no-such-option {key}", False, ""),
    ('expiry-time="20000101" {key}', False, ""),
    ('from="10.9.9.9" {key}', False, ""),
    ('command="echo forced",restrict {key}', False, "forced"),
    ('command="echo forced" {key}\n{key}', False, "forced"),
    ('from="10.9.9.9" {key}\ncert-authority {key}\nnonsense {key}\n{key}', True, "shell"),
    ("no key\x0c{key}", False, ""),
]


def test_sshd_parses_lines_as_azurelite_does(stage: Stage, key: tuple[str, str]) -> None:
    private, public = key
    script = SSHD + "chmod 600 /root/key; cd /home/livewire/.ssh; i=0\n"
    for line, _, _ in LINES:
        text = shlex.quote(line.format(key=public))
        script += f"printf '%s\\n' {text} > authorized_keys; echo \"=$({KEYED_LOGIN} echo shell)\"\n"
    first, login = stage(
        PROVISION,
        sh(script, root__key=private),
        vm={"ssh_keys": [public], "disable_password_authentication": True},
    )
    assert first["code"] == 0, first["err"]
    assert login["out"].splitlines() == [f"={said}" for _, _, said in LINES], login["err"]
    for line, expected, _ in LINES:
        assert bool(opening(authorized_lines(line.format(key=public)))) is expected, line


def test_sshd_refuses_a_setting_before_it_is_kept(stage: Stage, key: tuple[str, str]) -> None:
    plan = "handlers: [user, ssh_keys, {sshd: {settings: {Nonsense: 1}}}, report_ready]\n"
    first, look = stage(
        {**PROVISION, "files": {"/etc/azurelite/azurelite.yaml": plan, "/etc/ssh/sshd_config": CONFIG}},
        sh("cat /etc/ssh/sshd_config; ls /etc/ssh/sshd_config.d"),
        vm={"ssh_keys": [key[1]], "disable_password_authentication": True},
    )
    steps = {step["name"]: step for step in json.loads(first["out"])["steps"]}
    assert steps["sshd"]["status"] == "failed"
    assert "Bad configuration option: Nonsense" in str(steps["sshd"]["error"])
    assert look["out"].startswith(CONFIG)
    assert "azurelite" not in look["out"]
    assert [report["state"] for report in first["reports"]] == ["Ready"]


def test_the_hosts_key_is_this_vms_own_and_its_fingerprint_is_on_the_console(
    stage: Stage, key: tuple[str, str]
) -> None:
    plan = "handlers: [user, ssh_keys, ssh_host_keys, report_ready]\n"
    ask = SSHD + "ssh-keyscan -t ed25519 127.0.0.1 2>/dev/null | ssh-keygen -l -f - | cut -d' ' -f2"
    old, first, new, again, same = stage(
        sh(
            "rm -f /etc/ssh/ssh_host_*; ssh-keygen -A >/dev/null; "
            "ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key | cut -d' ' -f2"
        ),
        {**PROVISION, "files": {"/etc/azurelite/azurelite.yaml": plan, "/etc/ssh/sshd_config": CONFIG}},
        sh(ask),
        {"argv": [*AZURELITE, "apply", "ssh_host_keys"]},
        sh(ask),
        vm={"ssh_keys": [key[1]], "disable_password_authentication": True},
    )
    assert first["code"] == 0, first["err"]
    assert new["out"].startswith("SHA256:")
    assert new["out"] != old["out"]
    assert "-----BEGIN SSH HOST KEY FINGERPRINTS-----" in first["err"]
    assert f" {new['out'].strip()} " in first["err"]
    assert again["code"] == 0, again["err"]
    assert same["out"] == new["out"]


@pytest.mark.parametrize("uid", ["", "-u 3003"], ids=["next uid", "another uid"])
def test_a_home_that_a_removed_account_left_is_no_obstacle_and_its_keys_open_nothing(
    stage: Stage, key: tuple[str, str], uid: str
) -> None:
    leave = (
        f"useradd -m {uid} livewire; mkdir -m 700 /home/livewire/.ssh; ssh-keygen -q -t ed25519 -N '' -f /root/old; "
        "cp /root/old.pub /home/livewire/.ssh/authorized_keys; chown -R livewire /home/livewire; "
        "userdel livewire; chmod 777 /home/livewire"
    )
    left, first, login, former = stage(
        sh(leave, etc__ssh__sshd_config=CONFIG),
        PROVISION,
        sh(KEYED, root__key=key[0]),
        sh(KEYED_LOGIN.replace("/root/key", "/root/old") + " id -un"),
        vm={"ssh_keys": [key[1]], "disable_password_authentication": True},
    )
    assert left["code"] == 0, left["err"]
    assert first["code"] == 0, first["err"]
    assert (login["code"], login["out"]) == (0, "livewire\n"), login["err"]
    assert former["code"] == 255
    assert "Permission denied" in former["err"]
