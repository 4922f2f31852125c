"""Whether what clients did and saw can have been: their histories against the log, and against one another.

    an acknowledged request is in the log once and answered once; one whose outcome is unknown is there at most once
    what was acknowledged before another was asked is before it in the log
    a read shows what was acknowledged before it was asked, nothing that was not asked before it ended,
    and nothing older than what a read that had ended before it showed; where hosts are cut off, that long before
    (ops/decisions/0012)
(Jepsen: single-writer registers that only rise, so a total order needs no search; Herlihy, Wing 1990)

Rule of this room: pure, and it knows nothing of how Busbar works but that the stream has one order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from bus.codec import Foreign, Unreadable, decode
from bus.nouns import Position, RequestId
from bus.port import Record
from bus.subjects import Kind
from tests.faults.history import History, Read, Write


@dataclass
class Said:
    """What the log has of every request."""

    asked: dict[RequestId, list[Position]] = field(default_factory=lambda: defaultdict(list))
    answered: dict[RequestId, list[Position]] = field(default_factory=lambda: defaultdict(list))


def said(records: Iterable[Record]) -> Said:
    """The requests of a stream, and their answers."""
    found = Said()
    for record in records:
        try:
            event = decode(record.subject, record.body, record.position)
        except Foreign:
            continue
        except Unreadable as unreadable:
            event = unreadable.event
        if event.request is not None:
            side = found.asked if event.by.kind is Kind.CLIENT else found.answered
            side[event.request].append(record.position)
    return found


def check(history: History, log: Said, *, behind_us: int = 0) -> list[str]:
    """What cannot have been, in words; nothing if all of it can.

    `behind_us`: a read may not know what others knew for less than this when it was asked.
    """
    return [
        *(wrong for write in history.writes for wrong in _landed(write, log)),
        *_in_order(history.writes, log),
        *_fresh(history.writes, history.reads, behind_us),
        *_never_back(history.reads, behind_us),
    ]


def _landed(write: Write, log: Said) -> Iterator[str]:
    """Once in the log and once answered, if anybody said so; never more often."""
    asked, answered = log.asked.get(write.request, []), log.answered.get(write.request, [])
    name = f"{write.client}: {write.what} {write.request}"
    if len(asked) > 1:
        yield f"{name} is in the log {len(asked)} times: {asked}"
    if len(answered) > 1:
        yield f"{name} is answered {len(answered)} times: {answered}"
    if write.stored is not None and write.stored not in asked:
        yield f"{name} was stored as {write.stored}, the log has it at {asked or 'no position'}"
    if write.answer is not None:
        if not asked:
            yield f"{name} was answered and is not in the log"
        if write.answer not in answered:
            yield f"{name} was answered by {write.answer}, the log has the answer at {answered or 'no position'}"
    if answered and asked and answered[0] < asked[0]:
        yield f"{name} is answered at {answered[0]}, before it was asked at {asked[0]}"


def _in_order(writes: Sequence[Write], log: Said) -> Iterator[str]:
    """What was known to be done before another was asked is before it in the log."""
    done = sorted((write for write in writes if write.ended_at is not None and write.answer), key=_ended_at)
    newest, known = 0, 0
    latest: Write | None = None
    for write in sorted(writes, key=lambda each: each.asked_at):
        while known < len(done) and _ended_at(done[known]) < write.asked_at:
            if (done[known].answer or 0) > newest:
                newest, latest = done[known].answer or 0, done[known]
            known += 1
        places = log.asked.get(write.request, [])
        if latest is not None and places and places[0] < newest:
            yield (
                f"{write.client}: {write.what} {write.request} is at {places[0]}, before the answer {newest} "
                f"to {latest.request}, which {latest.client} knew before this was asked"
            )


def _fresh(writes: Sequence[Write], reads: Sequence[Read], behind_us: int) -> Iterator[str]:
    """A read shows what was acknowledged before it, and nothing that was asked only later."""
    by_register: dict[str, list[Write]] = defaultdict(list)
    for write in writes:
        if write.register and not write.refused:
            by_register[write.register].append(write)
    for read in reads:
        for register, seen in read.registers.items() if read.ended_at is not None else ():
            wrote = by_register.get(register, [])
            known = [one.value for one in wrote if one.answer and _ended_at(one) < read.asked_at - behind_us]
            least = max(known, default=0)
            most = max((one.value for one in wrote if one.asked_at <= _ended_at(read)), default=0)
            if not least <= seen <= most:
                yield (
                    f"{read.client}: {read.what} of {read.of} asked at {read.asked_at} showed {register} = {seen}, "
                    f"but {least} was acknowledged before it, and {most} is the highest asked before it ended"
                )


def _never_back(reads: Sequence[Read], behind_us: int) -> Iterator[str]:
    """Of two reads one of which ended before the other was asked, the later shows no less. Whoever asked."""
    for what, seen in _observations(reads).items():
        done = sorted(seen, key=lambda each: _ended_at(each[0]))
        highest: tuple[int, ...] = ()
        shown_by: Read | None = None
        known = 0
        for read, value in sorted(seen, key=lambda each: each[0].asked_at):
            while known < len(done) and _ended_at(done[known][0]) < read.asked_at - behind_us:
                if done[known][1] > highest:
                    shown_by, highest = done[known]
                known += 1
            if shown_by is not None and value < highest:
                yield (
                    f"{read.client}: {read.what} of {read.of} asked at {read.asked_at} showed {what} = {value}, "
                    f"but {shown_by.client} had seen {highest} by {shown_by.ended_at}"
                )


def _observations(reads: Sequence[Read]) -> dict[str, list[tuple[Read, tuple[int, ...]]]]:
    found: dict[str, list[tuple[Read, tuple[int, ...]]]] = defaultdict(list)
    for read in reads:
        if read.ended_at is None:
            continue
        for register, value in read.registers.items():
            found[register].append((read, (value,)))
        if read.n:
            found[f"the log of {read.of}"].append((read, (read.epoch, read.n)))
    return found


def _ended_at(operation: Write | Read) -> int:
    assert operation.ended_at is not None, "only of what ended"
    return operation.ended_at
