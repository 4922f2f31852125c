"""What Marathon answers: its apps, and why one is not placed."""

from __future__ import annotations

import pytest

from bus.app_rows import AppRow
from bus.events import KillRequested
from bus.nouns import AgentId, AppId, Resources, TaskState
from bus.queries import QueryRefused, answer_ok, pack, unpack
from bus.services import RemovalRequested, ScaleRequested
from bus.waiting_rows import ExplainQuestion, Explanation
from tests.components.marathon.play import FAILED, RUNNING, WEB, Play, launches, scheduled


def rows(play: Play) -> list[AppRow]:
    """The answer as it comes over the bus."""
    return unpack(answer_ok(play.component.queries["apps"](play.state, b"", play.now)), list[AppRow])


def explain(play: Play, app: str = "/web") -> Explanation:
    question = pack(ExplainQuestion(app=AppId(app)))
    return unpack(answer_ok(play.component.queries["explain"](play.state, question, play.now)), Explanation)


def test_apps_are_listed_by_name_with_their_instances():
    play = Play()
    (task,) = play.up("/b")
    play.add("/a", instances=2, cpus=100)
    first, second = rows(play)
    assert [first.app.id, second.app.id] == ["/a", "/b"]
    assert (first.running, first.waiting, [one.state for one in first.instances]) == (0, 2, [None, None])
    (one,) = second.instances
    assert (one.task, one.state, one.agent, one.hostname, one.ports) == (
        task,
        RUNNING,
        AgentId("a1"),
        "a1.example",
        (31000,),
    )


def test_a_replacement_names_what_it_replaces():
    play = Play()
    (task,) = play.up()
    play.ask(KillRequested(task=task))
    (row,) = rows(play)
    assert [(one.task == task, one.state, one.replaces) for one in row.instances] == [
        (True, RUNNING, None),
        (False, None, task),
    ]
    assert row.running == 0


def test_a_failed_app_shows_its_failure_and_its_delay():
    play = Play()
    (task,) = play.up()
    play.update(task, FAILED, message="exit 1")
    (row,) = rows(play)
    assert row.delay_until == play.now + 1_000_000
    assert row.last_failure is not None
    assert row.last_failure.message == "exit 1"
    play.advance(1)
    assert rows(play)[0].delay_until is None


def test_a_removed_app_wants_nothing_and_is_shown_until_it_is_gone():
    play = Play()
    (task,) = play.up()
    play.ask(RemovalRequested(app=WEB))
    (row,) = rows(play)
    assert (row.app.instances, len(row.instances)) == (0, 1)
    play.update(task, TaskState.KILLED)
    assert rows(play) == []


def test_an_app_larger_than_any_node_is_explained():
    """Accepted, and for each node the numbers; then what would make it fit."""
    play = Play()
    play.add(cpus=64, mem=20_000)
    play.make(play.offer(agent="a1"), play.offer(Resources(cpu_milli=4000, mem_mb=32000, ports=((1, 9),)), agent="a2"))
    found = explain(play)
    assert (found.waiting, found.needed, found.ports) == (1, Resources(cpu_milli=64000, mem_mb=20000), 1)
    assert [(one.unfit.agent, one.unfit.reason, one.unfit.needed, one.unfit.had) for one in found.checks] == [
        ("a1", "InsufficientCpus", "64 cpus", "8 cpus"),
        ("a1", "InsufficientMemory", "20000 MB", "16384 MB"),
        ("a2", "InsufficientCpus", "64 cpus", "4 cpus"),
    ]
    assert {one.at for one in found.checks} == {play.now}
    assert found.note == (
        "InsufficientCpus on 2 of 2 nodes: needs 64 cpus, none offered more than 8 cpus; "
        "InsufficientMemory on 1 of 2 nodes: needs 20000 MB, the most of these is 16384 MB. "
        "It would fit on a2 with 60 cpus more"
    )


def test_missing_port_numbers_are_explained():
    play = Play()
    play.add(ports=(8080,), require_ports=True)
    play.make()
    assert explain(play).note == (
        "InsufficientPorts on 1 of 1 nodes: needs ports 8080, none offered more than ports 31000-31999. "
        "It would fit on a1 with ports 8080 free"
    )


def test_the_rest_of_an_accepted_offer_is_explained():
    """Three fit, the fourth waits: the node says what was left."""
    play = Play()
    play.add(instances=4, cpus=2.5)
    play.make()
    found = explain(play)
    assert found.waiting == 1
    assert [(one.unfit.needed, one.unfit.had) for one in found.checks] == [("2.5 cpus", "0.5 cpus")]


def test_only_the_latest_answer_of_a_node_is_kept():
    play = Play()
    play.add(cpus=64)
    play.make()
    play.advance(60)
    play.make(play.offer(Resources(cpu_milli=2000, mem_mb=1000, ports=((1, 9),))))
    (one,) = explain(play).checks
    assert (one.unfit.had, one.at) == ("2 cpus", play.now)


def test_reasons_are_dropped_once_nothing_waits():
    play = Play()
    play.add(cpus=64)
    play.make()
    play.make(play.offer(Resources(cpu_milli=64000, mem_mb=1000, ports=((1, 9),)), agent="a2"))
    assert play.app().verdicts == {}
    assert explain(play).note.startswith("nothing waits: deployment d-")


def test_a_scale_down_drops_the_reasons():
    play = Play()
    play.add(cpus=64)
    play.make()
    play.ask(ScaleRequested(app=WEB, instances=0, force=True))
    assert explain(play).checks == ()


def test_a_delay_is_explained():
    play = Play()
    (task,) = play.up()
    play.update(task, FAILED, message="exit 1")
    found = explain(play)
    assert found.delay_until == play.now + 1_000_000
    assert found.note == "launches nothing for another 1.0 s after a failure: TASK_FAILED exit 1"


def test_an_app_nobody_offered_anything_is_explained():
    play = Play()
    play.add()
    assert (
        explain(play).note
        == "no offer came since it waits: no node is up, all are full, or others are offered what is free"
    )


def test_a_marathon_that_is_not_admitted_says_so():
    play = Play(admitted=False)
    play.add()
    assert explain(play).note == "the master has not admitted marathon yet"


def test_an_unknown_app_is_refused():
    with pytest.raises(QueryRefused, match="app /nowhere does not exist"):
        explain(Play(), "/nowhere")


def test_a_question_changes_nothing():
    play = Play()
    play.add(cpus=64)
    play.make()
    before = play.hash()
    rows(play)
    explain(play)
    assert play.hash() == before
    assert launches(play.log) == []
    assert len(scheduled(play.log)) == 1
