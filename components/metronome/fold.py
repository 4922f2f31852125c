"""How Metronome's own events change what it remembers.

Rule of this room: nothing else writes state. What must not happen is asserted: it would be a bug or a damaged log.
"""

from __future__ import annotations

from bus.events import (
    Event,
    FrameworkRegistered,
    FrameworkRevived,
    FrameworkSuppressed,
    LeaderElected,
    OfferAccepted,
    OfferDeclined,
    TaskReconciled,
)
from bus.nouns import MOVES, TERMINAL, Now, RunId, TaskId, TaskInfo, TaskState, TaskStatus, second
from bus.secrets import SecretsNamed
from bus.services import AttemptScheduled, JobRemoved, JobSpecified, RunCreated, RunStopped, RunUpdated, ScheduleSkipped
from components.component import because
from components.metronome.books import (
    fires_next,
    forget_if_empty,
    forget_oldest,
    forget_run,
    owe,
    release,
    settle,
    wait,
    wait_no_more,
    want_offers,
    withdraw,
)
from components.metronome.described import job_removed, job_specified
from components.metronome.state import (
    LOST,
    RUN_ENDED,
    RUN_MOVES,
    Attempt,
    Job,
    MetronomeState,
    Run,
    RunState,
    Spec,
    Verdict,
)
from components.referring import fold_names

_STATES: dict[str, RunState] = {state.value: state for state in RunState}
"""(To call the enumeration takes half a microsecond)"""


def fold(state: MetronomeState, event: Event) -> None:
    """Fold one event of Metronome's log. (The frequent ones first: a rebuild folds millions)"""
    match event.fact:
        case RunUpdated() as fact:
            _updated(state, fact, event)
        case RunCreated() as fact:
            _created(state, fact, event)
        case LeaderElected():
            state.to_register, state.admitted = True, False
        case FrameworkRegistered():
            state.to_register, state.admitted = False, False
        case SecretsNamed() as fact:
            fold_names(state.secrets, fact)
        case FrameworkSuppressed():
            _suppress(state)
        case FrameworkRevived():
            state.suppressed = state.filtered = state.hungry = state.given_back = False
            state.wanted_for = None
        case TaskReconciled() as fact:
            _reconciled(state, fact, event)
        case OfferDeclined() as fact:
            _answered(state, fact, event)
        case OfferAccepted() as fact:
            for task in fact.launch:
                _launched(state, task, event.at)
            _answered(state, fact, event)
        case _:
            _fold_jobs(state, event)


def _fold_jobs(state: MetronomeState, event: Event) -> None:
    match event.fact:
        case JobSpecified() as fact:
            job_specified(state, fact, event.n, event.at)
        case JobRemoved() as fact:
            job_removed(state, fact.job, event.at)
        case ScheduleSkipped() as fact:
            fires_next(state, fact.job, fact.schedule, fact.next_at)
        case AttemptScheduled() as fact:
            _scheduled(state, fact, event)
        case RunStopped() as fact:
            _stopped(state, fact)


# ---- the master and its offers ----------------------------------------------------------------------------------


def _reconciled(state: MetronomeState, fact: TaskReconciled, event: Event) -> None:
    for task in fact.tasks:
        run = _run_of(state, task)
        run.attempt(task).asked_at = event.at
        settle(state, run)
    if not fact.tasks:
        # what the master kept of suppression and filters from before is not ours to know: both may hold offers back
        state.admitted, state.suppressed, state.filtered, state.given_back = True, False, True, False
        state.hungry, state.wanted_for = bool(state.waiting), because(event)


def _answered(state: MetronomeState, fact: OfferAccepted | OfferDeclined, event: Event) -> None:
    state.hungry = False
    state.filtered = True
    if fact.refuse_s == 0:
        want_offers(state, event)
        state.given_back = True
    for one in fact.unfit:
        if one.job in state.verdicts:
            verdicts = state.verdicts[one.job]
            before = verdicts.get(one.agent)
            others = before.unfit if before and before.at == event.at and before.unfit[0].offer == one.offer else ()
            verdicts[one.agent] = Verdict(event.at, (*others, one))
    if fact.suppressed:
        _suppress(state)


def _suppress(state: MetronomeState) -> None:
    state.suppressed, state.given_back = True, False


def _launched(state: MetronomeState, task: TaskInfo, at: Now) -> None:
    run = _run_of(state, task.task)
    attempt = run.attempt(task.task)
    assert attempt.waits, f"{task.task} is launched and did not wait: {run}"
    assert not run.stopping, f"{task.task} is launched and its run is stopped: {run.stopping}"
    wait_no_more(state, run, attempt)
    attempt.asked_at = attempt.launched_at = at
    attempt.agent = task.agent
    state.verdicts.get(run.job, {}).pop(task.agent, None)
    settle(state, run)


# ---- runs -------------------------------------------------------------------------------------------------------


