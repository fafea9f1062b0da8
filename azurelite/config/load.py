"""The configuration: YAML files over built-in defaults -> one frozen `Config`.

`layers` merges the files. This module does not know which options a handler takes: entries keep them as plain values,
and `handlers.bind_handlers` checks them.
"""

from __future__ import annotations

import os
import re
import stat
from typing import Any, Literal, Mapping, Optional, Sequence, Union

from azurelite import layout
from azurelite.config.document import Document, KeyPath, Problem, document_of, dotted, parse_document
from azurelite.config.layers import LIST, Layers, entry_id
from azurelite.config.schema import Problems, bind
from azurelite.errors import ConfigError
from azurelite.fabric.settings import ImdsSettings, MediaSettings, WireServerSettings, check_seconds
from azurelite.record import Record, field, replace
from azurelite.system.root import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from azurelite.config.condition import Condition

Frequency = Literal["instance", "boot", "once"]
OFTEN = {"instance": "once per VM", "boot": "at every boot", "once": "once on this machine"}
REPORT_READY = "report_ready"  # the handler
DEFAULT_HANDLERS = ("hostname", "user", "ssh_keys", "sshd", REPORT_READY, "user_data")
ID = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"  # it is also the name of the file that records the entry as done
_FILE_LIMIT = 1024 * 1024  # bytes
_UNTOLD = " and Azure is not told that the VM is Ready"
# Entries that nearly every list needs -> what happens without them.
_EXPECTED = {
    REPORT_READY: f"so{_UNTOLD[4:]}: add it, unless another program reports",
    "user": "so no administrator is created: add it, unless the image has one",
}
# azurelite's own sources that a configuration can list; all names of its own, which no other source can have.
SOURCES = ("imds", "media", "wireserver")
OWN_SOURCES = (*SOURCES, "certificates", "firmware", "resource")
SOURCES_PATH: KeyPath = ("datasource", "sources")
_TIMES: tuple[KeyPath, ...] = (
    ("datasource", "imds", "deadline"),
    ("datasource", "imds", "timeout"),
    ("datasource", "wireserver", "timeout"),
)  # times that `datasource.deadline` ends


class DatasourceConfig(Record):
    """The `datasource` section.

    Attributes:
        platform: "auto": send requests to Azure's link-local addresses only when the firmware proves Azure;
            "azure": the administrator asserts that this is Azure.
        deadline: seconds for everything that Azure waits for; Azure gives a VM 20 minutes.
        sources: the sources to read: imds, media, wireserver, the name of an installed plug-in, or `module:function`.
            Plug-ins win over Azure's sources, in the order of the list; which of Azure's sources wins is fixed per
            field.
        imds: requests to the Instance Metadata Service.
        wireserver: requests and reports to WireServer.
        media: the provisioning disc: where it is, and whether to eject it.
        interface: "auto", or the network interface for requests to Azure.
        dhcp: "ephemeral": where the network is not up yet, get a lease for the length of the run from an installed
            client (udhcpc, dhcpcd, dhclient); "none": another program configures the network.
    """

    platform: Literal["auto", "azure"] = "auto"
    deadline: float = 1200.0
    sources: tuple[str, ...] = SOURCES
    imds: ImdsSettings = field(default_factory=ImdsSettings)
    wireserver: WireServerSettings = field(default_factory=WireServerSettings)
    media: MediaSettings = field(default_factory=MediaSettings)
    interface: str = "auto"
    dhcp: Literal["none", "ephemeral"] = "none"

    def __post_init__(self) -> None:
        check_seconds(self.deadline)
        if len(set(self.sources)) != len(self.sources):
            raise ValueError("sources contains a duplicate: remove it")


class ReportConfig(Record):
    """The `report` section.

    Attributes:
        telemetry: true: send the result of each step to WireServer as telemetry events, in one request after the run.
    """

    telemetry: bool = False


