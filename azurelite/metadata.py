"""What is known about this VM: `Metadata`, and the two values inside it that need care.

The dict that `Metadata.as_dict` gives is azurelite's public face; its keys are stable and follow
cloud-init's standard keys where those exist. This file knows no source and no precedence.
"""

from __future__ import annotations

import base64
from typing import Any, Mapping, Optional, Union

from azurelite.record import Record, field, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from azurelite.keys.openssh import PublicKey

REDACTED = "redacted for non-root user"  # cloud-init's words, so that scripts know them


class Secret:
    """Text or bytes that cannot print themselves. Not a str, so that nothing turns it into one by accident."""

    __slots__ = ("_value",)

    def __init__(self, value: Union[str, bytes]) -> None:
        self._value = value

    def reveal(self) -> Union[str, bytes]:
        """The value itself. Call it only where the value is used."""
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
    """A public SSH key as a source gave it, parsed; made by `read`.

    Attributes:
        key_data: the text on one line; line breaks that the platform put into it are gone.
        path: where the platform suggests to put it; None where it says nothing.
        key: the parsed key; None where the text is not a key.
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

        try:
            key = parse_key(text)
        except ValueError as error:
            return cls(" ".join(text.split()), path, problem=str(error))
        return cls(key.line, path, key)


class Metadata(Record):
    """Everything that Azure says about a VM. A field that no source has is None, never an empty string.

    Attributes:
        cloud_name: "azure".
        platform: "azure".
        instance_id: the firmware's UUID as read, lower case (what cloud-init calls instance-id).
        vm_id: Azure's VM id, a lower-case UUID; equals IMDS `compute.vmId`.
        local_hostname: the host name asked for at creation (osProfile.computerName, not the resource's name).
        region: as "westeurope".
        availability_zone: as "1".
        fault_domain: as "0".
        vm_size: as "Standard_B2s".
        username: the administrator's name.
        password: the administrator's password.
        disable_password_authentication: True when sshd must not take passwords.
        public_ssh_keys: the administrator's keys.
        custom_data: decoded bytes given at creation.
        user_data: decoded bytes, which may change while the VM lives.
        tags: the VM's tags.
        network: the `network` object of IMDS.
        pps_type: pre-provisioning type, as "Running"; None for an ordinary VM.
        provision_guest_proxy_agent: the platform expects azure-proxy-agent in the image.
        random_seed: bytes for the kernel's random pool, other ones at each boot.
        provenance: field name -> source ("firmware", "imds", "media", "wireserver").
        raw: source -> its document, secrets removed.
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
        """The public dict: plain values, lists and dicts; secrets stay `Secret` objects, keys become text."""
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

        Redacted values become None, and unknown keys are passed over.

        Raises:
            ValueError: a value has a type that the field cannot hold.
        """
        known = {f.name for f in cls.FIELDS}
        values = {k: v for k, v in public.items() if k in known and v is not None and v != REDACTED}
        for name, value in values.items():
            if not isinstance(value, _PUBLIC_TYPES.get(name, str)):
                raise ValueError(f"{name} cannot be of type {type(value).__name__}")
        if not all(isinstance(key, str) for key in values.get("public_ssh_keys", ())):
            raise ValueError("public_ssh_keys must be a list of texts")
        if not all(isinstance(text, str) for pair in values.get("tags", {}).items() for text in pair):
            raise ValueError("tags must be a mapping of texts")
        if "public_ssh_keys" in values:
            values["public_ssh_keys"] = tuple(SshKey.read(key) for key in values["public_ssh_keys"])
        if "password" in values:
            values["password"] = _as_secret(values["password"])
        for name in ("custom_data", "user_data", "random_seed"):
            if isinstance(values.get(name), str):
                values[name] = Secret(base64.b64decode(values[name], validate=True))
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
    """The public dict with every secret replaced by a fixed text: ready for JSON and for anybody's eyes."""
    return {key: REDACTED if isinstance(value, Secret) else value for key, value in public.items()}


def expose(public: Mapping[str, Any]) -> dict[str, Any]:
    """The public dict with every secret in clear, ready for JSON: bytes as base64. For root's eyes only."""
    return {key: _clear(value) if isinstance(value, Secret) else value for key, value in public.items()}


def _clear(secret: Secret) -> str:
    value = secret.reveal()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
