"""The one broad `except` of the code: whatever breaks comes back as an AzureliteError, so that Azure can be told."""

from __future__ import annotations

import logging
from typing import Callable, TypeVar, Union

from azurelite.errors import AzureliteError, place_of

LOG = logging.getLogger(__name__)

_Made = TypeVar("_Made")


def guard(action: Callable[[], _Made]) -> Union[_Made, AzureliteError]:
    """Return what the action returns, or the AzureliteError that says why it failed. Raises nothing."""
    try:
        return action()
    except AzureliteError as error:
        return error
    except Exception as error:  # a defect must not keep Azure from hearing of it
        LOG.debug("unhandled", exc_info=True)
        place = place_of(error.__traceback__)
        # The exception's own text may quote what it choked on, so only its kind and place are told.
        return AzureliteError(
            f"unhandled {type(error).__name__} at {place}: run with --debug for the details",
            reason="unhandled exception",
            data={"exception": type(error).__name__, "place": place},
        )