class EntryKeys(Record):
    """The keys that every entry of `handlers` takes, besides the options of its handler.

    Attributes:
        id: the entry's own name, as "grow_logs"; the handler's name when left out. With it a handler can be listed
            several times. Positions, records and reports use it.
        when: a condition on the metadata, as "tags.role == web", or a list of conditions that must all hold: FIELD,
            not FIELD, FIELD == VALUE, FIELD != VALUE, FIELD in [VALUE, VALUE], FIELD not in [VALUE, VALUE].
        frequency: "instance": once per VM; "boot": at every boot; "once": once on this machine, even if the VM id
            changes.
        required: true: if it fails, azurelite reports NotReady to Azure; false: the VM can be Ready without it.
        before: insert the entry before the entry with this id, in the list of the earlier files; then every entry of
            this file needs a position.
        after: the same, but after it.
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
        path: the path of the entry in the document.
        frequency: overrides the handler's own when not None.
        required: overrides the handler's own when not None.
        id: its own id; empty when the id is the handler's name.
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
        """The id of the entry."""
        return self.id or self.name


class Config(Record):
    """The whole configuration.

    Attributes:
        datasource: where metadata comes from.
        handlers: the entries to run, in order.
        document: the merged values with their places, for errors found later.
        warnings: what is allowed but probably not meant.
        report: what Azure is told besides the state of the VM.
    """

    datasource: DatasourceConfig = field(default_factory=DatasourceConfig)
    handlers: tuple[HandlerEntry, ...] = tuple(HandlerEntry(name) for name in DEFAULT_HANDLERS)
    document: Document = field(default_factory=lambda: Document({}, {}))
    warnings: tuple[Problem, ...] = ()
    report: ReportConfig = field(default_factory=ReportConfig)


class Sections(Record):
    """The top level of a file, without the list `handlers`.

    Attributes:
        datasource: where metadata comes from.
        report: what Azure is told besides Ready.
    """

    datasource: DatasourceConfig = field(default_factory=DatasourceConfig)
    report: ReportConfig = field(default_factory=ReportConfig)


def load_config(root: Root, *, file: Optional[str] = None) -> Config:
    """Read all layers.

    Args:
        root: the guest; its files under /usr/lib, /etc and /run are read.
        file: host path of a file to use in place of /etc/azurelite/azurelite.yaml.

    Raises:
        ConfigError: a file cannot be read or has mistakes, with place and remedy.
    """
    problems = Problems()
    layers = Layers(DEFAULT_HANDLERS, problems)
    for document in read_layers(root, file=file, problems=problems):
        layers.add(document)
    config = parse_config(layers.document, problems)
    problems.raise_if_any()
    return replace(config, warnings=tuple(problems.warnings))


def config_of(mapping: Mapping[str, Any]) -> Config:
    """The configuration that a program gives as a mapping; no file is read.

    Raises:
        ConfigError: it has mistakes, each with its path as `config.handlers[0].user.groups`.
    """
    problems = Problems()
    config = parse_config(document_of(mapping, name="config"), problems)
    problems.raise_if_any()
    return replace(config, warnings=tuple(problems.warnings))


def entries_of(
    listed: Sequence[Union[str, Mapping[str, Any]]],
) -> tuple[tuple[Optional[HandlerEntry], ...], Document]:
    """Entries that a program gives: names, or `{name: options}`.

    Returns:
        For each item its entry, None for a name; and the document with their places.

    Raises:
        ConfigError: as `config_of`, with paths as `handlers[0].user.groups`.
    """
    problems = Problems()
    document = document_of({LIST: list(listed)}, name="")
    found: list[Optional[HandlerEntry]] = []
    for number, item in enumerate(document.data[LIST]):
        with problems.collecting():
            found.append(None if isinstance(item, str) else _entry(item, document, (LIST, number), problems))
    problems.raise_if_any()
    return tuple(found), document


def read_layers(root: Root, *, file: Optional[str] = None, problems: Problems) -> list[Document]:
    """The existing, valid files of a guest, weakest first; see `load_config`."""
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
    text = read_named(path, limit=_FILE_LIMIT + 1)
    _check_length(path, text)
    return parse_document(text, file=path)


def read_named(path: str, *, limit: int) -> bytes:
    """The first `limit` bytes of a file that was named on the command line.

    Raises:
        ConfigError: it cannot be read, or is a device, or a fifo other than a shell's `<(command)` or `| command`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            kind = os.fstat(descriptor).st_mode
            if stat.S_ISFIFO(kind) and path.startswith(("/dev/fd/", "/dev/stdin")):
                os.set_blocking(descriptor, True)
            elif not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
                raise ConfigError(f"cannot read {path}: it is not a regular file: name a regular file")
            return file.read(limit)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "invalid file name"
        raise ConfigError(f"cannot read {path}: {why}: check the path and its permissions") from error


