"""The views say what those who decide hold to be so: compared with their own folds, over simulated datacenters."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.codec import decode
from bus.port import Record
from components import marathon, master, metronome
from components.component import Component, S, apply
from components.marathon.config import MarathonConfig
from components.master.config import MasterConfig
from components.metronome.config import MetronomeConfig
from eventstore.asking import SqlRefused, asked
from eventstore.fields import field_reader
from eventstore.store import open_reader
from eventstore.views import VIEWS
from tests.eventstore.damage import make_store
from tests.eventstore.tale import ALICE, MARATHON, MASTER, Tale, twelve_steps
from tests.simulation.clock import run_virtually
from tests.simulation.datacenter import Datacenter

pytestmark = pytest.mark.timeout(120)


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with asked(path, sql, limit_s=30) as found:
        return list(found.rows)


async def folded(path: Path, component: Component[S]) -> S:
    """A component's state, folded from its log in a store."""
    state = component.start()
    async with open_reader(path) as reader:
        nobodys = {each.position for each in await reader.foreign(limit=10_000)}
        async for records in reader.records(author=component.author):
            for record in records:
                if record.position not in nobodys:
                    apply(component, state, decode(*_parts(record)))
    return state


def _parts(record: Record) -> tuple[str, bytes, int]:
    return record.subject, record.body, record.position


async def history(tmp_path: Path, seed: int, three: bool) -> Path:
    """Everything that was said in a simulated datacenter."""
    import asyncio

    datacenter = Datacenter(seed, three=three)
    await asyncio.to_thread(run_virtually, datacenter.run())
    return await make_store(tmp_path / "events.db", datacenter.server.records())


@pytest.mark.parametrize(("seed", "three"), [(1, False), (2, False), (5, True), (9, True)])
async def test_the_views_say_what_the_deciders_hold_to_be_so(tmp_path: Path, seed: int, three: bool) -> None:
    """Tasks, offers and agents as the master has them, apps as Marathon, runs as Metronome."""
    path = await history(tmp_path, seed, three)
    state = await folded(path, master.component(MasterConfig()))
    tasks = {name: (task.status.state, task.info.agent) for name, task in (state.tasks | state.ended).items()}
    told = {row[0]: tuple(row[1:]) for row in rows(path, "select task, state, agent from tasks")}
    assert {name: told[name] for name in tasks} == tasks
    assert len(tasks) > 5
    offers = rows(path, "select offer, framework, agent, made_at from offers where state = 'OUTSTANDING'")
    assert sorted(offers) == sorted(
        (name, offer.framework, offer.agent, offer.made_at) for name, offer in state.offers.items()
    )
    agents = rows(path, "select agent, state = 'ACTIVE', cpu_milli, registered_at from agents")
    assert sorted(agents) == sorted(
        (name, each.active, each.total.cpu_milli, each.registered_at) for name, each in state.agents.items()
    )
    await _schedulers(path)


async def _schedulers(path: Path) -> None:
    wanted = await folded(path, marathon.component(MarathonConfig()))
    apps = {row[0]: row[1:] for row in rows(path, "select app, instances, state = 'REMOVED', version from apps")}
    for name, app in wanted.apps.items():
        if app.latest.app is not None:  # pods are not in this view
            assert apps[name] == (0 if app.removed else app.latest.app.instances, app.removed, app.latest.version)
    assert all(apps[name][1] for name in apps.keys() - wanted.apps.keys())
    jobs = await folded(path, metronome.component(MetronomeConfig()))
    runs = {row[0]: row[1:] for row in rows(path, "select run, state, finished_at, attempts, created_at from runs")}
    for job in jobs.jobs.values():
        for run in (*job.active.values(), *job.finished):
            assert runs[run.run][:2] == (run.state, run.finished_at)
            assert runs[run.run][2:] == (run.attempt_count, run.created_at)


