"""What the steps of a dry run would have made, handed to a `System` in another process.

Every attribute of files, accounts and passwords whose name begins with `_wished` is such a note; nothing else is.
"""

from __future__ import annotations

from typing import Any

from azurelite.system.accounts.users import User
from azurelite.system.machine import System
from azurelite.system.portable import pack, unpack

_PREFIX = "_wished"


def wishes_as_data(system: System) -> list[Any]:
    """The notes of one guest, ready for JSON."""
    return [
        pack({name: value for name, value in vars(one).items() if name.startswith(_PREFIX)}) for one in _holders(system)
    ]


def adopt_wishes(system: System, told: list[Any]) -> None:
    """Take over what `wishes_as_data` told of the same guest."""
    for one, notes in zip(_holders(system), told):
        vars(one).update(unpack(notes))
    users = vars(system.accounts)["_wished_users"]
    users.update({name: User(**fields) for name, fields in users.items()})


def _holders(system: System) -> tuple[object, ...]:
    return system.files, system.accounts, system.accounts.passwords
