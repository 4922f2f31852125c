"""Where instances go: constraints and roles, on offers as they come, one by one and together."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.documents import PodSpec
from bus.events import FrameworkRevived, OfferAccepted, OfferDeclined
from bus.nouns import Offer, Resources
from bus.services import AppRequested, PodRequested, ScaleRequested
from components.constraints import value_of
from components.marathon import offers as room
from tests.components.driver import only
from tests.components.marathon.play import KILLED, RUNNING, WEB, Play, launches, spec


def hosts(events) -> list[str]:
    return [task.hostname for task in launches(events)]


def reasons(events) -> list[tuple[str, str, str, str]]:
    answers = [event.fact for event in events if isinstance(event.fact, OfferAccepted | OfferDeclined)]
    return [(one.agent, one.reason, one.needed, one.had) for fact in answers for one in fact.unfit]


def test_unique_hosts_within_one_offer_and_across_offers():
    play = Play()
    play.add(instances=3, constraints=[("hostname", "UNIQUE")])
    events = play.make(play.offer(agent="a1"), play.offer(agent="a2"))
    assert hosts(events) == ["a1.example", "a2.example"]
    events = play.make(play.offer(agent="a1"))
    needed = "hostname UNIQUE: one without an instance"
    assert reasons(events) == [("a1", "UnfulfilledConstraint", needed, "hostname a1.example with 1 instance")]
    assert hosts(play.make(play.offer(agent="a3"))) == ["a3.example"]


def test_an_instance_that_ended_leaves_its_place():
    play = Play()
    (task,) = play.up(constraints=[("hostname", "UNIQUE")])
    play.update(task, KILLED)
    assert hosts(play.make()) == ["a1.example"]


def test_instances_of_another_version_do_not_count():
    """Marathon: only those since the last change of the configuration, so one version can follow another in place."""
    play = Play()
    play.up(constraints=[("hostname", "UNIQUE")])
    play.ask(AppRequested(app=spec(cmd="sleep 2", constraints=[("hostname", "UNIQUE")]), update=True))
    assert hosts(play.make()) == ["a1.example"]


def test_group_by_is_even_over_zones():
    play = Play()
    play.add(instances=6, constraints=[("@zone", "GROUP_BY", "3")])
    tiny = Resources(cpu_milli=1000, mem_mb=128, ports=((1, 9),))
    for _ in range(4):
        play.make(*(play.offer(tiny, f"a{zone}", zone=f"z{zone}") for zone in (1, 2, 3)))
    assert Counter(one.place["@zone"] for one in play.app().launched.values()) == {"z1": 2, "z2": 2, "z3": 2}


def test_instances_that_spread_are_placed_at_once_in_rounds():
    """One more on each node allows one more on all others: offers that were just declined are wanted again."""
    play = Play()
    play.add(instances=9, constraints=[("hostname", "GROUP_BY")])
    rounds = 0
    while play.app().waiting:
        events = play.make(*(play.offer(agent=name) for name in ("a1", "a2", "a3")))
        rounds += 1
        assert bool(only(events, FrameworkRevived)) == bool(play.app().waiting)
    assert rounds <= 4
    assert Counter(one.agent for one in play.app().launched.values()) == {"a1": 3, "a2": 3, "a3": 3}


@pytest.mark.parametrize("selection", ["YOUNGEST_FIRST", "OLDEST_FIRST"])
def test_who_is_too_much_goes_where_most_are(selection: str) -> None:
    """Two came in one zone, then two in another: by age alone one zone would be left empty."""
    play = Play()
    play.add(instances=4, constraints=[("@zone", "GROUP_BY")], kill_selection=selection)
    for zone in ("z1", "z1", "z2", "z2"):
        (task,) = launches(play.make(play.offer(agent=f"a-{zone}", zone=zone)))
        play.update(task.task, RUNNING)
    play.ask(ScaleRequested(app=WEB, instances=2))
    assert Counter(one.place["@zone"] for one in play.app().launched.values()) == {"z1": 1, "z2": 1}


def test_what_is_counted_survives_a_restart():
    """The values are in the log, with the task."""
    play = Play()
    play.add(instances=2, constraints=[("rack", "UNIQUE"), ("hostname", "LIKE", "a.*")])
    (task,) = launches(play.make(play.offer(attributes={"rack": "r1", "disk": "ssd"})))
    assert task.place == {"rack": "r1"}
    play.restart()
    play.settle()
    play.admit()
    assert hosts(play.make(play.offer(agent="a2", attributes={"rack": "r1"}))) == []
    assert hosts(play.make(play.offer(agent="a3", attributes={"rack": "r2"}))) == ["a3.example"]


def test_a_cluster_stays_where_its_first_instance_is():
    play = Play()
    play.add(instances=2, constraints=[("rack", "CLUSTER")])
    one = Resources(cpu_milli=1000, mem_mb=128, ports=((1, 9),))
    assert hosts(play.make(play.offer(one, "a1", attributes={"rack": "r1"}))) == ["a1.example"]
    events = play.make(play.offer(agent="a2", attributes={"rack": "r2"}), play.offer(agent="a3"))
    assert [(one[0], one[3]) for one in reasons(events)] == [("a2", "rack r2 with 0 instances"), ("a3", "no rack")]
    assert hosts(play.make(play.offer(agent="a4", attributes={"rack": "r1"}))) == ["a4.example"]


@pytest.mark.parametrize(
    ("accepted", "role", "placed"),
    [
        ([], "*", True),
        ([], "slave_public", False),
        (["slave_public"], "slave_public", True),
        (["slave_public"], "*", False),
        (["*", "slave_public"], "slave_public", True),
    ],
)
def test_roles_an_app_accepts(accepted: list[str], role: str, placed: bool) -> None:
    """DC/OS: apps are private unless they say slave_public."""
    play = Play()
    play.add(accepted_resource_roles=accepted)
    events = play.make(play.offer(role=role))
    assert bool(launches(events)) is placed
    wanted = " or ".join(accepted) or "*"
    assert reasons(events) == ([] if placed else [("a1", "UnfulfilledRole", f"role {wanted}", f"role {role}")])


def test_every_check_that_fails_is_said_in_the_order_they_are_made():
    play = Play()
    play.add(cpus=100, mem=10**6, disk=10**6, gpus=2, ports=[0] * 5, constraints=[("rack", "IS", "r2")])
    bare = Resources(cpu_milli=1000, mem_mb=128, disk_mb=1)
    assert [one[1:] for one in reasons(play.make(play.offer(bare, role="slave_public")))] == [
        ("UnfulfilledRole", "role *", "role slave_public"),
        ("UnfulfilledConstraint", "rack IS r2", "no rack"),
        ("InsufficientCpus", "100 cpus", "1 cpus"),
        ("InsufficientMemory", "1000000 MB", "128 MB"),
        ("InsufficientDisk", "1000000 MB", "1 MB"),
        ("InsufficientGpus", "2 gpus", "0 gpus"),
        ("InsufficientPorts", "5 ports", "0 ports"),
    ]


def _fill(constraints: list[tuple[str, ...]], racks: list[str], rounds: int, wanted: int) -> Counter[str | None]:
    """How many instances each rack has after some rounds of small offers."""
    play = Play()
    play.add(instances=wanted, constraints=constraints)
    small = Resources(cpu_milli=2000, mem_mb=256, ports=((1, 9),))
    offers: dict[str, Offer] = {}
    for _ in range(rounds):
        made = [play.offer(small, f"a{k}", attributes={"rack": rack}) for k, rack in enumerate(racks)]
        offers |= {offer.agent: offer for offer in made}
        for task in launches(play.make(*made)):
            play.update(task.task, RUNNING)
    assert play.rebuilt() == play.hash()
    return Counter(value_of(offers[one.agent], "rack") for one in play.app().launched.values())


def _promise(racks: list[str], rounds: int, wanted: int) -> None:
    """Whatever is offered: never two where there may be one, and never further apart than one."""
    assert max(_fill([("rack", "UNIQUE")], racks, rounds, wanted).values(), default=0) <= 1
    assert max(_fill([("rack", "MAX_PER", "2")], racks, rounds, wanted).values(), default=0) <= 2
    assert len(_fill([("rack", "CLUSTER")], racks, rounds, wanted)) <= 1
    even = _fill([("rack", "GROUP_BY", str(len(set(racks))))], racks, rounds, wanted)
    counts = [even[rack] for rack in racks]
    assert max(counts, default=0) - min(counts, default=0) <= 1, even


@given(
    st.lists(st.sampled_from(["r1", "r2", "r3"]), min_size=1, max_size=5),
    st.integers(1, 3),
    st.integers(0, 12),
)
def test_spreading_holds_over_many_offers(racks: list[str], rounds: int, wanted: int) -> None:
    _promise(racks, rounds, wanted)


def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if what was placed in the same decision did not count."""
    _promise(["r1", "r1", "r2"], 2, 9)
    monkeypatch.setattr(room.Tally, "add", lambda *_: None)
    with pytest.raises(AssertionError):
        _promise(["r1", "r1", "r2"], 2, 9)


