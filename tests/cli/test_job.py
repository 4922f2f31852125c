"""`busbar job` against metronome on a bus in memory."""

import json

import pytest

from bus.documents import JobRunSpec, JobSpec, Schedule
from bus.events import RequestRefused
from bus.job_rows import JobRow, RunRow
from bus.nouns import Now, Refusal, Source, TaskState, TaskStatus, second
from bus.services import (
    JobRemoved,
    JobRequested,
    JobSpecified,
    RemovalRequested,
    RunCreated,
    RunRequested,
    RunStopped,
    RunUpdated,
    SchedulerLocated,
    StopRequested,
)
from cli.session import METRONOME, THE_MASTER
from tests.cli.mouth import START, Mouth, known, playing

COUNT = JobSpec(id="count", run=JobRunSpec(cmd="wc", cpus=0.1, mem=32, disk=0))
DOCUMENT = '{"id": "count", "run": {"cmd": "wc", "cpus": 0.1, "mem": 32, "disk": 0}}'


def run_row(run="r1", state="SUCCESS", task_state=TaskState.FINISHED, **more):
    exit_status = more.pop("exit", None)
    status = TaskStatus(task=f"count.{run}.1", state=task_state, source=Source.EXECUTOR, exit_status=exit_status)
    ended = Now(START + 2 * second)
    return RunRow(run=run, job="count", state=state, created_at=START, finished_at=ended, tasks=(status,), **more)


class Metronome:
    """Metronome's part in a talk."""

    def __init__(self, *answers, runs=(), jobs=(), queue=()):
        self.answers, self.runs, self.heard = answers, list(runs), []
        self.jobs, self.queue = list(jobs), list(queue)

    def reply(self, event):
        if not isinstance(event.fact, SchedulerLocated):
            self.heard.append(event.fact)
            yield from self.answers

    def queries(self):
        jobs = self.jobs or [JobRow(job=COUNT, active=0, successes=3, failures=1, next_run_at=START)]
        return {"runs": lambda _question: self.runs, "jobs": jobs, "queue": self.queue}


async def play(metronome, *args, input=None):
    mouth = Mouth()
    async with (
        playing(mouth, THE_MASTER, {"frameworks": [known("metronome")]}),
        playing(mouth, METRONOME, metronome.queries(), metronome.reply),
    ):
        return await mouth("job", *args, input=input)


def created():
    return RunCreated(job="count", run="r1")


async def test_add_and_update_become_the_event_that_asks_for_it():
    """A job exists as described."""
    metronome = Metronome(JobSpecified(job=COUNT, changed="created"))
    result = await play(metronome, "add", "-", input=DOCUMENT)
    assert (result.exit_code, result.stdout, metronome.heard) == (0, "count is created\n", [JobRequested(job=COUNT)])
    metronome = Metronome(JobSpecified(job=COUNT, changed="updated"))
    await play(metronome, "update", "-", input=DOCUMENT)
    assert metronome.heard == [JobRequested(job=COUNT, update=True)]


async def test_run_follows_the_run_until_it_has_ended():
    """Its states are shown as they come; success is exit code 0."""
    status = TaskStatus(task="count.r1.1", state=TaskState.RUNNING, source=Source.EXECUTOR)
    update = RunUpdated(job="count", run="r1", state="ACTIVE", status=status, agent="a1")
    metronome = Metronome(created(), update, runs=[run_row()])
    result = await play(metronome, "run", "count")
    assert (result.exit_code, metronome.heard) == (0, [RunRequested(job="count")])
    assert result.stdout == "run r1 of count: SUCCESS\n  busbar task log count.r1.1\n"
    assert "run r1 ACTIVE on a1: TASK_RUNNING" in result.stderr


async def test_a_run_that_fails_is_exit_code_1_with_what_its_task_said():
    """The state of the run and of its last task."""
    metronome = Metronome(created(), runs=[run_row(state="FAILED", task_state=TaskState.FAILED, exit=3)])
    result = await play(metronome, "run", "count")
    assert result.exit_code == 1
    assert "error: run r1 of count FAILED: TASK_FAILED exit 3" in result.stderr


async def test_a_run_that_takes_too_long_goes_on_without_being_watched():
    """Exit code 1, the state so far."""
    metronome = Metronome(created(), runs=[run_row(state="ACTIVE")])
    result = await play(metronome, "run", "count", "--timeout", "0.2")
    assert (result.exit_code, "run r1 is ACTIVE after 0.2 s; it goes on" in result.stderr) == (1, True)


async def test_no_wait_returns_once_the_run_is_created():
    """Its id is told."""
    result = await play(Metronome(created()), "run", "count", "--no-wait")
    assert result.stdout == "run r1 of count is created\n"


