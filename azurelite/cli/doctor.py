"""`azurelite doctor`: is this image fit to be captured?"""

from __future__ import annotations

import argparse
import json
import os
from typing import Optional

from azurelite.cli.parser import add_root_argument
from azurelite.doctor.finding import GUIDE, Report
from azurelite.errors import ConfigError
from azurelite.system.machine import System
from azurelite.system.root import check_root

NOT_FIT = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own options."""
    parser.add_argument("file", nargs="?", metavar="IMAGE", help="an image file (raw, qcow2 or VHD), read only")
    parser.add_argument("--image", metavar="FILE", help="the image file, as an option")
    add_root_argument(parser)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument("--fix", action="store_true", help="list the changes that --undo can undo, then make them")
    parser.add_argument("--undo", action="store_true", help="undo what --fix changed")
    parser.add_argument("--dry-run", action="store_true", help="with --fix or --undo: only list the changes")
    parser.epilog = "exit codes: 0 fit, 1 a fix failed, 2 usage error or no image, 4 not fit, or not examined"


def run(arguments: argparse.Namespace) -> int:
    """Examine, and print the findings; or fix and undo."""
    image = _image(arguments)
    check_root(arguments.root)
    if image is not None:
        from azurelite.doctor.images import examine_image

        return _tell(examine_image(image, search_path=os.environ.get("PATH")), as_json=arguments.json)
    if arguments.fix or arguments.undo:
        changes = _fix(arguments) if arguments.fix else _undo(arguments)
        if arguments.undo:
            if arguments.json:
                print(json.dumps({"changes": changes}, indent=2))
            return 0
    else:
        changes = []
    from azurelite.doctor import examine

    return _tell(examine(_system(arguments), name=arguments.root), as_json=arguments.json, changes=changes)


def _image(arguments: argparse.Namespace) -> Optional[str]:
    image: Optional[str] = arguments.file if arguments.file is not None else arguments.image
    if arguments.file is not None and arguments.image is not None:
        raise ConfigError("the image is named twice: leave out --image")
    if image is not None and arguments.root != "/":
        raise ConfigError("an image file and --root exclude each other: give one of them")
    if image is not None and (arguments.fix or arguments.undo):
        raise ConfigError("an image file is only read: mount it and use --root with --fix or --undo")
    if arguments.fix and arguments.undo:
        raise ConfigError("--fix and --undo exclude each other: give one of them")
    if arguments.dry_run and not (arguments.fix or arguments.undo):
        raise ConfigError("--dry-run is an option of --fix and --undo; without them nothing is changed")
    return image


def _system(arguments: argparse.Namespace, *, dry_run: bool = False) -> System:
    return System(arguments.root, dry_run=dry_run, search_path=os.environ.get("PATH"))


def _fix(arguments: argparse.Namespace) -> list[str]:
    from azurelite.doctor.fixes import fix

    planned = [str(change) for change in fix(_system(arguments, dry_run=True))]
    if not arguments.json:
        for line in planned or ["nothing to fix"]:
            print(f"would {line}" if planned else line)
    if arguments.dry_run or not planned:
        return planned
    done = [str(change) for change in fix(_system(arguments))]
    if not arguments.json:
        print(f"made {len(done)} change{'s' * (len(done) != 1)}; `azurelite doctor --undo` undoes them")
    return done


def _undo(arguments: argparse.Namespace) -> list[str]:
    from azurelite.doctor.fixes import undo

    done = undo(_system(arguments, dry_run=arguments.dry_run))
    if not arguments.json:
        for line in done or ["nothing to undo"]:
            print(f"would {line}" if done and arguments.dry_run else line)
    return done


def _tell(report: Report, *, as_json: bool, changes: Optional[list[str]] = None) -> int:
    if as_json:
        print(json.dumps({**report.as_dict(), "changes": changes or []}, indent=2))
        return 0 if report.fit else NOT_FIT
    for one in report.findings:
        print(_plain(f"{one.severity}: {one.name}: {one.text} ({one.place})"))
        print(f"    {_plain(one.remedy)}" + (" `azurelite doctor --fix` does this." if one.fix is not None else ""))
    if report.findings:
        print(f"{GUIDE} explains each check.")
    counts = []
    for word in ("error", "warning", "note"):
        number = sum(one.severity == word for one in report.findings)
        counts.append(f"{number} {word}{'s' * (number != 1)}")
    unchecked = sum(one.severity == "not checked" for one in report.findings)
    verdict = "fit to be captured" if report.fit else "not fit to be captured"
    if report.fit and unchecked:
        verdict = f"{verdict}, as far as it was checked"
    if not report.examined:
        verdict = "its content was not examined"
    rest = f"{unchecked} not checked, {len(report.passed)} passed"
    print(f"{_plain(report.subject)}: {verdict}: {', '.join(counts)}, {rest}")
    return 0 if report.fit else NOT_FIT


def _plain(text: str) -> str:
    """The text without control characters: names in an image could move the cursor of a terminal."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
