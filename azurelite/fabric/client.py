"""`Fabric`: all of Azure's endpoints for one run, with the one deadline they share."""

from __future__ import annotations

from typing import Optional

from azurelite.clock import Clock, Deadline
from azurelite.fabric.http import Explain, HttpClient
from azurelite.fabric.imds import Imds
from azurelite.fabric.settings import ImdsSettings, WireServerSettings
from azurelite.fabric.wireserver import WireServer
from azurelite.system.process import Commands

TYPE_CHECKING = False
if TYPE_CHECKING:
    from azurelite.fabric.certificates import Certificate

_SHARE = 0.1  # of the time is kept for reporting, whatever the sources do
_LEAST_RESERVE = 10.0  # seconds, unless that were more than half of a very short deadline


class Fabric:
    """Azure's endpoints for one run. Opening it asks nothing.

    Args:
        seconds: the time budget of everything that is asked.
        imds: settings of IMDS.
        wireserver: settings of WireServer.
        clock: time.
        interface: the NIC by which Azure is asked; None leaves that to the routing table.
        explain: says why an address cannot be reached, see HttpClient.
        told_wireserver: WireServer's address as DHCP told it; the settings' one is tried when it does not answer.

    Attributes:
        deadline: when everything must have been said.
        opened: monotonic seconds when it was opened.
        imds_settings, wireserver_settings, interface, told_wireserver: as given.
        reading: when the sources must have answered: the rest belongs to reporting.
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
    ) -> None:
        self.clock = clock or Clock()
        self.opened = self.clock.monotonic()
        self.deadline = Deadline(self.clock, seconds)
        self.reading = self.deadline.before(_reserve(seconds))
        self.imds_settings = imds or ImdsSettings()
        self.wireserver_settings = wireserver or WireServerSettings()
        self.interface, self.told_wireserver = interface, told_wireserver
        self.http = HttpClient(self.clock, interface=interface, explain=explain)
        self.imds = Imds(self.http, self.imds_settings)
        self.wireserver = WireServer(self.http, self.wireserver_settings, told_address=told_wireserver)

    def renew(self, seconds: float) -> None:
        """Begin a new time budget: what was waited for before does not count, and kept connections may lead nowhere."""
        self.http.close()
        self.wireserver.forget_goal_state()
        self.deadline = Deadline(self.clock, seconds)
        self.reading = self.deadline.before(_reserve(seconds))

    def fetch_certificates(self, commands: Commands) -> tuple[Certificate, ...]:
        """The VM's certificates, where its goal state names any. Raises FabricError."""
        from azurelite.fabric.certificates import fetch_certificates

        goal_state = self.wireserver.goal_state or self.wireserver.fetch_goal_state(self.reading)
        if goal_state.certificates_url is None:
            return ()
        return fetch_certificates(
            self.http,
            self.wireserver.own_address(goal_state.certificates_url),
            commands=commands,
            timeout=self.wireserver_settings.timeout,
            deadline=self.reading,
        )

    def __enter__(self) -> Fabric:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()


def _reserve(seconds: float) -> float:
    return max(seconds * _SHARE, min(_LEAST_RESERVE, seconds / 2))
