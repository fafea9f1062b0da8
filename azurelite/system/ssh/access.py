"""Whether sshd lets an account in at all: its lists of users and groups, the account's lock, expiry and shell.

Source: `allowed_user` in OpenSSH's auth.c. sshd does not read /etc/shells; only PAM does.
"""

from __future__ import annotations

import contextlib
import posixpath
import re
from typing import Iterable, Iterator, Optional, Sequence

from azurelite.errors import FileError
from azurelite.record import Record
from azurelite.system.accounts.tools import MASTER
from azurelite.system.accounts.users import User
from azurelite.system.files import Files
from azurelite.system.machine import System
from azurelite.system.ssh.sshd_config import Setting, SshdConfig, matches_pattern, read_config

NAMES = {
    "allowgroups": "AllowGroups",
    "allowusers": "AllowUsers",
    "authenticationmethods": "AuthenticationMethods",
    "authorizedkeysfile": "AuthorizedKeysFile",
    "denygroups": "DenyGroups",
    "chrootdirectory": "ChrootDirectory",
    "denyusers": "DenyUsers",
    "kbdinteractiveauthentication": "KbdInteractiveAuthentication",
    "maxauthtries": "MaxAuthTries",
    "maxsessions": "MaxSessions",
    "passwordauthentication": "PasswordAuthentication",
    "pubkeyacceptedalgorithms": "PubkeyAcceptedAlgorithms",
    "pubkeyauthentication": "PubkeyAuthentication",
    "refuseconnection": "RefuseConnection",
    "requiredrsasize": "RequiredRSASize",
    "revokedkeys": "RevokedKeys",
    "usepam": "UsePAM",
}
_DAY = 86400
# Packages install them; nothing writes to them later. So the real date is not before their time stamps.
_BUILT = ("/etc/os-release", "/usr/lib/os-release", "/usr/sbin/sshd", "/usr/bin/passwd")
_NO_LOGIN = ("nologin", "false")


class Obstacle(Record):
    """Something that keeps sshd from accepting a login.

    Attributes:
        text: one sentence with place and remedy.
        certain: False: sshd may still accept the login.
        keyword: the setting of sshd that it depends on, in lower case; "" for others.
    """

    text: str
    certain: bool = True
    keyword: str = ""


class Person(Record):
    """An account and sshd's configuration for it.

    Attributes:
        system: the machine.
        user: the account. Its number is -1 if a dry run would have created it.
        groups: the names of its groups.
        config: sshd's configuration.
    """

    system: System
    user: User
    groups: frozenset[str]
    config: SshdConfig

    def possible(self, keyword: str) -> tuple[Optional[Setting], ...]:
        """The lines of which one applies, depending on the connection; None: sshd's default."""
        return self.config.possible(keyword, self.user.name, self.groups)

    def listed(self, keyword: str) -> tuple[tuple[Setting, ...], tuple[Setting, ...]]:
        """The lines of a list that apply, and those that may apply, depending on the connection."""
        return self.config.listed(keyword, self.user.name, self.groups)

    def turned_off(self, keyword: str, *, value: str = "no") -> Optional[Obstacle]:
        """The obstacle that a switch has this value for the account; None if it never has."""
        off = [s for s in self.possible(keyword) if first_word(s) == value]
        if not off or off[0] is None:
            return None
        other = "yes" if value == "no" else "no"
        text = f"{quoted(off[0])}: change it to `{other}`"
        return Obstacle(text, len(off) == len(self.possible(keyword)), keyword)


def first_word(setting: Optional[Setting]) -> str:
    """The first word of a setting in lower case; "" for sshd's default."""
    return setting.values[0].lower() if setting is not None and setting.values else ""


def quoted(setting: Setting) -> str:
    """The line for messages: "FILE line N has `KEYWORD VALUES`"."""
    words = " ".join((NAMES.get(setting.keyword, setting.keyword), *setting.values))
    return f"{setting.place} has `{words[:200]}`"


def uses_pam(person: Person) -> Optional[bool]:
    """Whether sshd uses PAM; None if that depends on the connection or on how sshd was built."""
    found = {first_word(setting) for setting in person.possible("usepam")}
    if found == {"no"}:
        return False
    if found == {"yes"}:  # a sshd that was built without PAM ignores the line
        return True if person.system.files.exists("/etc/pam.d/sshd") else None
    # OpenSSH's own default is `no`; that of FreeBSD's and SUSE's builds is `yes`.
    patched = any(person.system.files.exists(path) for path in (MASTER, "/usr/etc/ssh", "/usr/lib/pam.d/sshd"))
    return False if found == {""} and not patched else None


