"""Answers that are on their way to this connection, by the subject each will come to.

Rule of this room: an answer is whole or it is none. One that is larger than a message travels in numbered pieces.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import NamedTuple

from bus.port import rest_s

piece_bytes_max = 512 * 1024
_PIECE = "Busbar-Piece"
"""The header of a piece: a name for its answer, its number from 1, how many there are."""


class Send(NamedTuple):
    """One message to be published."""

    subject: str
    body: bytes
    headers: dict[str, str] | None = None


class Parcel(NamedTuple):
    """One message that came."""

    subject: str
    reply: str
    body: bytes
    headers: dict[str, str]


def cut(reply: str, answer: bytes) -> Iterator[Send]:
    """An answer as messages."""
    if len(answer) <= piece_bytes_max:
        yield Send(reply, answer)
        return
    name, starts = secrets.token_hex(8), range(0, len(answer), piece_bytes_max)
    for number, start in enumerate(starts, 1):
        yield Send(reply, answer[start : start + piece_bytes_max], {_PIECE: f"{name} {number} {len(starts)}"})


class Awaited:
    """One answer, perhaps in pieces."""

    def __init__(self, asked: Sequence[Send], until: float) -> None:
        self.asked, self.until = asked, until
        """What was asked, and until when on the loop's clock an answer is awaited."""
        self.answered: asyncio.Future[Parcel] = asyncio.get_running_loop().create_future()
        self._name = ""
        self._pieces: list[bytes] = []

    def take(self, parcel: Parcel) -> None:
        """A piece came, or all of it; pieces of a second answer, or behind a lost one, are left aside."""
        if self.answered.done():
            return
        if _PIECE not in parcel.headers:
            self.answered.set_result(parcel)
            return
        name, _, place = parcel.headers[_PIECE].partition(" ")
        number, _, count = place.partition(" ")
        if not self._pieces:
            self._name = name
        if name == self._name and number == str(len(self._pieces) + 1):
            self._pieces.append(parcel.body)
            if number == count:
                self.answered.set_result(parcel._replace(body=b"".join(self._pieces)))

    def fail(self, error: Exception) -> None:
        """No answer will come."""
        if not self.answered.done():
            self.answered.set_exception(error)


class _Gathered:
    """The whole answers of everybody who was asked, in the order they became whole."""

    def __init__(self, expected: int | None) -> None:
        self.answers: list[Parcel] = []
        self._expected = expected
        self._rest: asyncio.TimerHandle | None = None
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._in_pieces: dict[str, Awaited] = {}

    def take(self, parcel: Parcel) -> None:
        """An answer came, a piece of one, or word that nobody is there."""
        if parcel.headers.get("Status") == "503":
            self.end()
        elif _PIECE not in parcel.headers:
            self._add(parcel)
        else:
            self._take_piece(parcel)

    def _take_piece(self, parcel: Parcel) -> None:
        awaited = self._in_pieces.setdefault(parcel.headers[_PIECE].split(" ")[0], Awaited((), math.inf))
        if awaited.answered.done():
            return
        awaited.take(parcel)
        if awaited.answered.done():
            self._add(awaited.answered.result())

    def _add(self, answer: Parcel) -> None:
        self.answers.append(answer)
        if self._expected is not None and len(self.answers) >= self._expected:
            if self._rest is not None:
                self._rest.cancel()
            self._rest = asyncio.get_running_loop().call_later(rest_s, self.end)

    def fail(self, error: Exception) -> None:  # noqa: ARG002  # what came, came
        """No more answers will come."""
        self.end()

    def end(self) -> None:
        """There is nothing to wait for."""
        if not self.over.done():
            self.over.set_result(None)


class Replies:
    """Everything one connection waits for, under one inbox."""

    def __init__(self, inbox: str) -> None:
        self._inbox = inbox
        self._tokens = count()
        self._awaited: dict[str, Awaited | _Gathered] = {}
        self._alarm: asyncio.TimerHandle | None = None
        """When to look for answers that did not come in time: one alarm for all of them, since nearly all do come."""

    async def expect(self, sends: Sequence[Send], say: Callable[[str], None], timeout_s: float) -> Parcel:
        """The answer to what `say` says, given a reply subject. Raises NoAnswer, and what `say` raises."""
        loop, token = asyncio.get_running_loop(), str(next(self._tokens))
        awaited = self._awaited[token] = Awaited(sends, loop.time() + timeout_s)
        try:
            say(f"{self._inbox}.{token}")
            if self._alarm is None or awaited.until < self._alarm.when():
                self._set_alarm(awaited.until)
            return await awaited.answered
        finally:
            del self._awaited[token]
            if not awaited.answered.cancel() and not awaited.answered.cancelled():
                awaited.answered.exception()  # seen, or of no interest any more

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_at(at, self._look)

    def _look(self) -> None:
        """Nobody waits longer than was said."""
        self._alarm = None
        single = [each for each in self._awaited.values() if isinstance(each, Awaited) and not each.answered.done()]
        now, next_ = asyncio.get_running_loop().time(), math.inf
        for each in single:
            if each.until <= now:
                each.fail(TimeoutError())
            else:
                next_ = min(next_, each.until)
        if next_ < math.inf:
            self._set_alarm(next_)

    def refuse(self, subject: str, error: Exception) -> None:
        """No answer will come to what was asked under a subject, in lower case."""
        for each in self._awaited.values():
            if isinstance(each, Awaited) and any(send.subject.lower() == subject for send in each.asked):
                each.fail(error)

    @contextmanager
    def gather(self, expected: int | None = None) -> Iterator[tuple[str, list[Parcel], asyncio.Future[None]]]:
        """A reply subject, the answers that have come to it so far, and when there is nothing more to wait for: when
        nobody is there, or `expected` have answered and nobody else does."""
        token, gathered = str(next(self._tokens)), _Gathered(expected)
        self._awaited[token] = gathered
        try:
            yield f"{self._inbox}.{token}", gathered.answers, gathered.over
        finally:
            del self._awaited[token]
            gathered.over.cancel()

    def take(self, parcel: Parcel) -> None:
        """A message came to the inbox."""
        awaited = self._awaited.get(parcel.subject.rpartition(".")[2])
        if awaited is not None:
            awaited.take(parcel)

    def fail(self, error: Exception) -> None:
        """No answer will come to what is expected now."""
        for awaited in self._awaited.values():
            awaited.fail(error)
