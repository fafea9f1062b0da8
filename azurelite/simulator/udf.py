"""UDF 1.02: a whole read-only volume with files in its root directory, as the provisioning media of Azure is.

This module places the descriptors of a volume and the content of its partition; `udf_descriptors` writes the bytes.
ISO 9660 may share the sectors of the files.
"""

from __future__ import annotations

from collections.abc import Mapping

from azurelite.simulator import udf_descriptors as spell

SECTOR = 2048
RECOGNITION = 16  # where readers start to search for the recognition sequence
MAIN_SEQUENCE = 32
RESERVE_SEQUENCE = 48
SEQUENCE_LENGTH = 16  # sectors; the minimum of the standard
INTEGRITY = 64
TABLES_END = 66  # sectors from here to the anchor are free for ISO 9660
ANCHOR = 256
PARTITION = 257

_ROOT = 2  # the block of the root directory's file entry, behind the file set and its terminator


class Volume:
    """The layout of a volume. Blocks are counted within the partition, sectors within the image."""

    def __init__(self, files: Mapping[str, bytes], *, embed: bool) -> None:
        """`embed`: put files that fit, and the directory, inside their own file entries."""
        self._files = files
        self._room = spell.ENTRY_ROOM if embed else -1
        self._directory_size = len(self._directory(dict.fromkeys(files, 0), 0))
        block = _ROOT + 1
        self._directory_at = block
        if self._directory_size > self._room:
            block += -(-self._directory_size // SECTOR)
        self._entries = {name: block + number for number, name in enumerate(files)}
        block += len(files)
        self._data: dict[str, int] = {}
        for name, content in files.items():
            self._data[name] = block
            if len(content) > self._room:
                block += -(-len(content) // SECTOR)
        self._blocks = block

    @property
    def total(self) -> int:
        """Sectors of the whole image: all up to the end of the partition, and one more anchor after it."""
        return PARTITION + self._blocks + 1

    @property
    def extents(self) -> dict[str, tuple[int, int]]:
        """Where each file's content lies: first sector, bytes. Only valid for files that are not embedded."""
        return {name: (PARTITION + block, len(self._files[name])) for name, block in self._data.items()}

    def sectors(self, *, recognised_at: int) -> dict[int, bytes]:
        """All of the volume by sector, the recognition sequence from `recognised_at` on."""
        placed = {recognised_at + number: mark for number, mark in enumerate(spell.RECOGNITION_SEQUENCE)}
        for first in (MAIN_SEQUENCE, RESERVE_SEQUENCE):
            described = spell.volume_sequence(
                first, partition=(PARTITION, self._blocks), integrity=(INTEGRITY, 2 * SECTOR)
            )
            placed.update({first + number: descriptor for number, descriptor in enumerate(described)})
        placed[INTEGRITY] = spell.integrity(INTEGRITY, blocks=self._blocks, files=len(self._files))
        placed[INTEGRITY + 1] = spell.terminator(INTEGRITY + 1)
        length = SEQUENCE_LENGTH * SECTOR
        for sector in (ANCHOR, self.total - 1):
            placed[sector] = spell.anchor(sector, main=(MAIN_SEQUENCE, length), reserve=(RESERVE_SEQUENCE, length))
        placed.update({PARTITION + block: data for block, data in self._partition().items()})
        return placed

    def _partition(self) -> dict[int, bytes]:
        embedded = self._directory_size <= self._room
        directory = self._directory(self._entries, _ROOT if embedded else self._directory_at)
        placed = {0: spell.file_set(0, root=_ROOT), 1: spell.terminator(1)}
        placed.update(self._node(_ROOT, directory, self._directory_at, unique=0, directory=True))
        for number, (name, content) in enumerate(self._files.items()):
            # Unique ids below 16 are reserved for Macintosh.
            placed.update(self._node(self._entries[name], content, self._data[name], unique=16 + number))
        return placed

    def _node(self, block: int, content: bytes, data: int, *, unique: int, directory: bool = False) -> dict[int, bytes]:
        """A file entry, and the content where it is not embedded."""
        embedded = len(content) <= self._room
        entry = spell.file_entry(
            block,
            content=content if embedded else None,
            extent=(data, len(content)),
            unique=unique,
            directory=directory,
        )
        return {block: entry} if embedded or not content else {block: entry, data: content}

    def _directory(self, entries: Mapping[str, int], first: int) -> bytes:
        """The root directory, its own parent; `first`: the block that its bytes begin in."""
        content = spell.identifier(first, entry=_ROOT, name=None)
        for name, entry in entries.items():
            content += spell.identifier(first + len(content) // SECTOR, entry=entry, name=name)
        return content
