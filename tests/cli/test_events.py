"""`busbar events`: live, by position, told again."""

import asyncio
import json

import pytest

from bus.events import FrameworkSuppressed, KillRequested, TaskLaunched, TaskUpdated
from bus.nouns import (
    Command,
    Now,
    Offer,
    Position,
    Resources,
    Source,
    TaskInfo,
    TaskState,
    TaskStatus,
    second,
)
from bus.port import Record
from bus.services import SchedulerLocated
from bus.subjects import Author, Kind
from cli.replay import Pace
from cli.session import MARATHON, THE_MASTER, wall_clock
from cli.story import line_of, tell, words_of
from eventstore.store import open_writer
from tests.cli.mouth import START, Mouth

CLIENT = Author(Kind.CLIENT, "u-alice")


def located():
    return SchedulerLocated(framework="marathon", through="master.main")


def launched(task="web.1"):
    command = Command(shell="x")
    info = TaskInfo(task=task, name="web", agent="a1", framework="marathon", resources=Resources(), command=command)
    return TaskLaunched(task=info, role="*", offers=("o-3-0",))


def updated(task="web.1"):
    status = TaskStatus(task=task, state=TaskState.FAILED, source=Source.EXECUTOR, message="died", exit_status=3)
    return TaskUpdated(framework="marathon", status=status, agent="a1")


@pytest.fixture
def mouth():
    """A stream of five events: 1 a client's, 2 to 4 the master's, 5 garbage."""
    mouth = Mouth()
    mouth.say(CLIENT, located(), "marathon")
    mouth.say(THE_MASTER, FrameworkSuppressed(framework="marathon"))
    mouth.say(THE_MASTER, launched(), "a1")
    mouth.say(THE_MASTER, updated(), "marathon")
    mouth.server.inject("dc.master.main.task.updated.marathon", b"garbage")
    return mouth


def positions(result):
    return [int(line.split()[0][1:]) for line in result.stdout.splitlines()]


def test_a_line_names_position_time_author_type_addressee_and_every_field_that_holds_something(mouth):
    """One line an event, made from its fields."""
    text = tell(mouth.server.records()[3]).text
    assert text.startswith("#4 ")
    assert text.endswith(
        "master.main task.updated -> marathon framework=marathon status=web.1:TASK_FAILED exit 3 (died) agent=a1"
    )


def test_nouns_are_told_short():
    """An offer by id, agent and amount; a task by its id."""
    offer = Offer(offer="o-1-0", agent="a1", hostname="h", resources=Resources(cpu_milli=500, mem_mb=64))
    from bus.events import OfferMade

    made = OfferMade(framework="marathon", role="*", offers=(offer,) * 6, expires_at=START)
    words = list(words_of(made))
    assert words[2] == "offers=" + ",".join(["o-1-0@a1(cpus:0.5;mem:64;disk:0)"] * 4) + ",+2"
    assert next(words_of(launched())) == "task=web.1"


def test_garbage_is_shown_as_what_it_is(mouth):
    """A message that is nobody's event stops no reader."""
    told = tell(mouth.server.records()[4])
    assert (told.event, "is foreign" in told.text, "foreign" in told.content) == (None, True, True)


def test_an_event_of_a_newer_release_is_shown_with_what_can_be_read():
    """Who, to whom, when; and that its fields are not known."""
    import msgpack

    body = {"v": 1, "type": "moon.landed", "by": "master.main", "to": "_", "at": 5, "data": {"x": 1}}
    told = tell(Record(Position(9), "dc.master.main.moon.landed._", msgpack.packb(body)))
    assert "#9" in told.text
    assert "master.main moon.landed is unreadable" in told.text


async def test_tail_shows_the_last_events_and_ends(mouth):
    """Without -f it ends with what was said when it began."""
    assert positions(await mouth("events", "tail")) == [1, 2, 3, 4, 5]
    assert positions(await mouth("events", "tail", "-n", "2")) == [4, 5]
    assert positions(await mouth("events", "tail", "--from", "3")) == [3, 4, 5]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (("--noun", "task"), [3, 4, 5]),
        (("--participle", "launched"), [3]),
        (("--kind", "client"), [1]),
        (("--id", "main", "--to", "marathon"), [4, 5]),
        (("--task", "web"), [3, 4]),
        (("--task", "other"), []),
        (("--noun", "moon"), []),
        (("--noun", "task", "-n", "1"), [5]),
        (("--since", "1d"), [1, 2, 3, 4, 5]),
    ],
)
async def test_tail_shows_only_what_was_asked_for(mouth, given, shown):
    """By kind, author, noun, participle, addressee, task, number and time."""
    assert positions(await mouth("events", "tail", *given)) == shown


