"""A task that refers to secrets is handed on once they are here, in memory; what is not to be had is said by name."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus.events import AgentRegistered, Event, Fact, KillDirected, TaskDelivered, TaskReported
from bus.memory import MemoryBus, MemoryServer
from bus.nouns import MASTER as MAIN
from bus.nouns import Command, Now, Reason, TaskId, TaskState
from bus.queries import answer_ok, answer_refused
from bus.secrets import SecretAnswer, SecretQuestion, SecretsAwaited
from bus.subjects import CLUSTER, ask, ping
from components.agent import shelf as room
from components.agent.decide import SecretsArrived, SecretsWithheld
from components.agent.fetching import again_s
from components.agent.hands import AgentHands
from components.agent.shelf import Shelf, ShelfRefused, file_system, wipe
from components.agent.state import AgentState
from components.component import Sight
from components.places import secrets_for, secrets_of
from components.sealing import AgentKey, Vault, seal
from eventstore.signing import Signer
from tests.components.agent.play import (
    MASTER,
    config,
    info,
    launched,
    marked,
    pong,
    reports,
    stage,
    told_logs,
    wait_until,
)
from tests.components.driver import Stage, only, types

pytestmark = pytest.mark.timeout(20)
T1 = TaskId("t1")
CLUSTER_KEY, KEY = Signer(b"c" * 32), AgentKey(b"1" * 32)
REFERS = Command(shell="sleep 9", secret_env={"PW": "db/pw"}, secret_files={"conf/key": "tls/key"})
VALUES = {"db/pw": b"correct horse", "tls/key": b"battery\0staple"}


def awaiting(**given: Any) -> Stage[AgentState]:
    """An agent that was told to launch a task that refers to secrets."""
    acting = stage(**given)
    acting.hear(MASTER, launched("t1", command=REFERS))
    return acting


# ---- the mind ----------------------------------------------------------------------------------------------------


def test_an_agent_registers_with_its_public_key():
    """So that secrets can be sealed to it."""
    acting = stage(key=KEY.public)
    assert [fact.key for fact in only(acting.log, AgentRegistered)] == [KEY.public]


def test_a_task_that_refers_to_secrets_waits_for_them():
    """It is the agent's from now on, but nobody is handed it."""
    acting = stage()
    events = acting.hear(MASTER, launched("t1", command=REFERS))
    assert types(events) == ["secret.awaited"]
    assert (events[0].to, events[0].trace) == ("_", "trace-t1")
    assert acting.state.tasks[T1].status.state is TaskState.STAGING
    assert acting.hear(MASTER, launched("t1", command=REFERS)) == []
    assert acting.rebuilt() == acting.hash()


def test_it_is_handed_on_once_they_are_here():
    """With names only, because of its launch; seen twice it is old."""
    acting = awaiting()
    events = acting.see(SecretsArrived(task=T1))
    delivered = only(events, TaskDelivered)[0]
    assert (types(events), events[0].to, events[0].trace) == (["task.delivered"], "a1-cmd", "trace-t1")
    assert events[0].cause == acting.log[-2].cause
    assert delivered.task == info("t1", command=REFERS)
    assert acting.see(SecretsArrived(task=T1)) == []
    reports(acting, "t1", TaskState.STARTING, TaskState.RUNNING, TaskState.FINISHED)
    assert acting.rebuilt() == acting.hash()


def test_a_task_whose_secret_is_withheld_has_failed():
    """The message names it; nothing is handed on, and nothing follows from a late sight."""
    acting = awaiting()
    events = acting.see(SecretsWithheld(task=T1, message="secret db/pw is withheld: it does not exist any more"))
    (status,) = [fact.status for fact in only(events, TaskReported)]
    assert (status.state, status.reason) == (TaskState.FAILED, Reason.CONTAINER_LAUNCH_FAILED)
    assert status.message == "secret db/pw is withheld: it does not exist any more"
    assert events[0].to == MAIN
    assert acting.see(SecretsArrived(task=T1)) == []
    assert not acting.state.tasks
    assert acting.rebuilt() == acting.hash()


