"""Every state of IMDS with every state of the provisioning media, with the keys written out and in certificates:
what the run takes from where, what becomes of the VM, and what Azure is told. Then what stays on the machine."""

from __future__ import annotations

import base64
import json
import logging
import shutil
import socket
from dataclasses import dataclass, replace
from typing import Any, Iterator, Optional

import pytest
from kit import ED25519, SWAPPED_VM_ID, VM_ID, FastClock, Guest

import azurelite
from azurelite.outcome import Outcome
from azurelite.run.provision import Options, provision
from azurelite.simulator import Fault, Scenario, Simulator
from azurelite.simulator.disc import disc_image

pytestmark = pytest.mark.thorough

OTHER_VM_ID = "0f0e0d0c-0b0a-4908-8706-050403020100"
MEDIA_KEY = ED25519
IMDS_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMJLoUzI85bKCW9bt0Q3fnhxG027R7Ol3peaKzeH5tJO alex@example.com"
USER = {"imds": "imds-user", "media": "media-user"}
HOST = {"imds": "imds-host", "media": "media-host"}
PASSWORD = "canary-P4ss-7d1e"
CUSTOM_DATA = "#!/bin/sh\necho canary-custom-7d1e\n"
ENCODED = base64.b64encode(CUSTOM_DATA.encode()).decode()
CANARIES = (PASSWORD, "canary-custom-7d1e", ENCODED)
DRIVE = "/dev/sr0"
SAVED = f"var/lib/azurelite/vms/{VM_ID}/ovf-env.xml"
FOREIGN = (
    b'<?xml version="1.0"?><Environment xmlns="http://schemas.dmtf.org/ovf/environment/1">'
    b"<PropertySection><Property key='hostname' value='other'/></PropertySection></Environment>"
)
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl: install openssl")


# ----------------------------------------------------------------------------------------------------- the rules


@dataclass(frozen=True)
class Rule:
    """What is to come of a run. A source is "imds", "media" or "certificates"; None: nobody says it.

    names: who says the user's name, the host's name and whether passwords are forbidden.
    keys: who gives the keys.
    secrets: who gives the password and the custom data.
    told: "Ready", or the reason that goes with NotReady; None: why IMDS failed, see REASONS.
    """

    names: Optional[str]
    keys: Optional[str]
    secrets: Optional[str]
    exit_code: int
    told: Optional[str]


RULES = {
    # (IMDS answers, the media is read, the keys are in certificates)
    (True, True, False): Rule("imds", "imds", "media", 0, "Ready"),
    (True, True, True): Rule("imds", "certificates", "media", 0, "Ready"),
    (True, False, False): Rule("imds", "imds", None, 0, "Ready"),
    # Which certificates are for SSH only the media says; IMDS forbids passwords, so nobody could log in.
    (True, False, True): Rule("imds", None, None, 1, "failed to provision ssh keys"),
    (False, True, False): Rule("media", "media", "media", 0, "Ready"),
    (False, True, True): Rule("media", "certificates", "media", 0, "Ready"),
    (False, False, False): Rule(None, None, None, 1, None),
    (False, False, True): Rule(None, None, None, 1, None),
}
# The same as the fourth, but there is a document, which nobody can read: that is what went wrong.
DAMAGED = Rule("imds", None, None, 1, "error parsing ovf-env.xml")
# State of IMDS -> why it failed, in the words of Azure's troubleshooting page; None: it answers.
REASONS = {
    "ok": None,
    "slow": None,
    "404": "http error 404 querying IMDS",
    "garbage": "error parsing IMDS metadata",
    "absent": "connection error querying IMDS",
}
# State of the media -> what the log says of a disc that was not taken; None: it is read.
MEDIA = {
    "mounted": None,
    "absent": f"{DRIVE}: cannot open it: No such file or directory",
    "foreign file": f"{DRIVE}: no ovf-env.xml",
    "foreign document": f"{DRIVE}: its ovf-env.xml is not Azure's",
    "garbage": "media: ovf-env.xml: not well-formed XML",
    # An image that no kernel can mount: there is no mount program for it, and no test here may start one.
    "unmountable udf": None,
    "unmountable iso9660": None,
}
ONLY_IMDS_KNOWS = ("region", "availability_zone", "fault_domain", "vm_size", "tags", "network")


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    imds: str
    media: str
    certificates: bool

    def __str__(self) -> str:
        return f"imds {self.imds}, media {self.media}, keys {'in certificates' if self.certificates else 'written out'}"

    @property
    def imds_answers(self) -> bool:
        return REASONS[self.imds] is None

    @property
    def media_is_read(self) -> bool:
        return MEDIA[self.media] is None

    @property
    def rule(self) -> Rule:
        rule = RULES[self.imds_answers, self.media_is_read, self.certificates]
        if self.media == "garbage" and rule.told == "failed to provision ssh keys":
            # The damaged disc is the likely cause, so it is what Azure hears of; no usable answer is exit 3.
            return replace(rule, exit_code=1, told="error parsing ovf-env.xml")
        return rule

    @property
    def provenance(self) -> dict[str, str]:
        """Field -> source, all of them."""
        rule = self.rule
        said = {
            "vm_id": "firmware",
            "instance_id": "firmware",
            "username": rule.names,
            "local_hostname": rule.names,
            "disable_password_authentication": rule.names,
            "public_ssh_keys": rule.keys,
            "password": rule.secrets,
            "custom_data": rule.secrets,
            **dict.fromkeys(ONLY_IMDS_KNOWS, "imds" if self.imds_answers else None),
        }
        return {field: source for field, source in said.items() if source is not None}


