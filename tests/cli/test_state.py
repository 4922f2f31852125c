"""The past is what it was: what is folded now is what was remembered then, whoever asks, however often."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner, Result

import components.past
from bus import codec
from bus.events import Event
from bus.job_rows import RunsQuestion
from bus.memory import MemoryBus
from bus.nouns import Now, Position, second
from bus.port import Answerer, Record
from bus.queries import PastQuestion, QueryRefused, TasksQuestion, answer_ok, answer_refused, fields, pack
from bus.services import AppSpecified, InstanceScheduled, facts_of
from bus.subjects import CLUSTER, Author, Kind
from bus.subjects import ask as ask_subject
from cli import moments, points, remote
from cli.changes import Change, Move, changes
from cli.main import busbar
from cli.minds import MAKERS
from cli.moments import Moment, Point
from cli.output import Output
from cli.remote import PastTeller
from cli.session import MARATHON, METRONOME, THE_MASTER
from cli.then import NAMES, Past, reading
from components.component import state_hash
from components.mind import Mind
from components.snapshots import snapshots_of
from eventstore.store import open_writer
from tests.cli.mouth import Mouth
from tests.cli.recorded import recorded, stream

SEED = 7
ASKED = {
    "agents": ("node list", THE_MASTER, "agents", None),
    "tasks": ("task list", THE_MASTER, "tasks", TasksQuestion()),
    "apps": ("app list", MARATHON, "apps", None),
    "jobs": ("job list", METRONOME, "jobs", None),
    "runs": ("job runs", METRONOME, "runs", RunsQuestion()),
}
LISTS = ("node list", "task list", "framework list", "offer list", "app list", "job list", "job runs")


def last() -> int:
    """The position of the last event."""
    return len(stream(SEED))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("recorded"), SEED)


@pytest.fixture(autouse=True)
def long_after(monkeypatch: pytest.MonkeyPatch) -> Now:
    """It is a day after the last event was said."""
    now = Now(said_at(last()) + 86_400 * second)
    monkeypatch.setattr(moments, "wall_clock", lambda: now)
    monkeypatch.setattr(points, "wall_clock", lambda: now)
    return now


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(busbar, list(map(str, args)))


def ask(*args: str | Path) -> Any:
    result = run(*args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def remembered(author: Author, to: int) -> Mind[Any]:
    """A component's mind after its last whole decision up to a position, folded from the first event."""
    mine = [record for record in stream(SEED)[:to] if record.subject.startswith(f"{CLUSTER}.{author}.")]
    while mine and not event_of(mine[-1]).last:
        mine.pop()
    mind: Mind[Any] = Mind(MAKERS[NAMES[author]]({}), CLUSTER, lambda: Now(0))
    for record in mine:
        mind.remember(record)
    return mind


async def then(store: Path, position: int, look: Any) -> Any:
    async with reading(store) as reader:
        return await look(Past(reader, store, Point(Position(position), Now(0)), Output()))


async def hashes(past: Past) -> list[str]:
    return [state_hash((await past.mind(author)).state) for author in NAMES]


# ---- what is told is what was --------------------------------------------------------------------------------------


def test_at_any_position_the_state_is_that_of_a_fold_from_the_first_event(tmp_path, monkeypatch):
    """Forty positions in any order, with snapshots every fifty events: hash for hash, of every component."""
    monkeypatch.setattr(components.past, "snapshot_events", 50)
    store, random = recorded(tmp_path, SEED), Random(1)
    for _ in range(40):
        position = random.randint(1, last())
        told = asyncio.run(then(store, position, hashes))
        assert told == [state_hash(remembered(author, position).state) for author in NAMES], position
    assert len(list(snapshots_of(store).iterdir())) > len(NAMES), "no snapshot was left for the next question"


