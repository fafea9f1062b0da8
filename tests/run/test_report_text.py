"""The text that Azure is told: one record of fields, never longer than it takes, never without what matters."""

from __future__ import annotations

import csv
from typing import Any, Optional

import pytest
from kit import VM_ID

import azurelite
from azurelite.errors import (
    AzureliteError,
    CertificateError,
    ConfigError,
    DocumentError,
    FileError,
    HttpStatusError,
    IdentityError,
    TransportError,
)
from azurelite.fabric.health import wire_size
from azurelite.outcome import StepResult, deciding_failure
from azurelite.run.reporter import DOCUMENTATION, failure_text, success_text

NOW = 1_700_000_000.0
STAMP = "2023-11-14T22:13:20+00:00"
AGENT = f"azurelite/{azurelite.__version__}"
ALWAYS = {
    "result": "error",
    "agent": AGENT,
    "vm_id": VM_ID,
    "timestamp": STAMP,
    "documentation_url": DOCUMENTATION,
}


def parsed(text: str) -> dict[str, str]:
    (row,) = csv.reader([text], delimiter="|", quotechar="'")
    return dict(field.split("=", 1) for field in row)


def failure(error: AzureliteError, **options: Any) -> dict[str, str]:
    """The fields of the report without the remedy, which every error has; those of the KVP record are among them."""
    text = failure_text(error, vm_id=VM_ID, now=NOW, **options)
    assert wire_size(text) <= 4096
    record = failure_text(error, vm_id=VM_ID, now=NOW, kvp=True, **options)
    assert len(record.encode()) <= 1022
    fields, less = parsed(text), parsed(record)
    assert list(less) == [name for name in fields if name in less]
    assert all(fields[name].startswith(value) for name, value in less.items())
    assert fields.pop("remedy", error.remedy) == error.remedy
    return fields


def test_success() -> None:
    assert success_text(vm_id=VM_ID, now=NOW) == f"result=success|agent={AGENT}|timestamp={STAMP}|vm_id={VM_ID}"


def test_a_failure_field_by_field() -> None:
    error = AzureliteError("the long story", reason="short", data={"exception": "why", "url": "http://h"})
    assert failure_text(error, vm_id=VM_ID, now=NOW, step="user") == (
        f"result=error|reason=short|agent={AGENT}|step=user|message=the long story|remedy={error.remedy}|"
        f"exception=why|url=http://h|vm_id={VM_ID}|timestamp={STAMP}|documentation_url={DOCUMENTATION}"
    )


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_an_error_without_words_has_a_reason_nevertheless(text: str) -> None:
    assert failure(AzureliteError(text), step="x:y")["reason"] == "provisioning failed without a reason"


def test_a_reason_that_is_the_message_is_told_once() -> None:
    assert failure(AzureliteError("boom")) == {**ALWAYS, "reason": "boom"}


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        (
            HttpStatusError(503, url="http://h/x"),
            {
                "reason": "http error 503",
                "http_code": "503",
                "url": "http://h/x",
                "message": "HTTP 503 from http://h/x",
            },
        ),
        (
            TransportError("read timeout", url="http://h", detail="timed out"),
            {
                "reason": "read timeout",
                "url": "http://h",
                "exception": "timed out",
                "message": "read timeout at http://h: timed out",
            },
        ),
        (
            DocumentError("goal state", "Incarnation is missing"),
            {
                "reason": "error parsing goal state",
                "exception": "Incarnation is missing",
                "message": "goal state: Incarnation is missing",
            },
        ),
    ],
)
def test_every_error_of_the_fabric(error: AzureliteError, fields: dict[str, str]) -> None:
    assert failure(error) == {**ALWAYS, **fields}


@pytest.mark.parametrize(
    "text",
    [
        "a|b",
        "it's",
        "'",
        "''",
        "|",
        "'|'",
        'say "x"',
        "a=b=c",
        "back\\slash",
        "ends with '",
        "ümläut 漢 👩",
        "a,b;c\td",
    ],
)
def test_whatever_is_said_is_read_back(text: str) -> None:
    shown = text.replace("\t", " ")
    said = failure(AzureliteError(f"m{text}", reason=f"r{text}", data={"exception": f"d{text}"}))
    assert (said["reason"], said["exception"], said["message"]) == (f"r{shown}", f"d{shown}", f"m{shown}")


def test_a_field_with_a_separator_or_quote_is_quoted_as_azures_agents_do() -> None:
    text = failure_text(AzureliteError("a|it's"), vm_id=VM_ID, now=NOW)
    assert "|'reason=a|it''s'|" in text


@pytest.mark.parametrize(
    "character",
    ["\n", "\r", "\r\n", "\t", "\x00", "\x1b", "\x7f", "\x85", "\xa0", "\u2028", "\u200b", "\ud800", "\ufffe"],
    ids=repr,
)
def test_a_record_is_one_printable_line(character: str) -> None:
    text = failure_text(
        AzureliteError(f"m{character}x", reason=f"r{character}x", data={"exception": f"d{character}x"}),
        vm_id=VM_ID,
        now=NOW,
        step=f"s{character}x",
    )
    assert text.isprintable()
    assert parsed(text)["reason"] == f"r{' ' * len(character)}x"


