"""The health report as a document: well-formed whatever is in it, and never longer than Azure takes."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from fabric.conftest import Dial, Simulate

from azurelite.fabric.goalstate import GoalState
from azurelite.fabric.health import (
    DESCRIPTION_LIMIT,
    READY,
    Health,
    failed,
    fitting,
    health_document,
    health_json,
    in_progress,
    wire_size,
)

STATE = GoalState("container", "instance", "1")
ROLE = "Container/RoleInstanceList/Role"
DESCRIPTION = f"{ROLE}/Health/Details/Description"
# Space and line breaks: a parser may hand CR back as LF, which is the same blank to a reader.
AS_THEY_ARE = "&<>\"'|\t\n é ß € 漢 𝄞 👩‍🚀 ]]> &amp; <![CDATA[ -->"
UNWRITABLE = [chr(i) for i in (*range(9), 11, 12, *range(14, 32), 0xD800, 0xDBFF, 0xDC00, 0xDFFF, 0xFFFE, 0xFFFF)]


def read(description: str) -> str:
    root = ElementTree.fromstring(health_document(failed(description), STATE))
    text = root.findtext(DESCRIPTION)
    assert text is not None
    return text


def test_ready_has_no_details() -> None:
    root = ElementTree.fromstring(health_document(READY, STATE))
    assert root.tag == "Health"
    assert root.findtext("GoalStateIncarnation") == "1"
    assert root.findtext("Container/ContainerId") == "container"
    assert root.findtext(f"{ROLE}/InstanceId") == "instance"
    assert root.findtext(f"{ROLE}/Health/State") == "Ready"
    assert root.find(f"{ROLE}/Health/Details") is None


@pytest.mark.parametrize(
    ("health", "substatus"), [(failed("why"), "ProvisioningFailed"), (in_progress("why"), "Provisioning")]
)
def test_not_ready_says_which_and_why(health: Health, substatus: str) -> None:
    root = ElementTree.fromstring(health_document(health, STATE))
    assert root.findtext(f"{ROLE}/Health/State") == "NotReady"
    assert root.findtext(f"{ROLE}/Health/Details/SubStatus") == substatus
    assert root.findtext(DESCRIPTION) == "why"


@pytest.mark.parametrize("text", [*AS_THEY_ARE.split(" "), AS_THEY_ARE, "\x7f", "\x85", "\xa0", "\u2028", "\ufffd"])
def test_a_parser_reads_back_what_was_said(text: str) -> None:
    assert read(text) == text


@pytest.mark.parametrize("character", UNWRITABLE, ids=lambda character: f"U+{ord(character):04X}")
def test_what_xml_cannot_write_becomes_a_blank(character: str) -> None:
    assert read(f"a{character}b") == "a b"


def test_every_character_makes_a_well_formed_document() -> None:
    for start in range(0, 0x110000, 512):
        if start % 0x1000 in (0, 0xE00) or start < 0x3000:  # all of the low ones, and both ends of every block
            text = "".join(map(chr, range(start, start + 512)))
            assert len(read(text).replace("\r\n", "\n")) >= 511


@pytest.mark.parametrize("character", ["a", "&", "<", "ß", "€", "𝄞", "\x00", "\ud800"])
@pytest.mark.parametrize("length", [511, 680, 5000])
def test_a_description_is_cut_to_what_fits_and_never_within_an_escape(character: str, length: int) -> None:
    text, whole = read(character * length), character * length
    assert len(text) == len(fitting(whole))
    assert len(set(text)) == 1
    assert wire_size(fitting(whole)) <= DESCRIPTION_LIMIT
    assert fitting(whole) == whole or wire_size(fitting(whole) + character) > DESCRIPTION_LIMIT


@pytest.mark.parametrize("text", ["a<&>b", '"quoted"', "back\\slash", "line\nbreak", "é€𝄞", "\x00\ud800"])
def test_the_size_is_that_of_the_larger_document(text: str) -> None:
    empty = [len(make(failed(""))) for make in (lambda health: health_document(health, STATE), health_json)]
    full = [len(make(failed(text))) for make in (lambda health: health_document(health, STATE), health_json)]
    assert wire_size(text) >= max(more - less for more, less in zip(full, empty))


@pytest.mark.parametrize("character", ["&", "𝄞", "\ufffd"])
def test_the_escaped_description_fits_wireservers_limit(character: str) -> None:
    document = health_document(failed(character * 9999), STATE)
    escaped = document.partition(b"<Description>")[2].partition(b"</Description>")[0]
    assert len(escaped) <= 4096


@pytest.mark.parametrize("text", ['a"b', "<c/>", "a&b", "a\x00b", "</ContainerId>"])
def test_ids_are_escaped_too(text: str) -> None:
    root = ElementTree.fromstring(health_document(READY, GoalState(text, text, text)))
    ids = [root.findtext(path) for path in ("GoalStateIncarnation", "Container/ContainerId", f"{ROLE}/InstanceId")]
    assert ids == [text.replace("\x00", " ")] * 3


def test_awkward_text_arrives_at_the_fabric_as_it_was(dial: Dial, simulate: Simulate) -> None:
    simulator = simulate()
    fabric = dial(simulator.url)
    for text in (AS_THEY_ARE, "𝄞" * 1200, "&" * 1200):
        fabric.wireserver.send(failed(text), fabric.deadline)
    assert [report.description for report in simulator.reports] == [AS_THEY_ARE, "𝄞" * 1024, "&" * 819]
    assert all(report.accepted for report in simulator.reports)
