"""What goes wrong in other agents, one test each: reading what Azure says, and telling Azure what came of it."""

from __future__ import annotations

import base64
import codecs
import contextlib
import fcntl
import json
import logging
import re
import shutil
import socket
from pathlib import Path
from typing import Any, Iterator, Optional

import pytest
from kit import ED25519, SWAPPED_VM_ID, VM_ID, FastClock, Guest, shim

from azurelite.cli import main
from azurelite.datasource.imds import parse_imds
from azurelite.datasource.ovf import parse_ovf
from azurelite.fabric.client import Fabric
from azurelite.fabric.goalstate import parse_goal_state
from azurelite.fabric.retry import LONGEST_PAUSE
from azurelite.fabric.settings import WireServerSettings
from azurelite.hypervisor.kvp import REPORT_KEY, upsert
from azurelite.outcome import Outcome
from azurelite.run.provision import Options, provision
from azurelite.simulator import Fault, Scenario, Simulator
from azurelite.simulator.disc import disc_image
from azurelite.system.disks.mounts import Mounts
from azurelite.system.network.leases import wireserver_from_leases
from azurelite.system.process import Commands
from azurelite.system.root import Root

OTHER_VM_ID = "0f0e0d0c-0b0a-4908-8706-050403020100"
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMJLoUzI85bKCW9bt0Q3fnhxG027R7Ol3peaKzeH5tJO"
KVP = "var/lib/hyperv/.kvp_pool_1"
DRIVE = "/dev/sr0"
OVF = "ovf-env.xml"
NO_IMDS = Fault(endpoint="imds", status=400)
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl: install openssl")


def fabric_with(*faults: Fault, **vm: Any) -> Simulator:
    said = Scenario.from_dict({"vm": {"ssh_keys": [ED25519], **vm}})
    return Simulator(Scenario(said.vm, faults), rate_limit=None)


def run(guest: Guest, clock: Optional[FastClock] = None, **options: Any) -> Outcome:
    return provision(Options(root=guest.root, clock=clock or FastClock(), **options))


def set_up(
    guest: Guest,
    fabric: Simulator,
    *,
    media: Optional[bytes] = None,
    vm_id: str = VM_ID,
    generation: int = 2,
    **datasource: Any,
) -> Guest:
    """A guest on Azure; with `media`, that image in its drive."""
    if media is not None:
        insert(guest, DRIVE, media)
    guest.on_azure(vm_id=vm_id, generation=generation)
    return guest.configure(fabric, datasource={"media": {"device": DRIVE}, "deadline": 100, **datasource})


def insert(guest: Guest, device: str, image: bytes) -> None:
    guest.path("dev").mkdir(exist_ok=True)
    guest.path(device).write_bytes(image)


def disc(document: bytes) -> bytes:
    return disc_image({OVF: document}, kind="udf")


def ovf(**vm: Any) -> bytes:
    return fabric_with(**vm).ovf()


def without(document: bytes, element: str, *, empty: bool = False) -> bytes:
    """The document with an element left out, or with nothing in it."""
    pattern = f"<((?:\\w+:)?{element})( [^>]*)?>.*?</\\1>".encode()
    changed, times = re.subn(pattern, b"<\\1></\\1>" if empty else b"", document, flags=re.DOTALL)
    assert times == 1, element
    return changed


def known(guest: Guest) -> dict[str, Any]:
    """What the run knew, secrets in clear."""
    found: dict[str, Any] = json.loads(guest.text("run/azurelite/metadata-sensitive.json"))
    return found


def marked(guest: Guest) -> bool:
    return guest.path(f"var/lib/azurelite/vms/{VM_ID}/provisioned").exists()


def keys_of(guest: Guest, user: str = "azureuser") -> list[str]:
    return guest.text(f"home/{user}/.ssh/authorized_keys").splitlines()


def states(fabric: Simulator) -> list[tuple[str, bool]]:
    return [(report.state, report.accepted) for report in fabric.reports]


def asked(fabric: Simulator, endpoint: str) -> int:
    return sum(request.endpoint == endpoint for request in fabric.requests)


