"""The handlers: one module per YAML key. They decide; `ctx.system` acts.

A handler's module holds ``SUMMARY`` (one line), ``NEEDS`` (metadata fields without which it cannot run), ``USES``
(further fields that its work depends on, may be left out), ``FREQUENCY``, ``REQUIRED``, a frozen dataclass ``Options``
whose field names are the YAML keys, and ``apply(ctx, options) -> None``, which states wishes and either returns or
raises an AzureliteError.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from azurelite.config import ENTRY_KEYS, Config, Frequency, HandlerEntry
from azurelite.errors import ConfigError
from azurelite.fabric.client import Fabric
from azurelite.memory import Memory
from azurelite.metadata import Metadata
from azurelite.outcome import Outcome
from azurelite.schema import bind, unknown
from azurelite.system.machine import System

_NAMES = (
    "certificates",
    "custom_data",
    "disable_service",
    "eject_media",
    "growroot",
    "hostname",
    "locale",
    "mounts",
    "network",
    "packages",
    "passwords",
    "power_state",
    "random_seed",
    "report_ready",
    "resource_disk",
    "run",
    "ssh_host_keys",
    "ssh_keys",
    "sshd",
    "swap",
    "tags",
    "time_sync",
    "timezone",
    "user",
    "user_data",
    "users",
    "wireserver_firewall",
    "write_files",
)
BUILTIN = {name: f"azurelite.handlers.{name}" for name in _NAMES}
REPORT_READY = "report_ready"


@dataclass(frozen=True)
class Context:
    """What a handler works with.

    Attributes:
        metadata: what Azure says.
        system: the machine.
        fabric: Azure's endpoints.
        outcome: what came of the steps before this one.
        note: say something a reader should know though it is no failure.
        report_ready: tell Azure that the VM is ready; raises FabricError when Azure does not accept it.
        memory: what handlers remember about this VM from run to run.
        media_device: host path of the drive that the provisioning disc was read from, None where there was none.
        config: the configuration of the run, for handlers that run others.
    """

    metadata: Metadata
    system: System
    fabric: Fabric
    outcome: Outcome
    note: Callable[[str], None]
    report_ready: Callable[[], None]
    memory: Memory
    media_device: Optional[str] = None
    config: Config = field(default_factory=Config)


@dataclass(frozen=True)
class Handler:
    """A handler with the options of its entry, ready to run.

    Attributes:
        name: its YAML key.
        summary: one line.
        needs: metadata fields without which it is skipped.
        uses: further metadata fields that its work depends on.
        frequency: "instance" (once per VM id), "boot" (every time) or "once" (once on this machine).
        required: its failure is a provisioning failure.
        options: an instance of its `Options`.
        apply: does the work.
    """

    name: str
    summary: str
    needs: tuple[str, ...]
    uses: tuple[str, ...]
    frequency: Frequency
    required: bool
    options: Any
    apply: Callable[[Context, Any], None]


def bind_handlers(config: Config) -> tuple[Handler, ...]:
    """The handlers that the configuration lists, with their options checked.

    Raises:
        ConfigError: an unknown handler or option, or a required handler behind `report_ready`.
    """
    handlers = tuple(bind_handler(entry, config) for entry in config.handlers)
    names = [handler.name for handler in handlers]
    if REPORT_READY in names:
        for i in range(names.index(REPORT_READY) + 1, len(handlers)):
            if handlers[i].required:
                place = config.document.place(config.handlers[i].path)
                raise ConfigError(
                    f"{place}: {names[i]!r} is required but stands after {REPORT_READY!r}: "
                    "move it ahead, or give it `required: false`"
                )
    return handlers


def bind_handler(entry: HandlerEntry, config: Config) -> Handler:
    """One handler with its options checked. Raises ConfigError."""
    if entry.name == REPORT_READY and (entry.frequency is not None or entry.required is not None):
        place = config.document.place(entry.path)
        raise ConfigError(
            f"{place}: {REPORT_READY!r} takes no `frequency` and no `required`: Azure wants it once per VM"
        )
    if entry.name not in BUILTIN:
        raise unknown("handler", entry.name, BUILTIN, where=config.document.place(entry.path))
    module = importlib.import_module(BUILTIN[entry.name])
    return Handler(
        name=entry.name,
        summary=module.SUMMARY,
        needs=module.NEEDS,
        uses=getattr(module, "USES", ()),
        frequency=entry.frequency or module.FREQUENCY,
        required=module.REQUIRED if entry.required is None else entry.required,
        options=bind(module.Options, entry.options, config.document, entry.path, also=ENTRY_KEYS),
        apply=module.apply,
    )