def test_the_cut_goes_through_no_decision(store):
    """The state in the middle of a decision never was anybody's: the decision counts from its last event on."""
    middle = next(
        record.position
        for record in stream(SEED)
        if record.subject.startswith(f"{CLUSTER}.master.") and not event_of(record).last
    )

    async def whole(past: Past) -> tuple[bool, int]:
        mind = await past.mind(THE_MASTER)
        return mind.whole, mind.state.n

    n = event_of(stream(SEED)[middle - 1]).n
    assert asyncio.run(then(store, middle, whole))[0]
    assert asyncio.run(then(store, middle, whole))[1] < n


@pytest.mark.parametrize("what", ASKED)
def test_rows_are_those_the_component_would_have_answered(store, what):
    """The same functions on the same state: state, the list command, and the component agree at every tenth of time."""
    command, author, query, question = ASKED[what]
    for tenth in range(1, 11):
        position = last() * tenth // 10
        mind = remembered(author, position)
        at = ask("state", "--store", store, "--at", position)["at"]
        live = mind.component.queries[query](mind.state, pack(question), Now(at))
        expected = json.loads(json.dumps(fields(live)))
        assert ask("state", what if what != "runs" else "jobs", "--store", store, "--at", position)[what] == expected
        assert ask(*command.split(), "--store", store, "--at", position) == expected


@pytest.mark.parametrize("command", LISTS)
def test_every_list_command_prints_the_past_as_a_table(store, command):
    result = run(*command.split(), "--at", "300", "--store", store)
    assert result.exit_code == 0, result.stderr
    assert result.stdout


def test_state_shows_everything_under_its_name(store):
    result = run("state", "--at", "300", "--store", store)
    headings = ("agents", "frameworks", "offers", "tasks", "apps", "jobs", "runs")
    assert result.stdout.startswith("after event 300, ")
    assert [line for line in result.stdout.splitlines() if line in headings] == list(headings)


def test_ended_tasks_are_shown_when_asked_for(store):
    live = ask("state", "tasks", "--at", last(), "--store", store)["tasks"]
    every = ask("state", "tasks", "--all", "--at", last(), "--store", store)["tasks"]
    assert len(live) < len(every)
    assert ask("task", "list", "--all", "--at", last(), "--store", store) == every


def test_before_a_component_said_anything_it_has_nothing(store):
    assert ask("app", "list", "--at", 1, "--store", store) == []


def test_the_store_of_a_data_directory_is_found(store, tmp_path):
    """Of several masters' stores the one that is furthest."""
    for node, count in (("master", 100), ("master-n2", 200)):
        (tmp_path / node).mkdir()
        asyncio.run(_prefix(tmp_path / node / "events.db", count))
    assert ask("state", "--data", tmp_path)["position"] == 200


async def _prefix(path: Path, count: int) -> None:
    async with open_writer(path, cluster=CLUSTER, log=None) as writer:
        await writer.append(stream(SEED)[:count])


def test_a_directory_that_cannot_be_written_is_read_all_the_same(tmp_path, monkeypatch):
    """Snapshots are a cache: where there is no place for them the answer only takes longer."""
    monkeypatch.setattr(components.past, "snapshot_events", 50)
    store = recorded(tmp_path, SEED)
    snapshots_of(store).write_text("in the way")
    assert ask("state", "--store", store, "--at", 300)["tasks"]


# ---- moments --------------------------------------------------------------------------------------------------------


def event_of(record: Record) -> Event:
    return codec.decode(record.subject, record.body, record.position)


def said_at(position: int) -> Now:
    return event_of(stream(SEED)[position - 1]).at


def test_a_time_is_the_last_event_said_by_then(store):
    times = [said_at(position) for position in range(1, last() + 1)]
    position = next(n for n in range(250, last()) if min(times[n:]) > times[n - 1])  # authors' clocks and delays differ
    at = times[position - 1]
    text = datetime.fromtimestamp(at / second).astimezone().isoformat(timespec="microseconds")
    found = ask("state", "tasks", "--store", store, "--at", text)
    assert found["at"] == at
    assert found["position"] == position