@contextlib.contextmanager
def taken_port() -> Iterator[int]:
    """A port that refuses every connection."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def key_of(kind: str, *fields: bytes) -> str:
    """A public key of any kind."""
    blob = b"".join(len(field).to_bytes(4, "big") + field for field in (kind.encode(), *fields))
    return f"{kind} {base64.b64encode(blob).decode()}"


class TestReporting:
    """Telling Azure, and knowing whether it heard."""

    def test_a_lost_ready_is_sent_again_at_the_next_boot(self, guest: Guest) -> None:
        """Others write down that they are done whether or not Ready arrived, and never send it again."""
        with fabric_with(Fault(endpoint="health", status=500)) as broken:
            assert run(set_up(guest, broken)).exit_code == 3
        assert not marked(guest)
        with fabric_with() as healthy:
            assert run(set_up(guest, healthy)).exit_code == 0
        assert states(healthy) == [("Ready", True)]
        assert marked(guest)

    def test_a_lost_ready_is_loud(self, guest: Guest, caplog: pytest.LogCaptureFixture) -> None:
        """Another agent leaves nothing but a line in its log when Ready is refused, and exits with success."""
        with fabric_with(Fault(endpoint="health", status=500)) as fabric:
            outcome = run(set_up(guest, fabric))
        assert (outcome.outcome, outcome.exit_code) == ("unreachable", 3)
        assert "http" in outcome.reason.lower()
        status = json.loads(guest.text("run/azurelite/status.json"))
        assert status["outcome"] == "unreachable"
        assert status["report"]["accepted"] is False
        assert [record.levelno for record in caplog.records][-1] == logging.ERROR

    def test_the_record_for_the_host_does_not_claim_a_success_that_azure_never_heard_of(self, guest: Guest) -> None:
        """Another agent's KVP record says "success" ahead of Ready, and goes on saying so when Ready is lost."""
        with fabric_with(Fault(endpoint="health", status=500)) as fabric:
            run(set_up(guest, fabric))
        pool = guest.path(KVP).read_bytes()
        assert b"result=error" in pool
        assert b"result=success" not in pool

    @pytest.mark.parametrize("status", [200, 201, 202, 204])
    @pytest.mark.parametrize("body", ["", "<not xml"])
    def test_any_answer_of_success_is_acceptance_whatever_its_body(self, guest: Guest, status: int, body: str) -> None:
        """Others take only 200, or read the body of the answer to a health report, which may be anything or nothing."""
        with fabric_with(Fault(endpoint="health", status=status, body=body)) as fabric:
            outcome = run(set_up(guest, fabric))
        assert outcome.exit_code == 0
        assert outcome.report is not None
        assert outcome.report.accepted
        assert asked(fabric, "health") == 1

    @pytest.mark.parametrize("status", [400, 410])
    def test_a_new_container_with_the_same_incarnation_is_a_new_goal_state(self, guest: Guest, status: int) -> None:
        """Others look at the incarnation alone, which stays the same when Azure moves a VM to another container."""
        moved = Fault(endpoint="goal_state", requests=1, move="container")
        with fabric_with(moved, stale_container_status=status) as fabric:
            outcome = run(set_up(guest, fabric))
        assert outcome.exit_code == 0
        first, second = fabric.reports
        assert (first.incarnation, first.accepted) == ("1", False)
        assert (second.incarnation, second.accepted) == ("1", True)
        assert first.container_id != second.container_id == fabric.vm.container_id

    def test_a_dry_run_posts_nothing(self, guest: Guest) -> None:
        """Another agent's dry run reports Ready all the same."""
        with fabric_with() as fabric:
            set_up(guest, fabric)
            before = guest.snapshot()
            outcome = run(guest, dry_run=True)
        assert outcome.exit_code == 0
        assert {request.method for request in fabric.requests} == {"GET"}
        assert fabric.reports == []
        assert guest.snapshot() == before

    def test_a_dry_run_that_fails_posts_nothing(self, guest: Guest) -> None:
        """A failure is a report, too."""
        with fabric_with(username="daemon") as fabric:
            assert run(set_up(guest, fabric), dry_run=True).exit_code == 1
        assert {request.method for request in fabric.requests} == {"GET"}
        assert not guest.path(KVP).exists()

    def test_exit_codes_tell_the_failures_apart(self, guest: Guest, capsys: Any) -> None:
        """Another agent's process ends with 0 whatever went wrong, so that no service manager notices."""
        verb = ["provision", "--root", guest.root]
        with fabric_with(username="daemon") as fabric:
            set_up(guest, fabric)
            assert main(verb) == 1, "a step failed"
        with fabric_with(Fault(endpoint="health", status=503)) as fabric:
            set_up(guest, fabric, deadline=1)
            assert main(verb) == 3, "Azure did not take the report"
        with fabric_with() as fabric:
            guest.on_azure().configure(fabric, handlers=["hostnane"])
            assert main(verb) == 2, "the configuration is wrong"
            set_up(guest, fabric)
            assert main(verb) == 0
            assert main(verb) == 0, "nothing to do"

    def test_after_a_failure_the_disc_is_read_again(self, guest: Guest) -> None:
        """A disc stays in its drive until Ready was accepted: what was lost at the first boot is there at the next."""
        with fabric_with(Fault(endpoint="health", status=500), NO_IMDS, password="canary") as fabric:
            assert run(set_up(guest, fabric, media=fabric.media())).exit_code == 3
        with fabric_with(NO_IMDS, password="canary") as fabric:
            assert run(set_up(guest, fabric)).exit_code == 0
        assert known(guest)["password"] == "canary"


