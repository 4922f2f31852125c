"""The driver keeps the runtime's promises to a component, shown with a component of a few lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from bus.events import Event, LeaderElected
from bus.nouns import JobId, Now, RunId, second
from bus.services import RunCreated, RunRequested
from bus.subjects import Author, Kind
from components.component import Component, Heard, Input, Say, State, answer
from tests.components.driver import Stage, only, types


@dataclass(slots=True, kw_only=True)
class Counting(State):
    runs: int = 0
    due: Now | None = None


def fold(state: Counting, event: Event) -> None:
    if isinstance(event.fact, RunCreated):
        state.runs += 1
        state.due = Now(event.at + 5 * second) if state.runs % 3 else None


def decide(state: Counting, told: Input, now: Now) -> Iterator[Say]:
    fact = RunCreated(job=JobId("j"), run=RunId(f"r-{state.n}"))
    if isinstance(told, Heard):
        yield answer(told.event, fact)
    elif state.due is not None and state.due <= now:
        yield Say(fact)


def counting() -> Component[Counting]:
    return Component(
        author=Author(Kind.FRAMEWORK, "metronome"),
        term=LeaderElected,
        start=Counting,
        fold=fold,
        decide=decide,
        wake_at=lambda state: state.due,
        check=lambda state: None,
    )


ALICE = Author(Kind.CLIENT, "u-alice")


def test_a_stage_wakes_its_component_at_the_moments_it_names():
    stage = Stage(counting())
    stage.begin()
    assert types(stage.hear(ALICE, RunRequested(job=JobId("j")), request="q1")) == ["run.created"]
    assert stage.advance(4) == []
    assert [event.at - stage.log[0].at for event in stage.advance(60)] == [5 * second, 10 * second]
    assert [event.n for event in stage.log] == [1, 2, 3, 4]


def test_the_same_request_gets_the_same_answer_and_is_folded_once():
    stage = Stage(counting())
    stage.begin()
    asked = stage.said(ALICE, RunRequested(job=JobId("j")), request="q1", trace="t1")
    first, again = stage.hear_event(asked), stage.hear_event(asked)
    assert only(first, RunCreated) == only(again, RunCreated)
    assert stage.state.runs == 1
    assert (first[0].cause, first[0].trace, first[0].heard) == (asked.position, "t1", asked.position)


def test_a_restarted_component_has_the_state_of_its_log():
    stage = Stage(counting())
    stage.begin()
    stage.hear(ALICE, RunRequested(job=JobId("j")), request="q1")
    before = stage.state.runs
    stage.restart()
    assert (stage.state.runs, stage.state.epoch) == (before, 2)


def test_a_wake_that_changes_nothing_fails():
    stage = Stage(counting())
    stage.begin()
    stage.state.due = Now(1)
    stage.component = Component(
        author=stage.component.author,
        term=LeaderElected,
        start=Counting,
        fold=fold,
        decide=lambda state, told, now: iter(()),
        wake_at=lambda state: state.due,
        check=lambda state: None,
    )
    with pytest.raises(AssertionError, match="nothing is said"):
        stage.settle()
