"""`wireserver_firewall` with real packet filters, in namespaces of their own: who can still speak to Azure's address.

Run as a program, this file is what runs inside them: `serve` is the fabric, `play` the machine.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - asked for late, when the interpreter's files may be out of reach
import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable

import pytest
from kit import VM_ID

from azurelite.errors import AzureliteError
from azurelite.fabric.client import Fabric
from azurelite.handlers import Context
from azurelite.handlers.wireserver_firewall import Options, apply
from azurelite.metadata import Metadata
from azurelite.outcome import Outcome
from azurelite.state.store import Memory
from azurelite.system.machine import System

HERE = Path(__file__)
WIRESERVER, IMDS = "168.63.129.16", "169.254.169.254"
HTTP = ("tcp", 80), ("tcp", 32526)
NAMES = ("tcp", 53), ("udp", 53), ("udp", 67)
TIMEOUT = 0.6
SCENE = """
"$PYTHON" "$DRIVER" serve > /run/serve.log &
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do grep -q ready /run/serve.log && break; sleep 0.1; done
exec ip netns exec vm "$PYTHON" "$DRIVER" play "$1"
"""
AGENTS_IPTABLES = """iptables -w -t security -A OUTPUT -d 168.63.129.16 -p tcp --destination-port 53 -j ACCEPT
iptables -w -t security -A OUTPUT -d 168.63.129.16 -p tcp -m owner --uid-owner 0 -j ACCEPT
iptables -w -t security -A OUTPUT -d 168.63.129.16 -p tcp -m conntrack --ctstate INVALID,NEW -j DROP"""
AGENTS_NFT = """nft add table ip walinuxagent
nft add chain ip walinuxagent output '{ type filter hook output priority 0 ; policy accept ; }'
nft add rule ip walinuxagent output ip daddr 168.63.129.16 tcp dport != 53 meta skuid != 0 ct state invalid,new drop"""

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces]

Act = dict[str, Any]
Play = Callable[..., list[Any]]


@pytest.fixture
def play(networks: list[str]) -> Play:
    """Play acts on a machine with a fabric; what came of each."""
    for tool, package in (("nft", "nftables"), ("iptables", "iptables")):
        if shutil.which(tool) is None:
            pytest.skip(f"needs `{tool}`: install {package}")

    def run(*acts: Act) -> list[Any]:
        own = {"PYTHON": sys.executable, "DRIVER": str(HERE)}
        own["PYTHONPATH"] = os.pathsep.join([*(path for path in sys.path if path), str(HERE.parent.parent)])
        stage = ["sh", str(HERE.parent / "stage.sh"), "sh", "-c", SCENE, "scene", json.dumps(acts)]
        done = subprocess.run(
            [*networks, *stage],
            env={**os.environ, **own},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        told: list[Any] = json.loads(done.stdout.splitlines()[-1])
        if any("lacks" in answer for answer in told if isinstance(answer, dict)):
            pytest.skip(f"this kernel has not all that the rules need: {told}")
        return told

    return run


def fence(**options: Any) -> Act:
    return {"act": "fence", "options": options}


def ask(uid: int, address: str = WIRESERVER) -> Act:
    return {"act": "ask", "uid": uid, "address": address}


def sh(script: str) -> Act:
    return {"act": "sh", "script": script}


ALL = {f"{protocol}/{port}": "answered" for protocol, port in (*HTTP, *NAMES)}
NAMES_ONLY = {name: answer if name.split("/")[1] in ("53", "67") else "silence" for name, answer in ALL.items()}
BACKENDS = pytest.mark.parametrize("backend", ["nft", "iptables"])


@BACKENDS
def test_only_root_reaches_wireserver_and_dns_is_open_to_all(play: Play, backend: str) -> None:
    before, changes, root, user, again, user_again = play(
        ask(1000), fence(backend=backend), ask(0), ask(1000), fence(backend=backend), ask(1000)
    )
    assert before == ALL
    assert [change.partition(" (")[0] for change in changes["changes"]] == [f"restrict access to {WIRESERVER}"]
    assert root == ALL
    assert user == NAMES_ONLY == user_again
    assert again == {"changes": []}


@BACKENDS
def test_a_dry_run_tells_of_the_rules_and_sets_none(play: Play, backend: str) -> None:
    told, user, real = play({**fence(backend=backend), "dry": True}, ask(1000), fence(backend=backend))
    assert told == real
    assert user == ALL


@BACKENDS
def test_listed_users_are_permitted_and_others_rejected_at_once(play: Play, backend: str) -> None:
    options = {"users": [1000], "imds": True, "action": "reject", "backend": backend}
    _, friend, other, imds, other_imds = play(fence(**options), ask(1000), ask(1001), ask(1000, IMDS), ask(1001, IMDS))
    assert friend == imds == ALL
    assert other == other_imds == {**NAMES_ONLY, "tcp/80": "refused", "tcp/32526": "refused"}


@BACKENDS
def test_changed_options_replace_the_rules(play: Play, backend: str) -> None:
    first = fence(users=[1000], backend=backend)
    second = fence(backend=backend, action="reject", forward=True)
    rules = sh("nft list table ip azurelite 2>/dev/null; iptables -S; iptables -t security -S 2>/dev/null")
    _, _, user, changed, look, nothing, _, last = play(
        first, second, ask(1000), fence(backend=backend), rules, fence(backend=backend), second, rules
    )
    assert user["tcp/80"] == "refused"
    assert len(changed["changes"]) == 1
    assert nothing == {"changes": []}
    assert "1000" not in look["out"] + last["out"]
    chains = {word for word in last["out"].split() if word.startswith("azurelite-")}
    assert len(chains) == (0 if backend == "nft" else 1)


@BACKENDS
@pytest.mark.parametrize(
    "damage",
    [
        "nft flush table ip azurelite; iptables -w -t security -F; iptables -w -F",
        "nft delete table ip azurelite; iptables -w -t security -F; iptables -w -t security -X",
        "nft insert rule ip azurelite output accept; for t in security filter; do iptables -w -t $t -D OUTPUT 1; done",
    ],
)
def test_damaged_rules_are_set_again(play: Play, backend: str, damage: str) -> None:
    _, _, harmed, mended, user, again = play(
        fence(backend=backend), sh(damage), ask(1000), fence(backend=backend), ask(1000), fence(backend=backend)
    )
    assert harmed == ALL
    assert len(mended["changes"]) == 1
    assert user == NAMES_ONLY
    assert again == {"changes": []}


@pytest.mark.parametrize("agent", [AGENTS_IPTABLES, AGENTS_NFT], ids=["iptables", "nft"])
@BACKENDS
def test_the_agents_own_rules_are_neither_doubled_nor_touched(play: Play, backend: str, agent: str) -> None:
    look = sh("iptables -w -t security -S 2>/dev/null; nft list table ip walinuxagent 2>/dev/null; true")
    guard, before, _, after, second, user = play(
        sh(f"{{ {'; '.join(agent.splitlines())}; }} || echo lacks"),
        look,
        fence(backend=backend),
        look,
        fence(backend=backend),
        ask(1000),
    )
    if "lacks" in guard["out"]:
        pytest.skip("this kernel has no connection tracking")
    assert (user["tcp/80"], user["tcp/53"]) == ("silence", "answered")
    assert second == {"changes": []}
    lines = after["out"].splitlines()
    assert [line for line in lines if "azurelite" not in line] == before["out"].splitlines()
    own = [line for line in lines if "OUTPUT" in line and "azurelite" in line]
    # iptables does not show what nft has set, so the rules are there twice; that is harmless.
    assert len(own) == (1 if (backend, agent) == ("iptables", AGENTS_NFT) else 0)


@BACKENDS
def test_forwarded_packets_are_blocked_unless_forward_is_true(play: Play, backend: str) -> None:
    inside = (
        "ip netns add box; ip link add in0 type veth peer name eth0 netns box; ip addr add 10.9.0.1/24 dev in0;"
        "ip link set in0 up; ip -n box addr add 10.9.0.2/24 dev eth0; ip -n box link set eth0 up;"
        "ip -n box route add default via 10.9.0.1; echo 1 > /proc/sys/net/ipv4/ip_forward"
    )
    box = {**ask(0), "netns": "box"}
    _, free, _, fenced, _, let = play(
        sh(inside), box, fence(backend=backend), box, fence(backend=backend, forward=True), box
    )
    if free != ALL:
        pytest.skip("this kernel does not forward here")
    assert fenced == NAMES_ONLY
    assert let == ALL


def context(system: System) -> Context:
    memory = Memory(system.files, VM_ID)
    return Context(Metadata(), system, Fabric(0), Outcome("applied", ""), tell, lambda: None, memory)


def serve() -> None:
    """Answer on the ports of Azure's addresses, until killed."""
    chosen = selectors.DefaultSelector()
    for address in (WIRESERVER, IMDS):
        for protocol, port in (*HTTP, *NAMES):
            one = socket.socket(socket.AF_INET, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
            one.bind((address, port))
            if protocol == "tcp":
                one.listen()
            chosen.register(one, selectors.EVENT_READ, protocol)
    # What the machine passes on comes back by it.
    subprocess.run(["ip", "route", "add", "10.9.0.0/24", "via", "10.0.0.4"], check=True)
    tell("ready")
    while True:
        for key, _ in chosen.select():
            ready: Any = key.fileobj
            if key.data == "tcp":
                caller = ready.accept()[0]
                caller.sendall(b"answer")
                caller.close()
            else:
                ready.sendto(b"answer", ready.recvfrom(64)[1])


def reach(address: str, protocol: str, port: int) -> str:
    """How an exchange ends: "answered", "refused" or "silence"."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as one:
        one.settimeout(TIMEOUT)
        try:
            one.connect((address, port))
            if protocol == "udp":
                one.send(b"question")
            return "answered" if one.recv(64) == b"answer" else "closed"
        except (socket.timeout, PermissionError):
            return "silence"
        except OSError:
            return "refused"


def act(wish: Act) -> Any:
    """Do one act of a play."""
    if wish["act"] == "sh":
        done = subprocess.run(["sh", "-c", wish["script"]], capture_output=True, text=True, check=False)
        return {"out": done.stdout, "err": done.stderr}
    if wish["act"] == "ask":
        words = [sys.executable, str(HERE), "ask", str(wish["uid"]), wish["address"]]
        if "netns" in wish:
            words = ["ip", "netns", "exec", wish["netns"], *words]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)
    system = System("/", dry_run=wish.get("dry", False))
    options = Options(**{**wish["options"], "users": tuple(wish["options"].get("users", ()))})
    try:
        apply(context(system), options)
    except AzureliteError as error:
        return {"lacks": str(error)}
    return {"changes": [str(change) for change in system.journal.since(0)]}


def tell(line: str) -> None:
    """Write a line for who waits for it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """What runs inside the namespaces."""
    verb, *words = sys.argv[1:]
    if verb == "serve":
        serve()
    elif verb == "ask":
        uid = int(words[0])
        os.setresuid(uid, uid, uid)
        doors = [*HTTP, *NAMES]
        with ThreadPoolExecutor(len(doors)) as pool:
            answers = pool.map(lambda door: reach(words[1], *door), doors)
            tell(json.dumps({f"{protocol}/{port}": answer for (protocol, port), answer in zip(doors, answers)}))
    else:
        tell(json.dumps([act(wish) for wish in json.loads(words[0])]))


if __name__ == "__main__":
    main()
