"""contrib/shell/azurelite-ready on Azure's real addresses, for each shell and each HTTP client that it knows.

The machine is a set of namespaces and an overlay that end with the test. The fabric is the simulator.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from needs import lacking

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces]

PROGRAM = Path(__file__).parents[2] / "contrib/shell/azurelite-ready"
SHELLS = {"dash": ["dash"], "mksh": ["mksh"], "ash": ["busybox", "ash"]}
# Client -> the name for --client, and the program that is found first under a name of the program's own.
CLIENTS = {
    "curl": ("curl", {}),
    "wget": ("wget", {}),
    "busybox-wget": ("busybox-wget", {"wget": "busybox wget"}),
    "busybox-nc": ("nc", {"nc": "busybox nc"}),
    "openbsd-nc": ("nc", {"nc": "nc.openbsd"}),
    "traditional-nc": ("nc", {"nc": "nc.traditional"}),
}
SHIMS = {
    f"/opt/{client}/{name}": f'#!/bin/sh\nexec {real} "$@"\n'
    for client, (_, names) in CLIENTS.items()
    for name, real in names.items()
}
SHIMS["/opt/plain-nc/nc"] = (
    '#!/bin/sh\n[ $# -eq 2 ] || { echo "usage: nc HOST PORT" >&2; exit 1; }\nexec busybox nc "$@"\n'
)
SHIMS["/opt/bare-wget/wget"] = "#!/bin/sh\necho 'Usage: wget [-c] [-O FILE] URL'; exit 1\n"
SHIMS["/opt/no-date/date"] = "#!/bin/sh\necho 'Thu Jan  1 00:00:00 1970'\n"
ALL = [(shell, client) for shell in SHELLS for client in CLIENTS]
NEEDED = ("dash", "mksh", "busybox", "curl", "wget", "nc.openbsd", "nc.traditional")
ALREADY = "was provisioned earlier; nothing to do"

Ran = dict[str, Any]
Play = Callable[..., list[Ran]]


def vm_id(number: int) -> str:
    return f"0f0e0d0c-0b0a-4908-8706-{number:012d}"


def command(shell: str = "dash", client: str = "curl", *words: str) -> list[str]:
    """The argv of the program in that shell, with that client."""
    path = f"PATH=/opt/{client}:/usr/sbin:/usr/bin:/sbin:/bin"
    return ["env", path, *SHELLS[shell], "/usr/local/sbin/azurelite-ready", "--client", CLIENTS[client][0], *words]


@pytest.fixture
def play(on_stage: Callable[..., Any]) -> Play:
    """Run the program; a list with what came of each run. Each run is a VM of its own unless it says otherwise."""
    reason = lacking(*NEEDED)
    if reason is not None:
        pytest.skip(reason)

    def run(*runs: Ran) -> list[Ran]:
        numbered = [{**run, "vm": {"vm_id": vm_id(number), **run.get("vm", {})}} for number, run in enumerate(runs)]
        job = {"program": PROGRAM.read_text(), "files": SHIMS, "runs": numbered}
        results: list[Ran] = on_stage(job, driver="ready_driver.py", timeout=500)
        return results

    return run


def accepted(ran: Ran) -> list[str]:
    return [report["state"] for report in ran["reports"] if report["accepted"]]


ODD = {"container_id": "a&b <c> \"d\" 'e' $(touch /run/evil) `id`", "instance_id": "i-ö;*", "incarnation": 7}


@pytest.mark.parametrize(("shell", "client"), ALL, ids=str)
def test_every_shell_with_every_client(play: Play, shell: str, client: str) -> None:
    go = command(shell, client)
    moved = {"endpoint": "health", "requests": 1, "status": 410, "move": "incarnation"}
    busy = [
        {"endpoint": name, "requests": 1, "status": 503, "headers": {"Retry-After": "2"}}
        for name in ("goal_state", "health")
    ]
    page = {"endpoint": "health", "requests": 1, "status": 200, "body": "\n<!DocType html><p>Log in"}
    plain, again, chunked, old, odd, stale, later, paged, failed = play(
        {"argv": go, "vm": {"vm_id": vm_id(90)}},
        {"argv": go, "vm": {"vm_id": vm_id(90)}},
        {"argv": go, "framing": "chunked"},
        {"argv": go, "framing": "old"},
        {"argv": go, "vm": ODD, "after": "ls /run /tmp"},
        {"argv": go, "faults": [moved]},
        {"argv": go, "faults": busy},
        {"argv": go, "faults": [page]},
        {"argv": [*go, "--failure", "no <disk> & 'net' | \"x\" ä\n$(id)"], "after": "ls /var/lib/azurelite/vms"},
    )
    for ran in (plain, chunked, old):
        assert (ran["code"], ran["err"]) == (0, "")
        assert ran["endpoints"] == ["imds", "goal_state", "health"]
        assert accepted(ran) == ["Ready"]
        assert ran["hostname"] == "web-1"
        assert "azurelite-ready: Azure accepted Ready" in ran["out"]
    assert {headers["Host"] for headers in plain["headers"]} == {"168.63.129.16", "169.254.169.254"}
    assert (again["code"], again["endpoints"], ALREADY in again["out"]) == (0, [], True)
    assert accepted(odd) == ["Ready"]
    assert odd["reports"][0]["container_id"] == ODD["container_id"]
    assert "evil" not in odd["looked"]
    assert "azurelite-ready" not in odd["looked"]  # no temporary folder is left
    assert stale["endpoints"] == ["imds", *["goal_state", "health"] * 2]
    assert accepted(stale) == ["Ready"]
    assert later["endpoints"] == ["imds", "goal_state", "goal_state", "health", "goal_state", "health"]
    assert later["seconds"] >= (4 if client != "busybox-wget" else 2)  # it does not show the headers of a bad answer
    assert paged["endpoints"] == ["imds", *["goal_state", "health"] * 2]
    (report,) = failed["reports"]
    assert (report["state"], report["substatus"], report["accepted"]) == ("NotReady", "ProvisioningFailed", True)
    assert "'reason=no <disk> & ''net'' | \"x\" ???$(id)'" in report["description"]
    assert vm_id(8) in report["description"]
    assert vm_id(8) not in failed["looked"]
    assert failed["endpoints"] == ["goal_state", "health"]


FEW = [("dash", "curl"), ("ash", "busybox-nc"), ("mksh", "busybox-wget")]


@pytest.mark.parametrize(("shell", "client"), FEW)
def test_a_host_that_refuses_xml_is_told_in_json(play: Play, shell: str, client: str) -> None:
    both = {"dialects": ["xml", "json"]}
    go = command(shell, client)
    version = {"protocol_preferred": "2015-04-05", "protocol_supported": ["2015-04-05"]}
    forbidden, unknown, absent, other_version, failed, neither = play(
        {"argv": go, "vm": both, "faults": [{"endpoint": "health", "status": 403}]},
        {"argv": go, "vm": both, "faults": [{"endpoint": "health", "status": 405}]},
        {"argv": go, "vm": both, "faults": [{"endpoint": "goal_state", "status": 404}]},
        {"argv": go, "vm": version},
        {"argv": [*go, "--failure", 'a "b" \\ c'], "vm": both, "faults": [{"endpoint": "goal_state", "status": 404}]},
        {"argv": go, "faults": [{"endpoint": "health", "status": 401}]},
    )
    for ran in (forbidden, unknown, absent):
        assert ran["endpoints"][-1] == "health_json"
        assert accepted(ran) == ["Ready"]
    assert forbidden["endpoints"].count("health") == 5
    assert (accepted(other_version), other_version["endpoints"][-1]) == (["Ready"], "health")
    assert unknown["endpoints"].count("health") == 1
    assert 'reason=a "b" \\ c|' in failed["reports"][-1]["description"]
    assert (neither["code"], accepted(neither)) == (3, [])
    assert "HTTP 401" in neither["err"]


def goal_state(container: str = "<ContainerId>c</ContainerId>", *, head: str = "", tail: str = "") -> str:
    return (
        f"{head}<GoalState><Version>1</Version><Incarnation>1</Incarnation><Machine><X/></Machine><Container>{container}"
        "<RoleInstanceList><RoleInstance><InstanceId>i</InstanceId></RoleInstance>"
        f"<RoleInstance><InstanceId>other</InstanceId></RoleInstance></RoleInstanceList></Container>{tail}</GoalState>"
    )


GOOD = [
    (goal_state(head="\ufeff<?xml version='1.0'?>\r\n"), "c"),
    (goal_state().replace("><", ">\r\n\t<"), "c"),
    (goal_state("<ContainerId>\r\n  c \r\n</ContainerId>"), "c"),
    (goal_state("<ContainerId\n a='1'\n>c</ContainerId >"), "c"),
    (goal_state("<!-- <ContainerId>x</ContainerId> --><ContainerId>c</ContainerId>"), "c"),
    (goal_state("<ContainerId>c<!-- x > y --></ContainerId>"), "c"),
    (goal_state("<ContainerId>&#x63;&#99;&amp;</ContainerId>"), "cc&"),
    (goal_state("<ContainerId>a<![CDATA[<b>&amp;]]>c</ContainerId>"), "a<b>&amp;c"),
    (goal_state("<Other><ContainerId>x</ContainerId></Other><ContainerId>c</ContainerId>"), "c"),
    (goal_state("<ContainerId/><ContainerId>c</ContainerId>"), "c"),
    (goal_state("<ContainerId>c</ContainerId><ContainerId>x</ContainerId>"), "c"),
]
BAD = [
    "",
    "<html>",
    "\x01\x02",
    "<GoalState>",
    goal_state().replace("<Incarnation>1", "<Incarnation> "),
    goal_state("<ContainerId>c"),
    goal_state("<ContainerId/>"),
    goal_state("<ContainerId>&evil;</ContainerId>", head="<!DOCTYPE GoalState [<!ENTITY evil 'x'>]>"),
    goal_state("<ContainerId>&evil;</ContainerId>"),
    goal_state("<ContainerId>a & b</ContainerId>"),
    goal_state("<ContainerId>" + "c" * 2000 + "</ContainerId>"),
    goal_state("<ContainerId>" + "c" * 60000 + "</ContainerId>"),
    goal_state().replace("RoleInstance>", "Role>"),
    goal_state()[:-20],
    "<" * 60000,
    " " * 60000,
]


@pytest.mark.parametrize("shell", SHELLS)
def test_goal_states(play: Play, shell: str) -> None:
    client = {"dash": "curl", "mksh": "wget", "ash": "busybox-nc"}[shell]

    def served(body: str, deadline: str, container: str = "c") -> Ran:
        return {
            "argv": command(shell, client, "--no-hostname", "--deadline", deadline),
            "vm": {"instance_id": "i", "incarnation": 1, "container_id": container},
            "faults": [{"endpoint": "goal_state", "body": body}],
        }

    ran = play(*(served(body, "10", container) for body, container in GOOD), *(served(body, "2") for body in BAD))
    assert [accepted(one) for one in ran[: len(GOOD)]] == [["Ready"]] * len(GOOD)
    for one, body in zip(ran[len(GOOD) :], BAD):
        assert (one["code"], one["reports"]) == (3, []), body[:300]
        assert "unreadable goal state" in one["err"]
        assert one["seconds"] < 15


def name(imds: Optional[dict[str, Any]] = None, **vm: Any) -> dict[str, Any]:
    return {"hostname": "computer", "name": "resource", **({"imds": {"compute": imds}} if imds else {}), **vm}


NAMES: list[tuple[dict[str, Any], list[Any], str]] = [
    (name(), [], "computer"),
    (name({"osProfile": {"computerName": None}}), [], "resource"),
    (name({"osProfile": {"computerName": ""}}), [], "resource"),
    (name({"osProfile": None}), [], "before"),  # a specialised disk keeps its name
    (name(api_versions=["2019-03-11", "2019-06-01"]), [], "resource"),
    (name(api_versions=["2017-08-01"]), [], "resource"),
    (name(api_versions=["2020-10-01", "2021-02-01"]), [], "computer"),
    (name(api_versions=["2023-11-15", "2025-04-07"]), [], "computer"),
    (name(), [{"endpoint": "imds", "requests": "1-2", "status": 503}], "computer"),
    (name(), [{"endpoint": "imds", "requests": "1", "status": 404}], "computer"),
    (name(), [{"endpoint": "imds", "status": 200, "body": "<html>no</html>"}], "before"),
    (name(), [{"endpoint": "imds", "drop": True}], "before"),
    (name(), [{"endpoint": "imds", "status": 403}], "before"),
    (name(), [{"endpoint": "imds", "garbage": True}], "before"),
    (name(hostname="web_1.corp.example"), [], "web-1"),
    (name(hostname="-a..b"), [], "a"),
    (name(hostname="10.0.0.4"), [], "ip-10-0-0-4"),
    (name(hostname="x" * 100), [], "x" * 63),
    (name(hostname="y" * 300), [], "before"),
    (name(hostname="..."), [], "before"),
    (name(hostname="a; touch /run/evil"), [], "before"),
    (name(hostname="$(id)"), [], "id"),
]


@pytest.mark.parametrize(("shell", "client"), [("dash", "curl"), ("ash", "busybox-wget"), ("mksh", "openbsd-nc")])
def test_the_host_name(play: Play, shell: str, client: str) -> None:
    look = "cat /etc/hostname; ls -l /etc/hostname; ls /run /etc"
    ran = play(
        *(
            {
                "argv": command(shell, client, "--deadline", "16"),
                "vm": vm,
                "faults": faults,
                "before": "echo before > /etc/hostname",
                "after": look,
            }
            for vm, faults, _ in NAMES
        )
    )
    for one, (vm, faults, expected) in zip(ran, NAMES):
        assert (one["hostname"], accepted(one), one["code"]) == (expected, ["Ready"], 0), (vm, faults, one["err"])
        assert one["looked"].startswith(f"{expected}\n-rw-r--r--"), one["looked"][:200]
        assert "evil" not in one["looked"]
        assert "azurelite-new" not in one["looked"]
        assert one["endpoints"][-1] == "health"  # Ready comes last


UUID = vm_id(7)
SWAPPED = "0c0d0e0f-0a0b-0849-8706-000000000007"
MARK = "/var/lib/azurelite/vms"
NO_EFI = "mv /sys/firmware/efi /sys/firmware/was-efi"
EFI = "mv /sys/firmware/was-efi /sys/firmware/efi"


def test_the_vm_and_its_marker(play: Play) -> None:
    go, vm = command(client="curl"), {"vm_id": UUID}
    ready = play(
        {"argv": go, "vm": vm, "uuid": UUID.upper(), "after": f"ls -ld {MARK}/*"},  # no line break, upper case
        {"argv": go, "vm": vm, "uuid": SWAPPED + "\n"},  # the same VM, as another kernel reads it
        {"argv": [*go, "--force"], "vm": vm},
        {"argv": [*go, "--failure", "too late"], "vm": vm},
        {
            "argv": go,
            "before": f"rm -r {MARK}; {NO_EFI}",
            "uuid": SWAPPED + "\n",
            "vm": vm,
            "after": f"ls {MARK}; {EFI}",
        },
        {"argv": go, "uuid": "Not Settable\n", "after": f"ls {MARK}"},  # the id is IMDS's then
        {"argv": go, "uuid": "Not Settable\n", "vm": {"vm_id": vm_id(5)}},
        {"argv": go, "uuid": "0" * 8 + "-0000-0000-0000-" + "0" * 12, "vm": {"vm_id": "none"}},
    )
    first, other_order, forced, failure, generation_1, from_imds, again, unknown = ready
    assert (accepted(first), UUID in first["looked"]) == (["Ready"], True)
    assert first["looked"].startswith("drwx------")
    assert (other_order["endpoints"], failure["endpoints"]) == ([], [])
    assert accepted(forced) == ["Ready"]
    assert (accepted(generation_1), generation_1["looked"].split()) == (["Ready"], [UUID])
    assert (accepted(from_imds), vm_id(5) in from_imds["looked"]) == (["Ready"], True)
    assert [target for target in again["targets"] if "vmId" not in target] == []
    assert (accepted(unknown), "the VM id is unknown" in unknown["err"]) == (["Ready"], True)


def test_what_stops_it(play: Play) -> None:
    go = command()
    cloud = "/var/lib/cloud/data/instance-id"
    nothing = play(
        {"argv": go, "tag": "None\n"},
        {"argv": go, "tag": ""},
        {
            "argv": go,
            "before": "mkdir -p /etc/azurelite; touch /etc/azurelite/disabled",
            "after": "rm /etc/azurelite/disabled",
        },
        {
            "argv": go,
            "before": f"mkdir -p {cloud.rpartition('/')[0]}; printf {vm_id(3).upper()} > {cloud}",
            "after": f"rm {cloud}",
        },
        {"argv": go, "before": "rm -f /sys/class/dmi/id/chassis_asset_tag"},
    )
    assert [(ran["code"], ran["endpoints"], ran["out"].count("\n"), ran["hostname"]) for ran in nothing] == [
        (0, [], 1, "before")
    ] * len(nothing)
    said, marked = play(
        {"argv": [*go, "--platform", "azure"], "tag": ""}, {"argv": go, "tag": "7783-7084-3265-9085-8269-3286-77"}
    )
    assert [accepted(said), accepted(marked)] == [["Ready"], ["Ready"]]  # the second has no line break


PROXIES = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"), "http://127.0.0.1:9")


@pytest.mark.parametrize("client", CLIENTS)
def test_nothing_reroutes_it(play: Play, client: str) -> None:
    files = "echo proxy=127.0.0.1:9 > /root/.curlrc; printf 'use_proxy=on\\nhttp_proxy=127.0.0.1:9\\n' > /root/.wgetrc"
    elsewhere = {"endpoint": "health", "requests": 1, "redirect": "http://10.0.0.1:9/x"}
    rerouted, redirected = play(
        {
            "argv": command("dash", client),
            "env": {**PROXIES, "HOME": "/root", "WGETRC": "/root/.wgetrc"},
            "before": files,
        },
        {"argv": command("dash", client, "--deadline", "20"), "faults": [elsewhere]},
    )
    assert (accepted(rerouted), rerouted["err"]) == (["Ready"], "")
    assert accepted(redirected) in ([], ["Ready"])
    assert "10.0.0.1" not in [headers["Host"] for headers in redirected["headers"]]


def test_odd_machines(play: Play) -> None:
    read_only = "mount -t tmpfs -o ro none /var/lib"
    anything = "/usr/local/sbin/azurelite-ready"
    ro, again, no_w, falls, none, no_date, no_hostname, *chosen = play(
        {"argv": command(), "vm": {"vm_id": UUID}, "before": read_only, "after": "ls /run/azurelite"},
        {"argv": command(), "vm": {"vm_id": UUID}, "after": "umount /var/lib; rm -r /run/azurelite"},
        {
            "argv": [
                "env",
                "PATH=/opt/plain-nc:/usr/bin:/bin",
                "dash",
                "/usr/local/sbin/azurelite-ready",
                "--client",
                "nc",
            ]
        },
        {"argv": ["env", "PATH=/opt/bare-wget:/opt/busybox-nc:/usr/bin:/bin", *command()[2:-2], "--client", "nc"]},
        {
            "argv": ["env", "PATH=/opt/bare-wget", "/bin/dash", *command()[3:-1], "busybox-wget"],
            "before": "mv /bin/busybox /bin/was",
            "after": "mv /bin/was /bin/busybox",
        },
        {"argv": ["env", "PATH=/opt/no-date:/usr/bin:/bin", *command()[2:], "--failure", "x"]},
        {"argv": [*command(), "--no-hostname"], "before": "mv /etc/hostname /etc/was; ln -s was /etc/hostname"},
        {"argv": [anything]},
        {"argv": ["busybox", "ash", anything]},
        {"argv": ["env", "-i", "/bin/mksh", anything]},
    )
    assert (accepted(ro), f"ready-{UUID}" in ro["looked"]) == (["Ready"], True)
    assert "Ready is reported again at the next boot" in ro["err"]
    assert again["endpoints"] == []
    assert accepted(no_w) == ["Ready"]
    assert accepted(falls) == ["Ready"]
    assert (none["code"], none["endpoints"]) == (2, [])
    assert "install curl, wget, nc or BusyBox" in none["err"]
    assert accepted(no_date) == ["NotReady"]
    assert no_hostname["endpoints"] == ["goal_state", "health"]
    assert [accepted(one) for one in chosen] == [["Ready"]] * 3


NOT_YET = {"endpoint": "health", "status": 500}


def test_the_budget_holds_whatever_the_servers_do(play: Play) -> None:
    ran = play(
        *({"argv": command("dash", client, "--deadline", "6"), "framing": "flood"} for client in CLIENTS),
        {"argv": command("dash", "openbsd-nc", "--deadline", "6"), "framing": "open", "faults": [NOT_YET]},
        {"argv": command("dash", "curl", "--deadline", "6"), "faults": [{"endpoint": "any", "delay": 60}]},
        {
            "argv": command("ash", "busybox-nc", "--deadline", "6"),
            "faults": [{"endpoint": "any", "drip": 1, "drip_headers": True}],
        },
        {
            "argv": command("mksh", "busybox-wget", "--deadline", "6"),
            "faults": [{"endpoint": "any", "status": 429, "headers": {"Retry-After": "999999999999"}}],
        },
        {
            "argv": command("dash", "wget", "--deadline", "6"),
            "faults": [{"endpoint": "any", "status": 503, "headers": {"Retry-After": "a[$(touch /run/evil)]"}}],
            "after": "ls /run",
        },
    )
    for one in ran:
        assert (one["code"], accepted(one)) == (3, []), one["err"]
        assert one["seconds"] < 12
        assert "evil" not in one["looked"]
        assert "Azure did not accept Ready" in one["err"]


def test_verbose_prints_ids_and_document(play: Play) -> None:
    (ran,) = play({"argv": [*command(), "--verbose"]})
    lines = ran["out"].splitlines()
    assert "ContainerId: 7b324f53-983a-43bc-b919-1775d6077608" in lines
    assert "Response: 200" in lines
    assert ran["bodies"][-1] in lines
