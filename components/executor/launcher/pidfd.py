"""The end of a process that is somebody else's child.

Only a parent can wait for a process; since Linux 6.15 a pidfd tells its wait status to whoever holds it, once it is
reaped. (linux: include/uapi/linux/pidfd.h, PIDFD_GET_INFO)
"""

from __future__ import annotations

import fcntl
import struct

_GET_INFO = (3 << 30) | (64 << 16) | (0xFF << 8) | 11
_WITH_EXIT = 1 << 3
_LAYOUT = "=QQ11Ii"


def wait_status(pidfd: int) -> int | None:
    """The raw wait status of a reaped process; none if it is not reaped yet or this kernel does not tell."""
    answer = bytearray(struct.pack(_LAYOUT, _WITH_EXIT, *[0] * 13))
    try:
        fcntl.ioctl(pidfd, _GET_INFO, answer)
    except OSError:
        return None
    mask, *_, status = struct.unpack(_LAYOUT, answer)
    return int(status) if mask & _WITH_EXIT else None
