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

young_max = 10_000
"""New objects between two looks for garbage: an event is some, and most of what a component makes stays or is gone at
once. (Python: 700, which takes a busy master 7 % of its time)"""
_LOOKS = (young_max, 2, 1)
"""Every third look goes back to what the two before have left, every second of those is a full search: 11 ms."""
_FULL = 2
"""The oldest generation: its collection is the full search."""


@contextmanager
def looked_at_once() -> Iterator[None]:
    """Inside, every full search puts aside what it leaves."""
    before = gc.get_threshold()
    gc.set_threshold(*_LOOKS)
    gc.callbacks.append(_put_aside)
    try:
        yield
    finally:
        gc.callbacks.remove(_put_aside)
        gc.set_threshold(*before)
        gc.unfreeze()


@contextmanager
def no_collection() -> Iterator[None]:
    """A million new objects, none of them garbage: looking for it takes twice as long as reading them. They are put
    aside at once, where that is done."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if _put_aside in gc.callbacks:
            gc.freeze()
        if was:
            gc.enable()


def _put_aside(phase: str, info: dict[str, Any]) -> None:
    if phase == "stop" and info["generation"] == _FULL:
        gc.freeze()