def test_a_task_that_waits_can_be_killed():
    """At once: nothing of it was started. The executor hears of neither."""
    acting = awaiting()
    events = acting.hear(MASTER, KillDirected(task=T1))
    (status,) = [fact.status for fact in only(events, TaskReported)]
    assert (status.state, status.reason) == (TaskState.KILLED, Reason.TASK_KILLED_DURING_LAUNCH)
    assert acting.see(SecretsArrived(task=T1)) == []
    assert acting.rebuilt() == acting.hash()


def test_a_task_that_waits_is_listed_to_the_master():
    """Else it would be taken for gone."""
    acting = awaiting()
    (event,) = acting.hear(MASTER, marked(1))
    assert isinstance(event.fact, AgentRegistered)
    assert [(held.info.task, held.status.state) for held in event.fact.tasks] == [("t1", TaskState.STAGING)]


def test_a_task_without_secrets_waits_for_nothing():
    """It is handed on in the decision that hears of it."""
    assert types(stage().hear(MASTER, launched("t1"))) == ["task.delivered"]


# ---- the shelf ---------------------------------------------------------------------------------------------------


@pytest.fixture
def work(tmp_path: Path) -> Iterator[str]:
    """A work directory, of which nothing is left in memory."""
    yield str(tmp_path)
    wipe(str(tmp_path))


def test_values_lie_in_memory_for_their_task_alone(work: str):
    """Directories that others can pass but not list, files that only their owner can read."""
    shelf = Shelf(work)
    old = os.umask(0)
    try:
        shelf.put("t1", {"db/pw": b"a"}, {"tls/key": b"b\0"})
    finally:
        os.umask(old)
    at = Path(secrets_for(f"{work}/sandboxes/t1"))
    assert at == Path(shelf.path) / "t1"
    found = {str(path.relative_to(at)): path.stat().st_mode & 0o777 for path in [at, *at.rglob("*")]}
    assert found == {".": 0o711, "env": 0o700, "env/db+pw": 0o400, "files": 0o700, "files/tls+key": 0o400}
    assert (at / "files/tls+key").read_bytes() == b"b\0"
    assert file_system("/dev/shm") == "tmpfs"
    shelf.put("t1", {"db/pw": b"c"}, {})
    assert sorted(path.name for path in at.rglob("*")) == ["db+pw", "env", "files"]


def test_what_a_task_was_given_goes_with_it(work: str):
    """Whatever the task made of it; and all that no live task has goes at the next start."""
    shelf = Shelf(work)
    for name in ("t1", "t2", "t3"):
        shelf.put(name, {}, {"k": b"v"})
    files = Path(shelf.path) / "t1" / "files"
    (files / "more").mkdir()
    files.chmod(0)
    shelf.take("t1")
    shelf.take("t1")
    shelf.sweep(keep={"t2"})
    assert os.listdir(shelf.path) == ["t2"]
    wipe(work)
    assert not os.path.exists(secrets_of(work))


def test_a_place_that_is_somebody_elses_is_not_used(work: str, tmp_path: Path):
    """A link, or a directory that others may write."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shelf = Shelf(work)
    os.symlink(elsewhere, shelf.path)
    with pytest.raises(ShelfRefused, match="is not a directory of the agent's alone: remove it"):
        shelf.put("t1", {"a": b"v"}, {})
    os.unlink(shelf.path)
    os.mkdir(shelf.path)
    os.chmod(shelf.path, 0o777)
    with pytest.raises(ShelfRefused):
        shelf.put("t1", {"a": b"v"}, {})
    assert os.listdir(elsewhere) == []


def test_a_place_that_is_a_disk_is_not_used(work: str, monkeypatch: pytest.MonkeyPatch):
    """The refusal says what is there instead."""
    monkeypatch.setattr(room, "SHARED_MEMORY", "/proc")
    with pytest.raises(ShelfRefused) as refused:
        Shelf(work).put("t1", {"a": b"v"}, {})
    assert str(refused.value) == "/proc is proc, not tmpfs: a secret must not reach a disk"
    assert not os.path.exists(secrets_of(work))
    assert file_system("/no/such/place") == ""


# ---- the hands ---------------------------------------------------------------------------------------------------


class Master:
    """The master's part: it hands on what is kept, sealed to a key."""

    def __init__(self) -> None:
        self.kept = {name: seal(CLUSTER_KEY.public, name, value) for name, value in VALUES.items()}
        self.to, self.asked = KEY.public, list[SecretQuestion]()
        self.refuses = ""

    async def answer(self, question: bytes) -> bytes:
        asked = msgspec.msgpack.decode(question, type=SecretQuestion)
        self.asked.append(asked)
        if self.refuses:
            return answer_refused(self.refuses)
        if asked.name not in self.kept:
            return answer_ok(SecretAnswer(withheld="it does not exist any more"))
        return answer_ok(
            SecretAnswer(sealed=Vault(CLUSTER_KEY).hand_on(asked.name, self.kept[asked.name], asked.task, self.to))
        )


