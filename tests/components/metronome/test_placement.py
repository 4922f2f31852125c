"""Where runs go: what a job's constraints say, and what nodes are kept for."""

from __future__ import annotations

import pytest

from bus.events import Event, OfferAccepted, OfferDeclined
from bus.nouns import Offer, Uri
from tests.components.metronome.play import Play, launches


def constraint(attribute: str, operator: str, value: str) -> dict[str, object]:
    return {"constraints": [{"attribute": attribute, "operator": operator, "value": value}]}


def nodes(play: Play) -> list[Offer]:
    return [
        play.offer(agent="a1", attributes={"disk": "ssd", "rack": "r1"}, zone="z1"),
        play.offer(agent="a2", attributes={"disk": "hdd", "rack": "r2"}, zone="z2"),
        play.offer(agent="a3"),
    ]


def reasons(events: list[Event]) -> list[tuple[str, str, str, str]]:
    answers = [event.fact for event in events if isinstance(event.fact, OfferAccepted | OfferDeclined)]
    return [(one.agent, one.reason, one.needed, one.had) for fact in answers for one in fact.unfit]


@pytest.mark.parametrize(
    ("rule", "agents"),
    [
        (("disk", "IS", "ssd"), ["a1"]),
        (("disk", "EQ", "ssd"), ["a1"]),
        (("rack", "LIKE", "r[23]"), ["a2"]),
        (("rack", "UNLIKE", "r1"), ["a2", "a3"]),
        (("hostname", "LIKE", "a3.*"), ["a3"]),
        (("@zone", "IS", "z2"), ["a2"]),
        (("disk", "IS", "tape"), []),
    ],
)
def test_runs_go_where_the_constraint_allows(rule: tuple[str, str, str], agents: list[str]):
    """IS, its older name, LIKE and UNLIKE, on attributes, names and zones."""
    for agent in ("a1", "a2", "a3"):
        play = Play()
        play.add(run_placement=constraint(*rule))
        play.start()
        offer = next(offer for offer in nodes(play) if offer.agent == agent)
        assert [task.agent for task in launches(play.make(offer))] == [one for one in agents if one == agent]


def test_why_a_node_is_none_of_those_is_said():
    """What was needed, and what there was."""
    play = Play()
    play.add(run_placement=constraint("disk", "IS", "ssd"))
    play.start()
    _, *others = nodes(play)
    assert reasons(play.make(*others)) == [
        ("a2", "UnfulfilledConstraint", "disk IS ssd", "disk hdd"),
        ("a3", "UnfulfilledConstraint", "disk IS ssd", "no disk"),
    ]


def test_all_constraints_must_hold():
    """One after another."""
    play = Play()
    both = [constraint("disk", "IS", "ssd"), constraint("rack", "IS", "r2")]
    play.add(run_placement={"constraints": [one for rule in both for one in rule["constraints"]]})  # type: ignore[attr-defined]
    play.start()
    assert launches(play.make(*nodes(play))) == []


def test_a_node_that_is_kept_for_a_role_is_none_for_jobs():
    """Jobs name no role. (Marathon: acceptedResourceRoles)"""
    play = Play()
    play.add()
    play.start()
    assert reasons(play.make(play.offer(role="slave_public"))) == [
        ("a1", "UnfulfilledRole", "role *", "role slave_public")
    ]
    assert len(launches(play.make(play.offer(agent="a2")))) == 1


def test_a_task_is_told_what_to_fetch():
    """As apps' tasks are. (Metronome: artifacts)"""
    play = Play()
    checksum = "sha256:" + "0" * 64
    artifacts = [
        {"uri": "https://example.com/a.tar.gz"},
        {"uri": "file:///srv/b", "extract": False, "executable": True, "cache": True, "checksum": checksum},
    ]
    play.add(run_artifacts=artifacts)
    play.start()
    (task,) = launches(play.make())
    assert task.command.fetch == (
        Uri(uri="https://example.com/a.tar.gz"),
        Uri(uri="file:///srv/b", extract=False, executable=True, cache=True, checksum=checksum),
    )
