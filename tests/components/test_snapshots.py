"""A state that was written and read back is the state, whatever happens next; and no file is trusted unseen."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus import codec
from bus.events import Event
from bus.nouns import Now, Position
from bus.port import Record
from bus.subjects import CLUSTER
from components import executor, master
from components.component import Component, Entry, State, state_hash
from components.mind import Mind
from components.snapshots import MAGIC, Packed, Snapshots, kept_positions, newest_kept, resume
from components.versions import version_of
from eventstore.store import open_reader, open_writer
from tests.components.agent.test_properties import Player, agent
from tests.components.driver import Stage
from tests.components.executor.nouns import CONFIG
from tests.components.executor.test_properties import play as play_executor
from tests.components.marathon import test_properties as marathon_histories
from tests.components.master.honest import ACTIONS, World
from tests.components.metronome import test_properties as metronome_histories
from tests.simulation import toys

Any_ = Component[Any]


def chained(log: Sequence[Event]) -> list[Record]:
    """What a component said on a stage, as the records of its log."""
    records, prev = [], b""
    for event in log:
        body = codec.encode(msgspec.structs.replace(event, prev=prev))
        records.append(Record(event.position, codec.subject(CLUSTER, event), body))
        prev = codec.link(body)
    return records


def mind_of(component: Any_) -> Mind[Any]:
    return Mind(component, CLUSTER, lambda: Now(0))


async def store(path: Path, component: Any_, records: Sequence[Record]) -> None:
    async with open_writer(path, cluster=CLUSTER, log=component.author) as writer:
        await writer.append(records)


def folded(component: Any_, records: Sequence[Record]) -> Mind[Any]:
    mind = mind_of(component)
    for record in records:
        mind.remember(record)
    return mind


async def written(snapshots: Snapshots[Any], records: Sequence[Record]) -> Packed:
    """The snapshot of the state after these records, on the disk."""
    mind = folded(snapshots.component, records)
    packed = snapshots.pack(mind.state, records[-1].position, mind.prev)
    await snapshots.write(packed)
    return packed


# ---- what is read back is what was written ----------------------------------------------------------------------


def outlives(component: Any_, log: Sequence[Event], cut: int) -> None:
    """Cut a history where a decision ended; from the snapshot on, both states stay equal at every event."""
    ends = [index + 1 for index, event in enumerate(log) if event.last]
    asyncio.run(_outlives(component, chained(log), ends[cut % len(ends)]))


async def _outlives(component: Any_, records: Sequence[Record], cut: int) -> None:
    with TemporaryDirectory() as directory:
        file = Path(directory) / "events.db"
        await store(file, component, records)
        snapshots = Snapshots(component, Path(directory) / "snapshots")
        await written(snapshots, records[:cut])
        async with open_reader(file) as reader:
            found = await snapshots.newest(reader)
    assert found is not None
    read, known = mind_of(component), folded(component, records[:cut])
    resume(read, found)
    assert_same(read, known)
    assert shared(read.state) == shared(known.state) == []
    for record in records[cut:]:
        read.remember(record)
        known.remember(record)
        assert_same(read, known)
        if read.whole:
            component.check(read.state)


def assert_same(one: Mind[Any], other: Mind[Any]) -> None:
    assert one.state == other.state
    assert state_hash(one.state) == state_hash(other.state)
    assert (one.prev, one.heard, one.whole, one.resigned) == (other.prev, other.heard, other.whole, other.resigned)


def shared(state: State) -> list[object]:
    """What in a state can change and is reached in two ways: after reading it would be two things."""
    seen: dict[int, object] = {}
    found: list[object] = []

    def look(thing: object) -> None:
        if not isinstance(thing, dict | list | set | Entry) and not is_dataclass(thing):
            return
        if id(thing) in seen:
            if not _frozen(thing):
                found.append(thing)
            return
        seen[id(thing)] = thing
        if isinstance(thing, dict):
            for each in thing.values():
                look(each)
        elif isinstance(thing, list | set):
            for each in thing:
                look(each)
        elif isinstance(thing, Entry):
            for name in thing.__struct_fields__:
                look(getattr(thing, name))
        else:
            for field in fields(thing):  # type: ignore[arg-type]  # an instance, checked above
                look(getattr(thing, field.name))

    look(state)
    return found


def _frozen(thing: object) -> bool:
    return is_dataclass(thing) and bool(thing.__dataclass_params__.frozen)  # type: ignore[attr-defined]


CUTS = settings(
    max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
SEEDS = st.integers(0, 10_000)


@CUTS
@given(SEEDS, SEEDS)
def test_the_master_outlives_its_snapshot(seed: int, cut: int):
    random, world = Random(seed), World()
    for _ in range(60):
        random.choice(ACTIONS)(world, random.randrange(1000), random.randrange(1000))
    outlives(world.dc.component, world.dc.log, cut)


@CUTS
@given(SEEDS, SEEDS)
def test_marathon_outlives_its_snapshot(seed: int, cut: int):
    stage = marathon_histories.live_through(Random(seed), 40).play
    outlives(stage.component, stage.log, cut)


@CUTS
@given(SEEDS, SEEDS)
def test_metronome_outlives_its_snapshot(seed: int, cut: int):
    stage = metronome_histories.live_through(Random(seed), 40).play
    outlives(stage.component, stage.log, cut)


@CUTS
@given(st.data(), SEEDS)
def test_an_agent_outlives_its_snapshot(data: st.DataObject, cut: int):
    stage = Stage(agent(False))
    Player(data, stage).play()
    outlives(stage.component, stage.log, cut)


@st.composite
def executors(draw: st.DrawFn) -> Stage[executor.ExecutorState]:
    return play_executor(draw, executor.component(CONFIG)).stage


@CUTS
@given(executors(), SEEDS)
def test_an_executor_outlives_its_snapshot(stage: Stage[executor.ExecutorState], cut: int):
    outlives(stage.component, stage.log, cut)


def test_the_histories_hold_answers_of_many_kinds():
    """An answer's fact is of any class: without these the tests above would say little of it."""
    kinds: set[str] = set()
    for seed in range(5):
        for histories in (marathon_histories, metronome_histories):
            state = histories.live_through(Random(seed), 60).play.state
            kinds |= {answer.fact.type for answer in state.answers.values()}
    assert len(kinds) >= 6, kinds


