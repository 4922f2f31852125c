"""What a process of busbar keeps to itself: whoever runs here has the bus's credentials in memory.

Rule of this room: nothing is imported here that a command might do without.
"""

from __future__ import annotations

import ctypes
import sys

_SET_DUMPABLE = 4


def be_undumpable() -> None:
    """Leave no core file, and be looked into by nobody of the same user. (prctl(2): PR_SET_DUMPABLE)"""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)
