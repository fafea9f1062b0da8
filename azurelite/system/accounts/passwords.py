"""Passwords of accounts: reading what is stored, comparing, setting, locking and expiring.

On the running system `chpasswd` sets a new password, so that the distribution's hash settings apply. In a foreign root
the host computes the hash and writes it to /etc/shadow. A hash is never written to a file that all users can read.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, Optional

from azurelite.clock import Clock
from azurelite.errors import CannotRunError, CommandError, MachineError
from azurelite.metadata import Secret
from azurelite.system.accounts import libcrypt
from azurelite.system.accounts.tablefiles import LOCK_WAIT, as_number, changing, table_rows
from azurelite.system.accounts.tools import MASTER, PwTools, is_busybox
from azurelite.system.changes import Change, Journal
from azurelite.system.files import Files
from azurelite.system.process import Commands, first_that_runs

State = Literal["set", "locked", "none", "empty", "elsewhere"]
Age = Literal["to be changed", "too old", "inactive"]

_SHADOW = "/etc/shadow"
_FIELDS = 9  # of a line of /etc/shadow
_PASSWORD, _CHANGED, _MOST, _INACTIVE, _EXPIRES = 1, 2, 4, 6, 7
_TIMEOUT = 60.0  # seconds
_REASON = "failed to provision password"


class Passwords:
    """The passwords of one guest's accounts."""

    def __init__(self, files: Files, commands: Commands, journal: Journal, clock: Clock) -> None:
        self._files = files
        self._commands = commands
        self._journal = journal
        self._clock = clock
        self._wished: dict[str, list[str]] = {}
        self._wished_text: dict[str, Secret] = {}

    def state(self, name: str) -> State:
        """What is stored for an account.

        Returns:
            "set": a password works; "locked": an administrator has locked it, its hash is still stored;
            "none": no password works (`*`, `!`); "empty": login without a password; "elsewhere": not in these files.
        """
        fields = self._fields(name)
        if fields is None:
            return "elsewhere"
        stored = fields[_PASSWORD]
        if not stored:
            return "empty"
        bare = stored.lstrip("!*").replace("LK", "")  # `*LK*` of other systems
        if bare in ("", "*", "x", "LOCKED*"):
            return "none"
        return "locked" if stored[0] in "!*" else "set"

    def fits(self, name: str, password: Secret) -> bool:
        """Whether this password works for the account. Raises FileError."""
        if name in self._wished_text:
            return self._wished_text[name] == password and self.state(name) == "set"
        fields = self._fields(name)
        return fields is not None and libcrypt.fits(self._commands, password, fields[_PASSWORD])

    def bars_keys(self, name: str) -> bool:
        """Whether the stored password begins with `!`: without PAM, sshd then rejects keys too. Raises FileError."""
        fields = self._fields(name)
        return fields is not None and fields[_PASSWORD].startswith("!")

    def expired_on(self, name: str) -> Optional[int]:
        """The last day of the account, in days since 1970, if the clock is past it. Raises FileError."""
        fields = self._fields(name)
        day = as_number(fields[_EXPIRES]) if fields is not None else None
        return day if day and day < self._clock.now() // 86400 else None

    def age(self, name: str) -> Optional[Age]:
        """What PAM's pam_unix minds about the age of the password, also if somebody logs in with a key.

        Returns:
            "to be changed": at the next login, as an administrator has set it; "too old": older than its longest age,
            so it must be changed, too; "inactive": even older, so nobody gets in; None: nothing. A day of the change
            in the future counts as no age, as for PAM: the clock may be wrong.
        """
        fields = self._fields(name)
        changed = as_number(fields[_CHANGED]) if fields is not None else None
        if fields is None or changed is None or self._by_pw():
            return None
        if changed == 0:
            return "to be changed"
        most, inactive = as_number(fields[_MOST]), as_number(fields[_INACTIVE])
        age = self._clock.now() // 86400 - changed
        if most is None or age <= most:
            return None
        return "inactive" if inactive is not None and age > most + inactive else "too old"

    def obstacle(self) -> Optional[str]:
        """Why no password can be set in this guest, with the remedy, or None. Raises FileError."""
        if self._files.stat(MASTER) is not None:
            if self._commands.find("pw") is None:
                return f"only the guest's `pw` can write {MASTER}: run azurelite in the guest"
            return None
        if self._files.stat(_SHADOW) is None:
            return f"there is no {_SHADOW}, and all users can read /etc/passwd: run `pwconv`"
        return None

    def expect(self, name: str) -> None:
        """In a dry run: treat the account as existing, without a password."""
        if self._files.stat(_SHADOW) is not None or self._files.stat(MASTER) is not None:
            self._wished[name] = [name, "*", "", "0", "99999", "7", "", "", ""]

    def set_text(self, name: str, password: Secret) -> bool:
        """Set this password unless it already works for the account; True if something changed.

        Raises:
            MachineError: the password is not valid, the guest cannot store it, or a program failed.
        """
        wrong = libcrypt.unfit(password)
        if wrong is not None:
            raise MachineError(f"cannot use the password of {name}: {wrong}", reason=_REASON)
        if self.fits(name, password):
            return False
        self._expect_place(name)
        program = self._chpasswd()
        made = "" if program or self._by_pw() else libcrypt.make_hash(self._commands, password)
        self._journal.record(Change("user", name, "set the password"))
        if self._files.dry_run:
            self._wish(name, {_PASSWORD: "$wished$", _CHANGED: ""})
            self._wished_text[name] = password
        elif self._by_pw():
            self._pw().set_password(name, password, hashed=False)
        elif program:
            first_that_runs([partial(self._tell, program, name, password), partial(self._store, name, password)])
        else:
            self._edit(name, {_PASSWORD: made, _CHANGED: ""})
        return True

    def set_hash(self, name: str, stored: Secret) -> bool:
        """Store this hash for the account; True if it was different before. Raises MachineError."""
        text = stored.reveal_bytes().decode(errors="replace")
        if not libcrypt.is_hash(text):
            raise MachineError(
                f"the password hash of {name} does not have the form of crypt(5): set one such as $6$…", reason=_REASON
            )
        self._expect_place(name)
        if (self._fields(name) or [])[_PASSWORD] == text:
            return False
        self._journal.record(Change("user", name, "set the password"))
        if self._files.dry_run:
            self._wish(name, {_PASSWORD: text, _CHANGED: ""})
            self._wished_text.pop(name, None)
        elif self._by_pw():
            self._pw().set_password(name, stored, hashed=True)
        else:
            self._edit(name, {_PASSWORD: text, _CHANGED: ""})
        return True

    def lock(self, name: str) -> bool:
        """Disable password login and keep the hash; True if a password worked before. Raises MachineError."""
        if self.state(name) != "set":
            return False
        self._expect_place(name)
        self._journal.record(Change("user", name, "lock the password"))
        stored = (self._fields(name) or [])[_PASSWORD]
        if self._files.dry_run:
            self._wish(name, {_PASSWORD: f"!{stored}"})
        elif self._by_pw():
            self._pw().lock(name)
        else:
            self._edit(name, {_PASSWORD: f"!{stored}"})
        return True

    def expire(self, name: str) -> bool:
        """Require a new password at the next login; True if it was not required before. Raises MachineError."""
        self._expect_place(name)
        if self._by_pw():
            raise MachineError(
                f"cannot make the password of {name} expire: FreeBSD's `pw` does not support it", reason=_REASON
            )
        if (self._fields(name) or [])[_CHANGED] == "0":
            return False
        self._journal.record(Change("user", name, "require a new password at the next login"))
        self._put(name, {_CHANGED: "0"})
        return True

    def limit(self, name: str, *, expire_day: Optional[int], inactive: Optional[int]) -> None:
        """Set when a newly created account expires; part of its creation. Raises MachineError."""
        wanted = {_EXPIRES: expire_day, _INACTIVE: inactive}
        self._expect_place(name)
        self._put(name, {place: str(number) for place, number in wanted.items() if number is not None})

    def make_keys_welcome(self, name: str) -> None:
        """Change the `!` of a new account to `*`: with `!`, sshd without PAM rejects keys too."""
        fields = self._fields(name)
        if fields is not None and fields[_PASSWORD] in ("!", "!!"):
            self._edit(name, {_PASSWORD: "*"})

    def _put(self, name: str, values: dict[int, str]) -> None:
        if self._files.dry_run:
            self._wish(name, values)
        else:
            self._edit(name, values)

    def _expect_place(self, name: str) -> None:
        wrong = self.obstacle()
        if wrong is None and self._fields(name) is None:
            wrong = f"it has no line in {_SHADOW}: set it where the account is stored, or run `pwconv`"
        if wrong is not None:
            raise MachineError(f"cannot change the password of {name}: {wrong}", reason=_REASON)

    def _fields(self, name: str) -> Optional[list[str]]:
        """The account's line in /etc/shadow, or one with the fields of FreeBSD's; None if there is neither."""
        if name in self._wished:
            return self._wished[name]
        if self._files.stat(MASTER) is not None:
            return self._line(MASTER, name)
        passwd = self._line("/etc/passwd", name)
        return self._line(_SHADOW, name) if passwd is not None and passwd[_PASSWORD] == "x" else None

    def _line(self, path: str, name: str) -> Optional[list[str]]:
        for fields in table_rows(self._files, path):
            if fields[0] == name and len(fields) > 1:
                return [*fields, *[""] * (_FIELDS - len(fields))]
        return None

    def _wish(self, name: str, values: dict[int, str]) -> None:
        fields = list(self._fields(name) or [])
        for place, value in values.items():
            fields[place] = value
        self._wished[name] = fields

    def _edit(self, name: str, values: dict[int, str]) -> None:
        with changing(self._files, self._commands.within(self._clock, LOCK_WAIT)) as tables:
            for line in tables.lines(_SHADOW):
                fields = line.split(":")
                if fields[0] == name:
                    fields += [""] * (_FIELDS - len(fields))
                    for place, value in values.items():
                        fields[place] = value
                    tables.put_line(_SHADOW, name, ":".join(fields))
                    return

    def _store(self, name: str, password: Secret) -> None:
        self._edit(name, {_PASSWORD: libcrypt.make_hash(self._commands, password), _CHANGED: ""})

    def _tell(self, program: list[str], name: str, password: Secret) -> None:
        line = Secret(f"{name}:".encode() + password.reveal_bytes() + b"\n")
        try:
            self._commands.run(program, timeout=_TIMEOUT, secret_input=line)
        except CannotRunError:
            raise
        except CommandError as error:  # for example a password rule of PAM
            raise MachineError(f"cannot set the password of {name}: {error.message}", reason=_REASON) from error
        fields = self._fields(name)
        if fields is not None and fields[_CHANGED] == "0":
            # The clock was in 1970: `0` would require a new password at once.
            self._edit(name, {_CHANGED: ""})

    def _by_pw(self) -> bool:
        return self._files.stat(MASTER) is not None

    def _pw(self) -> PwTools:
        return PwTools(self._commands, prefix=None if self._files.root.is_host else self._files.root.path)

    def _chpasswd(self) -> list[str]:
        """The command that sets a password from standard input; empty if the file is edited instead."""
        if not self._files.root.is_host or self._commands.find("chpasswd") is None:
            return []
        # BusyBox may be built with DES as default, which uses only the first 8 characters.
        return ["chpasswd", "-c", "sha512"] if is_busybox(self._commands, "chpasswd") else ["chpasswd"]
