"""A guest and its Azure endpoints for one run: identity, configuration, and whether requests are allowed."""

from __future__ import annotations

import os
from typing import Callable, Literal, Optional, Sequence, Union

from azurelite.clock import Clock
from azurelite.config.load import Config, load_config
from azurelite.errors import AzureliteError, NotAzureError, TransportError
from azurelite.fabric.client import Fabric
from azurelite.fabric.health import check_reason
from azurelite.fabric.settings import WireServerSettings
from azurelite.hypervisor.firmware import identify
from azurelite.hypervisor.identity import Identity
from azurelite.metadata import Metadata
from azurelite.run.reporter import Reporter
from azurelite.system.machine import System
from azurelite.system.network.leases import wireserver_from_leases
from azurelite.system.process import Commands
from azurelite.system.root import Root, check_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from azurelite.datasource.crawl import Crawl
    from azurelite.fabric.goalstate import GoalState
    from azurelite.media.find import MediaDocument


class Session:
    """The state that every verb starts with.

    Args:
        root: host path of the guest's `/`.
        config_file: host path of a file in place of /etc/azurelite/azurelite.yaml.
        clock: time.

    Raises:
        ConfigError: the configuration cannot be read.
    """

    def __init__(self, root: str, *, config_file: Optional[str] = None, clock: Optional[Clock] = None) -> None:
        check_root(root)
        self.root = Root(root)
        self.clock = clock or Clock()
        self.identity: Identity = identify(self.root, Commands(os.environ.get("PATH")))
        self.config: Config = load_config(self.root, file=config_file)

    def on_azure(self) -> bool:
        """Whether the firmware proves Azure, or `datasource.platform: azure` says so."""
        return self.identity.on_azure or self.config.datasource.platform == "azure"

    def open_fabric(self, *, seconds: Optional[float] = None, told_wireserver: Optional[str] = None) -> Fabric:
        """Open the endpoints.

        Args:
            seconds: the time budget, if it is shorter than `datasource.deadline`.
            told_wireserver: WireServer's address in the lease of this run; None: look into the lease files.

        Raises:
            NotAzureError: this is not Azure, so no request is allowed.
        """
        if not self.on_azure():
            raise NotAzureError(
                "this machine is not on Azure (its chassis asset tag is not Azure's). "
                "If it is, set `datasource.platform: azure`"
            )
        datasource = self.config.datasource
        budget = datasource.deadline if seconds is None else min(seconds, datasource.deadline)
        told = told_wireserver or self._told_wireserver()
        return Fabric(
            budget,
            imds=datasource.imds,
            wireserver=datasource.wireserver,
            clock=self.clock,
            interface=None if datasource.interface == "auto" else datasource.interface,
            explain=self._explain,
            told_wireserver=told,
        )

    def _explain(self, address: str, error: TransportError) -> str:
        from azurelite.system.network.reach import explain

        return explain(self.root, address, error, uid=os.geteuid(), dhcp=self.config.datasource.dhcp == "ephemeral")

    def _told_wireserver(self) -> Optional[str]:
        """WireServer's address in a lease file (option 245), unless the configuration sets one. Does not wait."""
        if self.config.datasource.wireserver.endpoint != WireServerSettings.endpoint:
            return None
        return wireserver_from_leases(self.root, now=self.clock.now())

    def crawl(
        self,
        fabric: Fabric,
        system: System,
        *,
        given_media: Optional[MediaDocument] = None,
        sources: Optional[Sequence[str]] = None,
    ) -> Crawl:
        """Read the sources.

        Args:
            fabric: the endpoints.
            system: the guest; in a dry run discs are read but not mounted.
            given_media: a document to use instead of the disc's.
            sources: the sources to read instead of the configured ones.
        """
        from azurelite.datasource.crawl import crawl

        return crawl(
            fabric,
            identity=self.identity,
            sources=self.config.datasource.sources if sources is None else sources,
            system=system,
            media=self.config.datasource.media.device,
            given_media=given_media,
        )


PathLike = Union[str, "os.PathLike[str]"]
Kind = Literal["ready", "failure", "progress"]


def open_session(root: str, config: Optional[PathLike], clock: Optional[Clock]) -> Session:
    """Open the guest for a public function. Raises ConfigError."""
    return Session(root, config_file=os.fspath(config) if config is not None else None, clock=clock)


def crawl_metadata(*, root: str, config: Optional[PathLike], clock: Optional[Clock] = None) -> Metadata:
    """See `azurelite.crawl`."""
    session = open_session(root, config, clock)
    with session.open_fabric() as fabric:
        crawled = session.crawl(fabric, System(root, dry_run=True, search_path=os.environ.get("PATH")))
    documents = [document for document in crawled.metadata.raw.values() if document is not None]
    useful = set(crawled.metadata.provenance.values()) - {"firmware"} or documents
    if not useful and crawled.failures:
        raise next(iter(crawled.failures.values()))
    return crawled.metadata


def fetch_goal_state(*, root: str, config: Optional[PathLike], clock: Optional[Clock] = None) -> GoalState:
    """See `azurelite.goal_state`."""
    with open_session(root, config, clock).open_fabric() as fabric:
        return fabric.wireserver.fetch_goal_state(fabric.deadline)


def post_report(document: bytes, *, root: str, config: Optional[PathLike], clock: Optional[Clock] = None) -> None:
    """See `azurelite.post_report`."""
    with open_session(root, config, clock).open_fabric() as fabric:
        fabric.wireserver.post(document, fabric.deadline)


def send_report(
    kind: Kind,
    text: str,
    *,
    root: str,
    config: Optional[PathLike],
    clock: Optional[Clock] = None,
    tell: Optional[Callable[[str], object]] = None,
) -> None:
    """See `azurelite.report_ready`, `report_failure` and `report_progress`; `tell` gets each step as a text."""
    if kind == "failure":
        check_reason(text)
    session = open_session(root, config, clock)
    with session.open_fabric() as fabric:
        if tell is not None:
            fabric.wireserver.tell = tell
        system = System(root, clock=session.clock)
        reporter = Reporter(fabric, system.files, session.identity.vm_id, quiet=True)
        if kind == "ready":
            reporter.ready(fabric.deadline)
        elif kind == "failure":
            reporter.not_ready(AzureliteError(text), fabric.deadline)
        else:
            reporter.progress(text, fabric.deadline)
