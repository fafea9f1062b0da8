"""Reading the IMDS instance document: hostile bytes, wrong types, and one bad value never hides the others."""

from __future__ import annotations

import base64
import copy
import json
import logging
from typing import Any, Optional

import pytest
from kit import ED25519, VM_ID

from azurelite.datasource.imds import parse_imds
from azurelite.errors import DocumentError
from azurelite.metadata import Secret, SshKey
from azurelite.simulator import Scenario
from azurelite.simulator.imds import instance_document

DOCUMENT: dict[str, Any] = {
    "compute": {
        "location": "westeurope",
        "zone": "1",
        "platformFaultDomain": "0",
        "vmSize": "Standard_B2s",
        "vmId": VM_ID,
        "name": "resource",
        "osProfile": {"adminUsername": "alex", "computerName": "web-1", "disablePasswordAuthentication": "true"},
        "publicKeys": [{"keyData": ED25519, "path": "/home/alex/.ssh/authorized_keys"}],
        "tags": "role:web",
        "tagsList": [{"name": "role", "value": "web"}],
        "userData": "aGVsbG8=",
        "customData": "",
    },
    "network": {"interface": [{"macAddress": "000D3A5E7B21"}]},
    "extended": {"compute": {"hasCustomData": False, "ppsType": "Running"}},
}
PARSED: dict[str, Any] = {
    "region": "westeurope",
    "availability_zone": "1",
    "fault_domain": "0",
    "vm_size": "Standard_B2s",
    "vm_id": VM_ID,
    "instance_id": VM_ID,
    "username": "alex",
    "local_hostname": "web-1",
    "disable_password_authentication": True,
    "public_ssh_keys": (SshKey.read(ED25519, "/home/alex/.ssh/authorized_keys"),),
    "tags": {"role": "web"},
    "user_data": Secret(b"hello"),
    "network": {"interface": [{"macAddress": "000D3A5E7B21"}]},
    "pps_type": "Running",
}
GONE = object()


