"""The agent: one machine's resources, the tasks on it, and the executor that runs them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from bus.events import AgentStarted
from bus.nouns import Now
from bus.queries import Standing, TaskRow, TasksQuestion
from components.agent.config import AgentConfig, parse_attributes
from components.agent.decide import ResourcesDetected, decide, wake_at
from components.agent.state import AgentState, Task, check, fold, start
from components.component import Component, Hands, settings_of, spread
from components.places import sandbox_name

__all__ = ["AgentConfig", "AgentState", "ResourcesDetected", "component", "parse_attributes", "sandbox_name"]


def component(config: AgentConfig, hands: Callable[[], Hands[AgentState]] | None = None) -> Component[AgentState]:
    """The agent of one machine."""
    return Component(
        author=config.author,
        term=AgentStarted,
        start=start,
        fold=fold,
        decide=partial(decide, config),
        wake_at=partial(wake_at, config),
        check=spread(check, lambda state: len(state.tasks) + len(state.ended)),
        queries={"tasks": _tasks, "standing": partial(_standing, config)},
        hands=hands,
        settings=settings_of("agent", config, leave_out=("executor_argv",)),
    )


def _tasks(state: AgentState, question: bytes, _now: Now) -> list[TaskRow]:
    asked = msgspec.msgpack.decode(question, type=TasksQuestion) if question else TasksQuestion()
    found = [*(state.ended.values() if asked.all else ()), *state.tasks.values()]
    return [_row(task) for task in found if task.info.task.startswith(asked.prefix)]


def _row(task: Task) -> TaskRow:
    info = task.info
    return TaskRow(
        task=info.task,
        name=info.name,
        framework=info.framework,
        agent=info.agent,
        status=task.status,
        since=task.since,
        launched_at=task.launched_at,
        resources=info.resources,
        app=info.app,
        job=info.job,
        run=info.run,
        group=info.group.id if info.group is not None else None,
    )


def _standing(config: AgentConfig, state: AgentState, _question: bytes, _now: Now) -> Standing:
    verdict = state.verdict
    return Standing(
        agent=config.id,
        hostname=config.hostname,
        admitted=verdict is not None and verdict.reason is None,
        tasks=len(state.tasks),
        ended=len(state.ended),
        resources=state.resources,
        attributes=dict(config.attributes),
        reason=verdict.reason if verdict else None,
        message=verdict.message if verdict else "",
    )
