"""That a task starts is in the executor's log before anything is started; its agent hears of it if that takes long."""

from __future__ import annotations

import msgspec
import pytest

from bus.events import Event, TaskReported
from bus.nouns import NOBODY, TaskId, TaskState, second
from components.agent.state import AgentState
from components.component import apply
from components.executor.decide import at_once_max
from components.executor.sights import LaunchFailed, TaskEnded, TaskStarted
from components.executor.state import ExecutorState, slow_start_s
from tests.components.agent.play import EXECUTOR, MASTER, launched, reports
from tests.components.agent.play import stage as agent_stage
from tests.components.driver import Stage, only
from tests.components.executor.nouns import AGENT, CONFIG, delivered, killed, stage

S = TaskState
T1 = TaskId("t1")
REGISTRATION_S = 60.0
"""How long an agent waits by default for a word of its executor. (`AgentConfig.executor_registration_s`)"""


def told(events: list[Event]) -> list[tuple[str, TaskState]]:
    """What its agent hears of these."""
    reported = [(event.fact.status, event.to) for event in events if isinstance(event.fact, TaskReported)]
    return [(status.task, status.state) for status, to in reported if to == "a1"]


def starting(start_by_s: float | None = None) -> Stage[ExecutorState]:
    """An executor that was handed a task a moment ago."""
    played = stage()
    handed = delivered()
    if start_by_s is not None:
        handed = msgspec.structs.replace(handed, start_by=played.now + round(start_by_s * second))
    (event,) = played.hear(AGENT, handed)
    assert event.to == NOBODY
    return played


def test_a_task_that_starts_slowly_is_told_of_once():
    played = starting()
    assert played.advance(slow_start_s - 0.001) == []
    (event,) = played.advance(0.001)
    assert (event.to, event.trace, event.fact.delivered) == ("a1", "trace-1", None)
    assert (event.fact.status.task, event.fact.status.state) == ("t1", S.STARTING)
    assert played.advance(10_000) == []
    assert told(played.see(TaskStarted(task=T1, pid=7))) == [("t1", S.RUNNING)]
    assert played.rebuilt() == played.hash()


@pytest.mark.parametrize(
    ("sight", "state"),
    [
        (TaskStarted(task=T1, pid=7), S.RUNNING),
        (TaskEnded(task=T1, wait_status=0), S.FINISHED),
        (LaunchFailed(task=T1, message="no"), S.FAILED),
    ],
)
def test_of_one_that_runs_or_ended_by_then_nothing_else_is_told(sight, state):
    played = starting()
    assert told(played.see(sight)) == [("t1", state)]
    assert played.advance(10_000) == []


@pytest.mark.parametrize("start_by_s", [slow_start_s - 4, 0.001])
def test_it_is_told_by_the_last_moment_at_which_it_could_be_started(start_by_s):
    """After that its agent waits only as long as a word may be on the way."""
    played = starting(start_by_s)
    assert played.advance(start_by_s - 0.001) == []
    assert told(played.advance(0.001)) == [("t1", S.STARTING)]


def test_of_several_each_is_told_of_in_its_time():
    """An agent that waits less since it was started anew: the later task is told of first."""
    played = starting()
    played.advance(1)
    late = msgspec.structs.replace(delivered("t2"), start_by=played.now + 2 * second)
    played.hear(AGENT, late)
    assert told(played.advance(2)) == [("t2", S.STARTING)]
    assert told(played.advance(slow_start_s)) == [("t1", S.STARTING)]


@pytest.mark.parametrize("away_s", [3, 3600])
def test_an_executor_that_died_meanwhile_tells_it_all_the_same(away_s):
    """In its time if that is still to come, or as soon as it is there again."""
    played = starting()
    played.now = played.now + away_s * second
    played.restart()
    assert told(played.advance(max(0, slow_start_s - away_s))) == [("t1", S.STARTING)]
    assert played.advance(10_000) == []


def test_one_delivered_again_is_told_of_at_once_and_not_a_second_time():
    played = starting()
    assert told(played.hear(AGENT, delivered())) == [("t1", S.STARTING)]
    assert played.advance(10_000) == []


