"""The life of a run: created, attempted again, stopped, ended; and what the master says of its tasks.

Rule of this room: a status that is no move from what is known is old or said again, and yields nothing. A run ends
once; a live task that no run wants any more is killed.

Restarts are as in Metronome but for two things. After a failure the next attempt waits 1 s × 1.15 for each failure in
a row, at most 300 s, because a job that fails at once would otherwise be launched without end (Metronome relaunches at
once; these are Marathon's numbers). And a task that was dropped never ran, so another attempt follows whatever the
policy: NEVER promises that nothing runs twice, not that nothing is asked for twice.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from bus.events import Event, Fact, KillRequested, TaskReconciled, TaskUpdated
from bus.nouns import MASTER, MOVES, NOBODY, JobId, Now, Reason, RunId, TaskState, TaskStatus, TraceId, second
from bus.services import AttemptScheduled, RunCreated, RunStopped, RunUpdated
from components.component import Say, answer
from components.metronome.dependencies import ready
from components.metronome.state import ALIVE, Attempt, MetronomeState, Run, RunState
from components.metronome.tasks import run_id, task_id

delay_first_us = second
delay_factor_percent = 115
delay_longest_us = 300 * second
"""(Marathon: backoffSeconds 1, backoffFactor 1.15, maxLaunchDelaySeconds 300)"""


def create(state: MetronomeState, job: JobId, asked: Event, now: Now) -> Say:
    """A run that a client wants now."""
    run = run_id(now, state.n)
    created = answer(asked, RunCreated(job=job, run=run, task=task_id(job, run, 1)))
    return replace(created, trace=asked.trace or TraceId(run))


def create_scheduled(
    state: MetronomeState, job: JobId, schedule: str, nominal: Now, next_at: Now | None, now: Now
) -> Say:
    """A run that a schedule wants, with its own id as its trace."""
    run = run_id(now, state.n)
    task = task_id(job, run, 1)
    fact = RunCreated(job=job, run=run, schedule=schedule, nominal=nominal, next_at=next_at, task=task)
    return Say(fact, trace=TraceId(run))


def create_dependent(state: MetronomeState, job: JobId, parents: tuple[RunId, ...], now: Now) -> Say:
    """A run that follows from the success of others, with its own id as its trace."""
    run = run_id(now, state.n)
    return Say(RunCreated(job=job, run=run, parents=parents, task=task_id(job, run, 1)), trace=TraceId(run))


def follow(state: MetronomeState, job_id: JobId, now: Now) -> Iterator[Say]:
    """The run of a job that is due because those it depends on have succeeded."""
    spec = state.spec(job_id)
    if spec is not None and ready(state, job_id):
        runs = (state.jobs[parent].success_run for parent in spec.parents)
        yield create_dependent(state, job_id, tuple(run for run in runs if run is not None), now)


def _attempt(run: Run) -> Say:
    task = task_id(run.job, run.run, run.attempt_count + 1)
    return _say(run, AttemptScheduled(job=run.job, run=run.run, task=task))


def _say(run: Run, fact: Fact, to: str = NOBODY) -> Say:
    return Say(fact, to=to, trace=run.trace)


def _updated(
    run: Run, to: RunState, told: TaskUpdated | None = None, message: str = "", delay_until: Now | None = None
) -> Say:
    """Step 12."""
    attempt = run.attempt(told.status.task) if told else None
    fact = RunUpdated(
        job=run.job,
        run=run.run,
        state=to,
        status=told.status if told else None,
        agent=(told.agent if told else None) or (attempt.agent if attempt else None),
        message=message,
        delay_until=delay_until,
    )
    return _say(run, fact, to=run.client)


# ---- what the master says of tasks ------------------------------------------------------------------------------


def hear_update(state: MetronomeState, told: TaskUpdated, now: Now) -> Iterator[Say]:
    """What follows from a task's status."""
    task, to = told.status.task, told.status.state
    run = state.run_of(task)
    attempt = run.attempt(task) if run else None
    if run and attempt and attempt is run.current:
        if attempt.lives and (to in MOVES[attempt.state] or to is TaskState.UNKNOWN):
            yield from _current_moved(state, run, told, now)
    elif to in ALIVE and (attempt is None or attempt.given_up):  # it was unreachable, and is back
        why = _why_killed(run, attempt)
        yield Say(KillRequested(task=task, reason=why), to=MASTER, trace=run.trace if run else None)