def changed(path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    *parents, last = path.split(".")
    node = document
    for key in parents:
        node = node[key]
    if value is GONE:
        del node[last]
    else:
        node[last] = value
    return document


def parse(document: Any) -> Any:
    return parse_imds(json.dumps(document).encode())


def fields(metadata: Any, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    return {name: getattr(metadata, name) for name in PARSED if name not in without}


def test_every_field_of_a_whole_document() -> None:
    assert fields(parse(DOCUMENT)) == PARSED


def test_what_imds_cannot_know_is_none() -> None:
    metadata = parse(DOCUMENT)
    assert (metadata.password, metadata.custom_data, metadata.provision_guest_proxy_agent) == (None, None, None)
    assert metadata.provenance == {}


def test_a_byte_order_mark_is_passed_over() -> None:
    assert fields(parse_imds(json.dumps(DOCUMENT).encode("utf-8-sig"))) == PARSED


def test_text_beyond_ascii() -> None:
    document = changed("compute.osProfile.computerName", "größe-𝄞")
    assert parse_imds(json.dumps(document, ensure_ascii=False).encode()).local_hostname == "größe-𝄞"


def test_the_simulators_own_document() -> None:
    vm = Scenario.default().vm
    metadata = parse(instance_document(vm, api_version="2021-08-01", extended=True))
    assert (metadata.local_hostname, metadata.username, metadata.vm_id) == ("web-1", "azureuser", vm.vm_id)
    assert [key.key_data.split()[0] for key in metadata.public_ssh_keys] == ["ssh-ed25519", "ssh-rsa"]
    assert all("\r" not in key.key_data and "\n" not in key.key_data for key in metadata.public_ssh_keys)
    assert (metadata.user_data, metadata.pps_type) == (None, None)
    assert metadata.disable_password_authentication is True


def test_an_old_api_versions_document_has_keys_and_tags_alone() -> None:
    metadata = parse(instance_document(Scenario.default().vm, api_version="2019-06-01", extended=False))
    assert metadata.public_ssh_keys
    assert metadata.tags == {"role": "web", "environment": "demo"}
    assert (metadata.username, metadata.local_hostname, metadata.user_data) == (None, None, None)


class TestNoDocument:
    @pytest.mark.parametrize(
        ("document", "said"),
        [
            (b"", "not JSON in UTF-8 at line 1 column 1"),
            (b"busy", "not JSON in UTF-8 at line 1 column 1"),
            (b'{"compute": {},\n "x": }', "not JSON in UTF-8 at line 2 column 7"),
            (b'{"compute": {}', "not JSON in UTF-8"),
            (b'{"compute": {}} trailing', "not JSON in UTF-8"),
            (b"{'compute': {}}", "not JSON in UTF-8"),
            (b'{"compute": {"a": "\x01"}}', "not JSON in UTF-8"),
            (b'{"compute": {"a": "\\x"}}', "not JSON in UTF-8"),
            (b"\x00" * 100, "not JSON in UTF-8"),
            (b'{"compute": {"location": "\xff\xfe"}}', "not JSON in UTF-8"),
            (json.dumps(DOCUMENT).encode("utf-16"), "not JSON in UTF-8"),
            (b"<html/>", "not JSON in UTF-8"),
            (b"[" * 100_000, "not JSON in UTF-8"),
            (b'{"a":' * 100_000, "not JSON in UTF-8"),
            (b"[]", "not an object but of type list"),
            (b'[{"compute": {}}]', "not an object but of type list"),
            (b"null", "not an object but of type NoneType"),
            (b'"compute"', "not an object but of type str"),
            (b"1", "not an object but of type int"),
            (b"true", "not an object but of type bool"),
            (b"NaN", "not an object but of type float"),
        ],
        ids=lambda value: repr(value)[:24] if isinstance(value, bytes) else None,
    )
    def test_is_one_error_with_a_place(self, document: bytes, said: str) -> None:
        with pytest.raises(DocumentError) as caught:
            parse_imds(document)
        assert said in str(caught.value)
        assert caught.value.reason == "error parsing IMDS metadata"
        assert len(str(caught.value)) < 120

    @pytest.mark.parametrize("compute", [GONE, None, [], "x", 1, True])
    def test_without_compute_it_says_nothing_of_the_vm(self, compute: object) -> None:
        with pytest.raises(DocumentError) as caught:
            parse(changed("compute", compute))
        assert caught.value.reason == "invalid IMDS metadata for key=compute"

    def test_values_are_never_quoted(self) -> None:
        with pytest.raises(DocumentError) as caught:
            parse_imds(b'{"compute": {"userData": "hunter2-canary", }}')
        assert "hunter2-canary" not in str(caught.value)
        assert "hunter2-canary" not in str(caught.value.data)


TEXTS = [
    ("compute.location", "region"),
    ("compute.zone", "availability_zone"),
    ("compute.platformFaultDomain", "fault_domain"),
    ("compute.vmSize", "vm_size"),
    ("compute.osProfile.adminUsername", "username"),
    ("compute.osProfile.computerName", "local_hostname"),
    ("extended.compute.ppsType", "pps_type"),
]


class TestTexts:
    @pytest.mark.parametrize(("path", "field"), TEXTS)
    @pytest.mark.parametrize("value", [GONE, None, ""], ids=["missing", "null", "empty"])
    def test_absent_is_none_and_no_warning(
        self, path: str, field: str, value: object, caplog: pytest.LogCaptureFixture
    ) -> None:
        metadata = parse(changed(path, value))
        assert getattr(metadata, field) is None
        assert fields(metadata, without=(field,)) == {name: PARSED[name] for name in PARSED if name != field}
        assert caplog.records == []

    @pytest.mark.parametrize(("path", "field"), TEXTS)
    @pytest.mark.parametrize("value", [0, 1, 1.5, True, False, [], ["x"], {}, {"a": "b"}, "a\ud800b"], ids=repr)
    def test_a_wrong_type_is_left_out_and_named_and_hides_nothing(
        self, path: str, field: str, value: object, caplog: pytest.LogCaptureFixture
    ) -> None:
        metadata = parse(changed(path, value))
        assert getattr(metadata, field) is None
        assert fields(metadata, without=(field,)) == {name: PARSED[name] for name in PARSED if name != field}
        assert [path in line.getMessage() for line in caplog.records] == [True]

    @pytest.mark.parametrize("pps_type", ["Running", "Savable", "OsDisk", "Unknown"])
    def test_pps_type_is_passed_on(self, pps_type: str) -> None:
        assert parse(changed("extended.compute.ppsType", pps_type)).pps_type == pps_type

    def test_pps_type_none_is_an_ordinary_vm(self) -> None:
        assert parse(changed("extended.compute.ppsType", "None")).pps_type is None


@pytest.mark.parametrize(
    ("path", "lost"),
    [
        ("compute.osProfile", ("username", "local_hostname", "disable_password_authentication")),
        ("extended", ("pps_type",)),
        ("extended.compute", ("pps_type",)),
        ("network", ("network",)),
    ],
)
@pytest.mark.parametrize(
    "value", [GONE, None, "x", 1, [], True], ids=["missing", "null", "text", "number", "list", "flag"]
)
def test_a_lost_object_hides_nothing_else(path: str, lost: tuple[str, ...], value: object) -> None:
    metadata = parse(changed(path, value))
    assert all(getattr(metadata, field) is None for field in lost)
    assert fields(metadata, without=lost) == {name: PARSED[name] for name in PARSED if name not in lost}


class TestPasswordFlag:
    @pytest.mark.parametrize(
        ("value", "flag"),
        [
            (True, True),
            ("true", True),
            ("True", True),
            ("TRUE", True),
            (" true ", True),
            (False, False),
            ("false", False),
            ("False", False),
            ("", None),
            ("  ", None),
            (None, None),
            (GONE, None),
            (1, None),
            (0, None),
            ("1", None),
            ("yes", None),
            ("on", None),
            ([], None),
            ({}, None),
        ],
        ids=lambda value: "missing" if value is GONE else repr(value),
    )
    def test_true_and_the_text_true_mean_the_same(self, value: object, flag: Optional[bool]) -> None:
        path = "compute.osProfile.disablePasswordAuthentication"
        assert parse(changed(path, value)).disable_password_authentication is flag

    @pytest.mark.parametrize("value", ["yes", 1, ["true"]])
    def test_what_is_neither_is_named(self, value: object, caplog: pytest.LogCaptureFixture) -> None:
        parse(changed("compute.osProfile.disablePasswordAuthentication", value))
        assert "disablePasswordAuthentication" in caplog.text


class TestVmId:
    @pytest.mark.parametrize("value", [VM_ID, VM_ID.upper()])
    def test_is_lower_case(self, value: str) -> None:
        metadata = parse(changed("compute.vmId", value))
        assert (metadata.vm_id, metadata.instance_id) == (VM_ID, VM_ID)

    @pytest.mark.parametrize(
        "value",
        [
            "../../etc",
            "/etc/passwd",
            "..",
            f"{VM_ID}/..",
            f"{VM_ID}\n",
            f" {VM_ID}",
            f"{VM_ID}\x00",
            VM_ID.replace("-", ""),
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "x",
            7,
            [VM_ID],
            {"id": VM_ID},
        ],
        ids=repr,
    )
    def test_what_is_no_uuid_never_becomes_a_path(self, value: object, caplog: pytest.LogCaptureFixture) -> None:
        metadata = parse(changed("compute.vmId", value))
        assert (metadata.vm_id, metadata.instance_id) == (None, None)
        assert metadata.username == "alex"
        assert "compute.vmId" in caplog.text


class TestKeys:
    @pytest.mark.parametrize(
        ("value", "keys"),
        [
            (GONE, None),
            (None, None),
            ([], ()),
            ("ssh-rsa x", None),
            ({"keyData": ED25519}, None),
            (5, None),
            ([{"keyData": ED25519}], (SshKey.read(ED25519),)),
            ([{"keyData": ED25519, "path": ""}], (SshKey.read(ED25519),)),
            ([{"keyData": ED25519, "path": 5}], (SshKey.read(ED25519),)),
            ([{"keyData": ""}, {"keyData": ED25519}], (SshKey.read(ED25519),)),
            ([{}, {"keyData": ED25519}], (SshKey.read(ED25519),)),
            ([{"path": "/x"}, {"keyData": ED25519}], (SshKey.read(ED25519),)),
            ([None, {"keyData": ED25519}], (SshKey.read(ED25519),)),
            (["ssh-rsa x", {"keyData": ED25519}], (SshKey.read(ED25519),)),
            ([[ED25519], {"keyData": ED25519}], (SshKey.read(ED25519),)),
            ([{"keyData": 5}, {"keyData": ED25519}], (SshKey.read(ED25519),)),
            ([{"keyData": [ED25519]}, {"keyData": ED25519}], (SshKey.read(ED25519),)),
            ([{"keyData": "a\ud800"}, {"keyData": ED25519}], (SshKey.read(ED25519),)),
            ([{"keyData": ED25519}] * 2, (SshKey.read(ED25519), SshKey.read(ED25519))),
        ],
        ids=lambda value: "missing" if value is GONE else repr(value)[:40],
    )
    def test_one_bad_entry_takes_no_other_down(self, value: object, keys: Optional[tuple[SshKey, ...]]) -> None:
        metadata = parse(changed("compute.publicKeys", value))
        assert metadata.public_ssh_keys == keys
        assert metadata.username == "alex"

    def test_the_entry_left_out_is_named_by_its_number(self, caplog: pytest.LogCaptureFixture) -> None:
        parse(changed("compute.publicKeys", [{"keyData": ED25519}, 7, {"keyData": 7}]))
        assert "compute.publicKeys[1] " in caplog.text
        assert "compute.publicKeys[2].keyData " in caplog.text

    @pytest.mark.parametrize(
        ("path", "value", "named"),
        [
            ("publicKeys", {"keyData": ED25519}, ["publicKeys skipped: unusable value of type dict"]),
            ("publicKeys", ED25519, ["publicKeys skipped: unusable value of type str"]),
            ("publicKeys", [None], ["publicKeys[0] skipped: unusable value of type NoneType"]),
            ("publicKeys", [{}, {"keyData": None}], [f"[{n}].keyData skipped: it is empty" for n in (0, 1)]),
            ("publicKeys", [{"keyData": ""}, {"keyData": " "}], ["[0].keyData skipped: it is empty"]),
            ("publicKeys", [{"keyData": 7}], ["publicKeys[0].keyData skipped: unusable value of type int"]),
            ("publicKeys", [{"keyData": ["x"]}], ["publicKeys[0].keyData skipped: unusable value of type list"]),
            ("publicKeys", [{"keyData": "no key"}], []),  # the handler names it
            ("publicKeys", [], []),
            ("publicKeys", None, []),
            ("tagsList", {"a": "b"}, ["tagsList skipped: unusable value of type dict"]),
            ("tagsList", [None, 5], ["List[0] skipped", "List[1] skipped"]),
            ("tagsList", [{"name": "a"}, {"name": "a", "value": None}], ["List[0] skipped", "List[1] skipped"]),
            ("tagsList", [], []),
            ("network", [], ["network skipped: unusable value of type list"]),
            ("network", None, []),
        ],
    )  # fmt: skip
    def test_what_cannot_be_used_is_named(
        self, path: str, value: object, named: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        parse(changed(path if path == "network" else f"compute.{path}", value))
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == len(named)
        assert all(text in line for text, line in zip(named, said))

    def test_a_part_of_joined_tags_without_a_colon_is_named(self, caplog: pytest.LogCaptureFixture) -> None:
        document = changed("compute.tags", "a:b;canary;;c:d")
        del document["compute"]["tagsList"]
        assert parse(document).tags == {"a": "b", "c": "d"}
        assert [record.getMessage() for record in caplog.records] == [
            "imds: compute.tags: part 2 skipped: it has no `:`"
        ]

    @pytest.mark.parametrize(
        ("text", "lines"),
        [
            (f"{ED25519}\r\n", [ED25519]),
            (f"  {ED25519}  me@home ", [f"{ED25519} me@home"]),
            (ED25519[:40] + "\r\n" + ED25519[40:], [ED25519]),
            (f"{ED25519}\nssh-rsa EVIL", [ED25519, "ssh-rsa EVIL"]),
            ("no key\r\nat all", ["no key at all"]),
        ],
    )
    def test_a_key_is_always_one_line(self, text: str, lines: list[str]) -> None:
        keys = parse(changed("compute.publicKeys", [{"keyData": text}])).public_ssh_keys
        assert [key.key_data for key in keys] == lines


class TestUserData:
    @pytest.mark.parametrize(
        ("value", "data"),
        [
            ("aGVsbG8=", b"hello"),
            ("aGVs\r\nbG8=\n", b"hello"),
            (base64.b64encode(bytes(range(256))).decode(), bytes(range(256))),
            ("aGVsbG8", None),
            ("aGVs*G8=", None),
            ("hunter2-canary", None),
            ("größe", None),
            (None, None),
            ("", None),
            (" \r\n", None),
            (GONE, None),
            (5, None),
            (["aGVsbG8="], None),
        ],
        ids=lambda value: "missing" if value is GONE else repr(value)[:24],
    )
    def test_is_decoded_or_left_out(
        self, value: object, data: Optional[bytes], caplog: pytest.LogCaptureFixture
    ) -> None:
        metadata = parse(changed("compute.userData", value))
        assert metadata.user_data == (None if data is None else Secret(data))
        assert metadata.username == "alex"
        assert "hunter2-canary" not in caplog.text

    def test_broken_base64_is_named(self, caplog: pytest.LogCaptureFixture) -> None:
        parse(changed("compute.userData", "%%%"))
        assert "compute.userData" in caplog.text


class TestTags:
    @pytest.mark.parametrize(
        ("listed", "joined", "tags"),
        [
            ([{"name": "a", "value": "b;c:d"}], "a:b;c:d", {"a": "b;c:d"}),
            ([{"name": "a", "value": ""}], "a:", {"a": ""}),
            ([{"name": "a", "value": "b"}, 5, {"name": 5, "value": "c"}, {"value": "d"}, None], "", {"a": "b"}),
            ([], "", None),
            ([], GONE, None),
            (GONE, "a:b;c:d:e", {"a": "b", "c": "d:e"}),
            (None, "a:b", {"a": "b"}),
            ("a", "a:b", {"a": "b"}),
            ({"a": "b"}, "a:b", {"a": "b"}),
            (GONE, "a:;b", {"a": ""}),
            (GONE, "", None),
            (GONE, ";;", None),
            (GONE, None, None),
            (GONE, GONE, None),
            (GONE, 5, None),
            (GONE, ["a:b"], None),
        ],
        ids=lambda value: "missing" if value is GONE else repr(value)[:30],
    )
    def test_tags_come_from_the_list_and_else_from_the_text(
        self, listed: object, joined: object, tags: Optional[dict[str, str]]
    ) -> None:
        document = changed("compute.tagsList", listed)
        if joined is GONE:
            del document["compute"]["tags"]
        else:
            document["compute"]["tags"] = joined
        assert parse(document).tags == tags


class TestRaw:
    def test_holds_the_document_without_its_secrets(self) -> None:
        document = changed("compute.customData", "aHVudGVyMg==")
        raw = parse(document).raw["imds"]
        assert "userData" not in raw["compute"]
        assert "customData" not in raw["compute"]
        del document["compute"]["userData"], document["compute"]["customData"]
        assert raw == document

    @pytest.mark.parametrize("secret", ["hunter2-canary", ["hunter2-canary"], {"a": "hunter2-canary"}])
    def test_holds_no_secret_of_a_wrong_type_either(self, secret: object, caplog: pytest.LogCaptureFixture) -> None:
        metadata = parse(changed("compute.userData", secret))
        assert "hunter2-canary" not in json.dumps(metadata.raw)
        assert "hunter2-canary" not in repr(metadata)
        assert "hunter2-canary" not in caplog.text

    def test_keeps_what_nobody_reads(self) -> None:
        raw = parse(changed("compute.sku", {"new": ["kind", 1]})).raw["imds"]
        assert raw["compute"]["sku"] == {"new": ["kind", 1]}

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("compute.sku", "a\ud800b"),
            ("compute.sku", {"a\udc00": ["b\ud800"]}),
            ("compute.tagsList", [{"name": "a\ud800", "value": "b\udfff"}]),
            ("network", {"a\ud800": [{"b": "c\ud800"}]}),
        ],
    )
    def test_half_a_surrogate_pair_reaches_no_file(self, path: str, value: object) -> None:
        """JSON can say it; a terminal and a file in UTF-8 cannot hold it."""
        metadata = parse(changed(path, value))
        for part in (metadata.raw, metadata.tags, metadata.network):
            json.dumps(part, ensure_ascii=False).encode()
        assert metadata.username == "alex"


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [10, 50])
def test_a_strange_but_bounded_document_is_read(depth: int) -> None:
    assert fields(parse(changed("compute.sku", nested(depth)))) == PARSED