class Term:
    """Hands at work with a master beside them, and what they saw."""

    def __init__(self, work: str, key: AgentKey | None = KEY, **given: Any) -> None:
        self.bus = MemoryBus(MemoryServer(CLUSTER, lambda: Now(0)))
        self.master = Master()
        self.hands = AgentHands(config(work=work, **given), self.bus, key)
        self.seen: list[Sight] = []

    async def serve(self) -> None:
        await self.bus.serve(ask(CLUSTER, MASTER, "secrets"), self.master.answer)

    async def see(self, sight: Sight) -> None:
        self.seen.append(sight)

    def tell(self, fact: Fact) -> None:
        """An event of the agent is in the log."""
        self.hands.act(Event(by=config().author, to="_", fact=fact, at=Now(0)))

    async def saw(self) -> Sight:
        """The first thing they see."""
        await wait_until(lambda: bool(self.seen))
        return self.seen[0]


@asynccontextmanager
async def at_work(term: Term, state: AgentState | None = None) -> AsyncIterator[Term]:
    """Hands from the beginning of a term to its end."""
    await term.bus.serve(ping(CLUSTER, config().executor_author), pong)
    running = asyncio.create_task(term.hands.run(state or stage().state, term.see))
    await asyncio.sleep(0)
    try:
        yield term
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def awaited(**command: Mapping[str, str]) -> SecretsAwaited:
    return SecretsAwaited(task=info("t1", command=Command(shell="true", **command) if command else REFERS))  # type: ignore[arg-type]


async def test_secrets_are_asked_for_one_by_one_and_put_into_memory(work: str):
    """Each in its own place; nothing of them is logged."""
    with told_logs() as logs:
        async with at_work(Term(work)) as term:
            await term.serve()
            term.tell(awaited())
            assert await term.saw() == SecretsArrived(task=T1)
    at = Path(secrets_for(f"{work}/sandboxes/t1"))
    assert (at / "env/db+pw").read_bytes() == VALUES["db/pw"]
    assert (at / "files/tls+key").read_bytes() == VALUES["tls/key"]
    assert [(each.task, each.agent, each.name) for each in term.master.asked] == [
        ("t1", "a1", "db/pw"),
        ("t1", "a1", "tls/key"),
    ]
    assert not any(value.decode() in str(logs) for value in VALUES.values())


async def test_an_agent_that_starts_again_asks_again(work: str):
    """For what it awaits; what is left of ended tasks is removed, what live ones have stays."""
    for name in ("t1", "t2", "ended"):
        Shelf(work).put(name, {}, {"k": b"v"})
    acting = awaiting()
    acting.hear(MASTER, launched("t2", command=REFERS))
    acting.see(SecretsArrived(task=TaskId("t2")))
    term = Term(work)
    await term.serve()
    async with at_work(term, acting.state):
        assert await term.saw() == SecretsArrived(task=T1)
    assert sorted(os.listdir(secrets_of(work))) == ["t1", "t2"]
    assert sorted(path.name for path in Path(secrets_of(work), "t1").rglob("*+*")) == ["db+pw", "tls+key"]