def test_scaling_counts_what_is_there():
    play = Play()
    play.up(constraints=[("hostname", "MAX_PER", "1")])
    play.ask(ScaleRequested(app=WEB, instances=2))
    assert hosts(play.make()) == []
    assert hosts(play.make(play.offer(agent="a2"))) == ["a2.example"]


def test_pods_go_where_their_placement_allows():
    """Constraints and roles of a pod are an app's; its containers' tasks carry what is counted."""
    pod = {
        "id": "/paper",
        "containers": [
            {"name": "press", "exec": {"command": {"shell": "sleep 60"}}, "resources": {"cpus": 0.1, "mem": 32}},
            {"name": "ink", "exec": {"command": {"shell": "sleep 60"}}, "resources": {"cpus": 0.1, "mem": 32}},
        ],
        "scaling": {"kind": "fixed", "instances": 2},
        "scheduling": {
            "placement": {
                "constraints": [{"fieldName": "rack", "operator": "UNIQUE"}],
                "acceptedResourceRoles": ["slave_public"],
            }
        },
    }
    play = Play()
    play.ask(PodRequested(pod=msgspec.convert(pod, PodSpec)))
    events = play.make(
        play.offer(agent="a1", role="slave_public", attributes={"rack": "r1"}),
        play.offer(agent="a2", role="slave_public", attributes={"rack": "r1"}),
        play.offer(agent="a3", attributes={"rack": "r2"}),
        play.offer(agent="a4", role="slave_public", attributes={"rack": "r4"}),
    )
    assert [(task.agent, task.place) for task in launches(events)] == [
        ("a1", {"rack": "r1"}),
        ("a1", {"rack": "r1"}),
        ("a4", {"rack": "r4"}),
        ("a4", {"rack": "r4"}),
    ]
    assert [one[:2] for one in reasons(events)] == [
        ("a1", "UnfulfilledConstraint"),
        ("a2", "UnfulfilledConstraint"),
        ("a3", "UnfulfilledRole"),
    ]
