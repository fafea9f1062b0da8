"""`azurelite analyze`: where the time of a boot went, as text, JSON, SVG, a web page or OpenTelemetry spans."""

from __future__ import annotations

import argparse
import json
import logging
from typing import Optional

from azurelite.cli.output import write_output
from azurelite.cli.parser import add_boot_argument, add_root_argument, earlier_boot
from azurelite.describe.analysis import Analysis, analyse
from azurelite.errors import ConfigError
from azurelite.state.boots import Boot, earlier_boots, read_boot
from azurelite.system.boot_times import boot_phases
from azurelite.system.process import Commands
from azurelite.system.root import Root, check_root

LOG = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own options."""
    add_boot_argument(parser)
    parser.add_argument(
        "--compare",
        type=earlier_boot,
        nargs="?",
        const=1,
        metavar="-N",
        help="compare with another boot: without a number, with the one before",
    )
    add_root_argument(parser)
    parser.add_argument("--json", action="store_true", help="print the analysis as JSON")
    parser.add_argument("--svg", metavar="FILE", help="write a picture; `-` is standard output")
    parser.add_argument("--html", metavar="FILE", help="write a self-contained web page")
    parser.add_argument("--otlp", metavar="FILE", help="write the spans as OTLP/JSON for OpenTelemetry")


def run(arguments: argparse.Namespace) -> int:
    """Print or write where the time went. Sends no request."""
    check_root(arguments.root)
    root = Root(arguments.root)
    boot = read_boot(root, -arguments.boot)
    other = None if arguments.compare is None else _other(root, -arguments.boot, arguments.compare)
    here = arguments.boot == 0 and root.is_host
    phases = boot_phases(root, Commands()) if here else ()
    analysis = analyse(boot, phases=phases, other=other)
    if not _written(analysis, arguments):
        _print(analysis, as_json=arguments.json)
    return 0


def _other(root: Root, back: int, wanted: int) -> Optional[Boot]:
    """The boot to compare with. By default (1) it is the newest before the analysed one that can be read."""
    if wanted != 1:
        return read_boot(root, -wanted)
    for earlier in range(back + 1, len(earlier_boots(root)) + 1):
        try:
            return read_boot(root, earlier)
        except ConfigError as error:
            LOG.warning("analyze: %s", error)
    raise ConfigError("--compare: no earlier boot is kept that can be read: leave it out")


def _written(analysis: Analysis, arguments: argparse.Namespace) -> bool:
    """Write the files that the arguments name, if any, and name them."""
    if arguments.svg is not None:
        from azurelite.describe.analysis_svg import as_svg

        write_output(arguments.svg, as_svg(analysis))
    if arguments.html is not None:
        from azurelite.describe.analysis_html import as_html

        write_output(arguments.html, as_html(analysis))
    if arguments.otlp is not None:
        from azurelite.describe.otlp import as_otlp

        write_output(arguments.otlp, f"{json.dumps(as_otlp(analysis.boot))}\n")
    paths = [path for path in (arguments.svg, arguments.html, arguments.otlp) if path is not None]
    if not arguments.json and "-" not in paths:  # else standard output holds a document
        for path in paths:
            print(f"wrote {path}")
    return bool(paths) and not arguments.json


def _print(analysis: Analysis, *, as_json: bool) -> None:
    from azurelite.describe.analysis_text import as_text

    print(json.dumps(analysis.as_dict(), indent=2) if as_json else as_text(analysis))