def cases() -> Iterator[Any]:
    for imds in REASONS:
        for media in MEDIA:
            yield pytest.param(Case(imds, media, certificates=False), id=str(Case(imds, media, certificates=False)))
            if media == "unmountable iso9660":
                continue  # a key is made for each row with certificates, and what is on the disc is the same
            marked = Case(imds, media, certificates=True)
            yield pytest.param(marked, id=str(marked), marks=[pytest.mark.spawns, needs_openssl])


# ------------------------------------------------------------------------------------------------------ the stage


@pytest.fixture(scope="module")
def nowhere() -> Iterator[str]:
    """The address of a port that is taken and refuses every connection."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def fabric_with(*faults: Fault, imds: Optional[dict[str, Any]] = None, **vm: Any) -> Simulator:
    """A fabric whose IMDS and media say different values."""
    compute = {
        "publicKeys": [{"keyData": IMDS_KEY, "path": f"/home/{USER['imds']}/.ssh/authorized_keys"}],
        "osProfile": {"disablePasswordAuthentication": "true"},
        **(imds or {}),
    }
    told = {
        "username": USER["imds"],
        "hostname": HOST["imds"],
        "ovf_username": USER["media"],
        "ovf_hostname": HOST["media"],
        "ssh_keys": [MEDIA_KEY],
        "disable_password_authentication": False,
        "password": PASSWORD,
        "custom_data": CUSTOM_DATA,
        "imds": {"compute": compute},
        **vm,
    }
    return Simulator(Scenario(Scenario.from_dict({"vm": told}).vm, faults), rate_limit=None)


def fabric_for(case: Case) -> Simulator:
    faults = {
        "slow": [Fault(endpoint="imds", delay=0.05)],
        "404": [Fault(endpoint="imds", status=404)],
        "garbage": [Fault(endpoint="imds", garbage=True)],
    }.get(case.imds, [])
    if not case.certificates:
        return fabric_with(*faults)
    kind = "both" if case.imds == "slow" and case.media.endswith("udf") else "ec"
    named = {"ovf_keys": "fingerprint", "certificates": True, "certificate_keys": kind}
    return fabric_with(*faults, imds={"publicKeys": None}, **named)


def insert(guest: Guest, image: bytes) -> str:
    """Put a disc into the drive; gives what `datasource.media.device` is to say."""
    guest.path("dev").mkdir(exist_ok=True)
    guest.path(DRIVE).write_bytes(image)
    return DRIVE


def insert_as(state: str, guest: Guest, fabric: Simulator) -> str:
    """The media in one of the states of MEDIA; gives what `datasource.media.device` is to say."""
    if state == "mounted":
        guest.put({"proc/self/mountinfo": f"40 1 11:0 / /media/azure ro - udf {DRIVE} ro\n"})
        guest.path("media/azure").mkdir(parents=True)
        guest.path("media/azure/ovf-env.xml").write_bytes(fabric.ovf())
        return "auto"
    if state == "absent":
        return DRIVE
    if state.startswith("unmountable"):
        return insert(guest, fabric.media(state.split()[1]))
    name = "README.TXT" if state == "foreign file" else "ovf-env.xml"
    content = fabric.ovf()[:-40] if state == "garbage" else FOREIGN
    return insert(guest, disc_image({name: content}, kind="iso9660"))


def set_up(guest: Guest, fabric: Simulator, *, device: str, imds: Optional[str] = None) -> Guest:
    """`imds`: an address in place of the fabric's."""
    asked = {"timeout": 5, "deadline": 30, **({} if imds is None else {"endpoint": imds})}
    return guest.on_azure().configure(fabric, datasource={"imds": asked, "media": {"device": device}})


