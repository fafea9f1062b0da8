"""`json_file`: read metadata from /etc/azurelite/lab.json, for a lab cloud, or an Azure Stack without IMDS."""

from __future__ import annotations

import json
from typing import Any

from azurelite import FabricError, Guest

PATH = "/etc/azurelite/lab.json"
TIMEOUT = 5.0  # seconds; then `fetch` is killed, and the source has failed


def fetch(guest: Guest) -> dict[str, Any]:
    """Return some keys of the metadata; an empty dict if this VM has no such file.

    Raises FabricError: the file cannot be read. The other sources are still used.
    """
    text = guest.read(PATH)
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise FabricError(f"{PATH} is not JSON: correct it") from error
    if not isinstance(found, dict):
        raise FabricError(f"{PATH} does not hold an object: write {{...}}")
    return {"cloud_name": "lab", **found}
