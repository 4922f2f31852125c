"""`busbar status`, `node`, `framework`, `offer`: what the master and each component say."""

import json

from bus.nouns import NOTHING, Now, Resources, second
from bus.queries import AgentRow, OfferRow, Summary
from cli.session import MARATHON, METRONOME, THE_MASTER, agent, executor_of, wall_clock
from tests.cli.mouth import START, Mouth, known, playing

TOTAL = Resources(cpu_milli=4000, mem_mb=2048, disk_mb=100, ports=((31000, 31009),))
USED = Resources(cpu_milli=500, mem_mb=64, ports=((31000, 31000),))


def node(name, state="ACTIVE"):
    return AgentRow(
        agent=name, hostname="h", state=state, total=TOTAL, used=USED, offered=NOTHING, tasks=1, registered_at=START
    )


def summary(by):
    return Summary(
        by=str(by),
        node="n1",
        instance="i",
        epoch=2,
        n=7,
        position=9,
        heard=8,
        state_hash="x",
        pid=42,
        rss_kb=38_000,
        started_at=START,
    )


def master(*agents):
    return {
        "agents": list(agents),
        "frameworks": [known("marathon"), known("metronome")],
        "tasks": [],
        "summary": summary(THE_MASTER),
    }


async def test_status_is_0_if_everybody_answers():
    """Term, events, position, pid, memory of each component."""
    mouth = Mouth()
    parts = (MARATHON, METRONOME, agent("a1"), executor_of("a1"))
    async with playing(mouth, THE_MASTER, master(node("a1"))):
        contexts = [playing(mouth, part, {"summary": summary(part)}) for part in parts]
        for context in contexts:
            await context.__aenter__()
        result = await mouth("status")
        for context in contexts:
            await context.__aexit__(None, None, None)
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line.split()[1:9] for line in result.stdout.splitlines()[3:]}
    assert rows["master.main"][:7] == ["up", "2", "7", "9", "8", "42", "37"]
    assert rows.keys() == {"master.main", *map(str, parts)}


async def test_status_is_1_if_one_is_down_and_names_it():
    """What was given up already is shown, but is no news."""
    mouth = Mouth()
    async with playing(mouth, THE_MASTER, master(node("a1"), node("a2", "UNREACHABLE"))):
        result = await mouth("status", "--json")
    assert result.exit_code == 1
    states = {row["by"]: row["state"] for row in json.loads(result.stdout)["components"]}
    assert (states["master.main"], states["agent.a1"], states["agent.a2"]) == ("up", "down", "unreachable")
    assert "error: not running: marathon, metronome, agent a1, executor a1-cmd" in result.stderr


async def test_status_without_a_master_shows_the_rest():
    """A scheduler may be up alone."""
    mouth = Mouth()
    async with playing(mouth, MARATHON, {"summary": summary(MARATHON)}):
        result = await mouth("status")
    assert (result.exit_code, "error: not running: the master, metronome" in result.stderr) == (1, True)
    assert "framework.marathon   up" in result.stdout


async def test_nodes_are_listed_with_what_is_used_of_what():
    """CPUs, memory, disk, ports."""
    mouth = Mouth()
    async with playing(mouth, THE_MASTER, master(node("a1"))):
        listed, shown, missing = [await mouth("node", *args) for args in (("list",), ("show", "a1"), ("show", "a9"))]
    assert listed.stdout.splitlines()[1].split()[:8] == ["a1", "h", "ACTIVE", "1", "0.5/4", "64/2048", "0/100", "1/10"]
    assert "total       cpus:4; mem:2048; disk:100; ports:[31000-31009]" in shown.stdout
    assert "no task is on this node" in shown.stdout
    assert (missing.exit_code, "no node is called 'a9'; there are: a1" in missing.stderr) == (1, True)


async def test_frameworks_and_offers_are_listed():
    """Dominant share; how long an offer is still good."""
    mouth, now = Mouth(), wall_clock()
    offer = OfferRow(
        offer="o-3-0",
        framework="marathon",
        agent="a1",
        resources=TOTAL,
        made_at=Now(now - 5 * second),
        expires_at=Now(now + 60 * second),
    )
    async with playing(mouth, THE_MASTER, master() | {"offers": [offer]}):
        frameworks, offers = await mouth("framework", "list"), await mouth("offer", "list")
    assert frameworks.stdout.splitlines()[1].split()[:4] == ["marathon", "marathon", "*", "ACTIVE"]
    assert offers.stdout.splitlines()[1].split()[:3] == ["o-3-0", "marathon", "a1"]
    assert str(TOTAL) in offers.stdout


async def test_empty_lists_say_what_there_is_not():
    """Not a lonely heading."""
    mouth = Mouth()
    async with playing(mouth, THE_MASTER, {"agents": [], "frameworks": [], "offers": [], "tasks": []}):
        asked = ("node list", "framework list", "offer list", "task list")
        said = [(await mouth(*args.split())).stdout for args in asked]
    assert said == [
        "no node is registered\n",
        "no framework is registered\n",
        "no offer is outstanding\n",
        "no task runs\n",
    ]
