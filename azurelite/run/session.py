"""A guest and its Azure endpoints for one run: identity, configuration, one time budget, one connection per server."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Callable, Iterator, Optional, Sequence, Union

from azurelite.clock import Clock, Deadline, SystemClock
from azurelite.config.load import SOURCES, SOURCES_PATH, Config, load_config
from azurelite.errors import MachineError, NotAzureError, TransportError
from azurelite.fabric.client import Fabric
from azurelite.fabric.settings import WireServerSettings
from azurelite.hypervisor.firmware import identify
from azurelite.hypervisor.identity import Identity
from azurelite.run.reporter import Reporter
from azurelite.run.standing import Standing
from azurelite.state import marker
from azurelite.system.machine import System
from azurelite.system.network.interfaces import primary_interface
from azurelite.system.network.leases import wireserver_from_leases
from azurelite.system.process import Commands
from azurelite.system.root import Root, check_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from azurelite.config.document import Document, KeyPath
    from azurelite.datasource.crawl import Crawl
    from azurelite.handlers import Handler
    from azurelite.media.find import MediaDocument
    from azurelite.metadata import Metadata
    from azurelite.run.events import Events

LOG = logging.getLogger(__name__)
_LEASE_SECONDS = 120.0
_MOST_HEARD = 8  # crawls, each of a part of the sources


class Session:
    """What every verb works with. Making one does no I/O: each part is made when it is first used, and kept.

    Args:
        root: host path of the guest's `/`.
        config: host path of a file in place of /etc/azurelite/azurelite.yaml, a mapping in place of all files, or None.
        seconds: the time budget of all requests together; None: `datasource.deadline`.
        clock: time.
        events: tells a listener what is done; None: there is no listener.

    Attributes:
        clock, seconds, events: as given.
        config_file: the file, if one was given.
        search_path: folders of programs, in the form of PATH.
        crawled: what the sources said last; None before the first crawl.
        heard: what sources said, also to another process that handed it on; the last one last.
        told_vm_id: the VM id that was heard last.
    """

    def __init__(
        self,
        root: str,
        *,
        config: Union[str, Mapping[str, Any], None] = None,
        seconds: Optional[float] = None,
        clock: Optional[Clock] = None,
        events: Optional[Events] = None,
    ) -> None:
        self._root = root
        self._given = config
        self.config_file = config if isinstance(config, str) else None
        self.seconds = seconds
        self.clock = clock or SystemClock()
        self.events = events
        self.search_path = os.environ.get("PATH")
        self.crawled: Optional[Crawl] = None
        self.heard: list[Metadata] = []
        self.told_vm_id: Optional[str] = None
        self._hurried = False  # the budget is that of a later boot
        self._no_lease: Optional[MachineError] = None
        self._open = contextlib.ExitStack()
        self._fabric: Optional[Fabric] = None

    @cached_property
    def root(self) -> Root:
        """The guest's files. Raises ConfigError: there is no such folder."""
        check_root(self._root)
        return Root(self._root)

    @cached_property
    def identity(self) -> Identity:
        """What the firmware says."""
        return identify(self.root, Commands(self.search_path))

    @cached_property
    def config(self) -> Config:
        """The configuration. Raises ConfigError."""
        if isinstance(self._given, Mapping):
            from azurelite.config.load import config_of

            config = config_of(self._given)
        else:
            config = load_config(self.root, file=self.config_file)
        self.check_sources(config.datasource.sources, config.document, SOURCES_PATH)
        return config

    @staticmethod
    def check_sources(names: Sequence[str], document: Document, path: KeyPath) -> None:
        """Raises ConfigError: there is no source of such a name. See `plugins.check_sources`."""
        if not set(names) <= set(SOURCES):
            from azurelite.plugins import check_sources

            check_sources(names, document, path)

    def system(self, *, dry_run: bool = False) -> System:
        """The guest as a machine that can be changed."""
        system = System(self._root, dry_run=dry_run, search_path=self.search_path, clock=self.clock)
        events = self.events
        system.journal.keeps_contents = dry_run or events is not None
        if events is not None:
            system.journal.watcher = lambda change: events.change(change, dry_run=dry_run)
            system.commands.waiting = events.wait
        return system

    def waiting(self, also: Optional[Callable[[str], None]]) -> Optional[Callable[[str], None]]:
        """What the loops that wait call with what they wait for: it tells the listener, and calls `also`."""
        events = self.events
        if events is None or also is None:
            return also if events is None else events.wait

        def both(what: str) -> None:
            events.wait(what)
            also(what)

        return both

    def on_azure(self) -> bool:
        """Whether the firmware proves Azure, or `datasource.platform: azure` says so."""
        return self.identity.on_azure or self.config.datasource.platform == "azure"

    @property
    def budget(self) -> float:
        """Seconds that all requests together may take."""
        most = self.config.datasource.deadline
        return most if self.seconds is None else min(self.seconds, most)

    def fabric(self, *, seconds: Optional[float] = None) -> Fabric:
        """The endpoints of this session, opened on first use, with a DHCP lease if `datasource.dhcp` asks for one.

        Args:
            seconds: on first use: a time budget shorter than the session's.

        Raises:
            NotAzureError: this is not Azure, so no request is allowed.
        """
        if self._fabric is not None and self._hurried and seconds is None:
            self._fabric.renew(self.budget)
            self._hurried = False
        if self._fabric is None:
            self.prove_azure()
            self._hurried = seconds is not None
            told = self._open.enter_context(self._network())
            self._fabric = self._open.enter_context(self.open_fabric(seconds=seconds, told_wireserver=told))
        return self._fabric

    @contextlib.contextmanager
    def endpoints(self, *, offline: bool, seconds: Optional[float] = None) -> Iterator[Fabric]:
        """The endpoints of this session; offline: ones that send nothing, with a time budget of their own.

        Args:
            offline: for a run without Azure, see `plan.is_offline`.
            seconds: as in `fabric`.
        """
        if not offline:
            yield self.fabric(seconds=seconds)
            return
        budget = self.budget if seconds is None else min(seconds, self.budget)
        with Fabric(budget, clock=self.clock, offline=True) as fabric:
            yield fabric

    @cached_property
    def handlers(self) -> tuple[Handler, ...]:
        """The configured handlers; plug-ins are asked once. Raises ConfigError."""
        from azurelite.handlers import bind_handlers

        return bind_handlers(self.config, self.root)

    @property
    def vm_id(self) -> Optional[str]:
        """The VM id that the firmware has, or else the one that was heard last."""
        return self.identity.vm_id or self.told_vm_id

    def was_reported(self) -> bool:
        """Whether an earlier boot or run has reported this VM Ready."""
        return self.vm_id is not None and marker.reported(self.root, self.vm_id)

    @cached_property
    def reporter(self) -> Reporter:
        """Reports to Azure; it knows what was reported in this session."""
        reporter = Reporter(self._fabric or self.fabric(), self.system().files, self.identity.vm_id)
        reporter.no_lease = self._no_lease
        return reporter

    @cached_property
    def standing(self) -> Standing:
        """What stands between this VM and Ready, also by other calls of this boot."""
        return Standing(self.system().files, self.identity.vm_id)

    def close(self) -> None:
        """Close the connections, and give the lease back."""
        self._open.close()
        self._fabric = None
        self.__dict__.pop("reporter", None)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def prove_azure(self) -> None:
        """Raises NotAzureError: this is not Azure, so no request is allowed."""
        if not self.on_azure():
            raise NotAzureError(
                "this machine is not on Azure (its chassis asset tag is not Azure's). "
                "If it is, set `datasource.platform: azure`"
            )

    def open_fabric(self, *, seconds: Optional[float] = None, told_wireserver: Optional[str] = None) -> Fabric:
        """Open endpoints with a time budget of their own.

        Args:
            seconds: the time budget, if it is shorter than the session's.
            told_wireserver: WireServer's address in the lease of this run; None: look into the lease files.

        Raises:
            NotAzureError: this is not Azure, so no request is allowed.
        """
        self.prove_azure()
        datasource = self.config.datasource
        fabric = Fabric(
            self.budget if seconds is None else min(seconds, self.budget),
            imds=datasource.imds,
            wireserver=datasource.wireserver,
            clock=self.clock,
            interface=None if datasource.interface == "auto" else datasource.interface,
            explain=self._explain,
            told_wireserver=told_wireserver or self._told_wireserver(),
        )
        if self.events is not None:
            fabric.http.listener, fabric.http.waiting = self.events.request, self.events.wait
        return fabric

    @contextlib.contextmanager
    def _network(self) -> Iterator[Optional[str]]:
        """Hold a DHCP lease if the configuration asks for one. Yields WireServer's address in it, or None.

        Without a lease the session continues: the network may be up already, and the disc needs no network.
        """
        datasource, system = self.config.datasource, self.system()
        if datasource.dhcp == "none" or not system.live or not system.files.privileged:
            yield None
            return
        from azurelite.system.network.dhcp import EphemeralDhcp

        name = (primary_interface(system.root) or "eth0") if datasource.interface == "auto" else datasource.interface
        if self.events is not None:
            self.events.wait(f"a DHCP lease on {name}")
        with contextlib.ExitStack() as stack:
            told = None
            try:
                lease = EphemeralDhcp(system, name, Deadline(self.clock, _LEASE_SECONDS))
                told = stack.enter_context(lease).wireserver
            except MachineError as error:
                self._no_lease = error
                LOG.warning("dhcp: %s", error)
            yield told

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
        from azurelite.datasource import others_in
        from azurelite.datasource.crawl import crawl

        asked = self.config.datasource.sources if sources is None else tuple(sources)
        self.crawled = crawl(
            fabric,
            identity=self.identity,
            sources=asked,
            system=system,
            media=self.config.datasource.media.device,
            given_media=given_media,
            others=self._others(asked, fabric, system) if others_in(asked) else None,
        )
        self._hear(self.crawled.metadata)
        return self.crawled

    def crawl_alone(self, sources: Optional[Sequence[str]]) -> Crawl:
        """Read the sources outside of a run, as `crawl` does. Raises NotAzureError: one of them needs Azure."""
        from azurelite.datasource import needs_azure

        asked = self.config.datasource.sources if sources is None else sources
        with self.endpoints(offline=not needs_azure(asked, on_azure=self.on_azure())) as fabric:
            return self.crawl(fabric, self.system(dry_run=True), sources=asked)

    def _others(self, names: Sequence[str], fabric: Fabric, system: System) -> dict[str, Callable[[], Metadata]]:
        from azurelite.run.sources import readers_of

        return readers_of(names, identity=self.identity, on_azure=self.on_azure(), system=system, fabric=fabric)

    def take(self, metadata: Metadata) -> None:
        """Hear what a caller says. A plain dict tells nothing of what is missing, so it decides nothing later."""
        if metadata.gaps.sources is not None:
            self._hear(metadata)
        self.told_vm_id = metadata.vm_id or self.told_vm_id

    def _hear(self, metadata: Metadata) -> None:
        self.heard.append(metadata)
        del self.heard[:-_MOST_HEARD]
        self.told_vm_id = metadata.vm_id or self.told_vm_id
