"""What a disk, or a majority that is rolled back, does to the stream: it is found before it is used.

After a storm everybody's store has everything. Then the stream is damaged, some processes die, everybody finds the
server started again, and people go on asking. From then on nobody may say anything that does not extend what was said
before; of a stream that lost something no master leads.
"""

from __future__ import annotations

from random import Random

import msgspec

from bus import codec
from bus.port import Record
from tests.simulation.server import FragileServer

ROLLED_BACK, HOLE, CHANGED = "streams rolled back", "holes", "records changed"
DAMAGES = (ROLLED_BACK, HOLE, CHANGED)
rolled_back_max = 40


class Damage:
    """What befalls the stream, drawn from the seed."""

    def __init__(self, server: FragileServer, random: Random) -> None:
        self.server, self.random = server, random
        self.kind = random.choice(DAMAGES)
        self.what = ""
        self.gone: list[Record] = []
        """What is not, or not so, in the stream any more."""

    def strike(self) -> None:
        """Damage the stream."""
        {ROLLED_BACK: self._roll_back, HOLE: self._lose, CHANGED: self._change}[self.kind]()
        self.what = f"{self.kind}: {[(r.position, r.subject) for r in self.gone]}"

    def _roll_back(self) -> None:
        count = round(rolled_back_max ** self.random.random())
        self.gone = self.server.roll_back(min(count, self.server.last))

    def _lose(self) -> None:
        lost = self.random.choice(self._some())
        self.server.lose(lost.position)
        self.gone = [lost]

    def _change(self) -> None:
        changed = self.random.choice(self._some())
        self.server.change(changed.position, self._other(changed))
        self.gone = [changed]

    def _some(self) -> list[Record]:
        """All records, or the newest, or the newest of each log."""
        records = self.server.records()
        newest = {".".join(record.subject.split(".")[:3]): record for record in records}
        return self.random.choice([records, records[-10:], list(newest.values())])

    def _other(self, record: Record) -> bytes:
        """Another event in its place that looks as good, or garbage."""
        index = self.random.randrange(len(record.body))
        flipped = record.body[:index] + bytes([record.body[index] ^ 1 << self.random.randrange(8)])
        if self.random.random() < 0.5:
            return flipped + record.body[index + 1 :]
        try:
            event = codec.decode(record.subject, record.body, 0)
        except (codec.Foreign, codec.Unreadable):
            return flipped
        return codec.encode(msgspec.structs.replace(event, at=event.at + 1))
