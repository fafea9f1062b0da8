"""The archive for a bug report: what is in it, what never is, and where it may be written."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from kit import BASE, VM_ID, Guest

from azurelite import layout
from azurelite.cli import main
from azurelite.cli.redaction import Redaction, names_of
from azurelite.simulator import Scenario, Simulator

CANARY = "canary-9f3b"
TOLD = {
    "password": f"{CANARY}-P4ss",
    "disable_password_authentication": False,
    "custom_data": f"{CANARY}-custom",
    "user_data": f"{CANARY}-user",
    "tags": {"token": f"{CANARY}-tag"},
    "hostname": "web-7",
    "username": "alexandra",
}
SECRET_FILES = {
    "etc/azurelite/conf.d/50-own.yaml": f"write_files: [{{path: /x, content: {CANARY}-content}}]\n",
    "var/log/azurelite/user_data-part-001.log": f"{CANARY}-output of 10.1.2.3\n",
    "home/other/.ssh/authorized_keys": f"ssh-ed25519 {CANARY}-key\n",
    "proc/cmdline": f"quiet secret={CANARY}-word azurelite.debug\n",
    "proc/net/route": "Iface Destination\neth0 00000000\n",
    "run/azurelite/status-full.json": f"{CANARY}-full",
    "var/lib/azurelite/vms/x/ovf-env.xml": f"{CANARY}-ovf",
}


@pytest.fixture
def provisioned(guest: Guest) -> Guest:
    """A guest that was provisioned with secrets everywhere, after some other boots."""
    with Simulator(Scenario(Scenario.default().vm.changed(TOLD))) as fabric:
        guest.on_azure().configure(fabric, handlers=["hostname", "user", "ssh_keys", "report_ready"])
        assert main(["provision", "--debug", "--root", guest.put({"var/log/.keep": ""}).root]) == 0
    for number in range(12):
        guest.put({f"var/lib/azurelite/boots/{number:04}/status.json": f'{{"boot": {number}}}'})
    guest.put({"run/azurelite/timeline.json": f'{{"spans": [], "vm": "{VM_ID}", "by": "Alexandra@web-7.internal"}}'})
    return guest.put({**SECRET_FILES, "etc/shadow": f"{guest.text('etc/shadow')}x:{CANARY}-hash:1::::::\n"})


def collected(guest: Guest, output: Path, *words: str) -> dict[str, str]:
    """The files of the archive, without the leading folder."""
    assert main(["collect-logs", "--root", guest.root, "--output", str(output), *words]) == 0
    with tarfile.open(output) as archive:
        members = archive.getmembers()
        assert all(one.isreg() and one.mode == 0o600 and one.uid == 0 for one in members)
        texts = {one.name.partition("/")[2]: archive.extractfile(one) for one in members}
        return {name: stream.read().decode() for name, stream in texts.items() if stream is not None}


def test_it_has_the_log_the_status_and_the_last_ten_boots(provisioned: Guest, tmp_path: Path, capsys: Any) -> None:
    output = tmp_path / "logs.tar.gz"
    files = collected(provisioned, output)
    assert output.stat().st_mode & 0o777 == 0o600
    boots = [f"var/lib/azurelite/boots/{number:04}/status.json" for number in range(2, 12)]
    run = [f"run/azurelite/{name}.json" for name in ("metadata", "status", "timeline")]
    assert sorted(files) == sorted(["about.json", layout.LOG[1:], "proc/net/route", *boots, *run])
    assert "Azure accepted Ready" in files[layout.LOG[1:]]
    about = json.loads(files["about.json"])
    assert about["kernel_words"] == ["azurelite.debug"]
    assert about["files"][layout.OLDER_LOG] == "it does not exist"
    assert about["configuration"] == ["/etc/azurelite/azurelite.yaml", "/etc/azurelite/conf.d/50-own.yaml"]
    assert json.loads(files["run/azurelite/metadata.json"])["vm_id"] == VM_ID
    assert f"{output}: {len(files)} files" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["--redact"]], ids=str)
def test_no_secret_is_in_it(provisioned: Guest, tmp_path: Path, words: list[str]) -> None:
    everything = "".join(collected(provisioned, tmp_path / "logs.tar.gz", *words).values())
    assert CANARY not in everything
    assert "$6$" not in everything
    assert "ssh-ed25519" not in everything


def test_outputs_are_added_only_on_request(provisioned: Guest, tmp_path: Path) -> None:
    name = "var/log/azurelite/user_data-part-001.log"
    assert name not in collected(provisioned, tmp_path / "a.tar.gz")
    assert collected(provisioned, tmp_path / "b.tar.gz", "--with-output")[name] == SECRET_FILES[name]
    assert "10.1.2.3" not in collected(provisioned, tmp_path / "c.tar.gz", "--with-output", "--redact")[name]


def test_redacted_it_names_nobody(provisioned: Guest, tmp_path: Path) -> None:
    hidden = ("alexandra", "web-7", VM_ID, "8d10da13-8125-4ba9-a717-bf7490507b3d", "000d3a5e7b21", "10.0.0.4")
    plain = "".join(collected(provisioned, tmp_path / "a.tar.gz").values()).lower()
    assert all(word in plain for word in hidden[:3])
    files = collected(provisioned, tmp_path / "b.tar.gz", "--redact")
    assert [word for word in hidden if word in "".join(files.values()).lower()] == []
    assert "proc/net/route" not in files
    assert "NAME-" in files[layout.LOG[1:]]
    assert json.loads(files["run/azurelite/status.json"])


def test_redacted_it_names_nobody_whose_account_is_gone(provisioned: Guest, tmp_path: Path) -> None:
    assert "alexandra" in provisioned.text(layout.LOG)
    provisioned.put({"etc/passwd": BASE["etc/passwd"], "etc/hostname": "localhost\n"})
    row = json.dumps({"format": 2, "kind": "account", "target": "bertram"})
    provisioned.put({layout.MANIFEST: f"{row}\n[]\n\0", layout.LOG: f"{provisioned.text(layout.LOG)}bertram\n"})
    provisioned.path(layout.METADATA).unlink()  # as at the next boot
    text = "".join(collected(provisioned, tmp_path / "a.tar.gz", "--redact").values())
    assert [name for name in ("alexandra", "web-7", "bertram") if name in text] == []


@pytest.mark.parametrize("name", [layout.LOG, layout.STATUS, layout.OUTPUTS])
def test_no_link_is_followed(provisioned: Guest, tmp_path: Path, name: str) -> None:
    provisioned.put({"root/secret/user_data-1.log": f"{CANARY}-linked"})
    place = provisioned.path(name[1:])
    place.rename(tmp_path / "moved")
    place.symlink_to("/root/secret" if name == layout.OUTPUTS else "/root/secret/user_data-1.log")
    files = collected(provisioned, tmp_path / "logs.tar.gz", "--with-output")
    assert f"{CANARY}-linked" not in "".join(files.values())
    told = json.loads(files["about.json"])["files"]
    assert any("link" in note for path, note in told.items() if path.startswith(name))


def test_files_and_the_whole_are_bounded(provisioned: Guest, tmp_path: Path) -> None:
    for number in range(12):
        provisioned.put({f"var/log/azurelite/run-{number:02}.log": "x" * 3_000_000 + "end"})
    files = collected(provisioned, tmp_path / "logs.tar.gz", "--with-output")
    assert sum(map(len, files.values())) < 17 * 1024 * 1024
    assert len(files["var/log/azurelite/run-00.log"]) == 2 * 1024 * 1024
    assert files["var/log/azurelite/run-00.log"].endswith("end")
    assert json.loads(files["about.json"])["files"]["/var/log/azurelite/run-11.log"] == "the archive is full"


def test_a_fifo_and_a_damaged_document_do_no_harm(guest: Guest, tmp_path: Path) -> None:
    guest.put({"run/azurelite/metadata.json": "[" * 100_000, "var/log/.keep": ""})
    os.mkfifo(guest.path(layout.LOG[1:]))
    assert list(collected(guest, tmp_path / "logs.tar.gz", "--redact")) == ["about.json"]


@pytest.mark.parametrize("kind", ["there already", "a link", "no folder", "writable by others", "writable by a group"])
def test_the_output_is_a_new_file_in_a_safe_folder(guest: Guest, tmp_path: Path, kind: str, capsys: Any) -> None:
    folder = tmp_path / "out"
    output = folder / "logs.tar.gz"
    if kind != "no folder":
        folder.mkdir()
        folder.chmod({"writable by others": 0o757, "writable by a group": 0o770}.get(kind, 0o700))
    if kind == "there already":
        output.write_text("kept")
    if kind == "a link":
        output.symlink_to(tmp_path / "elsewhere")
    assert main(["collect-logs", "--root", guest.root, "--output", str(output)]) == 2
    assert f"--output {output}: " in capsys.readouterr().err
    assert not (tmp_path / "elsewhere").exists()
    assert kind != "there already" or output.read_text() == "kept"


def test_a_sticky_folder_is_safe(guest: Guest, tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    assert collected(guest, tmp_path / "logs.tar.gz")


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("Alex@web-1.internal", "NAME-1@NAME-2.internal"),
        ("alexander web-10", "alexander web-10"),
        ("abc._web-1 alex", "abc._NAME-1 NAME-2"),
        ("10.0.0.4 10.0.0.4, 10.0.0.40.", "ADDRESS-1 ADDRESS-1, ADDRESS-2."),
        ("168.63.129.16 169.254.169.254 127.0.0.1 1.2.3", "168.63.129.16 169.254.169.254 127.0.0.1 1.2.3"),
        ("at 22:59:04 fe80::1 ::1 2001:db8::7", "at 22:59:04 ADDRESS-1 ::1 ADDRESS-2"),
        ("2026-11-28T22:59:04.797Z info", "2026-11-28T22:59:04.797Z info"),
        ("00:0d:3a:5e:7b:21 000D3A5E7B21 00-0D-3A-5E-7B-21", "ADDRESS-1 ADDRESS-2 ADDRESS-3"),
        (f"{VM_ID} {VM_ID.upper()}", "ID-1 ID-1"),
        ("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQCu8uZR== me", "ssh-rsa KEY-1 me"),
        ("a.b é", "a.b é"),
    ],
)  # fmt: skip
def test_what_redact_hides(text: str, hidden: str) -> None:
    assert Redaction(["alex", "web-1", "root", ""]).hide(text) == hidden


def test_the_names_come_from_the_accounts_the_host_and_azure() -> None:
    passwd = "root:x:0:0::/:\nalex:x:1000:1000::/:\nnobody:x:65534:1::/:\nbroken\n"
    metadata = {"username": "ed", "tags": {"a": "b"}, "raw": [{"name": "vm", "tagsList": [{"name": "t"}], "x": 1}]}
    assert names_of(passwd, "web.example\n", metadata) == {"alex", "ed", "vm", "web", "web.example"}
    assert names_of("", "", None) == set()
