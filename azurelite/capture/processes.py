"""Processes of an account, and which of them belong to the login that runs azurelite now.

Of that login are: the processes above this one, those in the same session of the kernel or of the audit system, and the
account's systemd manager, which ends with its last login.
"""

from __future__ import annotations

import os

from azurelite.record import Record

_MANAGERS = ("/init.scope", "/dbus.service", "/dbus-broker.service")  # of a user's systemd, by their cgroups
_NO_SESSION = "4294967295"  # the audit system's word for "no login"


class Process(Record):
    """A process.

    Attributes:
        pid, parent, session: numbers; `session` is the kernel's.
        uids: real, effective, saved and file system user id.
        name: as in `ps`.
        login: the audit session; "" if there is none.
        manager: it is a user's systemd, or its message bus.
    """

    pid: int
    parent: int
    session: int
    uids: frozenset[int]
    name: str
    login: str
    manager: bool


def processes(proc: str = "/proc") -> list[Process]:
    """All processes; those that end meanwhile are left out."""
    found = []
    for name in os.listdir(proc):
        if name.isascii() and name.isdigit():
            one = _process(f"{proc}/{name}", int(name))
            if one is not None:
                found.append(one)
    return found


def own_login(running: list[Process], pid: int) -> set[int]:
    """The numbers of the processes of the login that the process `pid` belongs to."""
    by_pid = {one.pid: one for one in running}
    above: list[Process] = []
    here = by_pid.get(pid)
    while here is not None and here.pid > 1 and here not in above:
        above.append(here)
        here = by_pid.get(here.parent)
    sessions = {one.session for one in above if one.session > 1}
    logins = {one.login for one in above if one.login}
    own = {one.pid for one in above}
    return own | {one.pid for one in running if one.session in sessions or one.login in logins}


def users_of(running: list[Process], pid: int) -> tuple[set[int], dict[int, str]]:
    """Whose processes run.

    Args:
        running: all processes.
        pid: this one.

    Returns:
        The users of the login that this process belongs to, without root, and the users who have other processes
        -> what runs, and what to do.
    """
    login = own_login(running, pid)
    mine = {uid for one in running if one.pid in login for uid in one.uids if uid != 0}
    others: dict[int, str] = {}
    for one in running:
        if one.pid not in login:
            for uid in one.uids - ({0} | (mine if one.manager else set())):
                others.setdefault(uid, f"process {one.pid} ({one.name}) runs as it: end it, and run again")
    return mine, others


def _process(folder: str, pid: int) -> Process | None:
    stat = _text(f"{folder}/stat")
    head, _, rest = stat.rpartition(")")
    words, status = rest.split(), _text(f"{folder}/status")
    uids = next((line.split()[1:] for line in status.splitlines() if line.startswith("Uid:")), [])
    if len(words) < 4 or not uids or words[0] in ("Z", "X"):
        return None
    login = _text(f"{folder}/sessionid").strip()
    return Process(
        pid,
        int(words[1]),
        int(words[3]),
        frozenset(int(uid) for uid in uids),
        head.partition("(")[2],
        "" if login in ("", "0", _NO_SESSION) else login,
        _text(f"{folder}/cgroup").rstrip().endswith(_MANAGERS),
    )


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(65536)
    except OSError:
        return ""
