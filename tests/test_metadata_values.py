"""The metadata's values: secrets that never print, and a public dict that comes back as it went out."""

from __future__ import annotations

import base64
import copy
import json
import logging
import traceback
from typing import Any, Callable

import pytest

from azurelite.metadata import REDACTED, Metadata, Secret, SshKey, expose, redact

CANARY = "canary-5b1e"

FULL = Metadata(
    cloud_name="azure",
    platform="azure",
    instance_id="2bf2d4c1-6f0c-4c5e-9f3a-51a7d0b2e8c4",
    vm_id="2bf2d4c1-6f0c-4c5e-9f3a-51a7d0b2e8c4",
    local_hostname="vm",
    region="westeurope",
    availability_zone="1",
    fault_domain="0",
    vm_size="Standard_B2s",
    username="azureuser",
    password=Secret(CANARY),
    disable_password_authentication=False,
    public_ssh_keys=(SshKey.read("ssh-ed25519 AAAA one"), SshKey.read("ssh-ed25519 BBBB two")),
    custom_data=Secret(CANARY.encode()),
    user_data=Secret(b"\xff\0" + CANARY.encode()),
    tags={"a": "b"},
    network={"interface": []},
    pps_type="Running",
    provision_guest_proxy_agent=True,
    provenance={"username": "imds"},
    raw={"imds": {"compute": {}}},
)


def show_traceback(secret: Secret) -> str:
    try:
        raise ValueError(secret)
    except ValueError as error:
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        return "".join(shown.format())


@pytest.mark.parametrize("value", [CANARY, CANARY.encode(), f"line\n{CANARY}"])
@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        ascii,
        "{}".format,
        "{!r:>40}".format,
        lambda s: f"{s}",
        lambda s: "%s %r" % (s, s),  # noqa: UP031
        lambda s: str([s]) + str({"k": s}) + str((s,)),
        lambda s: repr(Metadata(password=s)),
        lambda s: str(ValueError(s)),
        lambda s: json.dumps(s, default=str),
        lambda s: json.dumps(redact(Metadata(password=s, custom_data=s).as_dict())),
        lambda s: str(vars(s)) if hasattr(s, "__dict__") else "",
        lambda s: repr(copy.deepcopy(s)),
        show_traceback,
    ],
)
def test_no_way_of_printing_shows_a_secret(show: Callable[[Secret], str], value: Any) -> None:
    assert CANARY not in show(Secret(value))


