"""`tags`: write the VM's tags and other metadata as variables to a file, for shells and systemd's `EnvironmentFile=`.

Each line is NAME="value", quoted so that both read the same value. The name of a tag is changed to A-Z, 0-9 and `_`.
The file never holds a secret, because everybody may read it.
"""

from __future__ import annotations

import re
from typing import Literal

from azurelite import layout
from azurelite.config.load import Frequency
from azurelite.handlers import Context
from azurelite.record import Record
from azurelite.system.owners import shared_folder
from azurelite.system.root import is_plain_path

SUMMARY = "write the VM's tags and metadata as variables to a file"
NEEDS = ("region",)  # only IMDS has it; without IMDS the file is not changed
USES = (
    "vm_id",
    "instance_id",
    "local_hostname",
    "availability_zone",
    "fault_domain",
    "vm_size",
    "username",
    "tags",
)
FREQUENCY: Frequency = "boot"  # tags can change at any time, and /run is empty after a boot
REQUIRED = False

Field = Literal[
    "vm_id",
    "instance_id",
    "local_hostname",
    "region",
    "availability_zone",
    "fault_domain",
    "vm_size",
    "username",
    "cloud_name",
]


class Options(Record):
    """Options of `tags`.

    Attributes:
        path: the file; missing folders are created.
        prefix: prefix of each name: the tag `role` becomes AZURE_TAG_ROLE, the field `region` AZURE_REGION.
        fields: metadata fields to write in addition to the tags.
    """

    path: str = "/run/azurelite/tags.env"
    prefix: str = "AZURE_"
    fields: tuple[Field, ...] = ("vm_id", "local_hostname", "region", "availability_zone", "vm_size")

    def __post_init__(self) -> None:
        if not is_plain_path(self.path):
            raise ValueError("path must be an absolute path without `..`, such as /run/azurelite/tags.env")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", self.prefix):
            raise ValueError("prefix must be letters, digits and `_`, and must not begin with a digit")


def apply(ctx: Context, options: Options) -> None:
    """Write the file. Raises FileError."""
    lines = []
    for field in dict.fromkeys(options.fields):
        value = getattr(ctx.metadata, field)
        if value is not None:
            lines.append(_line(f"{options.prefix}{field.upper()}", value))
    owner: dict[str, str] = {}
    for tag, value in sorted((ctx.metadata.tags or {}).items()):
        name = f"{options.prefix}TAG_{_usable(tag)}"
        if name in owner:
            ctx.note(f"the tags {_shown(owner[name])} and {_shown(tag)} both become {name}: the second is skipped")
        else:
            owner[name] = tag
            lines.append(_line(name, value))
    _write(ctx, options.path, "".join(lines).encode(errors="replace"))


def _write(ctx: Context, path: str, data: bytes) -> None:
    files = ctx.system.files
    folder = path.rpartition("/")[0]
    if folder != layout.RUN_DIR:
        files.mkdirs(folder or "/")
    else:
        files.make_own_folder(folder, mode=0o755)
    files.write(path, data, mode=0o644, beneath=shared_folder(ctx.system, path))


def _usable(tag: str) -> str:
    return re.sub(r"[^A-Z0-9_]", "_", tag.upper())


def _line(name: str, value: str) -> str:
    """One line. Characters that are special in double quotes get a backslash; control characters become blanks."""
    text = "".join(letter if letter.isprintable() else " " for letter in value)
    quoted = re.sub(r'(["\\$`])', r"\\\1", text)
    return f'{name}="{quoted}"\n'


def _shown(tag: str) -> str:
    return repr(tag[:60])
