"""The metadata of this VM: `Metadata`, and two types of values in it, `Secret` and `SshKey`.

The dict from `Metadata.as_dict` is public: its keys are stable, and follow cloud-init's standard keys where those
exist. This module does not know the sources or which source wins.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Callable, Optional, Union

from azurelite.errors import AzureliteError, FabricError
from azurelite.layout import is_uuid
from azurelite.record import Record, field, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from typing_extensions import TypedDict

    from azurelite.keys.openssh import PublicKey

    class MetadataDict(TypedDict):
        """The public dict, with the type of each value."""

        cloud_name: Optional[str]
        platform: Optional[str]
        instance_id: Optional[str]
        vm_id: Optional[str]
        local_hostname: Optional[str]
        region: Optional[str]
        availability_zone: Optional[str]
        fault_domain: Optional[str]
        vm_size: Optional[str]
        username: Optional[str]
        password: Optional[Secret]
        disable_password_authentication: Optional[bool]
        public_ssh_keys: Optional[list[str]]
        custom_data: Optional[Secret]
        user_data: Optional[Secret]
        tags: Optional[dict[str, str]]
        network: Optional[dict[str, Any]]
        pps_type: Optional[str]
        provision_guest_proxy_agent: Optional[bool]
        random_seed: Optional[Secret]
        provenance: dict[str, str]
        raw: dict[str, Any]

    FieldName = Literal[
        "cloud_name",
        "platform",
        "instance_id",
        "vm_id",
        "local_hostname",
        "region",
        "availability_zone",
        "fault_domain",
        "vm_size",
        "username",
        "password",
        "disable_password_authentication",
        "public_ssh_keys",
        "custom_data",
        "user_data",
        "tags",
        "network",
        "pps_type",
        "provision_guest_proxy_agent",
        "random_seed",
        "provenance",
        "raw",
    ]

LOG = logging.getLogger(__name__)
# Without a handler, Python prints warnings to standard error, and a library must not print. Every public call imports
# this module; the package itself does not import `logging`, which takes time.
logging.getLogger("azurelite").addHandler(logging.NullHandler())

REDACTED = "redacted for non-root user"  # the same text as cloud-init's, for scripts that test for it


class Secret:
    """Text or bytes that print as stars. Not a subclass of str, so that it is never formatted by accident."""

    __slots__ = ("_value",)

    def __init__(self, value: Union[str, bytes]) -> None:
        self._value = value

    @classmethod
    def from_base64(cls, text: str) -> Secret:
        """The bytes that `text` encodes, also in several lines. Raises ValueError."""
        compact = "".join(text.split())
        if len(compact) % 4:  # Python 3.9 and 3.10 take more padding than there should be
            raise ValueError("Incorrect padding")
        return cls(base64.b64decode(compact, validate=True))

    def reveal(self) -> Union[str, bytes]:
        """Return the value. Call this only where the value is used."""
        return self._value

    def reveal_bytes(self) -> bytes:
        """The value as bytes (text as UTF-8)."""
        return self._value.encode() if isinstance(self._value, str) else self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __bool__(self) -> bool:
        return bool(self._value)


class SshKey(Record):
    """A public SSH key from a source, parsed; made by `read`.

    Attributes:
        key_data: the text on one line, without the line breaks that the platform adds.
        path: the authorized_keys file that the platform suggests; None for no suggestion.
        key: the parsed key; None if the text is not a key.
        problem: why the text is not a key.
    """

    key_data: str
    path: Optional[str] = None
    key: Optional[PublicKey] = field(default=None, repr=False)
    problem: str = field(default="", repr=False)

    @classmethod
    def read(cls, text: str, path: Optional[str] = None) -> SshKey:
        """Parse a key. A text that is not one is kept, with the reason, so that people can be told. Raises nothing."""
        from azurelite.keys.openssh import parse_key

        return cls._made(text, path, parse_key)

    @classmethod
    def read_all(cls, text: str, path: Optional[str] = None, *, with_options: bool = False) -> tuple[SshKey, ...]:
        """Parse a text that may hold several keys, each on lines of its own. Raises nothing.

        Args:
            text: the keys.
            path: the file that the platform suggests for them.
            with_options: accept options before a key, as in authorized_keys; only from those who own the image.
        """
        from azurelite.keys.openssh import parse_key, parse_with_options, split_keys

        parse = parse_with_options if with_options else parse_key
        return tuple(cls._made(piece, path, parse) for piece in split_keys(text))

    @classmethod
    def _made(cls, text: str, path: Optional[str], parse: Callable[[str], PublicKey]) -> SshKey:
        try:
            key = parse(text)
        except ValueError as error:
            return cls(" ".join(text.split()), path, problem=str(error))
        return cls(key.line, path, key)


class Gaps(Record):
    """What could not be read of a VM's metadata: a field without a value may be absent in Azure, or missing here.

    Attributes:
        failures: source -> why it could not be read.
        missing: field -> why it has no value although Azure may have one.
        lost: the fields of `missing` that Azure has, as far as is known. A step that uses one of them must not be
            skipped as if it were absent.
        damaged: the fields of `missing` for which a retry is useless: their source has them in a form that cannot be
            read, or no longer has them.
        refused: a value that makes provisioning fail, whatever else succeeds.
        sources: the sources that were asked; None: not known, as for a plain dict of a program.
    """

    failures: Mapping[str, FabricError] = field(default_factory=dict)
    missing: Mapping[str, FabricError] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    refused: Optional[AzureliteError] = None
    sources: Optional[tuple[str, ...]] = None

    @property
    def is_clean(self) -> bool:
        """Whether nothing is missing or refused."""
        return not self.failures and not self.missing and self.refused is None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: what is not empty."""
        found: dict[str, Any] = {
            name: {key: error.as_dict() for key, error in errors.items()}
            for name, errors in (("failures", self.failures), ("missing", self.missing))
        }
        found.update(lost=list(self.lost), damaged=list(self.damaged), sources=list(self.sources or ()))
        found["refused"] = self.refused.as_dict() if self.refused is not None else None
        return {name: value for name, value in found.items() if value}

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Gaps:
        """The gaps in a dict that `as_dict` made, with or without other keys. Raises ValueError."""
        errors = {name: {} if told.get(name) is None else told[name] for name in ("failures", "missing")}
        for name, value in errors.items():
            if not isinstance(value, dict):
                raise ValueError(f"{name} must be a mapping of names to errors")
        lists = {name: [] if told.get(name) is None else told[name] for name in ("lost", "damaged", "sources")}
        for name, value in lists.items():
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise ValueError(f"{name} must be a list of text")
        failures, missing = ({key: FabricError.read(one) for key, one in errors[name].items()} for name in errors)
        lost, damaged = (tuple(one for one in lists[name] if one in missing) for name in ("lost", "damaged"))
        refused = AzureliteError.read(told["refused"]) if told.get("refused") else None
        return cls(failures, missing, lost, damaged, refused, tuple(lists["sources"]) or None)


