"""How long Python's search for garbage stops a process that remembers much.

A state is a million small things, none of them garbage; a full search looks at all of them, 0.15 s at 100,000 tasks.
So what one search has found alive is put aside, and no search looks at it again: each takes as long as what has come
since. What is put aside still ends when nothing refers to it; only a ring of things that was alive then stays.

Rule of this room: for a process that is one component and ends with it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_FULL = 2
"""The oldest generation: its collection is the full search."""


@contextmanager
def looked_at_once() -> Iterator[None]:
    """Inside, every full search puts aside what it leaves."""
    gc.callbacks.append(_put_aside)
    try:
        yield
    finally:
        gc.callbacks.remove(_put_aside)
        gc.unfreeze()


def _put_aside(phase: str, info: dict[str, Any]) -> None:
    if phase == "stop" and info["generation"] == _FULL:
        gc.freeze()
