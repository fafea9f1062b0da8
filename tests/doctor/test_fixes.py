"""`doctor --fix` corrects what loses nothing, and `--undo` brings back what was there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from doctorroots import azure_init, cloud_init, fit, replaced, waagent
from kit import Guest

from azurelite.cli import main
from azurelite.doctor.fixes import RECORD

MACHINE_ID = "0123456789abcdef0123456789abcdef\n"


@pytest.fixture
def busy(tmp_path: Path) -> Guest:
    """A root with three other agents and a machine id."""
    guest = fit(tmp_path / "root")
    for act in (cloud_init, waagent, azure_init):
        act(guest)
    guest.put({"etc/machine-id": MACHINE_ID, "var/lib/dbus/machine-id": MACHINE_ID})
    guest.path("etc/machine-id").chmod(0o444)
    return guest


def doctor(guest: Guest, *words: str) -> int:
    return main(["doctor", "--root", guest.root, *words])


def test_fix_makes_the_image_fit_and_undo_brings_all_back(busy: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    before = busy.snapshot()
    assert doctor(busy) == 4
    assert doctor(busy, "--fix") == 0
    text = capsys.readouterr().out
    assert "would write /etc/cloud/cloud-init.disabled" in text
    assert "Provisioning.Agent=disabled\n" in busy.text("etc/waagent.conf")
    assert busy.text("etc/machine-id") == ""
    assert busy.path("etc/systemd/system/multi-user.target.wants/waagent.service").is_symlink()  # it keeps running
    assert busy.path("var/lib/dbus/machine-id").is_symlink()
    assert busy.mode(RECORD) == 0o600
    assert doctor(busy, "--fix") == 0
    assert "nothing to fix" in capsys.readouterr().out
    assert doctor(busy, "--undo") == 0
    after = busy.snapshot()
    assert [path for path in before if after.get(path) != before[path]] == []
    new = {path for path in after if path not in before}
    assert new <= {"/etc/cloud", "/var/lib/azurelite"}, new
    assert doctor(busy, "--undo") == 0
    assert "nothing to undo" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["--fix", "--undo"])
def test_a_dry_run_changes_nothing(busy: Guest, word: str) -> None:
    if word == "--undo":
        doctor(busy, "--fix")
    before = busy.snapshot()
    doctor(busy, word, "--dry-run")
    assert busy.snapshot() == before


def test_undo_keeps_what_was_changed_since(busy: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    doctor(busy, "--fix")
    replaced(busy, "etc/waagent.conf", "Format=n", "Format=y")
    capsys.readouterr()
    assert doctor(busy, "--undo", "--json") == 0
    assert "keep /etc/waagent.conf (it was changed since)" in json.loads(capsys.readouterr().out)["changes"]
    assert "Format=y" in busy.text("etc/waagent.conf")
    assert busy.text("etc/machine-id") == MACHINE_ID


def test_no_agent_is_switched_off_without_azurelite(busy: Guest) -> None:
    busy.path("etc/systemd/system/multi-user.target.wants/azurelite.service").unlink()
    doctor(busy, "--fix")
    assert not busy.path("etc/cloud/cloud-init.disabled").exists()
    assert "Agent=auto" in busy.text("etc/waagent.conf")


@pytest.mark.parametrize(
    "record",
    [
        "{",
        '{"format": 2, "files": []}',
        '{"format": 1, "files": [1]}',
        '{"format": 1, "files": [{"path": "/root/x", "before": {"kind": "absent"}}]}',
    ],
)
def test_a_damaged_record_is_named_and_kept(busy: Guest, record: str, capsys: pytest.CaptureFixture[str]) -> None:
    busy.put({RECORD: record})
    assert doctor(busy, "--undo") == 1
    assert f"{RECORD} is damaged" in capsys.readouterr().err
    assert busy.text(RECORD) == record


@pytest.mark.parametrize("path", ["etc/machine-id", "etc/waagent.conf", "etc/cloud/cloud-init.disabled"])
@pytest.mark.parametrize("words", [("--fix",), ("--fix", "--dry-run")])
def test_a_link_in_the_image_leads_a_fix_to_no_other_file(
    busy: Guest, path: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    busy.put({"etc/target": MACHINE_ID})
    busy.path(path).unlink(missing_ok=True)
    busy.path("etc/cloud").mkdir(exist_ok=True)
    busy.path(path).symlink_to("/etc/target" if "disabled" not in path else "/etc/absent")
    doctor(busy, *words)
    assert "Traceback" not in capsys.readouterr().err
    assert busy.text("etc/target") == MACHINE_ID
    assert not busy.path("etc/absent").exists()
