"""The option `timeout` of an executable in /etc/azurelite/handlers.d."""

from __future__ import annotations

import math
from typing import Any, Optional

import jsonschema
import pytest
from kit import Guest

from azurelite.config.load import load_config
from azurelite.describe.handlers import catalog
from azurelite.describe.jsonschema import config_schema
from azurelite.errors import ConfigError
from azurelite.handlers import Handler, bind_handlers
from azurelite.system.root import Root

WEEK = 604800
# the option -> seconds; None: a mistake
TIMEOUTS: list[tuple[Any, Optional[float]]] = [
    (1, 1.0),
    (0.5, 0.5),
    (3600, 3600.0),
    (WEEK, float(WEEK)),
    (0, None),
    (-1, None),
    (WEEK + 1, None),
    (float("inf"), None),
    (float("nan"), None),
    (True, None),
    ("60", None),
    ([60], None),
    (None, None),
]


@pytest.fixture
def root(guest: Guest) -> Root:
    guest.put({"etc/azurelite/handlers.d/local": "#!/bin/sh\n"}).path("etc/azurelite/handlers.d/local").chmod(0o755)
    return Root(guest.root)


def bound(root: Root, guest: Guest, options: dict[str, Any]) -> Handler:
    guest.configure(handlers=["user", {"local": options}, "report_ready"])
    return bind_handlers(load_config(root), root)[1]


@pytest.mark.parametrize(("given", "seconds"), TIMEOUTS)
def test_it_is_a_number_of_seconds(guest: Guest, root: Root, given: Any, seconds: Optional[float]) -> None:
    options = {"timeout": given, "key": "value"}
    if seconds is None:
        with pytest.raises(ConfigError, match=r"azurelite.yaml:\d+:\d+: `timeout` must be a number of seconds above 0"):
            bound(root, guest, options)
    else:
        assert bound(root, guest, options).timeout == seconds
    schema = config_schema(catalog(root))
    validator = jsonschema.Draft202012Validator(schema)
    if given is not None and not (isinstance(given, float) and not math.isfinite(given)):  # JSON holds the others
        assert validator.is_valid({"handlers": [{"local": options}]}) is (seconds is not None)


def test_left_out_it_is_a_little_less_than_that_of_a_plug_in(guest: Guest, root: Root) -> None:
    assert bound(root, guest, {}).timeout == 290.0
