"""`busbar blame`: from an outcome back to the request, the sight or the time that it goes back to."""

import asyncio
from itertools import pairwise

import msgspec
import pytest

from bus.codec import event_in, link
from bus.documents import AppSpec
from bus.events import (
    AgentAdmitted,
    AgentMarked,
    AgentRegistered,
    KillDelivered,
    KillDirected,
    KillRequested,
    TaskReported,
    TaskUpdated,
)
from bus.nouns import WOKEN, Glimpse, Now, Resources, TaskState, second
from bus.queries import HistoryQuestion, HistoryRow
from bus.services import (
    AppRequested,
    AttemptScheduled,
    InstanceScheduled,
    RunCreated,
    RunUpdated,
    ScaleRequested,
)
from cli.recompute import load
from cli.session import THE_MASTER
from eventstore.mentions import mentions_of
from eventstore.store import open_writer
from eventstore.story import state_of
from tests.cli.mouth import Mouth, playing
from tests.eventstore.tale import (
    A1,
    A1_CMD,
    ALICE,
    MARATHON,
    MASTER,
    METRONOME,
    START,
    WEB,
    answered,
    app_updated,
    offer_made,
    started,
    status,
    task_updated,
)
from tests.recorded import DATACENTER

BOB = ALICE._replace(id="u-bob")


class Past:
    """A stream as it was told, each event with what led to it, a second apart."""

    def __init__(self):
        self.mouth = Mouth()
        self.now = START
        self.ends = {}

    def say(self, by, to, fact, **more):
        """The next event; its position."""
        self.now = Now(self.now + second)
        n, prev = self.ends.get(by, (0, b""))
        if by.kind != "client":
            more = {"n": n + 1, "prev": prev, "epoch": 1, "last": True} | more
        position = self.mouth.say(by, fact, to, at=self.now, **more)
        self.ends[by] = n + 1, link(self.mouth.server.records()[-1].body)
        return position

    def ask(self):
        """Alice wants an app."""
        spec = AppSpec(id=WEB, cmd="x")
        return self.say(ALICE, "marathon", AppRequested(app=spec), actor="alice", trace="t1")

    def want(self, task, cause, replaces=None):
        """Marathon wants an instance: the first with its answer."""
        fact = (
            InstanceScheduled(app=WEB, task=task, app_version="v1", replaces=replaces) if replaces else answered(task)
        )
        return self.say(MARATHON, "_", fact, cause=cause, trace="t1")

    def end(self, task, state, *, wait_status, message=""):
        """A task ends, and everybody says so; the positions."""
        ended = status(task, state, message=message)
        seen = Glimpse("task.ended", {"task": task, "wait_status": wait_status})
        reported = self.say(A1_CMD, "a1", TaskReported(status=ended), seen=seen)
        relayed = self.say(A1, "main", TaskReported(status=ended), cause=reported)
        updated = self.say(MASTER, "marathon", task_updated(ended), cause=relayed)
        return [reported, relayed, updated, self.say(MARATHON, "u-alice", app_updated(ended), cause=updated)]

    async def blame(self, *args):
        """What the cluster says is to blame; its master tells its history in small pages."""
        async with playing(self.mouth, THE_MASTER, {"history": self._history}):
            return await self.mouth.json("blame", *args)

    async def lines(self, *args):
        async with playing(self.mouth, THE_MASTER, {"history": self._history}):
            return (await self.mouth("blame", *args)).stdout.splitlines()

    def _history(self, question):
        asked = msgspec.msgpack.decode(question, type=HistoryQuestion)
        found = [each for each in self.mouth.server.records() if each.position > asked.after and mentions(each, asked)]
        return [HistoryRow(position=each.position, subject=each.subject, body=each.body) for each in found[:2]]


def mentions(record, asked):
    event = event_in(record)
    return event is not None and (asked.noun, asked.id) in mentions_of(event)


def positions(steps):
    return [step["position"] for step in steps]


@pytest.fixture
def past():
    return Past()


async def test_a_failure_goes_back_to_what_was_seen_and_to_who_wanted_the_task(past):
    """Why it ended so, and why it was there at all; one line says both."""
    asked = past.ask()
    scheduled = past.want("web.1", asked)
    ended = past.end("web.1", TaskState.FAILED, wait_status=256, message="Command exited with status 1")
    told = await past.blame("task", "web.1")
    assert positions(told["chain"]) == ended[::-1]
    assert told["chain"][-1]["seen"] == ["task.ended", {"task": "web.1", "wait_status": 256}]
    assert told["chain"][0]["since_cause_us"] == second
    assert positions(told["existence"]) == [scheduled, asked]
    assert (told["asked"]["position"], told["asked"]["actor"]) == (asked, "u-alice")
    summary = told["summary"]
    assert summary.startswith("task web.1: TASK_FAILED (Command exited with status 1) because executor.a1-cmd saw ")
    assert "saw task.ended task=web.1 wait_status=256 at " in summary
    assert "; asked for by u-alice (app add at " in summary


