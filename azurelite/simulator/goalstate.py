"""Common to all WireServer routes: versions and errors; and the goal state, whose ids a health report must name.

This module knows the GoalState document in the XML dialect, but not the documents at the URLs in it.
"""

from __future__ import annotations

from urllib.parse import quote
from xml.sax.saxutils import escape

from azurelite.simulator.message import Answer, Ask, xml_answer
from azurelite.simulator.scenario import Vm

DECLARATION = '<?xml version="1.0" encoding="utf-8"?>'


def answer_versions(ask: Ask, vm: Vm) -> Answer:
    """The protocol versions; the one WireServer route that needs no x-ms-version."""
    if ask.method != "GET":
        return not_allowed("GET")
    lines = [DECLARATION, "<Versions>", "  <Preferred>", f"    <Version>{escape(vm.protocol_preferred)}</Version>"]
    lines += ["  </Preferred>", "  <Supported>"]
    lines += [f"    <Version>{escape(version)}</Version>" for version in vm.protocol_supported]
    return xml_answer(200, "\r\n".join([*lines, "  </Supported>", "</Versions>", ""]))


def version_refusal(ask: Ask, vm: Vm) -> Answer | None:
    """The error answer to a request without a known x-ms-version; None when it has one."""
    version = ask.header("x-ms-version")
    if version is None:
        return error_answer(400, "MissingRequiredHeader", "The header x-ms-version was not specified.")
    if version not in (vm.protocol_preferred, *vm.protocol_supported):
        return error_answer(400, "InvalidHeaderValue", f"The protocol version {version!r} is not supported.")
    return None


def not_allowed(verb: str) -> Answer:
    """405, with the allowed verb."""
    return error_answer(405, "UnsupportedHttpVerb", "The verb is not supported.").with_headers({"Allow": verb})


def error_answer(status: int, code: str, message: str) -> Answer:
    """WireServer's error document."""
    lines = [DECLARATION, "<Error>", f"  <Code>{code}</Code>", f"  <Message>{escape(message)}</Message>", "</Error>"]
    return xml_answer(status, "\r\n".join([*lines, ""]))


_XSI = "http://www.w3.org/2001/XMLSchema-instance"

_CONFIGURATIONS = (
    ("HostingEnvironmentConfig", "hostingEnvironmentConfig"),
    ("SharedConfig", "sharedConfig"),
    ("ExtensionsConfig", "extensionsConfig"),
    ("FullConfig", "fullConfig"),
)


def answer_goal_state(ask: Ask, vm: Vm) -> Answer:
    """The answer to a request for the goal state."""
    if ask.method != "GET":
        return not_allowed("GET")
    refusal = version_refusal(ask, vm)
    if refusal is not None:
        return refusal
    document = goal_state_xml(
        ask.here,
        vm.incarnation,
        container_id=vm.container_id,
        instance_id=vm.instance_id,
        certificates=vm.certificates,
    )
    return xml_answer(200, document)


def goal_state_xml(
    here: str, incarnation: int, *, container_id: str, instance_id: str, certificates: bool = False
) -> str:
    """The document: no BOM, one element per line and CRLF, because shell clients grep lines. `here` is host:port.

    `certificates`: add their URL; it is optional in a real goal state, too.
    """
    base = f"http://{here}/machine/{quote(container_id, safe='')}/{_percent(instance_id)}"
    name = f"{container_id}.{instance_id}.{incarnation}.xml"
    lines = [
        DECLARATION,
        f'<GoalState xmlns:xsi="{_XSI}" xsi:noNamespaceSchemaLocation="goalstate10.xsd">',
        "  <Version>2012-11-30</Version>",
        f"  <Incarnation>{incarnation}</Incarnation>",
        "  <Machine>",
        "    <ExpectedState>Started</ExpectedState>",
        "    <StopRolesDeadlineHint>300000</StopRolesDeadlineHint>",
        "    <LBProbePorts>",
        "      <Port>16001</Port>",
        "    </LBProbePorts>",
        "    <ExpectHealthReport>FALSE</ExpectHealthReport>",
        "  </Machine>",
        "  <Container>",
        f"    <ContainerId>{escape(container_id)}</ContainerId>",
        "    <RoleInstanceList>",
        "      <RoleInstance>",
        f"        <InstanceId>{escape(instance_id)}</InstanceId>",
        "        <State>Started</State>",
        "        <Configuration>",
        *_configuration(base, incarnation, certificates=certificates),
        f"          <ConfigName>{escape(name)}</ConfigName>",
        "        </Configuration>",
        "      </RoleInstance>",
        "    </RoleInstanceList>",
        "  </Container>",
        "</GoalState>",
        "",
    ]
    return "\r\n".join(lines)


def _configuration(base: str, incarnation: int, *, certificates: bool) -> list[str]:
    named = [(element, f"comp=config&type={kind}") for element, kind in _CONFIGURATIONS]
    if certificates:
        named.append(("Certificates", "comp=certificates"))
    urls = [(element, f"{base}?{query}&incarnation={incarnation}") for element, query in named]
    return [f"          <{element}>{escape(url)}</{element}>" for element, url in urls]


def _percent(text: str) -> str:
    """Percent-encoded as by WireServer, which encodes `-` and `_`, too; no library does."""
    return quote(text, safe="").replace("-", "%2D").replace("_", "%5F")
