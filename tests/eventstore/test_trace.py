"""The twelve steps of one task, told from histories made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bus.codec import events_of
from bus.documents import AppSpec
from bus.events import OfferAccepted, OfferDeclined, TaskUpdated
from bus.nouns import (
    NOBODY,
    AgentId,
    AppId,
    JobId,
    Now,
    OfferId,
    Position,
    RequestId,
    RunId,
    Source,
    TaskId,
    TaskState,
    TraceId,
    Unfit,
)
from bus.queries import Trace, TraceRow
from bus.services import AppRequested, AttemptScheduled, InstanceDismissed, InstanceScheduled, RunCreated, RunUpdated
from eventstore.errors import UnknownTask
from eventstore.mentions import mentions_of
from eventstore.store import open_reader, open_writer
from eventstore.story import At, Latest, Lookup, Mentioning
from eventstore.trace import NECESSARY, WORDS, trace_of
from tests.eventstore.tale import (
    ALICE,
    CALL,
    MARATHON,
    MASTER,
    METRONOME,
    START,
    WEB,
    Tale,
    app_updated,
    client_asks,
    idle_round,
    info_of,
    launch,
    offer_made,
    report,
    status,
    task_updated,
    twelve_steps,
    wanted,
)

RUN = RunId("r-1")
JOB = JobId("nightly")


async def traced(tmp_path: Path, tale: Tale, task: str) -> Trace:
    """The trace from a store; it must be the one a search through the plain list of events finds."""
    async with open_writer(tmp_path / "s.db", cluster="dc", log=None) as writer:
        assert await writer.append(tale.records) == []
    async with open_reader(tmp_path / "s.db") as reader:
        trace = await reader.trace(TaskId(task))
    assert trace == told(tale, task)
    return trace


def told(tale: Tale, task: str) -> Trace:
    """The trace from the list of all events: every lookup is a search through it."""
    events = events_of(tale.records)

    def look(lookup: Lookup) -> list[object]:
        match lookup:
            case Mentioning(noun, id_, limit):
                return [event for event in events if (noun, id_) in mentions_of(event)][:limit]
            case At(position):
                return [event for event in events if event.position == position]
            case Latest((kind, noun, participle), before, author, to_whom):
                return [
                    event
                    for event in events
                    if (event.by.kind, event.type) == (kind, f"{noun}.{participle}")
                    and event.position < before
                    and author in (None, event.by.id)
                    and to_whom in (None, event.to)
                ][-1:]

    asking = trace_of(TaskId(task))
    answer = None
    while True:
        try:
            lookup = asking.send(answer)  # type: ignore[arg-type]  # None starts it
        except StopIteration as done:
            found: Trace = done.value
            return found
        answer = look(lookup)


def positions(trace: Trace) -> dict[int, Position | None]:
    return {row.step: row.position for row in trace.rows}


def row_of(trace: Trace, step: int) -> TraceRow:
    return next(row for row in trace.rows if row.step == step)


def numbered(steps: Sequence[Position]) -> dict[int, Position]:
    return dict(enumerate(steps, start=1))


async def test_all_twelve_steps_are_found(tmp_path: Path) -> None:
    """Each row is the event that was that step, with the seed's words and who said it to whom."""
    tale, steps = twelve_steps()
    trace = await traced(tmp_path, tale, "web.1")
    assert [row.step for row in trace.rows] == list(range(1, 13))
    assert positions(trace) == numbered(steps)
    assert (trace.task, trace.trace, trace.replaces) == ("web.1", CALL, None)
    assert [row.words for row in trace.rows] == list(WORDS.values())
    assert [(row.by, row.type, row.to) for row in trace.rows] == [
        ("client.u-alice", "scheduler.located", "marathon"),
        ("master.main", "offer.made", "marathon"),
        ("framework.marathon", "offer.declined", "main"),
        ("client.u-alice", "app.requested", "marathon"),
        ("master.main", "offer.made", "marathon"),
        ("framework.marathon", "offer.accepted", "main"),
        ("master.main", "task.launched", "a1"),
        ("agent.a1", "task.delivered", "a1-cmd"),
        ("executor.a1-cmd", "task.reported", "a1"),
        ("agent.a1", "task.reported", "main"),
        ("master.main", "task.updated", "marathon"),
        ("framework.marathon", "app.updated", "u-alice"),
    ]
    assert {row.note for row in trace.rows[8:]} == {"TASK_RUNNING"}
    assert {row.note for row in trace.rows[:8]} == {""}


