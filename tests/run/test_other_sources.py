"""Sources of metadata that are not azurelite's own, and runs that need no Azure."""

from __future__ import annotations

import base64
import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any, Iterator

import pytest
from kit import ED25519, SWAPPED_VM_ID, VM_ID, FastClock, Guest, Shelf

import azurelite
from azurelite import Azure, ConfigError, NotAzureError, plugins
from azurelite.cli import main
from azurelite.datasource.others import part_of
from azurelite.errors import FabricError
from azurelite.metadata import NAMES, REDACTED, Metadata, Secret
from azurelite.run.provision import Options, provision
from azurelite.simulator import Scenario, Simulator

pytestmark = pytest.mark.spawns

CANARY = "canary-9f3a51"
EXAMPLE = Path(__file__).parents[2] / "contrib" / "example-datasource"
GROUP = plugins.SOURCE_GROUP
KNOWN = {"local_hostname": "lab-1", "username": "alex", "public_ssh_keys": [ED25519], "region": "rack-7"}
LAB = f"def fetch(guest):\n    return {KNOWN!r}\n"
NO_REPORT = ["hostname", "user", "ssh_keys"]
_NET = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.bind")
_dialled: list[str] = []
_watching = {"on": False}


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching["on"] and event in _NET and (event == "socket.getaddrinfo" or isinstance(arguments[1], tuple)):
        _dialled.append(f"{event}: {arguments[1:]}")


sys.addaudithook(_watch)


@pytest.fixture
def silent() -> Iterator[None]:
    """Fails the test if this process uses the network, loopback included."""
    _dialled.clear()
    _watching["on"] = True
    yield
    _watching["on"] = False
    assert _dialled == []


def lab(guest: Guest, *, sources: list[str], handlers: list[Any] = NO_REPORT, vm_id: str = VM_ID) -> Guest:
    """A machine that is not on Azure, but has a firmware UUID."""
    guest.put({"sys/class/dmi/id/chassis_asset_tag": "None\n", "sys/class/dmi/id/product_uuid": vm_id + "\n"})
    guest.path("sys/firmware/efi").mkdir(parents=True, exist_ok=True)
    return guest.configure(datasource={"sources": sources}, handlers=handlers)


@pytest.fixture
def my_lab(shelf: Shelf) -> Shelf:
    """A source of the name `my_lab`."""
    return shelf.put("acme_lab", LAB, group=GROUP, my_lab="acme_lab")


# ------------------------------------------------------------------------------------------------- without any Azure


@pytest.mark.usefixtures("silent", "my_lab")
@pytest.mark.parametrize("sources", [["my_lab"], ["acme_lab:fetch"], ["media", "my_lab"]])
def test_a_lab_is_provisioned_without_azure(guest: Guest, sources: list[str]) -> None:
    lab(guest, sources=sources)
    with Azure(root=guest.root) as azure:
        outcome = azure.provision()
        assert (outcome.outcome, outcome.exit_code, outcome.vm_id) == ("provisioned", 0, VM_ID)
        assert (outcome.report, outcome.exchanges) == (None, ())
        assert azure.is_done()
    assert guest.text("etc/hostname") == "lab-1\n"
    assert ED25519 in guest.text("home/alex/.ssh/authorized_keys")
    saved = json.loads(guest.text("run/azurelite/metadata.json"))
    assert saved["provenance"]["username"] == sources[-1]
    again = provision(Options(root=guest.root))
    assert again.outcome == "already provisioned"


@pytest.mark.usefixtures("silent", "my_lab")
def test_crawl_plan_and_apply_need_no_azure_either(guest: Guest) -> None:
    lab(guest, sources=["my_lab"])
    with Azure(root=guest.root) as azure:
        assert azure.crawl()["username"] == "alex"
        assert [step.skip for step in azure.plan().steps] == [None, None, None]
        assert azure.apply(["hostname"]).exit_code == 0
    assert guest.text("etc/hostname") == "lab-1\n"


