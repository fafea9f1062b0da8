"""`azurelite handlers [NAME]`."""

from __future__ import annotations

import argparse
import json

from azurelite.cli.parser import add_root_argument
from azurelite.describe.handlers import as_markdown, as_table, as_text, catalog, describe, document
from azurelite.errors import ConfigError
from azurelite.system.root import Root


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own options."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="print the options of this handler, and an example")
    add_root_argument(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the handlers as JSON")
    form.add_argument("--markdown", action="store_true", help="print the reference page of the built-in handlers")


def run(arguments: argparse.Namespace) -> int:
    """Print the handlers as their code describes them. Sends no request and needs no root."""
    if arguments.markdown:
        if arguments.name is not None:
            raise ConfigError("--markdown prints all handlers: leave NAME out")
        print(as_markdown([document(name, known) for name, known in catalog(None).items()]))
        return 0
    root = Root(arguments.root)
    if arguments.name is not None:
        doc = describe(arguments.name, root)
        print(json.dumps(doc.as_dict(), indent=2) if arguments.json else as_text(doc))
        return 0
    docs = [document(name, known) for name, known in catalog(root).items()]
    print(json.dumps([doc.as_dict() for doc in docs], indent=2) if arguments.json else as_table(docs))
    return 0