class TestPatience:
    """Asking again: what for, after which pause, until when."""

    def test_the_time_out_of_a_connection_is_not_the_pause_between_tries(self, guest: Guest) -> None:
        """Another agent waits a minute between two tries because that is how long it waits for one."""
        clock = FastClock()
        with taken_port() as port, fabric_with() as fabric:
            imds = {"endpoint": f"http://127.0.0.1:{port}", "timeout": 60, "deadline": 20}
            assert run(set_up(guest, fabric, imds=imds), clock).exit_code == 1
        assert len(clock.slept) > 10
        assert max(clock.slept) <= 1

    @pytest.mark.parametrize("endpoint", ["imds", "goal_state", "health"])
    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    def test_a_passing_refusal_is_met_with_patience(self, guest: Guest, endpoint: str, status: int) -> None:
        """Others give up at once on some of these: each has its own list, and none has 408."""
        clock = FastClock()
        with fabric_with(Fault(endpoint=endpoint, requests="1-2", status=status)) as fabric:
            outcome = run(set_up(guest, fabric), clock)
        assert outcome.exit_code == 0
        assert asked(fabric, endpoint) == 3
        assert states(fabric)[-1] == ("Ready", True)
        assert clock.slept == [1, 1]

    @pytest.mark.parametrize("status", [404, 410])
    def test_an_imds_that_is_not_up_yet_is_met_with_patience(self, guest: Guest, status: int) -> None:
        """Others take 404 for "there is no such thing"; IMDS says it while it comes up."""
        with fabric_with(Fault(endpoint="imds", requests="1-3", status=status)) as fabric:
            assert run(set_up(guest, fabric)).exit_code == 0
        assert asked(fabric, "imds") == 4

    def test_400_of_imds_is_answered_with_another_question(self, guest: Guest) -> None:
        """Another agent repeats the very question that IMDS does not understand, another one gives up."""
        with fabric_with(api_versions=["2019-06-01", "2020-10-01", "2021-02-01"]) as fabric:
            assert run(set_up(guest, fabric)).exit_code == 0
        targets = [request.target for request in fabric.requests if request.endpoint == "imds"]
        assert ["api-version=2021-02-01" in target for target in targets] == [False, True]

    def test_a_400_for_ever_is_not_asked_for_ever(self, guest: Guest) -> None:
        """Another agent spends its whole time on a question that is refused for good."""
        with fabric_with(NO_IMDS) as fabric:
            assert run(set_up(guest, fabric)).exit_code == 1
        targets = [request.target for request in fabric.requests if request.endpoint == "imds"]
        assert len(targets) == len(set(targets)) <= 3

    @pytest.mark.parametrize("headers", [{}, {"Retry-After": "3600"}])
    def test_pauses_are_capped_and_end_with_the_deadline(self, guest: Guest, headers: dict[str, str]) -> None:
        """Another agent's pauses grow without bound: the seventh is longer than Azure waits for a VM."""
        clock = FastClock()
        with fabric_with(Fault(endpoint="health", status=503, headers=headers)) as fabric:
            started = clock.monotonic()
            assert run(set_up(guest, fabric, deadline=1200), clock).exit_code == 3
        assert max(clock.slept) <= LONGEST_PAUSE
        assert clock.monotonic() - started < 1205
        assert sum(clock.slept) > 1100, "and it is not given up early"

    def test_endless_503_of_everything_ends_with_the_deadline(self, guest: Guest) -> None:
        """Another agent starts its time anew at each 503, and so never ends."""
        clock = FastClock()
        with fabric_with(Fault(endpoint="any", status=503)) as fabric:
            started = clock.monotonic()
            assert run(set_up(guest, fabric, deadline=200), clock).exit_code == 3
        assert clock.monotonic() - started < 205

    @pytest.mark.parametrize("step", [3600.0, -3600.0])
    def test_a_step_of_the_wall_clock_changes_no_deadline(self, guest: Guest, step: float) -> None:
        """Another agent measures its deadlines by the time of day, which is set by NTP while it waits."""

        class Stepping(FastClock):
            calls = 0

            def now(self) -> float:
                self.calls += 1
                return super().now() + step * self.calls

            def sleep(self, seconds: float) -> None:
                self.now()
                super().sleep(seconds)

        clock = Stepping()
        with fabric_with(Fault(endpoint="health", requests="1-20", status=503)) as fabric:
            started = clock.monotonic()
            assert run(set_up(guest, fabric), clock).exit_code == 0
        assert asked(fabric, "health") == 21
        assert 19 < clock.monotonic() - started < 60


