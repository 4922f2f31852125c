"""The stream's server of a simulation: what it holds can be damaged, as a disk does it, or a majority rolled back.

Rule of this room: damage is silent. Who finds it is what a simulation is for.
"""

from __future__ import annotations

from bus.memory import MemoryBus, MemoryServer, _Served
from bus.nouns import Position
from bus.port import Record


class Restarted(Exception):
    """The server was started again: its followers have to begin anew behind what they have."""


class FragileServer(MemoryServer):
    """A `MemoryServer` that loses and changes what it holds, on request."""

    starts = 1

    def restart(self) -> None:
        """Whoever follows finds that out, and begins anew."""
        self.starts += 1
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.arrived.done():
                each.arrived.set_exception(Restarted())

    def at(self, position: Position) -> Record | None:
        """The message at a position, if there is one."""
        found = self._records[position - self.first : position - self.first + 1]
        return found[0] if found and position not in self._lost else None

    def roll_back(self, count: int) -> list[Record]:
        """The newest messages are no more, and their positions are given out again."""
        gone = self._records[-count:]
        del self._records[-count:], self._stored_at[-count:]
        self._newest.clear()
        self._requests.clear()
        return gone

    def change(self, position: Position, body: bytes) -> None:
        """Another body at a position."""
        index = position - self.first
        self._records[index] = self._records[index]._replace(body=body)

    # ---- the same as before, faster: a datacenter that stands by asks who leads all the time ----------------------

    def serve(self, served: _Served) -> None:
        super().serve(served)
        self._by_subject = {}

    def unserve(self, bus: MemoryBus) -> None:
        super().unserve(bus)
        self._by_subject = {}

    _by_subject: dict[str, list[_Served]] = {}

    def servers_of(self, subject: str) -> list[_Served]:
        if subject not in self._by_subject:
            self._by_subject[subject] = super().servers_of(subject)
        return self._by_subject[subject]
