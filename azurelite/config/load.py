"""The configuration: layers of YAML over built-in defaults -> one frozen `Config`.

How the layers are laid over one another stands in `layers`. Which options a handler takes is not known here: entries
keep them as plain values, and `handlers.bind_handlers` checks them.
"""

from __future__ import annotations

import re
import stat
from typing import Any, Literal, Optional, Union

from azurelite import layout
from azurelite.config.document import Document, KeyPath, parse_document
from azurelite.config.layers import LIST, Layers, entry_id
from azurelite.config.schema import Problems, bind
from azurelite.errors import ConfigError
from azurelite.fabric.settings import ImdsSettings, MediaSettings, WireServerSettings, check_seconds
from azurelite.record import Record, field
from azurelite.system.root import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from azurelite.config.condition import Condition

Frequency = Literal["instance", "boot", "once"]
DEFAULT_HANDLERS = ("hostname", "user", "ssh_keys", "sshd", "report_ready", "user_data")
ID = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"  # what a file may be called: the record of an entry's work goes by it
_FILE_LIMIT = 1024 * 1024  # bytes


class DatasourceConfig(Record):
    """The `datasource` section.

    Attributes:
        platform: "auto": link-local addresses are dialled only when the firmware proves Azure;
            "azure": the administrator asserts it.
        deadline: seconds for everything that Azure waits for; it gives a VM 20 minutes.
        sources: what is read; which source wins is fixed per field.
        imds: how the Instance Metadata Service is asked.
        wireserver: how WireServer is asked, and told of Ready.
        media: where the provisioning disc is, and what becomes of it.
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


class EntryKeys(Record):
    """What every entry of `handlers` takes, beside the options of its handler.

    Attributes:
        id: a name of the entry's own, as "grow_logs"; the handler's name when left out. It lets one handler be listed
            several times, and it is what positions, records and reports know the entry by.
        when: a condition on the metadata, as "tags.role == web", or a list of them, all of which must hold: FIELD,
            not FIELD, FIELD == VALUE, FIELD != VALUE, FIELD in [VALUE, VALUE], FIELD not in [VALUE, VALUE].
        frequency: "instance": once per VM; "boot": at every boot; "once": once on this machine, whatever VM it is.
        required: true: a failure of it makes Azure be told NotReady; false: the VM is ready without it.
        before: put the entry before the one of this id, into the list of the files below; then every entry of
            the file has a position.
        after: the same, behind it.
    """

    id: Optional[str] = None
    when: Union[str, tuple[str, ...]] = ()
    frequency: Optional[Frequency] = None
    required: Optional[bool] = None
    before: Optional[str] = None
    after: Optional[str] = None


ENTRY_KEYS = tuple(key.name for key in EntryKeys.FIELDS)


class HandlerEntry(Record):
    """One entry of `handlers`.

    Attributes:
        name: the handler's name.
        options: its options, not yet checked.
        path: where the entry stands in the document.
        frequency: overrides the handler's own when not None.
        required: overrides the handler's own when not None.
        id: its own id; empty when the handler's name is its id.
        when: conditions, all of which must hold.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    path: KeyPath = ()
    frequency: Optional[Frequency] = None
    required: Optional[bool] = None
    id: str = ""
    when: tuple[Condition, ...] = ()

    @property
    def key(self) -> str:
        """What the entry is known by."""
        return self.id or self.name


class Config(Record):
    """The whole configuration.

    Attributes:
        datasource: where metadata comes from.
        handlers: what is done with it, in order.
        document: the merged values with their places, for errors found later.
    """

    datasource: DatasourceConfig = field(default_factory=DatasourceConfig)
    handlers: tuple[HandlerEntry, ...] = tuple(HandlerEntry(name) for name in DEFAULT_HANDLERS)
    document: Document = field(default_factory=lambda: Document({}, {}))


class _Sections(Record):
    """The top level of a file."""

    datasource: DatasourceConfig = field(default_factory=DatasourceConfig)


def load_config(root: Root, *, file: Optional[str] = None, problems: Optional[Problems] = None) -> Config:
    """Read all layers.

    Args:
        root: the guest; its files under /usr/lib, /etc and /run are read.
        file: host path of a file that takes the place of /etc/azurelite/azurelite.yaml.
        problems: takes what is wrong; then the rest is returned, as far as it can be understood.

    Raises:
        ConfigError: files that cannot be read or understood, with place and remedy; not where `problems` takes them.
    """
    found = Problems() if problems is None else problems
    layers = Layers(DEFAULT_HANDLERS, found)
    for document in read_layers(root, file=file, problems=found):
        layers.add(document)
    config = parse_config(layers.document, problems=found)
    if problems is None:
        found.raise_if_any()
    return config


