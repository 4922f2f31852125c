"""The twelve steps, as events by which a round of work is recognised. (architecture section 3)

Rule of this room: a step of a round is told from the same step of everything else by trace, app, job or task.
"""

from __future__ import annotations

from bus.events import Event, OfferAccepted, OfferDeclined, OfferMade, TaskDelivered, TaskLaunched, TaskReported
from bus.events import TaskUpdated as Updated
from bus.nouns import TaskId
from bus.services import AppRequested, AppUpdated, RunRequested, RunUpdated, SchedulerLocated
from bus.subjects import Author, Kind
from tests.faults.rounds import Work

STEPS = {
    1: "scheduler.located",
    2: "offer.made",
    3: "offer.declined",
    4: "requested",
    5: "offer.made again",
    6: "offer.accepted",
    7: "task.launched",
    8: "task.delivered",
    9: "task.reported by the executor",
    10: "task.reported by the agent",
    11: "task.updated",
    12: "updated, to the client",
}
BEFORE_WORK = (2, 3)
"""The steps every registration of a scheduler leads to, before anything is asked for."""


class Stepper:
    """Says of each event in turn which step of a round it is, on the way through one scheduler."""

    def __init__(self, work: Work, scheduler: Author) -> None:
        self._work, self._scheduler = work, scheduler
        self._trace = work.traces[scheduler.id]
        self._tasks: set[TaskId] = set()
        self._requested = False

    def step(self, event: Event) -> int | None:
        """The number of the step; None for everything else."""
        mine = event.trace == self._trace
        match event.fact:
            case SchedulerLocated():
                return 1 if mine else None
            case AppRequested() | RunRequested():
                self._requested = self._requested or mine
                return 4 if mine else None
            case OfferMade(framework=framework):
                return self._offered() if framework == self._scheduler.id else None
            case OfferDeclined():
                return 3 if event.by == self._scheduler else None
            case OfferAccepted(framework=None):
                return 6 if event.by == self._scheduler else None
            case _:
                return self._of_task(event)

    def _offered(self) -> int:
        return 5 if self._requested else 2

    def _of_task(self, event: Event) -> int | None:
        match event.fact:
            case TaskLaunched(task=info) as fact if self._work.concerns(fact) and info.framework == self._scheduler.id:
                self._tasks.add(info.task)
                return 7
            case TaskDelivered(task=info) if info.task in self._tasks:
                return 8
            case TaskReported(status=status) if status.task in self._tasks:
                return 9 if event.by.kind is Kind.EXECUTOR else 10
            case Updated(status=status) if status.task in self._tasks:
                return 11
            case AppUpdated(status=status) if status.task in self._tasks:
                return 12
            case RunUpdated(job=job) if job == self._work.job and event.by == self._scheduler:
                return 12
            case _:
                return None
