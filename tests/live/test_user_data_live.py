"""User data on a live system: real scripts with logs, statuses and time-outs, and a cloud-config that does it all.

The machine is a set of namespaces that ends with the test.
"""

from __future__ import annotations

import base64
import gzip
import json
import sys
from pathlib import Path
from typing import Any, Callable, Sequence

import pytest
import yaml
from kit import ED25519, VM_ID

HERE = Path(__file__).parent
PROVISION = [sys.executable, "-m", "azurelite", "provision", "--json"]
KEPT = f"/var/lib/azurelite/vms/{VM_ID}"
LOGS = "/var/log/azurelite"

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces]

Stage = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def stage(on_stage: Callable[..., Any]) -> Stage:
    """Run jobs on the stage, with this user data; a list with what came of each of them."""

    def run(user_data: str, *runs: dict[str, Any], faults: Sequence[Any] = ()) -> list[dict[str, Any]]:
        vm = {"vm_id": VM_ID, "username": "livewire", "ssh_keys": [ED25519], "hostname": "live", "user_data": user_data}
        job = {"scenario": {"vm": vm, "faults": list(faults)}, "runs": list(runs)}
        results: list[dict[str, Any]] = on_stage(job)
        return results

    return run


def provision(*handlers: Any, **datasource: Any) -> dict[str, Any]:
    """A run of the main job with these handlers."""
    config = yaml.safe_dump({"handlers": ["user", *handlers], "datasource": datasource})
    return {"argv": PROVISION, "files": {"/etc/azurelite/azurelite.yaml": config}}


def sh(script: str) -> dict[str, Any]:
    """A run that looks around in the guest."""
    return {"argv": ["sh", "-c", script]}


def step(result: dict[str, Any], name: str = "user_data") -> dict[str, Any]:
    """What came of one handler."""
    assert result["out"], result["err"]
    steps = {step["name"]: step for step in json.loads(result["out"])["steps"]}
    found: dict[str, Any] = steps[name]
    return found


def mime(*scripts: str) -> str:
    """Scripts as parts of one document."""
    parts = "".join(f'--b\nContent-Type: text/x-shellscript; charset="utf-8"\n\n{text}\n' for text in scripts)
    return f'Content-Type: multipart/mixed; boundary="b"\nMIME-Version: 1.0\n\n{parts}--b--\n'


PACKED = base64.b64encode(gzip.compress(b"#!/bin/sh\necho packed >> /var/ran\n")).decode()
ARCHIVE = f"""#cloud-config-archive
- type: text/cloud-config
  content: |
    #cloud-config
    runcmd: [echo cc >> /var/ran]
- {{type: text/x-shellscript, filename: a.sh, content: "#!/bin/sh\\necho script >> /var/ran"}}
- {{filename: z.sh, content: !!binary {PACKED}}}
- |
  #!/bin/sh
  echo plain >> /var/ran
"""
LENIENT = {
    "numbers as keys": ("#cloud-config\nsnap: {commands: {00: a, 01: b}}\nruncmd:\n  - echo cc >> /var/ran\n", "cc"),
    "truth values as keys": ("#cloud-config\nunknown:\n  on: x\n  off: y\nruncmd: [echo cc >> /var/ran]\n", "cc"),
    "an archive": (ARCHIVE, "script plain cc packed"),
    "blank lines": ("\n  \n#cloud-config\nruncmd:\n  - echo cc >> /var/ran\n", "cc"),
    "indented": ("    #cloud-config\n    runcmd:\n      - echo cc >> /var/ran\n", "cc"),
    "an indented script": ("\n  #!/bin/sh\n  echo script >> /var/ran\n", "script"),
    "an odd node": (
        "#cloud-config\nlocale: !x y\nruncmd: [echo cc >> /var/ran, !x y, echo d >> /var/ran]\n",
        "cc d",
    ),
}


@pytest.mark.parametrize("case", LENIENT)
def test_odd_user_data_runs_as_with_cloud_init(stage: Stage, case: str) -> None:
    text, ran = LENIENT[case]
    _, seen = stage(text, provision("report_ready", "user_data"), sh("cat /var/ran"))
    assert seen["out"].split() == ran.split()


