"""VMs that come out of Azure's pool: which they are, how they leave it, and what may go wrong on the way."""

from __future__ import annotations

import json
import logging
import socket
import struct
from typing import Any, Callable, Iterator, Optional

import pytest
from kit import ED25519, SWAPPED_VM_ID, VM_ID, FastClock, Guest

from azurelite.datasource import merge
from azurelite.datasource.imds import parse_imds
from azurelite.datasource.ovf import parse_ovf
from azurelite.errors import AzureliteError, FabricError, MachineError
from azurelite.fabric.client import Fabric
from azurelite.fabric.settings import ImdsSettings, WireServerSettings
from azurelite.media.find import MediaDocument
from azurelite.metadata import Metadata
from azurelite.outcome import Outcome
from azurelite.run.pool import forget_pool, leave_pool, pool_type
from azurelite.run.provision import Options, provision
from azurelite.simulator import Scenario, Simulator
from azurelite.simulator.imds import instance_document
from azurelite.simulator.ovf import ovf_document
from azurelite.system.machine import System
from azurelite.system.network.links import LinkWatch

MARKER = "var/lib/azurelite/waiting-in-pool"
OTHER_ID = "0f0e0d0c-0b0a-4908-8706-050403020100"
POOL = {"username": "pool", "hostname": "in-the-pool", "ssh_keys": [], "preprovisioned_vm": True}
OWNER: dict[str, Any] = {"username": "owner", "hostname": "of-the-owner", "ssh_keys": [ED25519]}
DAY = 86400.0
RUNNING, SAVABLE, OS_DISK = "Running", "Savable", "PreprovisionedOSDisk"

