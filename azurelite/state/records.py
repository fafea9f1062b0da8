"""What a run leaves in /run/azurelite for other programs to read. Gone at the next boot."""

from __future__ import annotations

import json
import logging
from typing import Any

from azurelite import layout
from azurelite.errors import ConfigError, FileError
from azurelite.metadata import Metadata, expose, redact
from azurelite.outcome import Outcome
from azurelite.system.files import READ_LIMIT, Files
from azurelite.system.root import Root

LOG = logging.getLogger(__name__)


def save_metadata(files: Files, metadata: Metadata) -> None:
    """`metadata.json` for everybody, secrets replaced; `metadata-sensitive.json` for root, with them."""
    public = metadata.as_dict()
    _save(files, layout.METADATA, redact(public), mode=0o644)
    _save(files, layout.METADATA_SENSITIVE, expose(public), mode=0o600)


def save_status(files: Files, outcome: Outcome) -> None:
    """`status.json`: the outcome of this boot."""
    _save(files, layout.STATUS, outcome.as_dict(), mode=0o644)


def read_saved(root: Root, path: str) -> dict[str, Any]:
    """The metadata that the last run of this boot saved.

    Args:
        root: the guest.
        path: one of the two records.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    try:
        data = root.read(path, limit=READ_LIMIT)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: it is for root alone") from error
    if data is None:
        raise ConfigError(f"{path} is not there: `azurelite provision` writes it, once per boot")
    try:
        document: dict[str, Any] = json.loads(data)
    except ValueError as error:
        raise ConfigError(f"{path} is damaged: leave --saved out") from error
    return document


def _as_text(document: dict[str, Any]) -> bytes:
    """A key a line: with more indentation than that, json writes in Python, ten times as slowly."""
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in document.items())
    return f"{{\n{lines}\n}}\n".encode()


def _save(files: Files, path: str, document: dict[str, Any], *, mode: int) -> None:
    """A record that cannot be written is missed by its readers, and by nobody else."""
    if files.dry_run:
        return
    try:
        files.make_own_folder(layout.RUN_DIR, mode=0o755, lasting=False)
        files.put(path, _as_text(document), mode=mode, owner=None, lasting=False)
    except FileError as error:
        LOG.warning("no record of this run for others: %s", error)