def _why_killed(run: Run | None, attempt: Attempt | None) -> str:
    """Why a task that no run waits for is killed, and what survives in its place."""
    if run is None or attempt is None:
        return "no run has this task any more"
    given_up = "it came back after it was given up as unreachable"
    if run.ended:
        return f"{given_up}: run {run.run} has ended as {run.state}"
    return f"{given_up}: {run.current.task} took its place and stays" if run.current else f"{given_up}: another follows"


def _current_moved(state: MetronomeState, run: Run, told: TaskUpdated, now: Now) -> Iterator[Say]:
    match told.status.state:
        case TaskState.STAGING | TaskState.STARTING:
            yield _updated(run, RunState.STARTING, told)
        case TaskState.RUNNING:
            yield _updated(run, RunState.ACTIVE, told)
        case TaskState.KILLING:
            yield _updated(run, run.state, told)
        case TaskState.FINISHED:
            yield _updated(run, RunState.SUCCESS, told)
        case _:
            yield from _failed(state, run, told, now)


def _failed(state: MetronomeState, run: Run, told: TaskUpdated, now: Now) -> Iterator[Say]:
    status = told.status
    if run.stopping:
        yield _updated(run, RunState.FAILED, told, message=run.stopping)
    elif status.state is TaskState.DROPPED and status.reason is Reason.INVALID_OFFERS:
        yield _updated(run, RunState.STARTING, told)
        yield _attempt(run)
    elif _may_follow(state, run, status):
        delay_until = Now(now + next_delay_us(run, now))
        yield _updated(run, RunState.STARTING, told, message=_why(status), delay_until=delay_until)
    else:
        yield _updated(run, RunState.FAILED, told, message=_why(status))


def _may_follow(state: MetronomeState, run: Run, status: TaskStatus) -> bool:
    """Whether another attempt follows; a description that is invalid does not get valid by being repeated."""
    policy = state.specs[run.version].job.run.restart.policy
    return status.state is TaskState.DROPPED or (policy == "ON_FAILURE" and status.state is not TaskState.ERROR)


def _why(status: TaskStatus) -> str:
    return " ".join(filter(None, (status.state, status.reason, status.message)))


def next_delay_us(run: Run, now: Now) -> int:
    """How long the next attempt waits; it begins anew when the last one then ran for the longest delay."""
    if run.failed_at is None or now > run.failed_at + run.delay_us + delay_longest_us:
        return delay_first_us
    return min(delay_longest_us, run.delay_us * delay_factor_percent // 100)


# ---- stopping, and what is due ----------------------------------------------------------------------------------


def stop(run: Run, stopped: Say, grace_s: float | None = None) -> Iterator[Say]:
    """A run is wanted no more: `stopped` says so; its task is killed, or it ends at once if there is none."""
    current = run.current
    task = current.task if current and current.lives else None
    yield replace(stopped, trace=stopped.trace or run.trace)
    if task is not None:
        yield _say(run, KillRequested(task=task, grace_s=grace_s), to=MASTER)
    else:
        yield _updated(run, RunState.FAILED, message=run.stopping)


def run_due(state: MetronomeState, run: Run, now: Now) -> Iterator[Say]:
    """What time brings about."""
    if run.ask_at is not None and run.ask_at <= now and run.current is not None:
        yield _say(run, TaskReconciled(tasks=(run.current.task,)), to=MASTER)
    why = "" if run.stopping else _why_stop(state, run, now)
    if why:
        stopped = RunStopped(job=run.job, run=run.run, reason=why)
        yield from stop(run, _say(run, stopped, to=run.client))
    elif run.retry_at is not None and run.retry_at <= now:
        yield _attempt(run)


def _why_stop(state: MetronomeState, run: Run, now: Now) -> str:
    how = state.specs[run.version].job.run
    if run.job_removed:
        return f"job {run.job} was removed"
    if run.end_by is not None and run.end_by <= now:
        return f"not ended within activeDeadlineSeconds {how.restart.active_deadline_seconds}"
    if run.start_by is None or run.start_by > now:
        return ""
    if run.start_by < run.created_at + how.max_launch_delay * second:
        return "not ACTIVE within startingDeadlineSeconds of its nominal time"
    return f"not ACTIVE within maxLaunchDelay {how.max_launch_delay} s"
