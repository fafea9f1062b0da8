"""Who wins when several sources know a field."""

from __future__ import annotations

import pytest
from kit import ED25519

from azurelite.datasource import PRECEDENCE, merge, needs_azure, sources_of
from azurelite.metadata import Metadata, Secret, SshKey
from azurelite.record import replace

KEYS = (SshKey.read(ED25519),)
BYTES, TEXT = Secret(b"x"), Secret("x")
# Every field with the sources that may give it, strongest first, and a value: the table, written down a second time.
TABLE: dict[str, tuple[tuple[str, ...], object]] = {
    "instance_id": (("firmware", "imds"), "i"),
    "vm_id": (("firmware", "imds"), "i"),
    "random_seed": (("firmware",), BYTES),
    "local_hostname": (("imds", "media", "resource"), "web-1"),
    "username": (("imds", "media"), "alex"),
    "disable_password_authentication": (("imds", "media"), False),
    "public_ssh_keys": (("imds", "media", "certificates"), KEYS),
    "password": (("media",), TEXT),
    "custom_data": (("media",), BYTES),
    "provision_guest_proxy_agent": (("media",), False),
    "pps_type": (("media", "imds"), "Running"),
    "user_data": (("imds",), BYTES),
    "tags": (("imds",), {"a": "b"}),
    "network": (("imds",), {"interface": []}),
    "region": (("imds",), "westeurope"),
    "availability_zone": (("imds",), "1"),
    "fault_domain": (("imds",), "0"),
    "vm_size": (("imds",), "Standard_B2s"),
}
ALL = ("firmware", "imds", "media", "resource", "certificates", "wireserver")
FIRMWARE_FIRST = ("instance_id", "vm_id")


def part(name: str, value: object) -> Metadata:
    """What a source says that knows one field only."""
    return replace(Metadata(), **{name: value})


def test_the_table_here_covers_every_field() -> None:
    known = {field.name for field in Metadata.FIELDS} - {"cloud_name", "platform", "provenance", "raw", "gaps"}
    assert known == set(TABLE)
    assert {name: sources_of(name) for name in TABLE} == {name: sources for name, (sources, _) in TABLE.items()}
    assert set(PRECEDENCE) == {*TABLE, "cloud_name", "platform"}


@pytest.mark.parametrize("source", ALL)
@pytest.mark.parametrize("name", TABLE)
def test_a_field_comes_only_from_its_own_sources(name: str, source: str) -> None:
    sources, value = TABLE[name]
    merged = merge({source: part(name, value)})
    assert getattr(merged, name) == (value if source in sources else None)
    assert merged.provenance == ({name: source} if source in sources else {})


@pytest.mark.parametrize("name", TABLE)
def test_the_stronger_source_wins_and_the_next_one_steps_in(name: str) -> None:
    sources, value = TABLE[name]
    for i, winner in enumerate(sources):
        merged = merge({source: part(name, value) for source in reversed(sources[i:])})
        assert merged.provenance == {name: winner}


@pytest.mark.parametrize("name", TABLE)
def test_of_other_sources_the_first_wins_over_azures_and_the_firmware_over_it(name: str) -> None:
    sources, value = TABLE[name]
    parts = {source: part(name, value) for source in ("my_lab", "acme:fetch", *sources)}
    firm = "firmware" in sources
    assert merge(parts).provenance == {name: "firmware" if firm else "my_lab"}
    parts.pop("firmware", None)
    assert merge(parts).provenance == {name: "my_lab"}
    del parts["my_lab"]
    assert merge(parts).provenance == {name: "acme:fetch"}


@pytest.mark.parametrize("name", ["cloud_name", "platform"])
def test_only_another_source_can_name_another_cloud(name: str) -> None:
    assert getattr(merge({"imds": part(name, "lab")}), name) == "azure"
    merged = merge({"my_lab": part(name, "lab")})
    assert (getattr(merged, name), merged.provenance) == ("lab", {name: "my_lab"})


@pytest.mark.parametrize(
    ("sources", "on_azure", "needed"),
    [
        (["imds", "media", "wireserver"], False, True),
        (["imds", "my_lab"], False, True),
        (["my_lab", "wireserver"], False, True),
        (["media"], False, True),  # an image that is not on Azure is left alone, unless a plug-in is listed
        ([], False, True),
        (["media", "my_lab"], False, False),
        (["media", "my_lab"], True, True),
        (["my_lab"], False, False),
        (["my_lab"], True, False),
        (["acme:fetch", "my_lab"], True, False),
    ],
)
def test_azure_is_needed_unless_plug_ins_are_all_that_is_read(sources: list[str], on_azure: bool, needed: bool) -> None:
    assert needs_azure(sources, on_azure=on_azure) is needed
    assert needs_azure(sources, on_azure=on_azure, early=True) is bool({*sources} & {"imds", "wireserver"})


@pytest.mark.parametrize("name", FIRMWARE_FIRST)
def test_the_firmware_wins_over_imds(name: str) -> None:
    parts = {"imds": part(name, "i"), "firmware": part(name, "f")}
    merged = merge(parts)
    assert (getattr(merged, name), merged.provenance[name]) == ("f", "firmware")


@pytest.mark.parametrize("name", FIRMWARE_FIRST)
def test_imds_is_used_where_the_firmware_has_no_id(name: str) -> None:
    merged = merge({"firmware": Metadata(), "imds": part(name, "i")})
    assert (getattr(merged, name), merged.provenance[name]) == ("i", "imds")


@pytest.mark.parametrize("name", ["region", "vm_id", "username"])
def test_the_order_of_the_parts_does_not_matter(name: str) -> None:
    parts = {"imds": part(name, "i"), "firmware": part(name, "f")}
    assert merge(parts) == merge(dict(reversed(list(parts.items()))))


def test_an_empty_key_list_is_no_answer() -> None:
    merged = merge({"imds": Metadata(public_ssh_keys=())})
    assert merged.public_ssh_keys is None
    assert "public_ssh_keys" not in merged.provenance


def test_false_is_an_answer() -> None:
    merged = merge({"imds": Metadata(disable_password_authentication=False)})
    assert merged.disable_password_authentication is False
    assert merged.provenance == {"disable_password_authentication": "imds"}


@pytest.mark.parametrize("parts", [{}, {"firmware": Metadata()}, {"imds": Metadata(), "wireserver": Metadata()}])
def test_nothing_at_all_is_still_azure(parts: dict[str, Metadata]) -> None:
    merged = merge(parts)
    assert merged == Metadata(cloud_name="azure", platform="azure")
    assert (merged.provenance, merged.raw) == ({}, {})


def test_raw_documents_of_all_sources_are_kept() -> None:
    parts = {"imds": Metadata(raw={"imds": {"a": 1}}), "wireserver": Metadata(raw={"goal_state": {"b": 2}})}
    assert merge(parts).raw == {"imds": {"a": 1}, "goal_state": {"b": 2}}


def test_the_parts_are_left_as_they_were() -> None:
    given = Metadata(username="alex", raw={"imds": {}})
    merge({"imds": given})
    assert given == Metadata(username="alex", raw={"imds": {}})