async def test_each_hop_has_its_time_and_the_slowest_is_marked(tmp_path: Path) -> None:
    """From event to event; the launch counts from the request, and only its hops can be the slowest."""
    tale, steps = twelve_steps()
    trace = await traced(tmp_path, tale, "web.1")
    at = {event.position: event.at for event in events_of(tale.records)}
    since = [row.since_previous_us for row in trace.rows]
    assert since[:4] == [None, None, 1000, 1000]
    assert since[5:8] == [1000, 1000, 1000]
    assert since[8] == at[steps[8]] - at[steps[7]] == 74_000
    assert [row.step for row in trace.rows if row.slowest] == [9]
    assert [row.at for row in trace.rows] == [at[position] for position in steps]


async def test_a_task_that_never_ran_shows_how_it_ended(tmp_path: Path) -> None:
    """Steps 9 to 12 are about the first status that matters: RUNNING, or else the end."""
    tale = Tale()
    idle_round(tale)
    _, asked = client_asks(tale)
    wanted(tale, "web.1", cause=asked)
    launch(tale, info_of("web.1"), "o-2-0")
    starting, failed = status("web.1", TaskState.STARTING), status("web.1", TaskState.FAILED, message="no such file")
    report(tale, starting, app_updated(starting))
    reporting = report(tale, failed, app_updated(failed))
    trace = await traced(tmp_path, tale, "web.1")
    assert [row_of(trace, step).position for step in (9, 10, 11, 12)] == reporting
    assert row_of(trace, 9).note == "TASK_FAILED: no such file"


async def test_a_task_the_master_refused_says_so_where_nothing_happened(tmp_path: Path) -> None:
    """Steps 7 to 10 have no event: each row says why. The answer to the scheduler is step 11."""
    tale = Tale()
    _, asked = client_asks(tale)
    wanted(tale, "web.1", cause=asked)
    made = tale.say(MASTER, "marathon", offer_made("o-2-0"))
    accepted = tale.say(
        MARATHON, "main", OfferAccepted(offers=(OfferId("o-2-0"),), launch=(info_of("web.1"),)), trace=CALL
    )
    error = status("web.1", TaskState.ERROR, source=Source.MASTER, message="more than offered")
    updated = tale.say(MASTER, "marathon", task_updated(error), trace=CALL)
    trace = await traced(tmp_path, tale, "web.1")
    found = positions(trace)
    assert [found[step] for step in (5, 6, 7, 8, 9, 10, 11, 12)] == [
        made,
        accepted,
        None,
        None,
        None,
        None,
        updated,
        None,
    ]
    for step in (7, 8, 9, 10, 12):
        assert row_of(trace, step).note == "did not happen: master.main says TASK_ERROR: more than offered"
    assert row_of(trace, 2).note == "the scheduler had no offer before the request"
    assert row_of(trace, 3).note == "the scheduler had declined no offer before"


@pytest.mark.parametrize("apart", [False, True])
async def test_a_task_on_its_way_says_what_has_not_happened_yet(tmp_path: Path, apart: bool) -> None:
    """Before its offer, and while it starts; that it is wanted was said with the answer, or by itself."""
    tale = Tale()
    _, asked = client_asks(tale)
    wanted(tale, "web.1", cause=asked, apart=apart)
    before = await traced(tmp_path, tale, "web.1")
    assert [row.position for row in before.rows[4:]] == [None] * 8
    assert {row.note for row in before.rows[4:]} == {"not yet"}
    assert before.trace == CALL
    launch(tale, info_of("web.1"), "o-2-0")
    starting = status("web.1", TaskState.STARTING)
    report(tale, starting, app_updated(starting))
    during = await traced(tmp_path, tale, "web.1")
    assert None not in [row.position for row in during.rows[4:8]]
    assert {row.note for row in during.rows[8:]} == {"not yet: last heard TASK_STARTING"}


