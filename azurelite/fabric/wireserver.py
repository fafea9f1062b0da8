"""Fetches the goal state from WireServer, and sends health reports."""

from __future__ import annotations

import logging
from http.client import responses
from typing import Callable, Optional
from urllib.parse import urlsplit

from azurelite.clock import Deadline
from azurelite.errors import DocumentError, FabricError, HttpStatusError, ReportRefusedError, TransportError
from azurelite.fabric import retry
from azurelite.fabric.exchange import Request
from azurelite.fabric.goalstate import SPOKEN, GoalState, choose_version, parse_goal_state
from azurelite.fabric.health import Health, health_document, health_json, is_web_page
from azurelite.fabric.http import HttpClient
from azurelite.fabric.retry import RetryTable
from azurelite.fabric.settings import WireServerSettings
from azurelite.record import replace

LOG = logging.getLogger(__name__)

_GOAL_STATE = "/machine/?comp=goalstate"
_HEALTH = "/machine?comp=health"
_TELEMETRY = "/machine?comp=telemetrydata"
_XML = {"Content-Type": "text/xml; charset=utf-8"}
_JSON = {"Content-Type": "application/json"}
# A goal state may lack its role instance for a second or two (the Azure Linux agent waits 6 × 0.5 s).
_INSTANCE_TRIES = 6
_INSTANCE_PAUSE = 0.5
_STALE_TRIES = 4  # tries with a newer goal state each, before the other dialect is tried
_SECOND_DIALECT_SHARE = 30.0  # seconds for the second dialect, so that the first can be tried again
_AGAIN_PAUSE = 1.0  # seconds
# WireServer answers 403 when it throttles, which passes; a host that forbids XML for ever may accept JSON.
_FORBIDDEN = 403
_FORBIDDEN_TRIES = 5
_WEB_PAGE = (
    "the answer is a web page, so it is not from WireServer: remove the proxy or gateway between this VM and its host"
)


