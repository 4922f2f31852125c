"""What an agent answers from its state."""

from __future__ import annotations

from typing import Any

from bus.events import AgentAdmitted, AgentRefused
from bus.nouns import AgentId, Refusal, TaskState
from bus.queries import Standing, TasksQuestion, pack
from components.agent.state import AgentState
from tests.components.agent.play import EIGHT, MASTER, reports, runs, stage
from tests.components.driver import Stage


def ask(acting: Stage[AgentState], query: str, question: object = None) -> Any:
    packed = b"" if question is None else pack(question)
    return acting.component.queries[query](acting.state, packed, acting.now)


def test_an_agent_lists_its_tasks():
    """The live ones, and if asked those whose sandboxes are kept."""
    acting = stage()
    for task in ("web.1", "web.2", "db.1"):
        runs(acting, task)
    reports(acting, "web.1", TaskState.FINISHED)
    assert [row.task for row in ask(acting, "tasks")] == ["web.2", "db.1"]
    rows = ask(acting, "tasks", TasksQuestion(all=True, prefix="web"))
    assert [(row.task, row.status.state) for row in rows] == [("web.1", "TASK_FINISHED"), ("web.2", "TASK_RUNNING")]


def test_an_agent_tells_how_it_stands():
    """Waiting for the answer, admitted, or refused and why."""
    acting = stage()
    waiting: Standing = ask(acting, "standing")
    assert (waiting.admitted, waiting.reason, waiting.resources) == (False, None, EIGHT)
    acting.hear(MASTER, AgentAdmitted(agent=AgentId("a1"), hostname="n1.example", resources=EIGHT))
    assert ask(acting, "standing").admitted
    acting.hear(MASTER, AgentRefused(agent=AgentId("a1"), reason=Refusal.ID_TAKEN, message="a framework has it"))
    stands = ask(acting, "standing")
    assert (stands.admitted, stands.reason, stands.message) == (False, Refusal.ID_TAKEN, "a framework has it")
