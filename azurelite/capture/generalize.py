"""Generalizing a disk: listing what is left of this VM, and removing what was asked for, each step on its own.

A step that fails does not stop the others, and a second call does what the first one could not. The manifest goes last,
and only if nothing that it proves is left.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import Callable, Collection, Optional

from azurelite import layout
from azurelite.capture import accounts as people
from azurelite.capture import undo
from azurelite.capture.accounts import Known
from azurelite.capture.erase import empty_file, erase, erase_content
from azurelite.capture.leftovers import GROUPS, KEPT_IN_CACHES, Leftover, leftovers
from azurelite.capture.processes import processes, users_of
from azurelite.clock import SystemClock
from azurelite.errors import AzureliteError, FileError, MachineError
from azurelite.guard import guard
from azurelite.hypervisor import kvp
from azurelite.record import Record, field, replace
from azurelite.state.manifest import Manifest, read_manifest
from azurelite.system.machine import System

LOG = logging.getLogger(__name__)

# Options of `generalize` -> what each removes. `--all` is all of them, but not --delete-homes.
OPTIONS = {
    **GROUPS,
    "adopted": "accounts that azurelite adopted, and what an older release did not note exactly",
    "files": "files that user data, `write_files` and plug-ins wrote",
}
HOMES = "delete-homes"
_KEPT_STATE = ("once", "manifest.jsonl")
_KEPT_RUN = ("conf.d", "lock")


class Item(Record):
    """One thing that is left, and what becomes of it.

    Attributes:
        what: as in "remove account azureuser (uid 1000)".
        option: the option that it needs; "" if it needs none.
        state: "planned" (it goes with `--yes`), "done", "kept" (nobody asked for it, or it cannot be removed) or
            "failed".
        why: why it is kept or failed, with the remedy; "" otherwise.
        proven: the manifest is needed to remove it later.
        act: removes it.
    """

    what: str
    option: str = ""
    state: str = "planned"
    why: str = ""
    proven: bool = False
    act: Callable[[], None] = field(default=lambda: None, repr=False)

    def as_dict(self) -> dict[str, Optional[str]]:
        """JSON-ready."""
        option = f"--{self.option}" if self.option else None
        return {"what": self.what, "option": option, "state": self.state, "why": self.why or None}


class Result(Record):
    """What was found and done.

    Attributes:
        provisioned: azurelite has provisioned a VM on this disk.
        acted: something was to be removed; otherwise it was only listed.
        items: everything that is left, in the order of removal.
        notes: what a person should know.
    """

    provisioned: bool
    acted: bool
    items: tuple[Item, ...]
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """1 if something stays or failed after removal; otherwise 0."""
        return 1 if self.acted and any(item.state in ("kept", "failed") for item in self.items) else 0

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        items = [item.as_dict() for item in self.items]
        return {"provisioned": self.provisioned, "acted": self.acted, "items": items, "notes": list(self.notes)}


def generalize(system: System, *, options: Collection[str], act: bool, proc: str = "/proc") -> Result:
    """List what is left of this VM, and remove it if `act`.

    Args:
        system: the guest.
        options: what to remove besides azurelite's own work: keys of `OPTIONS`, and `HOMES`.
        act: remove it.
        proc: where the running system's processes are.

    Raises:
        MachineError: an account that is to be removed has processes outside the login that runs this; nothing was done.
        FileError: the accounts or the manifest cannot be read.
    """
    return _Generalizing(system, frozenset(options), proc).run(act=act)


class _Generalizing:
    """One call."""

    def __init__(self, system: System, options: frozenset[str], proc: str) -> None:
        self.system = system
        self.options = options
        self.proc = proc
        self.items: list[Item] = []
        self.notes: list[str] = []

    def run(self, *, act: bool) -> Result:
        """List everything, then remove it."""
        manifest = self._manifest()
        provisioned = manifest.exists or bool(self.system.files.names(layout.VMS_DIR))
        if not provisioned:
            self.notes.append("azurelite has not provisioned a VM on this disk: it has nothing to undo")
        known = people.known_accounts(self.system.files, manifest)
        going = [one for one in known if one.exists and (one.own or "adopted" in self.options)]
        known = self._own_last(known)
        for one in going if act else ():
            if one.user.uid in self.busy:  # without host keys or rules for sudo, nobody could try again
                raise MachineError(f"account {one.user.name}: {self.busy[one.user.uid]} (nothing was changed)")
        found = [
            trace
            for trace in undo.traces(self.system, manifest)
            if not any(undo.is_below(trace.path, one.user.home) for one in going)
        ]
        self._plan_files([trace for trace in found if trace.path not in undo.RULE_FILES])
        for group in GROUPS:
            if provisioned or group in self.options:
                self._plan_group(group)
        for one in known:
            self._plan_account(one)
        # After the accounts: somebody whose account could not be removed may need sudo to do it later.
        self._plan_files([trace for trace in found if trace.path in undo.RULE_FILES])
        self._plan_unix_groups(manifest, [one.user.name for one in going])
        if act:
            self.items = [self._removed(item) for item in self.items]
        if provisioned:
            self._end(act=act)
        return Result(provisioned, act, tuple(self.items), tuple(self.notes))

    def _manifest(self) -> Manifest:
        found = guard(lambda: read_manifest(self.system.files))
        if isinstance(found, AzureliteError):
            self._keep(layout.MANIFEST, f"{found.message}: nothing proves what azurelite made", proven=True)
            return Manifest(exists=True)
        if found.damaged:
            lines = ", ".join(map(str, found.damaged[:5])) + (" …" if len(found.damaged) > 5 else "")
            why = (
                f"line {lines} cannot be read, so it is not certain what else azurelite made: look at accounts, sudo "
                "rules and keys, then remove the manifest by hand"
            )
            self._keep(layout.MANIFEST, why, proven=True)
        elif not found.rows and (found.exists or self.system.files.names(layout.VMS_DIR)):
            why = (
                f"it {'has no rows' if found.exists else 'is missing'}, so nothing proves which accounts, keys and "
                "rules azurelite made: look at them, and remove them and the manifest by hand"
            )
            self._keep(layout.MANIFEST, why, proven=True)
        if any(row.older for row in found.rows):
            self.notes.append(
                "an older release provisioned this disk: it did not note what was there before, so its accounts count "
                "as adopted, and its lines in shared files stay"
            )
        return found

    def _keep(self, what: str, why: str, *, option: str = "", proven: bool = False) -> None:
        self.items.append(Item(what, option, state="kept", why=why, proven=proven))

    def _add(
        self, what: str, act: Callable[[], None], *, option: str = "", proven: bool = True, doubt: str = ""
    ) -> None:
        """Add a thing that is left: it stays if its option is not given, or if there is a doubt."""
        item = Item(what, option, proven=proven, act=act)
        if doubt:
            item = replace(item, state="kept", why=doubt)
        elif option and option not in self.options:
            item = replace(item, state="kept", why=f"removed by --{option}")
        self.items.append(item)

    def _plan_files(self, found: list[undo.Trace]) -> None:
        for trace in found:
            act = _bound(undo.undo, self.system, trace)
            self._add(f"remove {trace}", act, option=trace.group, doubt=trace.doubt)

    def _plan_unix_groups(self, manifest: Manifest, going: list[str]) -> None:
        """Groups that azurelite made, and that no account is left in."""
        for row in manifest.of("group"):
            if row.made and people.is_empty_group(self.system.files, row.target, without=going):
                self._add(f"remove group {row.target}", _bound(people.remove_group, self.system, row.target))

    def _own_last(self, known: list[Known]) -> list[Known]:
        """The accounts, those of the login that runs this last, and what their processes forbid."""
        self.busy: dict[int, str] = {}
        self.mine: set[int] = set()
        if self.system.root.is_host:
            self.mine, self.busy = users_of(processes(self.proc), os.getpid())
        return sorted(known, key=lambda one: one.user.uid in self.mine)

    def _plan_account(self, one: Known) -> None:
        user, option = one.user, "" if one.own else "adopted"
        if one.exists:
            doubt = self.busy.get(user.uid, "")
            why = f": {one.doubt}" if one.doubt else ""
            stays = bool(doubt) or bool(option and option not in self.options)
            if user.uid in self.mine and not stays:
                self.notes.append(f"this login ends here: its account {user.name} is removed last")
            what = f"remove account {user.name} (uid {user.uid}{why}), its rules for sudo and doas"
            self._add(what, lambda: self._remove(one), option=option, doubt=doubt)
            if stays:
                return
        if people.home_exists(self.system.files, one):
            obstacle = people.home_obstacle(self.system, one)
            if not one.exists and not people.is_closed(self.system.files, user):  # a power cut came in between
                self._add(f"close {user.home}: root owns it then", _bound(people.keep_home, self.system, user))
            what = f"remove {user.home}, the home of {user.name}"
            self._add(what, _bound(erase, self.system.root, user.home), option=HOMES, doubt=_by_hand(obstacle))

    def _remove(self, one: Known) -> None:
        """Remove an account, then close its home, unless that is removed, too."""
        stays = people.home_exists(self.system.files, one) and not self._home_goes(one)
        people.remove_account(self.system, one.user)
        undo.remove_rules(self.system, one.user.name)
        if stays:
            people.keep_home(self.system, one.user)

    def _home_goes(self, one: Known) -> bool:
        return HOMES in self.options and not people.home_obstacle(self.system, one)

    def _plan_group(self, group: str) -> None:
        found = guard(lambda: leftovers(self.system, group))
        if isinstance(found, AzureliteError):
            self._keep(GROUPS[group], found.message, option=group)
            return
        if not found:
            return
        paths = [one.path for one in found]
        shown = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
        if group == "host-keys" and group in self.options:
            self._warn_of_no_host_keys()
        self._add(f"remove {GROUPS[group]}: {shown}", lambda: self._clear(found), option=group, proven=False)

    def _warn_of_no_host_keys(self) -> None:
        """Note that the next VM may have no host keys, without which sshd does not start."""
        from azurelite.config.load import load_config

        config = guard(lambda: load_config(self.system.root))
        if isinstance(config, AzureliteError) or not any(one.name == "ssh_host_keys" for one in config.handlers):
            self.notes.append(
                "the configuration does not list `ssh_host_keys`: add it, unless the distribution creates host keys "
                "at boot; without them sshd does not start"
            )

    def _clear(self, found: list[Leftover]) -> None:
        """Remove each; one that fails does not stop the others. Raises MachineError that names all failures."""
        ways: dict[str, Callable[..., object]] = {
            "remove": erase,
            "empty": empty_file,
            "content": partial(erase_content, keep=KEPT_IN_CACHES),
        }
        results = [guard(_bound(ways[one.way], self.system.root, one.path)) for one in found]
        wrong = [error.message for error in results if isinstance(error, AzureliteError)]
        if wrong:
            raise MachineError("; ".join(wrong[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""))

    def _removed(self, item: Item) -> Item:
        if item.state != "planned":
            return item

        def act() -> None:
            with self.system.together():
                item.act()

        error = guard(act)
        if error is not None:
            return replace(item, state="failed", why=error.message)
        return replace(item, state="done")

    def _end(self, *, act: bool) -> None:
        """Remove azurelite's records of the VM, and the manifest if nothing of what it proves is left."""
        if not act:
            self.items.append(Item("remove azurelite's records of this VM"))
            return
        item = Item("remove azurelite's records of this VM", act=lambda: self._forget(_KEPT_STATE))
        self.items.append(self._removed(item))
        if any(one.proven and one.state in ("kept", "failed") for one in self.items):
            self.notes.append(f"{layout.MANIFEST} stays until everything that it proves is removed")
            return
        item = Item("remove the manifest", act=lambda: self._forget(_KEPT_STATE[:1]))
        self.items.append(self._removed(item))

    def _forget(self, kept: Collection[str]) -> None:
        root = self.system.root
        kvp.forget(self.system.files, SystemClock())
        erase_content(root, layout.STATE_DIR, keep=kept)
        erase_content(root, layout.RUN_DIR, keep=_KEPT_RUN)


def _by_hand(obstacle: str) -> str:
    return f"{obstacle}: look at it, and remove it by hand" if obstacle else ""


def _bound(work: Callable[..., object], *arguments: object) -> Callable[[], None]:
    def act() -> None:
        work(*arguments)

    return act


def check_readable(system: System) -> None:
    """Raise FileError if azurelite's records cannot be read, as for a user other than root."""
    if system.files.stat(layout.STATE_DIR) is not None:
        try:
            os.listdir(system.root.host_path(layout.STATE_DIR))
        except OSError as error:
            raise FileError(f"cannot read {layout.STATE_DIR}: {error.strerror}: use sudo") from error
