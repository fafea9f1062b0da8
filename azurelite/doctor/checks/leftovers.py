"""What the builder of the image may have left for all its VMs: accounts, passwords, keys, rules, histories."""

from __future__ import annotations

import re
import stat
from typing import Iterator

from azurelite.doctor.finding import ERROR, NOTE, WARNING, Finding
from azurelite.doctor.subject import MOST_NAMES, Account, Subject
from azurelite.system.accounts.tablefiles import login_range

_NOBODY = (65534, 65533)
_DEFAULT_HOMES = ("/", "/nonexistent", "/dev/null", "")
_HISTORIES = (".bash_history", ".zsh_history", ".ash_history", ".sh_history", ".history", ".python_history", ".lesshst",
              ".viminfo", ".mysql_history", ".psql_history", ".wget-hsts")  # fmt: skip
_SUDO_WORDS = r"(Defaults|User_Alias|Runas_Alias|Host_Alias|Cmnd_Alias|Cmd_Alias|[@#]include(dir)?)\b"
_SUDOERS = ("/etc/sudoers.d", "/usr/local/etc/sudoers.d")
_DOAS = ("/etc/doas.conf", "/usr/local/etc/doas.conf")
_LEASES = ("/var/lib/dhcp", "/var/lib/dhclient", "/var/lib/dhcpcd", "/var/lib/NetworkManager")
_SEEDS = ("/var/lib/systemd/random-seed", "/var/lib/random-seed", "/var/lib/urandom/random-seed", "/var/lib/seedrng")
_GENERALIZE = "`azurelite generalize` has a group for it"


def users(subject: Subject) -> Iterator[Finding]:
    """No account of a person is in the image."""
    for account in _people(subject):
        yield Finding(
            "leftovers.users",
            WARNING,
            f"the account {account.name} would be on all VMs",
            f"/etc/passwd: {account.name}",
            f"Remove it (`userdel -r {account.name}`), unless all VMs should have it.",
        )


def passwords(subject: Subject) -> Iterator[Finding]:
    """No account has a password."""
    for account in subject.accounts():
        if account.name == "root":
            continue
        if account.password == "" and account.can_use_shell:
            text = f"the account {account.name} needs no password to log in"
        elif _is_hash(account.password):
            text = f"the account {account.name} has a password, which would be the same on all VMs"
        else:
            continue
        yield Finding(
            "leftovers.passwords", ERROR, text, f"/etc/shadow: {account.name}", f"Lock it: `passwd -l {account.name}`."
        )


def root_locked(subject: Subject) -> Iterator[Finding]:
    """root has no password."""
    for account in subject.accounts():
        if account.name == "root" and (account.password == "" or _is_hash(account.password)):
            how = "needs no password" if not account.password else "has a password, which all VMs would share"
            yield Finding("leftovers.root", ERROR, f"root {how}", "/etc/shadow: root", "Lock it: `passwd -l root`.")


def keys(subject: Subject) -> Iterator[Finding]:
    """Nobody's SSH key is in the image."""
    for home in _homes(subject):
        for name in ("authorized_keys", "authorized_keys2"):
            path = f"{home}/.ssh/{name}"
            if _has_content(subject, path, home):
                yield Finding(
                    "leftovers.keys",
                    ERROR,
                    "the image lets an SSH key in, on all its VMs",
                    path,
                    "Delete the file.",
                )
        for name in ("id_rsa", "id_ed25519", "id_ecdsa", "id_dsa"):
            path = f"{home}/.ssh/{name}"
            if _has_content(subject, path, home):
                text = "the image has a private SSH key, which everyone who uses the image could read"
                yield Finding("leftovers.keys", ERROR, text, path, "Delete the file.")