async def test_stop_takes_the_only_active_run():
    """Ended runs cannot be meant."""
    metronome = Metronome(RunStopped(job="count", run="r2", reason="x"), runs=[run_row(), run_row("r2", "ACTIVE")])
    result = await play(metronome, "stop", "count")
    assert (result.exit_code, metronome.heard) == (0, [StopRequested(job="count", run="r2")])


async def test_stop_takes_a_prefix_and_lists_the_candidates_when_it_fits_several():
    """Exit code 1 and nothing is stopped."""
    runs = [run_row("r21", "ACTIVE"), run_row("r22", "ACTIVE")]
    metronome = Metronome(RunStopped(job="count", run="r22", reason="x"), runs=runs)
    result = await play(metronome, "stop", "count", "r2")
    assert (result.exit_code, metronome.heard) == (1, [])
    assert "count has 2 such active runs:\n  r21  ACTIVE\n  r22  ACTIVE" in result.stderr
    assert (await play(metronome, "stop", "count", "r22")).exit_code == 0


async def test_stop_without_an_active_run_says_so():
    """Exit code 1."""
    result = await play(Metronome(runs=[run_row()]), "stop", "count")
    assert (result.exit_code, "count has no active run" in result.stderr) == (1, True)


async def test_remove_points_at_the_option_that_stops_active_runs():
    """The reason is from the closed list."""
    refused = RequestRefused(reason=Refusal.RUNS_ACTIVE, message="1 run of count is active")
    result = await play(Metronome(refused), "remove", "count")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: runs_active: 1 run of count is active\nnext:  busbar job remove count --stop-runs\n"
    )
    metronome = Metronome(JobRemoved(job="count"))
    await play(metronome, "remove", "count", "--stop-runs")
    assert metronome.heard == [RemovalRequested(job="count", stop_runs=True)]


async def test_lists_show_jobs_and_runs():
    """One line each, the last task beside its run."""
    metronome = Metronome(runs=[run_row(agent="a1")])
    jobs, runs, shown = [await play(metronome, *args) for args in (("list",), ("runs", "count"), ("show", "count"))]
    assert jobs.stdout.splitlines()[1].split()[:4] == ["count", "0", "3", "1"]
    assert "r1   count  SUCCESS" in runs.stdout
    assert "2 s" in runs.stdout
    assert json.loads(shown.stdout[shown.stdout.index("{") :])["id"] == "count"
    missing = await play(metronome, "show", "nothing")
    assert (missing.exit_code, missing.stderr) == (1, "error: there is no job nothing\nnext:  busbar job list\n")


def test_a_schedule_is_shown_with_its_zone():
    """Cron and IANA zone."""
    from cli.job import _cells

    spec = JobSpec(id="tick", run=COUNT.run, schedules=(Schedule(cron="0 5 * * *", timezone="Asia/Tokyo"),))
    assert _cells(JobRow(job=spec, active=0, successes=0, failures=0))[4] == "0 5 * * * Asia/Tokyo"


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ('{"id": "count"}', "missing required field `run`"),
        ('{"id": "Count", "run": {"cmd": "x", "cpus": 1, "mem": 32, "disk": 0}}', "'Count' is not a job id"),
        (
            '{"id": "c", "run": {"cmd": "x", "cpus": 1, "mem": 1, "disk": 0}}',
            "Expected `float` >= 32.0 - at `$.run",
        ),
        ('{"id": "c", "run": {"cmd": "x", "mem": 32, "disk": 0}}', "missing required field `cpus` - at `$.run`"),
        ('{"id": "c", "run": {"cpus": 1, "mem": 32, "disk": 0}}', "exactly one of cmd and args, found neither"),
        (
            DOCUMENT.replace("}}", '}, "schedules": [{"cron": 5}]}'),
            "got `int` - at `$.schedules[0].cron`",
        ),
    ],
)
async def test_a_wrong_document_is_refused_with_the_path(document, why):
    """Nothing is asked of metronome."""
    metronome = Metronome(JobSpecified(job=COUNT, changed="created"))
    result = await play(metronome, "add", "-", input=document)
    assert (result.exit_code, why in result.stderr, metronome.heard) == (1, True, [])


async def test_runs_of_no_job_are_not_no_runs():
    """A name that was mistyped is refused; a job that has not run yet has an empty list."""
    metronome = Metronome()
    result = await play(metronome, "runs", "cuont")
    assert (result.exit_code, result.stderr) == (1, "error: there is no job cuont\nnext:  busbar job list\n")
    assert (await play(metronome, "runs", "count")).stdout == "there was no run\n"
