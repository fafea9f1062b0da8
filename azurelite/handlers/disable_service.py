"""`disable_service`: a service does not start at the next boots; azurelite's own, where nothing else is named.

A VM whose work is done once needs no second look, as Azure's article on images without an agent has it. But then a
VM made of a captured disk is not provisioned either, unless `azurelite generalize` or a new image brings it back.
"""

from __future__ import annotations

import re

from azurelite.config.load import Frequency
from azurelite.errors import HandlerError
from azurelite.handlers import REPORT_READY, Context
from azurelite.handlers.support.ready import reported
from azurelite.record import Record
from azurelite.system.services.services import Services

SUMMARY = "keep a service (azurelite's own) from starting at the next boots"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False

_OWN = "azurelite"


class Options(Record):
    """Options of `disable_service`.

    Attributes:
        service: its name, without `.service`.
    """

    service: str = _OWN

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9@._+-]{0,127}", self.service):
            raise ValueError("service must be a service's name, as azurelite")
        if self.service.endswith(".service"):
            raise ValueError("service is given without its ending `.service`")


def apply(ctx: Context, options: Options) -> None:
    """Take the service off the list of those that start. One that runs goes on.

    Raises:
        HandlerError: it is azurelite's own, and Azure does not know yet that the VM is ready: the next boot must
            be able to tell it.
        MachineError: it cannot be done by files; says what stands in the way.
    """
    services = Services(ctx.system)
    known = services.enabled(options.service)
    if known is None:
        ctx.note(f"there is no service {options.service} here (init system: {services.init}): nothing to disable")
        return
    needed = (ctx.outcome.outcome == "failed" or _ahead_of_ready(ctx)) and not reported(ctx)
    if options.service == _OWN and needed:
        raise HandlerError(f"{_OWN} stays enabled: the next boot may have to report. Move it behind `{REPORT_READY}`")
    services.disable(options.service)


def _ahead_of_ready(ctx: Context) -> bool:
    """The list says so; `azurelite apply disable_service` goes by it as well, until Ready was accepted."""
    names = [entry.name for entry in ctx.config.handlers]
    return (
        "disable_service" in names
        and REPORT_READY in names
        and names.index("disable_service") < names.index(REPORT_READY)
    )
