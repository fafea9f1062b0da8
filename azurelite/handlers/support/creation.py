"""Creating an account, with what a removed account left in its home."""

from __future__ import annotations

from azurelite.handlers import Context
from azurelite.record import replace
from azurelite.system.accounts.users import NewUser, User


def create_account(ctx: Context, new: NewUser) -> User:
    """Create the account. A home that no account owns is given to it; the keys in that home are renamed.

    Raises:
        MachineError: the account could not be created, or a file could not be renamed.
    """
    accounts = ctx.system.accounts
    accounts.check_home(new.name, new.home, create=new.create_home)
    left = accounts.leftover_home(new)
    if left is None:
        return accounts.create_user(new, note=ctx.note)
    from azurelite.system.ssh.former_keys import set_aside_keys

    # Before there is an account that its keys could let in, and again, because a key file may depend on the number.
    set_aside_keys(ctx.system, User(new.name, left.uid, left.gid, new.home, new.shell), note=ctx.note)
    user = accounts.create_user(new, note=ctx.note)
    set_aside_keys(ctx.system, replace(user, home=new.home), note=ctx.note)
    return user
