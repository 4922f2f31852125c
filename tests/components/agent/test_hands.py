"""What an agent's hands do in the world, told by its log: real files, no bus but memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus.events import Event, Fact, RegistrationNoted, SandboxCollected, TaskDelivered, TaskGathered, TaskReported
from bus.memory import MemoryBus, MemoryServer
from bus.nouns import ExecutorId, Now, Refusal, Resources, TaskGroup, TaskGroupId, TaskId, TaskState
from bus.queries import LogPiece, LogQuestion, QueryRefused, pack
from bus.subjects import CLUSTER, ping
from components.agent.decide import ResourcesDetected
from components.agent.hands import AgentHands
from components.agent.machine import detect_resources, shared
from components.agent.state import AgentState
from components.component import Sight
from tests.components.agent.play import (
    EIGHT,
    MASTER,
    config,
    info,
    launched,
    pong,
    reports,
    runs,
    stage,
    status,
    told_logs,
    wait_until,
)
from tests.components.driver import Stage

pytestmark = pytest.mark.timeout(20)
T1 = TaskId("t1")


class Term:
    """Hands at work, and what they saw."""

    def __init__(self, hands: AgentHands) -> None:
        self.hands = hands
        self.seen: list[Sight] = []

    async def see(self, sight: Sight) -> None:
        self.seen.append(sight)

    def tell(self, fact: Fact) -> None:
        """An event of the agent is in the log."""
        self.hands.act(Event(by=config().author, to="_", fact=fact, at=Now(0)))

    async def ask(self, task: str, **given: Any) -> LogPiece:
        return await self.hands.read_log(pack(LogQuestion(task=TaskId(task), **given)))


@asynccontextmanager
async def term(work: Path, state: AgentState, resources: Resources | None = EIGHT) -> AsyncIterator[Term]:
    """Hands from the beginning of a term to its end; the executor is somebody else's."""
    bus = MemoryBus(MemoryServer(CLUSTER, lambda: Now(0)))
    await bus.serve(ping(CLUSTER, config().executor_author), pong)
    at_work = Term(AgentHands(config(work=str(work), resources=resources), bus))
    running = asyncio.create_task(at_work.hands.run(state, at_work.see))
    await asyncio.sleep(0)
    try:
        yield at_work
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def delivered(task: str) -> TaskDelivered:
    return TaskDelivered(task=info(task), executor=ExecutorId("a1-cmd"), sandbox=f"/w/a1/sandboxes/{task}")


def writes(work: Path, task: str, text: str = "hello\n") -> Path:
    """The task was launched and wrote something."""
    sandbox = work / "sandboxes" / task
    sandbox.mkdir(parents=True)
    (sandbox / "stdout").write_text(text)
    return sandbox


def ran(*tasks: str) -> Stage[AgentState]:
    """An agent whose tasks are at work."""
    acting = stage()
    for task in tasks:
        runs(acting, task)
    return acting


# ---- resources ---------------------------------------------------------------------------------------------------


async def test_the_machine_is_looked_at_when_nothing_is_configured(tmp_path: Path):
    """Once a term; an agent with configured resources does not look."""
    async with term(tmp_path, stage(resources=None).state, resources=None) as at_work:
        await wait_until(lambda: bool(at_work.seen))
        assert at_work.seen == [ResourcesDetected(resources=detect_resources(str(tmp_path)))]
    async with term(tmp_path, stage().state) as at_work:
        with pytest.raises(QueryRefused):
            await at_work.ask("t1")
        assert at_work.seen == []


def test_detected_resources_are_what_the_machine_has_but_for_what_it_needs(tmp_path: Path):
    found = detect_resources(str(tmp_path))
    with open("/proc/meminfo") as file:
        mem_mb = int(file.readline().split()[1]) // 1024
    assert found.cpu_milli == 1000 * len(os.sched_getaffinity(0))
    assert found.mem_mb == shared(mem_mb, at_least_mb=2048, kept_mb=1024)
    assert 0 < found.disk_mb < os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize // 2**20
    assert found.ports == ((31000, 32000),)


@pytest.mark.parametrize(("total", "left"), [(8192, 7168), (2048, 1024), (2047, 1023), (1, 0), (0, 0)])
def test_a_gigabyte_is_kept_back_or_half(total: int, left: int):
    """(Mesos: `containerizer.cpp`)"""
    assert shared(total, at_least_mb=2048, kept_mb=1024) == left


def test_where_the_machine_does_not_tell_something_small_is_assumed():
    """(Mesos: 10 GB of disk)"""
    with told_logs() as logs:
        assert detect_resources("/no/such/directory").disk_mb == 10240
    assert [line["event"] for line in logs] == ["size of disk cannot be detected"]


# ---- logs --------------------------------------------------------------------------------------------------------


async def test_a_log_is_read_while_the_task_lives_and_after_it_ended(tmp_path: Path):
    """From before its first byte to the collection of its sandbox; each refusal says why."""
    async with term(tmp_path, stage().state) as at_work:
        with pytest.raises(QueryRefused, match="agent a1 has no such task: t1"):
            await at_work.ask("t1")
        at_work.tell(delivered("t1"))
        assert await at_work.ask("t1") == LogPiece(data=b"", offset=0, size=0, ended=False)
        writes(tmp_path, "t1")
        assert await at_work.ask("t1", offset=1, limit=3) == LogPiece(data=b"ell", offset=1, size=6, ended=False)
        at_work.tell(TaskReported(status=status("t1", TaskState.RUNNING)))
        assert not (await at_work.ask("t1")).ended
        at_work.tell(TaskReported(status=status("t1", TaskState.FINISHED)))
        assert await at_work.ask("t1", offset=-3) == LogPiece(data=b"lo\n", offset=3, size=6, ended=True)
        with pytest.raises(QueryRefused, match="task t1 left no stderr: it was never executed"):
            await at_work.ask("t1", file="stderr")
        at_work.tell(SandboxCollected(task=T1))
        with pytest.raises(QueryRefused, match="the sandbox of task t1 was collected"):
            await at_work.ask("t1")


