"""The provisioning media: a few files as the image of a disc, as Azure attaches one to a VM.

This module places the parts of an image; `iso9660` and `udf` write their bytes. The same files give the same image,
byte by byte.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from azurelite.simulator import iso9660, udf

SECTOR = 2048
KINDS = ("iso9660", "udf", "bridge")

# Joliet's rules, the strictest: no path, no version number, at most 64 characters of two bytes. And no dot at the
# end, which readers drop.
_NAME = re.compile("[^\0-\x1f*/:;?\\\\\ud800-\udfff\U00010000-\U0010ffff]{1,64}(?<!\\.)")
_PADDING = 150  # sectors after an ISO 9660 image, as other programs add them: drives read ahead


def disc_image(files: Mapping[str, bytes], *, kind: str) -> bytes:
    """The image of a disc with these files in its root directory.

    `kind`: "iso9660" has Joliet names beside the short ones; "udf" is UDF 1.02 alone, as on Azure, with small files
    inside their file entries; "bridge" is both over the same bytes. Raises ValueError for another kind, for a name that
    a disc cannot hold, and for more files than a bridge has room for.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    for name in files:
        if not _NAME.fullmatch(name):
            raise ValueError(f"a disc cannot hold the file name {name!r}")
    # Both file systems need sorted directories.
    files = {name: files[name] for name in sorted(files)}
    if kind == "iso9660":
        sectors, total = _iso9660(files)
    else:
        sectors, total = _udf(files, bridge=kind == "bridge")
    image = bytearray(total * SECTOR)
    for sector, data in sectors.items():
        image[sector * SECTOR : sector * SECTOR + len(data)] = data
    return bytes(image)


def _iso9660(files: Mapping[str, bytes]) -> tuple[dict[int, bytes], int]:
    start = iso9660.AFTER_DESCRIPTORS + iso9660.tables_size(files)
    extents = {}
    data = {}
    for name, content in files.items():
        extents[name] = (start, len(content))
        if content:
            data[start] = content
        start += -(-len(content) // SECTOR)
    total = start + _PADDING
    return {**iso9660.sectors(extents, tables_at=iso9660.AFTER_DESCRIPTORS, total=total), **data}, total


def _udf(files: Mapping[str, bytes], *, bridge: bool) -> tuple[dict[int, bytes], int]:
    # On a bridge every file needs an extent: ISO 9660 cannot embed a file.
    volume = udf.Volume(files, embed=not bridge)
    if not bridge:
        return volume.sectors(recognised_at=udf.RECOGNITION), volume.total
    room = udf.ANCHOR - udf.TABLES_END
    if iso9660.tables_size(files) > room:
        raise ValueError(f"{len(files)} files are too many: their ISO 9660 directories have {room} sectors")
    tables = iso9660.sectors(volume.extents, tables_at=udf.TABLES_END, total=volume.total)
    # The recognition sequence comes after the ISO 9660 descriptors; readers search there, too.
    return {**volume.sectors(recognised_at=iso9660.AFTER_DESCRIPTORS), **tables}, volume.total
