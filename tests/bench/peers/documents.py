"""What waagent asks of WireServer and azurelite's simulator does not have: the documents that a goal state names.

waagent reads three of them before it provisions. Their content plays no part in that; they are as small as it accepts.
"""

from __future__ import annotations

from typing import Callable, Optional

from azurelite.simulator.fabric import Fabric, Verdict
from azurelite.simulator.message import Answer, Ask, xml_answer

DOCUMENTS = {
    "hostingEnvironmentConfig": '<HostingEnvironmentConfig version="1.0.0.0"><Deployment name="bench" />'
    '<Incarnation number="1" instance="bench" /><Role name="bench" /></HostingEnvironmentConfig>',
    "sharedConfig": '<SharedConfig version="1.0.0.0" />',
    "extensionsConfig": '<Extensions version="1.0.0.0" goalStateIncarnation="1"><Plugins /><PluginSettings />'
    "</Extensions>",
}


class FullFabric(Fabric):
    """The simulator's fabric, with those documents."""

    def decide(self, ask: Ask, *, at: Callable[[], float], refusal: Optional[Answer] = None) -> Verdict:
        """One request."""
        asked = dict(ask.query)
        if refusal is None and asked.get("comp") == "config" and asked.get("type") in DOCUMENTS:
            refusal = xml_answer(200, DOCUMENTS[asked["type"]])
        return super().decide(ask, at=at, refusal=refusal)
