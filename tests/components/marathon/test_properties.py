"""Marathon before a small master, at random: nothing is oversold, forgotten, doubled or said twice.

Every step is drawn from what is there: apps that exist, offers that are out, tasks that live. At the end everything
calms down, and then exactly the wanted instances run. Five planted bugs are each found: an offer that does not shrink
while it is filled, a Marathon that revives after delays only, one that lets expunged instances live on, one that does
not say who took their place, one that does not hear that an instance was killed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bus.documents import AppSpec, Rollout, UpgradeStrategy
from bus.events import Fact, FrameworkRevived, KillRequested, RequestRefused, TaskUpdated
from bus.nouns import MOVES, AppId, Now, Refusal, Rescinded, TaskId, TaskState
from bus.plans import Deed, Outcome
from bus.services import (
    AppRemoved,
    AppRequested,
    AppSpecified,
    AppsRequested,
    AppUpdated,
    AppWish,
    CancelRequested,
    ContinueRequested,
    DeploymentEnded,
    DeploymentStarted,
    InstanceDismissed,
    InstanceScheduled,
    KillsRequested,
    RemovalRequested,
    RestartRequested,
    RollbackRequested,
    ScaleRequested,
)
from components.component import Input, Say, apply
from components.marathon import MarathonConfig, offers, updates
from components.marathon.instances import is_up
from components.marathon.rolling import least_up
from components.marathon.state import App, MarathonState
from tests.components.driver import only
from tests.components.marathon.play import MAIN, Play, spec
from tests.components.marathon.world import AGENTS, World

NOWHERE = 64.0
"""CPUs of an app that fits on no node."""
ENDS = (TaskState.FAILED, TaskState.FINISHED, TaskState.GONE, TaskState.KILLED)


def audit(state: MarathonState) -> None:
    """What `check` asserts by counting, counted."""
    for app in state.apps.values():
        assert app.running == sum(one.state is TaskState.RUNNING for one in app.launched.values())
        assert set(app.outdated) <= {*app.waiting, *app.launched}
        assert [one.order for one in app.waiting.values()] == sorted(one.order for one in app.waiting.values())
        assert all(one.agent for one in (*app.launched.values(), *app.dying.values()))
        assert not app.vacant or not app.even or app.deed is Deed.RESTART
        assert set(app.up) == {task for task, one in app.launched.items() if is_up(one)}
        assert set(app.old_up) == {task for task in app.up if task in app.outdated}
    known = [task for app in state.apps.values() for task in (*app.waiting, *app.launched, *app.dying)]
    assert sorted(known) == sorted(state.owners)
    assert len(known) == len(set(known))
    assert state.delays == sorted((app.delayed, app_id) for app_id, app in state.apps.items() if app.delayed)
    assert list(state.unconfirmed.values()) == sorted(state.unconfirmed.values())
    assert set(state.unconfirmed) <= set(state.owners)


class History:
    """Clients, a master, agents and time, against one Marathon."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.play = Play(MarathonConfig(launches_max=3), admitted=False)
        self.world = World()
        self.asked: dict[AppId, AppSpec] = {}
        """What each app should be, as its clients have it."""
        self.told = 0
        """How much of Marathon's log they have read."""
        self.settle()

    def settle(self) -> None:
        self.play.settle()
        self.world.hear(self.play.log)
        for fact in only(self.play.log[self.told :], Fact):
            match fact:
                case AppSpecified(app=app):
                    self.asked[app.id] = app
                case AppRemoved(app=app_id):
                    del self.asked[app_id]
        self.told = len(self.play.log)

    def ask(self, fact: Fact) -> bool:
        """A client asks; whether it is done. If not, nothing is."""
        before, going_on = dict(self.asked), set(self.play.state.deployments)
        events = self.play.ask(fact)
        refused, undone = only(events, RequestRefused), only(events, DeploymentStarted)
        self.settle()
        for one in refused:
            if one.reason is Refusal.LOCKED:
                assert set(one.held_by) <= going_on
        assert not refused or undone or before == self.asked, f"{fact} is refused, and done"
        return not refused

    @property
    def forced(self) -> bool:
        return self.random.random() < 0.3

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

    # ---- clients ------------------------------------------------------------------------------------------------

    def create_or_update(self) -> None:
        app = spec(
            self.random.choice(("/a", "/b", "/d/c", "/huge")),
            instances=self.random.randint(0, 4),
            cmd=self.random.choice(("true", "false")),
            ports=self.random.choice(((), (0,), (0, 31005), (31007,))),
            backoff_seconds=self.random.choice((0.0, 1.0, 30.0)),
        )
        app = replace(app, cpus=NOWHERE if app.id == "/huge" else self.random.choice((0.1, 0.5)), **self.strategy())
        update = self.random.random() < 0.5
        if self.ask(AppRequested(app=app, update=update, force=self.forced)):
            assert self.asked[app.id] == app

    def change_several(self) -> None:
        """One deployment of two apps, one after the other."""
        first = spec("/a", instances=self.random.randint(0, 3), cmd=self.random.choice(("true", "false")))
        second = spec("/c", instances=self.random.randint(0, 3), cmd="true", dependencies=("/a",))
        apps = (AppWish(app=replace(second, **self.strategy())), AppWish(app=replace(first, **self.strategy())))
        self.ask(AppsRequested(apps=apps, force=self.forced))

    def strategy(self) -> dict[str, Any]:
        """How an app is replaced, and when that is given up."""
        fractions = (0.0, 0.3, 0.5, 1.0)
        rollout = Rollout(
            progress_deadline_seconds=self.random.choice((None, None, 60)),
            max_launch_attempts=self.random.choice((None, None, 2)),
            auto_rollback=self.random.random() < 0.5,
            canaries=self.random.choice((0, 1)),
        )
        upgrade = UpgradeStrategy(
            minimum_health_capacity=self.random.choice(fractions), maximum_over_capacity=self.random.choice(fractions)
        )
        return {"upgrade_strategy": upgrade, "rollout": rollout}

    def scale(self) -> None:
        if self.asked:
            app = self.random.choice(sorted(self.asked))
            instances = self.random.randint(0, 5)
            if self.ask(ScaleRequested(app=app, instances=instances, force=self.forced)):
                assert self.asked[app].instances == instances

    def restart_app(self) -> None:
        if self.asked:
            self.ask(RestartRequested(app=self.random.choice(sorted(self.asked)), force=self.forced))

    def remove(self) -> None:
        if self.asked:
            app = self.random.choice(sorted(self.asked))
            if self.ask(RemovalRequested(app=app, force=self.forced)):
                assert app not in self.asked

    def cancel(self) -> None:
        if self.play.state.deployments:
            name = self.random.choice(sorted(self.play.state.deployments))
            assert self.ask(CancelRequested(deployment=name, force=self.random.random() < 0.3))
            assert name not in self.play.state.deployments

    def go_on(self) -> None:
        for name in list(self.play.state.deployments):
            self.ask(ContinueRequested(deployment=name))

    def roll_back(self) -> None:
        if self.asked:
            app = self.random.choice(sorted(self.asked))
            version = self.random.choice(list(self.play.app(app).history))
            self.ask(RollbackRequested(app=app, to_version=version, force=self.forced))

    def kill_several(self) -> None:
        owned = sorted(self.play.state.owners)
        if owned:
            tasks = tuple(self.random.choices(owned, k=2))
            self.ask(KillsRequested(tasks=tasks, scale=self.random.random() < 0.5, force=self.forced))

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
        first = self.play.hear_event(event)
        if not first or isinstance(fact, TaskUpdated):
            assert all(one.type == "kill.requested" for one in self.play.hear_event(event))
        self.settle()

    def work(self) -> None:
        """The usual course of things: offers are made and answered, what was launched starts."""
        self.world.allocate(self.play.now)
        self.hear_all()
        self.start_all()
        self.hear_all()

    def start_all(self) -> None:
        for name, task in sorted(self.world.tasks.items()):
            if task.state in (TaskState.STAGING, TaskState.STARTING):
                self.world.move(name, TaskState.RUNNING)

    def rescind(self) -> None:
        """An offer is taken back before Marathon has heard of it: what it then accepts is void."""
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
        self.play.advance(self.random.choice((0.5, 2, 60, 400)))
        self.settle()

    def crash(self) -> None:
        self.play.restart()
        self.settle()

    # ---- what always holds --------------------------------------------------------------------------------------

    def check(self) -> None:
        """As many instances as asked for, never more than allowed while they are replaced; no port held twice."""
        audit(self.play.state)
        assert {app_id for app_id, app in self.play.state.apps.items() if not app.removed} == set(self.asked)
        for app_id, wanted in self.asked.items():
            app = self.play.app(app_id)
            assert app.latest.spec == wanted
            there = len(app.waiting) + len(app.launched)
            assert there == app.wanted or app.deed is Deed.RESTART, f"{app_id}: {there} of {app.wanted}"
        self.check_ports()

    def check_ports(self) -> None:
        held = Counter(
            (task.info.agent, port) for task in self.world.tasks.values() if task.holds for port in task.info.ports
        )
        back = self.agents_with_returned_tasks()
        assert all(count == 1 for (agent, _), count in held.items() if agent not in back), held

    def agents_with_returned_tasks(self) -> set[str]:
        """Until the expunged that came back are killed, their ports clash with those given out since."""
        tasks = self.world.tasks.items()
        return {task.info.agent for name, task in tasks if task.holds and name not in self.play.state.owners}

    # ---- how it ends --------------------------------------------------------------------------------------------

    def end_well(self) -> None:
        """Calm, and then exactly the wanted instances run, and their clients were told everything once."""
        for _ in range(3):  # more often than there are steps with canaries
            self.calm_down()
            self.go_on()
        held = {app for one in self.play.state.deployments.values() for app in one.unfinished}
        assert held <= {"/huge"}, f"{self.play.state.deployments} go on"
        wanted = {app_id: 0 if app.cpus == NOWHERE else app.instances for app_id, app in self.asked.items()}
        running = Counter(self.world.tasks[name].info.app for name in self.world.alive())
        assert running == Counter(wanted), f"{dict(running)} run, {wanted} are wanted"
        assert all(self.play.app(app_id).running == count for app_id, count in wanted.items())
        told = Counter((fact.status.task, fact.status.state) for fact in only(self.play.log, AppUpdated))
        assert all(count == 1 for count in told.values()), told
        self.check_survivors()
        self.check_health_kept()
        self.check_versions()
        assert self.play.rebuilt() == self.play.hash()

    def check_versions(self) -> None:
        """What a deployment that succeeded changed is all of its new version."""
        apps: dict[str, tuple[AppId, ...]] = {}
        whole: dict[AppId, bool] = {}
        for event in self.play.log:
            match event.fact:
                case DeploymentStarted(deployment=name, plan=plan):
                    apps[name] = plan.apps
                case DeploymentEnded(deployment=name, outcome=outcome) if outcome is not Outcome.REVERSED:
                    whole |= dict.fromkeys(apps[name], outcome is Outcome.SUCCEEDED)
        for app_id, app in self.play.state.apps.items():
            for task, one in app.launched.items() if whole.get(app_id) and app.deployment is None else ():
                assert one.app_version == app.version, f"{task} is of {one.app_version}, {app_id} of {app.version}"

    def check_health_kept(self) -> None:
        """No replacement ever took one that was up, when fewer than must stay up would have been left."""
        state = self.play.component.start()
        for event in self.play.log:
            match event.fact:
                case InstanceDismissed(app=app_id, task=task, reason="Upgrading") if task in state.apps[app_id].up:
                    app = state.apps[app_id]
                    least = least_up(app.wanted, app.spec.upgrade_strategy.minimum_health_capacity)
                    assert len(app.up) > least, f"#{event.position} {app_id}: {app.counts}, {least} are to stay up"
                case InstanceScheduled(app=app_id) if state.apps[app_id].deed is Deed.RESTART:
                    app = state.apps[app_id]
                    most = app.wanted * (1 + app.spec.upgrade_strategy.maximum_over_capacity) + 1
                    beside = app.canaries is not None and app.counts.new < app.wanted
                    assert beside or app.counts.there < most, f"#{event.position} {app_id}: {app.counts}"
            apply(self.play.component, state, event)

    def check_survivors(self) -> None:
        """Of an instance that came back and the one that replaced it, the log says which survived."""
        replaced: dict[TaskId, TaskId] = {}
        dismissed: set[TaskId] = set()
        for event in self.play.log:
            match event.fact:
                case InstanceScheduled(task=task, replaces=gone) if gone is not None:
                    replaced[gone] = task
                case InstanceDismissed(task=task):
                    dismissed.add(task)  # that it is wanted no more was said then
                case KillRequested(task=task, reason=reason) if reason:
                    by = replaced.get(task) if task not in dismissed else None
                    assert reason.endswith(f": {by} took its place and stays") == (by is not None), f"{reason}: {by}"

    def calm_down(self) -> None:
        for agent in sorted(self.world.lost):
            self.world.find(agent)
        for _ in range(30):
            for name in [name for name, task in self.world.tasks.items() if task.state is TaskState.KILLING]:
                self.world.move(name, TaskState.KILLED)
            self.work()
            self.play.advance(30)
            self.settle()


