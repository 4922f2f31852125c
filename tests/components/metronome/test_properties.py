"""Metronome before a small master, at random: no firing twice or never, no run ends twice, nothing runs after its end.

Every step is drawn from what is there: jobs that exist, offers that are out, tasks that live. At the end everything
calms down, and then every run has ended and no task lives. Eleven planted bugs are each found: a schedule that stays on
its nominal time, one that forgets a firing, an offer that does not shrink while it is filled, a Metronome that never
revives, one that lets given-up tasks live on, one that attempts a run again although it is stopped, one that begins a
job after one of several parents, one that forgets successes while a job runs, one whose schedules are one, one that
catches up with the newest only, and one that is blind to constraints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bus.documents import Schedule
from bus.events import Fact, FrameworkRevived, KillRequested, RequestRefused, TaskUpdated
from bus.nouns import MOVES, JobId, Now, Refusal, Rescinded, RunId, TaskId, TaskState
from bus.services import (
    JobRequested,
    RemovalRequested,
    RunCreated,
    RunRequested,
    RunStopped,
    RunUpdated,
    ScheduleRemovalRequested,
    ScheduleRequested,
    ScheduleSkipped,
    StopRequested,
    SwitchRequested,
)
from components.component import Input, Say
from components.metronome import MetronomeConfig, books, dependencies, offers, runs, schedules
from components.metronome.state import MetronomeState, Run, Version
from tests.components.driver import only
from tests.components.marathon.world import AGENTS, World
from tests.components.metronome.play import MAIN, Play, schedule, spec
from tests.components.metronome.reading import Reading, audit

NOWHERE = 64.0
"""CPUs of a job that fits on no node."""
ENDS = (TaskState.FINISHED, TaskState.FAILED, TaskState.GONE, TaskState.KILLED)
JOBS = ("a", "b", "b.c", "child", "grandchild", "huge")
SCHEDULES = ("default", "other")
CRONS = ("* * * * *", "*/5 * * * *", "7 8-9 * * *")


class History:
    """Clients, a master, agents and time, against one Metronome."""

    def __init__(self, random: Random) -> None:
        self.random = random
        config = MetronomeConfig(launches_max=3, runs_kept_max=4, removed_jobs_kept_max=1)
        self.play = Play(config, admitted=False)
        self.world = World()
        self.reading = Reading()
        self.settle()

    def settle(self) -> None:
        self.play.settle()
        self.world.hear(self.play.log)

    def ask(self, fact: Fact) -> None:
        events = self.play.ask(fact)
        assert sum(event.request is not None for event in events) == 1, f"answers to {fact}: {events}"
        self.settle()

    def hear(self, count: int) -> None:
        for _ in range(min(count, len(self.world.mailbox))):
            self.play.hear(MAIN, self.world.mailbox.pop(0))
            self.settle()

    def hear_all(self) -> None:
        while self.world.mailbox:
            self.hear(1)

    def step(self) -> None:
        """One thing happens."""
        (happens,) = self.random.choices(list(STEPS), weights=list(STEPS.values()))
        happens(self)
        self.check()

    def check(self) -> None:
        audit(self.play.state)
        self.reading.go_on(self.play.log)

    # ---- clients ------------------------------------------------------------------------------------------------

    def create_or_update(self) -> None:
        name = self.random.choice(JOBS)
        job = spec(
            name,
            policy=self.random.choice(("NEVER", "ON_FAILURE")),
            run_cpus=NOWHERE if name == "huge" else self.random.choice((0.5, 1.5)),
            run_maxLaunchDelay=self.random.choice((30, 600, 3600)),
            run_placement={"constraints": self.constraints()},
            restart_activeDeadlineSeconds=self.random.choice((None, 45, 900)),
            after=(parents := self.parents(name)),
            schedules=[] if parents else self.schedules(),
        )
        exists = self.play.state.spec(job.id) is not None
        update = exists if self.random.random() < 0.8 else not exists
        keep = self.random.random() < 0.3 and not parents
        self.ask(JobRequested(job=job, update=update, keep_schedules=keep))

    def constraints(self) -> list[dict[str, str]]:
        if self.random.random() < 0.8:
            return []
        return [{"attribute": "hostname", "operator": "IS", "value": self.random.choice(AGENTS)}]

    def parents(self, name: str) -> tuple[str, ...]:
        """Two that exist, or one; a circle now and then, or somebody unknown."""
        known = [job for job in sorted(self.play.state.jobs) if self.play.state.spec(job) and job != name]
        if "child" in name and known:
            return tuple(self.random.sample(known, min(len(known), self.random.choice((1, 2, 2)))))
        return (self.random.choice(JOBS[:5]),) if self.random.random() < 0.02 else ()

    def schedules(self) -> list[dict[str, object]]:
        names = [name for name in SCHEDULES if self.random.random() < 0.4]
        return [msgspec.to_builtins(self.schedule(name)) for name in names]

    def schedule(self, name: str) -> Schedule:
        forbid = self.random.random() < 0.3
        return schedule(
            self.random.choice(CRONS),
            name,
            concurrencyPolicy="FORBID" if forbid else "ALLOW",
            startingDeadlineSeconds=self.random.choice((20, 300, 900)),
            enabled=self.random.random() < 0.9,
            catchUp=self.random.choice(("none", "none", "latest") if forbid else ("none", "latest", "all")),
        )

    def change_schedule(self) -> None:
        job, name = JobId(self.random.choice(JOBS[:3])), self.random.choice(SCHEDULES)
        change = self.random.randrange(4)
        if change == 0:
            self.ask(ScheduleRemovalRequested(job=job, schedule=name))
        elif change == 1:
            self.ask(SwitchRequested(job=job, schedule=name, enabled=self.random.random() < 0.5))
        else:
            self.ask(ScheduleRequested(job=job, schedule=self.schedule(name), update=change == 2))

    def start(self) -> None:
        known = [job for job in sorted(self.play.state.jobs) if self.play.state.spec(job)]
        self.ask(RunRequested(job=JobId(self.random.choice([*known, *JOBS[:1]]))))

    def stop(self) -> None:
        known = list(self.play.state.runs.items())
        if known:
            run, job = self.random.choice(known)
            self.ask(StopRequested(job=job, run=run))

    def remove(self) -> None:
        job = JobId(self.random.choice([*JOBS, *sorted(self.play.state.children)]))
        self.ask(RemovalRequested(job=job, stop_runs=self.random.random() < 0.7))

    def kill(self) -> None:
        if self.world.tasks:
            self.ask(KillRequested(task=self.random.choice(sorted(self.world.tasks))))

    # ---- the master and its agents ------------------------------------------------------------------------------

    def hear_some(self) -> None:
        self.hear(self.random.randint(1, 5))

    def hear_twice(self) -> None:
        """As after a crash: what led to no event is heard again; a status may be said again at any time."""
        if not self.world.mailbox:
            return
        fact = self.world.mailbox.pop(0)
        event = self.play.said(MAIN, fact)
        known = not isinstance(fact, TaskUpdated) or self.play.state.run_of(fact.status.task) is not None
        first = self.play.hear_event(event)
        if not first or (known and isinstance(fact, TaskUpdated)):
            again = self.play.hear_event(event)
            assert all(one.type == "kill.requested" for one in again), again
        self.settle()

    def work(self) -> None:
        """The usual course of things: offers are made and answered, what was launched starts."""
        self.world.allocate(self.play.now)
        self.hear_all()
        self.all_move((TaskState.STAGING, TaskState.STARTING), TaskState.RUNNING)
        self.hear_all()
        self.check_wanted()

    def check_wanted(self) -> None:
        """Once everything is heard, what lives is the current task of an active run, or on its way out."""
        active = [run for job in self.play.state.jobs.values() for run in job.active.values()]
        wanted = {run.current.task for run in active if run.current}
        lives = {name for name, task in self.world.tasks.items() if task.holds and task.state is not TaskState.KILLING}
        assert lives <= wanted, f"nobody wants {sorted(lives - wanted)}"

    def all_move(self, before: tuple[TaskState, ...], to: TaskState) -> None:
        for name, task in sorted(self.world.tasks.items()):
            if task.state in before:
                self.world.move(name, to)

    def rescind(self) -> None:
        """An offer is taken back before Metronome has heard of it: what it then accepts is void."""
        self.world.allocate(self.play.now)
        if self.world.offers:
            self.world.rescind(self.random.choice(sorted(self.world.offers)), Rescinded.TIMEOUT)

    def move(self) -> None:
        name = self.held()
        if name:
            following = MOVES[self.world.tasks[name].state] - {TaskState.UNREACHABLE}
            self.world.move(name, self.random.choice(sorted(following)))

    def end(self) -> None:
        name = self.held()
        if name:
            self.world.move(name, self.random.choice(ENDS))

    def held(self) -> TaskId | None:
        names = sorted(name for name, task in self.world.tasks.items() if task.holds)
        return self.random.choice(names) if names else None

    def lose_or_find(self) -> None:
        agent = self.random.choice(AGENTS)
        (self.world.find if agent in self.world.lost else self.world.lose)(agent)

    # ---- time and crashes ---------------------------------------------------------------------------------------

    def pass_time(self) -> None:
        self.play.advance(self.random.choice((0.5, 10, 59, 60, 400)))
        self.world.hear(self.play.log)

    def be_down(self) -> None:
        """Nobody runs Metronome for a while."""
        self.play.now = Now(self.play.now + self.random.choice((0, 61, 1000, 7200)) * 1_000_000)
        self.play.restart()
        self.settle()

    # ---- how it ends --------------------------------------------------------------------------------------------

    def end_well(self) -> None:
        """Calm, and then every run has ended, no task lives, every firing is accounted for, and a job runs."""
        for agent in sorted(self.world.lost):
            self.world.find(agent)
        for job in sorted(self.play.state.jobs):
            known = self.play.state.spec(job)
            if known:
                self.ask(JobRequested(job=spec(job, run_cpus=0.5, after=known.parents), update=True))
        self.calm_down()
        assert [run for job in JOBS for run in self.reading.active(JobId(job))] == []
        assert self.world.alive() == []
        self.run_one()
        self.reading.check_policies()
        assert self.play.rebuilt() == self.play.hash()

    def calm_down(self) -> None:
        for _ in range(25):
            self.all_move((TaskState.KILLING,), TaskState.KILLED)
            self.all_move((TaskState.RUNNING,), TaskState.FINISHED)
            self.work()
            self.play.advance(200)
            self.world.hear(self.play.log)
            self.check()

    def run_one(self) -> None:
        self.ask(JobRequested(job=spec("last", run_cpus=0.5)))
        run = self.play.start(JobId("last"))
        self.world.hear(self.play.log)
        self.work()
        self.all_move((TaskState.RUNNING,), TaskState.FINISHED)
        self.hear_all()
        assert self.play.run(run).state == "SUCCESS", self.play.run(run)


STEPS: dict[Callable[[History], None], int] = {
    History.work: 6,
    History.hear_some: 6,
    History.hear_twice: 3,
    History.create_or_update: 5,
    History.change_schedule: 1,
    History.start: 4,
    History.stop: 2,
    History.remove: 2,
    History.kill: 1,
    History.rescind: 2,
    History.move: 3,
    History.end: 4,
    History.lose_or_find: 3,
    History.pass_time: 4,
    History.be_down: 1,
}


def live_through(random: Random, steps: int) -> History:
    """A whole history."""
    history = History(random)
    for _ in range(steps):
        history.step()
    history.end_well()
    return history


@pytest.mark.timeout(120)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.randoms(use_true_random=True), st.integers(1, 150))
def test_whatever_happens_every_firing_and_every_run_comes_to_one_end(random: Random, steps: int):
    live_through(random, steps)


def test_the_histories_go_somewhere():
    """Each kind of step and of end is met, or the test above would say little."""
    seen: Counter[str] = Counter()
    for seed in range(40):
        log = live_through(Random(seed), 150).play.log
        seen.update(event.type for event in log)
        for fact in only(log, RunUpdated):
            seen.update([fact.state, "delayed" if fact.delay_until else ""])
            seen.update([fact.status.state, fact.status.reason or ""] if fact.status else [])
        seen.update(" ".join(fact.reason.split()[:2]) for fact in only(log, RunStopped))
        seen.update("removed" for fact in only(log, RunStopped) if fact.reason.endswith("was removed"))
        seen.update(fact.reason.split()[0] for fact in only(log, ScheduleSkipped))
        seen.update("by schedule" for fact in only(log, RunCreated) if fact.schedule)
        seen.update("after others" for fact in only(log, RunCreated) if fact.parents)
        seen.update(fact.schedule or "" for fact in only(log, RunCreated))
        seen.update(fact.reason for fact in only(log, RequestRefused))
    often = (
        "REASON_INVALID_OFFERS",
        "TASK_UNREACHABLE",
        "TASK_DROPPED",
        "delayed",
        "by schedule",
        "after others",
        *SCHEDULES,
        *ENDS,
    )
    assert all(seen[what] >= 10 for what in (*often, "SUCCESS", "FAILED", "framework.revived", "task.reconciled")), seen
    assert seen[Refusal.HAS_DEPENDANTS] >= 3, seen
    skips = (schedules.MISSED.split()[0], schedules.FORBIDDEN.split()[0], "startingDeadlineSeconds")
    stops = ("not ended", "not ACTIVE", "stopped on", "removed")
    assert [what for what in (*skips, *stops) if seen[what] < 3] == []


# ---- planted bugs -----------------------------------------------------------------------------------------------


def the_schedule_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    right = schedules.create_scheduled

    def wrong(
        state: MetronomeState, job: JobId, schedule: str, nominal: Now, next_at: Now | None, now: Now
    ) -> Iterator[Say]:
        stays = len(state.runs) % 5 == 4
        return right(state, job, schedule, nominal, nominal if stays else next_at, now)

    monkeypatch.setattr(schedules, "create_scheduled", wrong)


def a_firing_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    right = schedules._latest

    def wrong(schedule: schedules.Schedule, first: Now, now: Now) -> schedules._Overdue:
        found = right(schedule, first, now)
        return found._replace(skipped=0) if found.due else found

    monkeypatch.setattr(schedules, "_latest", wrong)


def offers_do_not_shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    right = offers._Plan.add

    def wrong(plan: offers._Plan, version: Version, task: TaskId, run: RunId) -> None:
        free = plan.free
        right(plan, version, task, run)
        plan.free = free

    monkeypatch.setattr(offers._Plan, "add", wrong)


def nothing_revives(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Play.__init__

    def wrong(play: Play, config: MetronomeConfig, *, admitted: bool) -> None:
        right(play, config, admitted=admitted)
        decide = play.component.decide

        def silent(state: MetronomeState, told: Input, now: Now) -> Iterator[Say]:
            return (say for say in decide(state, told, now) if not isinstance(say.fact, FrameworkRevived))

        object.__setattr__(play.component, "decide", silent)

    monkeypatch.setattr(Play, "__init__", wrong)


def the_given_up_live_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "ALIVE", frozenset())


def the_stopped_are_attempted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    right = runs._failed

    def wrong(state: MetronomeState, run: Run, told: TaskUpdated, now: Now) -> Iterator[Say]:
        if runs._may_follow(state, run, told.status):
            yield runs._updated(run, runs.RunState.STARTING, told)
            yield runs._attempt(run)
        else:
            yield from right(state, run, told, now)

    monkeypatch.setattr(runs, "_failed", wrong)


def one_parent_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    right = dependencies.ready

    def wrong(state: MetronomeState, job: JobId) -> bool:
        known, spec_ = state.jobs[job], state.spec(job)
        if right(state, job) or spec_ is None or not spec_.dependencies or known.active:
            return right(state, job)
        return max(state.jobs[parent].success_n for parent in spec_.parents) > max(known.began_n, known.success_began_n)

    monkeypatch.setattr(books, "ready", wrong)
    monkeypatch.setattr(runs, "ready", wrong)


def successes_while_it_runs_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    right = dependencies.ready

    def wrong(state: MetronomeState, job: JobId) -> bool:
        spec_, known = state.spec(job), state.jobs[job]
        newer = [state.jobs[parent].success_n > known.success_n for parent in spec_.parents] if spec_ else []
        return right(state, job) and all(newer)

    monkeypatch.setattr(books, "ready", wrong)
    monkeypatch.setattr(runs, "ready", wrong)


def schedules_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    right = schedules._skipped

    def wrong(job: JobId, schedule: schedules.Schedule, over: schedules._Overdue) -> Say:
        said = right(job, schedule, over)
        assert isinstance(said.fact, ScheduleSkipped)
        return msgspec.structs.replace(said, fact=msgspec.structs.replace(said.fact, schedule="default"))

    monkeypatch.setattr(schedules, "_skipped", wrong)


def only_the_newest_is_caught_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(schedule: schedules.Schedule, first: Now, now: Now) -> schedules._Overdue:
        return schedules._latest(schedule, first, now)._replace(skipped=0)

    monkeypatch.setattr(schedules, "_oldest", wrong)


def constraints_are_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offers, "unmet", lambda *_: [])


BUGS = [
    one_parent_is_enough,
    successes_while_it_runs_are_forgotten,
    schedules_are_one,
    only_the_newest_is_caught_up,
    constraints_are_not_seen,
    the_schedule_stays,
    a_firing_is_forgotten,
    offers_do_not_shrink,
    nothing_revives,
    the_given_up_live_on,
    the_stopped_are_attempted_again,
]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch):
    """Each is one wrong line; the random histories find it."""
    bug(monkeypatch)

    @settings(max_examples=300, deadline=None, derandomize=True, database=None, phases=(Phase.generate,))
    @given(st.randoms(use_true_random=True), st.integers(1, 150))
    def histories(random: Random, steps: int) -> None:
        live_through(random, steps)

    with pytest.raises((AssertionError, ExceptionGroup)):
        histories()