def account_obstacles(person: Person) -> Iterator[Obstacle]:
    """What keeps the account out, whatever it logs in with. Raises FileError."""
    refused = person.turned_off("refuseconnection", value="yes")
    if refused is not None:
        yield refused
    yield from _nothing_allowed(person)
    yield from _denied(person, "denyusers", [person.user.name])
    yield from _not_allowed(person, "allowusers", [person.user.name])
    yield from _denied(person, "denygroups", sorted(person.groups))
    yield from _not_allowed(person, "allowgroups", sorted(person.groups))
    yield from _locked(person)
    yield from _expired(person)
    yield from _shell(person)


def denying_line(system: System, name: str, group: str) -> Optional[str]:
    """The line of DenyGroups that would keep an account out if it were in that group, or None.

    An unreadable configuration denies nothing: this is no reason not to create the account.
    """
    with contextlib.suppress(FileError):
        config = read_config(system.files)
        groups = frozenset(system.accounts.groups_of(name)) | {group}
        lines = config.listed("denygroups", name, groups)[0] if config is not None else ()
        found = _naming(lines, [group], "denygroups")[True]
        return None if found is None else quoted(found)
    return None


def _naming(settings: Iterable[Setting], names: Sequence[str], keyword: str) -> dict[Optional[bool], Optional[Setting]]:
    """The first line that names one of the names (True), and the first that may, depending on the host (None)."""
    found: dict[Optional[bool], Optional[Setting]] = {True: None, None: None}
    for setting in settings:
        for pattern in setting.values:
            held = _held(pattern, names, hosts=keyword.endswith("users"))
            if held is not False and found[held] is None:
                found[held] = setting
    return found


def _held(pattern: str, names: Sequence[str], *, hosts: bool) -> Optional[bool]:
    """Whether a pattern is for one of the names; None if that depends on the host after `@`."""
    name, at, host = pattern.rpartition("@") if hosts else (pattern, "", "")
    if not any(matches_pattern(one, name if at else pattern) for one in names):
        return False
    return True if not at or host == "*" else None


def _nothing_allowed(person: Person) -> Iterator[Obstacle]:
    """Limits that no login keeps."""
    for keyword in ("maxauthtries", "maxsessions"):
        lines = person.possible(keyword)
        none = [line for line in lines if first_word(line) == "0"]
        for line in filter(None, none[:1]):
            yield Obstacle(f"{quoted(line)}: set a larger number", len(none) == len(lines), keyword)


def _denied(person: Person, keyword: str, names: Sequence[str]) -> Iterator[Obstacle]:
    lines, perhaps = person.listed(keyword)
    found, maybe = _naming(lines, names, keyword), _naming(perhaps, names, keyword)
    # A line in a Match block that may apply replaces those outside of Match blocks.
    line = found[True]
    certain = line is not None and (bool(line.matches) or not perhaps)
    line = line or found[None] or maybe[True] or maybe[None]
    if line is not None:
        what = f"remove {person.user.name}" if keyword == "denyusers" else f"remove the group of {person.user.name}"
        yield Obstacle(f"{quoted(line)}: {what} from it", certain, keyword)


def _not_allowed(person: Person, keyword: str, names: Sequence[str]) -> Iterator[Obstacle]:
    lines, perhaps = person.listed(keyword)
    found, maybe = _naming(lines, names, keyword), _naming(perhaps, names, keyword)
    always = found[True]
    open_now = always is not None or not lines
    open_then = not perhaps or maybe[True] is not None or (always is not None and bool(always.matches))
    if open_now and open_then:
        return
    certain = bool(lines) and not any((*found.values(), *maybe.values()))
    line = (perhaps if open_now else lines)[0]
    yield Obstacle(f"{quoted(line)}: {_remedy(person, keyword, lines)}", certain, keyword)


def _remedy(person: Person, keyword: str, lines: Sequence[Setting]) -> str:
    if keyword == "allowusers":
        return f"add {person.user.name} to the line"
    groups = [word for line in lines for word in line.values if not re.search(r"[*?]", word)]
    if not groups:
        return f"add a group of {person.user.name} to the line"
    return f"set `user: {{groups: [{groups[0]}]}}`, or add a group of {person.user.name} to the line"


