"""`when`: what holds of which metadata, and what is said of a condition that is none."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from azurelite.config.condition import FIELDS, RAW, parse_condition
from azurelite.metadata import SECRETS, Metadata, Secret, SshKey

CANARY = "hunter2-canary"
VM = Metadata(
    local_hostname="web-1",
    region="westeurope",
    fault_domain="0",
    username="",
    password=Secret("s"),
    disable_password_authentication=True,
    provision_guest_proxy_agent=False,
    public_ssh_keys=(SshKey.read("ssh-ed25519 A"), SshKey.read("ssh-rsa B")),
    custom_data=Secret(b""),
    tags={
        "Role": "web",
        "role2": "Web",
        "cost center": "42",
        "a.b c": "dotted",
        "on": "True",
        "off": "False",
        "empty": "",
        "null": "null",
        "it's": "x",
        "größe": "ß𝄞",
        "a == b": "odd",
        "both": "low",
        "BOTH": "high",
    },
    network={"interface": [{"macAddress": "00AA", "ipv4": {"ipAddress": [{"privateIpAddress": "10.0.0.4"}]}}]},
    provenance={"region": "imds"},
    raw={"imds": {"compute": {"sku": "9", "priority": 3, "share": 0.5, "spot": True, "gone": None, "list": []}}},
)


def refusal(text: str) -> str:
    """What is said of a text that is no condition."""
    try:
        parse_condition(text)
    except ValueError as error:
        return str(error)
    raise AssertionError("it was taken")


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("tags.role", True),
        ("tags.ROLE", True),
        ("  tags.role  ", True),
        ("not tags.role", False),
        ("tags.nothing", False),
        ("not tags.nothing", True),
        ("not   tags.nothing", True),
        ("tags.empty", False),
        ("tags.off", False),
        ("tags.on", True),
        ("tags", True),
        ("pps_type", False),
        ("not pps_type", True),
        ("fault_domain", True),
        ("username", False),
        ("password", True),
        ("not password", False),
        ("custom_data", False),
        ("user_data", False),
        ("disable_password_authentication", True),
        ("provision_guest_proxy_agent", False),
        ("tags.role == web", True),
        ("tags.role==web", True),
        ("tags.role == 'web'", True),
        ('tags.role == "web"', True),
        ("tags.role == Web", False),
        ("tags.role2 == Web", True),
        ("tags.role != db", True),
        ("tags.role != web", False),
        ("tags.nothing == web", False),
        ("tags.nothing != web", True),
        ("tags.nothing == null", True),
        ("tags.role == null", False),
        ("tags.role != null", True),
        ("tags.null == null", False),
        ("tags.null == 'null'", True),
        ("tags.empty == ''", True),
        ("tags.empty == null", False),
        ("tags.cost center == 42", True),
        ("tags.a.b c == dotted", True),
        ("tags.'a.b c' == dotted", True),
        ('tags."a.b c" == dotted', True),
        ('tags."it\'s" == x', True),
        ("tags.'a == b' == odd", True),
        ("tags.'A == B'", True),
        ("tags.größe == ß𝄞", True),
        ("tags.GRÖSSE == ß𝄞", True),
        ("tags.both == low", True),
        ("tags.BOTH == high", True),
        ("tags.on == true", True),
        ("tags.on == TRUE", True),
        ("tags.off == false", True),
        ("tags.off != false", False),
        ("disable_password_authentication == true", True),
        ("disable_password_authentication == True", True),
        ("disable_password_authentication != false", True),
        ("provision_guest_proxy_agent == false", True),
        ("tags.role in [web, db]", True),
        ("tags.role in[web]", True),
        ("tags.role in [db, 'web']", True),
        ("tags.role in [db]", False),
        ("tags.role not in [db]", True),
        ("tags.role not in [db, web]", False),
        ("tags.nothing in [db, null]", True),
        ("tags.nothing not in [db]", True),
        ("tags.role in [web,]", True),
        ("tags.role in ['a, b', web]", True),
        ("region in [westeurope, northeurope]", True),
        ("public_ssh_keys.0 == 'ssh-ed25519 A'", True),
        ("public_ssh_keys.1", True),
        ("public_ssh_keys.2", False),
        ("network.interface.0.macAddress == 00AA", True),
        ("network.interface.0.ipv4.ipAddress.0.privateIpAddress == 10.0.0.4", True),
        ("network.interface.7.macAddress == 00AA", False),
        ("network.interface.macAddress", False),
        ("network.interface == x", False),
        ("network.interface != x", True),
        ("provenance.region == imds", True),
        ("raw.imds.compute.sku == 9", True),
        ("raw.imds.compute.SKU == 9", False),
        ("raw.imds.compute.priority == 3", True),
        ("raw.imds.compute.share == 0.5", True),
        ("raw.imds.compute.spot == true", True),
        ("raw.imds.compute.gone == null", True),
        ("raw.imds.compute.list", False),
        ("raw.imds.compute.sku.deeper", False),
        ("raw.ovf", False),
    ],
)
def test_what_holds(text: str, holds: bool) -> None:
    assert parse_condition(text).holds(VM) is holds


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_can_be_asked_for_and_is_absent_where_nothing_is_known(field: str) -> None:
    assert parse_condition(f"not {field}").holds(Metadata())
    assert not parse_condition(field).holds(Metadata())


@pytest.mark.parametrize(
    ("text", "decidable"),
    [
        ("tags.role", True),
        ("vm_size == x", False),
        ("raw.imds.x", True),
        ("raw.ovf.x", False),
        ("raw", True),
        ("public_ssh_keys.9", True),
    ],
)
def test_what_cannot_be_decided_is_a_field_that_is_not_there(text: str, decidable: bool) -> None:
    assert parse_condition(text).is_decidable(VM) is decidable


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must be FIELD"),
        ("   ", "must be FIELD"),
        ("not", "must be FIELD"),
        ("== web", "must be FIELD"),
        ("regoin == x", "unknown field 'regoin'; did you mean 'region'?"),
        ("Region == x", "unknown field 'Region'; did you mean 'region'?"),
        ("tag.role", "unknown field 'tag'; did you mean 'tags'?"),
        ("'tags.role'", "unknown field"),
        ("raw.imsd.x", "unknown field 'imsd'; did you mean 'imds'?"),
        ("{{ tags.role }}", "unknown field"),
        ("not tags.role == web", "`not` takes only a field"),
        ("not tags.role in [web]", "`not` takes only a field"),
        ("tags.role = web", "put a tag name that looks like an operator in quotes"),
        ("tags.role=web", "put a tag name that looks like an operator in quotes"),
        ("tags.role > 3", "put a tag name that looks like an operator in quotes"),
        ("tags.role in web", "put a tag name that looks like an operator in quotes"),
        ("tags.a and tags.b", "put a tag name that looks like an operator in quotes"),
        ("region > x", "must be FIELD"),
        ("region && vm_size", "must be FIELD"),
        ("region or vm_size", "for several conditions"),
        ("tags.role == web and tags.x == y", "only one comparison is allowed"),
        ("tags.role == web or db", "only one comparison is allowed"),
        ("tags.role == a == b", "only one comparison is allowed"),
        ("tags.role ==", "the value is missing"),
        ("tags.role == [web]", "the value must be plain or quoted text"),
        ("tags.role == 'web", "the value must be plain or quoted text"),
        ("tags.role in []", "the list after `in` is empty"),
        ("tags.role in [,]", "the list after `in` is empty"),
        ("tags.role in [web", "`in` needs a list"),
        ("tags.role in [web] x", "`in` needs a list"),
        ("tags.role in [[web]]", "`in` needs a list"),
        ("tags == web", "`tags` has several parts: name one of them, for example tags.NAME"),
        ("network != x", "`network` has several parts"),
        ("tags.", "a name is missing after the dot"),
        ("tags.''", "a name is missing after the dot"),
        ("raw.imds..x", "the parts of a field are separated by dots"),
        ("tags.'a' b == x", "the parts of a field are separated by dots"),
        ("username.first", "`username` has no parts"),
        ("password.x", "`password` has no parts"),
        ("public_ssh_keys.first", "a key of `public_ssh_keys` is named by its position"),
        ("public_ssh_keys.0.x", "a key of `public_ssh_keys` is named by its position"),
        ("tags." + "x" * 2000, "is longer than 1000 characters"),
    ],
    ids=lambda value: value[:40],
)
def test_invalid_conditions_are_reported_with_the_remedy(text: str, said: str) -> None:
    assert said in refusal(text)


@pytest.mark.parametrize("field", SECRETS)
@pytest.mark.parametrize("test", [f"== {CANARY}", f"!= {CANARY}", f"in [{CANARY}]", "== null"])
def test_of_a_secret_only_its_presence_can_be_asked(field: str, test: str) -> None:
    with pytest.raises(ValueError, match=f"`{field}` is a secret") as caught:
        parse_condition(f"{field} {test}")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f"regoin == {CANARY}",
        f"tags == {CANARY}",
        f"tags.x == [{CANARY}]",
        f"tags.x == '{CANARY}",
        f"tags.x in {CANARY}",
        f"tags.x in [{CANARY}",
        f"tags.x in [a] {CANARY}",
        f"tags.x == {CANARY} and y",
        f"tags.x = {CANARY}",
        f"username.x == {CANARY}",
        f"not tags.x == {CANARY}",
    ],
)
def test_no_value_is_ever_in_a_message(text: str) -> None:
    assert CANARY not in refusal(text)


@pytest.mark.parametrize("part", ["'", '"', " ", ".", "[", "]", ",", "=", "!", "in [", "not ", "tags.", "'a' ", "== "])
def test_the_strangest_text_is_read_in_no_time(part: str) -> None:
    for text in (part * 300, "tags." + part * 300, "tags.x == " + part * 300, "tags.x in [" + part * 300):
        with contextlib.suppress(ValueError):
            parse_condition(text[:1000])


def test_a_document_of_raw_has_its_source() -> None:
    sources: dict[str, Any] = {name: parse_condition(f"raw.{name}.x").source for name in RAW}
    assert sources == RAW
    assert parse_condition("tags.role").source is None
    assert parse_condition("raw").source is None
