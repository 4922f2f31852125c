"""An agent hands a group on as a whole, in one decision, or none of it."""

from __future__ import annotations

from dataclasses import replace as replace_in
from functools import partial

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bus.events import AgentRegistered, Event, KillDelivered, KillDirected, TaskDelivered, TaskGathered, TaskReported
from bus.nouns import Command, Reason, Resources, TaskGroup, TaskId, TaskState, Uri
from components.agent import component
from components.agent.decide import ArtifactsFetched, ArtifactsMissed, SecretsArrived, SecretsWithheld
from components.agent.state import AgentState, gathered
from components.component import Component, Say
from tests.components.agent.play import MASTER, config, launched, reports, stage
from tests.components.driver import Stage, only, types

S = TaskState
FETCH_MISSED = partial(ArtifactsMissed, message="no such file")
SECRET = Command(shell="true", secret_env={"PASSWORD": "db"})


def member(index: int, size: int = 3, *, group: str = "g", secret: bool = False, fetch: bool = False, name: str = ""):
    command = replace(SECRET if secret else Command(shell="true"), fetch=(Uri(uri="http://h/f"),) if fetch else ())
    more = {"command": command}
    of = TaskGroup(id=group, index=index, size=size, executor=Resources(cpu_milli=100))
    return launched(name or f"{group}{index}", group=of, **more)


def said(events: list[Event]) -> list[tuple[str, TaskState, Reason | None]]:
    return [(fact.status.task, fact.status.state, fact.status.reason) for fact in only(events, TaskReported)]


@pytest.fixture
def acting():
    acting = stage()
    yield acting
    assert acting.rebuilt() == acting.hash()


def test_a_group_is_handed_on_with_its_last_in_one_decision(acting):
    assert types(acting.hear(MASTER, member(0))) == ["task.gathered"]
    assert types(acting.hear(MASTER, member(1))) == ["task.gathered"]
    events = acting.hear(MASTER, member(2))
    assert types(events) == ["task.gathered", *["task.delivered"] * 3]
    assert [event.last for event in events] == [False, False, False, True]
    assert [fact.task.task for fact in only(events, TaskDelivered)] == ["g0", "g1", "g2"]
    assert {fact.task.group.id for fact in only(events, TaskDelivered)} == {"g"}
    assert not acting.state.awaiting


def test_a_restart_in_between_loses_nothing(acting):
    acting.hear(MASTER, member(0))
    acting.restart()
    (registered,) = only(acting.settle(), AgentRegistered)
    assert [held.info.task for held in registered.tasks] == ["g0"]
    acting.hear(MASTER, member(1))
    events = acting.hear(MASTER, member(2))
    assert [fact.task.task for fact in only(events, TaskDelivered)] == ["g0", "g1", "g2"]


def test_a_group_waits_for_all_its_secrets(acting):
    for index in range(3):
        acting.hear(MASTER, member(index, secret=index != 1))
    assert types(acting.see(SecretsArrived(task=TaskId("g2")))) == ["task.gathered"]
    assert types(acting.see(SecretsArrived(task=TaskId("g2")))) == [], "seen twice"
    acting.restart()
    events = acting.see(SecretsArrived(task=TaskId("g0")))
    assert [fact.task.task for fact in only(events, TaskDelivered)] == ["g0", "g1", "g2"]
    assert not acting.state.awaiting


def test_one_whose_secrets_are_withheld_ends_the_group(acting):
    for index in range(3):
        acting.hear(MASTER, member(index, secret=True))
    events = acting.see(SecretsWithheld(task=TaskId("g1"), message="secret db is withheld"))
    assert said(events) == [
        ("g1", S.FAILED, Reason.CONTAINER_LAUNCH_FAILED),
        ("g0", S.KILLED, Reason.TASK_KILLED_DURING_LAUNCH),
        ("g2", S.KILLED, Reason.TASK_KILLED_DURING_LAUNCH),
    ]
    why = "g1 of its group ended as TASK_FAILED: secret db is withheld"
    assert [fact.status.message for fact in only(events, TaskReported)][1:] == [why, why]
    assert not acting.state.tasks


def test_a_kill_of_one_that_is_not_handed_on_ends_the_group(acting):
    """(Mesos: the sidecar rule)"""
    for index in range(3):
        acting.hear(MASTER, member(index, secret=index == 0))
    events = acting.hear(MASTER, KillDirected(task=TaskId("g2")))
    assert [(name, state) for name, state, _ in said(events)] == [("g2", S.KILLED), ("g0", S.KILLED), ("g1", S.KILLED)]
    assert not acting.state.awaiting


def test_a_kill_of_one_that_was_handed_on_is_the_executors(acting):
    for index in range(3):
        acting.hear(MASTER, member(index))
    events = acting.hear(MASTER, KillDirected(task=TaskId("g2")))
    assert [fact.task for fact in only(events, KillDelivered)] == ["g2"]