@pytest.mark.parametrize("depth", [100, 300, 600, 900])
def test_a_document_too_deep_to_walk_is_refused(depth: int) -> None:
    """JSON's reader takes more levels than those who copy or print the document can."""
    text = json.dumps(DOCUMENT).replace('"westeurope"', "[" * depth + "]" * depth)
    with pytest.raises(DocumentError) as caught:
        parse_imds(text.encode())
    assert caught.value.reason == "error parsing IMDS metadata"


def test_a_key_given_twice_is_the_last_one() -> None:
    """As every JSON reader of the standard library has it; no value of another type slips in by that."""
    text = json.dumps(DOCUMENT).replace('"zone": "1"', '"zone": 5, "zone": "2"')
    assert parse_imds(text.encode()).availability_zone == "2"


def test_warnings_name_the_type_and_not_the_value(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        parse(changed("compute.osProfile.adminUsername", ["hunter2-canary"]))
    assert "compute.osProfile.adminUsername" in caplog.text
    assert "list" in caplog.text
    assert "hunter2-canary" not in caplog.text


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_a_number_that_json_cannot_say_hides_nothing_and_reaches_no_file(number: str) -> None:
    document = f'{{"compute": {{"location": "x", "sku": {number}}}, "network": {{"a": {number}}}}}'
    metadata = parse_imds(document.encode())
    assert metadata.region == "x"
    json.dumps([metadata.raw, metadata.network], allow_nan=False)
