"""What a run leaves for people: its status at each moment, details, timeline, and what later boots read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, Optional

import pytest
from kit import ED25519, VM_ID, FastClock, Guest

from azurelite import Azure, Event
from azurelite.cli import main
from azurelite.errors import ConfigError
from azurelite.outcome import Outcome
from azurelite.simulator import Fault, Scenario, Simulator
from azurelite.state import records
from azurelite.state.quick import last_failure
from azurelite.state.reading import current
from azurelite.state.status import NEVER_RAN, UNFINISHED, blank
from azurelite.state.timeline import document as document_of
from azurelite.state.timeline import span
from azurelite.system.machine import System
from azurelite.system.root import Root

STATUS, FULL, TIMELINE = (f"run/azurelite/{name}.json" for name in ("status", "status-full", "timeline"))
BOOTS = "var/lib/azurelite/boots"
BOOT_ID = "proc/sys/kernel/random/boot_id"
KEYS = set(blank("done", boot_id=None, updated="", pid=1))
STEP_KEYS = {"name", "status", "required", "started", "seconds", "changes", "reason", "error", "remedy"}
CANARY = "canary-5f2a"


def scenario(*faults: Fault, **vm: Any) -> Simulator:
    said = Scenario.from_dict({"vm": {"ssh_keys": [ED25519], **vm}})
    return Simulator(Scenario(said.vm, faults), rate_limit=None)


def run(guest: Guest, on_event: Any = None, **options: Any) -> Outcome:
    with Azure(root=guest.root, clock=FastClock(), on_event=on_event) as azure:
        return azure.provision(**options)


def document(guest: Guest, path: str = STATUS) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(guest.text(path))
    return found


def boot(guest: Guest, number: int) -> Guest:
    """The next boot of the guest: another id of the kernel, and an empty /run."""
    for name in os.listdir(guest.path("run/azurelite")) if guest.path("run/azurelite").exists() else ():
        guest.path(f"run/azurelite/{name}").unlink()
    return guest.put({BOOT_ID: f"00000000-0000-4000-8000-{number:012d}\n"})


def test_the_status_is_written_at_each_moment(guest: Guest) -> None:
    seen: list[tuple[str, Optional[str]]] = []

    def look(event: Event) -> None:
        if event.kind in ("step_begins", "waiting"):
            found = document(guest)
            assert (set(found), found["pid"]) == (KEYS, os.getpid())
            seen.append((found["state"], found["step"]))

    with scenario(Fault(endpoint="imds", status=503, requests="1-2")) as azure:
        run(guest.on_azure().configure(azure, handlers=["hostname", "user", "report_ready"]), look)
    assert list(dict.fromkeys(seen)) == [
        ("waiting", None),
        ("running", "hostname"),
        ("running", "user"),
        ("running", "report_ready"),
    ]
    done = document(guest)
    assert (done["state"], done["step"], done["outcome"]) == ("done", None, "provisioned")
    assert [step["name"] for step in done["steps"]] == ["hostname", "user", "report_ready"]
    assert all(set(step) == STEP_KEYS for step in done["steps"])
    assert (guest.mode(STATUS), guest.mode(FULL), guest.mode(TIMELINE)) == (0o644, 0o600, 0o644)
    assert (set(done), done["vm_id"], done["requests"]) == (KEYS, VM_ID, 5)


ENDS: dict[str, tuple[dict[str, str], dict[str, Any], tuple[Fault, ...], tuple[str, Optional[str]]]] = {
    "done": ({}, {}, (), ("done", None)),
    "disabled": ({"etc/azurelite/disabled": ""}, {}, (), ("disabled", None)),
    "failed": ({"etc/passwd/folder": ""}, {"handlers": ["user", "report_ready"]}, (), ("failed", "user")),
    "degraded": ({"etc/hostname/folder": ""}, {"handlers": ["hostname", "report_ready"]}, (), ("degraded", "hostname")),
    "unreachable": (
        {},
        {"handlers": ["report_ready"]},
        (Fault(endpoint="health", status=500),),
        ("unreachable", "report_ready"),
    ),
    "wrong": ({}, {"handlers": ["hostnane"]}, (), ("failed", None)),
}


@pytest.mark.parametrize("name", ENDS)
def test_every_end_is_written(name: str, guest: Guest) -> None:
    files, sections, faults, (state, step) = ENDS[name]
    for path in files:
        guest.path(path.removesuffix("/folder")).unlink(missing_ok=True)
    with scenario(*faults) as azure:
        guest.on_azure().configure(azure, **sections).put(files)
        try:
            run(guest)
        except ConfigError:
            assert name == "wrong"
    found = document(guest)
    assert (found["state"], found["step"], set(found)) == (state, step, KEYS)
    if state in ("failed", "unreachable", "degraded"):
        assert found["reason"]
        assert found["remedy"].endswith(".")
    kept = json.loads(last_failure(Root(guest.root), VM_ID))
    assert (kept or {}).get("reason") == (found["reason"] if state in ("failed", "unreachable") else None)


def test_elsewhere_than_on_azure(guest: Guest) -> None:
    assert run(guest).outcome == "not azure"
    assert document(guest)["state"] == "not azure"
    assert not guest.path("var/lib/azurelite").exists()


def test_a_dry_run_writes_nothing(guest: Guest, fabric: Simulator) -> None:
    run(guest.on_azure().configure(fabric), dry_run=True)
    assert not guest.path("run/azurelite").exists()


def test_names_from_user_data_are_for_root(guest: Guest) -> None:
    text = f"#cloud-config\nwrite_files: [{{path: /etc/hostname/{CANARY}, content: x}}]\n"
    with scenario(user_data=text) as azure:
        run(guest.on_azure().configure(azure))
    found = document(guest)
    step = next(one for one in found["steps"] if one["name"] == "user_data")
    assert (step["status"], step["error"]) == ("failed", "a part of it failed")
    assert "sudo azurelite status" in step["remedy"]
    assert CANARY in guest.text(FULL)
    for path, (mode, _, _, content) in guest.snapshot().items():
        if path.startswith("/run/azurelite/") and path.endswith(".json") and mode & 0o044:
            assert CANARY.encode() not in content or "metadata" in path, path


def test_the_last_boots_are_kept(guest: Guest, fabric: Simulator) -> None:
    guest.on_azure().configure(fabric, handlers=["report_ready"])
    for number in range(1, 13):
        boot(guest, number)
        for _ in range(1 + (number == 12)):  # a second run of a boot takes the place of the first one's
            run(guest, force=True)
    assert Root(guest.root).names(f"/{BOOTS}") == [f"{number:04d}" for number in range(3, 13)]
    assert guest.mode(f"{BOOTS}/0012") == 0o700
    for name in ("status.json", "timeline.json"):
        assert guest.mode(f"{BOOTS}/0012/{name}") == 0o600
        assert document(guest, f"{BOOTS}/0012/{name}") == document(guest, f"run/azurelite/{name}")


def test_boots_that_need_much_room_make_it(guest: Guest) -> None:
    files = System(guest.root).files
    long = {"text": "x" * 300_000}
    for number in range(6):
        records.keep_boot(files, {"boot_id": f"{number}", **long}, {})
    sizes = [path.stat().st_size for path in guest.path(BOOTS).rglob("*.json")]
    assert len(Root(guest.root).names(f"/{BOOTS}")) == 3
    assert sum(sizes) <= records.BOOTS_BYTES


def test_a_run_that_was_killed_is_the_last_failure_of_the_next(guest: Guest, fabric: Simulator) -> None:
    killed = blank("running", boot_id=None, updated="then", pid=2**22 + 1)
    guest.put({STATUS: json.dumps({**killed, "step": "user"})})
    run(guest.on_azure().configure(fabric))
    found = document(guest)
    assert found["state"] == "done"
    assert found["last_failure"]["reason"].startswith("azurelite ended without a result in the step user")
    boot(guest, 2)
    assert main(["provision", "--root", guest.root]) == 0
    assert document(guest)["last_failure"] == found["last_failure"]


@pytest.mark.spawns
@pytest.mark.parametrize("state", UNFINISHED)
def test_the_status_of_another_run_stays(state: str, guest: Guest) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        other = json.dumps(blank(state, boot_id=None, updated="then", pid=process.pid))
        guest.put({STATUS: other, "etc/azurelite/disabled": ""})
        run(guest)
        process.kill()
    assert guest.text(STATUS) == other


def test_a_boot_with_nothing_to_do_says_so_and_takes_nothing_away(guest: Guest, fabric: Simulator) -> None:
    run(boot(guest, 1).on_azure().configure(fabric))
    first = guest.text(STATUS)
    for words in ([], ["--json"]):  # without, and with the whole of a run
        assert main(["provision", "--root", guest.root, *words]) == 0
        assert guest.text(STATUS) == first
    for words in ([], ["--json"]):
        boot(guest, 2)
        assert main(["provision", "--root", guest.root, *words]) == 0
        found = document(guest)
        assert set(found) == KEYS
        assert (found["state"], found["outcome"], found["vm_id"]) == ("done", "already provisioned", VM_ID)
    guest.put({"etc/azurelite/disabled": ""})
    assert main(["provision", "--root", guest.root]) == 0
    assert document(guest)["state"] == "disabled"


@pytest.mark.parametrize("text", ["", "{", '{"a": 1', "\0" * 40, '{"a":\n1}', "[]"])
def test_a_damaged_failure_counts_as_none(text: str, guest: Guest) -> None:
    guest.put({f"var/lib/azurelite/failures/{VM_ID}.json": text})
    assert last_failure(Root(guest.root), VM_ID) == "null"


def test_the_timeline_has_every_request_in_its_place(guest: Guest) -> None:
    with scenario() as azure:
        run(guest.on_azure().configure(azure))
    found = document(guest, TIMELINE)
    assert set(found) == {"format", "boot_id", "started", "uptime", "spans"}
    spans = found["spans"]
    assert all(set(one) == {"kind", "name", "start", "end", "status", "detail", "parent"} for one in spans)
    named = [(one["kind"], one["name"].partition(" ")[0]) for one in spans]
    assert named[0] == ("run", "provision")
    assert [name for kind, name in named if kind == "step"] == [
        "hostname", "user", "ssh_keys", "sshd", "report_ready", "user_data"
    ]  # fmt: skip
    assert {kind for kind, _ in named} == {"run", "crawl", "request", "step", "report"}
    parents = [(one["kind"], spans[one["parent"]]["kind"]) for one in spans if one["parent"] is not None]
    assert set(parents) == {
        ("crawl", "run"), ("step", "run"), ("request", "crawl"), ("report", "step"), ("request", "report")
    }  # fmt: skip
    assert "?" not in guest.text(TIMELINE)
    assert records.read_record(Root(guest.root), "/" + TIMELINE) == found


def test_spans_that_run_side_by_side_do_not_enclose_each_other() -> None:
    spans = [
        span("request", "inner", 1.5, 2.0),
        span("step", "skipped", 1.5, 1.5, status="skipped"),
        span("request", "outer", 1.0, 3.0),
        span("crawl", "metadata", 1.0, 3.0),
        span("run", "provision", 0.0, 4.0, detail="x" * 1000),
        span("step", "hostname", 3.0, 4.0),
        span("report", "Ready", 3.0, 4.0),
    ]
    made = document_of(spans, boot_id=None, started="then", uptime=None)["spans"]
    names = [one["name"] for one in made]
    found = {one["name"]: one["parent"] if one["parent"] is None else names[one["parent"]] for one in made}
    assert found == {
        "provision": None, "metadata": "provision", "outer": "metadata", "inner": "metadata", "skipped": "metadata",
        "hostname": "provision", "Ready": "hostname",
    }  # fmt: skip
    assert len(made[0]["detail"]) == 200
    assert len(document_of(spans * 100, boot_id=None, started="then", uptime=None)["spans"]) == 400


def test_the_lease_is_a_wait(guest: Guest, fabric: Simulator) -> None:
    run(guest.on_azure().configure(fabric, datasource={"dhcp": "ephemeral"}))
    assert "a DHCP lease" in [one["name"] for one in document(guest, TIMELINE)["spans"] if one["kind"] == "wait"]


def test_the_last_crawl_is_read_at_later_boots(guest: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    with scenario(custom_data=CANARY) as azure:
        run(guest.on_azure().configure(azure))
    boot(guest, 2)
    assert main(["metadata", "username", "--saved", "--root", guest.root]) == 0
    assert capsys.readouterr().out == "azureuser\n"
    assert CANARY not in guest.text(f"var/lib/azurelite/vms/{VM_ID}/metadata.json")
    assert guest.mode(f"var/lib/azurelite/vms/{VM_ID}/metadata.json") == 0o600
    if os.geteuid() == 0:
        assert main(["metadata", "--saved", "--show-secrets", "--root", guest.root]) == 2
        assert "secrets are kept for one boot only" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["status", "status-full", "timeline", "metadata", "metadata-sensitive"])
def test_a_link_at_the_place_of_a_record_is_replaced(guest: Guest, name: str) -> None:
    guest.put({"etc/other": "kept\n", "run/azurelite/.keep": ""})
    guest.path(f"run/azurelite/{name}.json").symlink_to("/etc/other")
    with scenario() as azure:
        run(guest.on_azure().configure(azure))
    assert guest.text("etc/other") == "kept\n"
    assert not guest.path(f"run/azurelite/{name}.json").is_symlink()


def test_a_link_among_the_kept_boots_is_removed_and_nothing_behind_it(guest: Guest) -> None:
    guest.put({f"{BOOTS}/{number:04d}/status.json": "{}" for number in range(2, 14)})
    guest.put({"etc/other/file": "kept\n"})
    guest.path(f"{BOOTS}/0001").symlink_to("/etc/other")
    with scenario() as azure:
        run(guest.on_azure().configure(azure))
    assert guest.text("etc/other/file") == "kept\n"
    assert not guest.path(f"{BOOTS}/0001").is_symlink()
    assert len(os.listdir(guest.path(BOOTS))) == 10


@pytest.mark.parametrize("text", ["{bad}", '{"a": 1} {}', "{" * 9999 + "}", '{"a":\n1}', "[]", '{"a": "\0"}'])
def test_a_damaged_failure_spoils_no_later_status(guest: Guest, text: str) -> None:
    with scenario() as azure:
        run(guest.on_azure().configure(azure))
        guest.put({f"var/lib/azurelite/failures/{VM_ID}.json": text})
        guest.path("run/azurelite/status.json").unlink()
        assert main(["provision", "--root", guest.root]) == 0
    assert document(guest)["last_failure"] is None


@pytest.mark.spawns
def test_a_number_that_another_program_has_now_is_no_run() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        print("here", file=other.stdin, flush=True)
        assert other.stdout.readline() == "here\n"  # from now on its words are those of `cat`
        assert records.is_crashed({"boot_id": None, "pid": other.pid}, boot_id=None)
        other.kill()
    assert not records.is_crashed({"boot_id": None, "pid": os.getpid()}, boot_id=None)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who alone reads kept boots")
def test_the_status_is_known_although_run_takes_no_file(guest: Guest) -> None:
    guest.put({BOOT_ID: "00000000-0000-4000-8000-000000000001\n", "run/azurelite": "in the way"})
    with scenario() as azure:
        assert run(guest.on_azure().configure(azure)).exit_code == 0
        first = current(Root(guest.root), problems=[])
        assert (first["state"], first["report"]["accepted"]) == ("done", True)
        guest.put({BOOT_ID: "00000000-0000-4000-8000-000000000002\n"})
        run(guest)
        second = current(Root(guest.root), problems=[])
    assert (second["state"], second["outcome"], second["vm_id"]) == ("done", "already provisioned", VM_ID)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who alone reads kept boots")
def test_without_a_status_a_vm_that_is_not_done_never_ran(guest: Guest) -> None:
    with scenario(Fault(endpoint="health", status=500)) as azure:
        guest.put({BOOT_ID: "00000000-0000-4000-8000-000000000001\n", "run/azurelite": "in the way"})
        assert run(guest.on_azure().configure(azure)).exit_code == 3
        assert current(Root(guest.root), problems=[])["state"] == "unreachable"
        guest.put({BOOT_ID: "00000000-0000-4000-8000-000000000002\n"})
        assert current(Root(guest.root), problems=[])["state"] == NEVER_RAN