class TestImds:
    """The instance document."""

    @pytest.mark.parametrize("body", ["[]", "null", "7", '"text"', "[{}]"])
    def test_a_root_that_is_no_object_is_a_failure_with_a_name(self, guest: Guest, body: str) -> None:
        """Another agent stumbles over it without a word that a person could use, and the media is not looked at."""
        with fabric_with(Fault(endpoint="imds", body=body)) as fabric:
            assert run(set_up(guest, fabric, media=fabric.media())).exit_code == 0
        assert known(guest)["provenance"]["username"] == "media"
        with fabric_with(Fault(endpoint="imds", body=body)) as fabric:
            guest.path(DRIVE).unlink()
            outcome = run(set_up(guest, fabric, vm_id=OTHER_VM_ID))
        assert outcome.exit_code == 1
        assert "reason=error parsing IMDS metadata" in (fabric.reports[0].description or "")

    def test_an_empty_list_of_keys_does_not_hide_those_of_the_media(self, guest: Guest) -> None:
        """Another agent takes IMDS's empty list for an answer, and the VM has no key."""
        with fabric_with(imds={"compute": {"publicKeys": []}}) as fabric:
            assert run(set_up(guest, fabric, media=fabric.media())).exit_code == 0
        assert keys_of(guest) == [ED25519]
        assert known(guest)["provenance"]["public_ssh_keys"] == "media"

    @pytest.mark.parametrize(
        "odd", ["ssh-dss AAAAB3NzaC1kc3MAAACBAP", "not a key", "ssh-rsa AAAA", "-----BEGIN PUBLIC KEY-----", 7, None]
    )
    def test_one_odd_key_does_not_take_the_others_with_it(self, guest: Guest, odd: Any) -> None:
        """Others drop every key, or fail the VM, because one is of a kind or form that they do not know."""
        listed = [{"keyData": key, "path": "/home/azureuser/.ssh/authorized_keys"} for key in (odd, ED25519, OTHER_KEY)]
        with fabric_with(imds={"compute": {"publicKeys": listed}}) as fabric:
            assert run(set_up(guest, fabric)).exit_code == 0
        assert keys_of(guest) == [ED25519, OTHER_KEY]

    def test_every_kind_of_key_that_sshd_takes_is_taken(self, guest: Guest) -> None:
        """Another agent knows ssh-rsa and ssh-ed25519 only, and throws away a VM's only key."""
        point = b"\4" + bytes(64)
        keys = [
            ED25519,
            key_of("ssh-rsa", b"\1\0\1", b"\0" + b"\x99" * 256),
            key_of("ecdsa-sha2-nistp256", b"nistp256", point),
            key_of("ecdsa-sha2-nistp384", b"nistp384", b"\4" + bytes(96)),
            key_of("ecdsa-sha2-nistp521", b"nistp521", b"\4" + bytes(132)),
            key_of("sk-ssh-ed25519@openssh.com", bytes(32), b"ssh:"),
            key_of("sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", point, b"ssh:"),
        ]
        with fabric_with(ssh_keys=keys) as fabric:
            assert run(set_up(guest, fabric)).exit_code == 0
        assert keys_of(guest) == keys

    def test_line_breaks_inside_a_key_are_taken_out(self, guest: Guest) -> None:
        """Another agent writes the portal's CR LF into the file, and sshd finds no key there."""
        kind, blob = ED25519.split()
        broken = f"{kind} {blob[:30]}\r\n{blob[30:]}\r\n"
        with fabric_with(ssh_keys=[broken]) as fabric:
            assert run(set_up(guest, fabric)).exit_code == 0
        assert guest.path("home/azureuser/.ssh/authorized_keys").read_bytes() == f"{ED25519}\n".encode()

    @pytest.mark.parametrize(
        ("said", "forbidden"), [(True, True), (False, False), ("true", True), ("True", True), ("false", False)]
    )
    def test_true_is_true_as_json_and_as_text(self, said: Any, forbidden: bool) -> None:
        """Another agent compares with the text "true", and so takes JSON's true for "passwords are allowed"."""
        document = {"compute": {"osProfile": {"disablePasswordAuthentication": said}}}
        assert parse_imds(json.dumps(document).encode()).disable_password_authentication is forbidden

    @pytest.mark.parametrize("network", [{"interface": []}, {"interface": None}, {}, None])
    def test_a_vm_without_network_interfaces_in_imds_is_an_ordinary_one(self, guest: Guest, network: Any) -> None:
        """Another agent writes a network configuration without any interface then, and the VM is cut off."""
        with fabric_with(imds={"network": network}) as fabric:
            set_up(guest, fabric)
            before = guest.snapshot(without=("/var", "/run", "/home", "/etc"))
            assert run(guest).exit_code == 0
        assert guest.snapshot(without=("/var", "/run", "/home", "/etc")) == before
        assert not guest.path("etc/netplan").exists()

    def test_nothing_is_made_up_where_there_is_no_media(self, guest: Guest) -> None:
        """Another agent writes a document of its own then, with the host name "None" and nothing escaped."""
        profile = {"computerName": None, "adminUsername": "a<b&c"}
        with fabric_with(imds={"compute": {"osProfile": profile, "name": None}}) as fabric:
            run(set_up(guest, fabric))
        assert not guest.path(f"var/lib/azurelite/vms/{VM_ID}/{OVF}").exists()
        assert guest.text("etc/hostname") == "localhost\n"
        assert known(guest)["local_hostname"] is None
        assert "ovf" not in known(guest)["raw"]


