"""How the front of a stream is dropped, though it denies every purge.

The server drops the oldest messages of a stream that gets a bound and the rule to discard the old. What is appended in
that moment would push out messages that must stay; so the stream first takes nothing, then everybody's readers are
ended (they begin anew, and find out if they are too late), then it is cut, then the bound is gone from each server,
then it takes messages again.
Rule of this room: at every instant at which this process may die, nothing is lost but what was to be; a stream that
takes nothing is what remains, and the next trim mends it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from bus import fitness
from bus.nouns import Position, second
from bus.port import BusUnreachable, NoAnswer, NotCurrent, StreamDiverged, batch_events_max
from bus.stream import ApiError, Stream, retry_pause_s

slack = batch_events_max
"""Messages that are left before the position asked for: one batch that was on its way through the servers when the
stream was told to take nothing, and came in behind a new leader of it, does no harm."""
current_s = 5.0
"""How long the servers may take to be seen current."""
cut_s = 10.0
"""How long the stream takes nothing before the trim is given up."""
abandoned_s = 15.0
"""A stream that took nothing for so long is not being trimmed any more: who began it gave up, or is dead."""
thaw_s = 60.0
"""How long it is tried to make the stream take messages again."""
BARRIER = "trimmed"
"""A reader of nobody's."""


async def trim(stream: Stream, first: Position) -> None:
    """Drop the messages before `first`; up to `slack` of them may stay.

    Raises ValueError for a position behind the last, NotCurrent, NoAnswer, StreamDiverged.
    """
    found = await stream.info()
    extent = stream.whole(found)
    if first > extent.last:
        raise ValueError(f"the stream ends at position {extent.last}, it cannot begin at {first}")
    if fitness.is_frozen(found["config"]):
        raise NotCurrent(f"stream {stream.name} is being trimmed by another")
    if first - extent.first <= slack:
        return
    await _all_current(stream)
    config = fitness.record_trim(found["config"], first)
    try:
        async with asyncio.timeout(cut_s):
            await _cut(stream, config, first)
    except TimeoutError:
        raise NotCurrent(f"stream {stream.name} was not ready to be cut within {cut_s:g} s") from None
    finally:
        await _thaw(stream, config)
    await stream.extent()  # raises StreamDiverged if it begins behind what is recorded now


async def _cut(stream: Stream, config: dict[str, Any], first: Position) -> None:
    await _update(stream, fitness.frozen(config))
    last = await _settled(stream)
    await _end_readers(stream)
    await _update(stream, fitness.cut_to(config, last - first + 1 + slack))
    await _update(stream, fitness.frozen(config))
    await seen_by_all(stream, config["num_replicas"] - 1)


async def mend(stream: Stream) -> None:
    """A stream takes messages again that was left half trimmed. Raises BusUnreachable."""
    try:
        async with asyncio.timeout(abandoned_s + thaw_s):
            found = await _frozen_for(stream, abandoned_s)
            if found is not None:
                await _thaw(stream, found["config"])
    except (TimeoutError, NoAnswer) as error:
        raise BusUnreachable(f"{stream.link.url}: stream {stream.name} cannot be mended now: {error}") from None
    except StreamDiverged:  # there is none
        return


async def _frozen_for(stream: Stream, long_s: float) -> dict[str, Any] | None:
    """What there is, if it takes nothing for so long; None if it takes messages."""
    until = asyncio.get_running_loop().time() + long_s
    while True:
        found = await stream.ask(f"STREAM.INFO.{stream.name}")
        if not fitness.is_frozen(found["config"]):
            return None
        if asyncio.get_running_loop().time() >= until:
            return found
        await asyncio.sleep(retry_pause_s)


async def _update(stream: Stream, config: dict[str, object]) -> None:
    await stream.ask(f"STREAM.UPDATE.{stream.name}", config)


async def _thaw(stream: Stream, config: dict[str, Any]) -> None:
    """Whatever was done so far, the stream takes messages again and discards none."""
    why = NoAnswer("silence")
    try:
        async with asyncio.timeout(thaw_s):
            while True:
                try:
                    return await _update(stream, fitness.thawed(config))
                except NoAnswer as error:
                    why = error
                await asyncio.sleep(retry_pause_s)
    except TimeoutError:
        raise NoAnswer(f"stream {stream.name} takes nothing until it is trimmed again: {why}") from None


def _behind(found: dict[str, Any]) -> list[str]:
    """The servers of the stream that would not do what the others do."""
    replicas = found["cluster"].get("replicas", ())
    return sorted(peer["name"] for peer in replicas if not peer["current"] or peer.get("lag", 0))


async def _all_current(stream: Stream) -> None:
    """Raises NotCurrent, naming who is behind or away; under load each is behind for a moment now and then."""
    until = asyncio.get_running_loop().time() + current_s
    while behind := _behind(await stream.info()):
        if asyncio.get_running_loop().time() >= until:
            raise NotCurrent(f"{', '.join(behind)}: behind or away; all servers of the stream must be current")
        await asyncio.sleep(retry_pause_s / 10)


async def _settled(stream: Stream) -> Position:
    """The last position of a stream that takes nothing, once all its servers have it."""
    before = Position(-1)
    while True:
        found = await stream.info()
        last = stream.whole(found).last
        if last == before and not _behind(found):
            return last
        before = last


async def _end_readers(stream: Stream) -> None:
    """Nobody reads from before the cut on: a reader whose next message is dropped would be given the one after.

    Meanwhile whoever has a message refused looks what its log ends with, again and again, and is a reader, too: how
    many rounds it takes is chance, so the time is the bound.
    """
    while names := (await stream.ask(f"CONSUMER.NAMES.{stream.name}", {}))["consumers"]:
        await asyncio.gather(*(_end_reader(stream, name) for name in names))


async def seen_by_all(stream: Stream, others: int) -> None:
    """Every server of the stream, its leader and so many others, has done what was asked of its configuration.

    The leader may be ahead: one that still has the bound while there is a message again would drop the oldest for it.
    What servers are asked they do in one order, so who takes part in a reader that is made now has come this far.
    (nats-server: jetstream_cluster.go applyMetaEntries)
    """
    reader = {"durable_name": BARRIER, "name": BARRIER, "ack_policy": "none", "deliver_policy": "new"}
    config = reader | {"mem_storage": True, "inactive_threshold": int(abandoned_s * second) * 1000}
    await stream.ask(f"CONSUMER.CREATE.{stream.name}.{BARRIER}", {"stream_name": stream.name, "config": config})
    while taking_part(await stream.ask(f"CONSUMER.INFO.{stream.name}.{BARRIER}")) < others:
        await asyncio.sleep(retry_pause_s / 10)
    await _end_reader(stream, BARRIER)


def taking_part(reader: dict[str, Any]) -> int:
    """How many servers keep a reader beside the one that leads it."""
    return sum(peer["current"] for peer in reader.get("cluster", {}).get("replicas", ()))


async def _end_reader(stream: Stream, name: str) -> None:
    try:
        await stream.ask(f"CONSUMER.DELETE.{stream.name}.{name}")
    except ApiError:  # 404: it ended by itself
        return
