"""What user data leads to: steps, in the order in which they are taken."""

from __future__ import annotations

from typing import Any, Mapping, Union

from azurelite.config.document import KeyPath, Place
from azurelite.record import Record, field


class HandlerStep(Record):
    """A handler with options.

    Attributes:
        section: the key of the cloud-config that asks for it.
        handler: its name.
        options: its options as YAML would say them; they may hold secrets.
        places: where options stand in the cloud-config.
    """

    section: str
    handler: str
    options: dict[str, Any] = field(repr=False)
    places: Mapping[KeyPath, Place] = field(default_factory=dict, repr=False)


class ScriptStep(Record):
    """A script.

    Attributes:
        name: of its file and its log.
        data: its content; it begins with `#!`.
    """

    name: str
    data: bytes = field(repr=False)


class MessageStep(Record):
    """A text for the console, with words like `$uptime` still in it."""

    text: str


Step = Union[HandlerStep, ScriptStep, MessageStep]
