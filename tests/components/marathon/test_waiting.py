"""What is asked about what waits: why, what would help, and the queue with how offers fared."""

from __future__ import annotations

import pytest

from bus.documents import GroupSpec
from bus.events import FrameworkRevived, RequestRefused
from bus.nouns import AppId, Refusal, Resources, second
from bus.queries import answer_ok, pack, unpack
from bus.services import AppRequested, DelayReset, GroupRequested, ResetRequested, ScaleRequested
from bus.waiting_rows import ExplainQuestion, Explanation, QueueRow, Rejected, Wants
from components.matching import REASONS
from tests.components.driver import only
from tests.components.marathon.play import FAILED, RUNNING, WEB, Play, launches, spec

SMALL = Resources(cpu_milli=1000, mem_mb=128, ports=((31000, 31000),))


def explain(play: Play, app: str = "/web") -> Explanation:
    answer = play.component.queries["explain"](play.state, pack(ExplainQuestion(app=app)), play.now)
    return unpack(answer_ok(answer), Explanation)


def queue(play: Play) -> list[QueueRow]:
    return unpack(answer_ok(play.component.queries["queue"](play.state, b"", play.now)), list[QueueRow])


def note(*offers, **fields) -> str:
    """What is said of an app after some offers."""
    play = Play()
    play.add(**fields)
    play.make(*(play.offer(agent=f"a{k}", **offer) for k, offer in enumerate(offers, 1)))
    return explain(play).note


# ---- explain ----------------------------------------------------------------------------------------------------


def test_the_ten_reasons():
    """Marathon's names, exactly; nothing else goes to its clients."""
    insufficient = [
        "InsufficientCpus",
        "InsufficientDisk",
        "InsufficientGpus",
        "InsufficientMemory",
        "InsufficientPorts",
    ]
    unfulfilled = ["UnfulfilledConstraint", "UnfulfilledRole"]
    others = ["AgentMaintenance", "DeclinedScarceResources", "NoCorrespondingReservationFound"]
    assert sorted(REASONS) == sorted(insufficient + unfulfilled + others)


def test_a_constraint_that_no_node_meets():
    constraints = [("rack", "LIKE", "r[7-9]")]
    assert note({"attributes": {"rack": "r1"}}, {}, constraints=constraints) == (
        "UnfulfilledConstraint on 2 of 2 nodes: needs rack LIKE r[7-9], a2 has no rack. "
        "It would fit on a1 if the constraint rack LIKE r[7-9] allowed rack r1 or on another node that meets its "
        "constraints"
    )


def test_each_constraint_is_told_by_itself():
    constraints = [("rack", "IS", "r1"), ("hostname", "UNLIKE", "a1.*")]
    assert note({"attributes": {"rack": "r1"}}, {}, constraints=constraints).startswith(
        "UnfulfilledConstraint on 1 of 2 nodes: needs hostname UNLIKE a1.*, a1 has hostname a1.example; "
        "UnfulfilledConstraint on 1 of 2 nodes: needs rack IS r1, a2 has no rack. "
    )


def test_a_role_that_is_not_accepted():
    assert note({"role": "slave_public"}) == (
        "UnfulfilledRole on 1 of 1 nodes: needs role *, a1 has role slave_public. "
        "It would fit on a1 if acceptedResourceRoles had slave_public"
    )


def test_gpus_and_amounts_together():
    assert note({}, cpus=9, gpus=1).endswith("It would fit on a1 with 1 cpus more and 1 gpus more")


def test_a_node_that_is_avoided():
    play = Play()
    play.add(instances=2)
    first, other = launches(play.make(play.offer(SMALL, "a1"), play.offer(SMALL, "a2")))
    play.update(other.task, RUNNING)
    play.update(first.task, FAILED)
    play.advance(1)
    play.make(play.offer(SMALL, "a1"))
    found = explain(play)
    assert found.note == (
        "NodeBackoff on 1 of 1 nodes: needs no failure of the app there for 2 s, a1 has 1 failure, the last 1.0 s ago. "
        "It would fit on a1 after no failure of the app there for 2 s"
    )
    (avoided,) = found.avoided
    assert (avoided.agent, avoided.failures, avoided.until) == ("a1", 1, play.now + second)
    (row,) = queue(play)
    assert row.unused_offers[0].reasons == ("UnfulfilledConstraint",)
    assert _of(row.last_offers, "UnfulfilledConstraint") == (1, 1)


def test_what_it_wants_is_told_so_that_any_node_can_be_held_against_it():
    play = Play()
    wishes = {
        "constraints": [("rack", "GROUP_BY"), ("hostname", "UNIQUE")],
        "accepted_resource_roles": ["slave_public"],
    }
    play.add(instances=3, ports=[8080, 0], require_ports=True, **wishes)
    offer = Resources(cpu_milli=1000, mem_mb=128, ports=((8080, 8081),))
    play.make(play.offer(offer, role="slave_public", attributes={"rack": "r1"}))
    assert explain(play).wants == Wants(
        resources=Resources(cpu_milli=1000, mem_mb=128),
        ports=2,
        port_numbers=(8080,),
        roles=("slave_public",),
        constraints=(("rack", "GROUP_BY"), ("hostname", "UNIQUE")),
        placed=1,
        places={"rack": {"r1": 1}, "hostname": {"a1.example": 1}},
    )


