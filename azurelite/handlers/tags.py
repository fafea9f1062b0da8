"""`tags`: the VM's tags and other metadata as variables in a file, for shells and for systemd's `EnvironmentFile=`.

Each line is NAME="value", quoted so that both read the same. A tag's name becomes one of A-Z, 0-9 and `_`. There is
never a secret in it: everybody may read the file.
"""

from __future__ import annotations

import re
from typing import Literal

from azurelite import layout
from azurelite.config.load import Frequency
from azurelite.handlers import Context
from azurelite.record import Record
from azurelite.system.owners import shared_folder

SUMMARY = "write the VM's tags to a file of variables"
NEEDS = ("region",)  # without an answer of IMDS the file stays as it is
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
FREQUENCY: Frequency = "boot"  # tags change while the VM lives, and /run is empty after a boot
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
        path: the file; folders on the way are made.
        prefix: how each name begins: a tag `role` becomes AZURE_TAG_ROLE, the field `region` AZURE_REGION.
        fields: metadata that is told beside the tags.
    """

    path: str = "/run/azurelite/tags.env"
    prefix: str = "AZURE_"
    fields: tuple[Field, ...] = ("vm_id", "local_hostname", "region", "availability_zone", "vm_size")

    def __post_init__(self) -> None:
        parts = self.path.split("/")
        if parts[0] or len(parts) < 2 or any(part in ("", ".", "..") for part in parts[1:]) or "\0" in self.path:
            raise ValueError("path must be absolute and without `..`, as /run/azurelite/tags.env")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", self.prefix):
            raise ValueError("prefix must be letters, digits and `_`, and begin with no digit")


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
            ctx.note(f"the tags {_shown(owner[name])} and {_shown(tag)} are both {name}: the first is told")
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
    """One line: what is special in double quotes to either reader gets a backslash, and a line break is a blank."""
    text = "".join(letter if letter.isprintable() else " " for letter in value)
    quoted = re.sub(r'(["\\$`])', r"\\\1", text)
    return f'{name}="{quoted}"\n'


def _shown(tag: str) -> str:
    return repr(tag[:60])
