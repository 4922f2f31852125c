"""Why something waits, for people: every node against every check, constraints and roles among them."""

from __future__ import annotations

from bus.nouns import NOTHING, AgentId, AppId, JobId, Now, OfferId, Resources, Unfit, second
from bus.queries import AgentRow
from bus.waiting_rows import AvoidedNode, Check, Explanation, JobExplanation, Wants
from cli.explain import explain_parts
from cli.output import Table
from cli.session import MARATHON, METRONOME, THE_MASTER
from tests.cli.mouth import START, Mouth, playing

NODE = Resources(cpu_milli=4000, mem_mb=4096, ports=((31000, 31009),))


def node(name: str, **more) -> AgentRow:
    return AgentRow(
        **{
            "agent": name,
            "hostname": f"{name}.example",
            "state": "ACTIVE",
            "total": NODE,
            "used": NOTHING,
            "offered": NOTHING,
            "tasks": 0,
            "registered_at": START,
            **more,
        }
    )


def unfit(agent: str, reason: str, needed: str, had: str) -> Check:
    one = Unfit(agent=AgentId(agent), offer=OfferId("o-1-0"), reason=reason, needed=needed, had=had, app=AppId("/web"))
    return Check(unfit=one, at=START)


WAITS = Explanation(
    app=AppId("/web"),
    waiting=2,
    needed=Resources(cpu_milli=1000, mem_mb=128),
    ports=1,
    checks=(
        unfit("a1", "UnfulfilledConstraint", "rack IS r1", "no rack"),
        unfit("a1", "UnfulfilledConstraint", "hostname UNIQUE: one without an instance", "hostname a1 with 1 instance"),
    ),
    note="why",
    wants=Wants(
        resources=Resources(cpu_milli=1000, mem_mb=128),
        ports=1,
        constraints=(("rack", "IS", "r1"), ("hostname", "UNIQUE")),
        placed=2,
        places={"hostname": {"a3.example": 1, "a1.example": 1}},
    ),
    avoided=(AvoidedNode(agent=AgentId("a5"), failures=3, failed_at=START, until=Now(START + 8 * second)),),
)
NODES = [
    node("a1"),
    node("a2", attributes={"rack": "r1"}),
    node("a3", attributes={"rack": "r1"}, used=NODE),
    node("a4", attributes={"rack": "r1"}, role="slave_public"),
    node("a5", attributes={"rack": "r1"}),
]


async def test_nodes_of_which_nothing_is_offered_are_held_against_the_same_checks():
    mouth = Mouth()
    async with playing(mouth, MARATHON, {"explain": WAITS}), playing(mouth, THE_MASTER, {"agents": NODES}):
        told = await mouth.json("app", "explain", "web")
    lacks = {one["agent"]: [short["reason"] for short in one["lacks"]] for one in told["not_offered"]}
    assert lacks == {
        "a2": [],
        "a3": ["UnfulfilledConstraint", "InsufficientCpus", "InsufficientMemory", "InsufficientPorts"],
        "a4": ["UnfulfilledRole"],
        "a5": ["NodeBackoff"],
    }


async def test_one_node_alone():
    """What speaks against it, and what would make it fit there."""
    mouth = Mouth()
    async with playing(mouth, MARATHON, {"explain": WAITS}), playing(mouth, THE_MASTER, {"agents": NODES}):
        notes = {name: (await mouth.json("app", "explain", "web", "--on", name))["note"] for name in ("a1", "a2", "a4")}
        result = await mouth("app", "explain", "web", "--on", "a9")
    assert notes["a1"].endswith(
        "It would fit on a1 if the constraint rack IS r1 allowed no rack, "
        "if the constraint hostname UNIQUE allowed hostname a1 with 1 instance or on another node that meets its "
        "constraints"
    )
    assert notes["a2"] == "nothing speaks against a2"
    assert notes["a4"].endswith("It would fit on a4 if acceptedResourceRoles had slave_public")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (
        1,
        "error: no node is called 'a9'; there are: a1, a2, a3, a4, a5",
    )


def test_a_column_for_what_fails_somewhere():
    *said, table = explain_parts(WAITS)
    assert said[1] == "one needs cpus:1; mem:128; disk:0; ports: 1; constraints: rack IS r1, hostname UNIQUE"
    assert said[3].startswith("it keeps away from a5 until ")
    assert said[3].endswith(": failures there in a row: 3")
    assert isinstance(table, Table)
    assert table.columns == ("node", "constraints", "cpus", "memory", "disk", "ports", "offer declined at")
    assert table.rows[0][1] == (
        "needs rack IS r1, had no rack; needs hostname UNIQUE: one without an instance, had hostname a1 with 1 instance"
    )


async def test_jobs_too():
    waits = JobExplanation(
        job=JobId("count"),
        waiting=1,
        needed=Resources(cpu_milli=1000, mem_mb=128),
        checks=(),
        wants=Wants(resources=Resources(cpu_milli=1000, mem_mb=128), constraints=(("rack", "LIKE", "r[2-3]"),)),
    )
    mouth = Mouth()
    async with playing(mouth, METRONOME, {"explain": waits}), playing(mouth, THE_MASTER, {"agents": NODES}):
        told = await mouth.json("job", "explain", "count", "--on", "a2")
    assert told["note"] == (
        "UnfulfilledConstraint on 1 of 1 nodes: needs rack LIKE r[2-3], a2 has rack r1. It would fit on a2 if the "
        "constraint rack LIKE r[2-3] allowed rack r1 or on another node that meets its constraints"
    )