STEPS: dict[Callable[[History], None], int] = {
    History.work: 6,
    History.hear_some: 6,
    History.hear_twice: 3,
    History.create_or_update: 3,
    History.scale: 2,
    History.restart_app: 1,
    History.remove: 1,
    History.change_several: 2,
    History.cancel: 1,
    History.go_on: 2,
    History.roll_back: 1,
    History.kill_several: 1,
    History.kill: 2,
    History.rescind: 2,
    History.move: 3,
    History.end: 3,
    History.lose_or_find: 2,
    History.pass_time: 4,
    History.crash: 1,
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
def test_whatever_happens_the_wanted_instances_run_in_the_end(random: Random, steps: int):
    live_through(random, steps)


def test_the_histories_go_somewhere():
    """Each kind of step and of end is met, or the test above would say little."""
    seen: Counter[str] = Counter()
    for seed in range(10):
        log = live_through(Random(seed), 150).play.log
        seen.update("suppressed" if getattr(fact, "suppressed", False) else fact.type for fact in only(log, Fact))
        for fact in only(log, AppUpdated):
            seen.update([fact.status.state, fact.status.reason or "", "delayed" if fact.delay_until else ""])
        seen.update(fact.outcome for fact in only(log, DeploymentEnded))
        seen.update(fact.reason.rpartition(" ")[2] for fact in only(log, KillRequested))
    rare = (
        "deployment.advanced",
        *Outcome,
        "framework.revived",
        "suppressed",
        "kill.requested",
        "delayed",
        "REASON_INVALID_OFFERS",
        "stays",
        *ENDS,
    )
    assert all(seen[what] >= 10 for what in (*rare, "offer.accepted", "TASK_UNREACHABLE", "task.reconciled")), seen
    assert all(seen[what] >= 5 for what in ("deployment.paused", "deployment.continued", "kills.granted")), seen


# ---- planted bugs -----------------------------------------------------------------------------------------------


def offers_do_not_shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    right = offers._Plan.add

    def wrong(plan: offers._Plan, app: App, task: TaskId) -> None:
        free = plan.free
        right(plan, app, task)
        plan.free = free

    monkeypatch.setattr(offers._Plan, "add", wrong)


def only_delays_revive(monkeypatch: pytest.MonkeyPatch) -> None:
    mind = import_module("components.marathon.decide")

    def wrong(config: MarathonConfig, state: MarathonState, _told: Input, now: Now) -> Iterator[Say]:
        if state.admitted and state.delays and state.delays[0][0] <= now:
            yield Say(FrameworkRevived(framework=config.id), to="main")

    monkeypatch.setattr(mind, "_revive", wrong)


def the_expunged_live_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "_ALIVE", frozenset())


def replacements_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "why_killed", lambda state, task: "no app has this instance any more")


def kills_are_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    right = updates.hear_update

    def wrong(state: MarathonState, fact: TaskUpdated, now: Now) -> Iterator[Say]:
        return iter(()) if fact.status.state is TaskState.KILLED else right(state, fact, now)

    monkeypatch.setattr(import_module("components.marathon.decide"), "hear_update", wrong)


BUGS = [
    offers_do_not_shrink,
    only_delays_revive,
    the_expunged_live_on,
    replacements_are_forgotten,
    kills_are_not_heard,
]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch):
    """Each is one wrong line; the random histories find it."""
    bug(monkeypatch)

    @settings(max_examples=60, deadline=None, derandomize=True, database=None, phases=(Phase.generate,))
    @given(st.randoms(use_true_random=True), st.integers(1, 150))
    def histories(random: Random, steps: int) -> None:
        live_through(random, steps)

    with pytest.raises((AssertionError, ExceptionGroup)):
        histories()
