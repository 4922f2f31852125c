"""Histories drawn from the executor's own state, held against books that are kept from its log alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bus.events import Event, TaskReported
from bus.nouns import MOVES, TERMINAL, Now, Reason, TaskId, TaskState, second
from components.component import Component, Sight
from components.executor import component
from components.executor.sights import LaunchFailed, TaskEnded, TaskStarted
from components.executor.state import ExecutorState, fold, slow_start_s
from tests.components.driver import Stage
from tests.components.executor.nouns import AGENT, CONFIG, delivered, killed

steps_min, steps_max = 20, 50
OWN = "_"


@dataclass
class Books:
    """What a reader of the executor's log knows, kept without looking at its state."""

    states: dict[TaskId, TaskState] = field(default_factory=dict)
    kill_at: dict[TaskId, Now] = field(default_factory=dict)
    due_at: dict[TaskId, Now] = field(default_factory=dict)
    launches: dict[TaskId, int] = field(default_factory=dict)
    """How often the hands were led to launch a task."""
    heard: dict[TaskId, TaskState] = field(default_factory=dict)
    """What its agent takes each task to be doing."""
    tell_by: dict[TaskId, Now] = field(default_factory=dict)
    """Until when it is to hear something of a task."""

    def read(self, event: Event) -> None:
        """Check one event against everything before it."""
        if not isinstance(event.fact, TaskReported):
            return
        told, name, before = event.fact, event.fact.status.task, self.states.get(event.fact.status.task)
        self._note_told(told, event)
        if told.delivered is not None:
            self._launch(told, event.at)
        elif before is None:
            assert told.status.reason is Reason.TASK_KILLED_DURING_LAUNCH
        elif told.status.state is not before:
            assert told.status.state in MOVES[before], f"{name}: {before} -> {told.status.state}"
        self._note_kill(told, event.at)
        self._note_end(told, before)
        self.states[name] = told.status.state

    def _note_told(self, told: TaskReported, event: Event) -> None:
        """What the agent hears is a way through the table of moves, and comes before it would give the task up."""
        name, state = told.status.task, told.status.state
        if told.delivered is not None:
            self.tell_by[name] = Now(event.at + round(slow_start_s * second))
        if event.to == OWN:
            assert told.delivered is not None or state is TaskState.KILLING, f"{name}: {state} is told to nobody"
            return
        assert event.to == "a1"
        before = self.heard.get(name, TaskState.STAGING)
        assert state is before or state in MOVES[before], f"{name}: its agent knows of {before}, and hears {state}"
        self.heard[name] = state
        self.tell_by.pop(name, None)

    def check_told(self, now: Now) -> None:
        late = {name: at for name, at in self.tell_by.items() if at <= now}
        assert not late, f"its agent heard nothing of {late}"

    def _launch(self, told: TaskReported, at: Now) -> None:
        name, info = told.status.task, told.delivered.task if told.delivered else None
        assert name not in self.states, f"{name} is launched again"
        assert told.status.state is TaskState.STARTING
        assert info is not None
        self.launches[name] = self.launches.get(name, 0) + 1
        if info.max_completion_s is not None:
            self.due_at[name] = Now(at + round(info.max_completion_s * second))

    def _note_kill(self, told: TaskReported, at: Now) -> None:
        name = told.status.task
        if told.status.state is not TaskState.KILLING:
            return
        assert told.kill_at is not None
        assert told.kill_at <= self.kill_at.get(name, told.kill_at), f"{name}: a kill was put off"
        self.kill_at[name] = told.kill_at
        if told.status.reason is Reason.MAX_COMPLETION_TIME_REACHED:
            assert at >= self.due_at[name], f"{name}: killed before its time"

    def _note_end(self, told: TaskReported, before: TaskState | None) -> None:
        if told.status.state in TERMINAL and before is TaskState.KILLING:
            failed = told.status.state is TaskState.FAILED
            assert failed == (told.status.reason is Reason.MAX_COMPLETION_TIME_REACHED)

    def live(self) -> dict[TaskId, TaskState]:
        return {name: state for name, state in self.states.items() if state not in TERMINAL}


@dataclass
class World:
    """An executor, its books, and what its hands would be doing."""

    stage: Stage[ExecutorState]
    books: Books = field(default_factory=Books)
    names: int = 0

    def deliver(self, draw: st.DrawFn) -> list[Event]:
        self.names += 1
        limit = draw(st.sampled_from([None, 0.0, 5.0, 60.0]))
        return self.stage.hear(AGENT, delivered(f"t{self.names}", max_completion_s=limit))

    def deliver_again(self, draw: st.DrawFn) -> list[Event]:
        return self.stage.hear(AGENT, delivered(draw(self._known())))

    def kill(self, draw: st.DrawFn) -> list[Event]:
        grace_s = draw(st.sampled_from([None, 0.0, 1.0, 10.0]))
        return self.stage.hear(AGENT, killed(draw(self._known()), grace_s))

    def see(self, draw: st.DrawFn) -> list[Event]:
        """A sight of a task the state holds, or an old one."""
        task = draw(self._known())
        sights: list[Sight] = [TaskStarted(task=task, pid=7), LaunchFailed(task=task, message="no")]
        sights += [TaskEnded(task=task, wait_status=status) for status in (0, 256, 9, 15, None)]
        return self.stage.see(draw(st.sampled_from(sights)))

    def pass_time(self, draw: st.DrawFn) -> list[Event]:
        return self.stage.advance(draw(st.sampled_from([0.5, 3.0, 30.0])))

    def restart(self, draw: st.DrawFn) -> list[Event]:
        return self.stage.restart()

    def _known(self) -> st.SearchStrategy[TaskId]:
        state = self.stage.state
        names = sorted([*state.tasks, *state.ended]) or [TaskId("t0")]
        return st.sampled_from([*names, *sorted(state.tasks) * 3])


