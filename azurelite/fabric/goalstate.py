"""Reads the goal state: WireServer's XML with this VM's container, role instance and incarnation."""

from __future__ import annotations

from typing import Optional

from azurelite.errors import DocumentError, FabricError
from azurelite.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xml.etree.ElementTree import Element  # noqa: TID251 - a type only; parsing is defusedxml's

_INSTANCE = "Container/RoleInstanceList/RoleInstance"


class GoalState(Record):
    """The values that a health report must contain.

    Attributes:
        container_id: the VM's container; it changes when Azure moves the VM, even if the incarnation does not.
        instance_id: the role instance.
        incarnation: a counter, kept as text.
        certificates_url: the address of the VM's certificates; None if it has none.
    """

    container_id: str
    instance_id: str
    incarnation: str
    certificates_url: Optional[str] = None


def parse_goal_state(document: bytes) -> GoalState:
    """Read a goal state.

    Args:
        document: the body of WireServer's response; it may contain a byte order mark, CRLF and space around values.

    Raises:
        DocumentError: it is not XML, has a DTD, an entity or another root, or a required element is missing or empty.
            `transient` if the role instance is missing, which WireServer adds a little later.
    """
    root = parse_xml(document, source="goal state")
    if root.tag != "GoalState":
        raise DocumentError("goal state", f"the root element is {root.tag[:60]!r}, not GoalState")
    if root.find(_INSTANCE) is None:
        raise DocumentError("goal state", f"{_INSTANCE} is missing", transient=True)
    return GoalState(
        container_id=_required(root, "Container/ContainerId"),
        instance_id=_required(root, f"{_INSTANCE}/InstanceId"),
        incarnation=_required(root, "Incarnation"),
        certificates_url=_text(root, f"{_INSTANCE}/Configuration/Certificates"),
    )


def parse_xml(document: bytes, *, source: str) -> Element:
    """Parse untrusted XML: no DTD, no entity, no external reference.

    Args:
        document: the bytes; a UTF-8 byte order mark and white space at the start are skipped.
        source: the name of the document, for the error.

    Raises:
        DocumentError: the document is refused; with line and column if the parser knows them.
    """
    import defusedxml
    from defusedxml.ElementTree import fromstring

    try:
        root: Element = fromstring(document.removeprefix(b"\xef\xbb\xbf").lstrip(), forbid_dtd=True)
    except defusedxml.DefusedXmlException as error:
        raise DocumentError(source, f"DTDs and entities are not accepted ({type(error).__name__})") from error
    except (
        SyntaxError,
        ValueError,
        LookupError,
    ) as error:  # also ParseError, in both variants
        raise DocumentError(source, f"not well-formed XML ({error})") from error
    return root


def _required(root: Element, path: str) -> str:
    text = _text(root, path)
    if text is None:
        raise DocumentError("goal state", f"{path} is missing or empty")
    return text


def _text(root: Element, path: str) -> Optional[str]:
    return (root.findtext(path) or "").strip() or None


# The protocol versions that azurelite supports, best first. All agents use the first; the second works as well.
SPOKEN = ("2012-11-30", "2015-04-05")


def choose_version(document: bytes, *, refused: str) -> str:
    """Choose the protocol version for this host.

    Args:
        document: the response to `/?comp=versions`. Both preferred and supported versions count: hosts list the one
            that all agents use in either place.
        refused: the version that the host has just refused.

    Returns:
        A version of SPOKEN that the host offers.

    Raises:
        FabricError: it offers none of them, or the document is unreadable.
    """
    root = parse_xml(document, source="WireServer's versions")
    offered = [(element.text or "").strip() for element in root.iter("Version")]
    chosen: Optional[str] = next((v for v in SPOKEN if v in offered and v != refused), None)
    if chosen is None:
        said = ", ".join(offered[:12]) or "none"
        raise FabricError(f"WireServer refused version {refused} and offers no other that azurelite supports: {said}")
    return chosen
