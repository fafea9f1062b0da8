"""The goal state: which container, which role instance, which incarnation the fabric wants to hear of.

Knows the GoalState document in the XML dialect. Refuses to know what a client does with it, and the documents that its
URLs name.
"""

from __future__ import annotations

from urllib.parse import quote
from xml.sax.saxutils import escape

from azurelite.simulator.message import Answer, Ask, xml_answer
from azurelite.simulator.wireserver import DECLARATION, not_allowed, version_refusal

_XSI = "http://www.w3.org/2001/XMLSchema-instance"

# No Certificates: the URL is optional in a real goal state, and this fabric holds none.
_CONFIGURATIONS = (
    ("HostingEnvironmentConfig", "config", "hostingEnvironmentConfig"),
    ("SharedConfig", "config", "sharedConfig"),
    ("ExtensionsConfig", "config", "extensionsConfig"),
    ("FullConfig", "config", "fullConfig"),
)


def answer_goal_state(ask: Ask, *, incarnation: int, container_id: str, instance_id: str) -> Answer:
    """What WireServer says to a request for the goal state."""
    if ask.method != "GET":
        return not_allowed("GET")
    refusal = version_refusal(ask)
    if refusal is not None:
        return refusal
    return xml_answer(200, goal_state_xml(ask.here, incarnation, container_id=container_id, instance_id=instance_id))


def goal_state_xml(here: str, incarnation: int, *, container_id: str, instance_id: str) -> str:
    """The document: no BOM, one element per line and CRLF, because shell clients grep lines. `here` is host:port."""
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
        *_configuration(here, incarnation, container_id=container_id, instance_id=instance_id),
        "        </Configuration>",
        "      </RoleInstance>",
        "    </RoleInstanceList>",
        "  </Container>",
        "</GoalState>",
        "",
    ]
    return "\r\n".join(lines)


def _configuration(here: str, incarnation: int, *, container_id: str, instance_id: str) -> list[str]:
    base = f"http://{here}/machine/{quote(container_id, safe='')}/{_percent(instance_id)}"
    lines = []
    for element, comp, kind in _CONFIGURATIONS:
        url = f"{base}?comp={comp}&type={kind}&incarnation={incarnation}"
        lines.append(f"          <{element}>{escape(url)}</{element}>")
    name = f"{container_id}.{instance_id}.{incarnation}.xml"
    return [*lines, f"          <ConfigName>{escape(name)}</ConfigName>"]


def _percent(text: str) -> str:
    """Percent-encoded as WireServer does it: `-` and `_` too, which no library would."""
    return quote(text, safe="").replace("-", "%2D").replace("_", "%5F")
