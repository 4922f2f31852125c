"""`busbar status`: who is up, who leads and who stands by, what on the stream is nobody's, what is wrong."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from bus.memory import MemoryBus
from bus.nouns import Position
from bus.port import ClusterRow
from bus.queries import DIVERGED, LEADER, STANDBY, AlarmRow, Foreigners, Instance, QueryRefused, answer_ok
from bus.subjects import Author, roll
from cli.session import MARATHON, METRONOME, SINGLETONS, THE_MASTER
from cli.status import Look, Picture
from tests.cli.mouth import START, Mouth, playing

QUIET = {"agents": [], "frameworks": []}


async def test_what_is_nobodys_event_is_alarmed() -> None:
    """An operator sees it where they look first."""
    mouth = Mouth()
    foreign = Foreigners(count=2, position=7, subject="dc.x", because="dc.x #7: not MessagePack (FormatError)")
    async with playing(mouth, THE_MASTER, QUIET | {"foreign": foreign}):
        said = (await mouth("status")).stdout
    assert "alarm: 2 messages are on the stream that no component wrote" in said
    assert said.endswith("the last is #7, dc.x #7: not MessagePack (FormatError)\n")


async def test_a_clean_stream_is_not_spoken_of() -> None:
    mouth = Mouth()
    async with playing(mouth, THE_MASTER, QUIET | {"foreign": Foreigners()}):
        assert "alarm" not in (await mouth("status")).stdout


async def test_a_master_without_a_store_has_nothing_to_tell() -> None:
    def refuse(_question: bytes) -> object:
        raise QueryRefused("this master records its events nowhere")

    mouth = Mouth()
    async with playing(mouth, THE_MASTER, QUIET | {"foreign": refuse}):
        assert (await mouth("status")).stdout.startswith("cluster dc, 0 events")


def picture(*instances: Instance, **more: Any) -> Picture:
    """What status would show of three nodes on which nothing else is wrong."""
    servers = [ClusterRow(f"dc-n{number}", leader=number == 1, current=True, lag=0) for number in (1, 2, 3)]
    looks = [Look(author, None, expected=False) for author in SINGLETONS]
    whole = {"position": Position(9), "looks": looks, "servers": servers, "alarms": [], "foreign": None}
    return Picture(instances=instances, **(whole | more))


def instance(by: Author, node: str, standing: str = STANDBY) -> Instance:
    return Instance(by=str(by), node=node, instance=node, standing=standing, epoch=1, n=3, position=Position(9))


LED = [
    *(instance(THE_MASTER, node, standing) for node, standing in (("n1", LEADER), ("n2", STANDBY), ("n3", STANDBY))),
    *(instance(each, node) for each in (MARATHON, METRONOME) for node in ("n1", "n2")),
]


@pytest.mark.parametrize(
    ("seen", "wrong"),
    [
        (picture(*LED), []),
        (picture(*LED[1:]), ["standbys are missing: the master has 2 of 3 instances"]),
        (picture(*LED[:-1]), ["standbys are missing: metronome has 1 of 2 instances"]),
        (
            picture(*LED[:2], instance(THE_MASTER, "n3", DIVERGED), *LED[3:]),
            ["diverged: master.main on n3"],
        ),
        (
            picture(*LED, servers=[ClusterRow("dc-n1", True, True, 0), ClusterRow("dc-n2", False, False, 812)]),
            ["bus servers that are not current: dc-n2"],
        ),
        (picture(*LED, looks=[Look(MARATHON, None)]), ["no leader: marathon"]),
        (picture(looks=[Look(MARATHON, None)], servers=[]), ["not running: marathon"]),
        (
            picture(*LED, alarms=[AlarmRow(alarm="checkpoint", message="disputed", since=START)]),
            ["alarms: checkpoint"],
        ),
    ],
)
def test_what_is_wrong_is_said_in_words(seen: Picture, wrong: list[str]) -> None:
    """Each thing an operator has to look at, and nothing else."""
    assert seen.wrong == wrong


async def test_instances_are_shown_where_somebody_stands_by() -> None:
    """Who leads, who follows how far behind, and of a diverged one what is known; then the exit code is 1."""
    mouth = Mouth()
    bad = msgspec.structs.replace(instance(THE_MASTER, "n2", DIVERGED), position=Position(4), message="bad from 5 on")
    async with (
        instances(mouth, THE_MASTER, [instance(THE_MASTER, "n1", LEADER), bad]),
        playing(mouth, THE_MASTER, QUIET | {"foreign": Foreigners(), "alarms": []}),
    ):
        said = await mouth("status")
        content = json.loads((await mouth("status", "--json")).stdout)
    assert said.exit_code == 1
    assert "master.main  n1    LEADER    1     9         0       0\n" in said.stdout
    assert "master.main  n2    DIVERGED  1     4         5       0\n" in said.stdout
    assert "master.main on n2: bad from 5 on" in said.stdout
    assert "diverged: master.main on n2" in said.stderr
    assert [each["standing"] for each in content["instances"]] == ["LEADER", "DIVERGED"]
    assert content["wrong"][-1] == "diverged: master.main on n2"


@asynccontextmanager
async def instances(mouth: Mouth, author: Author, rows: list[Instance]) -> AsyncIterator[None]:
    """Each on a connection of its own, as real ones."""
    buses = [MemoryBus(mouth.server) for _ in rows]
    for bus, row in zip(buses, rows, strict=True):
        await bus.serve(roll("dc", author), answering(row))
    yield
    for bus in buses:
        await bus.close()


def answering(row: Instance) -> Callable[[bytes], Coroutine[Any, Any, bytes]]:
    async def answer(_question: bytes) -> bytes:
        return answer_ok(row)

    return answer
