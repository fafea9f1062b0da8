"""Reading one file from the root folder of a DVD's UDF or ISO 9660 file system, without the kernel's help.

Many kernels are built without `udf`, and Azure's provisioning disc is one. Discs are hostile until read: every
offset is checked against the disc's end and at most 64 MiB of one are looked at.
"""

from __future__ import annotations

from typing import BinaryIO, Optional

from azurelite.errors import MediaError
from azurelite.media import iso9660, udf
from azurelite.media.image import Disc, file_systems, pick

__all__ = ["file_systems_of", "pick", "read_from_disc"]


def read_from_disc(source: BinaryIO, name: str, *, limit: int) -> Optional[bytes]:
    """The content of a file in a disc's root folder.

    UDF goes first on a disc that has both; its ISO 9660 side is read when UDF is damaged or lacks the file.

    Args:
        source: the disc or its image, opened for reading.
        name: the file's name. One that is the same but for case, or in plain ISO 9660 letters
            (`OVF_ENV.XML;1`), is taken where there is no better one.
        limit: bytes; a longer file is refused.

    Returns:
        The content, or None where a readable disc has no such file.

    Raises:
        MediaError: no file system that is known, a damaged one (the message names the place), or a file that is
            too long.
    """
    disc = Disc(source)
    kinds = file_systems(disc)
    if not kinds:
        raise MediaError("neither a UDF nor an ISO 9660 file system is on it")
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
    """Which of "udf" and "iso9660" a disc announces; reads 32 KiB.

    Raises:
        MediaError: it cannot be read.
    """
    return file_systems(Disc(source))
