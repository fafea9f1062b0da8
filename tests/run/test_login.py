"""The login is checked before Ready: a certain refusal is the failure of `ssh_keys`, everything else at most a note."""

from __future__ import annotations

import json
import os
from typing import Any, Optional

import pytest
from kit import BASE, ED25519, VM_ID, FastClock, Guest

from azurelite.api import Azure
from azurelite.outcome import Outcome
from azurelite.run.provision import Options, provision
from azurelite.simulator import Scenario, Simulator

MAIN = "etc/ssh/sshd_config"
ONLY = "AllowGroups remote\n"
LISTED = ["user", "ssh_keys", "report_ready"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another account")


@pytest.fixture
def machine(guest: Guest) -> Guest:
    """The guest with OpenSSH's server, and a group whose members sshd may let in."""
    guest.put({"usr/sbin/sshd": "", "bin/sh": "", "etc/group": BASE["etc/group"] + "remote:x:1800:\n"})
    for program in ("usr/sbin/sshd", "bin/sh"):
        guest.path(program).chmod(0o755)
    return guest.on_azure()


def boot(guest: Guest, fabric: Simulator, *, handlers: Optional[list[Any]] = None, **options: Any) -> Outcome:
    guest.configure(fabric, handlers=LISTED if handlers is None else handlers)
    return provision(Options(root=guest.root, clock=FastClock(), **options))


def vm(**values: Any) -> Simulator:
    said = {"ssh_keys": [ED25519], "username": "alice", "disable_password_authentication": True, **values}
    return Simulator(Scenario.from_dict({"vm": said}), rate_limit=None)


def states(fabric: Simulator) -> list[str]:
    return [report.state for report in fabric.reports]


def notes(outcome: Outcome) -> list[str]:
    return [note for step in outcome.steps for note in step.notes]


# sshd_config -> what the report names
REFUSED = {
    "AllowGroups remote\n": ["line 1 has `AllowGroups remote`", "user: {groups: [remote]}"],
    "# ours\nAllowUsers builder\n": ["line 2 has `AllowUsers builder`", "add alice"],
    "AuthenticationMethods publickey,password\n": ["line 1 has `AuthenticationMethods publickey,password`"],
    "DenyGroups alice\n": ["line 1 has `DenyGroups alice`"],
    "PubkeyAcceptedAlgorithms rsa-sha2-512\n": ["PubkeyAcceptedAlgorithms", "ssh-ed25519"],
    "Match Group ali*\nDenyUsers a?ice\n": ["line 2 has `DenyUsers a?ice`"],
}


@pytest.mark.parametrize("config", REFUSED)
def test_a_refusal_is_the_failure_of_ssh_keys_and_is_reported(machine: Guest, config: str) -> None:
    machine.put({MAIN: config})
    with vm() as fabric:
        outcome = boot(machine, fabric)
    assert (outcome.outcome, outcome.exit_code, states(fabric)) == ("failed", 1, ["NotReady"])
    told = fabric.reports[0].description or ""
    assert "reason=failed to provision ssh keys" in told
    failed = next(step for step in outcome.steps if step.status == "failed")
    assert (failed.name, failed.required) == ("ssh_keys", True)
    assert all(word in str(failed.error) for word in REFUSED[config]), failed.error
    assert str(failed.error).startswith("sshd rejects alice: ")
    assert not machine.path(f"var/lib/azurelite/vms/{VM_ID}/provisioned").exists()


# The three ways in which an image's sshd lets only others in; `sshd` must not turn passwords off meanwhile.
OTHERS = ["AllowGroups remote\n", "AllowUsers builder\n", "AuthenticationMethods publickey,password\n"]


@pytest.mark.parametrize("line", OTHERS)
def test_passwords_are_not_turned_off_for_somebody_who_cannot_log_in(machine: Guest, line: str) -> None:
    machine.put({MAIN: "Include /etc/ssh/sshd_config.d/*.conf\n", "etc/ssh/sshd_config.d/20-local.conf": line})
    with vm() as fabric:
        outcome = boot(machine, fabric, handlers=["hostname", "user", "ssh_keys", "sshd", "report_ready"])
        assert (outcome.outcome, states(fabric)) == ("failed", ["NotReady"])
    assert "/etc/ssh/sshd_config.d/20-local.conf line 1" in (fabric.reports[0].description or "")
    assert os.listdir(machine.path("etc/ssh/sshd_config.d")) == ["20-local.conf"]


def test_the_home_of_a_removed_account_is_no_obstacle(machine: Guest) -> None:
    machine.put({"home/alice/.profile": "", MAIN: ""})
    os.chown(machine.path("home/alice"), 4003, 4003)
    with vm() as fabric:
        assert (boot(machine, fabric).outcome, states(fabric)) == ("provisioned", ["Ready"])
    assert ED25519 in machine.text("home/alice/.ssh/authorized_keys")


def test_a_root_in_preparation_may_be_private(machine: Guest) -> None:
    machine.put({MAIN: ""})
    machine.folder.chmod(0o700)
    with vm() as fabric:
        assert (boot(machine, fabric).outcome, states(fabric)) == ("provisioned", ["Ready"])


def test_the_home_of_another_account_is_refused(machine: Guest) -> None:
    """Unless a step gives it to the new account."""
    machine.put({"home/alice/.profile": "", MAIN: ""})
    machine.put({"etc/passwd": machine.text("etc/passwd") + "old:x:4003:4003::/home/old:/bin/sh\n"})
    os.chown(machine.path("home/alice"), 4003, 4003)
    with vm() as fabric:
        outcome = boot(machine, fabric)
        assert (outcome.outcome, states(fabric)) == ("failed", ["NotReady"])
        assert "/home/alice belongs to old, so sshd rejects the keys of alice" in outcome.reason
        os.chown(machine.path("home/alice"), 1000, 1000)
        assert boot(machine, fabric).outcome == "provisioned"


def test_the_next_boot_asks_again(machine: Guest) -> None:
    machine.put({MAIN: ONLY})
    with vm() as fabric:
        boot(machine, fabric)
        assert boot(machine, fabric).outcome == "failed"
        machine.put({MAIN: "AllowGroups remote alice\n"})
        machine.path("home/alice/.ssh/authorized_keys").unlink()
        outcome = boot(machine, fabric)
        assert (outcome.outcome, states(fabric)) == ("provisioned", ["NotReady", "NotReady", "Ready"])
        assert ED25519 in machine.text("home/alice/.ssh/authorized_keys"), "ssh_keys ran again"
        assert boot(machine, fabric).outcome == "already provisioned"
        assert len(fabric.reports) == 3


def test_a_step_between_ssh_keys_and_report_ready_may_repair_it(machine: Guest) -> None:
    machine.put({MAIN: "Include /etc/ssh/sshd_config.d/*.conf\n" + ONLY})
    handlers = ["user", "ssh_keys", {"sshd": {"settings": {"AllowGroups": "remote alice"}}}, "report_ready"]
    with vm() as fabric:
        outcome = boot(machine, fabric, handlers=handlers)
        assert (outcome.outcome, states(fabric), notes(outcome)) == ("provisioned", ["Ready"], [])


def test_the_failure_is_that_of_the_entry_that_expects_somebody(machine: Guest) -> None:
    machine.put({MAIN: ONLY})
    entries = [{"ssh_keys": {"id": "more", "required": False}}, {"ssh_keys": {"id": "main", "keys": [ED25519]}}]
    with vm() as fabric:
        outcome = boot(machine, fabric, handlers=["user", *entries, "report_ready"])
    assert [(step.name, step.status) for step in outcome.steps][1:3] == [("more", "done"), ("main", "failed")]


def test_a_step_after_ssh_keys_may_spoil_it(machine: Guest) -> None:
    machine.put({MAIN: "Include /etc/ssh/sshd_config.d/*.conf\n"})
    handlers = ["user", "ssh_keys", {"sshd": {"settings": {"AllowUsers": "builder"}}}, "report_ready"]
    with vm() as fabric:
        assert boot(machine, fabric, handlers=handlers).outcome == "failed"
        assert states(fabric) == ["NotReady"]


NOBODY: dict[str, list[Any]] = {
    "not required": [{"user": {"required": False}}, {"ssh_keys": {"required": False}}, "report_ready"],
    "keys not listed": ["user", "report_ready"],
    "keys for other VMs": ["user", {"ssh_keys": {"when": "tags.keys"}}, "report_ready"],
}


@pytest.mark.parametrize("name", NOBODY)
def test_where_nobody_is_expected_the_answer_is_a_note(
    machine: Guest, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    machine.put({MAIN: ONLY})
    with vm() as fabric:
        outcome = boot(machine, fabric, handlers=NOBODY[name])
        assert (outcome.outcome, states(fabric)) == ("provisioned", ["Ready"])
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any(text.startswith("ssh_keys: sshd rejects alice: ") for text in warnings), warnings


DOUBTFUL: dict[str, dict[str, str]] = {
    "only some addresses": {MAIN: "AllowUsers alice@10.*\n"},
    "a Match that cannot be evaluated": {MAIN: "Match Address 10.0.0.0/8\nAllowUsers builder\n"},
    "other sources of groups": {MAIN: ONLY, "etc/nsswitch.conf": "group: files ldap\n"},
    "arguments": {MAIN: "PubkeyAuthentication no\n", "etc/default/ssh": "SSHD_OPTS=-oPubkeyAuthentication=yes\n"},
    "another file": {MAIN: ONLY, "etc/sysconfig/sshd": 'OPTIONS="-f /etc/ssh/other"\n'},
    "a unit's arguments": {
        MAIN: ONLY,
        "etc/systemd/system/ssh.service.d/x.conf": "[Service]\nExecStart=/usr/sbin/sshd -D -o AllowGroups=alice\n",
    },
    "keys by a command": {
        MAIN: "AuthorizedKeysFile none\nAuthorizedKeysCommand /usr/bin/keys\n",
    },
    "another folder": {MAIN: ONLY, "etc/conf.d/sshd": 'SSHD_CONFDIR="/srv/ssh"\n'},
    "two configurations": {MAIN: ONLY, "usr/local/etc/ssh/sshd_config": ""},
    "no server": {MAIN: ONLY, "usr/sbin/sshd": "-"},
    "another server": {MAIN: ONLY, "usr/sbin/dropbear": "+"},
    "no file": {},
    "nologin": {MAIN: "", "etc/nologin": "closed\n"},
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_in_doubt_the_vm_is_ready_with_a_note(machine: Guest, name: str) -> None:
    handlers = ["user", {"ssh_keys": {"path": ".ssh/authorized_keys"}}, "report_ready"]
    for path, text in DOUBTFUL[name].items():
        machine.put({path: text})
        if text in "+-":
            machine.path(path).chmod(0o755 if text == "+" else 0o644)
    with vm() as fabric:
        outcome = boot(machine, fabric, handlers=handlers)
        assert (outcome.outcome, states(fabric)) == ("provisioned", ["Ready"])
    assert len(notes(outcome)) >= 1


def test_the_argument_that_names_the_same_file_is_no_doubt(machine: Guest) -> None:
    machine.put({MAIN: ONLY, "etc/default/ssh": "SSHD_OPTS='-f /etc/ssh/sshd_config -oX11Forwarding=no'\n"})
    with vm() as fabric:
        assert boot(machine, fabric).outcome == "failed"


def test_a_login_that_works_is_not_mentioned(machine: Guest) -> None:
    machine.put({MAIN: "AllowGroups remote alice\nUsePAM yes\n"})
    with vm() as fabric:
        outcome = boot(machine, fabric)
        assert (outcome.outcome, states(fabric), notes(outcome)) == ("provisioned", ["Ready"], [])


def test_a_dry_run_says_it_as_the_real_run_does(machine: Guest) -> None:
    machine.put({MAIN: ONLY})
    with vm() as fabric:
        dry = boot(machine, fabric, dry_run=True)
        real = boot(machine, fabric)
    assert (dry.outcome, dry.reason) == (real.outcome, real.reason)


PLANS = {
    "": "sshd will let alice in, as far as its settings show",
    ONLY: "sshd rejects alice: /etc/ssh/sshd_config line 1 has `AllowGroups remote`",
    "PubkeyAuthentication no\n": "sshd rejects alice: /etc/ssh/sshd_config line 1 has `PubkeyAuthentication no`",
}


@pytest.mark.parametrize("config", PLANS)
def test_the_plan_foretells_it(machine: Guest, config: str) -> None:
    machine.put({MAIN: config})
    with vm() as fabric:
        machine.configure(fabric, handlers=LISTED)
        before = machine.snapshot()
        login = Azure(root=machine.root).plan().login
    assert machine.snapshot() == before
    assert login is not None
    assert login.startswith(PLANS[config])


def test_a_denied_group_is_left_out(machine: Guest) -> None:
    machine.put({MAIN: "DenyGroups admins remote\n"})
    handlers = [{"user": {"groups": ["wheel", "remote"]}}, "ssh_keys", "report_ready"]
    with vm() as fabric:
        outcome = boot(machine, fabric, handlers=handlers)
        assert (outcome.outcome, states(fabric)) == ("provisioned", ["Ready"])
    (note,) = notes(outcome)
    assert note.startswith("alice is not added to remote, whose members sshd rejects: /etc/ssh/sshd_config line 1 has")
    assert "wheel:x:10:alice\n" in machine.text("etc/group")
    assert "remote:x:1800:\n" in machine.text("etc/group")


@pytest.mark.parametrize("group", ["wheel", "remote"])
def test_an_account_of_users_that_cannot_be_entered_is_named(machine: Guest, group: str) -> None:
    machine.put({MAIN: "AllowGroups remote alice\n"})
    account = {"name": "bob", "groups": [group], "ssh_authorized_keys": [ED25519]}
    handlers = ["user", "ssh_keys", {"users": {"accounts": [account, {"name": "nokeys"}]}}, "report_ready"]
    with vm() as fabric:
        outcome = boot(machine, fabric, handlers=handlers)
        assert (outcome.outcome, states(fabric)) == ("provisioned", ["Ready"])
    said = [note for note in notes(outcome) if "bob" in note]
    assert len(notes(outcome)) == len(said) == (group == "wheel")


def test_the_json_of_the_plan_has_it(machine: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    from azurelite.cli import main

    machine.put({MAIN: ONLY})
    with vm() as fabric:
        machine.configure(fabric, handlers=LISTED)
        main(["plan", "--root", machine.root, "--json"])
        as_json = json.loads(capsys.readouterr().out)
        main(["plan", "--root", machine.root])
    assert as_json["login"].startswith("sshd rejects alice: ")
    assert f"login: {as_json['login']}\n" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["a link to the file", "a link to the folder", "a file of all users"])
def test_a_key_that_the_image_has_is_enough_where_none_can_be_written(machine: Guest, kind: str) -> None:
    machine.put({MAIN: ""})
    with vm() as fabric:
        assert boot(machine, fabric, handlers=["user", "report_ready"]).outcome == "provisioned"
    home = machine.path("home/alice")
    owner = home.stat().st_uid
    if kind == "a file of all users":
        machine.put({MAIN: "AuthorizedKeysFile /etc/ssh/all\n", "etc/ssh/all": f"{ED25519}\n"})
    else:
        file = "home/alice/ssh/authorized_keys" if "folder" in kind else "home/alice/.ssh/z"
        machine.put({file: f"{ED25519}\n"})
        if "folder" in kind:
            (home / ".ssh").symlink_to("ssh")
        else:
            (home / ".ssh/authorized_keys").symlink_to("z")
        for path in [*home.rglob("*")]:
            os.chown(path, owner, owner, follow_symlinks=False)
    with vm() as fabric:
        outcome = boot(machine, fabric, force=True)
        assert (outcome.outcome, states(fabric)) == ("provisioned", ["Ready"]), outcome.reason
    assert any("can log in otherwise" in note or "able to log in otherwise" in note for note in notes(outcome))