@pytest.mark.parametrize("value", [CANARY, CANARY.encode()])
@pytest.mark.parametrize(
    "act",
    [
        json.dumps,
        lambda s: json.dumps({"password": s}),
        "{:>40}".format,
        lambda s: "x" + s,
        lambda s: "".join([s]),
        bytes,
        len,
        iter,
        int,
    ],
)
def test_what_would_take_its_text_fails_and_shows_nothing(act: Callable[[Secret], Any], value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        act(Secret(value))
    assert CANARY not in str(caught.value)


def test_a_log_never_shows_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    log = logging.getLogger("test")
    log.info("%s %r", Secret(CANARY), {"password": Secret(CANARY)})
    try:
        raise ValueError(Secret(CANARY))
    except ValueError:
        log.exception("failed with %s", FULL)
    assert "Secret(***)" in caplog.text
    assert CANARY not in caplog.text


class TestSecret:
    @pytest.mark.parametrize(("value", "data"), [("ü", b"\xc3\xbc"), (b"\xff\0", b"\xff\0"), ("", b"")])
    def test_it_gives_its_value_to_whoever_asks_by_name(self, value: Any, data: bytes) -> None:
        assert Secret(value).reveal() == value
        assert Secret(value).reveal_bytes() == data

    def test_it_compares_with_secrets_only(self) -> None:
        assert Secret("a") == Secret("a")
        assert Secret("a") != Secret("b")
        assert Secret("a") != Secret(b"a")
        assert Secret("a") != "a"
        assert {Secret("a"), Secret("a")} == {Secret("a")}

    @pytest.mark.parametrize(("value", "truth"), [("x", True), (b"x", True), ("", False), (b"", False)])
    def test_an_empty_one_is_false(self, value: Any, truth: bool) -> None:
        assert bool(Secret(value)) is truth


def test_a_field_that_no_source_has_is_none() -> None:
    values = Metadata().as_dict()
    assert {k: v for k, v in values.items() if v is not None} == {"provenance": {}, "raw": {}}
    assert "" not in values.values()


def test_the_public_dict_holds_plain_values() -> None:
    public: dict[str, Any] = {**FULL.as_dict()}
    assert public["public_ssh_keys"] == ["ssh-ed25519 AAAA one", "ssh-ed25519 BBBB two"]
    assert public["password"] == Secret(CANARY)
    public["tags"]["a"] = "changed"
    public["provenance"].clear()
    assert (FULL.tags, FULL.provenance) == ({"a": "b"}, {"username": "imds"})


def test_redacted_it_is_json_with_no_secret_left() -> None:
    public = redact(FULL.as_dict())
    assert CANARY not in json.dumps(public)
    assert [name for name, value in public.items() if value == REDACTED] == ["password", "custom_data", "user_data"]
    assert base64.b64encode(CANARY.encode()).decode() not in json.dumps(public)


def test_nothing_that_is_absent_looks_redacted() -> None:
    assert REDACTED not in redact(Metadata().as_dict()).values()


def test_exposed_it_is_json_with_bytes_as_base64() -> None:
    public = json.loads(json.dumps(expose(FULL.as_dict())))
    assert public["password"] == CANARY
    assert base64.b64decode(public["custom_data"]) == CANARY.encode()


@pytest.mark.parametrize("metadata", [FULL, Metadata(), Metadata(password=Secret(""), public_ssh_keys=(), tags={})])
def test_what_is_exposed_comes_back_the_same(metadata: Metadata) -> None:
    assert Metadata.from_dict(json.loads(json.dumps(expose(metadata.as_dict())))) == metadata
    assert Metadata.from_dict(metadata.as_dict()) == metadata


def test_what_is_redacted_comes_back_without_its_secrets() -> None:
    back = Metadata.from_dict(json.loads(json.dumps(redact(FULL.as_dict()))))
    assert (back.password, back.custom_data, back.user_data) == (None, None, None)
    assert (back.username, back.public_ssh_keys, back.tags) == (FULL.username, FULL.public_ssh_keys, FULL.tags)


def test_keys_of_another_version_are_passed_over() -> None:
    assert Metadata.from_dict({"username": "u", "something_new": [1], "__class__": "x"}) == Metadata(username="u")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("username", 5),
        ("username", ["u"]),
        ("username", True),
        ("local_hostname", {"a": 1}),
        ("vm_id", 1.5),
        ("password", 5),
        ("password", ["x"]),
        ("custom_data", 5),
        ("custom_data", "not base64!"),
        ("custom_data", "AAA"),
        ("user_data", "ü"),
        ("disable_password_authentication", "true"),
        ("disable_password_authentication", 1),
        ("provision_guest_proxy_agent", "no"),
        ("public_ssh_keys", "ssh-ed25519 AAAA"),
        ("public_ssh_keys", {"a": "b"}),
        ("public_ssh_keys", [1]),
        ("public_ssh_keys", ["ssh-ed25519 AAAA", None]),
        ("public_ssh_keys", [{"key_data": "x"}]),
        ("tags", ["a"]),
        ("tags", {"a": 1}),
        ("tags", {"a": None}),
        ("tags", "a:b"),
        ("network", []),
        ("raw", "x"),
        ("provenance", 0),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_and_not_quoted(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        Metadata.from_dict({name: value})
    assert "not base64!" not in str(caught.value)


def test_metadata_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        FULL.username = "other"  # type: ignore[misc]