class TestMedia:
    """The provisioning media and the document on it."""

    @pytest.mark.parametrize("prefix", ["wa", "ns1", "x-y.z", ""])
    @pytest.mark.parametrize("start", [b"", codecs.BOM_UTF8])
    def test_the_namespace_counts_and_no_prefix(self, prefix: str, start: bytes) -> None:
        """Another agent looks for the letters "wa:", or refuses a byte order mark."""
        found = parse_ovf(start + fabric_with().ovf(prefix=prefix)).metadata
        assert (found.username, found.local_hostname) == ("azureuser", "web-1")
        assert [key.key_data for key in found.public_ssh_keys or ()] == [ED25519]

    @pytest.mark.parametrize("empty", [False, True])
    @pytest.mark.parametrize(
        "element",
        ["PlatformSettingsSection", "PlatformSettings", "ProvisionGuestAgent", "PreprovisionedVm", "UserName", "SSH"],
    )
    def test_an_element_that_is_absent_or_empty_is_not_fatal(self, element: str, empty: bool) -> None:
        """Another agent fails a VM because of an empty ProvisionGuestAgent, which it does not even need."""
        found = parse_ovf(without(ovf(), element, empty=empty)).metadata
        assert found.local_hostname == "web-1"
        assert (found.username is None) is (element == "UserName")

    @pytest.mark.parametrize("empty", [False, True])
    def test_an_empty_word_on_passwords_is_no_permission(self, guest: Guest, empty: bool) -> None:
        """Others take a missing or empty DisableSshPasswordAuthentication for "passwords are allowed"."""
        document = without(ovf(), "DisableSshPasswordAuthentication", empty=empty)
        with fabric_with(NO_IMDS) as fabric:
            assert run(set_up(guest, fabric, media=disc(document))).exit_code == 0
        assert known(guest)["disable_password_authentication"] is None
        assert "disable_password_authentication" not in known(guest)["provenance"]
        assert not guest.path("etc/ssh").exists(), "nothing is unlocked on a guess"

    @pytest.mark.parametrize("password", ["", "REDACTED", "*"])
    def test_an_empty_password_unlocks_nothing_now_or_later(self, guest: Guest, password: str) -> None:
        """Another agent saves an empty password as the word REDACTED, which unlocks the account at a later boot."""
        with fabric_with(NO_IMDS, password=password) as fabric:
            assert run(set_up(guest, fabric, media=fabric.media())).exit_code == 0
            assert known(guest)["password"] is None
            locked = guest.text("etc/shadow")
            guest.path(DRIVE).unlink()
            assert run(guest, force=True).exit_code == 0
        assert known(guest)["password"] is None
        assert known(guest)["provenance"]["username"] == "media", "the saved copy was read"
        assert guest.text("etc/shadow") == locked
        assert re.search("^azureuser:[!*]", locked, re.MULTILINE)

    def test_a_user_whom_only_imds_names_is_enough(self, guest: Guest) -> None:
        """Another agent stumbles where IMDS names the user and the document neither a user nor a password."""
        with fabric_with(ovf_username="", ovf_keys="none") as fabric:
            assert run(set_up(guest, fabric, media=fabric.media())).exit_code == 0
        assert keys_of(guest) == [ED25519]
        assert known(guest)["provenance"]["username"] == "imds"

    @pytest.mark.parametrize("damaged", [b"<Environment", b"\0\1\2", b"", b"<a>" * 500])
    def test_a_damaged_document_on_somebodys_disc_does_not_hide_azures(self, guest: Guest, damaged: bytes) -> None:
        """Another agent fails the VM because a user's own disc, looked at first, has a file of that name."""
        insert(guest, "/dev/sr0", disc(damaged))
        with fabric_with(NO_IMDS) as fabric:
            insert(guest, "/dev/sr1", fabric.media())
            assert run(guest.on_azure().configure(fabric)).exit_code == 0
        assert known(guest)["provenance"]["username"] == "media"

    @pytest.mark.parametrize("wrong", ["YQ", "YWI", "YW!I=", "YWJj-_==", "=YWJ"])
    def test_custom_data_is_base64_or_nothing_and_never_fatal(
        self, guest: Guest, caplog: pytest.LogCaptureFixture, wrong: str
    ) -> None:
        """Another agent fails the VM over a missing `=`, and takes junk between the characters without a word."""
        document = ovf(custom_data="x").replace(base64.b64encode(b"x"), wrong.encode())
        with fabric_with() as fabric:
            assert run(set_up(guest, fabric, media=disc(document))).exit_code == 0
        assert known(guest)["custom_data"] is None
        assert "CustomData skipped: it is not base64" in caplog.text

    def test_line_breaks_in_custom_data_are_no_damage(self) -> None:
        """White space is part of base64 as XML carries it."""
        encoded = base64.b64encode(b"x" * 90)
        wrapped = b"\r\n  ".join(encoded[start : start + 40] for start in range(0, len(encoded), 40))
        found = parse_ovf(ovf(custom_data="x" * 90).replace(encoded, wrapped)).metadata
        assert found.custom_data is not None
        assert found.custom_data.reveal() == b"x" * 90

    def test_a_key_that_is_written_out_needs_no_certificates(self, guest: Guest) -> None:
        """Another agent ignores a key on the media unless the goal state names certificates."""
        with fabric_with(NO_IMDS, certificates=False) as fabric:
            assert run(set_up(guest, fabric, media=fabric.media())).exit_code == 0
        assert keys_of(guest) == [ED25519]
        assert asked(fabric, "certificates") == 0

    @pytest.mark.parametrize(
        ("device", "files"),
        [
            ("/dev/sr0", {}),
            ("/dev/sr3", {}),
            ("/dev/cdrom", {}),
            ("/dev/hyperv-cd", {"sys/class/block/hyperv-cd/device/type": "5\n"}),
            ("/dev/vdb", {"sys/class/block/vdb/size": "1000\n"}),
            ("/dev/sdc", {"sys/class/block/sdc/size": "99999999\n", "sys/class/block/sdc/removable": "1\n"}),
        ],
    )
    @pytest.mark.parametrize("kind", ["udf", "iso9660"])
    def test_the_media_is_found_wherever_it_is(
        self, guest: Guest, device: str, files: dict[str, str], kind: str
    ) -> None:
        """Others look at /dev/sr0 alone, or wait for somebody to have mounted the disc."""
        with fabric_with(NO_IMDS) as fabric:
            insert(guest.put(files), device, fabric.media(kind))
            assert run(guest.on_azure().configure(fabric)).exit_code == 0
        assert known(guest)["provenance"]["username"] == "media"

    def test_a_disc_that_somebody_has_mounted_is_read_there(self, guest: Guest) -> None:
        """Others cannot read a disc that is mounted already, or take it away from whoever mounted it."""
        with fabric_with(NO_IMDS) as fabric:
            guest.put({"proc/self/mountinfo": "40 1 11:0 / /run/media/azure ro - udf /dev/sr0 ro\n"})
            guest.put({f"run/media/azure/{OVF}": fabric.ovf().decode()})
            assert run(guest.on_azure().configure(fabric)).exit_code == 0
        assert known(guest)["provenance"]["username"] == "media"
        assert guest.path(f"run/media/azure/{OVF}").exists()

    @pytest.mark.spawns
    def test_a_disc_is_unmounted_on_every_error_path(self, tmp_path: Path) -> None:
        """Another agent leaves the disc mounted when what is on it cannot be read."""
        shim(tmp_path / "bin", "mount")
        log = shim(tmp_path / "bin", "umount")
        mounts = Mounts(Commands(str(tmp_path / "bin")), folder=str(tmp_path / "run"))
        with pytest.raises(RuntimeError), mounts.read_only("/dev/none") as place:
            raise RuntimeError("unreadable")
        assert log.read_text().splitlines() == [place, "--"]
        assert list((tmp_path / "run").iterdir()) == []

    @pytest.mark.spawns
    def test_a_disc_that_cannot_be_mounted_leaves_nothing_behind(self, tmp_path: Path) -> None:
        """Another agent leaves its mount point behind."""
        shim(tmp_path / "bin", "mount", exit_code=32)
        log = shim(tmp_path / "bin", "umount")
        mounts = Mounts(Commands(str(tmp_path / "bin")), folder=str(tmp_path / "run"))
        with pytest.raises(Exception, match="mount failed"), mounts.read_only("/dev/none"):
            pass
        assert not log.exists()
        assert list((tmp_path / "run").iterdir()) == []