@pytest.mark.parametrize(
    "file", ["../secret", "/etc/passwd", ".busbar/launch", "stdout/../../x", "", "stdout\0", "STDOUT"]
)
async def test_nothing_but_stdout_and_stderr_is_read(file: str, tmp_path: Path):
    async with term(tmp_path, ran("t1").state) as at_work:
        writes(tmp_path, "t1")
        with pytest.raises(QueryRefused, match="expected stdout or stderr"):
            await at_work.ask("t1", file=file)


async def test_wrong_questions_are_refused(tmp_path: Path):
    async with term(tmp_path, ran("t1").state) as at_work:
        with pytest.raises(QueryRefused, match="limit -1: expected 0 or more"):
            await at_work.ask("t1", limit=-1)
        for question in (b"", b"\xc1", b"hello", msgspec.msgpack.encode({"task": 7}), msgspec.msgpack.encode(["t1"])):
            with pytest.raises(msgspec.DecodeError):
                await at_work.hands.read_log(question)


async def test_a_new_term_knows_the_tasks_of_the_log(tmp_path: Path):
    """Live, ended, collected: as the last process left them."""
    acting = ran("t1", "t2", "t3")
    for task in ("t2", "t3"):
        reports(acting, task, TaskState.FINISHED)
    acting.state.collected[TaskId("t0")] = Now(1)
    for task in ("t1", "t2"):
        writes(tmp_path, task)
    async with term(tmp_path, acting.state) as at_work:
        assert [(await at_work.ask(task)).ended for task in ("t1", "t2")] == [False, True]
        with pytest.raises(QueryRefused, match="t3 left no stdout"):
            await at_work.ask("t3")
        with pytest.raises(QueryRefused, match="t0 was collected"):
            await at_work.ask("t0")


# ---- sandboxes ---------------------------------------------------------------------------------------------------


async def test_a_collected_sandbox_is_deleted_and_no_other(tmp_path: Path):
    async with term(tmp_path, ran("t1", "t2").state) as at_work:
        collected, kept = writes(tmp_path, "t1"), writes(tmp_path, "t2")
        at_work.tell(TaskReported(status=status("t1", TaskState.FINISHED)))
        at_work.tell(SandboxCollected(task=T1))
        await wait_until(lambda: not collected.exists() and not os.listdir(tmp_path / "trash"))
        assert kept.exists()


async def test_a_sandbox_collected_by_a_process_that_died_is_deleted_by_the_next(tmp_path: Path):
    """What the log says is made true, however often the process dies in between."""
    collected, kept = writes(tmp_path, "t0"), writes(tmp_path, "t1")
    acting = ran("t1")
    acting.state.collected[TaskId("t0")] = Now(1)
    async with term(tmp_path, acting.state):
        await wait_until(lambda: not collected.exists())
        assert kept.exists()


# ---- how it stands -----------------------------------------------------------------------------------------------


async def test_a_refusal_is_said_loudly(tmp_path: Path):
    """An operator who looks at the agent's output sees why it takes no part."""
    async with term(tmp_path, stage().state) as at_work:
        with told_logs() as logs:
            at_work.tell(RegistrationNoted(reason=Refusal.ID_TAKEN, message="a1 is a framework"))
            at_work.tell(RegistrationNoted())
    refusal, admission = logs
    assert (refusal["level"], refusal["reason"], refusal["why"]) == ("error", "id_taken", "a1 is a framework")
    assert (admission["level"], admission["agent"]) == ("info", "a1")


# ---- what a group shares -----------------------------------------------------------------------------------------


def shares(work: Path, group: str) -> Path:
    """A group's tasks were launched, and left something for each other."""
    directory = work / "sandboxes" / f"@{group}"
    (directory / "v").mkdir(parents=True)
    (directory / "v" / "file").write_text("hello\n")
    return directory


def of(group: str, index: int) -> TaskGroup:
    return TaskGroup(id=TaskGroupId(group), index=index, size=2)


async def test_what_a_group_shares_goes_with_the_last_of_its_sandboxes(tmp_path: Path):
    async with term(tmp_path, stage().state) as at_work:
        mine, others = shares(tmp_path, "g"), shares(tmp_path, "h")
        for index, task in enumerate(("t1", "t2")):
            writes(tmp_path, task)
            at_work.tell(TaskGathered(task=info(task, group=of("g", index))))
        at_work.tell(TaskGathered(task=info("u1", group=of("h", 0))))
        for task in ("t1", "t2"):
            at_work.tell(TaskReported(status=status(task, TaskState.FINISHED)))
        at_work.tell(SandboxCollected(task=T1))
        await wait_until(lambda: not (tmp_path / "sandboxes/t1").exists())
        assert mine.exists()
        at_work.tell(SandboxCollected(task=TaskId("t2")))
        await wait_until(lambda: not mine.exists() and not os.listdir(tmp_path / "trash"))
        assert others.exists()


async def test_what_a_group_left_when_the_process_died_is_deleted_by_the_next(tmp_path: Path):
    gone, kept = shares(tmp_path, "g"), shares(tmp_path, "h")
    acting = stage()
    acting.hear(MASTER, launched("t1", group=of("h", 0)))
    async with term(tmp_path, acting.state):
        await wait_until(lambda: not gone.exists())
        assert kept.exists()
