"""One guest and its Azure, opened for one run: who it is, how it is configured, whether it may dial."""

from __future__ import annotations

from typing import Optional

from azurelite.clock import Clock
from azurelite.config import Config, load_config
from azurelite.datasource.crawl import Crawl, crawl
from azurelite.errors import NotAzureError
from azurelite.fabric.client import Fabric
from azurelite.fabric.identity import Identity, read_identity
from azurelite.system.root import Root


class Session:
    """What every verb begins with.

    Args:
        root: host path of the guest's `/`.
        config_file: host path of a file in place of /etc/azurelite/azurelite.yaml.
        clock: time.

    Raises:
        ConfigError: the configuration cannot be read.
    """

    def __init__(self, root: str, *, config_file: Optional[str] = None, clock: Optional[Clock] = None) -> None:
        self.root = Root(root)
        self.clock = clock or Clock()
        self.identity: Identity = read_identity(self.root)
        self.config: Config = load_config(self.root, file=config_file)

    def on_azure(self) -> bool:
        """The firmware proves Azure, or the administrator asserts it."""
        return self.identity.on_azure or self.config.datasource.platform == "azure"

    def open_fabric(self, *, seconds: Optional[float] = None) -> Fabric:
        """The endpoints, with a time budget of the configuration's or of fewer seconds.

        Raises:
            NotAzureError: nothing may be dialled from here.
        """
        if not self.on_azure():
            raise NotAzureError(
                "this machine is not on Azure: its chassis asset tag is not Azure's, so nothing was asked "
                "(`datasource.platform: azure` asserts that it is)"
            )
        datasource = self.config.datasource
        budget = datasource.deadline if seconds is None else min(seconds, datasource.deadline)
        return Fabric(budget, imds=datasource.imds, wireserver=datasource.wireserver, clock=self.clock)

    def crawl(self, fabric: Fabric) -> Crawl:
        """Ask the configured sources."""
        return crawl(fabric, identity=self.identity, sources=self.config.datasource.sources)