class TestIdentity:
    """Which VM this is."""

    @pytest.mark.parametrize("spell", [str.upper, str.lower])
    def test_bytes_are_swapped_on_generation_1_alone_and_case_means_nothing(self, guest: Guest, spell: Any) -> None:
        """Others swap the bytes of every VM's id or of none, or compare letters by case."""
        with fabric_with() as fabric:
            set_up(guest, fabric, generation=1, vm_id=spell(SWAPPED_VM_ID))
            assert run(guest).vm_id == VM_ID
            assert run(guest).outcome == "already provisioned"

    @pytest.mark.parametrize("spelling", [VM_ID.upper(), SWAPPED_VM_ID, SWAPPED_VM_ID.upper()])
    def test_a_kernel_that_reads_the_id_the_other_way_round_makes_no_new_vm(self, guest: Guest, spelling: str) -> None:
        """Another agent provisions a VM anew after an upgrade of its kernel."""
        with fabric_with() as fabric:
            run(set_up(guest, fabric))
            requests = len(fabric.requests)
            assert run(guest.on_azure(vm_id=spelling)).outcome == "already provisioned"
        assert len(fabric.requests) == requests

    def test_the_marker_of_a_pool_that_came_with_the_image_means_nothing(self, guest: Guest) -> None:
        """Another agent takes any such marker for its own, and asks for an owner's data for ever."""

        class Impatient(FastClock):
            def sleep(self, seconds: float) -> None:
                super().sleep(seconds)
                if len(self.slept) > 100:
                    pytest.fail("it waits for an owner")

        marker = "var/lib/azurelite/waiting-in-pool"
        guest.put({marker: f"{OTHER_VM_ID}\nRunning since 2024-01-01T00:00:00+00:00\n"})
        with fabric_with() as fabric:
            assert run(set_up(guest, fabric), Impatient()).exit_code == 0
        assert states(fabric) == [("Ready", True)]
        assert asked(fabric, "reprovision_data") == 0
        assert not guest.path(marker).exists()