async def test_since_is_by_the_time_the_stream_stored_an_event():
    """What was said before is left out."""
    late = Mouth()
    late.server.clock = lambda: Now(wall_clock() - 3600 * second)
    late.say(CLIENT, located(), "marathon")
    late.server.clock = wall_clock
    late.say(CLIENT, located(), "marathon")
    assert positions(await late("events", "tail", "--since", "10m")) == [2]
    assert positions(await late("events", "tail", "--since", "2h")) == [1, 2]


@pytest.mark.parametrize("given", [("--noun", "Task!"), ("--to", "a.b"), ("--kind", "king")])
async def test_a_filter_that_breaks_the_grammar_is_a_usage_error(mouth, given):
    """Exit code 2; nothing is shown."""
    result = await mouth("events", "tail", *given)
    assert (result.exit_code, result.stdout) == (2, "")


async def test_starts_that_contradict_each_other_are_a_usage_error(mouth):
    """One start position, not two."""
    result = await mouth("events", "tail", "--from", "1", "--since", "1m")
    assert (result.exit_code, "exclude each other" in result.stderr) == (2, True)


async def test_a_start_behind_the_end_is_refused_with_the_end(mouth):
    """Following may begin with the next one; the one after that is nowhere."""
    result = await mouth("events", "tail", "--from", "99")
    assert (result.exit_code, "there is no event 99 yet; the last one is 5" in result.stderr) == (1, True)


@pytest.mark.timeout(20)
async def test_following_misses_nothing_between_history_and_live():
    """Events said while the history is being shown come once, in order."""
    mouth, count = Mouth(), 300

    async def talk():
        for _ in range(count):
            mouth.say(CLIENT, located(), "marathon")
            await asyncio.sleep(0)
        mouth.say(CLIENT, KillRequested(task="the-end"), "marathon")

    seen = []

    class Enough(Exception):
        pass

    from bus.memory import MemoryBus
    from cli.events import tail
    from cli.memory import ClusterMemory
    from cli.output import Output
    from cli.session import Session

    class Collecting(Output):
        def line(self, content, text):
            seen.append(content["position"])
            if content["type"] == "kill.requested":
                raise Enough

    talking = asyncio.create_task(talk())
    await asyncio.sleep(0)
    session = Session(MemoryBus(mouth.server), CLIENT, "alice", Collecting())
    unset = ("lines", "since", "name", "kind", "noun", "participle", "to", "task_id", "actor")
    given = dict.fromkeys(unset) | {"from_": 1}
    with pytest.raises(Enough):
        await tail.callback.__wrapped__(ClusterMemory(session), session.out, follow=True, **given)
    await talking
    assert seen == list(range(1, count + 2))


async def test_json_lines_carry_the_whole_event(mouth):
    """One object a line, the fields of the fact under `data`."""
    result = await mouth("events", "tail", "-n", "2", "--json")
    update, garbage = (json.loads(line) for line in result.stdout.splitlines())
    assert (update["type"], update["by"], update["to"]) == ("task.updated", "master.main", "marathon")
    assert update["data"]["status"]["state"] == "TASK_FAILED"
    assert garbage["position"] == 5
    assert "foreign" in garbage


async def test_show_prints_everything_one_event_carries(mouth):
    """Envelope and fact; for garbage, why it is garbage."""
    shown = await mouth("events", "show", "4")
    assert "task.updated" in shown.stdout
    assert json.loads(shown.stdout[shown.stdout.index("{") :])["status"]["task"] == "web.1"
    assert (await mouth.json("events", "show", "1"))["data"] == {"framework": "marathon", "through": "master.main"}
    assert "is foreign" in (await mouth("events", "show", "5")).stdout
    missing = await mouth("events", "show", "6")
    assert (missing.exit_code, "there is no event 6 yet; the last one is 5" in missing.stderr) == (1, True)


async def test_replay_tells_a_part_of_history_from_the_bus(mouth):
    """From and to are both told."""
    result = await mouth("events", "replay", "--from", "2", "--to", "4", "--speed", "0")
    assert positions(result) == [2, 3, 4]
    assert positions(await mouth("events", "replay", "--speed", "0")) == [1, 2, 3, 4, 5]
    assert positions(await mouth("events", "replay", "--from", "77", "--speed", "0")) == []