async def test_an_instance_dismissed_while_it_waited_says_by_whom(tmp_path: Path) -> None:
    tale = Tale()
    _, asked = client_asks(tale)
    wanted(tale, "web.1", cause=asked)
    tale.say(MARATHON, NOBODY, InstanceDismissed(app=WEB, task=TaskId("web.1"), reason="scaled down"))
    trace = await traced(tmp_path, tale, "web.1")
    assert row_of(trace, 5).note == "did not happen: dismissed by framework.marathon: scaled down"


async def test_a_replacement_shows_what_made_it_necessary(tmp_path: Path) -> None:
    """It shares steps 1 to 4 with its app; a second row of step 4 is the end of what it replaces."""
    tale, steps = twelve_steps("web.1")
    ended = status("web.1", TaskState.FAILED, message="killed by signal 9")
    reporting = report(tale, ended, app_updated(ended), slow_us=3_600_000_000)
    wanted(tale, "web.2", cause=reporting[2], replaces="web.1")
    launching = launch(tale, info_of("web.2"), "o-3-0")
    running = status("web.2", TaskState.RUNNING)
    running_reports = report(tale, running, app_updated(running))
    trace = await traced(tmp_path, tale, "web.2")
    assert trace.replaces == "web.1"
    assert [row.step for row in trace.rows] == [1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    assert [row.position for row in trace.rows] == [*steps[:4], reporting[2], *launching, *running_reports]
    necessary = trace.rows[4]
    assert necessary.words == NECESSARY
    assert necessary.note == "web.1 is replaced: TASK_FAILED: killed by signal 9"
    assert not necessary.slowest
    assert (await traced(tmp_path, tale, "web.1")).replaces is None


async def test_a_replacement_without_a_cause_finds_the_end_of_the_old(tmp_path: Path) -> None:
    """A scheduler may decide on a timer: then the last word about the old task is what made it necessary."""
    tale, _ = twelve_steps("web.1")
    ended = status("web.1", TaskState.FINISHED)
    reporting = report(tale, ended, app_updated(ended))
    fact = InstanceScheduled(app=WEB, task=TaskId("web.2"), app_version="v1", replaces=TaskId("web.1"))
    tale.say(MARATHON, NOBODY, fact, trace=CALL)
    trace = await traced(tmp_path, tale, "web.2")
    assert trace.rows[4].position == reporting[3]


async def test_an_instance_replaced_on_request_has_no_other_cause(tmp_path: Path) -> None:
    """An update asks for the replacement itself: step 4 is enough."""
    tale, _ = twelve_steps("web.1")
    again = TraceId("call-2")
    asked = tale.say(
        ALICE,
        "marathon",
        AppRequested(app=AppSpec(id=WEB, cmd="sleep 2"), update=True),
        trace=again,
        request=RequestId("r2"),
    )
    fact = InstanceScheduled(app=WEB, task=TaskId("web.2"), app_version="v2", replaces=TaskId("web.1"))
    tale.say(MARATHON, NOBODY, fact, cause=asked, trace=again)
    launch(tale, info_of("web.2", trace=again), "o-3-0")
    trace = await traced(tmp_path, tale, "web.2")
    assert [row.step for row in trace.rows] == list(range(1, 13))
    assert row_of(trace, 4).position == asked
    assert row_of(trace, 1).note == "the client did not say how it found the scheduler"
    assert trace.replaces == "web.1"


def scheduled_run(tale: Tale) -> Position:
    """A schedule fires: nobody asked."""
    idle_round(tale, "o-1-0", METRONOME)
    fact = RunCreated(job=JOB, run=RUN, schedule="default", nominal=Now(START))
    return tale.say(METRONOME, NOBODY, fact)


def attempt(tale: Tale, task: str, cause: Position | None = None) -> list[Position]:
    tale.say(METRONOME, NOBODY, AttemptScheduled(job=JOB, run=RUN, task=TaskId(task)), cause=cause)
    info = info_of(task, trace=None, app=None, run=RUN, framework=METRONOME)
    return launch(tale, info, f"o-{task}", METRONOME)


def run_updated(task: str, state: TaskState) -> RunUpdated:
    return RunUpdated(job=JOB, run=RUN, state="ACTIVE", status=status(task, state))


async def test_a_scheduled_run_says_that_no_client_asked(tmp_path: Path) -> None:
    """Step 4 is the run's creation, and step 1 says why there is none."""
    tale = Tale()
    created = scheduled_run(tale)
    launching = attempt(tale, "t1")
    reporting = report(tale, status("t1", TaskState.RUNNING), run_updated("t1", TaskState.RUNNING), framework=METRONOME)
    trace = await traced(tmp_path, tale, "t1")
    assert trace.trace is None
    assert [row.position for row in trace.rows] == [None, 1, 2, created, *launching, *reporting]
    assert row_of(trace, 1).note == "no client: schedule default of job nightly fired"
    assert row_of(trace, 4).note == "no client: schedule default of job nightly fired"
    assert row_of(trace, 4).type == "run.created"


async def test_the_first_task_of_a_run_is_wanted_by_its_creation(tmp_path: Path) -> None:
    """One event says both; of the second task it is what came before it."""
    tale = Tale()
    idle_round(tale, "o-1-0", METRONOME)
    fact = RunCreated(job=JOB, run=RUN, schedule="default", nominal=Now(START), task=TaskId("t1"))
    created = tale.say(METRONOME, NOBODY, fact)
    info = info_of("t1", trace=None, app=None, run=RUN, framework=METRONOME)
    launching = launch(tale, info, "o-t1", METRONOME)
    *_, why = report(tale, status("t1", TaskState.FAILED), run_updated("t1", TaskState.FAILED), framework=METRONOME)
    trace = await traced(tmp_path, tale, "t1")
    assert [row.position for row in trace.rows][:7] == [None, 1, 2, created, *launching[:3]]
    assert trace.replaces is None
    attempt(tale, "t2", cause=why)
    trace = await traced(tmp_path, tale, "t2")
    assert (trace.replaces, row_of(trace, 4).position) == ("t1", created)


async def test_a_task_that_was_only_wanted_has_its_steps(tmp_path: Path) -> None:
    """Nothing but the creation of its run is known of it."""
    tale = Tale()
    fact = RunCreated(job=JOB, run=RUN, task=TaskId("t1"))
    asked = tale.say(METRONOME, NOBODY, fact)
    trace = await traced(tmp_path, tale, "t1")
    assert row_of(trace, 4).position == asked
    assert [row.position for row in trace.rows if row.step > 4] == [None] * 8


async def test_a_second_attempt_of_a_run_shows_why_the_first_was_not_enough(tmp_path: Path) -> None:
    """ON_FAILURE: the attempt before it is what it replaces."""
    tale = Tale()
    created = scheduled_run(tale)
    attempt(tale, "t1")
    failed = report(tale, status("t1", TaskState.FAILED), run_updated("t1", TaskState.FAILED), framework=METRONOME)
    launching = attempt(tale, "t2", cause=failed[2])
    trace = await traced(tmp_path, tale, "t2")
    assert trace.replaces == "t1"
    assert [row.position for row in trace.rows[3:9]] == [created, failed[2], *launching]
    assert trace.rows[4].note == "t1 is replaced: TASK_FAILED"


async def test_an_offer_that_was_already_there_is_no_hop(tmp_path: Path) -> None:
    """The request came while an offer was held: step 5 is older than step 4 and says so."""
    tale = Tale()
    earlier, _ = idle_round(tale, "o-0-0")
    made = tale.say(MASTER, "marathon", offer_made("o-1-0"))
    _, asked = client_asks(tale)
    wanted(tale, "web.1", cause=asked)
    tale.say(MARATHON, "main", OfferAccepted(offers=(OfferId("o-1-0"),), launch=(info_of("web.1"),)), after_us=500)
    trace = await traced(tmp_path, tale, "web.1")
    five, six = row_of(trace, 5), row_of(trace, 6)
    assert (five.position, five.since_previous_us) == (made, None)
    assert five.note == "the offer was already there when the request came"
    assert six.since_previous_us == 1500
    assert row_of(trace, 2).position == earlier


async def test_a_decline_for_want_of_resources_says_so(tmp_path: Path) -> None:
    """Something else was pending when the last offer was declined."""
    tale = Tale()
    made = tale.say(MASTER, "marathon", offer_made("o-1-0"))
    unfit = [
        Unfit(agent=AgentId("a1"), offer=OfferId("o-1-0"), reason=reason, needed="2", had="1", app=AppId("/big"))
        for reason in ("InsufficientMemory", "InsufficientCpus")
    ]
    declined = tale.say(MARATHON, "main", OfferDeclined(offers=(OfferId("o-1-0"),), unfit=tuple(unfit)))
    _, asked = client_asks(tale)
    wanted(tale, "web.1", cause=asked)
    trace = await traced(tmp_path, tale, "web.1")
    assert (row_of(trace, 2).position, row_of(trace, 3).position) == (made, declined)
    assert row_of(trace, 3).note == "something was pending then, and did not fit: InsufficientCpus, InsufficientMemory"


async def test_the_offers_of_others_are_not_ours(tmp_path: Path) -> None:
    """Steps 2 and 3 are this framework's latest before the request, not another's and not one after."""
    tale = Tale()
    idle_round(tale, "o-1-0")
    made, declined = idle_round(tale, "o-2-0")
    idle_round(tale, "o-3-0", METRONOME)
    _, asked = client_asks(tale)
    idle_round(tale, "o-4-0")
    wanted(tale, "web.1", cause=asked)
    launch(tale, info_of("web.1"), "o-5-0")
    trace = await traced(tmp_path, tale, "web.1")
    assert (row_of(trace, 2).position, row_of(trace, 3).position) == (made, declined)


async def test_a_status_said_again_is_not_a_step(tmp_path: Path) -> None:
    """A reconciliation answers with the same status: the first telling is the step."""
    tale, steps = twelve_steps()
    tale.say(MASTER, "marathon", task_updated(status("web.1", TaskState.RUNNING, source=Source.MASTER)))
    assert row_of(await traced(tmp_path, tale, "web.1"), 11).position == steps[10]


async def test_a_task_of_a_stranger_still_has_twelve_rows(tmp_path: Path) -> None:
    """Only a status is known of it: what is not in the store is said not to be."""
    tale = Tale()
    lost = status("t9", TaskState.GONE, source=Source.MASTER)
    updated = tale.say(MASTER, "marathon", TaskUpdated(framework=MARATHON.id, status=lost))  # type: ignore[arg-type]
    trace = await traced(tmp_path, tale, "t9")
    assert positions(trace) == {**dict.fromkeys(range(1, 13)), 11: updated}
    assert row_of(trace, 4).note == "no client's request with this trace is in this store"


async def test_an_unknown_task_is_an_error(tmp_path: Path) -> None:
    tale, _ = twelve_steps()
    with pytest.raises(UnknownTask, match=r"no event in this store mentions task web\.99"):
        await traced(tmp_path, tale, "web.99")


def test_the_words_are_the_seeds() -> None:
    """Twelve steps, and who acts in each: client, master, scheduler, client, master, ..."""
    actors = ["client", "master", "scheduler", "client", "master", "scheduler", "master", "agent"]
    actors += ["executor", "agent", "master", "scheduler"]
    assert [words.split()[1] for words in WORDS.values()] == actors
    assert list(WORDS) == list(range(1, 13))
