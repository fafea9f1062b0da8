"""A scenario: the VM that the fabric serves, and the faults that it plays.

This module knows the YAML keys, their types and their defaults (the packaged `default.yaml`), but not how they are
served.
"""

from __future__ import annotations

import difflib
import functools
import os
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from azurelite.simulator import values

ENDPOINTS = (
    "imds",
    "imds_versions",
    "reprovision_data",
    "attested",
    "goal_state",
    "certificates",
    "telemetry",
    "health",
    "health_json",
    "versions",
    "any",
)


class ScenarioError(ValueError):
    """A scenario cannot be used. The message is one line: the file, the key, the expected value."""


@dataclass(frozen=True)
class Vm:
    """One virtual machine. Field names are the YAML keys; `default.yaml` explains them and fills those left out."""

    vm_id: str
    name: str
    hostname: str
    username: str | None
    ssh_keys: tuple[str, ...]
    disable_password_authentication: bool | str
    location: str
    zone: str
    fault_domain: str
    size: str
    tags: Mapping[str, str]
    user_data: str | None
    generation: int
    container_id: str
    instance_id: str
    incarnation: int
    api_versions: tuple[str, ...]
    stale_container_status: int
    imds: Mapping[str, Any]
    password: str | None
    custom_data: str | None
    preprovisioned_vm: bool
    preprovisioned_type: str | None
    provision_guest_proxy_agent: bool | None
    ovf_hostname: str | None
    ovf_username: str | None
    ovf_keys: str
    ovf_text: str | None
    pps_type: str
    dialects: tuple[str, ...]
    protocol_preferred: str
    protocol_supported: tuple[str, ...]
    certificates: bool
    certificate_keys: str
    certificate_format: str | None

    def changed(self, changes: Mapping[str, Any], *, where: str = "vm") -> Vm:
        """The same VM with some fields changed, given as in a scenario. Raises ScenarioError."""
        _check_keys(changes, _VM_CHECKS, where=where, path="")
        return replace(self, **_typed(changes, _VM_CHECKS, where=where, path=""))


@dataclass(frozen=True)
class Fault:
    """One kind of fault, for some requests of one endpoint. Field names are the YAML keys.

    Raises ScenarioError for a combination of keys that contradict each other.

    Attributes:
        endpoint: whose requests; `any` counts all of them together.
        requests: which of them, counted from 1: `1`, `"1-3"`, `"4-"`; null: every request.
        status: the HTTP status of the answer.
        headers: headers that are added to the answer.
        body: the body, instead of the right one.
        delay: seconds before the answer.
        drop: close the connection without an answer.
        truncate: bytes of the body that are sent; Content-Length still says the full length.
        garbage: send a body that is neither XML nor JSON nor UTF-8.
        size: send a body of that many bytes.
        drip: seconds between single bytes of the answer.
        drip_headers: with `drip`: also between those of the headers.
        redirect: send a redirect to this URL.
        move: the goal state changes after this request: `incarnation` or `container`.
    """

    endpoint: str = "any"
    requests: int | str | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    delay: float = 0.0
    drop: bool = False
    truncate: int | None = None
    garbage: bool = False
    size: int | None = None
    drip: float | None = None
    drip_headers: bool = False
    redirect: str | None = None
    move: str | None = None

    def __post_init__(self) -> None:
        _check_choice("endpoint", self.endpoint, ENDPOINTS)
        try:
            values.request_range(self.requests)
        except ValueError as error:
            raise ScenarioError(f"requests: {error}") from None
        rivals = [key for key in ("body", "garbage", "size", "redirect") if getattr(self, key) not in (None, False)]
        if len(rivals) > 1:
            raise ScenarioError(f"{rivals[0]} and {rivals[1]} exclude each other: remove one")
        if self.drop and (rivals or self.damages or self.status is not None or self.headers):
            raise ScenarioError("drop allows only delay and move: remove the other keys")
        if self.drip_headers and self.drip is None:
            raise ScenarioError("drip_headers needs drip: add drip")

    @property
    def damages(self) -> bool:
        """True when the answer is damaged while it is sent."""
        return self.truncate is not None or self.drip is not None

    @property
    def replaces(self) -> bool:
        """True when the fault answers in place of the fabric."""
        made_up = (self.status, self.body, self.size, self.redirect)
        return self.drop or self.garbage or any(value is not None for value in made_up)

    def hits(self, number: int) -> bool:
        """True when this fault applies to request `number` (1-based)."""
        first, last = values.request_range(self.requests)
        return number >= first and (last is None or number <= last)