async def test_what_a_task_had_goes_when_it_ends(work: str):
    """However it ended."""
    async with at_work(Term(work)) as term:
        await term.serve()
        term.tell(awaited())
        await term.saw()
        (status,) = [fact.status for fact in only(reports(acting_with_t1(), "t1", TaskState.FAILED), TaskReported)]
        term.tell(TaskReported(status=status))
        assert os.listdir(secrets_of(work)) == []


def acting_with_t1() -> Stage[AgentState]:
    acting = awaiting()
    acting.see(SecretsArrived(task=T1))
    return acting


async def test_a_master_that_is_away_is_asked_again(work: str):
    """It comes back, or another leads."""
    async with at_work(Term(work)) as term:
        term.tell(awaited())
        await asyncio.sleep(0)
        term.master.refuses = "nobody can tell whether n1 leads still"
        await term.serve()
        await wait_until(lambda: bool(term.master.asked))
        term.master.refuses = ""
        assert await term.saw() == SecretsArrived(task=T1)


@pytest.mark.parametrize(("refuses", "why"), [("", "the master does not answer"), ("it has no key", "it has no key")])
async def test_the_agents_patience_has_an_end(work: str, refuses: str, why: str):
    """The message names the secret, how long it was asked for, and why it was not to be had."""
    term = Term(work, fetch_s=0.01)
    async with at_work(term):
        if refuses:
            term.master.refuses = refuses
            await term.serve()
        term.tell(awaited())
        message = f"secret db/pw was not to be had within 0.01 s: {why}"
        assert await term.saw() == SecretsWithheld(task=T1, message=message)


async def test_a_secret_that_is_gone_is_not_waited_for(work: str):
    """The master says so; nothing is put down."""
    async with at_work(Term(work)) as term:
        await term.serve()
        del term.master.kept["tls/key"]
        term.tell(awaited())
        message = "secret tls/key is withheld by the master: it does not exist any more"
        assert await term.saw() == SecretsWithheld(task=T1, message=message)
    assert os.listdir(secrets_of(work)) == []


async def test_what_is_sealed_to_another_key_is_asked_for_again(work: str):
    """As when the agent has just registered with a new one."""
    async with at_work(Term(work)) as term:
        term.master.to = AgentKey(b"2" * 32).public
        await term.serve()
        term.tell(awaited())
        await wait_until(lambda: bool(term.master.asked))
        term.master.to = KEY.public
        assert await term.saw() == SecretsArrived(task=T1)
    assert again_s < 1


async def test_a_value_no_variable_can_hold_is_said_by_name(work: str):
    """It can be had as a file."""
    async with at_work(Term(work)) as term:
        await term.serve()
        term.tell(awaited(secret_env={"KEY": "tls/key"}))
        message = "secret tls/key holds a NUL character, as no variable can: refer to it as a file"
        assert await term.saw() == SecretsWithheld(task=T1, message=message)


async def test_an_agent_without_a_key_or_without_memory_says_so(work: str, monkeypatch: pytest.MonkeyPatch):
    """The task fails with it; the agent goes on."""
    async with at_work(Term(work, key=None)) as term:
        term.tell(awaited())
        assert await term.saw() == SecretsWithheld(task=T1, message="secret db/pw cannot be opened here: a1 has no key")
    monkeypatch.setattr(room, "SHARED_MEMORY", "/proc")
    async with at_work(Term(work)) as term:
        await term.serve()
        term.tell(awaited())
        seen = await term.saw()
        assert isinstance(seen, SecretsWithheld)
        assert seen.message.startswith("secrets db/pw, tls/key cannot be delivered here: /proc is proc, not tmpfs")


async def test_a_task_that_is_killed_meanwhile_is_asked_for_no_more(work: str):
    """And nothing of it is left."""
    term = Term(work)
    async with at_work(term):
        term.master.refuses = "not yet"
        await term.serve()
        term.tell(awaited())
        await wait_until(lambda: bool(term.master.asked))
        fetching = term.hands.fetching._fetched[T1]
        (event,) = awaiting().hear(MASTER, KillDirected(task=T1))
        term.hands.act(event)
        term.master.refuses = ""
        await wait_until(fetching.done)
        assert term.seen == []
    assert os.listdir(secrets_of(work)) == []
