"""`busbar job schedule`, `dependencies`, `queue`, `history`, and one run, against metronome on a bus in memory."""

import json

import msgspec
import pytest

from bus import codec
from bus.documents import Dependency, JobSpec, Schedule
from bus.events import Event, OfferAccepted, RequestRefused
from bus.job_rows import AttemptRow, JobRow, QueuedRow
from bus.nouns import (
    AgentId,
    Command,
    FrameworkId,
    Now,
    Position,
    Refusal,
    Resources,
    Source,
    TaskInfo,
    TaskState,
    TaskStatus,
    second,
)
from bus.queries import HistoryRow
from bus.services import (
    JobRequested,
    JobSpecified,
    RunCreated,
    RunStopped,
    RunUpdated,
    ScheduleRemovalRequested,
    ScheduleRequested,
    SwitchRequested,
)
from cli.output import date
from cli.session import METRONOME, THE_MASTER
from components.run_history import run_row
from tests.cli.mouth import START, Mouth, known, playing
from tests.cli.test_job import COUNT, DOCUMENT, Metronome, play
from tests.cli.test_job import run_row as shown_row

NIGHTLY = Schedule(id="nightly", cron="0 2 * * *", timezone="Europe/Berlin")
TICK = JobSpec(id="tick", run=COUNT.run, schedules=(NIGHTLY, Schedule(id="off", cron="* * * * *", enabled=False)))
ROW = JobRow(job=TICK, active=0, successes=0, failures=0, next_run_at=START, nexts={"nightly": START})


def said(changed, schedule="nightly", job=TICK):
    return JobSpecified(job=job, changed=changed, schedule=schedule, next_at=START)


async def test_a_schedule_is_added_with_what_was_said_of_it():
    """What was not said has its default; the answer says when it fires."""
    metronome = Metronome(said("added"))
    args = ("schedule", "add", "tick", "nightly", "0 2 * * *", "--timezone", "Europe/Berlin")
    result = await play(metronome, *args)
    assert metronome.heard == [ScheduleRequested(job="tick", schedule=NIGHTLY)]
    assert result.stdout == f"schedule nightly of tick is added: it fires next {date(START)}\n"
    more = ("--concurrency", "FORBID", "--deadline", "60", "--catch-up", "latest", "--disabled")
    metronome = Metronome(said("added"))
    await play(metronome, *args, *more)
    (asked,) = metronome.heard
    assert (asked.schedule.concurrency_policy, asked.schedule.starting_deadline_seconds) == ("FORBID", 60)
    assert (asked.schedule.catch_up, asked.schedule.enabled) == ("latest", False)


async def test_a_schedule_that_is_there_points_at_update():
    """With the words to type."""
    metronome = Metronome(RequestRefused(reason=Refusal.ALREADY_EXISTS, message="job tick already has a schedule x"))
    result = await play(metronome, "schedule", "add", "tick", "x", "* * * * *")
    assert result.exit_code == 1
    assert result.stderr.endswith('next:  busbar job schedule update tick x --cron "* * * * *"\n')


async def test_a_schedule_keeps_what_is_not_updated():
    """Only the cron is another."""
    metronome = Metronome(said("changed"), jobs=[ROW])
    await play(metronome, "schedule", "update", "tick", "nightly", "--cron", "30 2 * * *")
    wanted = Schedule(id="nightly", cron="30 2 * * *", timezone="Europe/Berlin")
    assert metronome.heard == [ScheduleRequested(job="tick", schedule=wanted, update=True)]
    result = await play(Metronome(jobs=[ROW]), "schedule", "update", "tick", "weekly", "--cron", "* * * * *")
    assert result.stderr == "error: tick has no schedule weekly\nnext:  busbar job schedule list tick\n"


@pytest.mark.parametrize(
    ("word", "fact", "changed"),
    [
        ("enable", SwitchRequested(job="tick", schedule="off", enabled=True), "enabled"),
        ("disable", SwitchRequested(job="tick", schedule="off", enabled=False), "disabled"),
        ("remove", ScheduleRemovalRequested(job="tick", schedule="off"), "removed"),
    ],
)
async def test_a_schedule_is_switched_and_removed(word, fact, changed):
    """One event each."""
    metronome = Metronome(said(changed, "off"))
    result = await play(metronome, "schedule", word, "tick", "off")
    assert (metronome.heard, result.stdout) == ([fact], f"schedule off of tick is {changed}\n")