def test_one_killed_while_it_starts_is_told_of_before_its_kill():
    """From STAGING, all that its agent knows, no KILLING follows: it would be passed over, and the task given up."""
    played = starting()
    assert told(played.hear(AGENT, killed(grace_s=1000))) == [("t1", S.STARTING), ("t1", S.KILLING)]
    assert told(played.hear(AGENT, killed(grace_s=0))) == []
    assert played.advance(10_000) == []


def test_so_is_one_that_has_had_its_time():
    played = stage()
    played.hear(AGENT, delivered(max_completion_s=5))
    assert told(played.advance(5)) == [("t1", S.STARTING), ("t1", S.KILLING)]


def test_more_than_fit_into_a_decision_are_told_of_in_several():
    """And those that have had their time at that very moment are killed."""
    played = stage()
    for number in range(at_once_max + 1):
        played.hear(AGENT, delivered(f"t{number}", max_completion_s=slow_start_s))
        played.hear(AGENT, delivered(f"u{number}"))
    events = told(played.advance(slow_start_s))
    assert [state for _, state in events].count(S.STARTING) == 2 * (at_once_max + 1)
    assert [state for _, state in events].count(S.KILLING) == at_once_max + 1
    assert played.state.untold == []


def test_a_log_that_told_its_agent_at_once_is_read_as_it_was_written():
    """Up to 0.5.0 STARTING was said to the agent."""
    played = starting()
    state = played.component.start()
    for event in played.log:
        apply(played.component, state, msgspec.structs.replace(event, to="a1" if event.to == NOBODY else event.to))
    played.component.check(state)
    assert (list(state.tasks), state.untold, played.component.wake_at(state)) == (["t1"], [], None)


# ---- with the agent ----------------------------------------------------------------------------------------------


class Node:
    """An agent and its executor: each hears at once what the other says to it."""

    def __init__(self) -> None:
        self.agent: Stage[AgentState] = agent_stage()
        (event,) = self.agent.hear(MASTER, launched("t1"))
        self.delivered = event.fact
        self.executor = stage()
        self.executor.now = self.agent.now

    def deliver(self) -> None:
        self.executor.hear(AGENT, self.delivered)

    def advance(self, seconds: float) -> list[TaskState]:
        """What the master hears meanwhile."""
        said = []
        for _ in range(round(seconds)):
            for event in self.executor.advance(1):
                if event.to == CONFIG.agent:
                    said += self.agent.hear(EXECUTOR, event.fact)
            said += self.agent.advance(1)
        return [fact.status.state for fact in only(said, TaskReported)]


@pytest.mark.parametrize("heard_after_s", [0, REGISTRATION_S - 11, REGISTRATION_S - 1])
def test_a_task_that_is_being_started_is_never_given_up(heard_after_s):
    """Whenever its executor hears of it in time, and however long it then takes."""
    node = Node()
    assert node.advance(heard_after_s) == []
    node.deliver()
    assert node.advance(1000) == [S.STARTING]


def test_an_agent_that_was_away_while_it_was_told_does_not_give_it_up():
    node = Node()
    node.deliver()
    said = [event for event in node.executor.advance(100) if event.to == CONFIG.agent]
    node.agent.now = node.agent.now + 100 * second
    node.agent.restart()
    node.agent.settle()
    assert told_master(node.agent.hear(EXECUTOR, said[0].fact)) == [S.STARTING]
    assert node.advance(1000) == []


def test_an_agent_that_died_before_anything_was_told_hears_of_it_next():
    """It takes what it knows from its own log: the task is delivered, and of what runs it hears as if nothing was."""
    node = Node()
    node.deliver()
    node.agent.restart()
    node.agent.settle()
    node.executor.see(TaskStarted(task=T1, pid=7))
    assert reports(node.agent, "t1", S.RUNNING) == node.agent.log[-1:]
    assert node.advance(1000) == []


def test_a_kill_while_it_starts_is_told_to_the_master():
    node = Node()
    node.deliver()
    events = node.executor.hear(AGENT, killed(grace_s=1000))
    said = [told_master(node.agent.hear(EXECUTOR, event.fact)) for event in events]
    assert said == [[S.STARTING], [S.KILLING]]
    assert node.advance(200) == [], "a long grace is no reason to give it up"


def told_master(events: list[Event]) -> list[TaskState]:
    return [fact.status.state for fact in only(events, TaskReported)]
