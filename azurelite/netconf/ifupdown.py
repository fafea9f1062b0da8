"""NICs as stanzas of /etc/network/interfaces, and what that file and those beside it say already.

The format is read by Debian's ifupdown, by ifupdown-ng and by BusyBox. None of them can tell a NIC from its twin with
the same MAC, so stanzas go by the interface's name; a NIC without one is left out.
"""

from __future__ import annotations

import posixpath
import re
from fnmatch import fnmatchcase
from typing import Container, Iterable

from azurelite.netconf.files import HEADER, File
from azurelite.netconf.nics import Nic

MAIN = "/etc/network/interfaces"
FOLDER = "/etc/network/interfaces.d"
NAME = "azurelite"
PATH = f"{FOLDER}/{NAME}"


def render(nics: Iterable[Nic], *, taken: Container[str], busybox: bool) -> tuple[File, ...]:
    """One file, or none where nothing is left to say.

    Args:
        nics: the NICs.
        taken: interfaces that other files have stanzas for; they get their further addresses only.
        busybox: the program is BusyBox's: a second stanza for an interface, or DHCP for IPv6, would be an error to it
            that takes every other interface down as well.
    """
    stanzas = []
    for nic in nics:
        if nic.name is not None and nic.name not in taken:
            stanzas.append(_whole(nic, nic.name, inet6=nic.ipv6 and not busybox))
        elif nic.name is not None and nic.addresses and not busybox:
            stanzas.append(f"iface {nic.name} inet manual\n{_further(nic, nic.name)}")
    return (File(PATH, HEADER + "\n".join(stanzas)),) if stanzas else ()


def problems(nic: Nic, *, taken: Container[str], busybox: bool) -> tuple[str, ...]:
    """What `render` with the same arguments leaves out of this NIC, and why, in words for a person."""
    if nic.name is None:
        return (f"the NIC {nic.mac} is left out: it is not there, and ifupdown knows NICs by their names alone",)
    if nic.name not in taken:
        lacks = busybox and nic.ipv6
        return (f"{nic.name} gets no IPv6 by DHCP: BusyBox's ifup cannot ask for it",) if lacks else ()
    if busybox and nic.addresses:
        why = "has a stanza already, and BusyBox allows no second one: its further addresses are left out"
        return (f"{nic.name} {why}; remove that stanza, and azurelite writes a whole one",)
    return (f"{nic.name} has a stanza already, which stays as it is; only further addresses are added",)


def _whole(nic: Nic, name: str, *, inet6: bool) -> str:
    metric = f"    metric {nic.metric}\n" if nic.metric is not None else ""
    text = f"auto {name}\niface {name} inet dhcp\n{metric}{_further(nic, name)}"
    return text + (f"\niface {name} inet6 dhcp\n" if inet6 else "")


def _further(nic: Nic, name: str) -> str:
    """`replace` and not `add`: that the address is there already is no error."""
    return "".join(f"    up ip address replace {address} dev {name}\n" for address in nic.addresses)


def interfaces_named(texts: Iterable[str]) -> frozenset[str]:
    """The interfaces that have an `iface` stanza for IPv4 or IPv6 in one of these files."""
    return frozenset(name for text in texts for name in re.findall(r"^[ \t]*iface[ \t]+([^\s#]+)", text, re.MULTILINE))


def sources(text: str, path: str = MAIN) -> tuple[str, ...]:
    """The files that a file takes in by `source` and `source-directory`: absolute paths that may have glob's signs.

    Args:
        text: the file's text.
        path: the file's path; what it names goes from its folder.
    """
    found = []
    for word, pattern in re.findall(r"^[ \t]*(source|source-directory)[ \t]+(\S+)", text, re.MULTILINE):
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(path), pattern))
        found.append(wanted if word == "source" else f"{wanted}/*")
    return tuple(found)


def takes_in(main: str) -> bool:
    """The main file takes in a file of azurelite's from interfaces.d."""
    return any(fnmatchcase(PATH, pattern) for pattern in sources(main))
