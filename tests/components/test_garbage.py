"""The search for garbage looks at everything once, and still finds what there is."""

from __future__ import annotations

import gc
import weakref

from components.garbage import looked_at_once, no_collection


class Thing:
    """Something that can be in a ring."""

    def __init__(self) -> None:
        self.other: Thing | None = None


def ring() -> weakref.ref[Thing]:
    """Two things that nobody refers to but each other."""
    one, other = Thing(), Thing()
    one.other, other.other = other, one
    return weakref.ref(one)


def test_what_a_search_left_is_not_looked_at_again() -> None:
    """And outside everything is as it was."""
    with looked_at_once():
        kept = [Thing() for _ in range(1000)]
        gc.collect()
        before = gc.get_freeze_count()
        assert before > len(kept)
        assert not any(each is kept for each in gc.get_objects())
        gc.collect()
        assert gc.get_freeze_count() - before < len(kept), "everything is put aside again"
    assert gc.get_freeze_count() == 0
    gc.collect()
    assert gc.get_freeze_count() == 0


def test_what_is_read_anew_is_not_looked_at_at_all() -> None:
    """A rebuild makes no garbage; elsewhere it puts nothing aside."""
    with no_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    with looked_at_once():
        with no_collection():
            kept = [Thing() for _ in range(1000)]
        assert gc.get_freeze_count() > len(kept)
    assert gc.get_freeze_count() == 0


def test_a_ring_that_comes_later_is_found() -> None:
    """Before a search and after it; and what was put aside ends with its last reference."""
    with looked_at_once():
        thing = Thing()
        left = weakref.ref(thing)
        gc.collect()
        found = ring()
        assert found() is not None
        gc.collect()
        assert found() is None
        del thing
        assert left() is None
