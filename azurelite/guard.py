"""The only broad `except` in azurelite: it turns a defect into an AzureliteError, so that Azure can be told."""

from __future__ import annotations

import logging
from typing import Callable, TypeVar, Union

from azurelite.errors import AzureliteError, place_of

LOG = logging.getLogger(__name__)

_Made = TypeVar("_Made")


def guard(action: Callable[[], _Made]) -> Union[_Made, AzureliteError]:
    """Return the result of the action, or the AzureliteError that says why it failed. Raises nothing."""
    try:
        return action()
    except AzureliteError as error:
        return error
    except Exception as error:  # Azure must be told of a defect too
        LOG.debug("traceback of a defect", exc_info=True)
        place = place_of(error.__traceback__)
        # Only type and place: the text of the exception may quote a secret.
        return AzureliteError(
            f"unhandled {type(error).__name__} at {place}: run with --debug for the details",
            reason="unhandled exception",
            data={"exception": type(error).__name__, "place": place},
        )
