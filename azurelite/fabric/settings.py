"""The endpoints' settings, as the YAML's `datasource` section holds them."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from azurelite.record import Record


class ImdsSettings(Record):
    """`datasource.imds` of the YAML.

    Attributes:
        endpoint: base URL.
        timeout: seconds for one exchange.
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
        timeout: seconds for one exchange.
        dialect: of the health report; "auto" speaks XML, and JSON where XML is refused for good.
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
            raise ValueError("device is auto, none or an absolute path")


def check_endpoint(endpoint: str) -> None:
    """Raise ValueError unless this is the base of an http URL."""
    try:
        parts = urlsplit(endpoint)
        good = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0 and not parts.username
    except ValueError:
        good = False
    if not good or set(endpoint) & set(" \r\n\t?#"):
        raise ValueError("an endpoint is the base of an http URL, as http://168.63.129.16")


def check_seconds(seconds: float) -> None:
    """Raise ValueError unless this is a time to wait."""
    if not 0 < seconds <= 86400:
        raise ValueError("a time is a number of seconds above 0, at most a day")
