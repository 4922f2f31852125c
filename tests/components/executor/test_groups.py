"""A group lives and dies as one: whatever ends one of it ends all, save that it finished."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as with_

from bus.events import Event, TaskDelivered, TaskReported
from bus.nouns import TERMINAL, Check, Probe, TaskGroup, TaskId, TaskState
from components.component import Component, Sight
from components.executor import component
from components.executor.sights import HealthSeen, LaunchFailed, TaskEnded, TaskStarted
from components.executor.state import ExecutorState, fold
from tests.components.driver import Stage, only
from tests.components.executor.nouns import AGENT, CONFIG, delivered, killed, stage

S = TaskState


def member(name: str, index: int = 0, size: int = 2, group: str = "g", **more: object) -> TaskDelivered:
    one = delivered(name, **more)  # type: ignore[arg-type]
    return with_(one, task=with_(one.task, group=TaskGroup(id=group, index=index, size=size)))


def begin(*names: str, group: str = "g") -> Stage[ExecutorState]:
    acting = stage()
    for index, name in enumerate(names):
        acting.hear(AGENT, member(name, index, len(names), group, kill_grace_s=3.0 + index))
        acting.see(TaskStarted(task=TaskId(name), pid=7))
    return acting


def said(events: list[Event]) -> list[tuple[str, TaskState]]:
    return [(fact.status.task, fact.status.state) for fact in only(events, TaskReported)]


@pytest.mark.parametrize(
    ("sight", "end", "why"),
    [
        (TaskEnded(task="t1", wait_status=256), S.FAILED, "TASK_FAILED: Command exited with status 1"),
        (TaskEnded(task="t1", wait_status=9), S.FAILED, "TASK_FAILED: Command terminated with signal SIGKILL"),
        (TaskEnded(task="t1", wait_status=None), S.FAILED, "TASK_FAILED: exit status unknown"),
        (LaunchFailed(task="t1", message="no such file"), S.FAILED, "TASK_FAILED: no such file"),
    ],
)
def test_one_that_fails_ends_the_others_in_the_same_decision(sight, end, why):
    acting = begin("t1", "t2", "t3")
    events = acting.see(sight)
    assert said(events) == [("t1", end), ("t2", S.KILLING), ("t3", S.KILLING)]
    assert [fact.status.message for fact in only(events, TaskReported)[1:]] == [
        f"killed: t1 of its group ended as {why}"
    ] * 2
    assert [fact.kill_at for fact in only(events, TaskReported)[1:]] == [
        acting.now + 4_000_000,
        acting.now + 5_000_000,
    ], "each has its own grace"
    (ended,) = only(acting.see(TaskEnded(task="t2", wait_status=15)), TaskReported)
    assert ended.status.state is S.KILLED
    assert ended.status.message == f"Command terminated with signal SIGTERM; killed: t1 of its group ended as {why}"
    acting.see(TaskEnded(task="t3", wait_status=0))
    assert not acting.state.groups
    assert acting.rebuilt() == acting.hash()


def test_one_that_finishes_does_not():
    acting = begin("t1", "t2")
    assert said(acting.see(TaskEnded(task="t1", wait_status=0))) == [("t1", S.FINISHED)]
    assert said(acting.see(TaskEnded(task="t2", wait_status=0))) == [("t2", S.FINISHED)]
    assert not acting.state.groups


def test_one_that_is_killed_ends_the_others_once_it_has_ended():
    acting = begin("t1", "t2")
    assert said(acting.hear(AGENT, killed("t1"))) == [("t1", S.KILLING)]
    events = acting.see(TaskEnded(task="t1", wait_status=0))
    assert said(events) == [("t1", S.KILLED), ("t2", S.KILLING)]


def test_one_that_is_unhealthy_ends_the_others():
    acting = stage()
    one = member("t1", 0)
    check = Check(probe=Probe.TCP, port=1, grace_s=0.0, failures_max=1)
    acting.hear(AGENT, with_(one, task=with_(one.task, health=check)))
    acting.hear(AGENT, member("t2", 1))
    for name in ("t1", "t2"):
        acting.see(TaskStarted(task=TaskId(name), pid=7))
    acting.see(HealthSeen(task=TaskId("t1"), healthy=False, message="refused"))
    events = acting.see(TaskEnded(task="t1", wait_status=15))
    assert said(events) == [("t1", S.KILLED), ("t2", S.KILLING)]


def test_one_that_had_its_time_ends_the_others():
    acting = stage()
    acting.hear(AGENT, member("t1", 0, max_completion_s=5.0))
    acting.hear(AGENT, member("t2", 1))
    assert said(acting.advance(5)) == [("t1", S.STARTING), ("t1", S.KILLING)]
    ended = [("t1", S.FAILED), ("t2", S.STARTING), ("t2", S.KILLING)]
    assert said(acting.see(TaskEnded(task="t1", wait_status=9))) == ended


def test_groups_know_nothing_of_each_other():
    acting = begin("t1", "t2")
    for index, name in enumerate(("u1", "u2")):
        acting.hear(AGENT, member(name, index, group="h"))
    acting.hear(AGENT, delivered("alone"))
    assert said(acting.see(TaskEnded(task="t1", wait_status=256))) == [("t1", S.FAILED), ("t2", S.KILLING)]


def test_one_that_comes_too_late_is_the_end_of_those_that_did_not():
    """Part of a group was heard in time: the log of the executor says how that ended, and nobody goes on alone."""
    acting = stage()
    acting.hear(AGENT, with_(member("t1", 0), start_by=acting.now + 1))
    acting.advance(1)
    events = acting.hear(AGENT, with_(member("t2", 1), start_by=acting.now))
    assert said(events) == [("t2", S.FAILED), ("t1", S.KILLING)]
    acting.see(TaskEnded(task="t1", wait_status=15))
    assert not acting.state.groups
    assert acting.rebuilt() == acting.hash()


def test_one_that_comes_after_another_failed_is_never_started():
    acting = stage()
    acting.hear(AGENT, member("t1", 0))
    acting.see(LaunchFailed(task=TaskId("t1"), message="no"))
    (said_,) = only(acting.hear(AGENT, member("t2", 1)), TaskReported)
    assert (said_.status.state, said_.status.reason) == (S.KILLED, "REASON_TASK_KILLED_DURING_LAUNCH")
    assert said_.status.message == "t1 of its group ended as TASK_FAILED: no"
    assert not acting.state.groups
    assert acting.rebuilt() == acting.hash()


# ---- whatever happens


def no_half_group(acting: Stage[ExecutorState]) -> None:
    """From the log alone: of a group of which one ended badly nothing goes on, and a settled group is over."""
    states: dict[TaskId, TaskState] = {}
    groups: dict[TaskId, str] = {}
    for event in acting.log:
        if isinstance(event.fact, TaskReported):
            told = event.fact
            states[told.status.task] = told.status.state
            if told.delivered is not None and told.delivered.task.group is not None:
                groups[told.status.task] = told.delivered.task.group.id
    for name, group in groups.items():
        if states[name] in TERMINAL and states[name] is not S.FINISHED:
            others = {other: states[other] for other in groups if groups[other] == group}
            going_on = [other for other, state in others.items() if state in (S.STARTING, S.RUNNING)]
            assert not going_on, f"half of group {group} is alive: {name} ended as {states[name]}, {going_on} go on"


@st.composite
def histories(draw: st.DrawFn, executor: Component[ExecutorState]) -> Stage[ExecutorState]:
    acting = Stage(executor)
    acting.begin()
    waiting: list[TaskDelivered] = []
    for step in range(draw(st.integers(10, 40))):
        known = sorted(acting.state.tasks)
        kind = draw(st.sampled_from(["group", "deliver", "deliver", "see", "see", "see", "kill", "time", "restart"]))
        if kind == "group" and not waiting:
            size = draw(st.integers(1, 4))
            limit = draw(st.sampled_from([None, None, 5.0]))
            late = draw(st.sampled_from([None, None, acting.now + 3_000_000]))
            names = [f"t{step}-{index}" for index in range(size)]
            waiting = [
                with_(member(name, index, size, f"g{step}", max_completion_s=limit), start_by=late)
                for index, name in enumerate(names)
            ]
        elif kind in ("group", "deliver") and waiting:
            acting.hear(AGENT, waiting.pop(0))
        elif kind == "see" and known:
            task = draw(st.sampled_from(known))
            sights: list[Sight] = [TaskStarted(task=task, pid=7), LaunchFailed(task=task, message="no")]
            sights += [TaskEnded(task=task, wait_status=status) for status in (0, 0, 256, 9, None)]
            acting.see(draw(st.sampled_from(sights)))
        elif kind == "kill" and known:
            acting.hear(AGENT, killed(draw(st.sampled_from(known)), draw(st.sampled_from([None, 0.0, 9.0]))))
        elif kind == "time":
            acting.advance(draw(st.sampled_from([1.0, 4.0])))
        elif kind == "restart":
            acting.restart()
        no_half_group(acting)
    assert acting.rebuilt() == acting.hash()
    return acting


checked = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@checked
@given(histories(component(CONFIG)))
def test_a_group_is_never_half_alive(acting):
    """Whatever ends, in whatever order, with restarts in between: after each step, and rebuilt from the log alone."""
    no_half_group(acting)


def forgetful(state: ExecutorState, event: Event) -> None:
    """The planted bug: it is forgotten that one of a group ended."""
    fold(state, event)
    for group in state.groups.values():
        group.broken = ""


def test_a_planted_bug_is_caught():
    @settings(checked, max_examples=300, database=None, derandomize=True, phases=[Phase.generate])
    @given(histories(replace(component(CONFIG), fold=forgetful)))
    def look(_acting: Stage[ExecutorState]) -> None:
        pass

    with pytest.raises(AssertionError, match="half of group"):
        look()