def test_a_script_runs_once_after_ready_with_its_log_and_a_clean_environment(stage: Stage) -> None:
    script = """#!/bin/sh -u
echo "by $0, in $(pwd), umask $(umask)"
env | sort | cut -d= -f1 | tr '\\n' ' '
echo; echo "id $AZURELITE_VM_ID"
echo ran >>/var/ran
cat </dev/stdin | wc -c
echo complaint >&2
"""
    first, look, _, again = stage(
        script,
        provision("report_ready", "user_data"),
        sh(
            f"cat {LOGS}/user_data-part-001.log; stat -c '%a %n' {LOGS} {LOGS}/* {KEPT}/user_data* {KEPT}/*/part-001; "
            f"cat {KEPT}/memory/*scripts"
        ),
        provision("report_ready", "user_data"),
        sh("cat /var/ran"),
    )
    assert first["code"] == 0, first["err"]
    assert [report["state"] for report in first["reports"]] == ["Ready"]
    assert step(first)["status"] == "done"
    assert any("run user_data script part-001" in str(change) for change in step(first)["changes"])
    lines = look["out"].splitlines()
    assert lines[0].startswith(f"by {KEPT}/user_data-scripts/part-001, in /, umask 00")
    assert "PATH" in lines[1]
    assert not {"PASSWORD", "USER_DATA"} & set(lines[1].split())
    assert lines[2:5] == [f"id {VM_ID}", "0", "complaint"]
    modes = dict(line.split()[::-1] for line in lines[5:-1])
    assert modes[LOGS] == "700"
    assert modes[f"{LOGS}/user_data-part-001.log"] == "600"
    assert modes[f"{KEPT}/user_data"] == "600"
    assert modes[f"{KEPT}/user_data-scripts/part-001"] == "700"
    assert {name: entry["status"] for name, entry in json.loads(lines[-1]).items()} == {"part-001": 0}
    assert again["out"] == "ran\n"


def test_a_failing_script_is_named_with_its_status_and_stops_neither_ready_nor_the_next(stage: Stage) -> None:
    document = mime(
        "#!/bin/sh\necho canary-output; exit 7",
        "#!/nowhere/interpreter\n",
        "#!/bin/sh\nkill -9 $$",
        "#!/bin/sh\necho fine",
    )
    first, look = stage(
        document,
        provision("report_ready", "user_data"),
        sh(f"cat {LOGS}/user_data-part-004.log {KEPT}/memory/user_data-scripts"),
    )
    assert first["code"] == 0
    assert [report["state"] for report in first["reports"]] == ["Ready"]
    error = str(step(first)["error"])
    assert f"part-001 exited with status 7: see {LOGS}/user_data-part-001.log" in error
    assert "/nowhere/interpreter" in error
    assert "part-003 exited with status 137" in error
    assert "part-004" not in error
    assert "canary" not in first["err"] + first["out"]
    fine, record = look["out"].splitlines()
    statuses = {name: entry["status"] for name, entry in json.loads(record).items()}
    assert fine == "fine"
    assert (statuses["part-001"], statuses["part-003"], statuses["part-004"]) == (7, 137, 0)
    assert "part-002" not in statuses, "what was never started has not run"


# What `reboot` in a script does to azurelite: it ends in the middle. The last run stands for a later boot.
DOWN = "#!/bin/sh\necho down >>/var/ran\nkill -9 $PPID\nsleep 1\n"


@pytest.mark.parametrize(
    "handlers", [("report_ready", "user_data"), ({"user_data": {"required": True}}, "report_ready")]
)
def test_a_script_that_reboots_is_not_started_again(stage: Stage, handlers: tuple[Any, ...]) -> None:
    document = mime("#!/bin/sh\necho first >>/var/ran\nexit 0", DOWN, "#!/bin/sh\necho third >>/var/ran")
    first, _, second, third, look = stage(
        document, provision(*handlers), sh("sleep 1.2"), provision(*handlers), provision(*handlers), sh("cat /var/ran")
    )
    assert first["code"] == -9
    assert second["code"] == 0, second["err"]
    assert step(second)["status"] == "done"
    assert "part-002 was interrupted in an earlier run and is not run again" in second["err"]
    assert json.loads(third["out"])["outcome"] == "already provisioned"
    assert look["out"] == "first\ndown\nthird\n"