STEPS = (
    World.deliver,
    World.deliver,
    World.deliver_again,
    World.kill,
    World.see,
    World.see,
    World.pass_time,
    World.restart,
)


def play(draw: st.DrawFn, executor: Component[ExecutorState]) -> World:
    """A history; after every step the books hold and say what the state says."""
    world = World(Stage(executor))
    world.stage.begin()
    for step in draw(st.lists(st.sampled_from(STEPS), min_size=steps_min, max_size=steps_max)):
        for event in step(world, draw):
            world.books.read(event)
        world.books.check_told(world.stage.now)
        remembered = {name: task.status.state for name, task in world.stage.state.tasks.items()}
        assert remembered == world.books.live()
    assert world.stage.rebuilt() == world.stage.hash()
    return world


@st.composite
def histories(draw: st.DrawFn, executor: Component[ExecutorState]) -> World:
    return play(draw, executor)


checked = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@checked
@given(histories(component(CONFIG)))
def test_the_log_alone_says_what_the_state_says(world):
    """No task is launched twice, no kill is put off, no move is off the table, and a rebuilt executor is the same."""
    assert all(count == 1 for count in world.books.launches.values())


def test_histories_go_somewhere():
    """What the guards are about does happen: kills, shortened kills, overdue tasks, old sights, ends of every kind."""
    seen: set[str] = set()

    @settings(checked, max_examples=60, database=None, derandomize=True)
    @given(histories(component(CONFIG)))
    def look(world: World) -> None:
        for event in world.stage.log:
            if isinstance(event.fact, TaskReported):
                seen.add(f"{event.fact.status.state} {event.fact.status.reason}")
                shortened = event.to == OWN and event.fact.status.state is TaskState.KILLING
                slow = event.to != OWN and event.fact.status.state is TaskState.STARTING
                seen.update({"shortened"} if shortened else {"slow"} if slow else ())

    look()
    assert {"shortened", "slow", "TASK_KILLING REASON_MAX_COMPLETION_TIME_REACHED", "TASK_FINISHED None"} <= seen
    assert {"TASK_FAILED REASON_MAX_COMPLETION_TIME_REACHED", "TASK_KILLED None", "TASK_FAILED None"} <= seen
    assert {"TASK_KILLED REASON_TASK_KILLED_DURING_LAUNCH", "TASK_FAILED REASON_EXECUTOR_TERMINATED"} <= seen


def forgetful(state: ExecutorState, event: Event) -> None:
    """The planted bug: an ended task is not remembered, so the next delivery of the same id launches it again."""
    fold(state, event)
    if isinstance(event.fact, TaskReported):
        state.ended.pop(event.fact.status.task, None)


def lenient(state: ExecutorState, event: Event) -> None:
    """The planted bug: the grace of a second kill replaces the first's, even a longer one."""
    fold(state, event)
    if isinstance(event.fact, TaskReported) and event.fact.status.task in state.tasks:
        task = state.tasks[event.fact.status.task]
        if task.kill_at is not None:
            task.kill_at = Now(task.kill_at + 60 * second)


def silent(state: ExecutorState, event: Event) -> None:
    """The planted bug: that an agent was told nothing yet of a task that starts is not remembered."""
    fold(state, event)
    state.untold = []
    for task in state.tasks.values():
        task.tell_at = None


@pytest.mark.parametrize(
    ("broken", "story"),
    [(silent, "heard nothing|hears TASK_KILLING"), (forgetful, "launched again"), (lenient, "put off")],
)
def test_a_planted_bug_is_caught(broken, story):
    """A property that no bug can break proves nothing."""

    @settings(checked, max_examples=500, database=None, derandomize=True, phases=[Phase.generate])
    @given(histories(replace(component(CONFIG), fold=broken)))
    def look(world: World) -> None:
        pass

    with pytest.raises(AssertionError, match=story):
        look()


def test_an_executor_made_of_structs_can_be_hashed():
    """The state is canonical: what it holds encodes, also in the middle of a task's life."""
    played = Stage(component(CONFIG))
    played.begin()
    played.hear(AGENT, delivered(max_completion_s=5.0))
    assert len(msgspec.json.encode(played.state)) > 100
