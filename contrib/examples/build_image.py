#!/usr/bin/env python3
"""Prepare an image in a folder with azurelite's handlers: show what would change, then do it.

    build_image.py /mnt/image          show what would change
    build_image.py /mnt/image --yes    show it, and do it

No request is sent: the machine that builds an image need not be on Azure.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import azurelite

CONFIG = "datasource:\n  deadline: 600\n"
STEPS: Sequence[Mapping[str, Any]] = (
    {"write_files": {"files": [{"path": "/etc/azurelite/conf.d/20-image.yaml", "content": CONFIG}]}},
    {"users": {"accounts": [{"name": "backup", "system": True, "shell": "/bin/sh"}]}},
    {"sshd": {"password_authentication": "keep", "settings": {"PermitRootLogin": "no"}}},
)


def prepare(azure: azurelite.Azure, metadata: Mapping[str, Any], *, dry_run: bool) -> azurelite.Outcome:
    """Run the steps, which need no metadata but could have some: `{"region": "westeurope"}`."""
    outcome = azure.apply(STEPS, metadata, dry_run=dry_run)
    outcome.check()  # the first failure is raised, with its remedy
    return outcome


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description="Prepare an image for Azure.")
    parser.add_argument("root", help="the folder that will be the image's /")
    parser.add_argument("--yes", action="store_true", help="change it")
    options = parser.parse_args(arguments)
    # An empty mapping in place of a file: the image's own configuration is not read, nor that of this machine.
    with azurelite.Azure(root=options.root, config={}) as azure:
        for change in prepare(azure, {}, dry_run=True).changes:
            print(f"would {change}")
        if options.yes:
            for change in prepare(azure, {}, dry_run=False).changes:
                print(change)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except azurelite.AzureliteError as error:
        sys.exit(f"build_image: {error}")
