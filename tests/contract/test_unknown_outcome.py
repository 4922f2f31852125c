"""An append without an answer becomes a known one: landed once, or refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from bus.append import append_surely, unknown_s
from bus.memory import LOST, Fate, Faults, MemoryBus, MemoryServer
from bus.nouns import Now, Position
from bus.port import Fence, Fenced, Message, OutcomeUnknown
from tests.contract.places import CLUSTER, LEADER, Place, read
from tests.contract.proxy import Trouble
from tests.contract.speech import chain, fence
from tests.simulation.clock import run_virtually


@pytest.mark.parametrize("size", [1, 7], ids=["single", "batch"])
@pytest.mark.parametrize("trouble", list(Trouble), ids=lambda trouble: trouble.name.lower())
async def test_an_append_without_an_answer_is_in_the_log_once(place: Place, trouble: Trouble, size: int) -> None:
    """Lost before it landed, lost after, landed late: the writer learns the one position, and its log goes on."""
    bus = await place.troubled(trouble)
    first = chain(place.author, "first")
    assert await append_surely(await place.connect(), first, fence(place.author, 0)) == 1
    messages = chain(place.author, *(f"word {i}" for i in range(size)), n=2)
    position = await append_surely(bus, messages, fence(place.author, 1))
    assert position == 1 + size
    assert (
        await append_surely(bus, chain(place.author, "next", n=2 + size), fence(place.author, position)) == position + 1
    )
    found = await read(bus, place.all, size + 2)
    assert [record.body for record in found[1:-1]] == [message.body for message in messages]


@pytest.mark.parametrize("trouble", list(Trouble), ids=lambda trouble: trouble.name.lower())
async def test_an_append_that_met_trouble_says_that_its_outcome_is_unknown(place: Place, trouble: Trouble) -> None:
    """One try never guesses."""
    bus = await place.troubled(trouble)
    with pytest.raises(OutcomeUnknown):
        await bus.append(chain(place.author, "word"), fence(place.author, 0))


@pytest.mark.parametrize("trouble", [None, *Trouble], ids=lambda trouble: trouble.name.lower() if trouble else "none")
async def test_another_instance_that_wrote_in_my_place_owns_the_log(place: Place, trouble: Trouble | None) -> None:
    """The same number after the same event, with other content: this writer is fenced and nothing of it is stored."""
    bus, usurper = await (place.troubled(trouble) if trouble else place.connect()), await place.connect()
    begun = chain(place.author, "begun", "by another", "who goes on")
    await usurper.append(begun[:1], fence(place.author, 0))
    await usurper.append(begun[1:], fence(place.author, 1))
    late = chain(place.author, "begun", "mine")[1:]
    with pytest.raises(Fenced, match="another instance"):
        await append_surely(bus, late, fence(place.author, 1))
    assert [record.body for record in await read(bus, place.all, 3)] == [message.body for message in begun]


@pytest.mark.parametrize("size", [1, 3], ids=["single", "batch"])
async def test_the_fence_moves_over_foreign_messages(place: Place, size: int) -> None:
    """Garbage and replays in my log do not stop me: what I append lands behind them."""
    bus = await place.connect()
    begun = chain(place.author, "begun")
    await bus.append(begun, fence(place.author, 0))
    subject = begun[0].subject
    await place.inject(subject, b"garbage")
    await place.inject(subject, begun[0].body)
    await place.inject(f"{CLUSTER}.{place.author}.task", b"not even a subject of ours")
    mine = chain(place.author, "begun", *"abc"[:size])[1:]
    assert await append_surely(bus, mine, fence(place.author, 1)) == 4 + size
    assert [record.body for record in await read(bus, place.all, 4 + size)][4:] == [message.body for message in mine]


async def test_an_append_that_landed_before_something_foreign_is_found(place: Place) -> None:
    """The answer was lost, garbage came behind what landed: nothing is written twice."""
    bus, other = await place.troubled(Trouble.ANSWER_LOST), await place.connect()
    mine = chain(place.author, "a", "b", "c")
    with pytest.raises(OutcomeUnknown):
        await bus.append(mine, fence(place.author, 0))
    await read(other, place.log, 3)
    await place.inject(mine[0].subject, b"garbage")
    assert await append_surely(bus, mine, fence(place.author, 0)) == 3
    assert len(await read(bus, place.all, 4)) == 4


async def test_a_fence_ahead_of_its_log_is_refused(place: Place) -> None:
    """A writer that knows more than the stream must not write."""
    bus = await place.connect()
    await bus.append(chain(place.author, "a"), fence(place.author, 0))
    with pytest.raises(Fenced, match="before 7"):
        await append_surely(bus, chain(place.author, "b", n=8), fence(place.author, 7))


class _Deaf(Faults):
    """A server that takes nothing."""

    async def append(self, messages: Sequence[Message]) -> Fate:
        return LOST


class _InFlight(MemoryBus):
    """Refuses the first tries, as a cluster does while an earlier try is on its way. (nats-server: 10164)"""

    refusals = 2

    async def append(self, messages: Sequence[Message], fence: Fence | None) -> Position:
        self.refusals -= 1
        if self.refusals >= 0:
            raise Fenced("wrong last sequence constant")
        return await super().append(messages, fence)


def test_an_outcome_does_not_stay_unknown_for_ever() -> None:
    """After a minute the writer gives its log up, and says why."""

    async def give_up() -> float:
        bus = MemoryBus(MemoryServer(CLUSTER, lambda: Now(0)), _Deaf())
        with pytest.raises(OutcomeUnknown, match="for 60 s: no answer to the append"):
            await append_surely(bus, chain(LEADER, "a"), fence(LEADER, 0))
        return asyncio.get_running_loop().time()

    assert unknown_s <= run_virtually(give_up()) < unknown_s + 1


def test_a_refusal_with_nothing_behind_the_fence_is_tried_again() -> None:
    """It is not another instance's doing: an earlier try has not been applied yet."""

    async def go_on() -> int:
        return await append_surely(
            _InFlight(MemoryServer(CLUSTER, lambda: Now(0))), chain(LEADER, "a"), fence(LEADER, 0)
        )

    assert run_virtually(go_on()) == 1
