"""WireServer: the goal state, and the health report with the goal state that is current when it is sent."""

from __future__ import annotations

import logging
from typing import Optional
from urllib.parse import urlsplit

from azurelite.clock import Deadline
from azurelite.errors import DocumentError, FabricError, HttpStatusError, ReportRefusedError, TransportError
from azurelite.fabric import retry
from azurelite.fabric.exchange import Request
from azurelite.fabric.goalstate import SPOKEN, GoalState, choose_version, parse_goal_state
from azurelite.fabric.health import Health, health_document, health_json
from azurelite.fabric.http import HttpClient
from azurelite.fabric.settings import WireServerSettings
from azurelite.record import replace

LOG = logging.getLogger(__name__)

_GOAL_STATE = "/machine/?comp=goalstate"
_XML = {"Content-Type": "text/xml; charset=utf-8"}
_JSON = {"Content-Type": "application/json"}
# A goal state without its role instance is a matter of a second or two (the Azure Linux agent waits 6 × 0.5 s).
_INSTANCE_TRIES = 6
_INSTANCE_PAUSE = 0.5
_STALE_TRIES = 4  # with an ever newer goal state, before the other dialect has its turn
_SECOND_DIALECT_SHARE = 30.0  # seconds for the second dialect, so that the first has its turn again
_AGAIN_PAUSE = 1.0  # seconds


