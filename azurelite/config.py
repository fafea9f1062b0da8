"""The configuration: layers of YAML over built-in defaults -> one frozen `Config`.

Later files win key by key; lists replace. Which options a handler takes is not known here: entries keep them
as plain values, and `handlers.bind_handlers` checks them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Optional

from azurelite import layout
from azurelite.document import Document, KeyPath, parse_document
from azurelite.errors import ConfigError
from azurelite.fabric.settings import ImdsSettings, MediaSettings, WireServerSettings, check_seconds
from azurelite.schema import bind, convert
from azurelite.system.root import Root

Frequency = Literal["instance", "boot", "once"]
ENTRY_KEYS = ("frequency", "required")  # what every entry takes besides its handler's options
DEFAULT_HANDLERS = ("hostname", "user", "ssh_keys", "report_ready")
_FILE_LIMIT = 1024 * 1024  # bytes


@dataclass(frozen=True)
class DatasourceConfig:
    """The `datasource` section.

    Attributes:
        platform: "auto": link-local addresses are dialled only when the firmware proves Azure;
            "azure": the administrator asserts it.
        deadline: seconds for everything that Azure waits for; it gives a VM 20 minutes.
        sources: what is read; which source wins is fixed per field.
        imds: see ImdsSettings.
        wireserver: see WireServerSettings.
        media: see MediaSettings.
        interface: "auto", or the network interface by which Azure is asked.
        dhcp: "ephemeral": get a lease for the length of the run where the network is not up yet, by an installed
            client (udhcpc, dhcpcd, dhclient); "none": the network is somebody else's.
    """

    platform: Literal["auto", "azure"] = "auto"
    deadline: float = 1200.0
    sources: tuple[Literal["imds", "media", "wireserver"], ...] = ("imds", "media", "wireserver")
    imds: ImdsSettings = field(default_factory=ImdsSettings)
    wireserver: WireServerSettings = field(default_factory=WireServerSettings)
    media: MediaSettings = field(default_factory=MediaSettings)
    interface: str = "auto"
    dhcp: Literal["none", "ephemeral"] = "none"

    def __post_init__(self) -> None:
        check_seconds(self.deadline)
        if len(set(self.sources)) != len(self.sources):
            raise ValueError("sources names one source twice")


@dataclass(frozen=True)
class HandlerEntry:
    """One entry of `handlers`.

    Attributes:
        name: the handler's name.
        options: its options, not yet checked.
        path: where the entry stands in the document.
        frequency: overrides the handler's own when not None.
        required: overrides the handler's own when not None.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    path: KeyPath = ()
    frequency: Optional[Frequency] = None
    required: Optional[bool] = None


@dataclass(frozen=True)
class Config:
    """The whole configuration.

    Attributes:
        datasource: where metadata comes from.
        handlers: what is done with it, in order.
        document: the merged values with their places, for errors found later.
    """

    datasource: DatasourceConfig = field(default_factory=DatasourceConfig)
    handlers: tuple[HandlerEntry, ...] = tuple(HandlerEntry(name) for name in DEFAULT_HANDLERS)
    document: Document = field(default_factory=lambda: Document({}, {}))


@dataclass(frozen=True)
class _Sections:
    """The top level of a file."""

    datasource: DatasourceConfig = field(default_factory=DatasourceConfig)


def load_config(root: Root, *, file: Optional[str] = None) -> Config:
    """Read all layers.

    Args:
        root: the guest; its files under /usr/lib, /etc and /run are read.
        file: host path of a file that takes the place of /etc/azurelite/azurelite.yaml.

    Raises:
        ConfigError: a file that cannot be read or understood, with place and remedy.
    """
    admin = f"{layout.ADMIN_CONFIG}/{layout.CONFIG_NAME}"
    merged = Document({}, {})
    for path in _files(root):
        text = _read_host(file) if file is not None and path == admin else _read_guest(root, path)
        if text is not None:
            named = file if file is not None and path == admin else path
            merged = _overlay(merged, parse_document(text, file=named))
    return parse_config(merged)


def parse_config(document: Document) -> Config:
    """Check the merged values and make a Config of them. Raises ConfigError."""
    sections = {key: value for key, value in document.data.items() if key != "handlers"}
    datasource = bind(_Sections, sections, document, (), also=("handlers",)).datasource
    if "handlers" not in document.data:
        return Config(datasource, document=document)
    listed = document.data["handlers"]
    if not isinstance(listed, list):
        raise ConfigError(f"{document.place(('handlers',))}: `handlers` must be a list")
    entries = tuple(_entry(item, document, ("handlers", i)) for i, item in enumerate(listed))
    names = [entry.name for entry in entries]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ConfigError(f"{document.place(('handlers', i))}: `handlers` lists {name!r} twice")
    return Config(datasource, handlers=entries, document=document)


def _entry(item: Any, document: Document, path: KeyPath) -> HandlerEntry:
    if isinstance(item, str):
        return HandlerEntry(item, path=path)
    if not isinstance(item, dict) or len(item) != 1:
        raise ConfigError(f"{document.place(path)}: an entry is a handler's name, or `name: {{options}}`")
    ((name, options),) = item.items()
    path = (*path, name)
    if options is not None and not isinstance(options, dict):
        raise ConfigError(f"{document.place(path)}: the options of {name!r} must be a mapping of keys")
    own = dict(options or {})
    frequency = convert(Optional[Frequency], own.pop("frequency", None), document, (*path, "frequency"))
    required = convert(Optional[bool], own.pop("required", None), document, (*path, "required"))
    return HandlerEntry(name, options=own, path=path, frequency=frequency, required=required)


def _overlay(below: Document, above: Document) -> Document:
    """`above` laid over `below`: mappings key by key, anything else whole."""
    places = {path: place for path, place in below.places.items() if not _replaced(path, above.data)}
    return Document(_merge(below.data, above.data), {**places, **above.places})


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _replaced(path: KeyPath, above: Any) -> bool:
    for part in path:
        if not isinstance(above, dict):
            return True
        if part not in above:
            return False
        above = above[part]
    return not isinstance(above, dict)


def _files(root: Root) -> list[str]:
    try:
        return layout.config_files(root.names)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}: make it a folder that can be read") from error


def _whole(path: str, text: Optional[bytes]) -> Optional[bytes]:
    if text is not None and len(text) > _FILE_LIMIT:
        raise ConfigError(f"{path}: more than {_FILE_LIMIT} bytes: a configuration is far shorter")
    return text


def _read_guest(root: Root, path: str) -> Optional[bytes]:
    try:
        return _whole(path, root.read(path, limit=_FILE_LIMIT + 1))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: make it a file that can be read") from error


def _read_host(path: str) -> Optional[bytes]:
    try:
        with open(path, "rb") as file:
            return _whole(path, file.read(_FILE_LIMIT + 1))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: give --config a file that can be read") from error
