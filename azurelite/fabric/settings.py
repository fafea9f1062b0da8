"""The settings of the endpoints: the section `datasource` of the YAML."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from azurelite.record import Record


class ImdsSettings(Record):
    """`datasource.imds` of the YAML.

    Attributes:
        endpoint: base URL.
        timeout: seconds for one request.
        deadline: seconds for all tries together.
    """

    endpoint: str = "http://169.254.169.254"
    timeout: float = 10.0
    deadline: float = 300.0

    def __post_init__(self) -> None:
        check_endpoint(self.endpoint)
        check_seconds(self.timeout)
        check_seconds(self.deadline)


class WireServerSettings(Record):
    """`datasource.wireserver` of the YAML.

    Attributes:
        endpoint: base URL.
        timeout: seconds for one request.
        dialect: of the health report; "auto" is XML, or JSON if the host refuses XML.
    """

    endpoint: str = "http://168.63.129.16"
    timeout: float = 10.0
    dialect: Literal["auto", "xml", "json"] = "auto"

    def __post_init__(self) -> None:
        check_endpoint(self.endpoint)
        check_seconds(self.timeout)


class MediaSettings(Record):
    """`datasource.media` of the YAML.

    Attributes:
        device: "auto", "none", or the guest path of a device, an image file or a folder.
        eject: eject the disc after Azure has accepted Ready.
    """

    device: str = "auto"
    eject: bool = True

    def __post_init__(self) -> None:
        if self.device not in ("auto", "none") and (not self.device.startswith("/") or "\0" in self.device):
            raise ValueError("device must be auto, none or an absolute path")


def check_endpoint(endpoint: str) -> None:
    """Raise ValueError unless this is the base of an HTTP URL."""
    try:
        parts = urlsplit(endpoint)
        good = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0 and not parts.username
    except ValueError:
        good = False
    if not good or set(endpoint) & set(" \r\n\t?#"):
        raise ValueError("an endpoint must be the base of an HTTP URL, for example http://168.63.129.16")


def check_seconds(seconds: float) -> None:
    """Raise ValueError unless this is above 0 and at most a day."""
    if not 0 < seconds <= 86400:
        raise ValueError("a time must be a number of seconds above 0, at most a day")
