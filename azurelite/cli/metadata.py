"""`azurelite metadata [KEY]`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from azurelite.api import Azure
from azurelite.cli.formats import as_cloud_init, as_env
from azurelite.cli.parser import (
    add_guest_arguments,
    add_secrets_argument,
    add_timeout_argument,
    check_secrets_argument,
)
from azurelite.cli.shell import complain
from azurelite.config.schema import unknown
from azurelite.errors import ConfigError, NotAzureError
from azurelite.state.records import read_saved
from azurelite.system.root import Root


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own options."""
    add_guest_arguments(parser)
    parser.add_argument(
        "key",
        nargs="?",
        metavar="KEY",
        help="print only this value: username, tags.role, raw.imds.compute.sku, …",
    )
    parser.add_argument(
        "--format",
        choices=("json", "yaml", "text", "env", "cloud-init"),
        help="output format; the default is text for one key and json for all keys; env and cloud-init print all keys",
    )
    parser.add_argument(
        "--saved", action="store_true", help="print what the last `provision` read, also of an earlier boot; no request"
    )
    add_timeout_argument(parser)
    parser.add_argument("--list-keys", action="store_true", help="print the keys that KEY takes, one per line")
    add_secrets_argument(parser)
    parser.epilog = "exit codes: 0 printed, 1 KEY has no value, 2 usage error, 3 not on Azure, or Azure not reached"


def run(arguments: argparse.Namespace) -> int:
    """Crawl and print. Returns 1 if the key has no value, 3 if Azure was not reached or this is not Azure."""
    check_secrets_argument(arguments)
    if arguments.key is not None and arguments.format in ("env", "cloud-init"):
        raise ConfigError(f"--format {arguments.format} prints all keys: leave KEY out")
    if arguments.list_keys and (arguments.key is not None or arguments.format is not None):
        raise ConfigError("--list-keys prints the keys alone: leave KEY and --format out")
    try:
        document = _document(arguments)
    except NotAzureError as error:
        complain(str(error))
        return 3
    if arguments.key is None:
        print(_all(document, arguments))
        return 0
    value = _pick(document, arguments.key)
    if value is None:
        return 1
    print(render(value, arguments.format or "text"))
    return 0


def _all(document: dict[str, Any], arguments: argparse.Namespace) -> str:
    if arguments.list_keys:
        return "\n".join(_keys(document))
    if arguments.format == "env":
        return as_env(document)
    if arguments.format == "cloud-init":
        return json.dumps(_cloud_init(document, arguments.root), indent=1, sort_keys=True)
    return render(document, arguments.format or "json")


def _document(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.saved:
        return read_saved(Root(arguments.root), secrets=arguments.show_secrets)
    with Azure(root=arguments.root, config=arguments.config, seconds=arguments.timeout) as azure:
        return azure.crawl().document(secrets=arguments.show_secrets)


def _cloud_init(document: dict[str, Any], root: str) -> dict[str, Any]:
    machine = {
        "kernel_release": os.uname().release,
        "machine": os.uname().machine,
        "python_version": ".".join(map(str, sys.version_info[:3])),
        "system_platform": sys.platform,
    }
    return as_cloud_init(document, os_release=Root(root).text("/etc/os-release"), machine=machine)


def render(value: Any, form: str) -> str:
    """A value as json, yaml or text. Text is a bare scalar, or one line per list item or `key: value` pair."""
    if form == "json":
        return json.dumps(value, indent=2)
    if form == "yaml":
        import yaml

        text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
        return text.removesuffix("\n").removesuffix("\n...")
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_inline(item)}" for key, item in value.items())
    if isinstance(value, list):
        return "\n".join(_inline(item) for item in value)
    return _inline(value)


def _inline(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def _keys(value: Any, prefix: str = "") -> list[str]:
    """The dotted keys of everything that is no mapping or list, empty ones included."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [key for name, item in items for key in _keys(item, f"{prefix}{name}.")]
    return found or [prefix.removesuffix(".")]


def _pick(document: Any, key: str) -> Any:
    """Follow a dotted key through mappings and list positions. Raises ConfigError for an unknown key."""
    value = document
    walked: list[str] = []
    for part in key.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        elif value is None:
            return None
        else:
            known = value if isinstance(value, dict) else ()
            raise unknown("key", part, known, where=".".join(walked) or "metadata")
        walked.append(part)
    return value
