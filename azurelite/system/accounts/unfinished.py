"""Notes of accounts that are being created: after a crash the next run finishes what the tool had only begun."""

from __future__ import annotations

import contextlib
import json
import logging
from typing import Optional

from azurelite.errors import FileError
from azurelite.layout import ACCOUNTS_DIR
from azurelite.system.accounts.users import NewUser
from azurelite.system.files import Files

LOG = logging.getLogger(__name__)


def begin(files: Files, new: NewUser, *, kept_home: bool) -> None:
    """Note that this account will be created, before the first change. Where no state can be written, there is no note.

    Args:
        files: the guest's files.
        new: the account; if its home exists already, it is not to be filled later.
        kept_home: whether its home exists already.
    """
    wanted = {**vars(new), "create_home": new.create_home and not kept_home}
    try:
        files.make_own_folder(ACCOUNTS_DIR)
        files.put(_note(new.name), json.dumps(wanted).encode(), mode=0o600, owner=None)
    except FileError as error:
        LOG.debug("a crash during the creation of %s will not be noticed: %s", new.name, error)


def find(files: Files, name: str) -> Optional[NewUser]:
    """The account as it was wanted, if its creation did not end; otherwise None. Never raises."""
    try:
        wanted = json.loads(files.read(_note(name)) or b"null")
        return NewUser(**{**wanted, "groups": tuple(wanted["groups"])}) if wanted else None
    except (FileError, ValueError, TypeError, KeyError):  # the crash left half a note
        return None


def end(files: Files, name: str) -> None:
    """Remove the note, if there is one. Never raises: if a note stays, the next run looks at the account again."""
    with contextlib.suppress(FileError):
        files.remove(_note(name))


def _note(name: str) -> str:
    return f"{ACCOUNTS_DIR}/{name}.json"
