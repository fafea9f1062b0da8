#!/usr/bin/env python3
"""A first boot in two phases, with a reboot between: host name and disks first; then the administrator, and Ready.

Run it as root at each boot. It exits with 75 if the machine must be rebooted at once: Azure waits 20 minutes in all.
"""

from __future__ import annotations

import sys
from pathlib import Path

import azurelite

NOTE = Path("/var/lib/my-init-first-phase")  # has the VM's id: a captured image brings the file along
REBOOT = 75


def first_phase(azure: azurelite.Azure) -> None:
    """Set the host name and prepare the disks. After it, `is_done` is still False: Azure was not told Ready."""
    metadata = azure.crawl()
    azure.apply(["hostname"], metadata).check()
    disks = azure.apply(["growroot", "resource_disk"], metadata)
    if disks.exit_code != 0:  # Ready does not wait for them: neither is `required`
        print(f"continuing: {disks.reason}", file=sys.stderr)
    azure.report_progress("rebooting with the new host name and disks")


def second_phase(azure: azurelite.Azure) -> None:
    """Let the administrator in, and report. After it, `is_done` is True, also after the next reboot."""
    metadata = azure.crawl()  # once more: a password must not be kept over the reboot
    azure.apply(["user", "ssh_keys"], metadata).check()
    azure.report_ready()
    azure.mark_done()


def boot(azure: azurelite.Azure, note: Path = NOTE) -> int:
    """Do what this boot has to do. Returns the exit code."""
    try:
        if azure.is_done():
            return 0
        if note.exists() and note.read_text() == (azure.vm_id() or ""):
            second_phase(azure)
            return 0
        first_phase(azure)
    except (azurelite.FabricError, azurelite.NotAzureError, azurelite.DisabledError):
        raise  # nobody to report to
    except azurelite.AzureliteError as error:  # also a broken configuration
        azure.report_failure(error)
        raise
    note.write_text(azure.vm_id() or "")
    return REBOOT


if __name__ == "__main__":
    try:
        with azurelite.Azure() as opened:
            sys.exit(boot(opened))
    except azurelite.AzureliteError as error:
        print(f"first boot: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