class TestHostRecords:
    """Hyper-V KVP."""

    def records(self, pool: bytes) -> list[tuple[str, bytes]]:
        assert len(pool) % 2560 == 0
        rows = [pool[start : start + 2560] for start in range(0, len(pool), 2560)]
        return [(row[:512].rstrip(b"\0").decode(), row[512:].rstrip(b"\0")) for row in rows]

    @pytest.mark.parametrize("value", ["x" * 5000, "ä" * 5000, "x" + "ä" * 5000, "𝄞" * 5000, "xx" + "𝄞" * 5000])
    def test_a_long_value_is_cut_between_two_characters_and_to_what_the_host_reads(self, value: str) -> None:
        """Others cut by characters, or in the midst of one, and the host gets more than it takes or no text at all."""
        ((key, told),) = self.records(upsert(b"", REPORT_KEY, value))
        assert key == REPORT_KEY
        assert 1018 < len(told) <= 1022
        assert value.startswith(told.decode())

    def test_an_empty_value_is_a_record_all_the_same(self) -> None:
        """Another agent splits a value into pieces, and writes no record where there are none."""
        assert self.records(upsert(b"", REPORT_KEY, "")) == [(REPORT_KEY, b"")]

    def test_there_is_one_report_and_other_programs_records_stay(self, guest: Guest) -> None:
        """Others add a further report each time, or empty the file while another program writes into it."""
        foreign = upsert(b"", "ANOTHER_PROGRAM", "its value")
        guest.path(KVP).write_bytes(foreign)
        with fabric_with(username="daemon") as fabric:
            run(set_up(guest, fabric))
        with fabric_with() as fabric:
            run(set_up(guest, fabric))
        first, second, *events = self.records(guest.path(KVP).read_bytes())
        assert all(key.startswith("AZURELITE|") for key, _ in events)
        assert first == ("ANOTHER_PROGRAM", b"its value")
        assert second[0] == REPORT_KEY
        assert second[1].startswith(b"result=success|")

    def test_a_pool_that_another_program_holds_is_left_alone_and_ready_is_not_kept_back(self, guest: Guest) -> None:
        """Others write without a lock, or wait for one for ever."""
        clock = FastClock()
        path = guest.path(KVP)
        path.write_bytes(b"")
        with fabric_with() as fabric, path.open("r+b") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert run(set_up(guest, fabric), clock).exit_code == 0
        assert path.read_bytes() == b""
        assert sum(clock.slept) < 5