def _locked(person: Person) -> Iterator[Obstacle]:
    """Without PAM sshd refuses an account whose password begins with `!`. Only Linux marks it like that."""
    name = person.user.name
    pam = uses_pam(person)
    if pam is True or person.system.files.exists(MASTER) or not person.system.accounts.passwords.bars_keys(name):
        return
    text = f"the account {name} is locked (`!` in /etc/shadow), and sshd does not use PAM: run `usermod -p '*' {name}`"
    yield Obstacle(text, pam is False, "usepam")


def _expired(person: Person) -> Iterator[Obstacle]:
    """The clock of a first boot may be wrong: the date is also compared with the time of the image's files."""
    name = person.user.name
    day = person.system.accounts.passwords.expired_on(name)
    if day is None:
        return
    text = f"the account {name} has expired (day {day} since 1970-01-01): run `usermod -e '' {name}`"
    pam = uses_pam(person)
    checks = pam is False or "pam_unix" in pam_account_modules(person.system.files)
    yield Obstacle(text, checks and day < _built(person.system.files) // _DAY, "usepam")


def ageing_note(person: Person) -> Optional[str]:
    """What PAM does at a login because of the password's age; None for nothing. Raises FileError."""
    name = person.user.name
    age = person.system.accounts.passwords.age(name)
    if age is None or uses_pam(person) is False or "pam_unix" not in pam_account_modules(person.system.files):
        return None
    if age == "to be changed":
        return f"PAM asks {name} for a new password at the next login: run `chage -d -1 {name}` if it should not"
    if age == "too old":
        return f"the password of {name} is too old, so PAM asks for a new one at login: run `chage -M -1 {name}`"
    return f"the password of {name} is so old that PAM rejects the login: run `chage -M -1 -I -1 {name}`"


def _built(files: Files) -> int:
    """A time before which the image was not built, in seconds since 1970; 0 if unknown."""
    found = [files.stat(path) for path in _BUILT]
    return max([int(status.st_mtime) for status in found if status is not None], default=0)


def pam_account_modules(files: Files) -> frozenset[str]:
    """The modules that sshd's PAM service asks about accounts, as "pam_unix", also those of included services."""
    pending = ["sshd"]
    seen: set[str] = set()
    modules: set[str] = set()
    while pending and len(seen) < 20:
        name = pending.pop()
        seen.add(name)
        for line in files.lines(f"/etc/pam.d/{name}"):
            further = re.match(r"(?:@include|-?account\s+(?:include|substack))\s+([A-Za-z0-9_.-]+)", line)
            if further and further[1] not in seen:
                pending.append(further[1])
            elif re.match(r"-?account\s", line):
                modules.update(re.findall(r"\b(pam_[a-z0-9_]+)\.so", line))
    return frozenset(modules)


def _shell(person: Person) -> Iterator[Obstacle]:
    name, shell = person.user.name, person.user.shell or "/bin/sh"
    if posixpath.basename(shell) in _NO_LOGIN:
        # `internal-sftp` and the like need no shell.
        forced = [first_word(s) for s in person.possible("forcecommand")]
        yield Obstacle(f"the shell of {name} is {shell}: run `usermod -s /bin/sh {name}`", set(forced) <= {"", "none"})
        return
    chroots = [s for s in person.possible("chrootdirectory") if s is not None and first_word(s) not in ("", "none")]
    if chroots:  # the shell is another one, inside that folder
        text = f"{quoted(chroots[0])}: check that the folder is root's and has the shell {shell}"
        yield Obstacle(text, False, "chrootdirectory")
        return
    if not person.system.files.is_executable(shell):
        # Below a foreign root it may come from a file system that is not mounted.
        certain = person.system.root.is_host
        yield Obstacle(f"the shell of {name}, {shell}, does not exist: run `usermod -s /bin/sh {name}`", certain)


def groups_by_system(user: User) -> frozenset[str]:
    """The groups of an account by all sources of the running system (LDAP, …)."""
    import grp
    import os

    found = set()
    for gid in os.getgrouplist(user.name, user.gid):
        try:
            found.add(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue
    return frozenset(found)


def has_other_groups(files: Files) -> bool:
    """Whether groups may come from other sources than /etc/group. Raises FileError."""
    for line in files.lines("/etc/nsswitch.conf"):
        words = re.sub(r"\[[^]]*\]|#.*", " ", line).split()
        if words[:1] == ["group:"] or words[:1] == ["initgroups:"]:
            known = {"files", "compat"} | (set() if files.names("/etc/userdb") else {"systemd"})
            known |= set() if files.exists("/etc/sssd/sssd.conf") else {"sss"}
            if set(words[1:]) - known:
                return True
    return False
