"""Read one file from the root folder of a UDF or ISO 9660 file system, without the kernel.

Many kernels are built without `udf`, which Azure's provisioning disc uses. The content of a disc is not trusted: every
offset is checked against the end of the disc, and at most 64 MiB are read.
"""

from __future__ import annotations

from typing import BinaryIO, Optional

from azurelite.errors import MediaError
from azurelite.media import iso9660, udf
from azurelite.media.image import Disc, file_systems, pick

__all__ = ["file_systems_of", "pick", "read_from_disc"]


def read_from_disc(source: BinaryIO, name: str, *, limit: int) -> Optional[bytes]:
    """The content of a file in a disc's root folder.

    UDF is read first on a disc with both. ISO 9660 is read when UDF is damaged or lacks the file.

    Args:
        source: the disc or its image, opened for reading.
        name: the file's name. Where no name is equal, one that differs only in case is used, else one in plain
            ISO 9660 letters (`OVF_ENV.XML;1`).
        limit: bytes; a longer file is an error.

    Returns:
        The content, or None where a readable disc has no such file.

    Raises:
        MediaError: no UDF or ISO 9660 file system, a damaged one (the message names the place), or a file that is
            too long.
    """
    disc = Disc(source)
    kinds = file_systems(disc)
    if not kinds:
        raise MediaError("no UDF or ISO 9660 file system")
    trouble: Optional[MediaError] = None
    for kind, read_file in (("udf", udf.read_file), ("iso9660", iso9660.read_file)):
        if kind not in kinds:
            continue
        try:
            content = read_file(disc, name, limit=limit)
        except MediaError as error:
            trouble = trouble or error
            continue
        if content is not None:
            return content
    if trouble is not None:
        raise trouble
    return None


def file_systems_of(source: BinaryIO) -> set[str]:
    """Which of "udf" and "iso9660" a disc has, by its first 64 KiB; reads 32 KiB of them.

    Raises:
        MediaError: it cannot be read.
    """
    return file_systems(Disc(source))