async def test_an_app_is_as_its_deployment_said(past):
    """What it is to be rides on the answer to who asked for it."""
    asked = past.ask()
    begun = past.want("web.1", asked)
    told = await past.blame("app", WEB)
    assert positions(told["chain"]) == [begun, asked]
    assert (told["asked"]["position"], told["asked"]["actor"]) == (asked, "u-alice")


async def test_people_read_one_line_a_step(past):
    """Position, time, who, what, what led to it, and how long after."""
    past.end("web.1", TaskState.FAILED, wait_status=256)
    summary, _, head, first, *_, last = await past.lines("task", "web.1")
    assert summary.startswith("task web.1: TASK_FAILED because ")
    assert head.split() == ["EVENT", "TIME", "WHO", "SAID", "WHAT", "BECAUSE", "AFTER"]
    assert first.split()[0] == "#4"
    assert " ".join(first.split()).endswith("heard #3 1 s")
    assert "executor.a1-cmd" in last
    assert last.rstrip(" -").endswith("saw task.ended task=web.1 wait_status=256")


async def test_a_kill_goes_back_to_who_asked_for_it(past):
    """Not to the signal: that somebody wanted it is why."""
    asked = past.ask()
    past.want("web.1", asked)
    scaled = past.say(BOB, "marathon", ScaleRequested(app=WEB, instances=0), actor="bob", trace="t2")
    requested = past.say(MARATHON, "main", KillRequested(task="web.1"), cause=scaled, trace="t2")
    directed = past.say(MASTER, "a1", KillDirected(task="web.1"), cause=requested, trace="t2")
    delivered = past.say(A1, "a1-cmd", KillDelivered(task="web.1"), cause=directed, trace="t2")
    past.end("web.1", TaskState.KILLED, wait_status=15)
    told = await past.blame("task", "web.1")
    assert positions(told["kill"]) == [delivered, directed, requested, scaled]
    assert told["summary"].startswith("task web.1: TASK_KILLED because u-bob (app scale at ")
    assert "; asked for by u-alice (app add at " in told["summary"]
    assert "task web.1 was to be killed, because:" in await past.lines("task", "web.1")


async def test_a_replacement_goes_back_to_the_first_in_its_place(past):
    """The failure that made it necessary, how many there were, and the request that began it."""
    asked = past.ask()
    cause, before, ended = past.want("web.0", asked), None, []
    first = cause
    for number in range(5):
        ended = past.end(f"web.{number}", TaskState.FAILED, wait_status=256)
        before = f"web.{number}"
        cause = past.want(f"web.{number + 1}", ended[2], replaces=before)
    told = await past.blame("task", "web.5")
    assert told["replaced"] == 5
    existence = positions(told["existence"])
    assert existence[:4] == [cause, *ended[2::-1]]
    assert existence[-2:] == [first, asked]
    assert len(existence) < 12, "every one of them is shown"
    assert told["asked"]["position"] == asked
    assert "task web.5 was wanted, in the place of 5 before it, because:" in await past.lines("task", "web.5")


async def test_an_unreachable_agents_task_goes_back_to_the_pings_that_were_missed(past):
    """Its agent's silence is what the master saw; the sight stands on the first event of the decision."""
    seen = Glimpse("pings.missed", {"kind": "agent", "id": "a1", "since_n": 3, "missed": 5})
    fact = AgentMarked(agent="a1", acted_n=1, message="5 pings missed")
    marked = past.say(MASTER, "a1", fact, seen=seen, last=False)
    lost = TaskUpdated(framework="marathon", status=status("web.1", TaskState.UNREACHABLE), agent="a1")
    updated = past.say(MASTER, "marathon", lost)
    told = await past.blame("task", "web.1")
    assert positions(told["chain"]) == [updated]
    assert told["chain"][0]["seen"][0] == "pings.missed"
    assert "because master.main saw pings.missed kind=agent id=a1 since_n=3 missed=5 at " in told["summary"]
    told = await past.blame("agent", "a1")
    assert positions(told["chain"]) == [marked]
    assert told["summary"].startswith("agent a1: agent.marked by master.main at ")