def rules(subject: Subject) -> Iterator[Finding]:
    """No rule of sudo or doas is for one user."""
    sudoers = [f"{folder}/{name}" for folder in _SUDOERS for name in subject.names(folder)
               if "." not in name and not name.endswith("~")]  # fmt: skip
    for path in ("/etc/sudoers", "/usr/local/etc/sudoers", *sudoers):
        for line in subject.text(path).splitlines():
            words = line.split()
            if not words or words[0].startswith("#") or re.match(_SUDO_WORDS, line.strip()):
                continue
            user = words[0].strip('"')
            if user not in ("root", "ALL", "") and user[0] not in "%+" and "=" in line:
                yield _rule(user, path)
    doas = [*_DOAS, *(f"/etc/doas.d/{name}" for name in subject.names("/etc/doas.d") if name.endswith(".conf"))]
    for path in doas:
        for line in subject.lines(path):
            words = [word.strip('"') for word in re.sub(r"setenv\s*\{[^}]*\}", "", line).split()]
            rest = [word for word in words[1:] if word not in ("nopass", "persist", "keepenv", "nolog")]
            if words[:1] == ["permit"] and rest and not rest[0].startswith(":") and rest[0] != "root":
                yield _rule(rest[0], path)


def histories(subject: Subject) -> Iterator[Finding]:
    """No history of commands is in the image."""
    for home in _homes(subject):
        for name in _HISTORIES:
            if _has_content(subject, f"{home}/{name}", home):
                yield Finding(
                    "leftovers.histories",
                    WARNING,
                    "a history is in the image, and may hold secrets",
                    f"{home}/{name}",
                    f"Delete the file; {_GENERALIZE}.",
                )


def traces(subject: Subject) -> Iterator[Finding]:
    """No lease and no random seed is in the image."""
    for folder in _LEASES:
        names = [name for name in subject.names(folder) if re.search(r"\.leases?6?$", name)]
        if any((found := subject.files.stat(f"{folder}/{name}")) and found.st_size for name in names):
            yield Finding(
                "leftovers.leases",
                NOTE,
                "DHCP leases of this machine are in the image",
                f"{folder}/{names[0]}",
                f"Delete them; {_GENERALIZE}.",
            )
    for path in _SEEDS:
        if subject.files.exists(path) and not (subject.files.is_dir(path) and not subject.names(path)):
            yield Finding(
                "leftovers.random-seed",
                WARNING,
                "the image has a random seed, with which all its VMs would start",
                path,
                f"Delete it; {_GENERALIZE}.",
            )


def _people(subject: Subject) -> list[Account]:
    lowest, _ = login_range(subject.files, "UID")
    return [one for one in subject.accounts() if one.uid >= lowest and one.uid not in _NOBODY and one.name != "nobody"]


def _homes(subject: Subject) -> list[str]:
    """The homes of accounts, and other folders in /home; each once."""
    named = [one.home.rstrip("/") for one in subject.accounts() if one.home not in _DEFAULT_HOMES]
    others = [f"/home/{name}" for name in subject.names("/home") if not name.startswith(".")]
    plain = [home for home in ("/root", *named, *others) if home.startswith("/") and ".." not in home.split("/")]
    return list(dict.fromkeys(plain))[:MOST_NAMES]


def _has_content(subject: Subject, path: str, home: str) -> bool:
    """Whether it is a file that is not empty. Links are not followed: a home's owner can plant one."""
    try:
        found = subject.system.root.stat(path, beneath=home)
    except OSError:  # a link in place of a folder
        return False
    return found is not None and stat.S_ISREG(found.st_mode) and found.st_size > 0


def _is_hash(field: str) -> bool:
    """Whether a password field lets some password in: "!" and "*" at its start lock it."""
    return re.fullmatch(r"\$[^:$]+\$.+|_.{19}|[./0-9A-Za-z]{13}", field) is not None


def _rule(user: str, path: str) -> Finding:
    return Finding(
        "leftovers.rules",
        WARNING,
        f"the user {user} may act as root on all VMs",
        path,
        "Delete the rule, unless all VMs should have it.",
    )