def read_layers(root: Root, *, file: Optional[str] = None, problems: Problems) -> list[Document]:
    """The files of a guest that exist and can be understood, weakest first; see `load_config`."""
    admin = f"{layout.ADMIN_CONFIG}/{layout.CONFIG_NAME}"
    paths: list[str] = []
    found: list[Document] = []
    with problems.collecting():
        paths = _files(root)
    for path in paths:
        with problems.collecting():
            if file is not None and path == admin:
                found.append(read_document(file))
            else:
                text = _read_guest(root, path)
                found += [parse_document(text, file=path)] if text is not None else []
    return found


def read_document(path: str) -> Document:
    """One file of the host. Raises ConfigError."""
    try:
        with open(path, "rb") as file:
            text = file.read(_FILE_LIMIT + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no file has such a name"
        raise ConfigError(f"{path}: {why}: name a file that can be read") from error
    _check_length(path, text)
    return parse_document(text, file=path)


def parse_config(document: Document, *, problems: Optional[Problems] = None) -> Config:
    """Check the merged values and make a Config of them.

    Args:
        document: what the layers say together.
        problems: takes what is wrong; then what is right is returned, and defaults stand in for the rest.

    Raises:
        ConfigError: all that is wrong, where `problems` does not take it.
    """
    found = Problems() if problems is None else problems
    sections = _Sections()
    rest = {key: value for key, value in document.data.items() if key != LIST}
    with found.collecting():
        sections = bind(_Sections, rest, document, (), also=(LIST,))
    config = Config(sections.datasource, document=document)
    listed = document.data.get(LIST)
    if isinstance(listed, list):
        config = Config(sections.datasource, _entries(listed, document, found), document)
    elif LIST in document.data:
        found.add(document, (LIST,), "`handlers` must be a list")
    if problems is None:
        found.raise_if_any()
    return config


def _entries(listed: list[Any], document: Document, problems: Problems) -> tuple[HandlerEntry, ...]:
    entries = []
    ids: set[str] = set()
    for i, item in enumerate(listed):
        key = entry_id(item)
        if key is not None and key in ids:
            text = f"`handlers` lists {key[:64]!r} twice: give one of them an `id` of its own"
            problems.add(document, (LIST, i), text)
        ids.add(key or "")
        with problems.collecting():
            entries.append(_entry(item, document, (LIST, i), problems))
    return tuple(entries)


def _entry(item: Any, document: Document, path: KeyPath, problems: Problems) -> HandlerEntry:
    """One entry; with keys that are wrong, the rest of it. Raises ConfigError for what is no entry at all."""
    if isinstance(item, str):
        return HandlerEntry(item, path=path)
    if not isinstance(item, dict) or len(item) != 1:
        hint = ", the options indented deeper than the name" if isinstance(item, dict) and len(item) > 1 else ""
        raise ConfigError(f"{document.place(path)}: an entry is a handler's name, or `name: {{options}}`{hint}")
    ((name, options),) = item.items()
    path = (*path, name)
    if options is not None and not isinstance(options, dict):
        raise ConfigError(f"{document.place(path)}: the options of {name[:64]!r} must be a mapping of keys")
    own = dict(options or {})
    given = {key: own.pop(key) for key in ENTRY_KEYS if key in own}
    keys = EntryKeys()
    with problems.collecting():
        keys = bind(EntryKeys, given, document, path)
    if keys.id is not None and not re.fullmatch(ID, keys.id):
        text = "`id` is letters, digits, `_`, `.` and `-`, a letter or digit first, at most 63"
        problems.add(document, (*path, "id"), text)
    when = _conditions(keys.when, document, (*path, "when"), problems)
    return HandlerEntry(name, own, path, keys.frequency, keys.required, keys.id or "", when)


def _conditions(
    when: Union[str, tuple[str, ...]], document: Document, path: KeyPath, problems: Problems
) -> tuple[Condition, ...]:
    made = []
    texts = (when,) if isinstance(when, str) else when
    if texts:
        from azurelite.config.condition import parse_condition
    for i, text in enumerate(texts):
        try:
            made.append(parse_condition(text))
        except ValueError as error:
            problems.add(document, path if isinstance(when, str) else (*path, i), f"`when`: {error}")
    return tuple(made)


def _files(root: Root) -> list[str]:
    try:
        return layout.config_files(root.names)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}: make it a folder that can be read") from error


def _read_guest(root: Root, path: str) -> Optional[bytes]:
    try:
        found = root.stat(path)
        if found is not None and stat.S_ISCHR(found.st_mode):
            return None  # a link to /dev/null, as people mask a drop-in
        text = root.read(path, limit=_FILE_LIMIT + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: make it a file that can be read") from error
    _check_length(path, text or b"")
    return text


def _check_length(path: str, text: bytes) -> None:
    if len(text) > _FILE_LIMIT:
        raise ConfigError(f"{path}: more than {_FILE_LIMIT} bytes: a configuration is far shorter")
