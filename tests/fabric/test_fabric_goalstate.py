"""Reading the goal state, from a well-meaning fabric and from a hostile one."""

from __future__ import annotations

import re
import time

import pytest

from azurelite.errors import DocumentError
from azurelite.fabric.goalstate import GoalState, parse_goal_state
from azurelite.simulator.goalstate import goal_state_xml

XML = (
    '<?xml version="1.0" encoding="utf-8"?>\n<GoalState>\n<Version>2012-11-30</Version>\n<Incarnation>7</Incarnation>\n'
    "<Container><ContainerId>c-1</ContainerId>\n<RoleInstanceList><RoleInstance><InstanceId>i-1</InstanceId>"
    "<State>Started</State><Configuration><Certificates>http://h/c</Certificates></Configuration>"
    "</RoleInstance></RoleInstanceList></Container>\n</GoalState>\n"
)
PARSED = GoalState("c-1", "i-1", "7", "http://h/c")
BODY = XML.partition("\n")[2]


def without(element: str) -> str:
    return re.sub(f"<{element}>.*</{element}>", "", XML, flags=re.DOTALL)


def emptied(element: str, text: str = "") -> str:
    return re.sub(f"<{element}>.*</{element}>", f"<{element}>{text}</{element}>", XML, flags=re.DOTALL)


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(XML.encode(), id="plain"),
        pytest.param(XML.encode("utf-8-sig"), id="byte order mark"),
        pytest.param(b"\xef\xbb\xbf\r\n" + XML.encode(), id="byte order mark and blank line"),
        pytest.param(b" \r\n\t" + XML.encode(), id="blank in front"),
        pytest.param(XML.replace("\n", "\r\n").encode(), id="CRLF"),
        pytest.param(re.sub(r">([^<>\n]+)<", "> \r\n\t\\1\r\n <", XML).encode(), id="blank around values"),
        pytest.param(XML.replace("utf-8", "utf-16").encode("utf-16"), id="UTF-16"),
        pytest.param(XML.replace("utf-8", "utf-16").encode("utf-16-le"), id="UTF-16 without a mark"),
        pytest.param(BODY.encode(), id="no declaration"),
        pytest.param(XML.replace("utf-8", "iso-8859-1").encode("latin-1"), id="Latin-1"),
        pytest.param(
            XML.replace("<Container>", "<!-- c --><?pi x?><Other/><Container>").encode(), id="more than needed"
        ),
        pytest.param(XML.replace("c-1", "<![CDATA[c-1]]>").encode(), id="CDATA"),
        pytest.param(XML.replace("c-1", "&#99;-&#x31;").encode(), id="character references"),
        pytest.param(XML.replace("<GoalState>", '<GoalState a="b" xmlns:x="y">').encode(), id="attributes"),
    ],
)
def test_any_honest_way_of_writing_it(document: bytes) -> None:
    assert parse_goal_state(document) == PARSED


def test_what_the_simulator_says() -> None:
    document = goal_state_xml("127.0.0.1:80", 3, container_id="c&1", instance_id="i<1>._x")
    assert parse_goal_state(document.encode()) == GoalState("c&1", "i<1>._x", "3", None)


@pytest.mark.parametrize("text", ["", "  \r\n "])
def test_an_empty_certificates_url_is_none(text: str) -> None:
    assert parse_goal_state(emptied("Certificates", text).encode()).certificates_url is None


@pytest.mark.parametrize("incarnation", ["0", "1", "4294967296", "two"])
def test_the_incarnation_is_kept_as_text(incarnation: str) -> None:
    assert parse_goal_state(emptied("Incarnation", incarnation).encode()).incarnation == incarnation


@pytest.mark.parametrize(
    ("element", "named", "transient"),
    [
        ("Incarnation", "Incarnation", False),
        ("ContainerId", "Container/ContainerId", False),
        ("InstanceId", "Container/RoleInstanceList/RoleInstance/InstanceId", False),
        ("RoleInstance", "Container/RoleInstanceList/RoleInstance", True),
        ("RoleInstanceList", "Container/RoleInstanceList/RoleInstance", True),
        ("Container", "Container/RoleInstanceList/RoleInstance", True),
    ],
)
def test_a_missing_element_is_named(element: str, named: str, transient: bool) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_goal_state(without(element).encode())
    assert f"goal state: {named} is missing" in str(caught.value)
    assert caught.value.transient is transient
    assert caught.value.reason == "error parsing goal state"


@pytest.mark.parametrize("element", ["Incarnation", "ContainerId", "InstanceId"])
@pytest.mark.parametrize("text", ["", " \r\n\t", "<b>nested</b>", "<!-- c -->"])
def test_an_empty_element_is_a_missing_one(element: str, text: str) -> None:
    with pytest.raises(DocumentError, match=f"{element} is missing or empty"):
        parse_goal_state(emptied(element, text).encode())