def test_an_app_whose_deployment_has_not_come_to_it_says_so():
    """What its step waits for is told of the one before."""
    play = Play()
    group = GroupSpec(id=AppId("/"), apps=(spec("/db", cpus=64), spec("/web", dependencies=("/db",))))
    play.ask(GroupRequested(group=group, update=True))
    note = explain(play, "/web").note
    assert note.startswith("nothing waits: deployment d-")
    assert note.endswith(" of 3 and has not come to it")
    assert explain(play, "/db").waiting == 1


# ---- the queue --------------------------------------------------------------------------------------------------


def _of(rows: tuple[Rejected, ...], reason: str) -> tuple[int, int]:
    assert [row.reason for row in rows] == list(REASONS)
    (found,) = [(row.declined, row.processed) for row in rows if row.reason == reason]
    return found


def test_only_what_waits_is_in_the_queue():
    play = Play()
    play.up("/runs")
    play.add("/waits", instances=2, cpus=64)
    (row,) = queue(play)
    assert (row.app, row.count, row.since, row.processed, row.unused_offers) == ("/waits", 2, play.now, 0, ())


def test_offers_are_counted_by_the_first_check_that_failed():
    """Marathon: each reason sees what the ones before let through."""
    play = Play()
    play.add(cpus=2, mem=1000, constraints=[("rack", "IS", "r1")])
    play.make(
        play.offer(SMALL, "a1"),
        play.offer(SMALL, "a2", attributes={"rack": "r1"}),
        play.offer(Resources(cpu_milli=4000, mem_mb=10), "a3", attributes={"rack": "r1"}),
    )
    play.advance(60)
    play.make(play.offer(SMALL, "a1"))
    (row,) = queue(play)
    assert (row.processed, row.unused, row.last_unused_at, row.last_used_at) == (4, 4, play.now, None)
    counted = {row.reason: (row.declined, row.processed) for row in row.launch_attempt if row.declined}
    assert counted == {"UnfulfilledConstraint": (2, 4), "InsufficientCpus": (1, 2), "InsufficientMemory": (1, 1)}
    latest = {row.reason: (row.declined, row.processed) for row in row.last_offers if row.declined}
    assert latest == {"UnfulfilledConstraint": (1, 3), "InsufficientCpus": (1, 2), "InsufficientMemory": (1, 1)}
    assert _of(row.last_offers, "DeclinedScarceResources") == (0, 0)
    assert [(one.agent, one.offer, one.reasons) for one in row.unused_offers] == [
        ("a1", "o-4", ("UnfulfilledConstraint", "InsufficientCpus", "InsufficientMemory")),
        ("a2", "o-2", ("InsufficientCpus", "InsufficientMemory")),
        ("a3", "o-3", ("InsufficientMemory", "InsufficientPorts")),
    ]
    assert play.rebuilt() == play.hash()


def test_an_offer_that_was_used_is_no_unused_one():
    play = Play()
    play.add(instances=3)
    play.make(play.offer(SMALL, "a1"))
    (row,) = queue(play)
    assert (row.count, row.processed, row.unused, row.last_used_at, row.last_unused_at) == (2, 1, 0, play.now, None)


def test_counting_begins_anew_when_nothing_waits_or_with_a_new_version():
    for end in (
        ScaleRequested(app=WEB, instances=0, force=True),
        AppRequested(app=spec(cpus=65), update=True, force=True),
    ):
        play = Play()
        play.add(cpus=64)
        play.make()
        assert queue(play)[0].processed == 1
        play.ask(end)
        assert [row.processed for row in queue(play)] in ([], [0])
        assert play.app().tries.processed == 0


def test_a_delay_can_be_reset():
    """DELETE /v2/queue/ID/delay: what failed may be launched at once, wherever it failed."""
    play = Play()
    (task,) = play.up()
    play.update(task, FAILED)
    assert queue(play)[0].delay_until == play.now + second
    assert launches(play.make()) == []
    events = play.ask(ResetRequested(app=WEB))
    assert only(events, DelayReset) == [DelayReset(app=WEB)]
    assert only(events, FrameworkRevived) != []
    assert (queue(play)[0].delay_until, play.app().avoided, play.state.delays) == (None, {}, [])
    assert len(launches(play.make())) == 1
    assert play.rebuilt() == play.hash()


@pytest.mark.parametrize("app", ["/nowhere", "/web"])
def test_what_does_not_wait_cannot_be_reset(app: str):
    play = Play()
    play.up()
    (refused,) = only(play.ask(ResetRequested(app=app)), RequestRefused)
    assert (refused.reason, refused.message) == (Refusal.NOT_FOUND, f"{app} does not wait in the queue")
