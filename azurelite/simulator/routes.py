"""Which endpoint a request is for.

Knows paths and `comp` values. Refuses to judge a request: verbs, headers and ids are the endpoint's business.
"""

from __future__ import annotations

import re

from azurelite.simulator import attested, health_json, imds
from azurelite.simulator.message import Ask

REPROVISION_PATH = "/metadata/reprovisiondata"

_PATHS = {
    "/metadata/versions": "imds_versions",
    "/metadata/versions/": "imds_versions",
    REPROVISION_PATH: "reprovision_data",
    attested.PATH: "attested",
    health_json.PATH: "health_json",
}
_COMP_ENDPOINTS = {
    ("/", "versions"): "versions",
    ("/machine", "goalstate"): "goal_state",
    ("/machine/", "goalstate"): "goal_state",
    ("/machine", "health"): "health",
    ("/machine/", "health"): "health",
}


def endpoint_of(ask: Ask) -> str:
    """The endpoint's name, as records and faults use it; `unknown` for everything that Azure would not route."""
    if ask.path in _PATHS:
        return _PATHS[ask.path]
    if ask.path == imds.ROOT or ask.path.startswith(f"{imds.ROOT}/"):
        return "imds"
    comp = dict(ask.query).get("comp", "")
    if comp == "certificates" and re.fullmatch("/machine/[^/]+/[^/]+", ask.path):
        return "certificates"
    return _COMP_ENDPOINTS.get((ask.path, comp), "unknown")
