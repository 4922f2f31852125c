"""What the master answers about agents, frameworks, offers and tasks; what can be set about it."""

from __future__ import annotations

import math

import msgspec
import pytest

from bus.nouns import NOTHING, TaskState, parse_resources, second
from bus.queries import AgentRow, FrameworkRow, OfferRow, TaskRow, TasksQuestion, answer_ok, pack, unpack
from components.master import MasterConfig
from tests.components.master.datacenter import NOON, Datacenter, info


def ask(dc: Datacenter, name: str, shape, question: object = None):
    """The answer as it arrives at who asked."""
    query = dc.component.queries[name]
    return unpack(answer_ok(query(dc.state, pack(question) if question is not None else b"", dc.now)), list[shape])


@pytest.fixture
def dc():
    dc = Datacenter()
    dc.register("a1", "cpus:4;mem:4000;ports:[31000-31009]", attributes={"rack": "7"})
    dc.register("a2", "cpus:4;mem:4000")
    dc.enroll("marathon", failover_timeout_s=60.0)
    dc.launch("marathon", "a1", info("web.1", resources="cpus:1;mem:500;ports:[31000-31000]", app="/web"))
    dc.pass_time(3)
    dc.report("a1", "web.1", TaskState.RUNNING)
    return dc


def test_agents_with_what_is_used_and_offered(dc):
    dc.lose("a2")
    dc.pass_time(1)
    assert ask(dc, "agents", AgentRow) == [
        AgentRow(
            agent="a1",
            hostname="host-a1",
            state="ACTIVE",
            total=parse_resources("cpus:4;mem:4000;ports:[31000-31009]"),
            used=parse_resources("cpus:1;mem:500;ports:[31000-31000]"),
            offered=NOTHING,
            tasks=1,
            registered_at=NOON,
            attributes={"rack": "7"},
        ),
        AgentRow(
            agent="a2",
            hostname="host-a2",
            state="UNREACHABLE",
            total=parse_resources("cpus:4;mem:4000"),
            used=NOTHING,
            offered=NOTHING,
            tasks=0,
            registered_at=NOON,
            unreachable_since=NOON + 3 * second,
        ),
    ]


def test_frameworks_with_their_share(dc):
    row = FrameworkRow(
        framework="marathon",
        name="marathon",
        role="*",
        state="ACTIVE",
        tasks=1,
        offers=1,
        used=parse_resources("cpus:1;mem:500"),
        share_milli=625,
        registered_at=NOON,
        failover_timeout_s=60.0,
    )
    assert ask(dc, "frameworks", FrameworkRow) == [row]
    dc.suppress("marathon")
    assert ask(dc, "frameworks", FrameworkRow)[0].state == "SUPPRESSED"
    dc.silence("marathon")
    assert ask(dc, "frameworks", FrameworkRow)[0].state == "DISCONNECTED"


def test_offers_with_their_times(dc):
    (offer,) = dc.offers("marathon")
    assert ask(dc, "offers", OfferRow) == [
        OfferRow(
            offer=offer,
            framework="marathon",
            agent="a2",
            resources=parse_resources("cpus:4;mem:4000"),
            made_at=NOON,
            expires_at=NOON + 120 * second,
        )
    ]


def test_tasks_live_or_all_by_prefix(dc):
    dc.launch("marathon", "a2", info("job.1", "a2", job="job"))
    dc.report("a2", "job.1", TaskState.FINISHED)
    (web,) = ask(dc, "tasks", TaskRow)
    assert (web.task, web.status.state, web.since, web.launched_at, web.app) == (
        "web.1",
        TaskState.RUNNING,
        NOON + 3 * second,
        NOON,
        "/web",
    )
    assert [row.task for row in ask(dc, "tasks", TaskRow, TasksQuestion(all=True))] == ["job.1", "web.1"]
    assert [row.task for row in ask(dc, "tasks", TaskRow, TasksQuestion(all=True, prefix="job"))] == ["job.1"]
    assert ask(dc, "tasks", TaskRow, TasksQuestion(prefix="job")) == []


def test_a_question_of_another_shape_is_refused(dc):
    with pytest.raises(msgspec.DecodeError):
        ask(dc, "tasks", TaskRow, {"prefix": 7})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("allocation_interval_s", 0.0),
        ("offer_timeout_s", math.nan),
        ("ping_interval_s", -1.0),
        ("pings_missed_max", 0),
        ("minimum_cpu_milli", 0),
        ("tasks_kept_max", -1),
        ("weights", {"prod": 0.0}),
        ("weights", {"prod": math.inf}),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting, value):
    with pytest.raises(ValueError, match=setting if setting != "weights" else "the weight of 'prod'"):
        MasterConfig(**{setting: value})
