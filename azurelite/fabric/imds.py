"""IMDS: fetching the instance document."""

from __future__ import annotations

import logging

from azurelite.clock import Deadline
from azurelite.errors import FabricError, HttpStatusError
from azurelite.fabric import retry
from azurelite.fabric.http import HttpClient
from azurelite.fabric.settings import ImdsSettings

LOG = logging.getLogger(__name__)

# `extended=true` asks for all that provisioning needs; without it IMDS may answer 200 with a part missing.
# 2019-06-01 is for hosts that do not know the first: no osProfile there, but keys and tags.
_QUERIES = ("api-version=2021-08-01&extended=true", "api-version=2019-06-01")


class Imds:
    """Azure's instance metadata service.

    Args:
        http: does the exchanges.
        settings: where it is and how long to wait for it.
    """

    def __init__(self, http: HttpClient, settings: ImdsSettings) -> None:
        self._http = http
        self._settings = settings

    def fetch_instance(self, deadline: Deadline) -> bytes:
        """The instance document, as bytes of JSON.

        Raises:
            FabricError: its reason ends in "querying IMDS", as Azure's troubleshooting page says it.
        """
        own = deadline.within(self._settings.deadline)
        try:
            return self._get(_QUERIES[0], own)
        except HttpStatusError as error:
            if error.status != 400:
                raise _querying(error) from error
            LOG.info("IMDS does not know the newest query; asking in the older way")
        except FabricError as error:
            raise _querying(error) from error
        try:
            return self._get(_QUERIES[1], own)
        except FabricError as error:
            raise _querying(error) from error

    def _get(self, query: str, deadline: Deadline) -> bytes:
        return self._http.request(
            "GET",
            f"{self._settings.endpoint.rstrip('/')}/metadata/instance?{query}",
            headers={"Metadata": "true"},
            table=retry.IMDS,
            timeout=self._settings.timeout,
            deadline=deadline,
        ).body


def _querying(error: FabricError) -> FabricError:
    return FabricError(f"IMDS: {error}", reason=f"{error.reason} querying IMDS", data=error.data)