async def test_a_wrong_schedule_is_refused_before_anything_is_asked():
    """The field is named."""
    metronome = Metronome(said("added"))
    result = await play(metronome, "schedule", "add", "tick", "Nightly!", "* * * * *")
    assert (result.exit_code, metronome.heard) == (1, [])
    assert "error: the schedule is wrong: " in result.stderr
    assert "$.id" in result.stderr


async def test_schedules_are_listed_with_when_they_fire_next():
    """Of all jobs or one; a disabled one and one whose years are over say so."""
    over = JobSpec(id="over", run=COUNT.run, schedules=(Schedule(cron="0 0 1 1 * 2020"),))
    rows = [ROW, JobRow(job=over, active=0, successes=0, failures=0)]
    result = await play(Metronome(jobs=rows), "schedule", "list")
    first, second_, third = result.stdout.splitlines()[1:]
    assert (date(START) in first, "disabled" in second_, "never again" in third) == (True, True, True)
    told = json.loads((await play(Metronome(jobs=rows), "schedule", "list", "tick", "--json")).stdout)
    assert [(one["schedule"]["id"], one["next_at"]) for one in told] == [("nightly", START), ("off", None)]
    missing = await play(Metronome(jobs=rows), "schedule", "list", "x")
    assert missing.stderr == "error: there is no job x\nnext:  busbar job list\n"


async def test_an_update_may_keep_the_schedules():
    """As PUT does."""
    metronome = Metronome(JobSpecified(job=COUNT, changed="updated"))
    await play(metronome, "update", "-", "--keep-schedules", input=DOCUMENT)
    assert metronome.heard == [JobRequested(job=COUNT, update=True, keep_schedules=True)]


# ---- who runs after whom ----------------------------------------------------------------------------------------


def child(name, *parents, **more):
    spec = JobSpec(id=name, run=COUNT.run, dependencies=tuple(Dependency(id=parent) for parent in parents))
    return JobRow(job=spec, active=0, successes=0, failures=0, **more)


FAMILY = [
    child("a", dependants=("b", "c"), last_success_at=START),
    child("b", "a", dependants=("d",), waits_for=("a",)),
    child("c", "a", dependants=("d",)),
    child("d", "b", "c", waits_for=("b", "c")),
    child("lonely"),
]


async def test_dependencies_are_a_tree():
    """Each job below those it runs after; its own below it only once."""
    result = await play(Metronome(jobs=FAMILY), "dependencies")
    assert result.stdout.splitlines() == [
        f"a  succeeded {date(START)}",
        "  b  no success yet, waits for a",
        "    d  no success yet, waits for b, c",
        "  c  no success yet",
        "    d  no success yet, waits for b, c",
    ]
    below = await play(Metronome(jobs=FAMILY), "dependencies", "c")
    assert below.stdout.splitlines() == ["c  no success yet", "  d  no success yet, waits for b, c"]
    told = json.loads((await play(Metronome(jobs=FAMILY), "dependencies", "--json")).stdout)
    assert [one["job"] for one in told] == ["a", "b", "c", "d"]
    assert (await play(Metronome(), "dependencies")).stdout == "no job depends on another\n"


async def test_a_parent_that_cannot_be_removed_points_at_the_tree():
    """Who depends on it is in the message."""
    refused = RequestRefused(reason=Refusal.HAS_DEPENDANTS, message="b depends on a: remove it first")
    result = await play(Metronome(refused), "remove", "a")
    assert result.stderr.endswith("next:  busbar job dependencies a\n")


async def test_a_job_says_what_makes_it_run():
    """Schedules, or other jobs."""
    result = await play(Metronome(jobs=[ROW, *FAMILY]), "list")
    assert "0 2 * * * Europe/Berlin, * * * * * UTC (disabled)" in result.stdout
    assert "after b c" in result.stdout


# ---- waiting and history ----------------------------------------------------------------------------------------


async def test_the_queue_says_what_waits_and_on_how_many_nodes_it_cannot_be():
    """One line each job."""
    row = QueuedRow(
        job="count", runs=("r1", "r2"), needed=Resources(cpu_milli=64000), since=START, reasons={"InsufficientCpus": 3}
    )
    result = await play(Metronome(queue=[row]), "queue")
    assert "count  2" in result.stdout
    assert "InsufficientCpus on 3" in result.stdout
    assert (await play(Metronome(), "queue")).stdout == "no run waits for an offer\n"


