"""`generalize` in scratch roots: what goes, what stays, and what the next VM finds."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Optional

import pytest
from kit import BASE, ED25519, SWAPPED_VM_ID, VM_ID, FastClock, Guest

from azurelite.capture.generalize import HOMES, OPTIONS, Result, generalize
from azurelite.cli import main
from azurelite.run.provision import Options, provision
from azurelite.simulator import Scenario, Simulator
from azurelite.system.machine import System

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: homes belong to their users")

HANDLERS = ["hostname", "user", "ssh_keys", "sshd", "report_ready"]
IMAGE = {
    **BASE,
    "etc/hosts": "127.0.0.1 localhost\n10.0.0.9 database\n",
    "etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\nX11Forwarding no\n",
    "etc/passwd-": BASE["etc/passwd"] + "alice:x:1000:1000::/home/alice:/bin/sh\n",
    "bin/sh": "",
    "usr/sbin/sshd": "",
}
KEYS = {
    "alice": ED25519,
    "bob": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA8WPDFAsL5ZpnLbwbYOOLm0WlrJ1H5nBNwXmlSlZAXl",
}
EVERYTHING = {*OPTIONS, HOMES}
MANIFEST = "var/lib/azurelite/manifest.jsonl"
OTHER_VM = "11111111-2222-4333-8444-555555555555"


@pytest.fixture
def image(guest: Guest) -> Guest:
    guest.put(IMAGE)
    for program in ("bin/sh", "usr/sbin/sshd"):
        guest.path(program).chmod(0o755)
    return guest


def boot(guest: Guest, owner: str, vm_id: str = VM_ID, handlers: Optional[list[Any]] = None, **vm: Any) -> None:
    scenario = Scenario.from_dict(
        {"vm": {"vm_id": vm_id, "username": owner, "hostname": f"{owner}-vm", "ssh_keys": [KEYS[owner]], **vm}}
    )
    with Simulator(scenario, rate_limit=None) as fabric:
        guest.set_firmware(vm_id).configure(fabric, handlers=handlers or HANDLERS)
        outcome = provision(Options(root=guest.root, clock=FastClock()))
        assert outcome.outcome == "provisioned", outcome.reason
        assert [report.state for report in fabric.reports] == ["Ready"]
    guest.put({"etc/ssh/ssh_host_ed25519_key": owner})


def act(guest: Guest, *options: str) -> Result:
    return generalize(System(guest.root, clock=FastClock()), options=options, act=True)


def stays(result: Result) -> list[str]:
    return [f"{item.what}: {item.why}" for item in result.items if item.state != "done"]


def traces_of(guest: Guest, *words: str) -> list[str]:
    """The files below the root whose name or content has one of the words."""
    found = []
    for name, (_, _, _, content) in guest.snapshot().items():
        if any(word in name or word.encode() in content for word in words):
            found.append(name)
    return [name for name in found if not name.startswith(("/sys", "/etc/azurelite"))]


def people(guest: Guest) -> list[str]:
    rows = (line.split(":") for line in guest.text("etc/passwd").splitlines())
    return [row[0] for row in rows if 1000 <= int(row[2]) < 60000]


@pytest.mark.parametrize("tool", ["sudo", "doas", "doas.d"])
def test_an_image_passes_nothing_of_its_first_owner_on(image: Guest, tool: str) -> None:
    if tool != "sudo":
        image.path("etc/sudoers.d/README").unlink()
        image.path("etc/sudoers.d").rmdir()
        image.put({"etc/doas.d/.keep" if tool == "doas.d" else "etc/doas.conf": "permit :wheel\n"})
    before = image.snapshot(without=("/etc/azurelite", "/sys", "/run"))
    boot(image, "alice")
    assert people(image) == ["alice"]
    assert len(traces_of(image, "alice")) > 4
    result = act(image, *EVERYTHING)
    assert (stays(result), result.exit_code) == ([], 0)
    assert traces_of(image, "alice", KEYS["alice"].split()[1]) == []
    after = image.snapshot(without=("/etc/azurelite", "/sys", "/run"))
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed <= {
        "/etc/.pwd.lock",
        "/etc/passwd-",
        "/var/lib/hyperv/.kvp_pool_1",
        "/etc/ssh/sshd_config.d",
        "/var/lib/azurelite",
    }
    boot(image, "bob", OTHER_VM)
    assert people(image) == ["bob"]
    assert traces_of(image, "alice", KEYS["alice"].split()[1]) == []


@pytest.mark.parametrize("owner", ["alice", "bob"])
def test_a_home_that_stays_lets_nobody_in(image: Guest, owner: str) -> None:
    boot(image, "alice")
    image.put({"home/alice/notes": "mine"})
    result = act(image, *OPTIONS)
    assert result.exit_code == 1
    assert stays(result) == ["remove /home/alice, the home of alice: removed by --delete-homes"]
    home = image.path("home/alice").stat()
    assert (home.st_uid, home.st_mode & 0o777) == (0, 0o700)
    assert not image.path("home/alice/.ssh/authorized_keys").exists()
    assert image.path("home/alice/.ssh/authorized_keys.former").exists()
    boot(image, owner, OTHER_VM)
    assert people(image) == [owner]
    assert image.path(f"home/{owner}").stat().st_uid == 1000
    assert image.text(f"home/{owner}/.ssh/authorized_keys") == f"{KEYS[owner]}\n"


def test_a_second_call_finishes_the_first(image: Guest) -> None:
    boot(image, "alice")
    assert act(image, *OPTIONS).exit_code == 1
    assert act(image, *EVERYTHING).exit_code == 0
    assert not image.path("home/alice").exists()
    again = act(image, *EVERYTHING)
    assert (again.items, again.provisioned, again.exit_code) == ((), False, 0)


def test_a_list_changes_nothing(image: Guest) -> None:
    boot(image, "alice")
    before = image.snapshot()
    result = generalize(System(image.root), options=EVERYTHING, act=False)
    assert image.snapshot() == before
    assert result.exit_code == 0
    assert {item.state for item in result.items} == {"planned"}


def test_foreign_lines_stay(image: Guest) -> None:
    boot(image, "alice")
    image.put(
        {
            "etc/hosts": image.text("etc/hosts") + "10.0.0.8 cache\n",
            "etc/sudoers.d/90-azurelite": image.text("etc/sudoers.d/90-azurelite") + "carol ALL=(ALL) ALL\n",
            "etc/ssh/sshd_config.d/10-azurelite.conf": image.text("etc/ssh/sshd_config.d/10-azurelite.conf")
            + "MaxAuthTries 3\n",
        }
    )
    act(image, *EVERYTHING)
    assert image.text("etc/hosts") == IMAGE["etc/hosts"] + "10.0.0.8 cache\n"
    assert image.text("etc/sudoers.d/90-azurelite") == "# written by azurelite\ncarol ALL=(ALL) ALL\n"
    assert image.text("etc/ssh/sshd_config.d/10-azurelite.conf") == "MaxAuthTries 3\n"


ADOPTED = "the home of alice: nothing says that azurelite made it"
EARLIER = "it existed before azurelite"
CHANGED = "its number or its home has changed since azurelite made it"


@pytest.mark.parametrize(
    ("passwd", "why"),
    [
        ("alice:x:1001:1000::/home/alice:/bin/sh", CHANGED),
        ("alice:x:1000:1000::/home/other:/bin/sh", CHANGED),
        ("alice:x:999:1000::/home/alice:/bin/sh", None),
        ("alice:x:65534:1000::/home/alice:/bin/sh", None),
        ("alice:x:0:0::/root:/bin/sh", None),
    ],
)
def test_an_account_that_changed_is_not_azurelites_own(image: Guest, passwd: str, why: Optional[str]) -> None:
    """An account of the system is never removed, and not even named."""
    boot(image, "alice")
    image.put({"etc/passwd": BASE["etc/passwd"] + passwd + "\n"})
    result = act(image, HOMES)
    assert passwd in image.text("etc/passwd")
    assert image.path("home/alice").is_dir()
    named = [item for item in result.items if item.what.startswith("remove account")]
    assert [item.state for item in named] == ([] if why is None else ["kept"])
    assert why is None or (why in named[0].what and named[0].why == "removed by --adopted")


def test_an_adopted_account_stays_without_the_lines_that_azurelite_added(image: Guest) -> None:
    image.put(
        {
            "etc/passwd": BASE["etc/passwd"] + "alice:x:1500:1500::/home/alice:/bin/sh\n",
            "etc/group": BASE["etc/group"] + "alice:x:1500:\n",
            "home/alice/.ssh/authorized_keys": "ssh-ed25519 OWN old\n",
        }
    )
    for path in (image.path("home/alice"), *image.path("home/alice").rglob("*")):
        os.chown(path, 1500, 1500)
        path.chmod(0o700 if path.is_dir() else 0o600)
    boot(image, "alice")
    result = act(image, *(set(OPTIONS) - {"adopted"}), HOMES)
    assert stays(result) == [
        f"remove account alice (uid 1500: {EARLIER}), its rules for sudo and doas: removed by --adopted"
    ]
    assert image.text("home/alice/.ssh/authorized_keys") == "ssh-ed25519 OWN old\n"
    assert image.path("home/alice/.ssh/authorized_keys").stat().st_uid == 1500
    assert not image.path("etc/sudoers.d/90-azurelite").exists()
    result = act(image, *EVERYTHING)
    assert "alice" not in image.text("etc/passwd")
    assert any(ADOPTED in line for line in stays(result))
    assert image.path("home/alice").stat().st_uid == 0


def row(kind: str, target: str, detail: str = "", facts: Optional[dict[str, Any]] = None) -> str:
    return json.dumps({"vm_id": VM_ID, "kind": kind, "target": target, "detail": detail, **(facts or {})})


MADE = {"format": 2, "step": "user", "made": True, "uid": 1000, "gid": 1000, "home": "/home/alice", "home_made": True}
ALICE = BASE["etc/passwd"] + "alice:x:1000:1000::/home/alice:/bin/sh\n"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row("user", "alice", "create, home /home/alice")], "did not note whether azurelite made it"),
        ([row("account", "alice", facts={**MADE, "format": 3})], "line 1 cannot be read"),
        ([row("account", "alice", facts={**MADE, "uid": "1000"})], "line 1 cannot be read"),
        ([row("account", "alice", facts={**MADE, "made": False})], EARLIER),
        ([row("account", "alice", facts={**MADE, "home": "/"})], CHANGED),
        ([row("account", "alice", facts=MADE)[:40]], "line 1 cannot be read"),
        (["[" * 5000], "line 1 cannot be read"),
        (["[]", "null", "\x00\x00"], "line 1, 2, 3 cannot be read"),
        ([], "it has no rows"),
    ],
)
def test_what_is_not_proven_stays(image: Guest, rows: list[str], said: str) -> None:
    image.put({MANIFEST: "".join(f"{line}\n" for line in rows), "etc/passwd": ALICE, "home/alice/x": ""})
    image.put({f"var/lib/azurelite/vms/{VM_ID}/provisioned": ""})
    result = act(image, HOMES)
    assert result.exit_code == 1
    assert said in "\n".join([*stays(result), *(item.what for item in result.items)])
    assert image.path(MANIFEST).exists()
    assert "alice" in image.text("etc/passwd")
    assert image.path("home/alice/x").exists()
    assert not image.path(f"var/lib/azurelite/vms/{VM_ID}").exists()
    assert act(image, HOMES).exit_code == 1
    assert image.path(MANIFEST).exists()


def test_a_manifest_that_is_missing_is_named(image: Guest) -> None:
    image.put({f"var/lib/azurelite/vms/{VM_ID}/provisioned": "", "etc/passwd": ALICE})
    result = act(image, *EVERYTHING)
    assert result.exit_code == 1
    assert "it is missing, so nothing proves" in stays(result)[0]
    assert "alice" in image.text("etc/passwd")


def test_what_an_older_release_did_goes_when_it_is_asked_for(image: Guest) -> None:
    rows = [row("user", "alice", "create, home /home/alice"), row("write", "/etc/hosts", "0644")]
    image.put({MANIFEST: "".join(f"{line}\n" for line in rows), "etc/passwd": ALICE, "home/alice/x": ""})
    image.put({"etc/sudoers.d/90-azurelite": '# written by azurelite\n"alice" ALL=(ALL:ALL) NOPASSWD: ALL\n'})
    image.put({"etc/hostname": "web-1\n", "etc/hosts": "127.0.0.1 localhost\n127.0.1.1\tweb-1\n"})
    result = act(image, *EVERYTHING)
    assert any("an older release" in note for note in result.notes)
    assert "alice" not in image.text("etc/passwd")
    assert image.text("etc/hosts") == "127.0.0.1 localhost\n"
    assert not image.path("etc/sudoers.d/90-azurelite").exists()
    assert image.path("home/alice/x").exists()  # nothing says that azurelite made this home


def shared(guest: Guest) -> None:
    guest.put({"etc/passwd": guest.text("etc/passwd") + "carol:x:1800:1800::/home/alice/carol:/bin/sh\n"})


def given_away(guest: Guest) -> None:
    os.chown(guest.path("home/alice"), 1234, 1234)


def a_link(guest: Guest) -> None:
    os.rename(guest.path("home/alice"), guest.path("srv"))
    guest.path("home/alice").symlink_to("/srv")


@pytest.mark.parametrize("what", [shared, given_away, a_link])
def test_a_home_that_may_be_another_ones_is_not_deleted(image: Guest, what: Any) -> None:
    boot(image, "alice")
    image.put({"home/alice/notes": "kept"})
    what(image)
    act(image, *EVERYTHING)
    assert "alice:" not in image.text("etc/passwd")
    assert image.path("srv/notes" if what is a_link else "home/alice/notes").exists()


def test_a_planted_link_leads_nowhere(image: Guest, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "file").write_text("kept")
    boot(image, "alice")
    image.put({"srv/data/file": "kept", "var/log/messages": "words"})
    for place in ("home/alice/dir", "var/log/dir", "var/lib/waagent", "var/cache/apt/archives", "var/lib/azurelite/x"):
        image.path(place).parent.mkdir(parents=True, exist_ok=True)
        image.path(place).symlink_to(outside if "cache" not in place else image.path("nowhere"))
    image.path("var/log/link").symlink_to("/srv/data/file")
    os.link(image.path("srv/data/file"), image.path("var/log/second-name"))
    act(image, *EVERYTHING)
    assert (outside / "file").read_text() == "kept"
    assert image.text("srv/data/file") == "kept"
    assert not image.path("var/lib/waagent").is_symlink()
    assert image.text("var/log/messages") == ""


@pytest.mark.spawns
def test_a_step_that_fails_does_not_stop_the_others(image: Guest) -> None:
    boot(image, "alice")
    child = os.fork()
    if child == 0:  # another program holds the account files
        descriptor = os.open(image.path("etc/.pwd.lock"), os.O_RDWR)
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
        image.put({"tmp/locked": ""})
        os.read(0, 0)
        import signal

        signal.pause()
    while not image.path("tmp/locked").exists():
        os.sched_yield()
    try:
        result = act(image, *EVERYTHING)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert result.exit_code == 1
    failed = [item for item in result.items if item.state == "failed"]
    assert "another program holds the lock file" in failed[0].why
    assert "alice" not in image.text("etc/hosts")
    assert image.path(MANIFEST).exists()
    assert act(image, *EVERYTHING).exit_code == 0
    assert traces_of(image, "alice") == []


@pytest.mark.parametrize(
    ("change", "left"),
    [("", []), ("changed", ["remove /etc/owner: somebody has changed it"])],
)
def test_files_of_the_owner_go_when_asked_for_and_unchanged(image: Guest, change: str, left: list[str]) -> None:
    user_data = "#cloud-config\nruncmd: []\nwrite_files:\n- {path: /etc/from-user-data, content: secret}\n"
    tags: Any = {"tags": {"path": "/etc/owner"}}
    boot(image, "alice", handlers=[*HANDLERS[:-1], tags, "user_data", "report_ready"], user_data=user_data)
    assert image.path("etc/from-user-data").exists()
    if change:
        image.put({"etc/owner": change})
    first = act(image, *(set(OPTIONS) - {"files"}), HOMES)
    assert any("/etc/from-user-data: removed by --files" in line for line in stays(first))
    result = act(image, *EVERYTHING)
    assert not image.path("etc/from-user-data").exists()
    assert [line.partition(" since")[0] for line in stays(result) if "/etc/owner" in line] == left
    assert image.path("etc/owner").exists() == bool(change)


def test_the_manifest_has_no_secret_not_even_its_digest(image: Guest) -> None:
    user_data = f"#cloud-config\nwrite_files:\n- {{path: /etc/pin, content: '1234', permissions: '0644'}}\n#{'-' * 9}\n"
    boot(image, "alice", handlers=[*HANDLERS, "user_data"], user_data=user_data, password="canary-Pa55word")
    assert image.text("etc/pin") == "1234"
    manifest = image.text(MANIFEST)
    assert "/etc/pin" in manifest
    hashes = [line.split(":")[1] for line in image.text("etc/shadow").splitlines() if line.startswith("alice:")]
    secrets = ["canary-Pa55word", *hashes, *(hashlib.sha256(word).hexdigest() for word in (b"1234", b"1234\n"))]
    assert [secret for secret in secrets if secret in manifest] == []


class TestVerb:
    """`azurelite generalize`."""

    def test_a_machine_that_was_never_provisioned(self, image: Guest, capsys: pytest.CaptureFixture[str]) -> None:
        for options in ([], ["--yes"], ["--yes", "--all", f"--{HOMES}"]):
            assert main(["generalize", "--root", image.root, *options]) == 0
            assert "has not provisioned a VM on this disk" in capsys.readouterr().out

    def test_it_lists_then_acts(self, image: Guest, capsys: pytest.CaptureFixture[str]) -> None:
        boot(image, "alice")
        assert main(["generalize", "--root", image.root]) == 0
        said = capsys.readouterr().out
        assert "would remove account alice (uid 1000)" in said
        assert "stays: SSH host keys:" in said
        assert "(removed by --host-keys)" in said
        assert main(["generalize", "--root", image.root, "--yes", "--json"]) == 1
        document = json.loads(capsys.readouterr().out)
        states = {item["option"]: item["state"] for item in document["items"]}
        assert states == {None: "done", "--host-keys": "kept", f"--{HOMES}": "kept"}
        assert main(["generalize", "--root", image.root, "--yes", "--all", f"--{HOMES}"]) == 0
        assert "done: switch this VM off" in capsys.readouterr().out

    def test_a_user_other_than_root_cannot_act(self, capsys: pytest.CaptureFixture[str]) -> None:
        os.seteuid(12345)
        try:
            assert main(["generalize", "--root", "/usr", "--yes"]) == 2
        finally:
            os.seteuid(0)
        assert "--yes needs root: use sudo" in capsys.readouterr().err

    def test_a_root_that_is_none(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["generalize", "--root", str(tmp_path / "none")]) == 2
        assert "not a folder" in capsys.readouterr().err


AGENTS = {
    "etc/cloud/cloud.cfg": "users: [default]\n",
    "var/lib/cloud/instance/user-data.txt": "#cloud-config for alice\n",
    "var/log/cloud-init.log": "alice\n",
    "var/lib/waagent/ovf-env.xml": "<UserName>alice</UserName>",
    "var/log/waagent.log": "alice\n",
    "etc/sudoers.d/waagent": "alice ALL=(ALL) NOPASSWD: ALL\n",
    "etc/inittab": "id:3:initdefault:\n",
    "root/.bash_history": "useradd alice\n",
    "var/lib/dhcp/dhclient.leases": 'option host-name "alice-vm";\n',
}


def test_the_whole_path_from_another_agent_to_the_next_owner(image: Guest) -> None:
    """As docs/capture.md says it: switch the agent off, install, provision, generalize, capture, a new VM."""
    image.put({**AGENTS, "etc/cloud/cloud-init.disabled": "", "usr/bin/azurelite": "", "etc/rc.conf": ""})
    image.path("usr/bin/azurelite").chmod(0o755)
    assert main(["service", "install", "--root", image.root, "--init", "sysvinit"]) == 0
    user: Any = {"user": {"groups": ["ops"], "create_groups": True}}
    boot(image, "alice", handlers=[user, *(name for name in HANDLERS if name != "user")])
    assert main(["generalize", "--root", image.root, "--yes", "--all", f"--{HOMES}"]) == 0
    assert traces_of(image, "alice", KEYS["alice"].split()[1]) == []
    assert "ops:" not in image.text("etc/group")
    assert image.path("etc/cloud/cloud-init.disabled").exists()
    assert image.path("etc/init.d/azurelite").exists()
    boot(image, "bob", OTHER_VM)
    assert people(image) == ["bob"]
    assert [line for line in image.text("etc/sudoers.d/90-azurelite").splitlines() if line[0] != "#"] == [
        '"bob" ALL=(ALL:ALL) NOPASSWD: ALL'
    ]


def test_rows_of_each_vm_are_undone(image: Guest) -> None:
    boot(image, "alice")
    boot(image, "bob", SWAPPED_VM_ID.replace("c", "d"))
    assert people(image) == ["alice", "bob"]
    assert act(image, *EVERYTHING).exit_code == 0
    assert people(image) == []
    assert traces_of(image, "alice", "bob") == []


@pytest.mark.parametrize(
    "row",
    [
        {"kind": "write", "target": "/a\0b"},
        {"kind": "write", "target": "/etc/../../outside"},
        {"kind": "write", "target": "/etc/x\ud800"},
        {"kind": "account", "target": "../etc", "home": "/home/x", "uid": 1000},
        {"kind": "account", "target": "x", "home": "home/x", "uid": 1000},
        {"kind": "account", "target": "x", "home": "/home/\0", "uid": 1000},
    ],
    ids=str,
)
def test_a_row_that_azurelite_cannot_have_written_is_damage(
    tmp_path: Path, row: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    guest = Guest(tmp_path / "root").put(IMAGE)
    guest.put({MANIFEST: json.dumps({"format": 2, "step": "", "detail": "", "made": True, **row}) + "\n"})
    (tmp_path / "outside").write_text("kept\n")
    assert main(["generalize", "--root", guest.root, "--yes", "--all", f"--{HOMES}"]) == 1
    assert "line 1 cannot be read" in capsys.readouterr().out
    assert (tmp_path / "outside").exists()
    assert guest.path(MANIFEST).exists()


def test_a_name_from_user_data_is_printed_without_what_a_terminal_obeys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"kind": "write", "target": "/etc/a\x1b[2Jb", "step": "write_files", "detail": "0644", "made": True}
    guest = Guest(tmp_path / "root").put({**IMAGE, row["target"]: ""})  # type: ignore[dict-item]
    guest.put({MANIFEST: json.dumps({"format": 2, **row}) + "\n"})
    main(["generalize", "--root", guest.root])
    text = capsys.readouterr().out
    assert r"/etc/a\x1b[2Jb" in text
    assert "\x1b" not in text
