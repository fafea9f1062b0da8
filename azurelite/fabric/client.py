"""`Fabric`: Azure's endpoints for one run, with a shared deadline."""

from __future__ import annotations

from typing import Optional

from azurelite.clock import Clock, Deadline, SystemClock
from azurelite.fabric.http import Explain, HttpClient
from azurelite.fabric.imds import Imds
from azurelite.fabric.settings import ImdsSettings, WireServerSettings
from azurelite.fabric.wireserver import WireServer
from azurelite.system.process import Commands

TYPE_CHECKING = False
if TYPE_CHECKING:
    from azurelite.fabric.certificates import Certificate

_SHARE = 0.1  # share of the time that is reserved for reporting
_LEAST_RESERVE = 10.0  # seconds, but at most half of a very short deadline
# Seconds for the work on the machine, which no source can use up; at most half of what the report leaves.
_LOCAL_WORK = 60.0


class Fabric:
    """Azure's endpoints for one run. Opening it sends no request.

    Args:
        seconds: the time budget of all requests.
        imds: settings of IMDS.
        wireserver: settings of WireServer.
        clock: time.
        interface: the NIC for all requests; None: the routing table decides.
        explain: returns why an address is unreachable, see HttpClient.
        told_wireserver: WireServer's address from DHCP; if it does not answer, the address in the settings is used.
        offline: the run has no need of Azure, or this is not Azure: every request fails at once and is not sent.

    Attributes:
        deadline: when all requests must be done.
        opened: monotonic seconds when it was opened.
        imds_settings, wireserver_settings, interface, told_wireserver, offline: as given.
        sources: when the sources must have answered; the time after it is reserved for the work on the machine.
        reading: when that work must be done; the time after it is reserved for reporting.
    """

    def __init__(
        self,
        seconds: float,
        *,
        imds: Optional[ImdsSettings] = None,
        wireserver: Optional[WireServerSettings] = None,
        clock: Optional[Clock] = None,
        interface: Optional[str] = None,
        explain: Optional[Explain] = None,
        told_wireserver: Optional[str] = None,
        offline: bool = False,
    ) -> None:
        self.clock = clock or SystemClock()
        self.opened = self.clock.monotonic()
        self._start(seconds)
        self.imds_settings = imds or ImdsSettings()
        self.wireserver_settings = wireserver or WireServerSettings()
        self.interface, self.told_wireserver, self.offline = interface, told_wireserver, offline
        self.http = HttpClient(self.clock, interface=interface, explain=explain, offline=offline)
        self.imds = Imds(self.http, self.imds_settings)
        self.wireserver = WireServer(self.http, self.wireserver_settings, told_address=told_wireserver)

    def renew(self, seconds: float) -> None:
        """Start a new time budget, and close connections, which may be dead after a move to another network."""
        self.http.close()
        self.wireserver.forget_goal_state()
        self._start(seconds)

    def _start(self, seconds: float) -> None:
        self.deadline = Deadline(self.clock, seconds)
        self.reading = self.deadline.before(_reserve(seconds))
        self.sources = self.reading.before(min(_LOCAL_WORK, self.reading.remaining() / 2))

    def fetch_certificates(self, commands: Commands, deadline: Deadline) -> tuple[Certificate, ...]:
        """The VM's certificates; none if its goal state has no address for them. Raises FabricError."""
        from azurelite.fabric.certificates import fetch_certificates

        goal_state = self.wireserver.goal_state or self.wireserver.fetch_goal_state(deadline)
        if goal_state.certificates_url is None:
            return ()
        return fetch_certificates(
            self.http,
            self.wireserver.own_address(goal_state.certificates_url),
            commands=commands,
            timeout=self.wireserver_settings.timeout,
            deadline=deadline,
        )

    def __enter__(self) -> Fabric:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()


def _reserve(seconds: float) -> float:
    return max(seconds * _SHARE, min(_LEAST_RESERVE, seconds / 2))