class WireServer:
    """Azure's host-side endpoint for this VM.

    Args:
        http: sends the requests.
        settings: address and timeouts.
        told_address: its address from DHCP (option 245); tried first, and dropped if it does not answer.

    Attributes:
        tell: gets each step as one text: the ids of the goal state, the documents that are sent, the answers.
    """

    def __init__(self, http: HttpClient, settings: WireServerSettings, *, told_address: Optional[str] = None) -> None:
        self._http = http
        self._settings = settings
        self._base = f"http://{told_address}" if told_address else settings.endpoint.rstrip("/")
        self._goal_state: Optional[GoalState] = None
        self._version = SPOKEN[0]
        self.tell: Callable[[str], object] = lambda _: None

    @property
    def goal_state(self) -> Optional[GoalState]:
        """The goal state that was fetched last; None before the first."""
        return self._goal_state

    def own_address(self, url: str) -> str:
        """The URL of a goal state with our endpoint as host, so that a document cannot send requests elsewhere.

        Raises:
            DocumentError: it is not a URL.
        """
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise DocumentError("goal state", "it contains an invalid URL") from error
        path = f"/{parts.path.lstrip('/')}"
        return f"{self._base}{path}?{parts.query}" if parts.query else f"{self._base}{path}"

    def forget_goal_state(self) -> None:
        """Drop the goal state: it is outdated if the VM has moved."""
        self._goal_state = None

    def ask_ahead(self, deadline: Deadline, *, beside: str) -> None:
        """Request the goal state in parallel to the URL `beside`; `fetch_goal_state` uses the response."""
        self._http.ask_ahead(self._request(_GOAL_STATE), deadline=deadline, beside=beside)

    def fetch_goal_state(self, deadline: Deadline, *, table: RetryTable = retry.GOAL_STATE) -> GoalState:
        """Fetch the current goal state.

        Args:
            deadline: when to stop trying.
            table: which failures are retried.

        Raises:
            FabricError: no response, a refusal, or an incomplete document.
        """
        tries = 0
        self.tell("Retrieving goal state from the WireServer")
        while True:
            tries += 1
            try:
                self._goal_state = parse_goal_state(self._get_goal_state(deadline, table))
            except DocumentError as error:
                if self._leave_told_address(error):
                    continue
                if not error.transient or tries >= _INSTANCE_TRIES or deadline.remaining() <= _INSTANCE_PAUSE:
                    raise
                self._http.pause(_INSTANCE_PAUSE, str(error))
            except FabricError as error:
                if not self._leave_told_address(error) or deadline.remaining() <= 0:
                    raise
            else:
                for name, value in zip(("Incarnation", "ContainerId", "InstanceId"), _ids(self._goal_state)):
                    self.tell(f"{name}: {value}")
                return self._goal_state

    def _leave_told_address(self, error: FabricError) -> bool:
        """Switch from DHCP's address to the configured one, and log it. Returns False if that is in use already."""
        known = self._settings.endpoint.rstrip("/")
        if self._base == known:
            return False
        LOG.info("wireserver: %s; falling back to %s instead of the address from DHCP", error, known)
        self._base = known
        return True

    def send(self, health: Health, deadline: Deadline) -> None:
        """Send a health report until Azure accepts it.

        In the XML dialect, the report contains the goal state fetched last. If Azure answers that it is outdated
        (410, or `InvalidContainerConfiguration`), it is fetched again and a new report is sent. The JSON dialect needs
        no goal state; dialect "auto" uses it if Azure refuses XML, or forbids it (403) five times in a row. An answer
        of 2xx that is a web page is not Azure's, so it is no acceptance; the report is sent again.

        Args:
            health: the report.
            deadline: when to stop trying.

        Raises:
            FabricError: Azure was not reached, or did not accept the report.
        """
        while True:
            error = self._try_dialects(health, deadline)
            if error is None:
                return
            if not _may_pass(error) or deadline.remaining() <= _AGAIN_PAUSE:
                raise error
            self._http.pause(_AGAIN_PAUSE, str(error))

    def post(self, document: bytes, deadline: Deadline) -> None:
        """Send a report in XML that was built from a goal state, as it is.

        Raises:
            ReportRefusedError: a final refusal. `data["http_code"]` is "410", or its cause is a 400 that names
                `InvalidContainerConfiguration`, if the goal state is outdated.
            FabricError: Azure was not reached, or something else than Azure has answered.
        """
        try:
            self._post(_HEALTH, document, _XML, deadline)
        except HttpStatusError as error:
            raise _refused(error) from error

    def send_events(self, document: bytes, deadline: Deadline) -> None:
        """Send telemetry events once, without a retry. Raises FabricError."""
        request = replace(self._request(_TELEMETRY), method="POST", body=document)
        request = replace(request, headers={**request.headers, **_XML})
        self._http.ask(request, table=retry.NEVER, deadline=deadline)

    def _try_dialects(self, health: Health, deadline: Deadline) -> Optional[FabricError]:
        senders = {"xml": (self._send_xml,), "json": (self._send_json,), "auto": (self._send_xml, self._send_json)}
        first: Optional[FabricError] = None
        for send in senders[self._settings.dialect]:
            if first is not None:
                LOG.info("wireserver: %s; trying the other dialect", first)
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
        return first

    def _send_xml(self, health: Health, deadline: Deadline) -> None:
        for stale in range(_STALE_TRIES):
            goal_state = self._goal_state or self.fetch_goal_state(deadline, table=self._table(retry.GOAL_STATE))
            try:
                self._post(_HEALTH, health_document(health, goal_state), _XML, deadline)
            except HttpStatusError as error:
                if not _is_stale(error) or stale == _STALE_TRIES - 1:
                    raise _refused(error) from error
                LOG.info("wireserver: the goal state is outdated (HTTP %d); fetching it again", error.status)
                fresh = self.fetch_goal_state(deadline, table=self._table(retry.GOAL_STATE))
                if fresh == goal_state or stale > 0:
                    self._http.pause(min(_AGAIN_PAUSE, deadline.remaining()), str(error))
                if deadline.remaining() <= 0:
                    raise _refused(error) from error
            else:
                return

    def _send_json(self, health: Health, deadline: Deadline) -> None:
        try:
            self._post("/provisioning/health", health_json(health), _JSON, deadline)
        except HttpStatusError as error:
            raise _refused(error) from error

    def _get_goal_state(self, deadline: Deadline, table: RetryTable) -> bytes:
        try:
            return self._get(_GOAL_STATE, deadline, table)
        except HttpStatusError as error:
            if error.status != 400:
                raise
            versions = self._get("/?comp=versions", deadline, table)
            self._version = choose_version(versions, refused=self._version)
            LOG.info("wireserver: the protocol version is not supported; retrying with %s", self._version)
            return self._get(_GOAL_STATE, deadline, table)

    def _get(self, target: str, deadline: Deadline, table: RetryTable) -> bytes:
        return self._http.ask(self._request(target), table=table, deadline=deadline).body

    def _post(self, target: str, document: bytes, kind: dict[str, str], deadline: Deadline) -> None:
        get = self._request(target)
        request = replace(get, method="POST", headers={**get.headers, **kind}, body=document)
        self.tell(f"Sending the following data to the WireServer:\n{document.decode(errors='replace')}")
        try:
            response = self._http.ask(request, table=self._table(retry.HEALTH), deadline=deadline)
        except FabricError as error:
            self.tell(f"Response: {error}")
            raise
        self.tell(f"Response: {response.status} {responses.get(response.status, '')}".rstrip())
        if is_web_page(response):
            raise DocumentError("health report", _WEB_PAGE, reason="web page instead of an answer reporting health")

    def _table(self, table: RetryTable) -> RetryTable:
        """The table for a report: with dialect "auto", a few tries that are forbidden lead to the other dialect."""
        auto = self._settings.dialect == "auto"
        return replace(table, most={_FORBIDDEN: _FORBIDDEN_TRIES}) if auto else table

    def _request(self, target: str) -> Request:
        headers = {"x-ms-version": self._version, "x-ms-agent-name": "azurelite"}
        return Request(f"{self._base}{target}", headers, self._settings.timeout)


def _ids(goal_state: GoalState) -> tuple[str, str, str]:
    return goal_state.incarnation, goal_state.container_id, goal_state.instance_id


def _is_final(error: FabricError) -> bool:
    """Whether a refusal is final for this dialect, so that the other one is worth a try."""
    answer = error if isinstance(error, HttpStatusError) else error.__cause__
    if not isinstance(answer, HttpStatusError):
        return False
    return (answer.status == _FORBIDDEN or answer.status not in retry.HEALTH.statuses) and not _is_stale(answer)


def _may_pass(error: FabricError) -> bool:
    """Whether a retry may help: not there yet, throttled, or an outdated or unreadable document."""
    answer = error if isinstance(error, HttpStatusError) else error.__cause__
    if isinstance(answer, HttpStatusError):
        return answer.status in (404, _FORBIDDEN) or _is_stale(answer)
    return isinstance(error, DocumentError)


def _is_stale(error: HttpStatusError) -> bool:
    return error.status == 410 or (error.status == 400 and b"InvalidContainerConfiguration" in error.body)


def _refused(error: HttpStatusError) -> FabricError:
    return ReportRefusedError(
        f"Azure did not accept the health report: {error}", reason=f"{error.reason} reporting health", data=error.data
    )
