"""Histories drawn from the agent's own state, held against books that are kept from its log alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bus.events import (
    AgentAdmitted,
    AgentRefused,
    AgentRegistered,
    AgentStarted,
    Event,
    KillDelivered,
    KillDirected,
    SandboxCollected,
    TaskDelivered,
    TaskReported,
)
from bus.nouns import MOVES, TERMINAL, AgentId, Now, Refusal, TaskId, TaskState
from bus.subjects import Author, Kind
from components.agent import component
from components.agent.decide import ResourcesDetected
from components.agent.state import AgentState, after, believed_s, hear_first_s
from components.component import Component, Heard, Input, Say
from tests.components.agent.play import EIGHT, EXECUTOR, MASTER, config, launched, marked, status
from tests.components.driver import START, Stage

steps_min, steps_max = 30, 60
GC_S, ENDED_MAX = 30.0, 2
PATIENCE_S = 20.0
"""How long the executor may say nothing of a task."""


@dataclass
class Books:
    """What a reader of the agent's log knows, kept without looking at the agent's state."""

    states: dict[TaskId, TaskState] = field(default_factory=dict)
    ended: dict[TaskId, int] = field(default_factory=dict)
    """The number of the event that first reported the end."""
    collected: set[TaskId] = field(default_factory=set)
    staging_since: dict[TaskId, Now] = field(default_factory=dict)
    """Of the tasks nothing was heard of."""
    term_since: Now = START

    def read(self, event: Event, acted_n: int | None) -> None:
        """Check one event against everything before it; `acted_n` of the mark it was led to by, if one."""
        match event.fact:
            case AgentStarted():
                self.term_since = event.at
            case TaskDelivered(task=info, start_by=start_by):
                assert event.to == "a1-cmd"
                assert start_by == after(event.at, PATIENCE_S)
                self.staging_since[info.task] = event.at
                assert info.task not in self.states, f"{info.task} is delivered twice"
                self.states[info.task] = TaskState.STAGING
            case KillDelivered(task=task):
                assert self.states[task] not in TERMINAL
            case TaskReported(status=told):
                assert event.to == "main"
                self._report(event.n, told.task, told.state)
            case SandboxCollected(task=task):
                assert task in self.ended
                assert task not in self.collected, f"{task} is collected twice"
                self.collected.add(task)
            case AgentRegistered(tasks=tasks):
                expected = self.live() | (self.unacted(acted_n) if acted_n is not None else {})
                assert {held.info.task: held.status.state for held in tasks} == expected
                assert len(tasks) == len(expected)

    def check_patience(self, now: Now) -> None:
        """Nothing is waited for longer than it is to be."""
        for task, since in self.staging_since.items():
            until = max(after(since, PATIENCE_S + believed_s), after(self.term_since, hear_first_s))
            assert now < until, f"{task} was handed over at {since}, and nothing is heard of it at {now}"

    def _report(self, n: int, task: TaskId, state: TaskState) -> None:
        self.staging_since.pop(task, None)
        before = self.states.get(task)
        if before is None or before in TERMINAL:
            assert state in (before, TaskState.GONE, TaskState.DROPPED), "only an answer follows an end"
            return
        assert state in MOVES[before], f"{task}: {before} -> {state}"
        self.states[task] = state
        if state in TERMINAL:
            self.ended[task] = n

    def live(self) -> dict[TaskId, TaskState]:
        return {task: state for task, state in self.states.items() if state not in TERMINAL}

    def unacted(self, acted_n: int) -> dict[TaskId, TaskState]:
        """Ends after `acted_n` whose sandboxes are kept."""
        return {t: self.states[t] for t, n in self.ended.items() if n > acted_n and t not in self.collected}


class Player:
    """Draws what happens next from what the agent has, does it, and has the books read what is said."""

    def __init__(self, data: st.DataObject, acting: Stage[AgentState]) -> None:
        self.data, self.acting, self.books = data, acting, Books()
        self.silent: list[Event] = []
        """Heard without an event: after a crash they may be heard again."""

    def play(self) -> None:
        self.read(self.acting.begin())
        self.settle()
        for move in self.data.draw(st.lists(st.sampled_from(self.moves()), min_size=steps_min, max_size=steps_max)):
            move()
            self.settle()
        for task in list(self.acting.state.tasks):  # everything ends, and is collected in the end
            self.hear(EXECUTOR, TaskReported(status=status(task, TaskState.KILLED)))
        self.read(self.acting.advance(2 * GC_S))
        assert self.books.live() == {}
        assert self.books.collected == self.books.ended.keys()
        assert self.acting.rebuilt() == self.acting.hash()

    def moves(self) -> list[Callable[[], None]]:
        return [
            self.launch,
            self.launch,
            self.report,
            self.report,
            self.report,
            self.report,
            self.kill,
            self.mark,
            self.verdict,
            self.restart,
            self.wait,
            self.detect,
            self.stranger,
            self.again,
        ]

    def task(self) -> TaskId:
        """A task the agent has, had, or never heard of."""
        state = self.acting.state
        return self.data.draw(
            st.sampled_from([*state.tasks, *state.tasks, *state.ended, *state.collected, TaskId("t99")])
        )

    def launch(self) -> None:
        fresh = TaskId(f"t{len(self.books.states)}")
        self.hear(MASTER, launched(self.data.draw(st.sampled_from([fresh, fresh, self.task()]))))

    def report(self) -> None:
        self.hear(EXECUTOR, TaskReported(status=status(self.task(), self.data.draw(st.sampled_from(TaskState)))))

    def kill(self) -> None:
        self.hear(MASTER, KillDirected(task=self.task()))

    def mark(self) -> None:
        acted_n = self.data.draw(st.integers(0, self.acting.state.n))
        self.hear(MASTER, marked(acted_n), acted_n)

    def verdict(self) -> None:
        reason = self.data.draw(st.sampled_from([None, Refusal.BELOW_HELD, Refusal.ID_TAKEN]))
        agent = AgentId("a1")
        if reason is None:
            self.hear(MASTER, AgentAdmitted(agent=agent, hostname="n1.example", resources=EIGHT))
        else:
            self.hear(MASTER, AgentRefused(agent=agent, reason=reason, message="no"))

    def restart(self) -> None:
        self.read(self.acting.restart())

    def wait(self) -> None:
        self.read(self.acting.advance(self.data.draw(st.sampled_from([0.001, 1.0, GC_S / 2, GC_S]))))

    def detect(self) -> None:
        cpu_milli = self.data.draw(st.sampled_from([8000, 8000, 4000]))
        self.read(self.acting.see(ResourcesDetected(resources=msgspec.structs.replace(EIGHT, cpu_milli=cpu_milli))))

    def stranger(self) -> None:
        """Somebody else says what only the master or the own executor may say."""
        before = self.acting.state.n
        facts = [launched("t0"), KillDirected(task=self.task()), marked(0)]
        self.hear(Author(Kind.AGENT, "a2"), self.data.draw(st.sampled_from(facts)))
        self.hear(Author(Kind.EXECUTOR, "a2-cmd"), TaskReported(status=status(self.task(), TaskState.FINISHED)))
        assert self.acting.state.n == before

    def again(self) -> None:
        """After a crash, what led to no event since the last heard one is heard again."""
        behind = [event for event in self.silent if event.position > self.acting.state.heard]
        for event in behind:
            assert self.acting.hear_event(event) == []

    def hear(self, by: Author, fact: object, acted_n: int | None = None) -> None:
        event = self.acting.said(by, fact)  # type: ignore[arg-type]
        said = self.acting.hear_event(event)
        if not said:
            self.silent.append(event)
        self.read(said, acted_n)

    def settle(self) -> None:
        self.read(self.acting.settle())
        assert len(self.acting.state.ended) <= ENDED_MAX
        self.books.check_patience(self.acting.now)

    def read(self, events: list[Event], acted_n: int | None = None) -> None:
        for event in events:
            self.books.read(event, acted_n)


def agent(detects: bool) -> Component[AgentState]:
    settings = {"sandbox_gc_s": GC_S, "ended_max": ENDED_MAX, "executor_registration_s": PATIENCE_S}
    return component(config(**settings, resources=None if detects else EIGHT))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data(), detects=st.booleans())
def test_any_history_leaves_the_books_right(data: st.DataObject, detects: bool):
    """Delivered once, reported along the table, listed as it is, collected once, and all of it in the log."""
    Player(data, Stage(agent(detects))).play()


def lists_live_tasks_only(sound: Component[AgentState]) -> Component[AgentState]:
    """A mark answered without the ends the master has not acted on: they would count as gone."""

    def decide(state: AgentState, told: Input, now: Now):  # type: ignore[no-untyped-def]
        for say in sound.decide(state, told, now):
            fact = say.fact
            if isinstance(fact, AgentRegistered):
                held = tuple(task for task in fact.tasks if task.status.state not in TERMINAL)
                say = msgspec.structs.replace(say, fact=msgspec.structs.replace(fact, tasks=held))
            yield say

    return replace(sound, decide=decide)


def forgets_what_it_collected(sound: Component[AgentState]) -> Component[AgentState]:
    """An id is free again as soon as its sandbox is collected: the same id would be run twice."""

    def fold(state: AgentState, event: Event) -> None:
        sound.fold(state, event)
        state.collected.clear()

    return replace(sound, fold=fold)


def waits_for_ever(sound: Component[AgentState]) -> Component[AgentState]:
    """A task of which the executor never says anything is never given up."""

    def fold(state: AgentState, event: Event) -> None:
        sound.fold(state, event)
        state.unheard.clear()

    return replace(sound, fold=fold)


def believes_every_step(sound: Component[AgentState]) -> Component[AgentState]:
    """A report is carried to the master whatever was reported before."""

    def decide(state: AgentState, told: Input, now: Now):  # type: ignore[no-untyped-def]
        n = state.n
        yield from sound.decide(state, told, now)
        if isinstance(told, Heard) and isinstance(told.event.fact, TaskReported) and state.n == n:
            yield Say(told.event.fact, to="main")

    return replace(sound, decide=decide)


PLANTS = [lists_live_tasks_only, forgets_what_it_collected, waits_for_ever, believes_every_step]


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_is_found(plant: Callable[[Component[AgentState]], Component[AgentState]]):
    """The histories go far enough to reach what they are meant to check."""

    @settings(
        max_examples=500,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def broken(data: st.DataObject) -> None:
        Player(data, Stage(plant(agent(False)))).play()

    with pytest.raises(AssertionError):
        broken()


def test_a_term_is_not_begun_by_anything_else():
    """Only agent.started makes a registration due."""
    acting = Stage(agent(False))
    assert isinstance(acting.begin()[0].fact, AgentStarted)
    assert [event.type for event in acting.settle()] == ["agent.registered"]
    assert acting.component.wake_at(acting.state) is None
