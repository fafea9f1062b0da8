"""`power_state`: not written yet."""

from __future__ import annotations

from dataclasses import dataclass

from azurelite.config import Frequency
from azurelite.errors import HandlerError
from azurelite.handlers import Context

SUMMARY = "not written yet"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False


@dataclass(frozen=True)
class Options:
    """There is nothing to choose yet."""


def apply(ctx: Context, options: Options) -> None:
    """Not written yet. Raises HandlerError."""
    del ctx, options
    raise HandlerError("not written yet")
