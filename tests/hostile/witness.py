"""A witness: reads the whole stream as an auditor, and tells whose word on it is not its author's.

Every component's log is a chain of hashes, so a message that the component did not write does not fit. What a thief
writes under a name that it has stolen carries that name, so a message that got elsewhere is seen, too.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from bus import codec
from bus.events import Event
from bus.following import sequences
from bus.permits import Role, slots
from tests.hostile.wire import Wire
from tests.identities import identity_of

CHAINED = ("master", "agent", "executor", "framework")
NAME = "u-witness"
INBOX = f"_INBOX_{NAME}.pull"
asks_max = 4
readers_max = 500
"""Each empty message ends one."""
batch_max, batch_bytes_max = 500, 8 * 1024 * 1024


class Stored(NamedTuple):
    """A message of the stream."""

    position: int
    subject: str
    header: bytes
    body: bytes

    @property
    def author(self) -> str:
        return ".".join(self.subject.split(".")[1:3])


def mark(name: str, more: bytes = b"") -> bytes:
    """The body of a message that somebody says, who has stolen a name or does not deserve it."""
    return b"hostile:%s;%s" % (name.encode(), more)


class Witness:
    """Reads the stream of one data directory."""

    def __init__(self, data: Path) -> None:
        self._credentials = identity_of(data, Role.AUDITOR, NAME)
        self._known: list[Stored] = []
        self._readers = 0

    def _open(self) -> Wire:
        wire = Wire(self._credentials)
        wire.subscribe(f"{INBOX}.>")
        return wire

    def state(self) -> dict[str, Any]:
        """What the server says of the stream."""
        for _ in range(asks_max):  # what is under way while the server reads who is kept out is not answered
            with self._open() as wire:
                answer = wire.ask("log.dc.info", b'{"deleted_details": true}')
            if answer is not None:
                found: dict[str, Any] = json.loads(answer.body)
                return found
        raise AssertionError("the stream is gone")

    def end(self) -> int:
        """The position of the last message."""
        return int(self.state()["state"]["last_seq"])

    def read(self) -> list[Stored]:
        """Everything up to now."""
        end = self.end()
        for _ in range(readers_max):
            if len(self._known) >= end:
                return list(self._known)
            with self._open() as wire:
                self._read(wire, end)
        raise AssertionError(f"position {len(self._known) + 1} of {end} is not read in {readers_max} tries")

    def said(self, type_: str) -> list[Event]:
        """The events of one type, in the order of the stream."""
        found: list[Event] = []
        for each in self.read():
            if f".{type_}." in each.subject:
                with suppress(codec.Foreign, codec.Unreadable):
                    found.append(codec.decode(each.subject, each.body, each.position))
        return found

    def _read(self, wire: Wire, end: int) -> None:
        """Up to a position, with one reader, as far as it gets."""
        self._readers += 1
        name = f"{NAME}_{self._readers % slots}"
        config = {"name": name, "filter_subject": "dc.>", "ack_policy": "none", "mem_storage": True}
        begin = {"deliver_policy": "by_start_sequence", "opt_start_seq": len(self._known) + 1}
        request = json.dumps({"stream_name": "LOG-DC", "config": config | begin, "action": "create"}).encode()
        made = wire.ask(f"log.dc.create.{name}.dc.>", request)
        if made is None:
            return
        assert b'"error"' not in made.body, made.body
        while len(self._known) < end and self._pull(wire, name, end - len(self._known)):
            pass
        wire.ask(f"log.dc.end.{name}")

    def _pull(self, wire: Wire, name: str, want: int) -> bool:
        """Take some messages; whether there were any."""
        inbox, before = f"{INBOX}.{name}.{len(self._known)}", len(self._known)
        question = {"batch": min(want, batch_max), "max_bytes": batch_bytes_max, "no_wait": True}
        wire.heard.clear()
        wire.publish(f"log.dc.next.{name}", json.dumps(question).encode(), reply=inbox)
        heard = wire.heard
        wire.listen_until(
            lambda: len(heard) >= question["batch"] or (heard and (heard[-1].status or not heard[-1].body))
        )
        for each in heard:
            numbers = sequences(each.reply)
            if numbers is not None and numbers[0] == len(self._known) + 1:
                self._known.append(Stored(numbers[0], each.subject, each.header, each.body))
        return len(self._known) > before


def laundered(before: Sequence[Stored], new: Sequence[Stored], forgers: Collection[str] = ()) -> list[str]:
    """Which of the new messages were not written by the author whose log they are on.

    What does not fit there is no wonder on the logs of `forgers`, whose keys are stolen and used to write it.
    """
    judge = _Judge()
    for each in before:
        judge.wrong(each)
    found = [(each, judge.wrong(each)) for each in new]
    return [f"#{each.position} {each.subject}: {why}" for each, why in found if why and each.author not in forgers]


def chained(stored: Sequence[Stored], author: str) -> int:
    """How many events its author has said in an unbroken chain, whatever else is on its log."""
    judge = _Judge()
    return sum(not judge.wrong(each) for each in stored if each.author == author and each.body[:8] != b"hostile:")


class _Judge:
    def __init__(self) -> None:
        self._chains: dict[str, tuple[int, bytes]] = {}
        self._said: set[tuple[str, bytes]] = set()

    def wrong(self, stored: Stored) -> str:
        """Why somebody else wrote a message; empty if its author did."""
        if stored.body.startswith(b"hostile:"):
            name = stored.body[8:].partition(b";")[0].decode()
            return "" if stored.subject.split(".")[2] == name else f"written by {name}"
        try:
            event = codec.decode(stored.subject, stored.body, stored.position)
        except (codec.Foreign, codec.Unreadable) as error:
            return f"no event: {error}"
        if event.by.kind in CHAINED:
            return self._unchained(stored, event.n, event.prev)
        again = (stored.subject, stored.body) in self._said
        self._said.add((stored.subject, stored.body))
        return "said before" if again else ""

    def _unchained(self, stored: Stored, n: int, prev: bytes) -> str:
        last, link = self._chains.get(stored.author, (0, b""))
        if n != last + 1 or (last and prev != link):
            return f"number {n} follows number {last}"
        self._chains[stored.author] = (n, codec.link(stored.body))
        return ""
