"""`azurelite apply HANDLER…`."""

from __future__ import annotations

import os
from typing import Any, Mapping, Optional, Sequence, Union

from azurelite.api import Azure
from azurelite.cli.logfile import keep_log
from azurelite.cli.provision import check_diff, print_outcome
from azurelite.config.load import read_named
from azurelite.errors import ConfigError, NotAzureError
from azurelite.outcome import Outcome
from azurelite.system.files import READ_LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own options."""
    from azurelite.cli.parser import add_guest_arguments

    add_guest_arguments(parser)
    parser.add_argument(
        "handlers",
        nargs="+",
        metavar="HANDLER",
        help="handlers to run, in this order; their `when` is ignored. An entry such as '{hostname: {name: web-2}}' "
        "brings its options, in place of those of the configuration; no secrets, which other users would see",
    )
    parser.add_argument(
        "--metadata", metavar="FILE", help="a saved output of `azurelite metadata`, to use instead of asking Azure"
    )
    parser.add_argument(
        "--sources",
        metavar="LIST",
        help="use only these sources, for example `imds,media`; `media` alone, or with plug-ins, needs no network",
    )
    parser.add_argument(
        "--first-boot",
        action="store_true",
        help="do nothing if this VM was provisioned earlier, so that later changes are kept",
    )
    parser.add_argument("--dry-run", action="store_true", help="change nothing; list the changes")
    parser.add_argument("--diff", action="store_true", help="with --dry-run: also show how the text of files changes")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run the handlers, and print the outcome."""
    check_diff(arguments)
    return perform(
        handlers=[_entry(word) for word in arguments.handlers],
        root=arguments.root,
        config=arguments.config,
        metadata=_saved(arguments.metadata),
        sources=arguments.sources.split(",") if arguments.sources is not None else None,
        first_boot=arguments.first_boot,
        dry_run=arguments.dry_run,
        as_json=arguments.json,
        diff=arguments.diff,
    )


def perform(
    *,
    handlers: Sequence[Union[str, Mapping[str, Any]]],
    root: str,
    config: Optional[str] = None,
    metadata: Optional[dict[str, Any]] = None,
    sources: Optional[Sequence[str]] = None,
    first_boot: bool = False,
    dry_run: bool = False,
    as_json: bool = False,
    diff: bool = False,
) -> int:
    """Like `run`, without the parser."""
    if not dry_run:
        keep_log(root)
    try:
        with Azure(root=root, config=config) as azure:
            outcome = azure.apply(handlers, metadata, dry_run=dry_run, sources=sources, first_boot=first_boot)
    except NotAzureError as error:
        outcome = Outcome("not azure", error.message)
    print_outcome(outcome, as_json=as_json, dry_run=dry_run, diff=diff)
    return outcome.exit_code


def _entry(word: str) -> Union[str, Mapping[str, Any]]:
    """A handler's name, or the entry with options that a word beginning with `{` is."""
    if not word.startswith("{"):
        return word
    from azurelite.config.document import parse_document

    entry = parse_document(os.fsencode(word), file="apply").data
    return entry if isinstance(entry, dict) else word


def _saved(path: Optional[str]) -> Optional[dict[str, Any]]:
    if path is None:
        return None
    import json

    text = read_named(path, limit=READ_LIMIT)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not JSON: give --metadata the output of `azurelite metadata`") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: not a JSON object: give --metadata the output of `azurelite metadata`")
    return document