class Metadata(Record, Mapping):  # type: ignore[type-arg]  # a subscript here costs time at each start
    """Everything that Azure says about a VM. A field that no source has is None, never an empty string.

    It is a mapping as well: `metadata["username"]` is `metadata.username`, but SSH keys are text there. `as_dict`
    makes a dict of it, `to_json` a text.

    Attributes:
        cloud_name: "azure".
        platform: "azure".
        instance_id: the firmware's UUID as read, in lower case; the same as cloud-init's instance-id.
        vm_id: Azure's VM id, a lower-case UUID; equals IMDS `compute.vmId`.
        local_hostname: the host name given at creation (osProfile.computerName, not the name of the resource).
        region: as "westeurope".
        availability_zone: as "1".
        fault_domain: as "0".
        vm_size: as "Standard_B2s".
        username: the administrator's name.
        password: the administrator's password.
        disable_password_authentication: True when sshd must not accept passwords.
        public_ssh_keys: the administrator's keys.
        custom_data: decoded bytes given at creation.
        user_data: decoded bytes; they can be changed after creation.
        tags: the VM's tags.
        network: the `network` object of IMDS.
        pps_type: pre-provisioning type, as "Running"; None for an ordinary VM.
        provision_guest_proxy_agent: the platform expects azure-proxy-agent in the image.
        random_seed: bytes for the kernel's random pool, different at each boot.
        provenance: field name -> source ("firmware", "imds", "media", "certificates"; "resource": the VM's name).
        raw: source -> its document, secrets removed; "ovf" is None if all drives were searched and there is no disc.
        gaps: what could not be read; no key of the mapping.
    """

    cloud_name: Optional[str] = None
    platform: Optional[str] = None
    instance_id: Optional[str] = None
    vm_id: Optional[str] = None
    local_hostname: Optional[str] = None
    region: Optional[str] = None
    availability_zone: Optional[str] = None
    fault_domain: Optional[str] = None
    vm_size: Optional[str] = None
    username: Optional[str] = None
    password: Optional[Secret] = None
    disable_password_authentication: Optional[bool] = None
    public_ssh_keys: Optional[tuple[SshKey, ...]] = None
    custom_data: Optional[Secret] = None
    user_data: Optional[Secret] = None
    tags: Optional[Mapping[str, str]] = None
    network: Optional[Mapping[str, Any]] = None
    pps_type: Optional[str] = None
    provision_guest_proxy_agent: Optional[bool] = None
    random_seed: Optional[Secret] = None
    provenance: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict)
    gaps: Gaps = field(default_factory=Gaps, repr=False)

    @property
    def missing(self) -> Mapping[str, FabricError]:
        """Field -> why it has no value although Azure may have one. What is not in it, Azure does not have."""
        return self.gaps.missing

    @property
    def is_usual(self) -> bool:
        """Whether nothing in it can hold Ready back: it names an administrator, no pool and no gap."""
        return self.gaps.is_clean and self.username is not None and self.pps_type is None

    @property
    def has_usable_password(self) -> bool:
        """Whether Azure gives the administrator a password and does not forbid passwords."""
        return bool(self.password) and self.disable_password_authentication is not True

    @property
    def refused(self) -> Optional[AzureliteError]:
        """Something that Azure asks for and that cannot be done: this VM cannot be Ready. None if there is nothing."""
        return self.gaps.refused

    def __getitem__(self, name: FieldName) -> Any:
        """The value of a field, as in `as_dict`. Raises KeyError."""
        if name not in NAMES:
            raise KeyError(name)
        if name == "public_ssh_keys" and self.public_ssh_keys is not None:
            return [key.key_data for key in self.public_ssh_keys]
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)

    def as_dict(self) -> MetadataDict:
        """The public dict: plain values, lists and dicts; SSH keys as text, secrets still as `Secret`."""
        public: Any = {name: getattr(self, name) for name in NAMES}
        if self.public_ssh_keys is not None:
            public["public_ssh_keys"] = [key.key_data for key in self.public_ssh_keys]
        for name in ("tags", "network", "provenance", "raw"):
            if public[name] is not None:
                public[name] = dict(public[name])
        made: MetadataDict = public
        return made

    @classmethod
    def from_dict(cls, public: Mapping[str, Any]) -> Metadata:
        """Read back a public dict, or a document of any release.

        A secret that was redacted is missing, and `missing` says so. Unknown fields are logged and skipped. Text of
        `custom_data`, `user_data` and `random_seed` is base64, as JSON holds it; bytes are used as they are.

        Raises:
            ValueError: a value has a wrong type.
        """
        if isinstance(public, Metadata):
            return public
        values = {k: v for k, v in public.items() if k in NAMES and v is not None and v != REDACTED}
        if isinstance(values.get("vm_id"), str):
            values["vm_id"] = values["vm_id"].lower()
        for name in sorted(map(str, public.keys() - {*NAMES, *_FURTHER})):
            LOG.warning("metadata: the field %r is unknown and not used", name[:64])
        _check_types(values)
        if "public_ssh_keys" in values:
            values["public_ssh_keys"] = _keys_of(values["public_ssh_keys"], public.get(_KEY_PATHS))
        for name in SECRETS:
            if name in values:
                values[name] = _as_secret(name, values[name])
        return replace(cls(), **values, gaps=_gaps_of(public))

    def to_json(self, *, secrets: bool = False) -> str:
        """The metadata as a JSON document, which `from_json` reads back.

        Args:
            secrets: with passwords and data in plain text; only where nobody else can read it. Without them, they are
                missing after reading back.
        """
        import json

        return json.dumps(self.document(secrets=secrets), indent=2)

    @classmethod
    def from_json(cls, text: Union[str, bytes]) -> Metadata:
        """Read a document that `to_json` or `azurelite metadata` made.

        Raises:
            ValueError: it is no such document.
        """
        import json

        try:
            public = json.loads(text)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        if not isinstance(public, dict):
            raise ValueError("not a JSON object")
        return cls.from_dict(public)

    def document(self, *, secrets: bool = False) -> dict[str, Any]:
        """The public dict ready for JSON, with what is missing, see `to_json`."""
        public = expose(self.as_dict()) if secrets else redact(self.as_dict())
        paths = [key.path for key in self.public_ssh_keys or ()]
        if any(paths):
            public[_KEY_PATHS] = paths
        return {**public, **self.gaps.as_dict()}


