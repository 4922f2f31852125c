"""What an agent answers about its tasks and itself."""

from __future__ import annotations

import msgspec

from bus.nouns import Now
from bus.queries import Standing, TaskRow, TasksQuestion, task_row
from components.agent.config import AgentConfig
from components.agent.state import AgentState, Task


def tasks(state: AgentState, question: bytes, _now: Now) -> list[TaskRow]:
    """Its live tasks, with the ended that it remembers if they are asked for."""
    asked = msgspec.msgpack.decode(question, type=TasksQuestion) if question else TasksQuestion()
    found = [*(state.ended.values() if asked.all else ()), *state.tasks.values()]
    return [_row(task) for task in found if task.info.task.startswith(asked.prefix)]


def _row(task: Task) -> TaskRow:
    return task_row(task.info, task.status, task.since, task.launched_at)


def standing(config: AgentConfig, state: AgentState, _question: bytes, _now: Now) -> Standing:
    """What it has, and whether the master admitted it."""
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
