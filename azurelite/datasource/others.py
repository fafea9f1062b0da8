"""Sources that are not azurelite's own: what their functions are given, and what of their answer is used.

`fetch(guest)` runs in a separate interpreter, see azurelite/plugins.py. What it returns is checked like a metadata
document.
"""

from __future__ import annotations

import logging
from typing import Any, Mapping, Optional

from azurelite.clock import Deadline
from azurelite.datasource import OTHER
from azurelite.errors import FabricError
from azurelite.metadata import NAMES, Gaps, Metadata
from azurelite.record import Record
from azurelite.system.root import Root

LOG = logging.getLogger(__name__)

_MOST = 4 * 1024 * 1024  # bytes of a file
# Fields of a metadata document that azurelite writes itself.
_OURS = ("provenance", "raw", *(one.name for one in Gaps.FIELDS))


class Guest(Record):
    """What `fetch(guest)` is given. These attributes and methods are public.

    Attributes:
        root: host path of the guest's `/`.
        vm_id: the VM id that the firmware has, a lower-case UUID; None if it has none.
        on_azure: whether the firmware proves Azure, or `datasource.platform: azure` says so.
        search_path: folders of programs, in the form of PATH; None: there is none.
        deadline: when the answer must be there, with `deadline.remaining()` in seconds; then `fetch` is killed.
    """

    root: str
    vm_id: Optional[str]
    on_azure: bool
    search_path: Optional[str]
    deadline: Deadline

    def read(self, path: str) -> Optional[bytes]:
        """The content of a file; None if there is none. Links lead nowhere outside of `root`.

        Args:
            path: guest path, as "/etc/lab.json".

        Raises:
            FabricError: it cannot be read, is not a regular file, or is larger than 4 MiB.
        """
        try:
            text = Root(self.root).read(path, limit=_MOST + 1)
        except OSError as error:
            raise FabricError(f"cannot read {path}: {error.strerror}") from error
        if text is not None and len(text) > _MOST:
            raise FabricError(f"cannot read {path}: it is larger than {_MOST} bytes")
        return text


def part_of(source: str, told: Any) -> Metadata:
    """The metadata in an answer: what `fetch` returned.

    Args:
        source: its name.
        told: a mapping with some keys of the public metadata. An empty value counts as absent; a key that is unknown,
            or that azurelite writes itself, is logged and not used.

    Raises:
        FabricError: it is no mapping, or a value has a wrong type.
    """
    if not isinstance(told, Mapping):
        raise failure(source, f"`fetch` returned a value of type {type(told).__name__}: return a mapping")
    given = {key: value for key, value in told.items() if value or value is False or value == 0}
    for name in sorted({str(key) for key in given} - set(NAMES)) + sorted({*given} & {*_OURS}):
        LOG.warning("%s: the field %r is not used", source, name[:64])
    usable = {key: value for key, value in given.items() if key in NAMES and key not in _OURS}
    try:
        return Metadata.from_dict(usable)
    except ValueError as error:
        raise failure(source, f"its answer is unusable: {error}") from error


def failure(source: str, text: str) -> FabricError:
    """The error for a source that returned no usable metadata."""
    return FabricError(OTHER.format(source) + text, reason=f"datasource {source} failed", short=f"{source} failed")
