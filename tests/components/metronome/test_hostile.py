"""Whatever a client writes of jobs and schedules: one answer each, nothing half-applied, and never for long."""

from __future__ import annotations

import string

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.documents import Dependency, JobSpec, Schedule
from bus.documents.job import schedules_max
from bus.events import RequestRefused
from bus.nouns import JobId, RunId
from bus.services import (
    JobRequested,
    JobSpecified,
    RunRequested,
    ScheduleRemovalRequested,
    ScheduleRequested,
    StopRequested,
    SwitchRequested,
)
from tests.bus import shapes
from tests.components.driver import only
from tests.components.metronome.play import COUNT, Play, spec
from tests.components.metronome.reading import audit

CRONISH = st.lists(st.text("0123456789*/,-#LWlw?@ janfri\u00b2\u0664\u212a\u0130", max_size=9), max_size=7).map(
    " ".join
)
SCHEDULES = st.builds(
    lambda one, cron, zone: msgspec.structs.replace(one, cron=cron, timezone=zone),
    shapes.of(Schedule),
    CRONISH | st.sampled_from(["* * * * *", "0 0 29 2 5#5", "59 23 31W 12 7L 2099"]),
    st.sampled_from(["UTC", "Europe/Berlin", "Mars/Olympus", "../../etc/passwd", "utc", "Ａmerica/New_York"]),
)


def whole(play: Play) -> bytes:
    """All that is remembered but the answers."""
    state = msgspec.to_builtins(play.state)
    return msgspec.json.encode({name: state[name] for name in ("jobs", "specs", "children", "dues", "runs")})


@settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None, derandomize=True, database=None)
@given(
    st.one_of(
        st.builds(JobRequested, job=shapes.of(JobSpec), update=st.booleans(), keep_schedules=st.booleans()),
        st.builds(
            ScheduleRequested, job=st.sampled_from([COUNT, JobId("no")]), schedule=SCHEDULES, update=st.booleans()
        ),
        st.builds(
            SwitchRequested, job=st.sampled_from([COUNT, JobId("no")]), schedule=st.text(), enabled=st.booleans()
        ),
        st.builds(ScheduleRemovalRequested, job=st.just(COUNT), schedule=st.text() | st.just("default")),
        st.builds(RunRequested, job=st.text()),
        st.builds(StopRequested, job=st.text(), run=st.text()),
    )
)
def test_whatever_is_asked_has_one_answer_and_a_refusal_changes_nothing(fact: object) -> None:
    """Any document of the right shape, any text for a cron, a zone, an id."""
    play = Play()
    play.add(cron="* * * * *")
    before = whole(play)
    events = play.ask(fact)  # type: ignore[arg-type]
    assert sum(event.request is not None for event in events) == 1
    if only(events, RequestRefused):
        assert whole(play) == before
    audit(play.state)
    assert play.rebuilt() == play.hash()


def test_a_job_with_as_many_schedules_as_it_may_have_is_answered_and_fires() -> None:
    """All at the same minute."""
    play = Play()
    times = [{"id": f"s{n}", "cron": "* * * * *", "catchUp": "all"} for n in range(schedules_max)]
    (said,) = only(play.add(schedules=times), JobSpecified)
    assert len(said.nexts) == schedules_max
    play.advance(60)
    assert len(play.state.jobs[COUNT].active) == schedules_max
    audit(play.state)


def test_the_most_expensive_schedules_there_are_cost_little() -> None:
    """Crons that exclude themselves are found out by fourteen kinds of years, each once."""
    play = Play()
    times = [{"id": f"s{n}", "cron": f"{n} 0 L-30 2 1#5 1970-2099"} for n in range(schedules_max)]
    (refused,) = only(play.ask(JobRequested(job=spec(schedules=times))), RequestRefused)
    assert len(refused.also) == schedules_max - 1
    assert all("never fire" in text for text in (refused.message, *refused.also))


def test_a_long_chain_of_jobs_is_no_recursion() -> None:
    """A thousand jobs one after another, and the circle that would close it."""
    play = Play()
    play.add("j0")
    for n in range(1, 1000):
        play.add(f"j{n}", after=(f"j{n - 1}",))
    (refused,) = only(play.ask(JobRequested(job=spec("j0", after=("j999",)), update=True)), RequestRefused)
    assert refused.message.startswith("jobs would wait for each other: j0 -> j999 -> j998")
    assert len(refused.message) <= 1000


@pytest.mark.parametrize("text", ["\u0000", "\x1b[2J", "a" * 255, "*" * 255, ",".join("5" * 127), "\u202e* * * * *"])
def test_strange_crons_are_refused_in_words(text: str) -> None:
    """The words name it and are bounded."""
    play = Play()
    (refused,) = only(play.add(cron=text), RequestRefused)
    assert "`$.schedules[0].cron`" in refused.message
    assert len(refused.message) < 1000


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=30))
def test_no_order_of_requests_makes_a_circle(edges: list[tuple[int, int]]) -> None:
    """Jobs that are made to depend on each other, at random: those that are taken can always be put in an order."""
    play = Play()
    for name in string.ascii_lowercase[:8]:
        play.add(name)
    for child, parent in edges:
        known = play.state.spec(JobId(string.ascii_lowercase[child]))
        assert known is not None
        parents = {*known.parents, JobId(string.ascii_lowercase[parent])}
        wanted = msgspec.structs.replace(known, dependencies=tuple(Dependency(id=one) for one in sorted(parents)))
        play.ask(JobRequested(job=wanted, update=True))
    left = {job: set(found.parents) for job in play.state.jobs if (found := play.state.spec(job))}
    while left:
        free = [job for job, parents in left.items() if not parents & left.keys()]
        assert free, f"a circle: {left}"
        for job in free:
            del left[job]


def test_a_run_of_nothing_is_stopped_in_words() -> None:
    """Ids of any length."""
    play = Play()
    (refused,) = only(play.ask(StopRequested(job=COUNT, run=RunId("x" * 100_000))), RequestRefused)
    assert len(refused.message) <= 1000
