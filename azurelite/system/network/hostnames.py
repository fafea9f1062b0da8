"""The files with the machine's own name: /etc/hostname, its equivalents on other systems, and the line in /etc/hosts.

The equivalents are written if they exist, whatever the distribution is called. The running kernel's name is set by
`System.set_kernel_hostname`.
"""

from __future__ import annotations

from typing import Container, Optional

from azurelite.system.blocks import assign, get, uci_set
from azurelite.system.files import Files

HOSTNAME = "/etc/hostname"
HOSTS = "/etc/hosts"
_PLAIN = ("/etc/HOSTNAME", "/etc/myname")  # SUSE until 12 and Slackware; OpenBSD and NetBSD: a line with the name
_OPENRC = "/etc/conf.d/hostname"
_REDHAT = "/etc/sysconfig/network"
_REDHAT_INIT = "/etc/rc.d/rc.sysinit"  # until RHEL 6; it reads HOSTNAME= from _REDHAT
_BSD = "/etc/rc.conf"
_BSD_MARK = "/etc/defaults/rc.conf"  # FreeBSD, NetBSD: then rc.conf is not OpenRC's
_OPENWRT = "/etc/config/system"
_NSSWITCH = ("/etc/nsswitch.conf", "/usr/etc/nsswitch.conf")
_OWN = "127.0.1.1"  # Debian's address for the machine's own name; 127.0.0.1 is for localhost
_NOBODY = ("localhost", "localhost.localdomain", "(none)")
_EMPTY_HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost\n"


def static_name(files: Files) -> Optional[str]:
    """The name that the machine will have after the next boot, or None if it has none. Raises FileError.

    "localhost", which images and agents write to remove a name, counts as none.
    """
    for path in (HOSTNAME, *_PLAIN):
        for line in (files.text(path) or "").splitlines():
            name = line.strip()
            if name and not name.startswith("#"):
                return None if name in _NOBODY else name
    if files.exists(_BSD_MARK):
        return get(files.text(_BSD) or "", "hostname")
    return None


def write_name(files: Files, name: str) -> None:
    """Write the name (checked: letters, digits, `-`, `.`) to all files that this system uses. Raises FileError."""
    files.mkdirs("/etc")  # an image under construction may not have it yet
    bsd = files.exists(_BSD_MARK) or files.exists("/etc/myname")
    if not bsd or files.exists(HOSTNAME):
        files.write(HOSTNAME, f"{name}\n".encode(), mode=0o644, shared=True)
    for path in _PLAIN:
        # On newer systems /etc/HOSTNAME is a link to /etc/hostname.
        if files.root.link_target(path) is None and files.exists(path):
            files.rewrite_text(path, f"{name}\n")
    for path in (_OPENRC, _REDHAT, _BSD, _OPENWRT):
        text = files.text(path)
        changed = None if text is None else _changed(files, path, text, name)
        if changed is not None:
            files.rewrite_text(path, changed)


def _changed(files: Files, path: str, text: str, name: str) -> Optional[str]:
    """The text of a settings file with the new name, or None if this file does not hold the name."""
    if path == _OPENWRT:
        return uci_set(text, "system", "hostname", name)
    if path == _OPENRC:
        return assign(text, "hostname", name)
    if path == _BSD:
        return assign(text, "hostname", name) if files.exists(_BSD_MARK) else None
    if get(text, "HOSTNAME") is None and not files.exists(_REDHAT_INIT):
        return None
    return assign(text, "HOSTNAME", name, quote="")


def answered_by_nss(files: Files) -> bool:
    """Whether the C library resolves the machine's own name without /etc/hosts (nss-myhostname, nss-resolve)."""
    for path in _NSSWITCH:
        for line in (files.text(path) or "").splitlines():
            database, _, services = line.partition("#")[0].partition(":")
            if database.strip() == "hosts":
                return not {"myhostname", "resolve"}.isdisjoint(services.split())
    return False


def write_hosts(files: Files, name: str, *, fqdn: str, old: Optional[str], create: bool) -> bool:
    """Add the machine's own name to /etc/hosts, unless it has it for any address. Raises FileError.

    All other lines stay.

    Args:
        files: the guest's files.
        name: the machine's name.
        fqdn: its full name, or the same.
        old: its previous name, which is removed from the lines for the machine itself (127.*, ::1).
        create: create the file if it is missing.

    Returns:
        True if the file changed.
    """
    text = files.text(HOSTS)
    if text is None:
        if not create:
            return False
        text = _EMPTY_HOSTS
    return files.rewrite_text(HOSTS, hosts_with(text, name, fqdn=fqdn, old=old), shared=True)


def hosts_with(text: str, name: str, *, fqdn: str, old: Optional[str]) -> str:
    """The text of /etc/hosts with a line for the machine's own name. The first name of a line is the canonical one."""
    names = dict.fromkeys([fqdn, name, name.partition(".")[0]])
    kept = [line for line in (_without(line, old, names) for line in text.splitlines()) if line is not None]
    if any(name.lower() in (word.lower() for word in _words(line)[1:]) for line in kept):
        return text if kept == text.splitlines() else "".join(f"{line}\n" for line in kept)
    loopback = [at for at, line in enumerate(kept) if "".join(_words(line)[:1]).startswith("127.")]
    kept.insert(loopback[-1] + 1 if loopback else 0, f"{_OWN}\t{' '.join(names)}")
    return "".join(f"{line}\n" for line in kept)


def _words(line: str) -> list[str]:
    return line.partition("#")[0].split()


def _without(line: str, old: Optional[str], new: Container[str]) -> Optional[str]:
    """A line of the machine's own addresses without its old name; None if no name remains. Its new names stay."""
    words = _words(line)
    if old is None or not words or not (words[0].startswith("127.") or words[0] == "::1"):
        return line
    short = old.partition(".")[0].lower()
    names = [word for word in words[1:] if word in new or word.lower().partition(".")[0] != short]
    if len(names) == len(words) - 1:
        return line
    comment = line.partition("#")[2]
    return f"{words[0]}\t{' '.join(names)}" + (f" #{comment}" if comment else "") if names else None
