"""WireServer: the goal state, and the health report with the goal state that is current when it is sent."""

from __future__ import annotations

import logging
from typing import Optional

from azurelite.clock import Deadline
from azurelite.errors import DocumentError, FabricError, HttpStatusError, ReportRefusedError
from azurelite.fabric import retry
from azurelite.fabric.goalstate import GoalState, parse_goal_state
from azurelite.fabric.health import Health, health_document
from azurelite.fabric.http import HttpClient
from azurelite.fabric.settings import WireServerSettings

LOG = logging.getLogger(__name__)

# The version that every agent in use speaks; a host may list it as preferred or only as supported.
_HEADERS = {"x-ms-version": "2012-11-30", "x-ms-agent-name": "azurelite"}
_XML = {"Content-Type": "text/xml; charset=utf-8"}
# A goal state without its role instance is a matter of a second or two (the Azure Linux agent waits 6 × 0.5 s).
_INSTANCE_TRIES = 6
_INSTANCE_PAUSE = 0.5
_STALE_PAUSE = 1.0  # seconds before the same goal state is asked for again


class WireServer:
    """Azure's host-side endpoint for this VM.

    Args:
        http: does the exchanges.
        settings: where it is and how long to wait for it.
    """

    def __init__(self, http: HttpClient, settings: WireServerSettings) -> None:
        self._http = http
        self._settings = settings
        self._base = settings.endpoint.rstrip("/")
        self._goal_state: Optional[GoalState] = None

    def fetch_goal_state(self, deadline: Deadline) -> GoalState:
        """The goal state as it is now.

        Raises:
            FabricError: no answer, a refusal, or a document that lacks what a report needs.
        """
        tries = 0
        while True:
            tries += 1
            try:
                self._goal_state = parse_goal_state(self._get_goal_state(deadline))
            except DocumentError as error:
                if not error.transient or tries >= _INSTANCE_TRIES or deadline.remaining() <= _INSTANCE_PAUSE:
                    raise
                deadline.clock.sleep(_INSTANCE_PAUSE)
            else:
                return self._goal_state

    def send(self, health: Health, deadline: Deadline) -> None:
        """Send a health report until Azure accepts it.

        The report carries the goal state of this run's crawl where there is one. When Azure answers that it is
        stale (410, or `InvalidContainerConfiguration`), it is fetched again, the report built anew and sent again.

        Args:
            health: what to report.
            deadline: after it the report counts as refused.

        Raises:
            FabricError: Azure could not be reached, or did not accept the report; it never counts as sent.
        """
        refusals = 0
        while True:
            goal_state = self._goal_state or self.fetch_goal_state(deadline)
            try:
                self._post(health_document(health, goal_state), deadline)
            except HttpStatusError as error:
                if not _is_stale(error):
                    raise _refused(error) from error
                LOG.info("the goal state has moved on (HTTP %d); fetching it again", error.status)
                refusals += 1
                if self.fetch_goal_state(deadline) == goal_state or refusals > 1:
                    if deadline.remaining() <= _STALE_PAUSE:
                        raise _refused(error) from error
                    deadline.clock.sleep(_STALE_PAUSE)
            else:
                return

    def _get_goal_state(self, deadline: Deadline) -> bytes:
        return self._http.request(
            "GET",
            f"{self._base}/machine/?comp=goalstate",
            headers=_HEADERS,
            table=retry.GOAL_STATE,
            timeout=self._settings.timeout,
            deadline=deadline,
        ).body

    def _post(self, document: bytes, deadline: Deadline) -> None:
        self._http.request(
            "POST",
            f"{self._base}/machine?comp=health",
            headers={**_HEADERS, **_XML},
            body=document,
            table=retry.HEALTH,
            timeout=self._settings.timeout,
            deadline=deadline,
        )


def _is_stale(error: HttpStatusError) -> bool:
    return error.status == 410 or (error.status == 400 and b"InvalidContainerConfiguration" in error.body)


def _refused(error: HttpStatusError) -> FabricError:
    return ReportRefusedError(
        f"Azure did not accept the health report: {error}", reason=f"{error.reason} reporting health", data=error.data
    )
