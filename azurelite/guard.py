"""The one broad `except` of the code: whatever breaks comes back as an AzureliteError, so that Azure can be told."""

from __future__ import annotations

import logging
from typing import Callable, Optional

from azurelite.errors import AzureliteError, place_of

LOG = logging.getLogger(__name__)


def guard(action: Callable[[], None]) -> Optional[AzureliteError]:
    """Do it; what goes wrong comes back as an AzureliteError."""
    try:
        action()
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
    return None