SECRETS = ("password", "custom_data", "user_data", "random_seed")  # the fields that hold a Secret
NAMES = tuple(one.name for one in Metadata.FIELDS if one.name != "gaps")
_KEY_PATHS = "public_ssh_key_paths"  # the file that the platform suggests for each key; only in JSON documents
_FURTHER = (_KEY_PATHS, *(one.name for one in Gaps.FIELDS))


def _check_types(values: Mapping[str, Any]) -> None:
    """Raises ValueError: a value has a wrong type."""
    for name, value in values.items():
        if not isinstance(value, _PUBLIC_TYPES.get(name, str)):
            raise ValueError(f"{name} must not be of type {type(value).__name__}")
    if "vm_id" in values and not is_uuid(values["vm_id"]):  # it is also the name of a folder
        raise ValueError("vm_id must be a UUID")
    if not all(isinstance(key, str) for key in values.get("public_ssh_keys", ())):
        raise ValueError("public_ssh_keys must be a list of text")
    if not all(isinstance(text, str) for pair in values.get("tags", {}).items() for text in pair):
        raise ValueError("tags must be a mapping of text to text")


def _keys_of(keys: list[str], paths: Any) -> tuple[SshKey, ...]:
    """The keys, with the paths of a JSON document where it has one for each."""
    fits = isinstance(paths, list) and len(paths) == len(keys) and {*map(type, paths)} <= {str, type(None)}
    return tuple(map(SshKey.read, keys, paths if fits else [None] * len(keys)))