def local(now: Now) -> datetime:
    return datetime.fromtimestamp(now / second).astimezone()


def test_times_as_people_write_them(long_after, monkeypatch):
    """A time of day is today's, unless it says yesterday; with a zone it is that zone's; `-10m` counts from now."""

    class Today(moments.date):
        @classmethod
        def today(cls) -> Any:
            return local(long_after).date()

    monkeypatch.setattr(moments, "date", Today)
    today = local(long_after).replace(hour=0, minute=0, second=0, microsecond=0)
    expected = {
        "00:00": today,
        "today 00:00": today,
        "yesterday 14:00": today - timedelta(hours=10),
        "yesterday 14:00:05": today - timedelta(hours=9, minutes=59, seconds=55),
        f"{today:%Y-%m-%d}": today,
        f"{today:%Y-%m-%dT%H:%M}": today,
        f"{today:%Y-%m-%d %H:%M:%S}": today,
        "2026-11-22T21:00Z": datetime.fromisoformat("2026-11-22T21:00+00:00"),
        "2026-11-22T21:00:00.5+02:00": datetime.fromisoformat("2026-11-22T19:00:00.5+00:00"),
        "-10m": local(Now(long_after - 600 * second)),
        "-1d": local(Now(long_after - 86_400 * second)),
    }
    for text, when in expected.items():
        moment = moments.MOMENT.convert(text, None, None)
        assert moment.time == round(when.timestamp() * second), text
    assert moments.MOMENT.convert("812", None, None) == Moment(position=Position(812))
    assert moments.MOMENT.convert("now", None, None) == moments.NOW


WRONG = {
    "0": "before the first event there was nothing: positions begin at 1",
    "100000": "there is no event 100000 yet; the last one is ",
    "9" * 19: f"there is no event {'9' * 19} yet; the last one is ",
    "9" * 20: "is not a moment",
    "-1": "'-1' is not a moment: expected a position, 2026-11-22T21:00, 21:00, 'yesterday 14:00', -10m or now",
    "": "is not a moment",
    "soon": "is not a moment",
    "25:00": "is not a moment",
    "21:60": "is not a moment",
    "tomorrow 10:00": "is not a moment",
    "2026-02-30": "is not a moment",
    "2026-11-22T21:00+99:00": "is not a moment",
    "2026-W01-1": "is not a moment",
    "1970-01-01": "before the first event",
    "9999-12-31": "is in the future: it is ",
    "2019-01-01T10:00": "2019-01-01 10:00:00 is before the first event, which was said at ",
    "-999999999d": "before the first event",
}


@pytest.mark.parametrize("text", WRONG)
@pytest.mark.parametrize("command", ["state", "task list"])
def test_a_moment_that_is_none_is_refused_exactly(store, command, text):
    """As wrong usage, and nothing is left behind."""
    result = run(*command.split(), "--store", store, "--at", text)
    assert result.exit_code == 2, result.output
    assert WRONG[text] in result.stderr
    assert not snapshots_of(store).exists()


def test_an_empty_store_has_no_past(tmp_path):
    asyncio.run(_prefix(tmp_path / "events.db", 0))
    result = run("state", "--store", tmp_path / "events.db")
    assert (result.exit_code, "the store is empty" in result.stderr) == (2, True)


def test_only_a_store_of_the_whole_stream_has_the_datacenter_in_it(tmp_path):
    async def make() -> None:
        async with open_writer(tmp_path / "agent.db", cluster=CLUSTER, log=Author(Kind.AGENT, "a1")):
            pass

    asyncio.run(make())
    (tmp_path / "text.db").write_text("hello")
    result = run("state", "--store", tmp_path / "agent.db")
    assert (result.exit_code, "is a copy of the log of agent.a1, not of the whole stream" in result.stderr) == (1, True)
    assert run("state", "--store", tmp_path / "text.db").exit_code == 1
    assert run("state", "--store", tmp_path / "nothing.db").exit_code == 2


