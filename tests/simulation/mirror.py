"""Every log folded a second time, by somebody who only reads.

Whoever has folded as far in the same term must hold the same to be true.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bus.memory import MemoryServer
from bus.nouns import Now, Position
from bus.port import Record
from bus.subjects import Author, own_log
from components.component import Component, State, state_hash
from components.master.books import check_all
from components.master.state import MasterState
from components.mind import Mind


@dataclass(slots=True)
class Lived:
    """What one process remembers, while it lives."""

    who: str
    author: Author
    state: State


@dataclass
class Mirror:
    """One mind for each log that several processes fold."""

    minds: dict[Author, Mind[Any]] = field(default_factory=dict)
    compared: int = 0
    """Pairs of states found equal."""
    _last: dict[str, tuple[int, int]] = field(default_factory=dict)

    def reflect(self, component: Component[Any]) -> None:
        """Fold this component's log from now on."""
        if component.author not in self.minds:
            self.minds[component.author] = Mind(component, "dc", _never)

    def read(self, author: Author, record: Record) -> None:
        """The log has one more message."""
        if author in self.minds:
            self.minds[author].remember(record)

    def check_books(self) -> None:
        """Between two decisions of the master all its books are right."""
        for mind in self.minds.values():
            if isinstance(mind.state, MasterState) and mind.whole:
                check_all(mind.state)

    def compare(self, lived: Iterable[Lived]) -> None:
        """Who has folded as far in the same term holds the same to be true, byte for byte."""
        hashes: dict[Author, str] = {}
        for one in lived:
            mind = self.minds.get(one.author)
            if mind is None:
                continue
            here, there = (one.state.epoch, one.state.n), (mind.state.epoch, mind.state.n)
            if here != there or self._last.get(one.who) == here:
                continue
            self._last[one.who] = here
            if one.author not in hashes:
                hashes[one.author] = state_hash(mind.state)
            assert state_hash(one.state) == hashes[one.author], f"{one.who} and the log differ after event {here[1]}"
            self.compared += 1


def _never() -> Now:
    raise AssertionError("a mirror has no clock")


def refolded(server: MemoryServer, component: Component[Any]) -> Mind[Any]:
    """A mind that has folded a whole log anew."""
    mind = Mind(component, server.cluster, _never)
    for record in server.behind(own_log(server.cluster, component.author), Position(0)):
        mind.remember(record)
    return mind