def _gaps_of(public: Mapping[str, Any]) -> Gaps:
    """The gaps in a document, and the secrets that it was written without. Raises ValueError."""
    gaps = Gaps.read(public)
    hidden = tuple(name for name in NAMES if public.get(name) == REDACTED)
    text = "the metadata document was written without the secret {}: write it with --show-secrets"
    missing = {name: FabricError(text.format(name), reason=f"no {name}") for name in hidden}
    return replace(
        gaps, missing={**gaps.missing, **missing}, lost=(*gaps.lost, *hidden), damaged=(*gaps.damaged, *hidden)
    )


_PUBLIC_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(SECRETS, (str, bytes, Secret)),
    "disable_password_authentication": (bool,),
    "provision_guest_proxy_agent": (bool,),
    "public_ssh_keys": (list, tuple),
    "tags": (dict,),
    "network": (dict,),
    "provenance": (dict,),
    "raw": (dict,),
}


def _as_secret(name: str, value: Union[str, bytes, Secret]) -> Secret:
    """The secret of a field. Raises ValueError, which does not quote it."""
    plain = value.reveal() if isinstance(value, Secret) else value
    try:
        if name == "password":
            return Secret(plain.decode() if isinstance(plain, bytes) else plain)
        return Secret.from_base64(value) if isinstance(value, str) else Secret(plain)
    except ValueError:
        raise ValueError(f"{name} must be {'UTF-8 text' if name == 'password' else 'base64 or bytes'}") from None


def redact(public: Mapping[str, Any] | MetadataDict) -> dict[str, Any]:
    """The public dict with every secret replaced by a fixed text: safe to show, ready for JSON."""
    return {key: REDACTED if isinstance(value, Secret) else value for key, value in public.items()}


def expose(public: Mapping[str, Any] | MetadataDict) -> dict[str, Any]:
    """The public dict with every secret in plain text, bytes as base64: only for root, ready for JSON."""
    return {key: _clear(value) if isinstance(value, Secret) else value for key, value in public.items()}


def _clear(secret: Secret) -> str:
    value = secret.reveal()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