def _created(state: MetronomeState, fact: RunCreated, event: Event) -> None:
    job = state.jobs[fact.job]
    assert job.version is not None, f"{fact.run}: {fact.job} is removed"
    assert fact.run not in state.runs, f"{fact.run} is created twice"
    if fact.schedule is not None:
        due = job.nexts.get(fact.schedule)
        assert fact.nominal == due, f"{fact.run} fires for {fact.nominal}, due is {due}"
        fires_next(state, fact.job, fact.schedule, fact.next_at)
    spec = state.specs[job.version]
    spec.users += 1
    start_by, end_by = _deadlines(spec, fact, event.at)
    run = Run(
        run=fact.run,
        job=fact.job,
        version=job.version,
        client=event.to,
        trace=event.trace,
        created_at=event.at,
        created_n=event.n,
        parents=fact.parents,
        schedule=fact.schedule,
        nominal=fact.nominal,
        start_by=start_by,
        end_by=end_by,
    )
    job.active[fact.run] = run
    job.began_n = event.n
    state.runs[fact.run] = fact.job
    if fact.task is not None:
        wait(state, run, fact.task, event)
    owe(state, fact.job, event.at)
    settle(state, run)


def _deadlines(spec: Spec, fact: RunCreated, at: Now) -> tuple[Now, Now | None]:
    """Until when it must be active once, and until when it may be."""
    how, active_s = spec.job.run, spec.job.run.restart.active_deadline_seconds
    start_by = at + how.max_launch_delay * second
    schedule = spec.job.schedule(fact.schedule) if fact.schedule else None
    if schedule is not None and fact.nominal is not None:
        deadline_us = schedule.starting_deadline_seconds * second
        begin = fact.nominal if fact.nominal + deadline_us > at else at  # what is caught up has all of it again
        start_by = min(start_by, begin + deadline_us)
    return Now(start_by), None if active_s is None else Now(at + active_s * second)


def _scheduled(state: MetronomeState, fact: AttemptScheduled, event: Event) -> None:
    run = _active(state, fact.run)
    assert run.current is None, f"{fact.task} is scheduled and {run.current} is not over"
    assert not run.stopping, f"{fact.task} is scheduled and its run is stopped: {run.stopping}"
    wait(state, run, fact.task, event)
    settle(state, run)


def _stopped(state: MetronomeState, fact: RunStopped) -> None:
    run = _active(state, fact.run)
    run.stopping = run.stopping or fact.reason
    run.retry_at = None
    withdraw(state, run)
    settle(state, run)


def _updated(state: MetronomeState, fact: RunUpdated, event: Event) -> None:
    at = event.at
    run, to = state.run(fact.run), _STATES[fact.state]
    assert run is not None, f"{fact.run} is not known"
    if fact.status is not None:
        _task_moved(run.attempt(fact.status.task), fact.status, at)
    if fact.delay_until is not None:
        run.delay_us, run.failed_at, run.retry_at = fact.delay_until - at, at, fact.delay_until
    if to is not run.state:
        assert to in RUN_MOVES[run.state], f"{fact.run}: {run.state} -> {to}"
        run.message = fact.message
        _run_moved(state, run, to, event)
    elif fact.message:
        run.message = fact.message
    settle(state, run)


def _task_moved(attempt: Attempt, status: TaskStatus, at: Now) -> None:
    before = attempt.state
    assert attempt.lives, f"{status}: it was over as {before}"
    assert status.state in MOVES[before] or status.state is TaskState.UNKNOWN, f"{status}: was {before}"
    attempt.status = status
    attempt.given_up = status.state in LOST
    if attempt.given_up or status.state in TERMINAL:
        attempt.finished_at = at


def _run_moved(state: MetronomeState, run: Run, to: RunState, event: Event) -> None:
    run.state = to
    if to is RunState.ACTIVE:
        run.start_by = None
    elif to in RUN_ENDED:
        _finished(state, run, event)


def _finished(state: MetronomeState, run: Run, event: Event) -> None:
    withdraw(state, run)
    release(state, run.version)
    run.finished_at, run.retry_at = event.at, None
    job = state.jobs[run.job]
    same = job.finished_as(run.state)
    same[run.run] = job.active.pop(run.run)
    state.ended[run.run] = None
    if run.job_removed:
        pass  # what may be counted now is another job of that name
    elif run.state is RunState.SUCCESS:
        _succeeded(state, run, job, event)
    else:
        job.failures, job.last_failure_at = job.failures + 1, run.finished_at
    owe(state, run.job, event.at)
    forgotten = job.version is None and run.job not in state.removed
    if forgotten or len(same) > state.runs_kept_max:
        forget_run(state, next(iter(same.values())))
    if len(state.ended) > state.all_runs_kept_max:
        forget_oldest(state)
    forget_if_empty(state, run.job)


def _succeeded(state: MetronomeState, run: Run, job: Job, event: Event) -> None:
    job.successes, job.last_success_at = job.successes + 1, event.at
    job.success_n, job.success_run = event.n, run.run
    job.success_began_n = max(job.success_began_n, run.created_n)
    for child in state.children.get(run.job, {}):
        owe(state, child, event.at)


def _run_of(state: MetronomeState, task: TaskId) -> Run:
    run = state.run_of(task)
    assert run is not None, f"{task} is no run's"
    return run


def _active(state: MetronomeState, run_id: RunId) -> Run:
    run = state.run(run_id)
    assert run is not None, f"{run_id} is not known"
    assert not run.ended, f"{run_id} is not active: {run}"
    return run