Serve = Callable[..., Simulator]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a fabric whose VM is in the pool."""
    started: list[Simulator] = []

    def start(*faults: dict[str, Any], **vm: Any) -> Simulator:
        scenario = Scenario.from_dict({"vm": {**POOL, **vm}, "faults": list(faults)})
        started.append(Simulator(scenario, rate_limit=None))
        started[-1].start()
        return started[-1]

    yield start
    for simulator in started:
        simulator.stop()


class Events(FastClock):
    """Time in which something happens, once it has been slept for long enough."""

    def __init__(self, happening: Callable[[], Any], *, after: float) -> None:
        super().__init__()
        self.happening = happening
        self.after: Optional[float] = after

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self.after is not None and self.skipped >= self.after:
            self.after = None
            self.happening()


def polls(simulator: Simulator) -> int:
    return sum(request.endpoint == "reprovision_data" for request in simulator.requests)


def reports(simulator: Simulator) -> list[tuple[str, str, bool]]:
    return [(report.state, report.incarnation, report.accepted) for report in simulator.reports]


class TestType:
    @pytest.mark.parametrize("imds", ["None", "Unknown", RUNNING, SAVABLE, OS_DISK, "Odd", "running", None])
    def test_table(self, guest: Guest, imds: Optional[str]) -> None:
        for flag in (False, True):
            for media in (None, "None", "Unknown", RUNNING, SAVABLE, OS_DISK, "Odd", " Savable ", ""):
                said = {(media or "").strip(), imds, RUNNING if flag else None}
                expected = next((kind for kind in (SAVABLE, OS_DISK, RUNNING) if kind in said), None)
                found = crawled(preprovisioned_vm=flag, preprovisioned_type=media, pps_type=imds)
                assert pool_type(found, System(guest.root)) == expected, (flag, media)

    @pytest.mark.parametrize(("flag", "taken"), [(False, "an ordinary VM"), (True, "type 'Running'")])
    def test_an_unknown_kind_is_said(
        self, guest: Guest, flag: bool, taken: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        pool_type(crawled(preprovisioned_vm=flag, preprovisioned_type="Odd"), System(guest.root))
        assert f"pool: unknown pre-provisioning type 'Odd'; continuing as {taken}" in caplog.text

    @pytest.mark.parametrize("kind", ["None", "Unknown"])
    def test_what_is_no_kind_is_not_worth_a_word(
        self, guest: Guest, kind: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert pool_type(crawled(preprovisioned_type=kind, pps_type=kind), System(guest.root)) is None
        assert caplog.text == ""

    @pytest.mark.parametrize(
        "document", [{}, {"extended": "Running"}, {"extended": {"compute": {"ppsType": ["Running"]}}}]
    )
    def test_a_document_of_another_shape_is_an_ordinary_vm(self, guest: Guest, document: dict[str, Any]) -> None:
        found = merge({"imds": parse_imds(json.dumps({"compute": {}, **document}).encode())})
        assert pool_type(found, System(guest.root)) is None

    @pytest.mark.parametrize(
        ("marker", "said", "kind"),
        [
            (VM_ID, "None", RUNNING),  # assigned while it was off
            (VM_ID, SAVABLE, SAVABLE),
            (SWAPPED_VM_ID, "None", RUNNING),
            ("", "None", RUNNING),
            (OTHER_ID, "None", None),  # an image that was made of a pool VM
            (OTHER_ID, RUNNING, RUNNING),
            ("\xff\0", "None", None),
        ],
    )
    def test_a_marker(self, guest: Guest, marker: str, said: str, kind: Optional[str]) -> None:
        guest.on_azure().put({MARKER: f"{marker}\nRunning since then\n"})
        assert pool_type(crawled(pps_type=said), System(guest.root)) == kind

    def test_a_marker_counts_on_a_vm_whose_firmware_has_no_id(self, guest: Guest) -> None:
        guest.put({MARKER: f"{OTHER_ID}\n"})
        assert pool_type(crawled(), System(guest.root)) == RUNNING

    def test_a_marker_that_cannot_be_read_is_none(self, guest: Guest, caplog: pytest.LogCaptureFixture) -> None:
        guest.path(MARKER).mkdir(parents=True)
        assert pool_type(crawled(), System(guest.root)) is None
        assert "waiting-in-pool" in caplog.text


def crawled(**vm: Any) -> Metadata:
    """What the sources say about a VM, through their own documents; `pps_type` None: IMDS does not answer."""
    asked = vm.pop("pps_type", "None")
    machine = Scenario.from_dict({"vm": {**vm, "pps_type": asked or "None"}}).vm
    parts = {"media": parse_ovf(ovf_document(machine, prefix="wa", thumbprints=[])).metadata}
    if asked is not None:
        document = instance_document(machine, api_version="2021-08-01", extended=True)
        parts["imds"] = parse_imds(json.dumps(document).encode())
    return merge(parts)


def link_message(kind: int, name: str, state: int) -> bytes:
    body = bytes(16) + struct.pack("=HH", 4 + len(name), 3) + name.encode() + bytes(-len(name) % 4)
    body += struct.pack("=HHBxxx", 5, 16, state)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


FLAP = [link_message(16, "eth0", 2), link_message(16, "eth0", 6)]
SWAP = [link_message(17, "eth0", 2), link_message(16, "eth1", 2)]


class Watch(LinkWatch):
    """Has its messages already, and waits for no more than half a second."""

    def __init__(self, messages: list[bytes]) -> None:
        ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        super().__init__(ours)
        for message in messages:
            self.theirs.send(message)

    def __exit__(self, *words: object) -> None:
        self.theirs.close()
        super().__exit__(*words)

    def events(self, *, wait: Optional[float] = None) -> Any:
        yield from super().events(wait=0.5)
        raise AssertionError("it waits for ever")


class Pool:
    """A guest in the pool, without the engine around it."""

    def __init__(self, guest: Guest, simulator: Simulator, clock: FastClock) -> None:
        self.simulator = simulator
        self.system = System(guest.on_azure().root, clock=clock)
        self.clock = clock
        self.fabric = self.open_fabric()

    def open_fabric(self) -> Fabric:
        url = self.simulator.url
        wireserver = WireServerSettings(url, dialect="xml")
        return Fabric(600, imds=ImdsSettings(url), wireserver=wireserver, clock=self.clock)

    def leave(self, kind: str, messages: list[bytes]) -> MediaDocument:
        def open_watch() -> LinkWatch:
            assert self.simulator.reports == [], "a link that changes at once would be missed"
            return Watch(messages)

        with self.fabric:
            return leave_pool(
                kind, system=self.system, fabric=self.fabric, open_fabric=self.open_fabric, open_watch=open_watch
            )


class TestLeaving:
    @pytest.mark.parametrize(("kind", "messages"), [(RUNNING, FLAP), (SAVABLE, SWAP), (RUNNING, [b"".join(FLAP)])])
    def test_ready_then_the_switch_then_the_owners_document(
        self, guest: Guest, serve: Serve, clock: FastClock, kind: str, messages: list[bytes]
    ) -> None:
        simulator = serve(pps_type=kind)
        simulator.assign(**OWNER)
        given = Pool(guest, simulator, clock).leave(kind, messages)
        assert (given.document, given.source, given.device) == (simulator.ovf(), "reprovisiondata", None)
        assert [request.endpoint for request in simulator.requests] == [
            "goal_state",
            "health",
            "reprovision_data",
            "imds",
        ]
        assert guest.text(MARKER) == f"{VM_ID}\n{kind} since 2023-11-14T22:13:20+00:00\n"
        assert (guest.mode(MARKER), guest.mode("var/lib/azurelite")) == (0o600, 0o700)
        assert f"vm_id={VM_ID}".encode() in guest.path("var/lib/hyperv/.kvp_pool_1").read_bytes()

    def test_only_the_primary_nic_counts(self, guest: Guest, serve: Serve, clock: FastClock) -> None:
        simulator = serve()
        nic = {"ifindex": "2", "address": "00:0d:3a:00:00:01", "type": "1", "carrier": "1", "operstate": "up"}
        guest.put({f"sys/class/net/eth0/{name}": value for name, value in nic.items()})
        guest.path("sys/bus/vmbus/drivers/hv_netvsc").mkdir(parents=True)
        guest.path("sys/class/net/eth0/device").mkdir()
        guest.path("sys/class/net/eth0/device/driver").symlink_to("/sys/bus/vmbus/drivers/hv_netvsc")
        other = [link_message(16, "docker0", 2), link_message(16, "docker0", 6)]
        with pytest.raises(AssertionError, match="it waits for ever"):
            Pool(guest, simulator, clock).leave(RUNNING, other)
        assert polls(simulator) == 0

    def test_a_refused_ready_is_the_end_of_it(self, guest: Guest, serve: Serve, clock: FastClock) -> None:
        simulator = serve({"endpoint": "health", "status": 400})
        with pytest.raises(FabricError, match="Azure did not accept the health report"):
            Pool(guest, simulator, clock).leave(RUNNING, [])
        assert not guest.path(MARKER).exists()
        assert polls(simulator) == 0

    @pytest.mark.parametrize("fault", [{"status": 400}, {"status": 500}, {"drop": True}])
    def test_a_savable_vm_goes_on_without_and_does_not_try_for_long(
        self, guest: Guest, serve: Serve, clock: FastClock, fault: dict[str, Any]
    ) -> None:
        simulator = serve({"endpoint": "health", **fault})
        simulator.assign(**OWNER)
        assert Pool(guest, simulator, clock).leave(SAVABLE, SWAP).document == simulator.ovf()
        assert guest.text(MARKER).startswith(VM_ID)
        assert clock.skipped <= 60

    def test_a_marker_that_cannot_be_written_stops_nothing(
        self, guest: Guest, serve: Serve, clock: FastClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        simulator = serve()
        simulator.assign(**OWNER)
        guest.put({"var/lib/azurelite": "in the way"})
        assert Pool(guest, simulator, clock).leave(RUNNING, FLAP).document == simulator.ovf()
        assert "reports Ready to the pool again" in caplog.text

    def test_a_system_without_netlink_never_calls_itself_ready(
        self, guest: Guest, serve: Serve, clock: FastClock
    ) -> None:
        def refuse() -> LinkWatch:
            raise MachineError("cannot watch network links on this system: no netlink")

        simulator = serve()
        pool = Pool(guest, simulator, clock)
        with pool.fabric, pytest.raises(MachineError, match="no netlink"):
            leave_pool(RUNNING, system=pool.system, fabric=pool.fabric, open_fabric=pool.open_fabric, open_watch=refuse)
        assert simulator.requests == []

    @pytest.mark.parametrize("kind", [RUNNING, OS_DISK])
    def test_the_time_budget_begins_anew_well_or_not(
        self, guest: Guest, serve: Serve, clock: FastClock, kind: str
    ) -> None:
        simulator = serve({"endpoint": "reprovision_data", "requests": "1-3", "status": 403})
        simulator.assign(**OWNER)
        pool = Pool(guest, simulator, clock)
        clock.sleep(550)
        if kind == OS_DISK:
            with pytest.raises(AzureliteError, match="the host did not switch the VM off"):
                pool.leave(kind, [])
        else:
            pool.leave(kind, FLAP)
        assert pool.fabric.deadline.remaining() == pytest.approx(600, abs=5)
        assert pool.fabric.reading.remaining() == pytest.approx(540, abs=5)

    def test_what_imds_says_of_the_pool_is_never_taken_for_the_owners(
        self, guest: Guest, serve: Serve, clock: FastClock
    ) -> None:
        stale = Scenario.from_dict({"vm": {**POOL, "pps_type": RUNNING}}).vm
        body = json.dumps(instance_document(stale, api_version="2021-08-01", extended=True))
        late = serve({"endpoint": "imds", "requests": "1-20", "body": body}, pps_type=RUNNING)
        late.assign(**OWNER)
        assert Pool(guest, late, clock).leave(RUNNING, FLAP).document == late.ovf()
        assert sum(request.endpoint == "imds" for request in late.requests) == 21
        assert clock.skipped == 20

    def test_imds_that_is_gone_after_the_switch_is_the_next_crawls_business(
        self, guest: Guest, serve: Serve, clock: FastClock
    ) -> None:
        simulator = serve({"endpoint": "imds", "status": 500})
        simulator.assign(**OWNER)
        assert Pool(guest, simulator, clock).leave(RUNNING, FLAP).document == simulator.ovf()
        assert clock.skipped <= 60

    def test_the_marker_is_forgotten_except_by_a_dry_run(self, guest: Guest) -> None:
        guest.put({MARKER: VM_ID})
        forget_pool(System(guest.root, dry_run=True))
        assert guest.path(MARKER).exists()
        forget_pool(System(guest.root))
        assert not guest.path(MARKER).exists()
        forget_pool(System(guest.root))


def run(guest: Guest, simulator: Simulator, clock: FastClock, **options: Any) -> Outcome:
    own = {"imds": {}, "wireserver": {"dialect": "xml"}, "media": {"device": "none"}, "deadline": 60}
    guest.on_azure().configure(simulator, datasource=own)
    return provision(Options(root=guest.root, clock=clock, **options))


def waiting(guest: Guest) -> Guest:
    """As a run that crashed in the pool left it: Ready was told, the link may have been switched or not."""
    return guest.put({MARKER: f"{VM_ID}\nRunning since 2023-11-14T22:13:20+00:00\n"})


class TestAfterACrash:
    def test_no_second_ready_but_polls_then_provisioned(self, guest: Guest, serve: Serve) -> None:
        simulator = serve(pps_type=RUNNING)
        clock = Events(lambda: simulator.assign(**OWNER), after=30)
        outcome = run(waiting(guest), simulator, clock)
        assert (outcome.outcome, outcome.exit_code) == ("provisioned", 0)
        assert reports(simulator) == [("Ready", "2", True)]
        assert polls(simulator) > 20
        assert "\nowner:x:" in guest.text("etc/passwd")
        assert "\npool:x:" not in guest.text("etc/passwd")
        assert guest.text("etc/hostname") == "of-the-owner\n"
        assert not guest.path(MARKER).exists()

    def test_the_next_boot_is_silent(self, guest: Guest, serve: Serve, clock: FastClock) -> None:
        simulator = serve(pps_type=RUNNING)
        simulator.assign(**OWNER)
        run(waiting(guest), simulator, clock)
        asked = len(simulator.requests)
        assert run(guest, simulator, clock).outcome == "already provisioned"
        assert len(simulator.requests) == asked

    def test_the_secrets_of_the_document_are_the_owners_and_its_copy_holds_none(
        self, guest: Guest, serve: Serve, clock: FastClock
    ) -> None:
        simulator = serve(pps_type=RUNNING, password="pools-Own-1")
        simulator.assign(**OWNER, password="owners-Own-1")
        outcome = run(waiting(guest), simulator, clock)
        assert outcome.outcome == "provisioned"
        copy = guest.text(f"var/lib/azurelite/vms/{VM_ID}/ovf-env.xml")
        assert "<wa:UserName>owner<" in copy
        assert "Own-1" not in copy

    def test_404_for_hours_is_no_reason_to_give_up_and_none_to_fill_the_log(
        self, guest: Guest, serve: Serve, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        slow = {"Retry-After": "3600"}  # half a minute counts
        simulator = serve({"endpoint": "reprovision_data", "requests": "1-720", "status": 404, "headers": slow})
        simulator.assign(**OWNER)
        clock = FastClock()
        assert run(waiting(guest), simulator, clock).outcome == "provisioned"
        assert clock.skipped > 0.24 * DAY
        assert polls(simulator) == 721
        assert caplog.text.count("HTTP 404") <= 2 * 6

    @pytest.mark.parametrize(
        "fault",
        [
            *({"status": status} for status in (400, 403, 404, 429, 500, 503)),
            {"drop": True},
            {"truncate": 10},
            {"redirect": "http://127.0.0.1:1/"},
        ],
        ids=str,
    )
    def test_whatever_is_no_document_is_worth_another_try(
        self, guest: Guest, serve: Serve, clock: FastClock, fault: dict[str, Any]
    ) -> None:
        simulator = serve({"endpoint": "reprovision_data", "requests": "1-70", **fault})
        simulator.assign(**OWNER)
        assert run(waiting(guest), simulator, clock).outcome == "provisioned"
        assert clock.skipped > 60, "longer than the budget of a whole run"
        assert reports(simulator) == [("Ready", "2", True)]

    GARBAGE: tuple[dict[str, Any], ...] = (
        {"garbage": True},
        {"body": ""},
        {"body": "<Environment/>"},  # XML, but not Azure's
        {"body": '<!DOCTYPE x [<!ENTITY y "z">]><x>&y;</x>'},
        {"size": 5 << 20},
    )

    @pytest.mark.parametrize("fault", GARBAGE, ids=str)
    def test_a_document_that_cannot_be_read_is_asked_for_again(
        self, guest: Guest, serve: Serve, clock: FastClock, fault: dict[str, Any]
    ) -> None:
        simulator = serve({"endpoint": "reprovision_data", "requests": "1-29", **fault})
        simulator.assign(**OWNER)
        assert run(waiting(guest), simulator, clock).outcome == "provisioned"
        assert polls(simulator) == 30

    @pytest.mark.parametrize("fault", GARBAGE, ids=str)
    def test_one_that_stays_unreadable_is_reported_and_the_next_boot_asks_again(
        self, guest: Guest, serve: Serve, clock: FastClock, fault: dict[str, Any]
    ) -> None:
        simulator = serve({"endpoint": "reprovision_data", "requests": "1-30", **fault})
        simulator.assign(**OWNER)
        outcome = run(waiting(guest), simulator, clock)
        assert (outcome.outcome, outcome.exit_code) == ("failed", 1)
        assert polls(simulator) == 30
        (report,) = simulator.reports
        assert (report.state, report.accepted) == ("NotReady", True)
        assert f"vm_id={VM_ID}" in (report.description or "")
        assert guest.path(MARKER).exists()
        assert run(guest, simulator, clock).outcome == "provisioned"

    def test_no_document_in_between_begins_the_count_anew(self, guest: Guest, serve: Serve, clock: FastClock) -> None:
        faults = [
            {"endpoint": "reprovision_data", "requests": "25", "status": 403},
            {"endpoint": "reprovision_data", "requests": "1-50", "garbage": True},
        ]
        simulator = serve(*faults)
        simulator.assign(**OWNER)
        assert run(waiting(guest), simulator, clock).outcome == "provisioned"

    def test_imds_that_stays_in_the_pool_is_reported(self, guest: Guest, serve: Serve, clock: FastClock) -> None:
        simulator = serve(pps_type=RUNNING)
        simulator.assign(**OWNER, pps_type=RUNNING)
        outcome = run(waiting(guest), simulator, clock)
        assert (outcome.outcome, outcome.exit_code) == ("failed", 1)
        (report,) = simulator.reports
        assert (report.state, report.accepted) == ("NotReady", True)
        assert "reason=invalid IMDS metadata for key=extended.compute.ppsType" in (report.description or "")
        assert guest.path(MARKER).exists()

    def test_a_marker_that_cannot_be_removed_is_no_failure(self, guest: Guest, serve: Serve, clock: FastClock) -> None:
        guest.path(MARKER).mkdir(parents=True)
        outcome = run(guest, serve(preprovisioned_vm=False, ssh_keys=[ED25519]), clock)
        assert (outcome.outcome, outcome.exit_code) == ("provisioned", 0)


class TestWholeRun:
    def test_a_host_that_does_not_switch_an_os_disk_vm_off(self, guest: Guest, serve: Serve, clock: FastClock) -> None:
        simulator = serve(pps_type=OS_DISK)
        outcome = run(guest, simulator, clock)
        assert (outcome.outcome, outcome.exit_code) == ("failed", 1)
        assert clock.skipped >= 365 * DAY
        assert reports(simulator) == [("Ready", "1", True), ("NotReady", "1", True)]
        assert "reason=error waiting for host shutdown" in (simulator.reports[1].description or "")
        assert not guest.path(MARKER).exists()
        assert "\npool:x:" not in guest.text("etc/passwd")

    def test_an_os_disk_vm_that_was_switched_off_boots_as_its_owners(self, guest: Guest, serve: Serve) -> None:
        simulator = serve(pps_type=OS_DISK)

        def switch_off() -> None:
            raise SystemExit

        with pytest.raises(SystemExit):
            run(guest, simulator, Events(switch_off, after=60))
        simulator.assign(**OWNER)
        assert run(guest, simulator, FastClock()).outcome == "provisioned"
        assert reports(simulator) == [("Ready", "1", True), ("Ready", "2", True)]
        assert polls(simulator) == 0

    @pytest.mark.parametrize("kind", [RUNNING, OS_DISK])
    def test_a_refused_ready_is_reported(self, guest: Guest, serve: Serve, clock: FastClock, kind: str) -> None:
        simulator = serve({"endpoint": "health", "requests": 1, "status": 400}, pps_type=kind)
        outcome = run(guest, simulator, clock)
        assert (outcome.outcome, outcome.exit_code) == ("failed", 1)
        assert [(report.state, report.accepted) for report in simulator.reports] == [
            ("Ready", False),
            ("NotReady", True),
        ]
        assert "http error 400 reporting health" in (simulator.reports[1].description or "")
        assert not guest.path(MARKER).exists()

    @pytest.mark.parametrize("kind", [RUNNING, SAVABLE, OS_DISK])
    @pytest.mark.parametrize("crashed", [False, True])
    def test_a_dry_run_never_waits_in_a_pool(
        self, guest: Guest, serve: Serve, clock: FastClock, kind: str, crashed: bool
    ) -> None:
        simulator = serve(pps_type=kind, ssh_keys=[ED25519])
        if crashed:
            waiting(guest)
        run(guest, simulator, clock, dry_run=True)
        before = guest.snapshot()
        assert run(guest, simulator, clock, dry_run=True).outcome == "dry run"
        assert guest.snapshot() == before
        assert (polls(simulator), simulator.reports, clock.skipped) == (0, [], 0)


def test_a_crawl_that_still_speaks_of_the_pool_is_not_used() -> None:
    from azurelite.metadata import Metadata
    from azurelite.run.pool import still_in_pool

    pool = Metadata(raw={"imds": {"extended": {"compute": {"ppsType": "Running"}}}})
    trouble = still_in_pool(pool)
    assert trouble is not None
    assert trouble.reason == "invalid IMDS metadata for key=extended.compute.ppsType"
    for kind in ("None", "Unknown", None):
        assert still_in_pool(Metadata(raw={"imds": {"extended": {"compute": {"ppsType": kind}}}})) is None
    assert still_in_pool(Metadata()) is None
