"""The goal state: WireServer's XML that names this VM's container, role instance and incarnation."""

from __future__ import annotations

from typing import Optional

from azurelite.errors import DocumentError, FabricError
from azurelite.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xml.etree.ElementTree import Element  # noqa: TID251 - a type only; parsing is defusedxml's

_INSTANCE = "Container/RoleInstanceList/RoleInstance"


class GoalState(Record):
    """What a health report must carry.

    Attributes:
        container_id: the VM's container; may change, even with the incarnation unchanged, when Azure moves the VM.
        instance_id: the role instance.
        incarnation: a counter, kept as text.
        certificates_url: where the VM's certificates are; None on a VM without any.
    """

    container_id: str
    instance_id: str
    incarnation: str
    certificates_url: Optional[str] = None


def parse_goal_state(document: bytes) -> GoalState:
    """Read a goal state.

    Args:
        document: the body of WireServer's answer; a byte order mark, CRLF and blank text around values are fine.

    Raises:
        DocumentError: not XML, a DTD or entity in it, another root, or a required element is missing or empty.
            `transient` when it lacks the role instance, which WireServer adds a little later.
    """
    root = parse_xml(document, source="goal state")
    if root.tag != "GoalState":
        raise DocumentError("goal state", f"the root element is not GoalState but {root.tag[:60]!r}")
    if root.find(_INSTANCE) is None:
        raise DocumentError("goal state", f"{_INSTANCE} is missing", transient=True)
    return GoalState(
        container_id=_required(root, "Container/ContainerId"),
        instance_id=_required(root, f"{_INSTANCE}/InstanceId"),
        incarnation=_required(root, "Incarnation"),
        certificates_url=_text(root, f"{_INSTANCE}/Configuration/Certificates"),
    )


def parse_xml(document: bytes, *, source: str) -> Element:
    """Parse XML from outside: no DTD, no entity, no external reference.

    Args:
        document: the bytes; a UTF-8 byte order mark and blank bytes in front are passed over.
        source: what is being read, for the error.

    Raises:
        DocumentError: with line and column where the parser knows them.
    """
    import defusedxml
    from defusedxml.ElementTree import fromstring

    try:
        root: Element = fromstring(document.removeprefix(b"\xef\xbb\xbf").lstrip(), forbid_dtd=True)
    except defusedxml.DefusedXmlException as error:
        raise DocumentError(source, f"a DTD or entity is not accepted ({type(error).__name__})") from error
    except (SyntaxError, ValueError, LookupError) as error:  # ParseError is one, of either of defusedxml 0.6's kinds
        raise DocumentError(source, f"not well-formed XML ({error})") from error
    return root


def _required(root: Element, path: str) -> str:
    text = _text(root, path)
    if text is None:
        raise DocumentError("goal state", f"{path} is missing or empty")
    return text


def _text(root: Element, path: str) -> Optional[str]:
    return (root.findtext(path) or "").strip() or None


# What azurelite can speak, best first. Every agent in use speaks the first; the second has been seen to work, too.
SPOKEN = ("2012-11-30", "2015-04-05")


def choose_version(document: bytes, *, refused: str) -> str:
    """The version to speak on this host.

    Args:
        document: the answer to `/?comp=versions`. A version counts whether it stands as preferred or as supported:
            hosts list the one that every agent speaks in either place.
        refused: the version that the host has just turned down.

    Returns:
        A version of SPOKEN that the host offers.

    Raises:
        FabricError: it offers none, or the document cannot be read.
    """
    root = parse_xml(document, source="WireServer's versions")
    offered = [(element.text or "").strip() for element in root.iter("Version")]
    chosen: Optional[str] = next((v for v in SPOKEN if v in offered and v != refused), None)
    if chosen is None:
        said = ", ".join(offered[:12]) or "none"
        raise FabricError(f"WireServer refused version {refused} and offers no other that azurelite speaks: {said}")
    return chosen