def test_without_a_store_and_without_a_cluster_it_says_so(tmp_path):
    result = run("state", "--data", tmp_path)
    assert (result.exit_code, "no cluster" in result.stderr) == (3, True)


# ---- from afar ------------------------------------------------------------------------------------------------------


async def test_from_afar_the_leading_master_tells_the_same(store):
    """Through the query `past`, by the same command in a process of its own, whatever the clock and zone here."""
    mouth = Mouth()
    bus = MemoryBus(mouth.server)
    await bus.serve(ask_subject(CLUSTER, THE_MASTER, "past"), answering(PastTeller(str(store))))
    here, afar = ("--store", str(store)), ("--bus", "nats://far:4222")
    for command in ("state --all", "job runs", "offer list"):
        at = ("--at", "300")
        expected, found = await mouth(*command.split(), *here, *at), await mouth(*command.split(), *afar, *at)
        assert (found.exit_code, found.stdout) == (0, expected.stdout), found.stderr
    for command in ("app queue", f"app explain {waited_at()[1]}", f"app explain {waited_at()[1]} --on a1"):
        at = ("--at", str(waited_at()[0]))
        expected, found = await mouth(*command.split(), *here, *at), await mouth(*command.split(), *afar, *at)
        assert (found.exit_code, found.stdout) == (0, expected.stdout), found.stderr
    refused = await mouth("state", *afar, "--at", "100000")
    assert (refused.exit_code, "there is no event 100000 yet; the last one is" in refused.stderr) == (1, True)


def waited_at() -> tuple[int, str]:
    """A position at which an instance of some app waited, and that app."""
    for record in stream(SEED):
        event = event_of(record)
        if isinstance(event.fact, InstanceScheduled) and event.last:
            return event.position, event.fact.app
    raise AssertionError("nothing ever waited")


def test_why_an_app_waited_is_told_for_ever(store):
    """At that moment, whatever came of it since."""
    position, app = waited_at()
    told = ask("app", "explain", app, "--store", store, "--at", position)
    assert (told["app"], told["waiting"] > 0) == (app, True)
    assert [one["agent"] for one in told["not_offered"]] == [row["agent"] for row in ask_agents(store, position)]
    one = ask("app", "explain", app, "--store", store, "--at", position, "--on", told["not_offered"][0]["agent"])
    assert [each["agent"] for each in one["not_offered"]] == [told["not_offered"][0]["agent"]]
    result = run("app", "explain", app, "--store", store, "--at", position, "--on", "nowhere")
    assert (result.exit_code, "no node is called 'nowhere'; there are: a" in result.stderr) == (1, True)


def ask_agents(store: Path, position: int) -> Any:
    return ask("node", "list", "--store", store, "--at", position)


def answering(teller: PastTeller) -> Answerer:
    async def answer(question: bytes) -> bytes:
        try:
            return answer_ok(await teller(question))
        except QueryRefused as refused:
            return answer_refused(str(refused))

    return answer


async def test_a_master_bounds_what_a_question_costs_it(store, tmp_path, monkeypatch):
    """Time and size; one without a store says that it has none; a process that fails says why."""
    question = pack(PastQuestion(what="all", moment="300"))
    with pytest.raises(QueryRefused, match="records its events nowhere"):
        await PastTeller(None)(question)
    with pytest.raises(QueryRefused, match="does not exist"):
        await PastTeller(str(tmp_path / "none.db"))(question)
    monkeypatch.setattr(remote, "told_bytes_max", 1000)
    with pytest.raises(QueryRefused, match="larger than 1000 bytes"):
        await PastTeller(str(store))(question)
    monkeypatch.setattr(remote, "told_s", 0.01)
    with pytest.raises(QueryRefused, match=r"not folded within 0\.01 s"):
        await PastTeller(str(store))(question)


# ---- what changed ---------------------------------------------------------------------------------------------------