def test_a_script_that_failed_is_not_run_again_and_still_failed(stage: Stage) -> None:
    again = {
        **provision("report_ready", "user_data"),
        "argv": [sys.executable, "-m", "azurelite", "apply", "user_data"],
    }
    first, second, look, third = stage(
        mime("#!/bin/sh\necho ran >>/var/ran; exit 7", "#!/bin/sh\necho ran >>/var/ran"),
        provision("report_ready", "user_data"),
        again,
        sh(f"cat /var/ran; rm {KEPT}/memory/*-scripts"),
        again,
    )
    assert "part-001 exited with status 7" in str(step(first)["error"])
    assert second["code"] == 1
    assert "status 7: see /var/log/azurelite/user_data-part-001.log (in an earlier run; it is not run" in second["err"]
    assert "run user_data script" not in second["err"]
    assert look["out"] == "ran\nran\n"
    assert third["err"].count("run user_data script") == 2


@pytest.mark.parametrize("accepted", [True, False])
def test_a_reboot_listed_before_ready_happens_only_if_azure_accepts_ready(stage: Stage, accepted: bool) -> None:
    document = "#cloud-config\nwrite_files: [{path: /etc/late, content: x}]\npower_state: {mode: reboot}\n"
    run = provision({"user_data": {"required": True}}, "report_ready", deadline=12)
    env = ["env", "PATH=/shims:/usr/sbin:/usr/bin:/sbin:/bin"]
    run = {**run, "argv": [*env, *run["argv"]]}
    run["files"] = {**run["files"], "/shims/shutdown": '#!/bin/sh\necho "$@" >>/var/down\n'}
    faults = [] if accepted else [{"endpoint": "health", "status": 403}]
    _, done, look, again = stage(
        document,
        {"argv": ["sh", "-c", "chmod 755 /shims/shutdown"], "files": run["files"]},
        run,
        sh("i=0; until [ -e /var/down ] || [ $i = 30 ]; do sleep 0.1; i=$((i+1)); done; cat /var/down"),
        {"argv": [*env, sys.executable, "-m", "azurelite", "apply", "power_state", "--dry-run"]},
        faults=faults,
    )
    result = step(done)
    assert result["status"] == "done", result
    assert "reboot (after the run, if Azure has accepted Ready by then)" in map(str, result["changes"])
    assert done["code"] == (0 if accepted else 3), done["err"]
    assert look["out"] == ("-r now\n" if accepted else "")
    assert ("reboot skipped: Azure has not accepted Ready" in done["err"]) != accepted
    # Later, on a VM that is Ready, it does not hang on anything.
    assert again["code"] == 0, again["err"]
    assert ("if Azure has accepted" in again["err"] + again["out"]) != accepted


def test_a_script_that_hangs_is_killed_with_its_children(stage: Stage) -> None:
    first, look = stage(
        "#!/bin/sh\necho begun\nsleep 900 & echo $! >/var/child; wait\n",
        provision("report_ready", {"user_data": {"timeout": 1}}),
        sh(f"cat {LOGS}/user_data-part-001.log; cut -d' ' -f3 /proc/$(cat /var/child)/stat 2>/dev/null || echo gone"),
    )
    assert first["code"] == 0
    assert "timed out and was killed" in str(step(first)["error"])
    assert look["out"] in ("begun\ngone\n", "begun\nZ\n")  # nobody waits for orphans here


def test_before_ready_the_deadline_ends_a_script_and_required_decides(stage: Stage) -> None:
    hanging = mime("#!/bin/sh\nsleep 900", "#!/bin/sh\ntouch /var/too-late")
    (optional,) = stage(hanging, provision("user_data", "report_ready", deadline=14))
    assert optional["code"] == 0
    assert [report["state"] for report in optional["reports"]] == ["Ready"]
    assert "part-001 timed out" in str(step(optional)["error"])
    assert "part-002 skipped: the provisioning deadline has passed" in str(step(optional)["error"])
    failing = "#!/bin/sh\nexit 3\n"
    (required,) = stage(failing, provision({"user_data": {"required": True}}, "report_ready"))
    assert required["code"] == 1
    assert [report["state"] for report in required["reports"]] == ["NotReady"]