@pytest.mark.parametrize(
    ("document", "said"),
    [
        pytest.param(b"", "not well-formed XML", id="nothing"),
        pytest.param(b" \r\n ", "not well-formed XML", id="blank"),
        pytest.param(b"\xef\xbb\xbf", "not well-formed XML", id="a mark alone"),
        pytest.param(b"{}", "not well-formed XML", id="JSON"),
        pytest.param(b"busy", "not well-formed XML", id="text"),
        pytest.param(b"<html><body>Busy<br></body></html>", "not well-formed XML", id="HTML"),
        pytest.param(b"<GoalState>", "not well-formed XML", id="torn"),
        pytest.param(XML[:-20].encode(), "not well-formed XML", id="torn near the end"),
        pytest.param(XML.encode() + b"<more/>", "not well-formed XML", id="two roots"),
        pytest.param(XML.encode() + b"\x00", "not well-formed XML", id="a NUL behind"),
        pytest.param(b"\x00" * 1000, "not well-formed XML", id="NULs"),
        pytest.param(XML.replace("c-1", "c\x001").encode(), "not well-formed XML", id="a NUL inside"),
        pytest.param(XML.replace("c-1", "c\x1b1").encode(), "not well-formed XML", id="a control character"),
        pytest.param(XML.replace("c-1", "ä").encode("latin-1"), "not well-formed XML", id="not UTF-8"),
        pytest.param(XML.replace("utf-8", "utf-7").encode(), "not well-formed XML", id="an encoding nobody takes"),
        pytest.param(XML.replace("utf-8", "no-such").encode(), "not well-formed XML", id="an unknown encoding"),
        pytest.param(XML.replace("utf-8", "euc-jp").encode(), "not well-formed XML", id="a multi-byte encoding"),
        pytest.param(XML.replace("c-1", "&c;").encode(), "not well-formed XML", id="an undefined entity"),
        pytest.param(XML.replace("c-1", "&#0;").encode(), "not well-formed XML", id="a reference to NUL"),
        pytest.param(
            XML.replace("<Container>", "<x:Container>").encode(), "not well-formed XML", id="an unbound prefix"
        ),
        pytest.param(b"\xff\xfe" + b"<" * 999, "not well-formed XML", id="torn UTF-16"),
        pytest.param(b"<a>" * 100_000, "not well-formed XML", id="deep and torn"),
        pytest.param(b"<junk " * 70_000, "not well-formed XML", id="410 KB of junk"),
        pytest.param(b"<?xml version='1.0'?><Error><Code>Busy</Code></Error>", "not GoalState", id="another root"),
        pytest.param(XML.replace("GoalState", "goalstate").encode(), "not GoalState", id="case matters"),
        pytest.param(XML.replace("<GoalState>", "<GoalState xmlns='n'>").encode(), "the root element", id="namespace"),
        pytest.param(b"<" + b"A" * 10_000 + b"/>", "not GoalState", id="a long name"),
    ],
)
def test_what_is_no_goal_state_is_said_in_one_short_line(document: bytes, said: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_goal_state(document)
    assert said in str(caught.value)
    assert not caught.value.transient
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


LOL = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))


@pytest.mark.parametrize(
    "doctype",
    [
        pytest.param("<!DOCTYPE GoalState>", id="a DTD alone"),
        pytest.param('<!DOCTYPE GoalState SYSTEM "http://169.254.169.254/x.dtd">', id="an external DTD"),
        pytest.param('<!DOCTYPE GoalState PUBLIC "-//X" "file:///etc/passwd">', id="a public DTD"),
        pytest.param('<!DOCTYPE G [<!ENTITY e "x">]>', id="an entity"),
        pytest.param('<!DOCTYPE G [<!ENTITY e SYSTEM "file:///etc/passwd">]>', id="an external entity"),
        pytest.param('<!DOCTYPE G [<!ENTITY % p SYSTEM "file:///etc/passwd">%p;]>', id="a parameter entity"),
        pytest.param(f'<!DOCTYPE G [<!ENTITY l0 "lol">{LOL}<!ENTITY e "&l9;">]>', id="an entity bomb"),
        pytest.param('<!DOCTYPE G [<!ENTITY e "' + "x" * 100_000 + '">]>', id="a quadratic entity"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_no_dtd_and_no_entity(doctype: str, encoding: str) -> None:
    hostile = f"<?xml version='1.0' encoding='{encoding}'?>{doctype}{BODY}".replace("c-1", "&e;" * 1000)
    started = time.monotonic()
    with pytest.raises(DocumentError, match="DTDs and entities are not accepted") as caught:
        parse_goal_state(hostile.encode(encoding))
    assert time.monotonic() - started < 1
    assert not caught.value.transient
    assert "passwd" not in str(caught.value)


def test_a_deep_tree_is_only_a_strange_document() -> None:
    deep = b"<a>" * 50_000 + b"</a>" * 50_000
    assert parse_goal_state(XML.encode().replace(b"<Container>", deep + b"<Container>")) == PARSED


def test_the_first_role_instance_is_this_vms() -> None:
    second = "<RoleInstance><InstanceId>other</InstanceId></RoleInstance></RoleInstanceList>"
    assert parse_goal_state(XML.replace("</RoleInstanceList>", second).encode()) == PARSED