def undone(rows: dict[str, dict[str, Any]], told: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rows after, with the changes taken back."""
    found = {name: dict(row) for name, row in rows.items()}
    for change in told:
        if change["change"] == "new":
            del found[change["id"]]
        else:
            row = found.setdefault(change["id"], {})
            row.update({move["field"]: move["before"] for move in change.get("moves", [])})
    return found


def test_a_difference_taken_back_gives_the_state_before(store):
    """For twenty pairs of moments: tasks and their states, apps and how many instances of each run."""
    random = Random(2)
    for _ in range(20):
        first, end = sorted(random.sample(range(1, last() + 1), 2))
        told = ask("diff", "--store", store, "--from", first, "--to", end)
        before, after = (ask("state", "--store", store, "--at", position) for position in (first, end))
        for name, key, field in (("tasks", "task", "state"), ("runs", "run", "state"), ("agents", "agent", "state")):
            states = [{row[key]: {field: _state(row)} for row in rows[name]} for rows in (before, after)]
            ended = {change["id"] for change in told[name]} - set(states[1])
            known = states[1] | {name: {} for name in ended}
            kept = {id_: row[field] for id_, row in undone(known, told[name]).items()}
            assert kept == {id_: row[field] for id_, row in states[0].items()}, (name, first, end)


def _state(row: dict[str, Any]) -> str:
    status: dict[str, str] = row.get("status", row)
    return status["state"]


def test_the_words_of_a_difference():
    before = {"a": {"state": "ACTIVE", "size": 1}, "b": {"state": "ACTIVE"}, "same": {"state": "ACTIVE"}}
    after = {
        "a": {"state": "LOST", "size": 1, "why": "pings"},
        "c": {"state": "NEW", "note": ""},
        "same": before["same"],
    }
    told = changes(before, after)
    assert told == [
        Change(id="a", change="changed", moves=(Move("state", "ACTIVE", "LOST"), Move("why", None, "pings"))),
        Change(id="b", change="gone", moves=(Move("state", "ACTIVE", None),)),
        Change(id="c", change="new", moves=(Move("state", None, "NEW"), Move("note", None, ""))),
    ]
    assert [str(change) for change in told] == [
        "~ a  state ACTIVE -> LOST, why none -> pings",
        "- b  state ACTIVE",
        "+ c  state NEW",
    ]


def test_nothing_changed_between_a_moment_and_itself(store):
    result = run("diff", "--store", store, "--from", "300", "--to", "300")
    assert "nothing changed" in result.stdout


def test_moments_the_wrong_way_round_are_refused(store):
    result = run("diff", "--store", store, "--from", "300", "--to", "200")
    assert result.exit_code == 2
    assert "--from is event 300, after --to, event 200" in result.stderr


def scaled_in(said):
    """Each event that says that an app is scaled, with what it says of the app."""
    specified = [(event, fact) for event in said for fact in facts_of(event.fact) if isinstance(fact, AppSpecified)]
    return [(event, fact) for event, fact in specified if fact.changed == "scaled"]


def test_a_changed_app_is_told_field_by_field(tmp_path):
    """An app is given another number of instances: that field is told, with both values. (none: the default, 1)"""
    seed = next(seed for seed in range(1, 20) if scaled_in(map(event_of, stream(seed))))
    said = [event_of(record) for record in stream(seed)]
    scaled, store, told = scaled_in(said), recorded(tmp_path, seed), []
    for event, fact in scaled:
        end = next(each.position for each in said[event.position - 1 :] if each.by == event.by and each.last)
        found = ask("diff", "--store", store, "--from", event.position - 1, "--to", end)["apps"]
        mine = [change for change in found if change["id"] == fact.app.id and change["change"] == "changed"]
        moves = [move for change in mine for move in change["moves"] if move["field"] == "instances"]
        ends = [tuple(1 if move[end] is None else move[end] for end in ("before", "after")) for move in moves]
        assert all(after == fact.app.instances != before for before, after in ends)
        told += moves
    assert told, "no app was scaled in this history"
