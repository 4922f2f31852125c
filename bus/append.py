"""How an append's unknown outcome becomes a known one: read back, compare, send the same bytes again.

Rule of this room: absent on read-back is not "not written"; only an accepted fence or a found hash decides.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from bus.codec import Foreign, Unreadable, decode
from bus.events import Event
from bus.nouns import Position
from bus.port import (
    Bus,
    Fence,
    Fenced,
    Message,
    NoAnswer,
    NoMajority,
    NoQuorum,
    OutcomeUnknown,
    Overloaded,
    Record,
)

unknown_s = 60.0
"""How long an outcome may stay unknown before the writer gives its log up."""
pause_s = 0.25
"""Between two tries, on average."""
tries_min = 10
"""So often at least a bus that takes nothing is asked within the time: a leader asks more often than others."""


async def append_surely(
    bus: Bus,
    messages: Sequence[Message],
    fence: Fence,
    *,
    within_s: float = unknown_s,
    chance: Callable[[], float] = random.random,
) -> Position:
    """Append, and know that it is done: the position of the last message.

    An unanswered append is sent again; a refused one is looked for in the log: found, it landed; something foreign
    there, the fence moves over it; another term's events there, Fenced is raised. Raises OutcomeUnknown (NoQuorum if
    the last try said so) if `within_s` brings no outcome.

    Authors who were refused at the same moment come back at different ones: each pause is drawn by `chance` up to a
    bound, which doubles with each time that the bus says it has too much to do. ("full jitter"; Mesos:
    --registration_backoff_factor)
    """
    until = asyncio.get_running_loop().time() + within_s
    try:
        return await bus.append(messages, fence)  # nearly always that is all; one try ends by itself
    except (OutcomeUnknown, Fenced) as error:
        told, why = error, OutcomeUnknown(str(error))
    longest_s = 2 * pause_s
    try:
        async with asyncio.timeout_at(until):
            while True:
                if isinstance(told, OutcomeUnknown):
                    why = told
                    await asyncio.sleep(longest_s * chance())
                    if isinstance(told, Overloaded):
                        longest_s = min(2 * longest_s, within_s / tries_min)
                else:
                    why = OutcomeUnknown("refused, with nothing new in the log")
                    try:
                        landed, fence = await _read_back(bus, messages, fence)
                    except NoMajority as no_majority:  # a leader that is left alone refuses, too (nats-server: 10164)
                        told = NoQuorum(str(no_majority))
                        continue
                    except NoAnswer as no_answer:
                        told = OutcomeUnknown(str(no_answer))
                        continue
                    if landed is not None:
                        return landed
                try:
                    return await bus.append(messages, fence)
                except (OutcomeUnknown, Fenced) as error:
                    told = error
    except TimeoutError:
        raise type(why)(f"{fence.log}: no outcome of an append for {within_s:g} s: {why}") from None


async def _read_back(bus: Bus, messages: Sequence[Message], fence: Fence) -> tuple[Position | None, Fence]:
    """Where the messages landed, if they did, and the fence for the next try."""
    newest = await bus.last(fence.log)
    end = newest.position if newest else Position(0)
    if end < fence.last:
        raise Fenced(f"{fence.log} ends at position {end}, before {fence.last}")
    if end == fence.last:
        await asyncio.sleep(pause_s)  # an earlier try is on its way through the servers (nats-server: 10164)
        return None, fence
    if newest is not None and _is(newest, messages[-1]):
        return end, fence  # nearly always: no reader is made, which would be work for a server that has too much
    mine = decode(messages[0].subject, messages[0].body, 0)
    async with aclosing(_between(bus, fence, end)) as records:
        async for record in records:
            if _is(record, messages[0]):
                return Position(record.position + len(messages) - 1), fence
            if _extends(record, mine):
                raise Fenced(f"{fence.log}: position {record.position} was written by another instance")
    return None, fence._replace(last=end)


async def _between(bus: Bus, fence: Fence, end: Position) -> AsyncGenerator[Record, None]:
    async with aclosing(bus.follow(fence.log, after=fence.last)) as following:
        async for records in following:
            for record in records:
                yield record
                if record.position >= end:
                    return


def _is(record: Record, message: Message) -> bool:
    return record.body == message.body and record.subject == message.subject


def _extends(record: Record, mine: Event) -> bool:
    """Whether a record takes the place in the chain that the event we want to append would have."""
    try:
        event = decode(record.subject, record.body, record.position)
    except Foreign:
        return False
    except Unreadable as unreadable:
        event = unreadable.event
    return (event.n, event.prev) == (mine.n, mine.prev)