def run(guest: Guest, **options: Any) -> Outcome:
    return provision(Options(root=guest.root, clock=FastClock(), **options))


def known(guest: Guest) -> dict[str, Any]:
    """What the run knew, secrets in clear."""
    found: dict[str, Any] = json.loads(guest.text("run/azurelite/metadata-sensitive.json"))
    return found


def leaks(guest: Guest, *, private: bool = False) -> list[str]:
    """Files that hold one of the canaries: those that not only root can read, or with `private` all of them."""
    return [
        name
        for name, (mode, _, _, content) in guest.snapshot(without=("/dev", "/media")).items()
        if (private or mode & 0o077) and any(canary.encode() in content for canary in CANARIES)
    ]


def told(fabric: Simulator) -> str:
    """What Azure was told, by one report that it accepted: "Ready", or the reason that goes with NotReady."""
    (report,) = fabric.reports
    assert report.accepted
    if report.state == "Ready":
        return "Ready"
    assert report.substatus == "ProvisioningFailed"
    (reason,) = [field for field in (report.description or "").split("|") if field.startswith("reason=")]
    return reason[len("reason=") :]


def lines(guest: Guest, name: str) -> list[str]:
    return guest.text(name).splitlines() if guest.path(name).exists() else []


# ------------------------------------------------------------------------------------------------------ the table


@pytest.mark.parametrize("case", list(cases()))
def test_every_state_of_imds_with_every_state_of_the_media(
    case: Case, guest: Guest, nowhere: str, caplog: pytest.LogCaptureFixture, quick_openssl: str
) -> None:
    caplog.set_level(logging.INFO)
    rule = case.rule
    with fabric_for(case) as fabric:
        device = insert_as(case.media, guest, fabric)
        set_up(guest, fabric, device=device, imds=nowhere if case.imds == "absent" else None)
        outcome = run(guest, search_path=quick_openssl)
        certified = [item.public_key for item in fabric.certificates] if rule.keys == "certificates" else []

    found = known(guest)
    keys = {"imds": [IMDS_KEY], "media": [MEDIA_KEY], "certificates": certified, None: None}[rule.keys]
    assert found["provenance"] == case.provenance
    assert found["username"] == USER.get(rule.names or "")
    assert found["local_hostname"] == HOST.get(rule.names or "")
    assert found["disable_password_authentication"] == {"imds": True, "media": False, None: None}[rule.names]
    assert found["public_ssh_keys"] == keys
    assert found["password"] == (PASSWORD if rule.secrets else None)
    assert found["custom_data"] == (ENCODED if rule.secrets else None)

    assert outcome.exit_code == rule.exit_code
    assert told(fabric) == (rule.told or REASONS[case.imds])
    assert guest.path(f"var/lib/azurelite/vms/{VM_ID}/provisioned").exists() is (rule.exit_code == 0)

    accounts = [line.partition(":")[0] for line in lines(guest, "etc/passwd")]
    assert [name for name in USER.values() if name in accounts] == ([found["username"]] if rule.names else [])
    assert lines(guest, "etc/hostname") == [found["local_hostname"] or "localhost"]
    assert lines(guest, f"home/{found['username']}/.ssh/authorized_keys") == (keys or [])

    log = caplog.text
    assert (MEDIA[case.media] or "") in log
    failed = [r for r in caplog.records if r.levelname == "WARNING" and r.getMessage().startswith("imds: ")]
    assert bool(failed) is not case.imds_answers
    assert ("custom data is lost: IMDS says `hasCustomData`" in log) is (case.imds_answers and not case.media_is_read)
    assert guest.path(SAVED).exists() is case.media_is_read
    assert leaks(guest) == []