async def test_what_no_person_asked_for_goes_back_to_a_time_that_came(past):
    """An agent registers because it is time; a run exists because its schedule fired."""
    registered = past.say(A1, "main", AgentRegistered(hostname="h", resources=Resources()), seen=WOKEN)
    admitted = past.say(MASTER, "a1", AgentAdmitted(agent="a1", hostname="h", resources=Resources()), cause=registered)
    told = await past.blame("agent", "a1")
    assert positions(told["chain"]) == [admitted, registered]
    assert "because agent.a1 was woken: a time it waited for had come at " in told["summary"]
    created = past.say(METRONOME, "_", RunCreated(job="j", run="r1", schedule="default", nominal=START), seen=WOKEN)
    attempt = past.say(METRONOME, "_", AttemptScheduled(job="j", run="r1", task="j.r1.1"), cause=admitted)
    ended = status("j.r1.1", TaskState.FINISHED)
    finished = past.say(METRONOME, "_", RunUpdated(job="j", run="r1", state="SUCCESS", status=ended), cause=admitted)
    told = await past.blame("run", "r1")
    assert told["summary"].startswith("run r1: SUCCESS because ")
    assert (told["chain"][0]["position"], positions(told["existence"])) == (finished, [created])
    assert told["asked"] is None
    told = await past.blame("task", "j.r1.1")
    assert positions(told["existence"]) == [attempt, admitted, registered, created]
    first = past.say(METRONOME, "_", RunCreated(job="j", run="r2", task="j.r2.1"), seen=WOKEN)
    ended = status("j.r2.1", TaskState.FINISHED)
    past.say(METRONOME, "_", RunUpdated(job="j", run="r2", state="SUCCESS", status=ended), cause=admitted)
    for noun, name in (("run", "r2"), ("task", "j.r2.1")):
        assert positions((await past.blame(noun, name))["existence"]) == [first]


async def test_an_offer_and_an_app(past):
    """Whatever was last said of them, and why."""
    begun = past.say(MASTER, "_", started())
    made = past.say(MASTER, "marathon", offer_made("o-1-0"))
    told = await past.blame("offer", "o-1-0")
    assert (positions(told["chain"]), told["chain"][0]["seen"]) == ([made], None)
    assert told["summary"].startswith("offer o-1-0: offer.made by master.main at ")
    assert begun == 1
    past.ask()
    ended = past.end("web.1", TaskState.FAILED, wait_status=9)
    told = await past.blame("app", WEB)
    assert positions(told["chain"]) == ended[::-1]


async def test_what_is_not_known_is_refused(past):
    """With where to look for its name; a noun that is none is wrong usage."""
    async with playing(past.mouth, THE_MASTER, {"history": past._history}):
        result = await past.mouth("blame", "task", "nobody")
        assert result.exit_code == 1
        assert result.stderr == "error: no event mentions task nobody\nnext:  busbar task list --all\n"
        assert (await past.mouth("blame", "planet", "mars")).exit_code == 2


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A master's store of the recorded example, and its messages."""
    path, records = tmp_path_factory.mktemp("store") / "events.db", load(DATACENTER).stream()

    async def write():
        async with open_writer(path, cluster="dc", log=None) as writer:
            for begin in range(0, len(records), 1000):
                await writer.append(records[begin : begin + 1000])

    asyncio.run(write())
    return str(path), records


@pytest.mark.timeout(60)
async def test_in_a_real_history_every_ended_task_goes_back_to_a_request_or_a_sight(recorded):
    """Of a whole datacenter's life: each chain is without a gap, each ends where nothing was heard."""
    store, records = recorded
    events = [event for event in map(event_in, records) if event is not None]
    failed = {e.fact.status.task for e in events if e.type == "task.updated" and state_of(e, e.fact.status.task)}
    mouth, roots = Mouth(), set()
    for task in sorted(failed)[::7]:
        told = await mouth.json("blame", "task", task, "--store", store)
        for steps in (told["chain"], told["kill"]):
            for step, cause in pairwise(steps):
                assert step["cause"] == cause["position"]
        root = (told["kill"] or told["chain"])[-1]
        roots.add("request" if root["by"].startswith("client.") else (root["seen"] or ["nothing"])[0])
        assert told["asked"] is not None or "woken" in str(told["existence"]), told["summary"]
    assert roots >= {"request", "task.ended"}
    assert "nothing" not in roots


async def test_a_store_and_the_cluster_blame_alike(past, tmp_path):
    """The same steps from a file, with nothing running."""
    past.want("web.1", past.ask())
    past.end("web.1", TaskState.FAILED, wait_status=256)
    async with open_writer(tmp_path / "events.db", cluster="dc", log=None) as writer:
        await writer.append(past.mouth.server.records())
    told = await Mouth().json("blame", "task", "web.1", "--store", str(tmp_path / "events.db"))
    assert told == await past.blame("task", "web.1")
