"""A witness: reads the whole stream as an auditor, and tells whose word on it is not its author's.

Every component's log is a chain of hashes, so a message that the component did not write does not fit. What a thief
writes under a name that it has stolen carries that name, so a message that got elsewhere is seen, too.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bus import codec
from bus.following import sequences
from bus.permits import Role
from tests.hostile.wire import Wire
from tests.identities import identity_of

CHAINED = ("master", "agent", "executor", "framework")
NAME = "u-witness"
INBOX = f"_INBOX_{NAME}.pull"


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
        self._wire = Wire(identity_of(data, Role.AUDITOR, NAME))
        self._wire.subscribe(INBOX)
        self._known: list[Stored] = []

    def state(self) -> dict[str, Any]:
        """What the server says of the stream."""
        answer = self._wire.ask("log.dc.info", b'{"deleted_details": true}')
        assert answer is not None, "the stream is gone"
        found: dict[str, Any] = json.loads(answer.body)
        return found

    def end(self) -> int:
        """The position of the last message."""
        return int(self.state()["state"]["last_seq"])

    def read(self) -> list[Stored]:
        """Everything up to now."""
        self._known += self._read(len(self._known))
        return list(self._known)

    def _read(self, after: int) -> list[Stored]:
        name, end = f"{NAME}_0", self.end()
        config = {"name": name, "filter_subject": "dc.>", "ack_policy": "none", "mem_storage": True}
        begin = {"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1}
        request = json.dumps({"stream_name": "LOG-DC", "config": config | begin, "action": "create"}).encode()
        made = self._wire.ask(f"log.dc.create.{name}.dc.>", request)
        assert made is not None, "no reader"
        assert b'"error"' not in made.body, made.body
        try:
            return list(self._pull(name, after, end))
        finally:
            self._wire.ask(f"log.dc.end.{name}")

    def _pull(self, name: str, after: int, end: int) -> Iterator[Stored]:
        seen, heard = after, self._wire.heard
        while seen < end:
            heard.clear()
            want = min(500, end - seen)
            self._wire.publish(
                f"log.dc.next.{name}", json.dumps({"batch": want, "no_wait": True}).encode(), reply=INBOX
            )
            self._wire.listen_until(lambda want=want: len(heard) >= want or (heard and heard[-1].status))
            for each in heard:
                numbers = sequences(each.reply)
                if numbers is not None and numbers[0] == seen + 1:
                    seen += 1
                    yield Stored(seen, each.subject, each.header, each.body)


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
