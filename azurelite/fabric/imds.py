"""Fetches the instance document from IMDS."""

from __future__ import annotations

import json
import logging
from typing import Optional

from azurelite.clock import Deadline
from azurelite.errors import FabricError, HttpStatusError, TransportError
from azurelite.fabric import retry
from azurelite.fabric.exchange import Request
from azurelite.fabric.http import HttpClient
from azurelite.fabric.settings import ImdsSettings

LOG = logging.getLogger(__name__)

# `extended=true` asks for everything that provisioning needs; without it, IMDS may answer 200 with some keys missing.
_FIRST_CHOICE = "2021-08-01"
_LEAST_EXTENDED = "2020-10-01"  # the first version with a complete osProfile
# For hosts that know neither version: it has no osProfile, but SSH keys and tags.
_LAST_RESORT = "2019-06-01"


class Imds:
    """Azure's instance metadata service.

    Args:
        http: sends the requests.
        settings: address and timeouts.
    """

    def __init__(self, http: HttpClient, settings: ImdsSettings) -> None:
        self._http = http
        self._settings = settings

    @property
    def endpoint(self) -> str:
        """Its base URL from the settings."""
        return self._settings.endpoint

    def fetch_instance(self, deadline: Deadline) -> bytes:
        """The instance document, as bytes of JSON.

        Raises:
            FabricError: its reason ends with "querying IMDS", as on Azure's troubleshooting page.
        """
        own = deadline.within(self._settings.deadline)
        queries = [_query(_FIRST_CHOICE)]
        try:
            while True:
                try:
                    return self._get(f"instance?{queries[-1]}", own)
                except HttpStatusError as error:
                    following = _following(error, queries)
                    if following is None:
                        raise
                    LOG.info("imds: the query is not supported; retrying with %s", following)
                    queries.append(following)
        except FabricError as error:
            raise _querying(error) from error

    def fetch_reprovision_data(self, deadline: Deadline) -> bytes:
        """The ovf-env.xml of the VM's new owner, for a VM that waits in a pool.

        Raises:
            FabricError: it does not exist yet (404 until the deadline), or IMDS is unreachable.
        """
        try:
            return self._get(f"reprovisiondata?{_query(_LAST_RESORT)}", deadline)
        except FabricError as error:
            raise _querying(error) from error

    def _get(self, target: str, deadline: Deadline) -> bytes:
        url = f"{self._settings.endpoint.rstrip('/')}/metadata/{target}"
        request = Request(url, {"Metadata": "true"}, self._settings.timeout)
        return self._http.ask(request, table=retry.IMDS, deadline=deadline).body


_REBOOT = "Reboot the VM; if it fails again, redeploy it"


def _query(version: str) -> str:
    return f"api-version={version}&extended=true" if version >= _LEAST_EXTENDED else f"api-version={version}"


def _following(error: HttpStatusError, asked: list[str]) -> Optional[str]:
    """The next query after a 400: the newest version that the response offers, then the last resort; None: give up.

    An old host offers only versions older than the last resort. Those have fewer fields, but at least the VM's name.
    """
    if error.status != 400:
        return None
    for version in [*sorted(_offered(error.body), reverse=True)[:1], _LAST_RESORT]:
        if _query(version) not in asked:
            return _query(version)
    return None


def _offered(body: bytes) -> list[str]:
    """The versions that a response of IMDS offers: `{"newest-versions": ["2021-02-01", ...]}`."""
    try:
        listed = json.loads(body)["newest-versions"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return [text for text in listed if isinstance(text, str) and _is_version(text)] if isinstance(listed, list) else []


def _is_version(text: str) -> bool:
    return len(text) == 10 and text.isascii() and text.replace("-", "").isdigit()


def _querying(error: FabricError) -> FabricError:
    short, text, remedy = "IMDS unreachable" if isinstance(error, TransportError) else None, f"IMDS: {error}", None
    if isinstance(error, HttpStatusError):
        text, remedy = f"{text}: Azure's metadata service fails. {_REBOOT}", f"{_REBOOT}."
    return FabricError(
        text, reason=f"{error.reason} querying IMDS", data=error.data, short=short, remedy=remedy or error.remedy
    )
