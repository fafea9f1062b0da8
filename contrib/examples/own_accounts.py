#!/usr/bin/env python3
"""First boot of a distribution with a user database of its own: its tool makes the account, azurelite does the rest.

Azure gets Ready only if all went well, and otherwise the reason. Run it as root, at each boot.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import azurelite

ADD_ACCOUNT = ("/usr/sbin/my-account", "add")  # then the name; keys on standard input, one a line
# A mapping is the whole configuration: no file is read. It has no `user` and no `ssh_keys`.
CONFIG: Mapping[str, Any] = {"handlers": [{"hostname": {"required": True}}, "report_ready"]}


def make_account(metadata: azurelite.Metadata, tool: Sequence[str]) -> None:
    """Let the distribution's tool make the administrator's account."""
    if metadata.username is None:
        raise azurelite.HandlerError("Azure names no administrator: was the disk generalised?")
    lost = metadata.missing.get("public_ssh_keys")
    if lost is not None:  # Azure may have keys, but they could not be read: that is not the same as none
        raise azurelite.HandlerError(f"the keys cannot be read: {lost.message}", reason=lost.reason)
    keys = "".join(f"{key.key_data}\n" for key in metadata.public_ssh_keys or ())
    done = subprocess.run([*tool, metadata.username], input=keys, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise azurelite.HandlerError(f"{tool[0]}: exit code {done.returncode}: {done.stderr.strip()[:200]}")


def first_boot(azure: azurelite.Azure, tool: Sequence[str] = ADD_ACCOUNT) -> None:
    """Provision this VM, if it is new, and tell Azure."""
    if azure.is_done():
        return
    metadata = azure.crawl()  # an error here: no answer, not Azure, or a broken configuration
    try:
        outcome = azure.apply(["hostname"], metadata)
        outcome.check()
        if outcome.outcome == "disabled":
            return
        make_account(metadata, tool)
        azure.report_ready()
    except azurelite.FabricError:
        raise  # Azure did not take the report
    except azurelite.AzureliteError as error:
        azure.report_failure(error)
        raise
    azure.mark_done()


if __name__ == "__main__":
    try:
        with azurelite.Azure(config=CONFIG) as opened:
            first_boot(opened)
    except azurelite.AzureliteError as error:
        print(f"first boot: {error}", file=sys.stderr)
        sys.exit(error.exit_code)  # 0 where this is not Azure
