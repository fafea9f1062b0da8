"""Who wins when several sources know a field."""

from __future__ import annotations

from dataclasses import fields

import pytest
from kit import ED25519

from azurelite.datasource import ANY, PRECEDENCE, merge, sources_of
from azurelite.metadata import Metadata, Secret, SshKey

KEYS = (SshKey(ED25519),)
ONLY_IMDS = {
    "local_hostname": "web-1",
    "username": "alex",
    "disable_password_authentication": False,
    "public_ssh_keys": KEYS,
    "user_data": Secret(b"x"),
    "tags": {"a": "b"},
    "network": {"interface": []},
    "pps_type": "Running",
}
FIRMWARE_FIRST = {"instance_id": ("f", "i"), "vm_id": ("f", "i")}
ANY_SOURCE = {
    "region": "westeurope",
    "availability_zone": "1",
    "fault_domain": "0",
    "vm_size": "Standard_B2s",
    "password": Secret("x"),
    "custom_data": Secret(b"x"),
    "provision_guest_proxy_agent": False,
}


def test_the_tables_here_cover_every_field():
    known = {field.name for field in fields(Metadata)} - {"cloud_name", "platform", "provenance", "raw"}
    assert known == {*ONLY_IMDS, *FIRMWARE_FIRST, *ANY_SOURCE}
    assert set(PRECEDENCE) == {*ONLY_IMDS, *FIRMWARE_FIRST}


@pytest.mark.parametrize(("name", "value"), [*ONLY_IMDS.items(), *ANY_SOURCE.items()])
def test_imds_gives_the_field(name, value):
    merged = merge({"firmware": Metadata(), "imds": Metadata(**{name: value})})
    assert getattr(merged, name) == value
    assert merged.provenance[name] == "imds"


@pytest.mark.parametrize(("name", "value"), list(ONLY_IMDS.items()))
@pytest.mark.parametrize("source", ["firmware", "wireserver", "stranger"])
def test_nobody_else_gives_what_imds_alone_may_give(name, value, source):
    merged = merge({source: Metadata(**{name: value})})
    assert getattr(merged, name) is None
    assert name not in merged.provenance


@pytest.mark.parametrize("name", FIRMWARE_FIRST)
def test_the_firmware_wins_over_imds(name):
    parts = {"imds": Metadata(**{name: "i"}), "firmware": Metadata(**{name: "f"})}
    merged = merge(parts)
    assert (getattr(merged, name), merged.provenance[name]) == ("f", "firmware")


@pytest.mark.parametrize("name", FIRMWARE_FIRST)
def test_imds_stands_in_where_the_firmware_says_nothing(name):
    merged = merge({"firmware": Metadata(), "imds": Metadata(**{name: "i"})})
    assert (getattr(merged, name), merged.provenance[name]) == ("i", "imds")


@pytest.mark.parametrize(("name", "value"), list(ANY_SOURCE.items()))
def test_any_source_may_give_the_rest_in_order(name, value):
    assert sources_of(name) == ANY == ("firmware", "imds", "wireserver")
    for i, winner in enumerate(ANY):
        merged = merge({source: Metadata(**{name: value}) for source in reversed(ANY[i:])})
        assert merged.provenance[name] == winner


@pytest.mark.parametrize("name", ["region", "vm_id", "username"])
def test_the_order_of_the_parts_does_not_matter(name):
    parts = {"imds": Metadata(**{name: "i"}), "firmware": Metadata(**{name: "f"})}
    assert merge(parts) == merge(dict(reversed(list(parts.items()))))


def test_an_empty_key_list_is_no_answer():
    merged = merge({"imds": Metadata(public_ssh_keys=())})
    assert merged.public_ssh_keys is None
    assert "public_ssh_keys" not in merged.provenance


def test_false_is_an_answer():
    merged = merge({"imds": Metadata(disable_password_authentication=False)})
    assert merged.disable_password_authentication is False
    assert merged.provenance == {"disable_password_authentication": "imds"}


@pytest.mark.parametrize("parts", [{}, {"firmware": Metadata()}, {"imds": Metadata(), "wireserver": Metadata()}])
def test_nothing_at_all_is_still_azure(parts):
    merged = merge(parts)
    assert merged == Metadata(cloud_name="azure", platform="azure")
    assert (merged.provenance, merged.raw) == ({}, {})


def test_raw_documents_stand_side_by_side():
    parts = {"imds": Metadata(raw={"imds": {"a": 1}}), "wireserver": Metadata(raw={"goal_state": {"b": 2}})}
    assert merge(parts).raw == {"imds": {"a": 1}, "goal_state": {"b": 2}}


def test_the_parts_are_left_as_they_were():
    part = Metadata(username="alex", raw={"imds": {}})
    merge({"imds": part})
    assert part == Metadata(username="alex", raw={"imds": {}})
