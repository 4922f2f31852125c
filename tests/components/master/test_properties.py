"""Whatever happens in whatever order, the books balance, no task is lost or invented, and the log gives the state."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.events import AgentMarked
from components.component import Say
from components.master.books import abandon
from components.master.state import Agent, Framework, MasterState, Task
from tests.components.master.honest import ACTIONS, MARKS, World

EXPECTED = {
    "agent.admitted",
    "agent.marked",
    "framework.admitted",
    "framework.disconnected",
    "framework.reconnected",
    "framework.removed",
    "framework.suppressed",
    "framework.revived",
    "offer.made",
    "offer.rescinded",
    "offer.recovered",
    "task.launched",
    "kill.directed",
    "task.updated TASK_RUNNING None",
    "task.updated TASK_FINISHED None",
    "task.updated TASK_KILLED None",
    "task.updated TASK_KILLED REASON_FRAMEWORK_REMOVED",
    "task.updated TASK_ERROR REASON_TASK_INVALID",
    "task.updated TASK_DROPPED REASON_INVALID_OFFERS",
    "task.updated TASK_UNREACHABLE REASON_AGENT_REMOVED",
    "task.updated TASK_RUNNING REASON_AGENT_REREGISTERED",
    "task.updated TASK_STAGING REASON_AGENT_REREGISTERED",
    "task.updated TASK_UNKNOWN REASON_RECONCILIATION",
    "task.updated TASK_RUNNING REASON_RECONCILIATION",
}
STEP = st.tuples(st.sampled_from(ACTIONS), st.integers(0, 999), st.integers(0, 999))
HISTORIES = st.lists(STEP, min_size=60, max_size=120)


def tell(history: list[tuple[Callable[[World, int, int], None], int, int]]) -> None:
    """Let a history happen."""
    world = World()
    for action, a, b in history:
        action(world, a, b)
    world.end()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(HISTORIES)
def test_whatever_happens_the_books_balance_and_nothing_is_lost(history):
    tell(history)


def fixed(seed: int) -> None:
    """The same hundred histories every time."""
    random = Random(seed)
    for _ in range(100):
        tell([(random.choice(ACTIONS), random.randrange(1000), random.randrange(1000)) for _ in range(120)])


def test_the_histories_come_by_everything_that_matters():
    MARKS.clear()
    fixed(1)
    assert set(MARKS) >= EXPECTED, sorted(EXPECTED - set(MARKS))


def _hold_nothing(state: MasterState, task: Task) -> None:
    agent = state.agents[task.info.agent]
    agent.lost_ids.remove(task.info.task)
    agent.task_ids.add(task.info.task)


def _mark_as_if_all_were_acted_on(agent: Agent, why: str) -> Say:
    return Say(AgentMarked(agent=agent.agent, acted_n=10**9, message=why), to=agent.agent)


def _abandon_without_a_kill(state: MasterState, framework: Framework, task: Task) -> None:
    abandon(state, framework, task)
    del state.orphans[task.info.task]


def _connect_and_stay_due(state: MasterState, framework: Framework, n: int) -> None:
    framework.connected, framework.connected_n, framework.wanting_n = True, n, n


PLANTED = {
    "every launch counts as heard by its agent": ("agents", "_heard_n", lambda state, agent, listed: state.n),
    "any registration answers a mark": ("agents", "_answers", lambda agent, fact: True),
    "a mark says that all was acted on": ("agents", "mark", _mark_as_if_all_were_acted_on),
    "an ended task gives nothing back": ("fold", "release", lambda state, task: None),
    "a task that returns takes nothing": ("fold", "hold", _hold_nothing),
    "a removed framework leaves its tasks to nobody": ("membership", "abandon", _abandon_without_a_kill),
    "a teardown forgets an offer": ("frameworks", "rescind", lambda state, offers, reason: ()),
    "a return does not drop the due time": ("membership", "connect", _connect_and_stay_due),
    "who dies abandoned is not said to": ("tasks", "from_agent", lambda task, status: status),
    "everybody may use everything": ("offers", "may_use", lambda role, kept_for: True),
    "the end of a filter wakes nobody": ("state", "wake_at", lambda state: state.expiring.first),
}
"""Bugs that were planted on purpose, and what the same histories say then."""


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_caught(bug, monkeypatch):
    """The same histories that pass find each of these: a property nobody can break proves nothing."""
    room, name, wrong = PLANTED[bug]
    monkeypatch.setattr(import_module(f"components.master.{room}"), name, wrong)
    with pytest.raises((AssertionError, KeyError)):
        fixed(1)


TINY = [
    ("accepts", "launches_max"),
    ("agents", "updates_max"),
    ("tasks", "answers_max"),
    ("offers", "picks_max"),
    ("offers", "takers_max"),
    ("offers", "event_bytes_max"),
    ("removals", "removals_max"),
    ("removals", "kills_max"),
]


def test_cutting_every_decision_small_changes_nothing_of_this(monkeypatch):
    """The same histories where one decision holds almost nothing."""
    for room, name in TINY:
        monkeypatch.setattr(import_module(f"components.master.{room}"), name, 1)
    fixed(2)