# ---- no file is trusted unseen ----------------------------------------------------------------------------------


@pytest.fixture
def played() -> Stage[Any]:
    stage: Stage[Any] = Stage(master.component(master.MasterConfig()))
    stage.begin()
    for _ in range(8):
        stage.advance(1)
        stage.begin()
    return stage


@pytest.fixture
async def place(tmp_path: Path, played: Stage[Any]) -> tuple[Path, list[Record]]:
    records = chained(played.log)
    await store(tmp_path / "events.db", played.component, records)
    return tmp_path, records


async def position_found(directory: Path, component: Any_, to: int | None = None) -> int | None:
    async with open_reader(directory / "events.db") as reader:
        snapshots = Snapshots(component, directory / "snapshots")
        found = await snapshots.newest(reader, None if to is None else Position(to))
    return None if found is None else found.record.position


def damaged(content: bytes) -> bytes:
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


HARM = {
    "one bit": damaged,
    "its end": lambda content: content[:-1],
    "nearly all of it": lambda content: content[:5],
    "all of it": lambda content: b"",
    "what kind of file it is": lambda content: b"x" + content[1:],
    "more than was written": lambda content: content + b"\0",
}


@pytest.mark.parametrize("harm", HARM)
async def test_a_damaged_snapshot_is_passed_over_for_the_one_before(place, played, harm):
    directory, records = place
    snapshots = Snapshots(played.component, directory / "snapshots")
    for cut in (2, 4):
        await written(snapshots, records[:cut])
    [newest] = (directory / "snapshots").glob(f"*-{records[3].position:012}.*")
    newest.write_bytes(HARM[harm](newest.read_bytes()))
    assert await position_found(directory, played.component) == records[1].position


async def test_what_cannot_be_read_or_is_no_snapshot_is_passed_over(place, played):
    directory, records = place
    await written(Snapshots(played.component, directory / "snapshots"), records[:2])
    (directory / "snapshots" / "notes.txt").write_text("mine")
    version = version_of(played.component)[:16]
    (directory / "snapshots" / f"master.main-000000000099.{version}.snapshot").mkdir()
    assert await position_found(directory, played.component) == records[1].position


async def test_a_snapshot_of_another_history_is_passed_over(place, played, tmp_path):
    """The event at its position has another hash: it is another cluster's, or the log went on otherwise."""
    directory, _ = place
    other: Stage[Any] = Stage(played.component, now=Now(played.log[0].at + 1))
    for _ in range(9):
        other.begin()
    await written(Snapshots(played.component, directory / "snapshots"), chained(other.log)[:2])
    assert await position_found(directory, played.component) is None


