"""Asking the sources, one after the other; each may fail alone."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Callable, Mapping, Optional, Sequence

from azurelite.datasource import merge, sources_of
from azurelite.datasource.firmware import from_identity
from azurelite.datasource.imds import parse_imds
from azurelite.datasource.wireserver import from_goal_state
from azurelite.errors import FabricError
from azurelite.fabric.client import Fabric
from azurelite.fabric.identity import Identity
from azurelite.metadata import Metadata

LOG = logging.getLogger(__name__)

# Seconds. No setting of the VM hangs on the goal state, so the crawl does not wait long for it;
# the report fetches it again and then has patience.
_GOAL_STATE_WAIT = 10.0


@dataclass(frozen=True)
class Crawl:
    """What the sources said.

    Attributes:
        metadata: merged.
        failures: source name -> why it gave nothing.
    """

    metadata: Metadata
    failures: Mapping[str, FabricError]

    def failure_for(self, field: str) -> Optional[FabricError]:
        """Why a field may be missing: the failure of the strongest source that could have given it."""
        for source in sources_of(field):
            if source in self.failures:
                return self.failures[source]
        return None


def crawl(fabric: Fabric, *, identity: Identity, sources: Sequence[str]) -> Crawl:
    """Read all sources.

    Args:
        fabric: the endpoints; its `reading` deadline bounds everything.
        identity: what the firmware said.
        sources: "imds", "wireserver", in the order in which they are asked.

    Returns:
        The merged metadata; a source that failed is in `failures`, and the others go on.
    """
    readers: dict[str, Callable[[], Metadata]] = {
        "imds": lambda: parse_imds(fabric.imds.fetch_instance(fabric.reading)),
        "wireserver": lambda: from_goal_state(
            fabric.wireserver.fetch_goal_state(fabric.reading.within(_GOAL_STATE_WAIT))
        ),
    }
    parts = {"firmware": from_identity(identity)}
    failures: dict[str, FabricError] = {}
    for source in sources:
        try:
            parts[source] = readers[source]()
        except FabricError as error:
            failures[source] = error
            LOG.warning("%s gave nothing: %s", source, error)
    return Crawl(merge(parts), failures)
