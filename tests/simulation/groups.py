"""An auditor of task groups: launched whole, handed on whole, and never half alive for good.

Rule of this room: as in the ledger: it knows what was said, and nothing of what anybody remembers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from bus.events import Event, TaskDelivered, TaskLaunched
from bus.nouns import NOTHING, TERMINAL, AgentId, Resources, TaskGroupId, TaskId, TaskInfo, TaskState
from bus.subjects import Author


@dataclass
class Groups:
    """Every group that was ever launched."""

    members: dict[TaskGroupId, dict[TaskId, TaskInfo]] = field(default_factory=dict)
    begun: dict[tuple[Author, str], dict[TaskGroupId, set[int]]] = field(default_factory=dict)
    """Of each author's decision that goes on: of which group it said which."""

    def read(self, event: Event) -> None:
        """Hold an event against what must be: a decision has all of a group, or nothing of it."""
        fact = event.fact
        if isinstance(fact, TaskLaunched | TaskDelivered) and fact.task.group is not None:
            group = fact.task.group
            self.begun.setdefault((event.by, fact.type), {}).setdefault(group.id, set()).add(group.index)
            self.members.setdefault(group.id, {})[fact.task.task] = fact.task
        if event.last:
            for key in [key for key in self.begun if key[0] == event.by]:
                for name, indexes in self.begun.pop(key).items():
                    size = next(info.group.size for info in self.members[name].values() if info.group is not None)
                    assert len(indexes) == size, f"#{event.position} of group {name} {key[1]} was said of {indexes}"

    @staticmethod
    def taken_by(info: TaskInfo) -> Resources:
        """What the launch of a task takes: the first of a group's, what their executor does, too."""
        first = info.group is not None and info.group.index == 0
        return info.resources + info.group.executor if first and info.group is not None else info.resources

    def executors(self, holding: Iterable[TaskId], agent: AgentId) -> list[Resources]:
        """What the executors of an agent's groups take."""
        held = set(holding)
        return [
            next((info.group.executor for info in tasks.values() if info.group is not None), NOTHING)
            for tasks in self.members.values()
            if any(task in held and info.agent == agent for task, info in tasks.items())
        ]

    def half_alive(self, states: dict[TaskId, TaskState], alive: set[TaskId]) -> str:
        """Of which group something goes on although one of it did not finish well; nothing if of none."""
        for name, tasks in self.members.items():
            bad = [t for t in tasks if states.get(t) in TERMINAL and states.get(t) is not TaskState.FINISHED]
            going_on = [task for task in tasks if task in alive]
            if bad and going_on:
                return f"half of group {name} is alive: {going_on}, and {bad} ended"
        return ""