def parse_config(document: Document, problems: Problems) -> Config:
    """Check the merged values and create a Config from them.

    Args:
        document: the merged layers.
        problems: collects the mistakes; defaults replace the invalid values.
    """
    sections = Sections()
    rest = {key: value for key, value in document.data.items() if key != LIST}
    with problems.collecting():
        sections = bind(Sections, rest, document, (), also=(LIST,))
    config = Config(sections.datasource, document=document, report=sections.report)
    listed = document.data.get(LIST)
    if isinstance(listed, list):
        config = replace(config, handlers=_entries(listed, document, problems))
    elif LIST in document.data:
        problems.add(document, (LIST,), "`handlers` must be a list")
    _warn_of_missing_entries(config, document, problems)
    _warn_of_long_times(config, document, problems)
    return config


def _warn_of_missing_entries(config: Config, document: Document, problems: Problems) -> None:
    if not config.handlers:
        problems.warn(
            document, (LIST,), f"`handlers` is empty, so nothing is done{_UNTOLD}: remove it, or list entries"
        )
        return
    names = {entry.name for entry in config.handlers}
    for name, missed in _EXPECTED.items():
        if name not in names:
            problems.warn(document, (LIST,), f"`handlers` does not list `{name}`, {missed}")


def _warn_of_long_times(config: Config, document: Document, problems: Problems) -> None:
    """Warn of times in the files that are longer than the time in the files that ends them. Defaults are cut to fit."""
    whole: KeyPath = ("datasource", "deadline")
    pairs = [(path, whole) for path in _TIMES] + [(_TIMES[1], _TIMES[0])]
    for entry in config.handlers:
        if entry.name == REPORT_READY:
            break
        pairs.append(((*entry.path, "timeout"), whole))
    for part, limit in pairs:
        seconds, most = (_written(document, path) for path in (part, limit))
        if seconds is not None and most is not None and seconds > most:
            ends = f"`{dotted(limit)}` ({document.place(limit)})"
            problems.warn(document, part, f"`{part[-1]}` is longer than {ends}, which ends it: change one of them")


def _written(document: Document, path: KeyPath) -> Optional[float]:
    """The number at a path, if a file has one there."""
    value: Any = document.data
    for part in path:
        if isinstance(value, dict):
            value = value.get(part)
        else:
            value = value[part] if isinstance(value, list) and isinstance(part, int) else None
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _entries(listed: list[Any], document: Document, problems: Problems) -> tuple[HandlerEntry, ...]:
    entries = []
    ids: set[str] = set()
    for i, item in enumerate(listed):
        key = entry_id(item)
        if key is not None and key in ids:
            text = f"`handlers` lists {key[:64]!r} twice: give one of them its own `id`"
            problems.add(document, (LIST, i), text)
        ids.add(key or "")
        with problems.collecting():
            entries.append(_entry(item, document, (LIST, i), problems))
    return tuple(entries)


def _entry(item: Any, document: Document, path: KeyPath, problems: Problems) -> HandlerEntry:
    """One entry, without its invalid keys. Raises ConfigError where the item is no entry at all."""
    if isinstance(item, str):
        return HandlerEntry(item, path=path)
    if not isinstance(item, dict) or len(item) != 1:
        hint = " with the options indented deeper than the name" if isinstance(item, dict) and len(item) > 1 else ""
        raise ConfigError(f"{document.place(path)}: an entry must be a handler's name, or `name: {{options}}`{hint}")
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
        text = "`id` must be at most 63 letters, digits, `_`, `.` and `-`, beginning with a letter or digit"
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
        raise ConfigError(
            f"cannot read {error.filename}: {error.strerror}: check the folder and its permissions"
        ) from error


def _read_guest(root: Root, path: str) -> Optional[bytes]:
    try:
        found = root.stat(path)
        if found is not None and stat.S_ISCHR(found.st_mode):
            return None  # a link to /dev/null masks a drop-in
        text = root.read(path, limit=_FILE_LIMIT + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}: check the file and its permissions") from error
    _check_length(path, text or b"")
    return text


def _check_length(path: str, text: bytes) -> None:
    if len(text) > _FILE_LIMIT:
        raise ConfigError(f"{path}: the file is too large: shorten it to at most {_FILE_LIMIT} bytes")