@pytest.mark.parametrize("turned_away", [0, 1, 2])
def test_one_that_is_turned_away_takes_the_group_with_it(acting, turned_away):
    """Its id was known here before. Those behind it are killed as they come."""
    name = f"g{turned_away}"
    acting.hear(MASTER, launched(name))
    reports(acting, name, S.STARTING, S.FAILED)
    events = [event for index in range(3) for event in acting.hear(MASTER, member(index))]
    expected = {f"g{index}": S.DROPPED if index == turned_away else S.KILLED for index in range(3)}
    assert {task: state for task, state, _ in said(events)} == expected
    assert not only(events, TaskDelivered)
    assert not acting.state.tasks


def test_a_group_whose_files_are_kept_is_turned_away(acting):
    """Else its containers would find what others left."""
    acting.hear(MASTER, member(0, 1))
    reports(acting, "g0", S.STARTING, S.FINISHED)
    (report,) = only(acting.hear(MASTER, member(0, 1, name="other")), TaskReported)
    assert report.status.state is S.DROPPED
    assert report.status.message == "a1 had a group g before, and keeps its files"


def test_one_that_runs_here_already_takes_the_group_with_it(acting):
    acting.hear(MASTER, launched("g1"))
    events = [event for index in range(3) for event in acting.hear(MASTER, member(index))]
    assert [(task, state) for task, state, _ in said(events)] == [("g0", S.KILLED), ("g2", S.KILLED)]
    assert set(acting.state.tasks) == {"g1"}


def all_or_nothing(acting: Stage[AgentState]) -> None:
    """From the log alone: of each group all were handed on, or none."""
    handed: dict[str, set[int]] = {}
    sizes: dict[str, int] = {}
    for event in acting.log:
        if isinstance(event.fact, TaskDelivered) and event.fact.task.group is not None:
            group = event.fact.task.group
            handed.setdefault(group.id, set()).add(group.index)
            sizes[group.id] = group.size
    for name, indexes in handed.items():
        assert indexes == set(range(sizes[name])), f"of group {name} only {sorted(indexes)} were handed on"


@st.composite
def histories(draw: st.DrawFn, agent: Component[AgentState]) -> Stage[AgentState]:
    """Groups, each launched in a row as the master does; files and secrets come, do not, or twice; kills, restarts."""
    acting = Stage(agent)
    acting.begin()
    acting.settle()
    for step in range(draw(st.integers(3, 15))):
        kind = draw(st.sampled_from(["group", "fetched", "arrive", "arrive", "withhold", "kill", "restart", "end"]))
        awaiting, live = sorted(acting.state.awaiting), sorted(acting.state.tasks)
        if kind == "group":
            size = draw(st.integers(1, 4))
            for index in range(size):
                name = draw(st.sampled_from(["", "", "", "", "known"]))
                needs = {"secret": draw(st.booleans()), "fetch": draw(st.booleans())}
                acting.hear(MASTER, member(index, size, group=f"g{step}-", name=name, **needs))
                if draw(st.integers(0, 5)) == 0:
                    acting.restart()
        elif kind == "fetched" and awaiting:
            acting.see(draw(st.sampled_from((ArtifactsFetched, FETCH_MISSED)))(task=draw(st.sampled_from(awaiting))))
        elif kind == "arrive" and awaiting:
            acting.see(SecretsArrived(task=draw(st.sampled_from(awaiting))))
        elif kind == "withhold" and awaiting:
            acting.see(SecretsWithheld(task=draw(st.sampled_from(awaiting)), message="no"))
        elif kind == "kill" and live:
            acting.hear(MASTER, KillDirected(task=draw(st.sampled_from(live))))
        elif kind == "end" and live:
            name = draw(st.sampled_from(live))
            if name not in acting.state.awaiting:
                reports(acting, name, S.FINISHED)
        elif kind == "restart":
            acting.restart()
        acting.settle()
        all_or_nothing(acting)
        for awaited in acting.state.awaiting.values():
            of = awaited.info.group
            assert of is not None
            assert not all(one.ready for one in gathered(acting.state, of.id)), f"group {of.id} waits for nothing"
    assert acting.rebuilt() == acting.hash()
    return acting


checked = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
AGENT = component(config())


@checked
@given(histories(AGENT))
def test_a_group_is_never_half_handed_on(acting):
    all_or_nothing(acting)


def hasty(state, told, now):
    """The planted bug: a task is handed on as soon as nothing of its own is missing."""
    for say in AGENT.decide(state, told, now):
        yield say
        if isinstance(say.fact, TaskGathered):
            yield Say(TaskDelivered(task=say.fact.task, executor="a1-cmd", sandbox="/s"), to="a1-cmd")
            return


def test_a_planted_bug_is_caught():
    @settings(checked, max_examples=300, database=None, derandomize=True, phases=[Phase.generate])
    @given(histories(replace_in(AGENT, decide=hasty)))
    def look(_acting: Stage[AgentState]) -> None:
        pass

    with pytest.raises(AssertionError, match="of group"):
        look()
