"""The whole configuration as YAML, defaults too, with the place that each value came from as comment at its line's end.

Read back, the text makes the same configuration. A secret is left out, and a comment says so.
"""

from __future__ import annotations

from typing import Any, Optional, Sequence

from azurelite.config.document import KeyPath, dotted
from azurelite.config.load import Config
from azurelite.config.option_types import plain
from azurelite.describe.handlers import yaml_of
from azurelite.handlers import REPORT_READY, Handler
from azurelite.metadata import Secret
from azurelite.record import Record

_DEFAULT = "default"
_HIDDEN = "a secret, which is left out here: --show-secrets prints it"
_Line = tuple[str, Optional[str]]  # YAML, and the comment behind it


class Shown(Record):
    """A configuration, ready to be shown.

    Attributes:
        values: of the whole file, plain; secrets are `Secret` objects.
        origins: path of keys -> "file:line", of the values that a file gives.
    """

    values: dict[str, Any]
    origins: dict[KeyPath, str]

    def as_yaml(self, *, show_secrets: bool = False) -> str:
        """YAML, a value a line, its origin behind it."""
        values = reveal(self.values) if show_secrets else self.values
        lines = _mapping(values, (), self.origins, told=False)
        return "\n".join(text if comment is None else f"{text}  # {comment}" for text, comment in lines)

    def as_dict(self, *, show_secrets: bool = False) -> dict[str, Any]:
        """JSON-ready: the values, and by dotted path which place those are from that are no defaults."""
        values = reveal(self.values) if show_secrets else _without_secrets(self.values)
        return {"values": values, "origins": {dotted(path): origin for path, origin in self.origins.items()}}


def show_config(config: Config, handlers: Sequence[Handler]) -> Shown:
    """What is in force.

    Args:
        config: the merged configuration.
        handlers: its entries, bound.
    """
    origins = {path: f"{place.file}:{place.line}" for path, place in config.document.places.items() if path}
    entries = []
    for handler, entry in zip(handlers, config.handlers):
        keys: dict[str, Any] = {}
        if entry.id:
            keys["id"] = entry.id
        if handler.when:
            keys["when"] = [condition.text for condition in handler.when]
        if handler.name != REPORT_READY:  # which takes neither
            keys.update(frequency=handler.frequency, required=handler.required)
        entries.append({handler.name: {**keys, **(plain(handler.options) or {})}})
        if entry.path in origins:  # a name alone has its place where a mapping has that of its key
            origins.setdefault((*entry.path, handler.name), origins[entry.path])
    values = {"datasource": plain(config.datasource), "handlers": entries}
    return Shown(values, origins)


def reveal(value: Any) -> Any:
    """The value with its secrets in clear. For root's eyes only."""
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, dict):
        return {key: reveal(item) for key, item in value.items()}
    return [reveal(item) for item in value] if isinstance(value, list) else value


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_secrets(item) for key, item in value.items() if not isinstance(item, Secret)}
    if isinstance(value, list):
        return [_without_secrets(item) for item in value if not isinstance(item, Secret)]
    return value


def _mapping(values: dict[str, Any], path: KeyPath, origins: dict[KeyPath, str], *, told: bool) -> list[_Line]:
    """A line for each key, and below it what is in it.

    Args:
        values: the mapping.
        path: where it stands.
        origins: where values are from.
        told: that all of this is the default stands above already.
    """
    lines: list[_Line] = []
    for key, value in values.items():
        origin = origins.get((*path, key), None if told else _DEFAULT)
        name = yaml_of(key)
        if isinstance(value, Secret) and value:
            lines.append((f"# {name}: ***", f"{origin or _DEFAULT}; {_HIDDEN}"))
        elif isinstance(value, dict) and value:
            lines.append((f"{name}:", origins.get((*path, key))))
            lines += _indented(_mapping(value, (*path, key), origins, told=told))
        elif isinstance(value, list) and value:
            from_code = origin is None or origin == _DEFAULT
            lines.append((f"{name}:", origin if path or key != "handlers" else origins.get((key,), _DEFAULT)))
            lines += _indented(_list(value, (*path, key), origins, told=from_code and bool(path)))
        else:
            lines.append((f"{name}: {yaml_of(value)}", origin))
    return lines


def _list(values: list[Any], path: KeyPath, origins: dict[KeyPath, str], *, told: bool) -> list[_Line]:
    lines: list[_Line] = []
    for i, value in enumerate(values):
        origin = origins.get((*path, i))
        if isinstance(value, Secret) and value:
            lines.append(("# - ***", f"{origin or _DEFAULT}; {_HIDDEN}"))
            continue
        inner: list[_Line] = []
        if isinstance(value, dict):
            inner = _mapping(value, (*path, i), origins, told=told)
        elif isinstance(value, list):
            inner = _list(value, (*path, i), origins, told=told)
        (first, comment), *rest = inner or [(yaml_of(value), origin if origin != origins.get(path) else None)]
        lines += [(f"- {first}", comment), *_indented(rest)]
    return lines


def _indented(lines: list[_Line]) -> list[_Line]:
    return [(f"  {text}", comment) for text, comment in lines]
