"""Watching network links go up and down, through the kernel's netlink messages.

The socket is opened before the action that changes the link, so no change is missed. Nothing here changes a link or
knows what a change means on Azure.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from typing import Iterable, Iterator, Optional

from azurelite.errors import MachineError
from azurelite.record import Record

_NETLINK_ROUTE = 0
_GROUP_LINK = 1  # RTMGRP_LINK
_NEW_LINK, _DEL_LINK = 16, 17  # RTM_NEWLINK, RTM_DELLINK
_NAME, _STATE = 3, 16  # IFLA_IFNAME, IFLA_OPERSTATE
# The kernel's operational states: not present, down, lower layer down; up.
_DOWN, _UP = (b"\1", b"\2", b"\3"), b"\6"
_MESSAGE = struct.Struct("=IHHII")
_LINK_HEADER = 16  # struct ifinfomsg
_ANY_FAMILY = 0  # AF_UNSPEC; messages of other families are about a bridge port, not about the link
_ATTRIBUTE = struct.Struct("=HH")
_BUFFER = 65536


class LinkEvent(Record):
    """One change of one link.

    Attributes:
        name: the interface; empty if the kernel dropped messages, so that any link may have changed.
        gone: it was removed.
        up: it can carry data.
        down: it cannot. A state that is neither up nor down (dormant, unknown) counts as no change.
    """

    name: str
    gone: bool = False
    up: bool = False
    down: bool = False


LOST = LinkEvent("")


class LinkWatch:
    """The kernel's messages about links, from the moment of opening.

    Args:
        source: a socket to read messages from; None opens the kernel's.

    Raises:
        MachineError: the kernel does not support netlink.
    """

    def __init__(self, source: Optional[socket.socket] = None) -> None:
        self._socket = source or _kernel()

    def __enter__(self) -> LinkWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def events(self, *, wait: Optional[float] = None) -> Iterator[LinkEvent]:
        """Yield changes as they happen.

        Args:
            wait: end after so many seconds without a message; None waits for ever.

        Raises:
            MachineError: the socket failed.
        """
        while select.select([self._socket], [], [], wait)[0]:
            try:
                data = self._socket.recv(_BUFFER)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise MachineError(
                        f"cannot watch network links any longer: {os.strerror(error.errno or 0)}"
                    ) from error
                yield LOST
            else:
                yield from parse_events(data)


def await_switch(events: Iterable[LinkEvent], name: Optional[str]) -> bool:
    """Wait until a link has gone down and up again: Azure does this when it moves a running VM to its owner's network.

    Args:
        events: changes of links.
        name: the link; None takes any.

    Returns:
        True if it has, or may have because messages were lost. False if the events ended before.
    """
    down: set[str] = set()
    for event in events:
        if event == LOST:
            return True
        if name not in (None, event.name):
            continue
        if event.down:
            down.add(event.name)
        elif event.up and event.name in down:
            return True
    return False


def await_replacement(events: Iterable[LinkEvent]) -> Optional[str]:
    """Wait until a link was removed and one appeared; its name, "" if messages were lost, None if the events end."""
    removed = False
    for event in events:
        if event == LOST or (removed and not event.gone):
            return event.name
        removed = removed or event.gone
    return None


def parse_events(data: bytes) -> list[LinkEvent]:
    """The link changes in a datagram. Other messages are skipped, a truncated one ends the list. Never raises."""
    events = []
    for kind, payload in _messages(data):
        if kind not in (_NEW_LINK, _DEL_LINK) or payload[:1] != bytes([_ANY_FAMILY]):
            continue
        attributes = dict(_attributes(payload[_LINK_HEADER:]))
        name = attributes.get(_NAME, b"").split(b"\0")[0].decode(errors="replace")
        state, gone = attributes.get(_STATE, b"")[:1], kind == _DEL_LINK
        if name:
            events.append(LinkEvent(name, gone=gone, up=state == _UP and not gone, down=gone or state in _DOWN))
    return events


def _kernel() -> socket.socket:
    try:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
        try:
            opened.bind((0, _GROUP_LINK))
        except OSError:
            opened.close()
            raise
    except (OSError, AttributeError) as error:  # AttributeError: Python has these constants on Linux only
        raise MachineError(f"cannot watch network links on this system: {error}") from error
    return opened


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _MESSAGE.size <= len(data):
        length, kind, _, _, _ = _MESSAGE.unpack_from(data, at)
        if length < _MESSAGE.size or at + length > len(data):
            return
        yield kind, data[at + _MESSAGE.size : at + length]
        at += (length + 3) & ~3


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size or at + length > len(data):
            return
        yield kind, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
