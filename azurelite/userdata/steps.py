"""The steps that user data is translated into."""

from __future__ import annotations

from typing import Any, Mapping, Union

from azurelite.config.document import KeyPath, Place
from azurelite.record import Record, field


class HandlerStep(Record):
    """Run a handler.

    Attributes:
        section: the key of the cloud-config that it comes from.
        handler: the handler's name.
        options: its options, as in the YAML of the configuration; they may hold secrets.
        places: the files and lines of the options in the cloud-config.
    """

    section: str
    handler: str
    options: dict[str, Any] = field(repr=False)
    places: Mapping[KeyPath, Place] = field(default_factory=dict, repr=False)


class ScriptStep(Record):
    """Run a script.

    Attributes:
        name: the name of its file and of its log.
        data: its content; it begins with `#!`.
    """

    name: str
    data: bytes = field(repr=False)


class MessageStep(Record):
    """Print a text to the log; variables such as `$uptime` are not replaced yet."""

    text: str


Step = Union[HandlerStep, ScriptStep, MessageStep]