class WireServer:
    """Azure's host-side endpoint for this VM.

    Args:
        http: does the exchanges.
        settings: where it is and how long to wait for it.
        told_address: where DHCP (option 245) says it is; asked first, and given up when it does not answer.
    """

    def __init__(self, http: HttpClient, settings: WireServerSettings, *, told_address: Optional[str] = None) -> None:
        self._http = http
        self._settings = settings
        self._base = f"http://{told_address}" if told_address else settings.endpoint.rstrip("/")
        self._goal_state: Optional[GoalState] = None
        self._version = SPOKEN[0]

    @property
    def goal_state(self) -> Optional[GoalState]:
        """The goal state that was fetched last."""
        return self._goal_state

    def own_address(self, url: str) -> str:
        """An address that a goal state names, on this very endpoint: what comes in does not choose whom we ask.

        Raises:
            DocumentError: it is no address at all.
        """
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise DocumentError("goal state", "an address in it cannot be read") from error
        path = f"/{parts.path.lstrip('/')}"
        return f"{self._base}{path}?{parts.query}" if parts.query else f"{self._base}{path}"

    def forget_goal_state(self) -> None:
        """What was fetched counts no more: the VM may be somewhere else by now."""
        self._goal_state = None

    def ask_ahead(self, deadline: Deadline, *, beside: str) -> None:
        """Let the goal state be under way while the address `beside` is asked; `fetch_goal_state` takes the answer."""
        self._http.ask_ahead(self._request(_GOAL_STATE), deadline=deadline, beside=beside)

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
                if self._leave_told_address(error):
                    continue
                if not error.transient or tries >= _INSTANCE_TRIES or deadline.remaining() <= _INSTANCE_PAUSE:
                    raise
                deadline.clock.sleep(_INSTANCE_PAUSE)
            except FabricError as error:
                if not self._leave_told_address(error) or deadline.remaining() <= 0:
                    raise
            else:
                return self._goal_state

    def _leave_told_address(self, error: FabricError) -> bool:
        """Who does not answer as WireServer does at the address of a lease is not WireServer."""
        known = self._settings.endpoint.rstrip("/")
        if self._base == known:
            return False
        LOG.info("%s; from now on %s is asked", error, known)
        self._base = known
        return True

    def send(self, health: Health, deadline: Deadline) -> None:
        """Send a health report until Azure accepts it.

        In the XML dialect the report carries the goal state of this run's crawl where there is one. When Azure
        answers that it is stale (410, or `InvalidContainerConfiguration`), it is fetched again, the report built
        anew and sent again. The JSON dialect needs no goal state; with dialect "auto" it is tried when the XML
        dialect is refused for good.

        Args:
            health: what to report.
            deadline: after it the report counts as refused.

        Raises:
            FabricError: Azure could not be reached, or did not accept the report; it never counts as sent.
        """
        while True:
            error = self._try_dialects(health, deadline)
            if error is None:
                return
            if not _may_pass(error) or deadline.remaining() <= _AGAIN_PAUSE:
                raise error
            deadline.clock.sleep(_AGAIN_PAUSE)

    def _try_dialects(self, health: Health, deadline: Deadline) -> Optional[FabricError]:
        senders = {"xml": (self._send_xml,), "json": (self._send_json,), "auto": (self._send_xml, self._send_json)}
        first: Optional[FabricError] = None
        for send in senders[self._settings.dialect]:
            try:
                send(health, deadline if first is None else deadline.within(_SECOND_DIALECT_SHARE))
            except TransportError:
                raise
            except FabricError as error:
                first = first or error
            else:
                return None
            if not _is_final(first) or deadline.remaining() <= 0:
                break
            LOG.info("%s", first)
        return first

    def _send_xml(self, health: Health, deadline: Deadline) -> None:
        for stale in range(_STALE_TRIES):
            goal_state = self._goal_state or self.fetch_goal_state(deadline)
            try:
                self._post("/machine?comp=health", health_document(health, goal_state), _XML, deadline)
            except HttpStatusError as error:
                if not _is_stale(error) or stale == _STALE_TRIES - 1:
                    raise _refused(error) from error
                LOG.info("the goal state has moved on (HTTP %d); fetching it again", error.status)
                if self.fetch_goal_state(deadline) == goal_state or stale > 0:
                    deadline.clock.sleep(min(_AGAIN_PAUSE, deadline.remaining()))
                if deadline.remaining() <= 0:
                    raise _refused(error) from error
            else:
                return

    def _send_json(self, health: Health, deadline: Deadline) -> None:
        try:
            self._post("/provisioning/health", health_json(health), _JSON, deadline)
        except HttpStatusError as error:
            raise _refused(error) from error

    def _get_goal_state(self, deadline: Deadline) -> bytes:
        try:
            return self._get(_GOAL_STATE, deadline)
        except HttpStatusError as error:
            if error.status != 400:
                raise
            versions = self._get("/?comp=versions", deadline)
            self._version = choose_version(versions, refused=self._version)
            LOG.info("WireServer refused the request; speaking version %s now", self._version)
            return self._get(_GOAL_STATE, deadline)

    def _get(self, target: str, deadline: Deadline) -> bytes:
        return self._http.ask(self._request(target), table=retry.GOAL_STATE, deadline=deadline).body

    def _post(self, target: str, document: bytes, kind: dict[str, str], deadline: Deadline) -> None:
        get = self._request(target)
        request = replace(get, method="POST", headers={**get.headers, **kind}, body=document)
        self._http.ask(request, table=retry.HEALTH, deadline=deadline)

    def _request(self, target: str) -> Request:
        headers = {"x-ms-version": self._version, "x-ms-agent-name": "azurelite"}
        return Request(f"{self._base}{target}", headers, self._settings.timeout)


def _is_final(error: FabricError) -> bool:
    """A refusal that no patience would have changed, so that another dialect is worth a try."""
    answer = error if isinstance(error, HttpStatusError) else error.__cause__
    if not isinstance(answer, HttpStatusError):
        return False
    return answer.status not in retry.HEALTH.statuses and not _is_stale(answer)


def _may_pass(error: FabricError) -> bool:
    """The refusal is of a kind that may end: not there yet, a goal state that keeps moving or cannot be read yet."""
    answer = error if isinstance(error, HttpStatusError) else error.__cause__
    if isinstance(answer, HttpStatusError):
        return answer.status == 404 or _is_stale(answer)
    return isinstance(error, DocumentError)


def _is_stale(error: HttpStatusError) -> bool:
    return error.status == 410 or (error.status == 400 and b"InvalidContainerConfiguration" in error.body)


def _refused(error: HttpStatusError) -> FabricError:
    return ReportRefusedError(
        f"Azure did not accept the health report: {error}", reason=f"{error.reason} reporting health", data=error.data
    )
