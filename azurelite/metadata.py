"""The metadata of this VM: `Metadata`, and two types of values in it, `Secret` and `SshKey`.

The dict from `Metadata.as_dict` is public: its keys are stable, and follow cloud-init's standard keys where those
exist. This module does not know the sources or which source wins.
"""

from __future__ import annotations

import base64
from typing import Any, Callable, Mapping, Optional, Union

from azurelite.record import Record, field, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from azurelite.keys.openssh import PublicKey

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


class Metadata(Record):
    """Everything that Azure says about a VM. A field that no source has is None, never an empty string.

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

    def as_dict(self) -> dict[str, Any]:
        """The public dict: plain values, lists and dicts; SSH keys as text, secrets still as `Secret`."""
        public = {f.name: getattr(self, f.name) for f in self.FIELDS}
        if self.public_ssh_keys is not None:
            public["public_ssh_keys"] = [key.key_data for key in self.public_ssh_keys]
        for name in ("tags", "network", "provenance", "raw"):
            if public[name] is not None:
                public[name] = dict(public[name])
        return public

    @classmethod
    def from_dict(cls, public: Mapping[str, Any]) -> Metadata:
        """Read back a public dict, as `metadata.json` holds it.

        Redacted values become None; unknown keys are skipped.

        Raises:
            ValueError: a value has a wrong type.
        """
        known = {f.name for f in cls.FIELDS}
        values = {k: v for k, v in public.items() if k in known and v is not None and v != REDACTED}
        for name, value in values.items():
            if not isinstance(value, _PUBLIC_TYPES.get(name, str)):
                raise ValueError(f"{name} must not be of type {type(value).__name__}")
        if not all(isinstance(key, str) for key in values.get("public_ssh_keys", ())):
            raise ValueError("public_ssh_keys must be a list of text")
        if not all(isinstance(text, str) for pair in values.get("tags", {}).items() for text in pair):
            raise ValueError("tags must be a mapping of text to text")
        if "public_ssh_keys" in values:
            values["public_ssh_keys"] = tuple(SshKey.read(key) for key in values["public_ssh_keys"])
        if "password" in values:
            values["password"] = _as_secret(values["password"])
        for name in ("custom_data", "user_data", "random_seed"):
            if isinstance(values.get(name), str):
                values[name] = Secret.from_base64(values[name])
        return replace(cls(), **values)


_PUBLIC_TYPES: dict[str, tuple[type, ...]] = {
    "password": (str, Secret),
    "custom_data": (str, Secret),
    "user_data": (str, Secret),
    "random_seed": (str, Secret),
    "disable_password_authentication": (bool,),
    "provision_guest_proxy_agent": (bool,),
    "public_ssh_keys": (list, tuple),
    "tags": (dict,),
    "network": (dict,),
    "provenance": (dict,),
    "raw": (dict,),
}


def _as_secret(value: Union[str, Secret]) -> Secret:
    return value if isinstance(value, Secret) else Secret(value)


def redact(public: Mapping[str, Any]) -> dict[str, Any]:
    """The public dict with every secret replaced by a fixed text: safe to show, ready for JSON."""
    return {key: REDACTED if isinstance(value, Secret) else value for key, value in public.items()}


def expose(public: Mapping[str, Any]) -> dict[str, Any]:
    """The public dict with every secret in plain text, bytes as base64: only for root, ready for JSON."""
    return {key: _clear(value) if isinstance(value, Secret) else value for key, value in public.items()}


def _clear(secret: Secret) -> str:
    value = secret.reveal()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
