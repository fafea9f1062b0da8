"""Watching network links come and go: the kernel's own messages, over a netlink socket.

The socket is opened before whatever makes the link change, so no change is missed. Nothing here changes a link.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from dataclasses import dataclass
from typing import Iterator, Optional

from azurelite.errors import MachineError

_NETLINK_ROUTE = 0
_GROUP_LINK = 1  # RTMGRP_LINK
_NEW_LINK, _DEL_LINK = 16, 17  # RTM_NEWLINK, RTM_DELLINK
_NAME, _STATE = 3, 16  # IFLA_IFNAME, IFLA_OPERSTATE
_DOWN, _UP = 2, 6  # RFC 2863's operational states, as the kernel counts them
_MESSAGE = struct.Struct("=IHHII")
_LINK_HEADER = 16  # struct ifinfomsg
_ATTRIBUTE = struct.Struct("=HH")
_BUFFER = 65536


@dataclass(frozen=True)
class LinkEvent:
    """One change of one link.

    Attributes:
        name: the interface.
        gone: it was removed.
        up: it can carry data.
        down: it cannot.
    """

    name: str
    gone: bool
    up: bool
    down: bool


class LinkWatch:
    """The kernel's messages about links, from the moment of opening.

    Raises:
        MachineError: this kernel has no netlink.
    """

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
            self._socket.bind((0, _GROUP_LINK))
        except (OSError, AttributeError) as error:
            raise MachineError(f"this system does not tell of links that come and go: {error}") from error

    def __enter__(self) -> LinkWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def events(self, *, wait: Optional[float] = None) -> Iterator[LinkEvent]:
        """Changes as they come.

        Args:
            wait: seconds without any change after which it ends; never when None.
        """
        while select.select([self._socket], [], [], wait)[0]:
            try:
                yield from parse_events(self._socket.recv(_BUFFER))
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # messages were lost, and those to come are as good
                    raise MachineError(f"links can no longer be watched: {os.strerror(error.errno or 0)}") from error

    def wait_for_switch(self, name: str) -> None:
        """Until this link has gone down and come up again: how Azure moves a running VM to its owner's network."""
        went_down = False
        for event in self.events():
            if event.name == name and event.down:
                went_down = True
            elif event.name == name and event.up and went_down:
                return

    def wait_for_replacement(self) -> str:
        """Until a link was removed and another one appeared; the new one's name."""
        removed = False
        for event in self.events():
            if event.gone:
                removed = True
            elif removed:
                return event.name
        raise MachineError("links can no longer be watched")


def parse_events(data: bytes) -> list[LinkEvent]:
    """The link changes in a datagram; a torn or foreign message ends or passes over the rest, never raises."""
    events = []
    at = 0
    while at + _MESSAGE.size <= len(data):
        length, kind, _, _, _ = _MESSAGE.unpack_from(data, at)
        if length < _MESSAGE.size or at + length > len(data):
            break
        if kind in (_NEW_LINK, _DEL_LINK):
            attributes = _attributes(data[at + _MESSAGE.size + _LINK_HEADER : at + length])
            name = attributes.get(_NAME, b"").split(b"\0")[0].decode(errors="replace")
            state = attributes.get(_STATE, b"\0")[:1]
            gone = kind == _DEL_LINK
            up, down = state == bytes([_UP]) and not gone, state == bytes([_DOWN])
            events.append(LinkEvent(name, gone=gone, up=up, down=down))
        at += (length + 3) & ~3
    return events


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size or at + length > len(data):
            break
        found[kind] = data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found
