"""The files in /run/azurelite that other programs may read. They are gone at the next boot."""

from __future__ import annotations

import json
import logging
from typing import Any

from azurelite import layout
from azurelite.errors import ConfigError, FileError
from azurelite.metadata import Metadata
from azurelite.outcome import Outcome
from azurelite.system.files import READ_LIMIT, Files
from azurelite.system.root import Root

LOG = logging.getLogger(__name__)


def save_metadata(files: Files, metadata: Metadata) -> None:
    """Write `metadata.json` for everybody, without secrets, and `metadata-sensitive.json` for root, with them."""
    _save(files, layout.METADATA, metadata.document(), mode=0o644)
    _save(files, layout.METADATA_SENSITIVE, metadata.document(secrets=True), mode=0o600)


def save_status(files: Files, outcome: Outcome) -> None:
    """Write `status.json`: the outcome of this boot."""
    _save(files, layout.STATUS, outcome.as_dict(), mode=0o644)


def read_saved(root: Root, path: str) -> dict[str, Any]:
    """The metadata that the last run of this boot saved.

    Args:
        root: the guest.
        path: one of the two files.

    Raises:
        ConfigError: the file does not exist, or cannot be read.
    """
    try:
        data = root.read(path, limit=READ_LIMIT)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: use sudo") from error
    if data is None:
        raise ConfigError(f"{path} does not exist: run `azurelite provision`, or leave --saved out")
    try:
        document: dict[str, Any] = json.loads(data)
    except ValueError as error:
        raise ConfigError(f"{path} is damaged: leave --saved out") from error
    return document


def _as_text(document: dict[str, Any]) -> bytes:
    """JSON with one key per line. `json.dumps(indent=2)` would use the Python encoder, which is ten times slower."""
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in document.items())
    return f"{{\n{lines}\n}}\n".encode()


def _save(files: Files, path: str, document: dict[str, Any], *, mode: int) -> None:
    """Write a file for other programs. A failure is only logged, because the run does not need the file."""
    if files.dry_run:
        return
    try:
        files.make_own_folder(layout.RUN_DIR, mode=0o755, lasting=False)
        files.put(path, _as_text(document), mode=mode, owner=None, lasting=False)
    except FileError as error:
        LOG.warning("records: %s", error)
