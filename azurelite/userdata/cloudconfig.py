"""The subset of #cloud-config that azurelite supports, as typed values: the field names are the keys.

What each section does is in `translate`.
"""

from __future__ import annotations

from typing import Any, Literal, Mapping, Optional, Union

from azurelite.metadata import Secret
from azurelite.record import Record

Words = Union[str, tuple[str, ...]]  # a text separated by commas, or a list
Number = Union[int, str]
OFF = ("off", "false", False)  # the values that disable a section with a mode
_Members = Mapping[str, Optional[Words]]
PackageName = Union[str, tuple[str, ...]]
PackageEntry = Union[str, tuple[str, ...], Mapping[str, tuple[PackageName, ...]]]
CommandLine = Union[str, tuple[Union[str, int, float, bool], ...], None]
# Where a single wrong field costs all of it: half of a file's entry could make it readable for everybody, half of
# `power_state` could turn off a machine that was to stay on. Elsewhere only the field is lost.
WHOLE = frozenset(
    ("write_files[]", "chpasswd.users[]", "power_state", "swap", "growpart", "mount_default_fields", "users[].sudo")
)


class UserEntry(Record):
    """One entry of `users`, or `user`."""

    name: Optional[str] = None
    gecos: Optional[str] = None
    homedir: Optional[str] = None
    primary_group: Optional[str] = None
    groups: Optional[Words] = None
    create_groups: bool = True
    sudo: Union[str, tuple[Optional[str], ...], bool, None] = None
    doas: Union[str, tuple[str, ...], None] = None
    lock_passwd: Optional[bool] = None
    passwd: Optional[Secret] = None
    hashed_passwd: Optional[Secret] = None
    plain_text_passwd: Optional[Secret] = None
    ssh_authorized_keys: Optional[Words] = None
    no_create_home: bool = False
    system: bool = False
    uid: Optional[Number] = None
    expiredate: Optional[str] = None
    inactive: Optional[Number] = None
    shell: Optional[str] = None


class PasswordEntry(Record):
    """One entry of `chpasswd.users`."""

    name: str = ""
    password: Optional[Secret] = None
    type: Literal["hash", "text", "RANDOM"] = "hash"

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("`name` is missing")
        if self.password is None and self.type != "RANDOM":
            raise ValueError("`password` is missing")


class Chpasswd(Record):
    """`chpasswd`. `list` is its older form, with lines `name:password`."""

    expire: bool = True
    users: tuple[PasswordEntry, ...] = ()
    list: Union[Secret, tuple[Secret, ...], None] = None


class FileEntry(Record):
    """One entry of `write_files`."""

    path: str = ""
    content: Optional[Secret] = None
    encoding: Optional[str] = None
    owner: Optional[str] = None
    permissions: Optional[Number] = None
    append: bool = False
    defer: bool = False
    source: Optional[Mapping[str, Any]] = None

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("`path` is missing")
        if self.source and self.content is None:  # content to download: an empty file would be worse than none
            raise ValueError("`source` is not supported: use `content`")


class Ntp(Record):
    """`ntp`."""

    enabled: bool = True
    servers: Optional[tuple[str, ...]] = None
    pools: Optional[tuple[str, ...]] = None


class Swap(Record):
    """`swap`."""

    filename: str = "/swap.img"
    size: Optional[Number] = None
    maxsize: Optional[Number] = None


class PowerState(Record):
    """`power_state`."""

    mode: Optional[Literal["poweroff", "reboot", "halt"]] = None
    delay: Optional[Number] = None
    message: Optional[str] = None
    condition: Union[bool, str, tuple[str, ...], None] = None

    def __post_init__(self) -> None:
        if self.mode is None:
            raise ValueError("`mode` is missing: set poweroff, reboot or halt")


class GrowPart(Record):
    """`growpart`."""

    mode: Union[bool, str] = "auto"
    devices: Words = ("/",)

    def __post_init__(self) -> None:
        if self.mode not in (*OFF, "auto", "growpart", "gpart", "growfs"):
            raise ValueError("`mode` must be auto, growpart, gpart or off")


class CloudConfig(Record):
    """The top-level keys."""

    bootcmd: Optional[tuple[CommandLine, ...]] = None
    write_files: Optional[tuple[FileEntry, ...]] = None
    growpart: Optional[GrowPart] = None
    resize_rootfs: Union[bool, str, None] = None
    mounts: Optional[tuple[tuple[Union[str, int, None], ...], ...]] = None
    mount_default_fields: Optional[tuple[Union[str, int, None], ...]] = None
    swap: Optional[Swap] = None
    hostname: Optional[str] = None
    fqdn: Optional[str] = None
    prefer_fqdn_over_hostname: Optional[bool] = None
    preserve_hostname: Optional[bool] = None
    manage_etc_hosts: Union[bool, str, None] = None
    groups: Union[str, _Members, tuple[Union[str, _Members], ...], None] = None
    user: Union[str, UserEntry, None] = None
    users: Union[str, tuple[Union[str, UserEntry], ...], None] = None
    ssh_authorized_keys: Optional[Words] = None
    ssh_deletekeys: Optional[bool] = None
    ssh_genkeytypes: Optional[tuple[str, ...]] = None
    disable_root: Optional[bool] = None
    ssh_pwauth: Union[bool, str, None] = None
    password: Optional[Secret] = None
    chpasswd: Optional[Chpasswd] = None
    locale: Union[str, bool, None] = None
    ntp: Optional[Ntp] = None
    timezone: Optional[str] = None
    packages: Optional[tuple[PackageEntry, ...]] = None
    package_update: Optional[bool] = None
    package_upgrade: Optional[bool] = None
    apt_update: Optional[bool] = None
    apt_upgrade: Optional[bool] = None
    runcmd: Optional[tuple[CommandLine, ...]] = None
    final_message: Optional[str] = None
    power_state: Optional[PowerState] = None