async def test_the_events_view_shows_every_message(tmp_path: Path) -> None:
    """With what its envelope carries; what is nobody's has a reason instead."""
    tale, _ = twelve_steps()
    tale.put("dc.agent.a1.task.reported.main", b"no MessagePack")
    path = await make_store(tmp_path / "events.db", tale.records)
    found = rows(path, "select position, author, type, trace, epoch, foreign_because is null from events")
    assert len(found) == len(tale.records)
    assert found[0] == (1, "master.main", "leader.elected", None, 1, 1)
    assert found[-1] == (20, "agent.a1", "task.reported", None, None, 0)
    assert [row[3] for row in found if row[1] == "client.u-alice"] == ["call-1", "call-1"]
    assert rows(path, "select field(data, 'launch[0].task') from events where type = 'offer.accepted'") == [("web.1",)]


async def test_one_thing_is_found_by_an_index(tmp_path: Path) -> None:
    """What is asked of one task or offer reads its mentions, not the table."""
    tale, _ = twelve_steps()
    path = await make_store(tmp_path / "events.db", tale.records)
    for view, key in {"tasks": "task", "offers": "offer", "apps": "app", "runs": "run", "agents": "agent"}.items():
        plan = [row[3] for row in rows(path, f"explain query plan select * from {view} where {key} = 'x'")]
        assert any("mention" not in step and "PRIMARY KEY (noun=? AND id=?" in str(step) for step in plan), plan
        assert not any(str(step).startswith(("SCAN event", "SCAN told")) for step in plan), plan


def test_every_view_is_documented() -> None:
    for name, view in VIEWS.items():
        assert view.row, name
        assert all(view.columns.values()), name


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("epoch", 1),
        ("n", 1),
        ("at", None),
        ("to", "marathon"),
        ("trace", None),
        ("data.framework", "marathon"),
        ("data.offers[0].agent", "a1"),
        ("data.offers[offer=o-1-0].resources.cpu_milli", 100),
        ("data.offers[offer=none].agent", None),
        ("data.offers[7].agent", None),
        ("data.offers[0].attributes", "{}"),
        ("data.more", None),
        ("data.nothing", None),
        ("nothing", None),
        ("__class__", None),
        ("data.__class__", None),
        ("data..framework", None),
        ("data.offers[", None),
        ("'; drop table event", None),
    ],
)
def test_a_field_is_found_by_its_path(path: str, value: object) -> None:
    """Also where the event leaves it out because it is the default; what is not there is nothing."""
    from tests.eventstore.tale import offer_made

    tale = Tale()
    tale.say(MASTER, "marathon", offer_made("o-1-0"))
    found = field_reader()(tale.records[0].body, path)
    assert found == (tale.now if path == "at" else value)


def test_what_cannot_be_read_has_no_fields() -> None:
    """And an event of a type that this release does not know has those it carries."""
    import msgpack

    field = field_reader()
    assert field(b"garbage", "epoch") is None
    assert field(None, "epoch") is None
    assert field(b"", 7) is None
    unknown = {"v": 1, "type": "cake.baked", "by": str(ALICE), "to": "_", "at": 5, "data": {"layers": 3}}
    body = msgpack.packb(unknown)
    assert (field(body, "data.layers"), field(body, "at"), field(body, "data.layers.x")) == (3, 5, None)
    assert field('{"a": [1, {"b": 2}]}', "a[1].b") == 2
    assert field("no json", "a") is None


async def test_a_log_of_one_author_can_be_asked_too(tmp_path: Path) -> None:
    tale, _ = twelve_steps()
    path = await make_store(tmp_path / "events.db", tale.of(MARATHON), log=MARATHON)
    assert rows(path, "select app, state from apps") == [("/web", "WANTED")]
    assert rows(path, "select count(*) from events") == [(len(tale.of(MARATHON)),)]
    with pytest.raises(SqlRefused, match="no such column"):
        rows(path, "select colour from apps")