async def test_a_snapshot_beyond_the_store_or_the_asked_position_is_passed_over(place, played):
    directory, records = place
    snapshots = Snapshots(played.component, directory / "snapshots")
    for cut in (2, 4):
        await written(snapshots, records[:cut])
    assert await position_found(directory, played.component, to=records[3].position - 1) == records[1].position
    assert await position_found(directory, played.component, to=records[1].position - 1) is None
    await store(directory / "shorter.db", played.component, records[:3])
    (directory / "shorter.db").replace(directory / "events.db")
    for beside in ("events.db-wal", "events.db-shm"):
        (directory / beside).unlink(missing_ok=True)
    assert await position_found(directory, played.component) == records[1].position


async def test_renaming_makes_no_other_snapshot_of_one(place, played):
    directory, records = place
    await written(Snapshots(played.component, directory / "snapshots"), records[:2])
    [file] = (directory / "snapshots").iterdir()
    file.rename(file.with_name(file.name.replace(f"{records[1].position:012}", f"{records[3].position:012}")))
    assert await position_found(directory, played.component) is None


# ---- versions ---------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class OtherState(State):
    served: int = 0
    scored: int = 0
    missed: int = 0


def otherwise(state: Any, event: Event) -> None:
    toys.player_fold(state, event)


def player() -> Any_:
    return toys.player(3, toys.Board())


OTHERS = {
    "another class of state": lambda: replace(player(), start=OtherState),
    "a fold from another room": lambda: replace(player(), fold=otherwise),
    "another setting in its state": lambda: replace(player(), start=partial(toys.PlayerState, scored=7)),
}


@pytest.mark.parametrize("other", OTHERS)
async def test_a_state_written_by_one_version_is_ignored_by_another(tmp_path, other):
    stage: Stage[Any] = Stage(player())
    stage.begin()
    records = chained(stage.log)
    await store(tmp_path / "events.db", stage.component, records)
    await written(Snapshots(stage.component, tmp_path / "snapshots"), records)
    assert await position_found(tmp_path, OTHERS[other]()) is None
    assert await position_found(tmp_path, player()) == records[-1].position


def test_settings_that_only_decide_are_no_other_version():
    """A weight or a timeout changes what is decided, not what is remembered; what is kept is remembered."""
    settings_ = [
        master.MasterConfig(),
        master.MasterConfig(weights={"prod": 2.0}, offer_timeout_s=3),
        master.MasterConfig(tasks_kept_max=5),
    ]
    first, same, other = (version_of(master.component(each)) for each in settings_)
    assert first == same != other


# ---- files ------------------------------------------------------------------------------------------------------


async def test_the_newest_are_kept_and_further_back_some(place, played):
    """The newest three, and one of each 50,000 positions before them; of other versions the newest three."""
    directory, records = place
    mind = folded(played.component, records)
    snapshots, other = Snapshots(played.component, directory / "s"), Snapshots(played.component, directory / "s")
    other.version = "0" * 64
    every = kept_positions // 5
    for each in (other, snapshots):
        for number in range(1, 21):
            await each.write(each.pack(mind.state, Position(number * every), mind.prev))
    kept: dict[str, list[int]] = {}
    for path in (directory / "s").iterdir():
        kept.setdefault(path.name.split(".")[2], []).append(int(path.name.split("-")[1][:12]) // every)
    assert sorted(kept.pop("0" * 16)) == list(range(21 - newest_kept, 21))
    assert [sorted(positions) for positions in kept.values()] == [[4, 9, 14, 18, 19, 20]]


async def test_a_file_never_renamed_is_cleared_away_once_it_is_old(place, played):
    directory, records = place
    (directory / "snapshots").mkdir()
    old, fresh = directory / "snapshots" / "a.1.new", directory / "snapshots" / "b.2.new"
    for path in (old, fresh):
        path.write_bytes(MAGIC)
    os.utime(old, (0, 0))
    await written(Snapshots(played.component, directory / "snapshots"), records[:2])
    assert (old.exists(), fresh.exists()) == (False, True)


async def test_a_place_that_cannot_be_written_costs_no_more_than_the_snapshot(place, played):
    directory, records = place
    (directory / "file").write_text("in the way")
    await written(Snapshots(played.component, directory / "file"), records[:2])
    async with open_reader(directory / "events.db") as reader:
        assert await Snapshots(played.component, directory / "file").newest(reader) is None