class TestPrograms:
    """What other programs are given."""

    @pytest.mark.spawns
    @needs_openssl
    def test_no_secret_is_an_argument_of_a_program(self, guest: Guest, tmp_path: Path) -> None:
        """Others hand passwords and keys to programs as arguments, which every user of the machine can read."""
        log = shim(tmp_path / "bin", "openssl", script=f'exec "{shutil.which("openssl")}" "$@"')
        told = {"ovf_keys": "fingerprint", "certificates": True, "certificate_keys": "ec"}
        with fabric_with(NO_IMDS, password="canary-password", custom_data="canary-data", **told) as fabric:
            outcome = run(set_up(guest, fabric, media=fabric.media()), search_path=str(tmp_path / "bin"))
            assert outcome.exit_code == 0
            assert keys_of(guest) == [certificate.public_key for certificate in fabric.certificates]
        words = log.read_text().splitlines()
        assert "pkey" in words, "the shim was in use"
        assert not [word for word in words if "canary" in word or "PRIVATE" in word or len(word) > 200]

    @pytest.mark.parametrize(
        "name", ["alex; reboot", "$(reboot)", "`reboot`", "-rf", "alex\nroot ALL=(ALL) ALL", "../alex", "a b", "ALL"]
    )
    def test_a_user_name_is_never_read_by_a_shell_or_by_sudo(self, guest: Guest, name: str) -> None:
        """Others put Azure's values into command lines and files as they are."""
        before = guest.snapshot(without=("/var", "/run", "/etc/azurelite", "/sys"))
        with fabric_with(username=name, hostname="localhost") as fabric:
            assert run(set_up(guest, fabric)).exit_code == 1
        assert states(fabric) == [("NotReady", True)]
        assert guest.snapshot(without=("/var", "/run", "/etc/azurelite", "/sys")) == before

    @pytest.mark.parametrize("name", ["web$(reboot)", "web`reboot`", "web; reboot", "web\nreboot"])
    def test_a_host_name_is_a_host_name_when_it_is_written(self, guest: Guest, name: str) -> None:
        """The same, for the name that ends up in scripts everywhere."""
        with fabric_with(hostname=name) as fabric:
            assert run(set_up(guest, fabric)).exit_code == 0
        assert re.fullmatch(r"web[a-z-]*\n", guest.text("etc/hostname"))


AZURES = "  option unknown-245 a8:3f:81:10;\n"
FIRST, SECOND = "  option unknown-245 a:0:0:4;\n", "  option unknown-245 a:0:0:5;\n"
FOREVER, OVER = "  expire never;\n", "  expire 1 2001/01/01 00:00:00;\n"


class TestWireServer:
    """Where it is, and what its goal state says."""

    @pytest.mark.parametrize(
        ("bodies", "address"),
        [
            ([AZURES + FOREVER], "168.63.129.16"),
            ([FIRST + FOREVER], "10.0.0.4"),
            ([AZURES + OVER], None),
            ([FIRST + FOREVER, SECOND + FOREVER], "10.0.0.5"),
            ([FIRST + FOREVER, SECOND + OVER], "10.0.0.4"),
            ([FIRST + FOREVER, FOREVER], "10.0.0.4"),
            ([FOREVER], None),
        ],
    )
    def test_leases_that_never_end_have_ended_or_are_several(
        self, guest: Guest, bodies: list[str], address: Optional[str]
    ) -> None:
        """Another agent takes the first lease of the file, or one that is over, or stumbles over `never`."""
        text = "".join(f'lease {{\n  interface "eth0";\n{body}}}\n' for body in bodies)
        guest.put({"var/lib/dhcp/dhclient.eth0.leases": text})
        assert wireserver_from_leases(Root(guest.root), now=1_700_000_000.0) == address

    def test_an_address_in_a_lease_that_does_not_answer_is_given_up_for_the_known_one(self) -> None:
        """Another agent asks the address of an old lease until its time is over."""
        clock = FastClock()
        with taken_port() as port, fabric_with() as fabric:
            settings = WireServerSettings(fabric.url)
            with Fabric(100, wireserver=settings, clock=clock, told_wireserver=f"127.0.0.1:{port}") as told:
                assert told.wireserver.fetch_goal_state(told.reading.within(10)).incarnation == "1"

    def test_white_space_around_an_address_in_the_goal_state_is_no_part_of_it(self) -> None:
        """Another agent asks for the address with the line breaks around it when the document is printed prettily."""
        state = parse_goal_state(
            b"<GoalState><Incarnation>\n 1\n</Incarnation><Container><ContainerId>\n c\n</ContainerId>"
            b"<RoleInstanceList><RoleInstance><InstanceId>\n i\n</InstanceId><Configuration>"
            b"<Certificates>\r\n   http://168.63.129.16/machine/x?comp=certificates&amp;incarnation=1\r\n</Certificates>"
            b"</Configuration></RoleInstance></RoleInstanceList></Container></GoalState>"
        )
        assert (state.incarnation, state.container_id, state.instance_id) == ("1", "c", "i")
        assert state.certificates_url == "http://168.63.129.16/machine/x?comp=certificates&incarnation=1"