@dataclass(frozen=True)
class Scenario:
    """A VM and its faults; of several faults that match a request, the first in the list is played."""

    vm: Vm
    faults: tuple[Fault, ...] = ()

    @classmethod
    def default(cls) -> Scenario:
        """The packaged scenario: an ordinary VM, no faults."""
        return cls.from_dict(_packaged(), where="default.yaml")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Scenario:
        """Read a scenario file. Raises ScenarioError where it is unreadable, not YAML, or has an unknown key."""
        return cls.from_dict(_read_yaml(Path(path)), where=os.fspath(path))

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], where: str = "scenario") -> Scenario:
        """A scenario from a parsed document; `where` is its name in errors.

        Missing keys of `vm` get the default VM's values. Lists and mappings replace the default's; they are not merged.
        Raises ScenarioError.
        """
        top = _mapping(mapping, where=where, path="the document")
        _check_keys(top, ("vm", "faults"), where=where, path="")
        given = _mapping(_said(top, "vm", {}), where=where, path="vm")
        _check_keys(given, _VM_CHECKS, where=where, path="vm.")
        vm = Vm(**_typed({**_default_vm(), **given}, _VM_CHECKS, where=where, path="vm."))
        listed = _said(top, "faults", [])
        if not isinstance(listed, (list, tuple)):
            raise ScenarioError(f"{where}: faults: expected a list, got {values.said(listed)}")
        return cls(vm, tuple(_fault(item, where=where, path=f"faults[{index}]") for index, item in enumerate(listed)))


_VM_CHECKS: dict[str, values.Check] = {
    **{item.name: values.text for item in fields(Vm)},
    "username": values.or_null(values.text),
    "ssh_keys": values.texts,
    "disable_password_authentication": values.flag_or_text,
    "tags": values.text_map,
    "user_data": values.or_null(values.text),
    "generation": values.one_of(1, 2),
    "incarnation": values.integer(1),
    "api_versions": values.texts,
    "stale_container_status": values.one_of(400, 410),
    "imds": values.document,
    **{key: values.or_null(values.text) for key in ("password", "custom_data", "preprovisioned_type", "ovf_text")},
    "preprovisioned_vm": values.flag,
    "provision_guest_proxy_agent": values.or_null(values.flag),
    "ovf_hostname": values.or_null(values.text),
    "ovf_username": values.or_null(values.text),
    "ovf_keys": values.one_of("value", "fingerprint", "none"),
    "dialects": values.some_of("xml", "json"),
    "protocol_supported": values.texts,
    "certificates": values.flag,
    "certificate_keys": values.one_of("rsa", "ec", "both"),
    "certificate_format": values.or_null(values.one_of("Pkcs7BlobWithPfxContents", "CertificatesNonPfxPackage")),
}

_FAULT_CHECKS: dict[str, values.Check] = {
    "endpoint": values.text,
    "requests": lambda value: value,  # Fault itself checks it, so that code and YAML get the same message.
    "status": values.integer(200, 599),
    "headers": values.header_map,
    "body": values.text,
    "delay": values.seconds,
    "drop": values.flag,
    "truncate": values.integer(0),
    "garbage": values.flag,
    "size": values.integer(0),
    "drip": values.seconds,
    "drip_headers": values.flag,
    "redirect": values.one_line,
    "move": values.one_of("incarnation", "container"),
}


def _said(top: Mapping[str, Any], key: str, nothing: object) -> object:
    """The content of a section; `nothing` for an empty section, which is null in YAML."""
    value = top.get(key)
    return nothing if value is None else value


def _fault(item: object, *, where: str, path: str) -> Fault:
    given = _mapping(item, where=where, path=path)
    _check_keys(given, _FAULT_CHECKS, where=where, path=f"{path}.")
    if "endpoint" not in given:
        raise ScenarioError(f"{where}: {path}.endpoint: missing; one of {', '.join(ENDPOINTS)}")
    typed = _typed(given, _FAULT_CHECKS, where=where, path=f"{path}.")
    try:
        return Fault(**typed)
    except ScenarioError as error:
        raise ScenarioError(f"{where}: {path}.{error}") from None


def _typed(given: Mapping[str, Any], checks: Mapping[str, values.Check], *, where: str, path: str) -> dict[str, Any]:
    typed = {}
    for key, value in given.items():
        try:
            typed[key] = checks[key](value)
        except ValueError as error:
            raise ScenarioError(f"{where}: {path}{key}: {error}") from None
    return typed


def _mapping(value: object, *, where: str, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ScenarioError(f"{where}: {path}: expected a mapping, got {values.said(value)}")
    return value


def _check_keys(given: Mapping[str, Any], known: Iterable[str], *, where: str, path: str) -> None:
    names = list(known)
    for key in given:
        if key not in names:
            raise ScenarioError(f"{where}: {path}{key}: unknown key{_nearest(str(key), names)}")


def _check_choice(key: str, value: str, known: Iterable[str]) -> None:
    names = list(known)
    if value not in names:
        raise ScenarioError(f"{key}: unknown value {value!r}{_nearest(str(value), names)}")


def _nearest(word: str, names: list[str]) -> str:
    close = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(names)}"


def _read_yaml(path: Path) -> Any:
    import yaml

    # Below /dev/fd a fifo is a shell's `<(command)`.
    if (path.is_fifo() or path.is_char_device()) and not str(path).startswith(("/dev/fd/", "/dev/stdin")):
        raise ScenarioError(f"{path}: it is not a regular file: give a file of YAML")
    try:
        parsed = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    return {} if parsed is None else parsed


@functools.lru_cache(maxsize=1)
def _packaged() -> dict[str, Any]:
    """The packaged scenario. The package may be a folder or be in a zip file."""
    import yaml

    return dict(yaml.safe_load(pkgutil.get_data("azurelite.simulator", "default.yaml") or b""))


def _default_vm() -> dict[str, Any]:
    return dict(_packaged()["vm"])