async def test_history_tells_how_often_and_which():
    """Counters, and the runs that ended."""
    result = await play(Metronome(runs=[shown_row()]), "history", "count")
    assert result.stdout.splitlines()[:2] == ["successes     3", "failures      1"]
    assert "r1   count  SUCCESS" in result.stdout
    missing = await play(Metronome(), "history", "x")
    assert missing.stderr == "error: there is no job x\nnext:  busbar job list\n"


# ---- one run ----------------------------------------------------------------------------------------------------


def attempt():
    return AttemptRow(task="count.r1.1", state=TaskState.FINISHED, created_at=START, agent="a1")


async def test_one_run_is_shown_with_its_tasks():
    """By the beginning of its id."""
    metronome = Metronome(runs=[shown_row("r11", attempts=(attempt(),)), shown_row("r12", state="FAILED")])
    result = await play(metronome, "show", "count", "r11")
    shown = [line.split() for line in result.stdout.splitlines()[:4]]
    assert shown == [["run", "r11"], ["job", "count"], ["state", "SUCCESS"], ["because", "asked", "for"]]
    assert "count.r1.1" in result.stdout
    several = await play(metronome, "show", "count", "r1")
    assert several.exit_code == 1
    assert "count has 2 runs whose ids begin with 'r1':\n  r11  SUCCESS" in several.stderr


def told(fact, at, by=METRONOME):
    return Event(by=by, to="_", fact=fact, at=Now(START + at * second), position=Position(at + 1))


def story():
    """What a run's events are: a task that fails, another that finishes."""

    def accepted(task):
        info = TaskInfo(
            task=task,
            name="count",
            agent=AgentId("a1"),
            framework=FrameworkId("metronome"),
            resources=Resources(),
            command=Command(shell="wc"),
            job="count",
            run="r1",
        )
        return OfferAccepted(offers=(), launch=(info,), refuse_s=1)

    def updated(state, task, task_state, **more):
        status = TaskStatus(task=task, state=task_state, source=Source.EXECUTOR)
        return RunUpdated(job="count", run="r1", state=state, status=status, **more)

    return [
        told(RunCreated(job="count", run="r1", parents=("p1",)), 0),
        told(accepted("t1"), 1),
        told(updated("ACTIVE", "t1", TaskState.RUNNING), 2),
        told(updated("STARTING", "t1", TaskState.FAILED, message="it failed", delay_until=Now(START + 4 * second)), 3),
        told(accepted("t2"), 4),
        told(updated("SUCCESS", "t2", TaskState.FINISHED), 5),
    ]


def test_a_run_can_be_told_from_its_events():
    """As metronome would have told it; nothing without its beginning."""
    row = run_row("r1", story())
    assert (row.state, row.parents, row.created_at, row.finished_at) == ("SUCCESS", ("p1",), START, START + 5 * second)
    assert [(one.task, one.state, one.finished_at) for one in row.attempts] == [
        ("t1", TaskState.FAILED, START + 3 * second),
        ("t2", TaskState.FINISHED, START + 5 * second),
    ]
    assert (row.retry_at, row.message, row.agent) == (None, "", "a1")
    assert run_row("r1", story()[:4]).retry_at == START + 4 * second
    assert run_row("r1", story()[1:]) is None
    stopped = run_row("r1", [*story()[:3], told(RunStopped(job="count", run="r1", reason="enough"), 3)])
    assert stopped.message == "enough"


async def test_a_run_that_metronome_has_forgotten_is_told_by_the_log():
    """By its whole id; of another job it is not."""
    lines = [HistoryRow(position=e.position, subject=codec.subject("dc", e), body=codec.encode(e)) for e in story()]

    def history(question):
        asked = msgspec.msgpack.decode(question)
        return lines if asked["id"] == "r1" and not asked.get("after") else []

    mouth, metronome = Mouth(), Metronome()
    async with (
        playing(mouth, THE_MASTER, {"frameworks": [known("metronome")], "history": history}),
        playing(mouth, METRONOME, metronome.queries(), metronome.reply),
    ):
        result = await mouth("job", "show", "count", "r1")
        assert (result.exit_code, "because       after p1" in result.stdout) == (0, True), result.output
        for args in (("other", "r1"), ("count", "r2")):
            missing = await mouth("job", "show", *args)
            assert missing.exit_code == 1
            assert f"{args[0]} has no run whose id begins with {args[1]!r}" in missing.stderr