def test_scripts_run_on_a_file_system_mounted_noexec(stage: Stage) -> None:
    mount = "mkdir -p /var/lib/azurelite && mount -t tmpfs -o noexec,mode=700 noexec /var/lib/azurelite"
    run = provision("report_ready", "user_data")
    first, look = stage(
        "#!/usr/bin/env -S sh -u\necho works; grep -c ' /var/lib/azurelite .*noexec' /proc/mounts\n",
        {**run, "argv": ["sh", "-c", f'{mount} && exec "$@"', "sh", *run["argv"]]},
        sh(f"cat {LOGS}/user_data-part-001.log"),
    )
    assert step(first)["status"] == "done", step(first)
    assert look["out"] == "works\n1\n"


CLOUD_CONFIG = """#cloud-config
bootcmd:
  - echo "boot $(ls /etc/early 2>/dev/null)" >/var/order
write_files:
  - {path: /etc/early, content: early}
  - {path: /home/mara/late, content: late, owner: mara, permissions: "0600", defer: true}
groups: [builders]
users:
  - default
  - {name: mara, groups: builders, shell: /bin/sh, ssh_authorized_keys: ["KEY"]}
chpasswd:
  expire: false
  users: [{name: mara, password: canary-password, type: text}]
hostname: lantern
runcmd:
  - cd /var
  - A="it's"
  - echo "run $A $(stat -c %U /home/mara/late)" >>order
  - [sh, -c, 'echo "$1" >>/var/order', sh, "two  words; $HOME"]
  - exit 4
final_message: "up after $uptime seconds, azurelite $version"
apt: {sources: {}}
""".replace("KEY", ED25519)


def test_a_cloud_config_with_all_sections_is_applied(stage: Stage) -> None:
    first, look = stage(
        CLOUD_CONFIG,
        provision("report_ready", "user_data"),
        sh(
            "cat /var/order; hostname; id -Gn mara; stat -c '%U %a' ~mara/late; "
            "cat ~mara/.ssh/authorized_keys; getent shadow mara"
        ),
    )
    assert first["code"] == 0
    assert first["hostname"] == "lantern"
    result = step(first)
    assert str(result["error"]).count("exited with status") == 1
    assert "the script runcmd exited with status 4" in str(result["error"])
    assert "`apt` (user_data:22:1)" in first["err"]
    assert "azurelite 0." in first["err"]
    assert "up after " in first["err"]
    assert "canary" not in first["err"] + first["out"]
    boot, ran, word, name, groups, late, key, shadow = look["out"].splitlines()
    assert (boot, ran, word) == ("boot ", "run it's mara", "two  words; $HOME")
    assert (name, late, key) == ("lantern", "mara 600", ED25519)
    assert "builders" in groups.split()
    assert shadow.split(":")[1].startswith("$")


def test_a_dry_run_runs_nothing_and_lists_the_changes(stage: Stage) -> None:
    dry, look, real = stage(
        CLOUD_CONFIG,
        {**provision("report_ready", "user_data"), "argv": [*PROVISION, "--dry-run"]},
        sh(f"ls /var/order /etc/early {KEPT} {LOGS} 2>/dev/null; id mara 2>/dev/null"),
        provision("report_ready", "user_data"),
    )
    assert look["out"] == ""
    assert dry["hostname"] != "lantern"
    assert step(dry)["changes"] == step(real)["changes"]


def test_compressed_user_data_is_decompressed(stage: Stage) -> None:
    packed = base64.b64encode(gzip.compress(b"#!/bin/sh\necho unpacked\n")).decode()
    first, look = stage(packed, provision("report_ready", "user_data"), sh(f"cat {LOGS}/user_data-part-001.log"))
    assert "base64-encoded twice" in first["err"]
    assert look["out"] == "unpacked\n"
