"""`disable_service`: disable a service, so that later boots do not start it; by default azurelite's own.

Azure's article on images without an agent does the same: a VM that is provisioned needs no second run. But a VM made
from a captured disk is then not provisioned either, unless `azurelite generalize` or a new image enables it again.
"""

from __future__ import annotations

import re

from azurelite.config.load import Frequency
from azurelite.errors import HandlerError
from azurelite.handlers import REPORT_READY, Context
from azurelite.handlers.support.ready import reported
from azurelite.record import Record
from azurelite.system.services.services import Services

SUMMARY = "disable a service (by default azurelite's own) for later boots"
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
            raise ValueError("service must be the name of a service, for example azurelite")
        if self.service.endswith(".service"):
            raise ValueError("service must be a name without the suffix `.service`")


def apply(ctx: Context, options: Options) -> None:
    """Disable the service. It is not stopped if it is running.

    Raises:
        HandlerError: it is azurelite's own and Azure has not accepted Ready yet, so the next boot may have to report.
        MachineError: the init system's files do not allow it; the message says why.
    """
    services = Services(ctx.system)
    known = services.enabled(options.service)
    if known is None:
        ctx.note(f"the service {options.service} does not exist (init system: {services.init}): nothing to disable")
        return
    needed = (ctx.outcome.outcome == "failed" or _listed_before_ready(ctx)) and not reported(ctx)
    if options.service == _OWN and needed:
        raise HandlerError(
            f"{_OWN} stays enabled, because Azure has not accepted Ready yet and the next boot must try again: "
            f"list `disable_service` after `{REPORT_READY}`"
        )
    services.disable(options.service)


def _listed_before_ready(ctx: Context) -> bool:
    """Whether the list has this handler before `report_ready`; this holds for `azurelite apply` as well."""
    names = [entry.name for entry in ctx.config.handlers]
    return (
        "disable_service" in names
        and REPORT_READY in names
        and names.index("disable_service") < names.index(REPORT_READY)
    )
