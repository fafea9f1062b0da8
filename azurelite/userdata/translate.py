"""Translate cloud-config into steps (handlers with options, scripts, a message) in the order of cloud-init's modules.

This module knows which handler each section belongs to. Keys without a handler are listed in `left_out`.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Iterable, Iterator, Mapping, Optional, Sequence, Union

from azurelite.config.document import KeyPath, Place, quotable_path
from azurelite.config.schema import word_of
from azurelite.userdata import people, sections
from azurelite.userdata.cloudconfig import OFF, CloudConfig, CommandLine, FileEntry, UserEntry
from azurelite.userdata.parts import Part
from azurelite.userdata.reading import Reading
from azurelite.userdata.steps import HandlerStep, MessageStep, ScriptStep, Step


class Translation:
    """The translation of one cloud-config.

    Args:
        reading: the cloud-config.
        administrator: the name of the administrator's account, which cloud-init calls the default user.
        scripts: parts that are scripts.
        boothooks: parts to run before everything else.
        keys: the administrator's public keys, for another default user.
        manager: returns the name of this system's package manager, None where there is none.
        exists: whether there is an account of that name now.

    Attributes:
        problems: messages about refused sections.
        left_out: texts about values that are valid in cloud-init but not supported here.
    """

    def __init__(
        self,
        reading: Reading,
        *,
        administrator: Optional[str],
        scripts: Sequence[Part] = (),
        boothooks: Sequence[Part] = (),
        keys: Sequence[str] = (),
        manager: Callable[[], Optional[str]] = lambda: None,
        exists: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._reading = reading
        self._config: CloudConfig = reading.config
        self._administrator = administrator
        self._scripts = scripts
        self._boothooks = boothooks
        self._keys_given = keys
        self._manager = manager
        self._exists = exists
        self._users_steps: list[HandlerStep] = []
        self._default = _own_name(self._config.user) or administrator
        self.problems: list[str] = []
        self.left_out: list[str] = []

    def steps(self) -> list[Step]:
        """All steps, in order."""
        done: list[Step] = [boothook(part) for part in self._boothooks]
        self._users_steps = list(self._users())
        order: tuple[tuple[str, Callable[[], Iterable[Step]]], ...] = (
            ("bootcmd", self._bootcmd),
            ("write_files", self._files),
            ("growpart", self._growroot),
            ("swap", self._swap),
            ("mounts", self._mounts),
            ("hostname", self._hostname),
            ("users", lambda: self._users_steps),
            ("write_files", self._files_of_accounts),
            ("ssh_authorized_keys", self._keys),
            ("ssh_genkeytypes", self._host_keys),
            ("ssh_pwauth", self._sshd),
            ("chpasswd", self._passwords),
            ("locale", self._plain),
            ("ntp", self._ntp),
            ("packages", self._packages),
            ("write_files", self._deferred_files),
            ("runcmd", self._final_scripts),
            ("final_message", self._message),
            ("power_state", self._power),
        )
        for key, section in order:
            try:
                done += section()
            except ValueError as error:
                self._refuse((key,), str(error))
        return list(_with_unique_names(done))

    def _place(self, path: KeyPath) -> str:
        return self._reading.document.place(path)

    def _leave_out(self, path: KeyPath, why: str = "") -> None:
        self.left_out.append(f"`{quotable_path(path)}` ({self._place(path)}{', ' if why else ''}{why})")

    def _refuse(self, path: KeyPath, why: str) -> None:
        self.problems.append(f"{self._place(path)}: `{quotable_path(path)}`: {why}")

    def _step(
        self, section: str, handler: str, options: dict[str, Any], moved: Optional[Mapping[KeyPath, KeyPath]] = None
    ) -> HandlerStep:
        """The step of a handler, with the files and lines of its options.

        Args:
            section: the key of the cloud-config.
            handler: the handler's name.
            options: its options.
            moved: path of an option -> path in the cloud-config, for options that come from there.
        """
        known = self._reading.document.places
        item = next(iter(moved.values())) if moved and len(moved) == 1 else ()
        origin = item if len(item) == 2 and isinstance(item[1], int) else (section,)
        places: dict[KeyPath, Place] = {(): known[origin]} if origin in known else {}
        for option, source in (moved or {}).items():
            for path, place in known.items():
                if path[: len(source)] == source:
                    places[(*option, *path[len(source) :])] = place
        return HandlerStep(section, handler, options, places, origin, moved or {})

    def _bootcmd(self) -> Iterator[Step]:
        if self._config.bootcmd:
            yield shell_script(self._config.bootcmd, name="bootcmd")

    def _files(self) -> Iterator[Step]:
        return self._write(lambda entry: not self._is_late(entry) and not self._waits(entry))

    def _files_of_accounts(self) -> Iterator[Step]:
        return self._write(lambda entry: not self._is_late(entry) and self._waits(entry))

    def _deferred_files(self) -> Iterator[Step]:
        return self._write(self._is_late)

    def _is_late(self, entry: FileEntry) -> bool:
        """Whether the file is written after the packages: by its own `defer`, or because they may bring its owner."""
        user = (entry.owner or "").partition(":")[0]
        if entry.defer or not self._config.packages or user in ("", "root") or user.isdigit():
            return entry.defer
        return not self._waits(entry) and not self._exists(user)

    def _waits(self, entry: FileEntry) -> bool:
        """Whether the file's owner, or the home that it is in, is created by this document, after the first files."""
        accounts = [one for step in self._users_steps for one in step.options["accounts"]]
        groups = [one["name"] for step in self._users_steps for one in step.options["groups"]]
        users = {one["name"] for one in accounts}
        for one in accounts:
            groups += [one["name"], *one.get("groups", ()), one.get("primary_group")]
        user, _, group = (entry.owner or "").partition(":")
        homes = {one.get("home", f"/home/{one['name']}").rstrip("/") for one in accounts} - {""}
        return user in users or group in groups or entry.path.startswith(tuple(f"{home}/" for home in homes))

    def _write(self, wanted: Callable[[FileEntry], bool]) -> Iterator[Step]:
        """One step per file, so that a refused file does not stop the others."""
        for i, entry in enumerate(self._config.write_files or ()):
            if wanted(entry):
                source = self._reading.source("write_files", i)
                if entry.source:
                    self._leave_out((*source, "source"), "`content` is written")
                moved: dict[KeyPath, KeyPath] = {("files", 0): source}
                yield self._step("write_files", "write_files", {"files": [sections.file(entry)]}, moved)

    def _growroot(self) -> Iterator[Step]:
        grow, resize = self._config.growpart, self._config.resize_rootfs
        section = "growpart" if grow is not None else "resize_rootfs"
        if resize not in (None, True, "true", "noblock", *OFF):
            self._refuse(("resize_rootfs",), 'it must be true, false or "noblock"')
            resize = None
        if grow is not None and people.words(grow.devices) != ["/"]:
            self._leave_out(("growpart", "devices"), "only the root file system is grown")
        off = grow.mode in OFF if grow is not None else resize in (None, *OFF)
        if grow is not None and not off and resize in OFF:
            self._leave_out(("resize_rootfs",), "the file system is always grown with its partition")
        if not off:
            yield self._step(section, "growroot", {})

    def _swap(self) -> Iterator[Step]:
        options = sections.swap(self._config.swap)
        if options:
            yield self._step("swap", "swap", options)

    def _mounts(self) -> Iterator[Step]:
        """One step per entry, so that a refused one does not stop the others."""

        def source(i: int) -> KeyPath:
            return self._reading.source("mounts", i)

        entries = sections.mounts(
            self._config.mounts or (),
            self._config.mount_default_fields or (),
            lambda i, why: self._refuse(source(i), why),
            lambda i: quotable_path(source(i)),
        )
        for i, fields in entries.items():
            if re.match(r"ephemeral\d", fields["device"]):
                self._leave_out(source(i), "use the handler resource_disk for the temporary disk")
            else:
                yield self._step("mounts", "mounts", {"entries": [fields]}, {("entries", 0): source(i)})

    def _hostname(self) -> Iterator[Step]:
        options, unused = sections.hostname(self._config)
        if unused is not None:
            self._leave_out(("fqdn",), f"its first label: the name is {options['name']}, from `hostname`")
        if options:
            section = next((key for key in ("hostname", "fqdn") if getattr(self._config, key)), "manage_etc_hosts")
            yield self._step(section, "hostname", options, {("name",): (section,)})

    def _users(self) -> Iterator[HandlerStep]:
        accounts: list[dict[str, Any]] = []
        moved: dict[KeyPath, KeyPath] = {}
        for source, entry in self._people():
            try:
                for account in self._accounts(entry, source):
                    moved[("accounts", len(accounts))] = source
                    accounts.append(account)
            except ValueError as error:
                self._refuse(source, str(error))
        groups, paths = people.groups(self._config.groups)
        if groups or accounts:
            section = "users" if accounts else "groups"
            moved.update({("groups", i): self._reading.source(*path) for i, path in enumerate(paths)})
            yield self._step(section, "users", {"groups": groups, "accounts": accounts}, moved)

    def _people(self) -> Iterator[tuple[KeyPath, Any]]:
        user, users = self._config.user, self._config.users
        if user is not None:
            yield ("user",), user
        if isinstance(users, str):
            yield ("users",), users
        else:
            yield from ((self._reading.source("users", i), entry) for i, entry in enumerate(users or ()))

    def _accounts(self, entry: Any, source: KeyPath) -> Iterator[dict[str, Any]]:
        if isinstance(entry, UserEntry):
            if entry.name is None and source != ("user",):
                raise ValueError("`name` is missing")
            name = self._default if entry.name in (None, "default") else entry.name
            if name is None:
                raise ValueError("it is for the administrator, but Azure gave no user name: add `name`")
            yield self._account(entry, name, source)
            return
        for name in people.words(entry):
            # The handler `user` creates the administrator's account, `user` the default user's.
            known = ("default", self._administrator, *(() if source == ("user",) else (self._default,)))
            if name not in known:
                yield self._account(UserEntry(), name, source)

    def _account(self, entry: UserEntry, name: str, source: KeyPath) -> dict[str, Any]:
        options = people.account(entry, name, refuse=lambda key, why: self._refuse((*source, key), why))
        if source == ("user",) and name != self._administrator:  # it has what the administrator gets from Azure
            given = self._config.ssh_authorized_keys
            more = [given] if isinstance(given, str) else list(given or ())
            keys = [*options.get("ssh_authorized_keys", ()), *self._keys_given, *more]
            options.update({"ssh_authorized_keys": keys} if keys else {})
            if entry.sudo is None:
                options["sudo"] = "auto"
        passwords = {"hashed_password", "plain_text_password"} & options.keys()
        if passwords and "lock_password" not in options and name != self._administrator and name not in self._changed():
            options["lock_password"] = "new"  # noqa: S105 - no password
        return options

    def _changed(self) -> set[str]:
        """The accounts that get a password from `chpasswd` or `password`."""
        options, _ = people.passwords(self._config, self._default, lambda *_: None)
        return {user["name"] for user in options.get("users", ()) if "password" in user}

    def _keys(self) -> Iterator[Step]:
        keys = self._config.ssh_authorized_keys
        if keys and self._default == self._administrator:
            listed = [keys] if isinstance(keys, str) else list(keys)
            moved: dict[KeyPath, KeyPath] = {("keys",): ("ssh_authorized_keys",)}
            yield self._step("ssh_authorized_keys", "ssh_keys", {"keys": listed}, moved)

    def _host_keys(self) -> Iterator[Step]:
        types = self._config.ssh_genkeytypes
        if types or self._config.ssh_deletekeys:
            section = "ssh_genkeytypes" if types else "ssh_deletekeys"
            options = {"types": list(types)} if types else {}
            yield self._step(section, "ssh_host_keys", options, {("types",): ("ssh_genkeytypes",)})

    def _sshd(self) -> Iterator[Step]:
        if self._config.disable_root is False:
            self._leave_out(("disable_root",), "SSH keys are never added to root")
        wanted = sections.password_authentication(self._config.ssh_pwauth)
        if wanted is not None:
            yield self._step("ssh_pwauth", "sshd", {"password_authentication": wanted})

    def _passwords(self) -> Iterator[Step]:
        source = self._reading.source
        options, paths = people.passwords(
            self._config, self._default, lambda path, why: self._refuse(source(*path), why)
        )
        if options:
            section = "password" if self._config.password is not None else "chpasswd"
            moved: dict[KeyPath, KeyPath] = {("users", i): source(*path) for i, path in enumerate(paths)}
            yield self._step(section, "passwords", options, moved)

    def _plain(self) -> Iterator[Step]:
        if isinstance(self._config.locale, str):
            yield self._step("locale", "locale", {"locale": self._config.locale}, {("locale",): ("locale",)})
        if self._config.timezone:
            yield self._step("timezone", "timezone", {"zone": self._config.timezone}, {("zone",): ("timezone",)})

    def _ntp(self) -> Iterator[Step]:
        ntp = self._config.ntp
        if ntp is not None and ntp.enabled:
            given = {"servers": ntp.servers, "pools": ntp.pools}
            options = {key: list(value) for key, value in given.items() if value}
            yield self._step("ntp", "time_sync", options, {(key,): ("ntp", key) for key in options})

    def _packages(self) -> Iterator[Step]:
        def refuse(path: KeyPath, why: str, mistake: bool) -> None:
            (self._refuse if mistake else self._leave_out)(self._reading.source(*path), why)

        options, paths = sections.packages(self._config, self._manager, refuse)
        if options == {"update": True}:
            key = "package_update" if self._config.package_update else "apt_update"
            self._leave_out((key,), "nothing is installed or upgraded")
        elif options:
            keys = ("packages", "package_update", "package_upgrade", "apt_update", "apt_upgrade")
            section = next(key for key in keys if getattr(self._config, key))
            moved: dict[KeyPath, KeyPath] = {
                ("install", i): self._reading.source(*path) for i, path in enumerate(paths)
            }
            yield self._step(section, "packages", options, moved)

    def _final_scripts(self) -> Iterator[Step]:
        """The scripts sorted by name, as cloud-init runs them: that is the purpose of names such as `10-first.sh`."""
        found = [ScriptStep(part.name, part.data) for part in self._scripts]
        if self._config.runcmd:
            found.append(shell_script(self._config.runcmd, name="runcmd"))
        yield from sorted(found, key=lambda script: script.name)

    def _message(self) -> Iterator[Step]:
        if self._config.final_message:
            yield MessageStep(self._config.final_message)

    def _power(self) -> Iterator[Step]:
        power = self._config.power_state
        if power is not None:
            given = {key: getattr(power, key) for key in ("mode", "delay", "message", "condition")}
            options = {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
            options = {key: value for key, value in options.items() if value is not None}
            yield self._step("power_state", "power_state", options, {(key,): ("power_state", key) for key in options})


def _own_name(user: Union[str, UserEntry, None]) -> Optional[str]:
    """The name in the section `user`."""
    name = user.name if isinstance(user, UserEntry) else next(iter(people.words(user)), None)
    return None if name == "default" else name


def _with_unique_names(steps: Sequence[Step]) -> Iterator[Step]:
    """The steps, with a number added to repeated names of scripts, because files and logs are named after them."""
    taken: set[str] = set()
    for step in steps:
        if isinstance(step, ScriptStep):
            name, number = step.name, 2
            while name in taken:
                name, number = f"{step.name}-{number}", number + 1
            taken.add(name)
            yield ScriptStep(name, step.data)
        else:
            yield step


_HOOK = b"#cloud-boothook"


def shell_script(commands: Iterable[CommandLine], *, name: str) -> ScriptStep:
    """One script of all commands: a text is a line for the shell, a list is a program with its arguments.

    All commands are in one script, so that `cd` and variables affect the next lines. A failing line does not stop it.
    """
    lines = ["#!/bin/sh"]
    for command in commands:
        if isinstance(command, str):
            lines.append(command)
        elif command is not None:
            lines.append(" ".join(_quoted(word_of(word)) for word in command))
    return ScriptStep(name, "".join(f"{line}\n" for line in lines).encode())


def boothook(part: Part) -> ScriptStep:
    """The script of a part of the kind "boothook"; without `#!` it is run by /bin/sh."""
    data = part.data[len(_HOOK) :].lstrip() if part.data[: len(_HOOK)].lower() == _HOOK else part.data
    return ScriptStep(part.name, data if data.startswith(b"#!") else b"#!/bin/sh\n" + data)


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"
