"""The network between hosts of a test: carries frames between their TAP devices, late, in part or not at all.

A process of its own, `python -I -S switch.py`, which ends with its standard input. There it takes commands, a line of
JSON each, and answers each with a line. Netem and packet filters, which kernels may lack, are not needed.
"""

import ctypes
import fcntl
import heapq
import json
import math
import os
import random
import select
import struct
import time
from contextlib import suppress
from typing import NamedTuple

# What hosts call their device.
DEVICE = "eth0"
# Of Linux: sched.h, if_tun.h, if_ether.h.
CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
IPV4 = b"\x08\x00"
FRAME_BYTES = 1 << 16
# Frames that are taken from one host before it is the turn of the others.
BURST = 64
STDIN, STDOUT = 0, 1


class Link(NamedTuple):
    """What becomes of the IPv4 packets between two hosts."""

    # That each takes, one way.
    seconds: float
    # The share that is lost.
    loss: float


class Switch:
    """Passes each frame on to the host of its MAC address, or to all where that is not known yet."""

    def __init__(self) -> None:
        self._handles: dict[str, int] = {}
        # MAC address -> host.
        self._seen: dict[bytes, str] = {}
        self._links: dict[frozenset[str], Link] = {}
        # Due at, number in order of arrival, host, frame.
        self._late: list[tuple[float, int, str, bytes]] = []
        self._arrived = 0
        self._chance = random.Random(0)
        self._poll = select.poll()
        self._poll.register(STDIN, select.POLLIN)

    def run(self) -> None:
        """Carry frames and carry out commands until there are no more commands."""
        while True:
            ready = {handle for handle, _ in self._poll.poll(self._milliseconds())}
            if STDIN in ready and not self._command():
                return
            for host in [host for host, handle in self._handles.items() if handle in ready]:
                self._carry(host)
            self._deliver()

    def _milliseconds(self) -> int | None:
        """Return how long to wait for frames, until the next late one is due; None is for ever."""
        return max(0, math.ceil(1000 * (self._late[0][0] - time.monotonic()))) if self._late else None

    def _command(self) -> bool:
        """Carry out the next command; return False where there are no more."""
        line = os.read(STDIN, 1 << 16)
        if not line:
            return False
        match json.loads(line):
            case ["plug", host, pid]:
                self._plug(host, pid)
            case ["unplug", host]:
                self._unplug(host)
            case ["link", one, other, seconds, loss]:
                self._links[frozenset((one, other))] = Link(seconds, loss)
        os.write(STDOUT, b"done\n")
        return True

    def _plug(self, host: str, pid: int) -> None:
        handle = open_device(pid)
        self._handles[host] = handle
        self._poll.register(handle, select.POLLIN)

    def _unplug(self, host: str) -> None:
        handle = self._handles.pop(host, None)
        if handle is not None:
            self._poll.unregister(handle)
            os.close(handle)

    def _carry(self, host: str) -> None:
        """Pass on what a host has sent."""
        for _ in range(BURST):
            try:
                frame = os.read(self._handles[host], FRAME_BYTES)
            except BlockingIOError:
                return
            except OSError:
                # Its device is gone.
                self._unplug(host)
                return
            self._forward(host, frame)

    def _forward(self, host: str, frame: bytes) -> None:
        self._seen[frame[6:12]] = host
        known = self._seen.get(frame[:6])
        others = self._handles.keys() - {host}
        for other in [known] if known is not None and known in others else sorted(others):
            self._send(host, other, frame)

    def _send(self, host: str, other: str, frame: bytes) -> None:
        link = self._links.get(frozenset((host, other)))
        if link is None or frame[12:14] != IPV4:
            self._write(other, frame)
        elif self._chance.random() >= link.loss:
            heapq.heappush(self._late, (time.monotonic() + link.seconds, self._arrived, other, frame))
            self._arrived += 1

    def _deliver(self) -> None:
        """Hand over the late frames that are due."""
        while self._late and self._late[0][0] <= time.monotonic():
            _, _, host, frame = heapq.heappop(self._late)
            if host in self._handles:
                self._write(host, frame)

    def _write(self, host: str, frame: bytes) -> None:
        # Lost where the device is not up, or has no room.
        with suppress(OSError):
            os.write(self._handles[host], frame)


def open_device(pid: int) -> int:
    """Make the device in the network namespace of a process; return the handle to which it belongs."""
    own, other = (os.open(f"/proc/{each}/ns/net", os.O_RDONLY) for each in ("self", pid))
    try:
        enter(other)
        handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(handle, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TAP | IFF_NO_PI))
    finally:
        enter(own)
        os.close(own)
        os.close(other)
    return handle


def enter(namespace: int) -> None:
    """Move this process to a network namespace."""
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


if __name__ == "__main__":
    Switch().run()