@pytest.mark.usefixtures("my_lab")
def test_the_verbs_take_the_names_as_well(guest: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    guest.on_azure().configure(handlers=["hostname"])
    assert main(["apply", "hostname", "--sources", "my_lab", "--root", guest.root]) == 0
    assert guest.text("etc/hostname") == "lab-1\n"
    assert main(["apply", "hostname", "--sources", "my_lap", "--root", guest.root]) == 2
    assert "unknown source 'my_lap'; did you mean 'my_lab'?" in capsys.readouterr().err


@pytest.mark.usefixtures("silent", "my_lab")
@pytest.mark.parametrize(
    ("sources", "handlers"),
    [
        (["my_lab"], [*NO_REPORT, "report_ready"]),
        (["my_lab"], [*NO_REPORT, "certificates"]),
        (["imds", "my_lab"], NO_REPORT),
        (["my_lab", "wireserver"], NO_REPORT),
        (["media"], NO_REPORT),
        ([], NO_REPORT),
    ],
)
def test_a_machine_elsewhere_is_left_alone_where_anything_needs_azure(
    guest: Guest, sources: list[str], handlers: list[str]
) -> None:
    lab(guest, sources=sources, handlers=handlers)
    before = guest.snapshot(without=("/run",))
    outcome = provision(Options(root=guest.root))
    assert (outcome.outcome, outcome.exit_code) == ("not azure", 0)
    assert guest.snapshot(without=("/run",)) == before


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("sources", [["imds", "my_lab:fetch"], ["wireserver"], ["media"], None])
def test_a_crawl_elsewhere_asks_nobody(guest: Guest, sources: Any) -> None:
    lab(guest, sources=["imds", "media"])
    with Azure(root=guest.root) as azure, pytest.raises(NotAzureError):
        azure.crawl(sources=sources)


GIVEN = {**KNOWN, "vm_id": VM_ID}


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("place", ["azure", "elsewhere"])
@pytest.mark.parametrize("given", [GIVEN, Metadata.from_dict(GIVEN), KNOWN], ids=["document", "metadata", "no id"])
class TestGivenMetadata:
    """Handlers run from any metadata without one packet."""

    def guest(self, guest: Guest, place: str, handlers: list[str]) -> Guest:
        lab(guest, sources=["imds", "media", "wireserver"], handlers=handlers)
        return guest.on_azure() if place == "azure" else guest

    def test_provision(self, guest: Guest, place: str, given: Any) -> None:
        self.guest(guest, place, NO_REPORT)
        with Azure(root=guest.root) as azure:
            outcome = azure.provision(metadata=given)
        assert (outcome.outcome, outcome.vm_id, outcome.exchanges) == ("provisioned", VM_ID, ())
        assert guest.text("etc/hostname") == "lab-1\n"

    def test_apply(self, guest: Guest, place: str, given: Any) -> None:
        self.guest(guest, place, [*NO_REPORT, "report_ready"])
        with Azure(root=guest.root) as azure:
            outcome = azure.apply(NO_REPORT, given)
        assert (outcome.exit_code, outcome.exchanges) == (0, ())
        assert guest.text("etc/hostname") == "lab-1\n"

    def test_a_dry_run_with_a_report(self, guest: Guest, place: str, given: Any) -> None:
        self.guest(guest, place, [*NO_REPORT, "report_ready"])
        with Azure(root=guest.root) as azure:
            assert azure.apply([*NO_REPORT, "report_ready"], given, dry_run=True).exit_code == 0
            assert azure.provision(metadata=given, dry_run=True).outcome == "dry run"
        assert guest.text("etc/hostname") == "localhost\n"

    def test_what_asks_azure_nevertheless_fails_at_once(self, guest: Guest, place: str, given: Any) -> None:
        self.guest(guest, place, [*NO_REPORT])
        with Azure(root=guest.root) as azure:
            outcome = azure.apply(["certificates"], given)
        assert outcome.exit_code == 3
        assert "no request is sent in a run without Azure" in outcome.reason

    def test_a_pool_cannot_be_left_without_azure(self, guest: Guest, place: str, given: Any) -> None:
        self.guest(guest, place, NO_REPORT)
        with Azure(root=guest.root) as azure:
            outcome = azure.provision(metadata={**dict(given), "pps_type": "Running"})
        assert (outcome.exit_code, outcome.exchanges) == (1, ())
        assert "waits in a pool for its owner" in outcome.reason
        assert guest.text("etc/hostname") == "localhost\n"

    def test_a_report_goes_to_azure_only(self, guest: Guest, place: str, given: Any) -> None:
        if place == "azure":
            return
        self.guest(guest, place, [*NO_REPORT, "report_ready"])
        with Azure(root=guest.root) as azure:
            assert azure.provision(metadata=given).outcome == "not azure"
            with pytest.raises(NotAzureError):
                azure.apply(["report_ready"], given)


@pytest.mark.usefixtures("silent")
def test_a_plug_in_cannot_ask_azure_in_a_run_without_it(guest: Guest, shelf: Shelf) -> None:
    ask = "ctx.fabric.wireserver.fetch_goal_state(ctx.fabric.deadline)"
    shelf.put("acme", f"def apply(ctx, options):\n    {ask}\n")
    guest.on_azure()
    with Azure(root=guest.root) as azure:
        outcome = azure.apply(["acme:apply"], KNOWN)
    assert "no request is sent in a run without Azure" in outcome.reason


# --------------------------------------------------------------------------------------------------- beside Azure


def azure_with(guest: Guest, fabric: Simulator, *names: str) -> Guest:
    sources = [*names, "imds", "media", "wireserver"]
    return guest.on_azure().configure(
        fabric, datasource={"sources": sources, "media": {"device": "none"}}, handlers=[*NO_REPORT, "report_ready"]
    )


def crawl(guest: Guest) -> Metadata:
    with Azure(root=guest.root, clock=FastClock()) as azure:
        return azure.crawl()


@pytest.mark.usefixtures("my_lab")
def test_its_values_win_over_azures_and_the_rest_is_azures(guest: Guest, fabric: Simulator) -> None:
    known = crawl(azure_with(guest, fabric, "my_lab"))
    assert (known.local_hostname, known.region, known.username) == ("lab-1", "rack-7", "alex")
    assert {known.provenance[name] for name in KNOWN} == {"my_lab"}
    assert (known.provenance["vm_size"], known.provenance["vm_id"]) == ("imds", "firmware")
    assert (dict(known.gaps.failures), dict(known.missing)) == ({}, {})


def test_of_two_the_first_in_the_list_wins_wherever_azures_own_are_listed(guest: Guest, shelf: Shelf) -> None:
    shelf.put(
        "two", "def one(guest): return {'region': 'a'}\ndef other(guest): return {'region': 'b', 'vm_size': 'c'}\n"
    )
    with Simulator(Scenario.default()) as fabric:
        azure_with(guest, fabric)
        with Azure(root=guest.root) as azure:
            known = azure.crawl(sources=["imds", "two:one", "wireserver", "two:other"])
    assert (known.region, known.vm_size) == ("a", "c")
    assert (known.provenance["region"], known.provenance["vm_size"]) == ("two:one", "two:other")


def test_what_it_has_not_is_asked_of_azure_even_where_it_is_empty(
    guest: Guest, fabric: Simulator, shelf: Shelf
) -> None:
    empty: dict[str, Any] = {"region": "", "username": None, "public_ssh_keys": [], "tags": {}, "password": ""}
    shelf.put("empty", f"def fetch(guest): return {empty!r}\n")
    known = crawl(azure_with(guest, fabric, "empty:fetch"))
    assert {known.provenance[name] for name in ("region", "username", "public_ssh_keys")} == {"imds"}
    assert known.password is None


def test_the_firmware_says_which_vm_this_is(guest: Guest, shelf: Shelf) -> None:
    shelf.put("other", f"def fetch(guest): return {{'vm_id': '{SWAPPED_VM_ID.upper()}', 'instance_id': 'x'}}\n")
    lab(guest, sources=["other:fetch"])
    assert crawl(guest).vm_id == VM_ID
    lab(guest, sources=["other:fetch"], vm_id="Not Settable")
    known = crawl(guest)
    assert (known.vm_id, known.instance_id) == (SWAPPED_VM_ID, "x")
    assert known.provenance["vm_id"] == "other:fetch"


def test_what_the_guest_offers(guest: Guest, shelf: Shelf) -> None:
    code = (
        "def fetch(guest):\n"
        "    said = [guest.root, guest.vm_id, guest.on_azure, guest.search_path, 0 < guest.deadline.remaining() <= 7]\n"
        "    said += [guest.read('/etc/hostname'), guest.read('/etc/nothing'), guest.read('/link')]\n"
        "    return {'tags': {'said': repr(said)}}\n"
        "TIMEOUT = 7\n"
    )
    shelf.put("offered", code)
    lab(guest, sources=["offered:fetch"])
    guest.path("link").symlink_to("/etc/hostname")
    with Azure(root=guest.root) as azure:
        tags = azure.crawl().tags
        path = azure._session.system().commands.search_path
    said = [guest.root, VM_ID, False, path, True, b"localhost\n", None, b"localhost\n"]
    assert tags == {"said": repr(said)}


@pytest.mark.parametrize("secret", ["text", "bytes"])
def test_secrets_are_secret_from_the_start(guest: Guest, shelf: Shelf, secret: str) -> None:
    encoded = base64.b64encode(CANARY.encode()).decode()
    given: dict[str, Any] = {"password": CANARY, "custom_data": encoded, "user_data": encoded}
    if secret == "bytes":
        given = dict.fromkeys(given, CANARY.encode())
    shelf.put("secretive", f"def fetch(guest): return {given!r}\n")
    lab(guest, sources=["secretive:fetch"])
    known = crawl(guest)
    assert known.password == Secret(CANARY)
    assert known.custom_data == known.user_data == Secret(CANARY.encode())
    for text in (repr(known), known.to_json()):
        assert CANARY not in text
        assert encoded not in text


# ------------------------------------------------------------------------------------------------------ bad ones

_RETURNS = "def fetch(guest): return "
BAD = {
    "raises": (f"def fetch(guest): raise RuntimeError('{CANARY}')\n", "unhandled RuntimeError"),
    "raises an error of azurelite": (
        "from azurelite import FabricError\ndef fetch(guest): raise FabricError('the lab is closed')\n",
        "the lab is closed",
    ),
    "raises while it is imported": (f"raise RuntimeError('{CANARY}')\n", "unhandled RuntimeError"),
    "is not Python": ("def fetch(guest) return {}\n", "unhandled SyntaxError"),
    "imports what is not there": ("import no_such_module_at_all\n", "cannot import module 'no_such_module_at_all'"),
    "has no function": ("", "no function `fetch(guest)`"),
    "has something else of that name": ("fetch = 7\n", "no function `fetch(guest)`"),
    "takes no argument": ("def fetch(): return {}\n", "unhandled TypeError"),
    "hangs": ("import time\nTIMEOUT = 0.5\ndef fetch(guest): time.sleep(300)\n", "timed out and was killed"),
    "waits for a lock": (
        "import threading\nTIMEOUT = 0.5\ndef fetch(guest): threading.Event().wait()\n",
        "timed out and was killed",
    ),
    "exits": ("import sys\ndef fetch(guest): sys.exit(0)\n", "ended without an answer"),
    "exits while it is imported": ("import sys\nsys.exit(0)\n", "ended without an answer"),
    "ends hard": ("import os\ndef fetch(guest): os._exit(3)\n", "ended without an answer (exit status 3)"),
    "is killed": ("import os\ndef fetch(guest): os.kill(os.getpid(), 9)\n", "signal 9"),
    "has a time that is none": ("TIMEOUT = 'soon'\ndef fetch(guest): return {}\n", "TIMEOUT must be a number"),
    "has no time": ("TIMEOUT = float('nan')\ndef fetch(guest): return {}\n", "TIMEOUT must be a number"),
    "returns nothing": ("def fetch(guest): pass\n", "a value of type NoneType"),
    "returns a list": (f"{_RETURNS}[('username', 'x')]\n", "a value of type list"),
    "returns text": (f"{_RETURNS}'{{}}'\n", "a value of type str"),
    "returns a generator": ("def fetch(guest): yield {}\n", "a value of type str"),
    "has a number for text": (f"{_RETURNS}{{'username': 5}}\n", "username must not be of type int"),
    "has text for a list": (f"{_RETURNS}{{'public_ssh_keys': 'ssh-ed25519 x'}}\n", "public_ssh_keys must not be"),
    "has numbers in a list": (f"{_RETURNS}{{'public_ssh_keys': [1]}}\n", "public_ssh_keys must be a list of text"),
    "has a list for a mapping": (f"{_RETURNS}{{'tags': ['a']}}\n", "tags must not be of type list"),
    "has numbers in its tags": (f"{_RETURNS}{{'tags': {{'a': 1}}}}\n", "tags must be a mapping of text to text"),
    "has text for a truth": (f"{_RETURNS}{{'disable_password_authentication': 'no'}}\n", "must not be of type str"),
    "has bytes for text": (f"{_RETURNS}{{'local_hostname': b'x'}}\n", "local_hostname must not be of type bytes"),
    "has data that are not base64": (f"{_RETURNS}{{'user_data': '{CANARY}'}}\n", "user_data must be base64 or bytes"),
    "has a password that is no text": (f"{_RETURNS}{{'password': b'\\xff'}}\n", "password must be UTF-8 text"),
    "has an id that leads elsewhere": (f"{_RETURNS}{{'vm_id': '../../../etc'}}\n", "vm_id must be a UUID"),
    "has a huge answer": (f"{_RETURNS}{{'region': 'x' * 5_000_000}}\n", "an answer that is too long"),
    "has a deep answer": (
        f"v = {{}}\nfor _ in range(100_000): v = {{'a': v}}\n{_RETURNS}{{'network': v}}\n",
        "RecursionError",
    ),
    "answers itself": (
        ("import os\ndef fetch(guest):\n    for fd in range(3, 100):\n        try: os.write(fd, b'{}\\n')\n"
         "        except OSError: pass\n    return {}\n"),
        "gave more than one answer",
    ),
    "writes no JSON": (
        "import os\nfor fd in range(3, 100):\n    try: os.write(fd, b'[}\\n')\n    except OSError: pass\n",
        "damaged its answer",
    ),
    "forges a deep answer": (
        ("import os\ndeep = b'{\"tuple\": [' * 2000\nanswer = b'{\"found\": ' + deep + b']}' * 2000 + b'}\\n'\n"
         "for fd in range(3, 100):\n    try: os.write(fd, answer)\n    except OSError: pass\nos._exit(0)\n"),
        "damaged its answer",
    ),
    "closes its descriptors": ("import os\ndef fetch(guest): os.closerange(3, 200)\n", "ended without an answer"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD)
def test_one_that_breaks_breaks_nothing_else(
    guest: Guest, fabric: Simulator, shelf: Shelf, caplog: pytest.LogCaptureFixture, text: str, said: str
) -> None:
    shelf.put("broken", text, group=GROUP, broken="broken")
    shelf.put("good", "def fetch(guest): return {'vm_size': 'rack'}\n")
    caplog.set_level(logging.INFO, logger="azurelite")
    azure_with(guest, fabric, "broken", "good:fetch")
    with Azure(root=guest.root, clock=FastClock()) as azure:
        known = azure.crawl()
        outcome = azure.provision()
    assert list(known.gaps.failures) == ["broken"]
    error = known.gaps.failures["broken"]
    assert said in error.message
    assert error.message.startswith("datasource broken: ")
    assert error.reason == "datasource broken failed"
    assert f"broken: {error.message.partition(': ')[2]}" in [record.getMessage() for record in caplog.records]
    assert (known.vm_size, known.username) == ("rack", "azureuser")
    assert "broken" not in known.provenance.values()
    assert (outcome.outcome, [report.state for report in fabric.reports]) == ("provisioned", ["Ready"])
    assert CANARY not in f"{known!r} {error.data} {outcome.as_dict()}"
    if "RuntimeError" not in text:  # whose traceback is logged
        assert CANARY not in caplog.text


def test_what_it_fails_to_say_is_missing_and_not_absent(guest: Guest, shelf: Shelf) -> None:
    shelf.put("broken", "def fetch(guest): raise RuntimeError\n")
    lab(guest, sources=["broken:fetch"])
    known = crawl_or_error(guest)
    assert isinstance(known, FabricError)
    outcome = provision(Options(root=guest.root, clock=FastClock()))
    assert (outcome.outcome, outcome.exit_code) == ("unreachable", 3)
    assert "datasource broken:fetch: unhandled RuntimeError" in outcome.reason
    assert guest.text("etc/hostname") == "localhost\n"
    shelf.put("broken", LAB)
    shutil.rmtree(shelf.folder / "__pycache__", ignore_errors=True)
    assert provision(Options(root=guest.root, clock=FastClock())).outcome == "provisioned"  # the next boot tries again


def crawl_or_error(guest: Guest) -> Any:
    try:
        return crawl(guest)
    except FabricError as error:
        return error


def test_a_slow_one_leaves_the_others_their_time(guest: Guest, fabric: Simulator, shelf: Shelf) -> None:
    shelf.put("slow", "import time\nTIMEOUT = 9999\ndef fetch(guest): time.sleep(300)\n")
    azure_with(guest, fabric, "slow:fetch")
    with Azure(root=guest.root, seconds=16) as azure:  # of these, 3 are for the sources: the rest is for later work
        known = azure.crawl()
    assert "timed out" in known.gaps.failures["slow:fetch"].message
    assert known.username == "azureuser"


@pytest.mark.parametrize("place", ["no_such_module_at_all:fetch", "json:no_such_function"])
def test_a_function_that_is_missing_is_a_failure_of_that_source(guest: Guest, fabric: Simulator, place: str) -> None:
    known = crawl(azure_with(guest, fabric, place))
    assert list(known.gaps.failures) == [place]
    assert known.username == "azureuser"


# --------------------------------------------------------------------------------------------------------- names


@pytest.mark.usefixtures("my_lab")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my_lap", "unknown source 'my_lap'; did you mean 'my_lab'?"),
        ("imsd", "unknown source 'imsd'; did you mean 'imds'?"),
        ("qqqqqqqq", "unknown source 'qqqqqqqq'; known: imds, media, my_lab, wireserver"),
        ("firmware", "unknown source 'firmware'"),
    ],
)
def test_an_unknown_name_is_a_mistake_with_its_place(
    guest: Guest, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    guest.on_azure().put({"etc/azurelite/azurelite.yaml": f"datasource:\n  sources: [imds, {name}]\n"})
    with Azure(root=guest.root) as azure:
        with pytest.raises(ConfigError, match=r"azurelite.yaml:2:\d+: ") as caught:
            azure.crawl()
        assert said in caught.value.message
    assert main(["config", "check", "--root", guest.root]) == 2
    assert main(["config", "show", "--root", guest.root]) == 2
    assert capsys.readouterr().err.count(said) == 2
    azure = Azure(root=guest.root, config={"datasource": {"sources": [name]}})
    with pytest.raises(ConfigError, match=r"config.datasource.sources\[0\]: unknown source"):
        azure.crawl()


def test_names_of_azurelites_own_sources_are_never_taken_over(guest: Guest, fabric: Simulator, shelf: Shelf) -> None:
    names = dict.fromkeys(("imds", "media", "certificates", "firmware", "resource"), "evil")
    shelf.put("evil", f"def fetch(guest): return {{'username': '{CANARY}'}}\n", group=GROUP, **names)
    assert plugins.plugged_sources() == []
    assert crawl(azure_with(guest, fabric)).username == "azureuser"


@pytest.mark.usefixtures("my_lab")
@pytest.mark.parametrize(("option", "there"), [([], True), (["--builtin"], False)])
def test_the_schema_knows_the_installed_ones(
    capsys: pytest.CaptureFixture[str], option: list[str], there: bool
) -> None:
    assert main(["config", "schema", *option]) == 0
    schema = json.loads(capsys.readouterr().out)
    named = schema["properties"]["datasource"]["properties"]["sources"]["items"]["anyOf"][0]["enum"]
    assert ("my_lab" in named) is there


# ---------------------------------------------------------------------------------------------- what is used of it


def test_an_answer_may_hold_any_field_but_azurelites_own(caplog: pytest.LogCaptureFixture) -> None:
    full = Metadata.from_dict({**GIVEN, "raw": {"imds": {"a": 1}}, "provenance": {"username": "imds"}})
    told: dict[Any, Any] = {**full.as_dict(), "usrname": "x", "missing": {"region": {"message": "m"}}, 7: "x"}
    part = part_of("my_lab", told)
    assert {name: getattr(part, name) for name in KNOWN} == {name: getattr(full, name) for name in KNOWN}
    assert (part.raw, part.provenance, dict(part.missing)) == ({}, {}, {})
    named = {record.getMessage() for record in caplog.records}
    unused = ("raw", "provenance", "missing", "usrname", "7")
    assert named == {f"my_lab: the field {name!r} is not used" for name in unused}


def test_every_field_can_come_from_a_source() -> None:
    values: dict[str, Any] = dict.fromkeys(NAMES, "text")
    values.update(vm_id=VM_ID.upper(), public_ssh_keys=[ED25519], tags={"a": "b"}, network={"interface": []})
    values.update(dict.fromkeys(("disable_password_authentication", "provision_guest_proxy_agent"), False))
    values.update(dict.fromkeys(("custom_data", "user_data", "random_seed"), b"x"), provenance={}, raw={})
    part = part_of("my_lab", values)
    assert [name for name in NAMES if getattr(part, name) in (None, ())] == []
    assert part.vm_id == VM_ID


def test_a_saved_document_without_its_secrets_has_lost_them(guest: Guest, shelf: Shelf) -> None:
    shelf.put("saved", f"def fetch(guest): return {{**{KNOWN!r}, 'user_data': '{REDACTED}'}}\n")
    lab(guest, sources=["saved:fetch"])
    known = crawl(guest)
    assert "without the secret user_data" in known.missing["user_data"].message
    assert (known.gaps.lost, known.gaps.damaged) == (("user_data",), ("user_data",))


# ------------------------------------------------------------------------------------------------------ the example


@pytest.fixture
def example(shelf: Shelf) -> Shelf:
    """The example of contrib/, as an installed package."""
    shelf.put("azurelite_lab", "", group=GROUP, json_file="azurelite_lab")
    (shelf.folder / "azurelite_lab.py").unlink()
    shutil.copytree(EXAMPLE / "azurelite_lab", shelf.folder / "azurelite_lab")
    return shelf


@pytest.mark.usefixtures("silent", "example")
def test_the_example_provisions_a_lab(guest: Guest) -> None:
    known = {**KNOWN, "tags": {"role": "web"}, "user_data": base64.b64encode(b"#!/bin/sh\n").decode()}
    lab(guest, sources=["json_file"]).put({"etc/azurelite/lab.json": json.dumps(known)})
    with Azure(root=guest.root) as azure:
        found = azure.crawl()
        assert azure.provision().exit_code == 0
    assert (found.cloud_name, found.tags, found.user_data) == ("lab", {"role": "web"}, Secret(b"#!/bin/sh\n"))
    assert found.provenance["username"] == "json_file"
    assert guest.text("etc/hostname") == "lab-1\n"


@pytest.mark.usefixtures("silent", "example")
@pytest.mark.parametrize(("text", "said"), [("{", "is not JSON"), ("[]", "does not hold an object")])
def test_the_example_names_what_is_wrong_with_its_file(guest: Guest, text: str, said: str) -> None:
    lab(guest, sources=["json_file"]).put({"etc/azurelite/lab.json": text})
    with pytest.raises(FabricError, match=said):
        crawl(guest)


@pytest.mark.usefixtures("example")
def test_the_example_on_azure_without_a_file_changes_nothing(guest: Guest, fabric: Simulator) -> None:
    known = crawl(azure_with(guest, fabric, "json_file"))
    assert (known.username, dict(known.gaps.failures)) == ("azureuser", {})


def test_the_guest_is_public() -> None:
    from azurelite.datasource.others import Guest as Offered

    assert azurelite.Guest is Offered


@pytest.mark.usefixtures("silent")
def test_a_source_gets_half_of_the_time_for_sources(guest: Guest, shelf: Shelf) -> None:
    """Of 1000 s, 100 are for reporting and 60 for the work on the machine."""
    text = "TIMEOUT = 9999\ndef fetch(guest):\n    return {'region': str(round(guest.deadline.remaining(), -1))}\n"
    shelf.put("half", text, group=GROUP, half="half")
    lab(guest, sources=["half"], handlers=["hostname"])
    with Azure(root=guest.root, seconds=1000) as azure:
        assert azure.crawl()["region"] == "420.0"
