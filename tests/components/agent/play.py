"""What the agent's tests have in common: one agent on a stage, and who speaks to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bus import logs
from bus.events import AgentMarked, Event, TaskLaunched, TaskReported
from bus.nouns import (
    AgentId,
    Command,
    FrameworkId,
    Now,
    Resources,
    Source,
    TaskId,
    TaskInfo,
    TaskState,
    TaskStatus,
    TraceId,
)
from bus.subjects import Author, Kind
from components.agent import AgentConfig, component
from components.agent.state import AgentState
from tests.components.driver import Stage

MASTER = Author(Kind.MASTER, "main")
EXECUTOR = Author(Kind.EXECUTOR, "a1-cmd")
EIGHT = Resources(cpu_milli=8000, mem_mb=16384, disk_mb=1000, ports=((31000, 32000),))


def config(**given: Any) -> AgentConfig:
    defaults: dict[str, Any] = {
        "id": AgentId("a1"),
        "hostname": "n1.example",
        "work": "/w/a1",
        "executor_argv": ("run-executor",),
        "resources": EIGHT,
        "attributes": {"rack": "r1"},
    }
    return AgentConfig(**(defaults | given))


def stage(**given: Any) -> Stage[AgentState]:
    """An agent that has begun its first term and said what was due."""
    acting = Stage(component(config(**given)))
    acting.begin()
    acting.settle()
    return acting


def info(task: str, **given: Any) -> TaskInfo:
    defaults: dict[str, Any] = {
        "task": TaskId(task),
        "name": task,
        "agent": AgentId("a1"),
        "framework": FrameworkId("marathon"),
        "resources": Resources(cpu_milli=100, mem_mb=32),
        "command": Command(shell="sleep 9", env={"A": "b"}),
        "trace": TraceId(f"trace-{task}"),
    }
    return TaskInfo(**(defaults | given))


def launched(task: str, **given: Any) -> TaskLaunched:
    return TaskLaunched(task=info(task, **given), role="*", offers=())


def status(task: str, state: TaskState, **given: Any) -> TaskStatus:
    return TaskStatus(task=TaskId(task), state=state, source=Source.EXECUTOR, **given)


def reports(acting: Stage[AgentState], task: str, *states: TaskState, **given: Any) -> list[Event]:
    """The executor reports states of a task, one after the other."""
    return [
        event for state in states for event in acting.hear(EXECUTOR, TaskReported(status=status(task, state, **given)))
    ]


def runs(acting: Stage[AgentState], task: str) -> None:
    """A task is launched and runs."""
    acting.hear(MASTER, launched(task))
    reports(acting, task, TaskState.STARTING, TaskState.RUNNING)


def marked(acted_n: int) -> AgentMarked:
    return AgentMarked(agent=AgentId("a1"), acted_n=acted_n, message="missed 5 pings")


def gone(task: str, message: str) -> TaskStatus:
    return TaskStatus(task=TaskId(task), state=TaskState.GONE, source=Source.AGENT, message=message)


def clock() -> Now:
    return Now(time.time_ns() // 1000)


async def pong(_question: bytes) -> bytes:
    return b""


async def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does, at most 10 s."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@contextmanager
def told_logs() -> Iterator[list[dict[str, Any]]]:
    """What is logged meanwhile, whatever the tests' configuration of logs keeps silent."""
    told: list[dict[str, Any]] = []
    loud = logs.Form(
        frozenset(logs.LEVELS), lambda line: told.append(line.fields | {"event": line.event, "level": line.level})
    )
    before = logs.use(loud)
    try:
        yield told
    finally:
        logs.use(before)