def test_the_table_is_whole() -> None:
    """No state without a rule, no rule without a state."""
    rows = [row.values[0] for row in cases()]
    assert len(rows) == len(set(rows)) == len(REASONS) * (len(MEDIA) * 2 - 1)
    assert {(row.imds_answers, row.media_is_read, row.certificates) for row in rows} == set(RULES)


# ----------------------------------------------------------------------------------------- one source is enough


@pytest.mark.parametrize("imds", ["404", "garbage", "absent"])
def test_imds_down_and_the_media_good_is_provisioned(imds: str, guest: Guest, nowhere: str) -> None:
    with fabric_for(Case(imds, "unmountable udf", certificates=False)) as fabric:
        device = insert(guest, fabric.media())
        outcome = run(set_up(guest, fabric, device=device, imds=nowhere if imds == "absent" else None))
    assert (outcome.outcome, told(fabric)) == ("provisioned", "Ready")


def test_the_media_gone_and_imds_good_is_provisioned(guest: Guest) -> None:
    with fabric_with() as fabric:
        outcome = run(set_up(guest, fabric, device="auto"))
    assert (outcome.outcome, told(fabric)) == ("provisioned", "Ready")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(endpoint="imds", status=503), "http error 503 querying IMDS"),
        (Fault(endpoint="imds", status=429, headers={"Retry-After": "1"}), "http error 429 querying IMDS"),
        (Fault(endpoint="imds", drop=True), "connection error querying IMDS"),
        (Fault(endpoint="imds", delay=0.3), "read timeout querying IMDS"),
        (Fault(endpoint="imds", body="[]"), "error parsing IMDS metadata"),
        (Fault(endpoint="imds", body="{}"), "invalid IMDS metadata for key=compute"),
    ],
    ids=["503", "429", "drop", "too slow", "no object", "empty"],
)
def test_both_gone_is_exit_1_with_a_reason_that_azures_page_knows(fault: Fault, reason: str, guest: Guest) -> None:
    with fabric_with(fault) as fabric:
        # A deadline that leaves room for two requests: the delay is real time.
        asked = {"timeout": 0.1, "deadline": 2} if fault.delay else {"deadline": 20}
        datasource = {"imds": asked, "media": {"device": "none"}}
        outcome = run(guest.on_azure().configure(fabric, datasource=datasource))
    assert (outcome.outcome, outcome.exit_code) == ("failed", 1)  # Azure has accepted the report
    assert told(fabric) == reason
    assert reason.encode() in guest.path("var/lib/hyperv/.kvp_pool_1").read_bytes()