@pytest.mark.parametrize("filler", ["a", "|", "ß", "👩", "\n", "a'b "], ids=repr)
@pytest.mark.parametrize("length", [1, 100, 500, 5000])
@pytest.mark.parametrize("count", [1, 3, 20])
def test_supporting_data_gives_way_and_what_matters_stays(filler: str, length: int, count: int) -> None:
    data = {f"key{i}": filler * length for i in range(count)}
    said = failure(AzureliteError("m " + filler * length, reason="the reason", data=data), step="user")
    assert {name: said[name] for name in ALWAYS} == ALWAYS
    assert said["reason"] == "the reason"
    assert said["step"] == "user"


def test_the_first_of_the_data_is_the_last_to_go() -> None:
    said = failure(AzureliteError("m" * 400, reason="r", data={"first": "1" * 100, "second": "2" * 100}))
    assert said["first"] == "1" * 100
    assert said["second"].startswith("2")


def test_the_record_has_the_message_before_supporting_data() -> None:
    error = AzureliteError("m" * 400, reason="r", data={"first": "1" * 200, "second": "2" * 250})
    record = failure_text(error, vm_id=VM_ID, now=NOW, kvp=True)
    assert len(record.encode()) == 1022
    assert list(parsed(record)) == [
        *(
            "result",
            "reason",
            "agent",
            "message",
            "remedy",
            "first",
            "second",
            "vm_id",
            "timestamp",
            "documentation_url",
        )
    ]


def test_a_message_is_cut_to_what_fits_exactly() -> None:
    for kvp, limit in ((False, 4096), (True, 1022)):
        text = failure_text(AzureliteError("m" * 5000, reason="r"), vm_id=VM_ID, now=NOW, kvp=kvp)
        assert len(text) == limit
        assert "|message=mmmm" in text


def test_a_long_reason_is_cut_and_what_matters_stays() -> None:
    assert failure(AzureliteError("m", reason="r" * 5000)) == {**ALWAYS, "reason": "r" * 200, "message": "m"}


@pytest.mark.parametrize("reason", ["'" * 300, "it's " * 60, "|'" * 200])
def test_a_long_reason_that_must_be_quoted_leaves_room_for_what_matters(reason: str) -> None:
    said = failure(AzureliteError("m", reason=reason))
    assert {name: said[name] for name in ALWAYS} == ALWAYS
    assert reason.startswith(said["reason"])


def test_one_long_value_does_not_crowd_the_others_out() -> None:
    said = failure(AzureliteError("m", reason="r", data={"url": "u" * 5000, "exception": "e"}))
    assert (said["url"], said["exception"], said["message"]) == ("u" * 300, "e", "m")


@pytest.mark.parametrize(
    "text", [success_text(vm_id=None, now=NOW), failure_text(AzureliteError("x"), vm_id=None, now=NOW)]
)
def test_without_a_vm_id(text: str) -> None:
    assert parsed(text)["vm_id"] == "None"


def step(name: str, status: str, *, required: bool) -> StepResult:
    return StepResult(name, status=status, required=required)


@pytest.mark.parametrize(
    ("steps", "deciding"),
    [
        ([], None),
        ([("a", "done", True)], None),
        ([("a", "failed", False)], None),
        ([("a", "skipped", True)], None),
        ([("a", "failed", False), ("b", "failed", True), ("c", "failed", True)], "b"),
        ([("a", "done", True), ("b", "failed", True)], "b"),
    ],
)
def test_the_first_required_failure_decides(steps: list[tuple[str, str, bool]], deciding: Optional[str]) -> None:
    found = deciding_failure([step(name, status, required=required) for name, status, required in steps])
    assert (found.name if found else None) == deciding


def test_a_frame_that_is_too_long_by_itself_still_ends() -> None:
    assert 0 < len(failure_text(AzureliteError("x"), vm_id="x" * 9000, now=NOW)) <= 4096


@pytest.mark.parametrize(
    ("error", "step", "reason"),
    [
        (AzureliteError("own words"), None, "own words"),
        (AzureliteError("own words"), "user", "failed to provision user"),
        (AzureliteError("m", reason="given"), "user", "given"),
        (FileError("cannot write /etc/hostname"), "hostname", "failed to provision hostname"),
        (ConfigError("line 3"), None, "invalid azurelite configuration"),
        (CertificateError("m"), "certificates", "error fetching certificates"),
        (IdentityError("m"), None, "failure to identify Azure VM ID"),
    ],
)
def test_an_error_without_a_reason_gets_that_of_its_class_or_step(
    error: AzureliteError, step: Optional[str], reason: str
) -> None:
    assert failure(error, step=step)["reason"] == reason
