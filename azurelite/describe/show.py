"""Prints the whole configuration, with defaults, as YAML; a comment at each line has the origin of the value.

The text, read back, is the same configuration. A secret is replaced by a comment.
"""

from __future__ import annotations

from typing import Any, Optional, Sequence

from azurelite.config.document import KeyPath, dotted
from azurelite.config.load import SOURCES_PATH, Config
from azurelite.config.option_types import plain
from azurelite.describe.handlers import yaml_of
from azurelite.handlers import REPORT_READY, Handler
from azurelite.metadata import Secret
from azurelite.plugins import check_sources
from azurelite.record import Record

_DEFAULT = "default"
_HIDDEN = "a secret: use --show-secrets to print it"
_Line = tuple[str, Optional[str]]  # YAML, and its comment


class Shown(Record):
    """A configuration, ready to be printed.

    Attributes:
        values: plain values; secrets are `Secret` objects.
        origins: path of keys -> "file:line", for values that come from a file.
    """

    values: dict[str, Any]
    origins: dict[KeyPath, str]

    def as_yaml(self, *, show_secrets: bool = False) -> str:
        """YAML, one value per line, each with its origin."""
        values = reveal(self.values) if show_secrets else self.values
        lines = _mapping(values, (), self.origins, told=False)
        return "\n".join(text if comment is None else f"{text}  # {comment}" for text, comment in lines)

    def as_dict(self, *, show_secrets: bool = False) -> dict[str, Any]:
        """JSON-ready: the values, and dotted path -> origin for those that come from a file."""
        values = reveal(self.values) if show_secrets else _without_secrets(self.values)
        return {"values": values, "origins": {dotted(path): origin for path, origin in self.origins.items()}}


def show_config(config: Config, handlers: Sequence[Handler]) -> Shown:
    """Make the values and origins of a configuration.

    Args:
        config: the merged configuration.
        handlers: its entries, as handlers.

    Raises:
        ConfigError: it lists a source that does not exist.
    """
    check_sources(config.datasource.sources, config.document, SOURCES_PATH)
    origins = {path: f"{place.file}:{place.line}" for path, place in config.document.places.items() if path}
    entries = []
    for handler, entry in zip(handlers, config.handlers):
        keys: dict[str, Any] = {}
        if entry.id:
            keys["id"] = entry.id
        if handler.when:
            keys["when"] = [condition.text for condition in handler.when]
        if handler.name != REPORT_READY:  # it has neither
            keys.update(frequency=handler.frequency, required=handler.required)
        entries.append({handler.name: {**keys, **(plain(handler.options) or {})}})
        if entry.path in origins:  # an entry without a mapping has the line of its name
            origins.setdefault((*entry.path, handler.name), origins[entry.path])
    values = {"datasource": plain(config.datasource), "report": plain(config.report), "handlers": entries}
    return Shown(values, origins)


def reveal(value: Any) -> Any:
    """The value with its secrets in plain text. Only for root."""
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
    """One line per key, followed by the lines of its value.

    Args:
        values: the mapping.
        path: its keys.
        origins: the origins of values.
        told: a line above already says that all of it is the default.
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