def test_a_cause_is_said_once_and_the_steps_refer_to_it(
    guest: Guest, nowhere: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="azurelite")
    with fabric_with() as fabric:
        asked = {"endpoint": nowhere, "deadline": 2}
        handlers = ["hostname", "user", "ssh_keys", "report_ready"]
        outcome = run(
            guest.on_azure().configure(fabric, handlers=handlers, datasource={"imds": asked, "sources": ["imds"]})
        )
    said = [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    (cause,) = (text for text in said if nowhere in text)
    assert cause.startswith("imds: connection error at ")
    assert [text for text in said if text != cause] == [
        f"{step}: skipped: IMDS unreachable" for step in ("hostname", "user", "ssh_keys")
    ]
    assert outcome.brief == "user: IMDS unreachable"
    assert nowhere in outcome.reason, "status.json has no log beside it"


def test_without_a_word_about_the_vm_id_either_source_cannot_be_told_apart(guest: Guest, nowhere: str) -> None:
    """The media names everything but the VM, so that a guest whose firmware is silent needs IMDS."""
    with fabric_with() as fabric:
        device = insert(guest, fabric.media())
        asked = {"endpoint": nowhere, "deadline": 10}
        guest.configure(fabric, datasource={"platform": "azure", "imds": asked, "media": {"device": device}})
        outcome = run(guest)
    assert outcome.exit_code == 1
    assert told(fabric) == "connection error querying IMDS"


@pytest.mark.spawns
@needs_openssl
@pytest.mark.parametrize("passwords_forbidden", [True, None])
def test_keys_that_the_media_names_and_nobody_can_get_are_no_ready(
    passwords_forbidden: Optional[bool], guest: Guest, quick_openssl: str
) -> None:
    """Whether or not passwords are allowed: who chose keys has to know that they are not there."""
    flag = None if passwords_forbidden is None else "true"
    imds = {"publicKeys": None, "osProfile": {"disablePasswordAuthentication": flag}}
    named = {"ovf_keys": "fingerprint", "certificates": True, "certificate_keys": "ec"}
    with fabric_with(
        Fault(endpoint="certificates", status=400), imds=imds, disable_password_authentication=flag or "", **named
    ) as fabric:
        outcome = run(set_up(guest, fabric, device=insert(guest, fabric.media())), search_path=quick_openssl)
    assert outcome.exit_code == 1
    assert told(fabric) == "error fetching certificates"
    assert not guest.path(f"var/lib/azurelite/vms/{VM_ID}/provisioned").exists()


# --------------------------------------------------------------------------------------- one bad value on the media


@pytest.mark.parametrize("length", [73, 500])
def test_a_password_over_72_characters_is_not_ready_and_everything_else_is_done(length: int, guest: Guest) -> None:
    with fabric_with(password="x" * length) as fabric:
        outcome = run(set_up(guest, fabric, device=insert(guest, fabric.media())))
    assert (outcome.outcome, outcome.exit_code) == ("failed", 1), "Azure is not out of reach"
    assert told(fabric) == f"unsupported password length={length} max=72"
    assert guest.text("etc/hostname") == "imds-host\n"
    assert lines(guest, "home/imds-user/.ssh/authorized_keys") == [IMDS_KEY]
    assert not guest.path(f"var/lib/azurelite/vms/{VM_ID}/provisioned").exists()
    assert not any(b"x" * 73 in content for _, _, _, content in guest.snapshot(without=("/dev",)).values())


def test_a_password_of_72_characters_is_fine(guest: Guest) -> None:
    with fabric_with(password="x" * 72) as fabric:
        run(set_up(guest, fabric, device=insert(guest, fabric.media())))
    assert told(fabric) == "Ready"
    assert known(guest)["password"] == "x" * 72


@pytest.mark.parametrize("wrong", [ENCODED[:-1], ENCODED[:4] + "!" + ENCODED[5:], "canary-custom-7d1e"])
def test_custom_data_that_is_not_base64_is_named_and_the_vm_provisioned(
    wrong: str, guest: Guest, caplog: pytest.LogCaptureFixture
) -> None:
    with fabric_with() as fabric:
        document = fabric.ovf().replace(ENCODED.encode(), wrong.encode())
        outcome = run(set_up(guest, fabric, device=insert(guest, disc_image({"ovf-env.xml": document}, kind="udf"))))
    assert (outcome.outcome, told(fabric)) == ("provisioned", "Ready")
    assert "CustomData skipped: it is not base64" in caplog.text
    assert wrong not in caplog.text
    assert known(guest)["custom_data"] is None
    assert known(guest)["password"] == PASSWORD, "one bad value hides no other"


@pytest.mark.parametrize("device", ["auto", DRIVE])
def test_custom_data_that_is_announced_and_nowhere_is_said_loudly(
    device: str, guest: Guest, caplog: pytest.LogCaptureFixture
) -> None:
    with fabric_with() as fabric:
        outcome = run(set_up(guest, fabric, device=device))
    assert outcome.outcome == "provisioned"
    (said,) = [record for record in caplog.records if "hasCustomData" in record.getMessage()]
    assert said.levelno == logging.ERROR


def test_custom_data_that_was_read_once_is_not_missed_at_later_boots(
    guest: Guest, caplog: pytest.LogCaptureFixture
) -> None:
    handlers = [{"hostname": {"frequency": "boot"}}, "user", "ssh_keys", "report_ready"]
    with fabric_with() as fabric:
        device = insert(guest, fabric.media())
        run(guest.on_azure().configure(fabric, handlers=handlers, datasource={"media": {"device": device}}))
        assert known(guest)["custom_data"] == ENCODED
        guest.path(DRIVE).unlink()
        assert run(guest).outcome == "already provisioned"
        assert run(guest, force=True).outcome == "provisioned"
    assert "hasCustomData" not in caplog.text


def test_custom_data_that_nobody_announced_is_not_missed(guest: Guest, caplog: pytest.LogCaptureFixture) -> None:
    with fabric_with(custom_data=None) as fabric:
        run(set_up(guest, fabric, device="auto"))
    assert "hasCustomData" not in caplog.text


@pytest.mark.parametrize(
    ("entry", "again"),
    [({}, {}), ({"frequency": "boot"}, {}), ({}, {"force": True})],
    ids=["a later boot", "every boot", "--force"],
)
def test_a_vm_that_an_older_release_provisioned_runs_nothing_anew(
    guest: Guest, entry: dict[str, Any], again: dict[str, Any]
) -> None:
    """Before, user data came first, and only what was run was stored; now custom data comes first."""
    first, second = (f"#cloud-config\nwrite_files: [{{path: /etc/{name}}}]\n" for name in ("first", "second"))
    plan = ["user", "ssh_keys", "report_ready"]
    with fabric_with(user_data=first, custom_data=second) as fabric:
        device = insert(guest, fabric.media())
        media = {"media": {"device": device, "eject": False}}
        older = [*plan, {"user_data": {**entry, "sources": ["user_data"]}}]
        run(guest.on_azure().configure(fabric, handlers=older, datasource=media))
        assert guest.path("etc/first").exists()
        run(guest.configure(fabric, handlers=[*plan, {"user_data": entry}], datasource=media), **again)
    assert not guest.path("etc/second").exists()


# ------------------------------------------------------------------------------------------------- the saved copy


def test_the_saved_copy_holds_no_secret_and_is_for_root_alone(guest: Guest) -> None:
    with fabric_with() as fabric:
        run(set_up(guest, fabric, device=insert(guest, fabric.media())))
    text = guest.text(SAVED)
    assert guest.mode(SAVED) == 0o600
    assert "media-user" in text
    assert "<wa:UserPassword" in text, "what was there can be seen, empty"
    kept = f"/var/lib/azurelite/vms/{VM_ID}/custom_data"
    assert sorted(leaks(guest, private=True)) == ["/run/azurelite/metadata-sensitive.json", kept]
    assert guest.mode(kept) == 0o600


def test_the_saved_copy_is_read_when_the_disc_is_gone(guest: Guest, nowhere: str) -> None:
    with fabric_with() as fabric:
        run(set_up(guest, fabric, device=insert(guest, fabric.media())))
    guest.path(DRIVE).unlink()
    before = guest.text(SAVED)
    with fabric_with() as fabric:
        outcome = run(set_up(guest, fabric, device=DRIVE, imds=nowhere), force=True)
    assert (outcome.outcome, told(fabric)) == ("provisioned", "Ready")
    found = known(guest)
    assert (found["username"], found["local_hostname"]) == ("media-user", "media-host")
    assert found["public_ssh_keys"] == [MEDIA_KEY]
    assert (found["password"], found["custom_data"]) == (None, None), "secrets are not kept"
    assert found["provenance"]["username"] == "media"
    assert guest.text(SAVED) == before


def test_the_disc_is_stronger_than_the_saved_copy(guest: Guest, nowhere: str) -> None:
    with fabric_with() as fabric:
        run(set_up(guest, fabric, device=insert(guest, fabric.media())))
    with fabric_with(ovf_username="newer") as fabric:
        run(set_up(guest, fabric, device=insert(guest, fabric.media()), imds=nowhere), force=True)
    assert known(guest)["username"] == "newer"
    assert "newer" in guest.text(SAVED)


def test_the_saved_copy_of_another_vm_is_not_used(guest: Guest, nowhere: str) -> None:
    """An image that was captured from a VM holds that VM's copy."""
    with fabric_with() as fabric:
        run(set_up(guest, fabric, device=insert(guest, fabric.media())))
    guest.path(DRIVE).unlink()
    with fabric_with() as fabric:
        set_up(guest, fabric, device=DRIVE, imds=nowhere).on_azure(vm_id=OTHER_VM_ID)
        outcome = run(guest)
    assert outcome.exit_code == 1
    assert outcome.vm_id == OTHER_VM_ID or outcome.vm_id is None
    assert told(fabric) == "connection error querying IMDS"
    assert known(guest)["username"] is None


def test_the_saved_copy_is_found_when_a_kernel_reads_the_vm_id_the_other_way_round(guest: Guest, nowhere: str) -> None:
    with fabric_with() as fabric:
        run(set_up(guest, fabric, device=insert(guest, fabric.media())))
    guest.path(DRIVE).unlink()
    with fabric_with() as fabric:
        set_up(guest, fabric, device=DRIVE, imds=nowhere).on_azure(vm_id=SWAPPED_VM_ID)
        assert run(guest, force=True).outcome == "provisioned"
    assert known(guest)["provenance"]["username"] == "media"


@pytest.mark.parametrize("device", ["none", DRIVE])
def test_a_run_without_media_saves_no_copy(device: str, guest: Guest) -> None:
    with fabric_with() as fabric:
        run(set_up(guest, fabric, device=device))
    assert not guest.path(SAVED).exists()


def test_a_foreign_document_is_not_saved(guest: Guest) -> None:
    with fabric_with() as fabric:
        run(set_up(guest, fabric, device=insert(guest, disc_image({"ovf-env.xml": FOREIGN}, kind="udf"))))
    assert not guest.path(SAVED).exists()


# ------------------------------------------------------------------------------------------------------- secrets


def test_what_everybody_can_read_holds_no_secret_and_what_root_can_read_has_the_password(guest: Guest) -> None:
    with fabric_with() as fabric:
        run(set_up(guest, fabric, device=insert(guest, fabric.media())))
    assert leaks(guest) == []
    assert guest.mode("run/azurelite/metadata-sensitive.json") == 0o600
    assert known(guest)["password"] == PASSWORD
    assert base64.b64decode(known(guest)["custom_data"]).decode() == CUSTOM_DATA
    public = json.loads(guest.text("run/azurelite/metadata.json"))
    assert guest.mode("run/azurelite/metadata.json") == 0o644
    assert public["password"] == public["custom_data"] == "redacted for non-root user"


def test_no_secret_is_logged_or_told(guest: Guest, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with fabric_with() as fabric:
        outcome = run(set_up(guest, fabric, device=insert(guest, fabric.media())))
    sent = "".join(request.body.decode() + request.target + str(request.headers) for request in fabric.requests)
    for canary in CANARIES:
        assert canary not in caplog.text
        assert canary not in sent
        assert canary not in json.dumps(outcome.as_dict())


def test_crawl_alone_changes_nothing(guest: Guest) -> None:
    with fabric_with() as fabric:
        before = set_up(guest, fabric, device=insert(guest, fabric.media())).snapshot()
        found = azurelite.crawl(root=guest.root, clock=FastClock())
    assert found["password"].reveal() == PASSWORD
    assert found["provenance"]["custom_data"] == "media"
    assert guest.snapshot() == before
    assert fabric.reports == []


@pytest.mark.spawns
@needs_openssl
def test_crawl_with_certificates_changes_nothing(guest: Guest) -> None:
    with fabric_for(Case("garbage", "unmountable udf", certificates=True)) as fabric:
        before = set_up(guest, fabric, device=insert(guest, fabric.media())).snapshot()
        found = azurelite.crawl(root=guest.root, clock=FastClock())
        assert found["public_ssh_keys"] == [item.public_key for item in fabric.certificates]
    assert found["provenance"]["public_ssh_keys"] == "certificates"
    assert guest.snapshot() == before
