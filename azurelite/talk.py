"""The public calls that talk with Azure and do nothing else, `crawl` and the reports: no handler, no plan."""

from __future__ import annotations

import os
from typing import Literal, Optional, Union

from azurelite.clock import Clock
from azurelite.errors import AzureliteError
from azurelite.metadata import Metadata
from azurelite.reporter import Reporter
from azurelite.session import Session
from azurelite.system.machine import System

PathLike = Union[str, "os.PathLike[str]"]
Kind = Literal["ready", "failure", "progress"]


def open_session(root: str, config: Optional[PathLike], clock: Optional[Clock]) -> Session:
    """The guest of a public call. Raises ConfigError."""
    return Session(root, config_file=os.fspath(config) if config is not None else None, clock=clock)


def crawl_metadata(*, root: str, config: Optional[PathLike], clock: Optional[Clock] = None) -> Metadata:
    """See `azurelite.crawl`."""
    session = open_session(root, config, clock)
    with session.open_fabric() as fabric:
        crawled = session.crawl(fabric, System(root, dry_run=True, search_path=os.environ.get("PATH")))
    useful = set(crawled.metadata.provenance.values()) - {"firmware"} or crawled.metadata.raw
    if not useful and crawled.failures:
        raise next(iter(crawled.failures.values()))
    return crawled.metadata


def send_report(kind: Kind, text: str, *, root: str, config: Optional[PathLike], clock: Optional[Clock] = None) -> None:
    """See `azurelite.report_ready`, `report_failure` and `report_progress`."""
    session = open_session(root, config, clock)
    with session.open_fabric() as fabric:
        system = System(root, clock=session.clock)
        reporter = Reporter(fabric, system.files, session.identity.vm_id)
        if kind == "ready":
            reporter.ready(fabric.deadline)
        elif kind == "failure":
            reporter.not_ready(AzureliteError(text), fabric.deadline)
        else:
            reporter.progress(text, fabric.deadline)