async def test_replay_tells_history_from_a_store_file_with_nothing_else_running(mouth, tmp_path):
    """A file is enough."""
    file = tmp_path / "events.db"
    async with open_writer(file, cluster="dc", log=None) as writer:
        await writer.append(mouth.server.records())
    result = await Mouth()("events", "replay", "--store", str(file), "--from", "3", "--speed", "0")
    assert (result.exit_code, positions(result)) == (0, [3, 4, 5])


async def test_replay_of_a_file_that_is_no_store_says_so(tmp_path):
    """Exit code 1 and what the file is not."""
    file = tmp_path / "x.db"
    file.write_text("no database")
    result = await Mouth()("events", "replay", "--store", str(file))
    assert (result.exit_code, str(file) in result.stderr, file.read_text()) == (1, True, "no database")


async def test_the_pace_is_the_recorded_one_divided_by_the_speed(monkeypatch):
    """Two events ten seconds apart are one second apart at speed 10."""
    waits = []

    async def note(delay_s):
        waits.append(round(delay_s, 3))

    monkeypatch.setattr("cli.replay.asyncio.sleep", note)
    monkeypatch.setattr("cli.replay.time.monotonic", lambda: 100.0)
    pace = Pace(10)
    for at in (START, START + 10 * second, START + 15 * second):
        await pace.keep(Now(at))
    assert waits == [0.0, 1.0, 1.5]
    await Pace(0).keep(START)
    assert len(waits) == 3


def test_a_line_of_a_client_without_addressee_has_no_arrow(mouth):
    """`_` is nobody."""
    assert "->" not in line_of(tell(mouth.server.records()[1]).event)
    assert MARATHON.id == "marathon"


@pytest.fixture
async def store(mouth, tmp_path):
    """The same five events in a store file."""
    async with open_writer(tmp_path / "events.db", cluster="dc", log=None) as writer:
        await writer.append(mouth.server.records())
    return str(tmp_path / "events.db")


async def test_around_shows_what_was_said_just_before_and_after(mouth, store):
    """The event itself is marked; a side that ends there is shorter; a store and the cluster tell the same."""
    result = await mouth("events", "around", "3", "-n", "1")
    assert positions(result) == [2, 3, 4]
    assert [line.endswith("<--") for line in result.stdout.splitlines()] == [False, True, False]
    assert positions(await mouth("events", "around", "1")) == [1, 2, 3, 4, 5]
    assert (await mouth("events", "around", "3", "-n", "1", "--store", store)).stdout == result.stdout
    lines = (await mouth("events", "around", "5", "-n", "1", "--json")).stdout.splitlines()
    assert [json.loads(line)["position"] for line in lines] == [4, 5]


async def test_around_nothing_is_refused(mouth, store):
    """With the last position there is."""
    for more in ([], ["--store", store]):
        result = await mouth("events", "around", "6", *more)
        assert result.exit_code == 1
        assert "there is no event 6 yet; the last one is 5" in result.stderr
        assert (await mouth("events", "around", "0", *more)).exit_code == 2


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], [1, 2, 3, 4, 5]),
        (["-n", "2"], [4, 5]),
        (["-n", "1", "--kind", "client"], [1]),
        (["--id", "main", "-n", "2"], [4, 5]),
        (["--noun", "task", "--participle", "launched"], [3]),
        (["--to", "marathon"], [1, 4, 5]),
        (["--task", "web", "-n", "1"], [4]),
        (["--from", "4"], [4, 5]),
    ],
)
async def test_a_store_is_told_like_the_cluster(mouth, store, args, expected):
    """Every way to choose events chooses the same ones."""
    result = await mouth("events", "tail", *args, "--store", store)
    assert result.exit_code == 0, result.output
    assert positions(result) == expected
    assert (await mouth("events", "tail", *args)).stdout == result.stdout


async def test_a_store_says_nothing_from_now_on(mouth, store):
    """So it cannot be followed; tokens that are none are refused as they are by the cluster."""
    result = await mouth("events", "tail", "-f", "--store", store)
    assert result.exit_code == 2
    assert "-f waits for what a cluster says; with --store nobody does" in result.stderr
    for more in ([], ["--store", store]):
        result = await mouth("events", "tail", "--id", "no.token", *more)
        assert result.exit_code == 2
        assert "'no.token' is not a token of a subject" in result.stderr


async def test_one_event_of_a_store_is_shown_whole(mouth, store):
    """With what its author saw, where that led to it."""
    told = await mouth.json("events", "show", "3", "--store", store)
    assert told == await mouth.json("events", "show", "3")
    assert told["seen"] is None
