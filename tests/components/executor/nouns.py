"""An agent, its executor, and tasks made up for the tests."""

from __future__ import annotations

from bus.events import KillDelivered, TaskDelivered
from bus.nouns import AgentId, Check, Command, FrameworkId, Resources, TaskId, TaskInfo, TraceId
from bus.subjects import Author, Kind
from components.executor import ExecutorConfig, component
from components.executor.state import ExecutorState
from tests.components.driver import Stage

AGENT = Author(Kind.AGENT, "a1")
CONFIG = ExecutorConfig(agent=AgentId("a1"), work="/var/lib/busbar/a1/executor")


def delivered(
    name: str = "t1",
    *,
    command: Command | None = None,
    sandbox: str | None = None,
    kill_grace_s: float = 3.0,
    max_completion_s: float | None = None,
    health: Check | None = None,
    check: Check | None = None,
    trace: str | None = "trace-1",
) -> TaskDelivered:
    info = TaskInfo(
        task=TaskId(name),
        name=name,
        agent=CONFIG.agent,
        framework=FrameworkId("marathon"),
        resources=Resources(cpu_milli=100, mem_mb=32),
        command=command or Command(shell="true"),
        kill_grace_s=kill_grace_s,
        max_completion_s=None if max_completion_s is None else float(max_completion_s),
        health=health,
        check=check,
        trace=None if trace is None else TraceId(trace),
    )
    return TaskDelivered(task=info, executor=CONFIG.id, sandbox=sandbox or f"/sandboxes/{name}")


def killed(name: str = "t1", grace_s: float | None = None) -> KillDelivered:
    return KillDelivered(task=TaskId(name), grace_s=grace_s)


def stage() -> Stage[ExecutorState]:
    played = Stage(component(CONFIG))
    played.begin()
    return played
