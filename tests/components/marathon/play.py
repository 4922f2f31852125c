"""Marathon on a stage, with the words of the master and of a client made up by the test."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from bus.documents import AppSpec
from bus.events import Event, FrameworkAdmitted, OfferAccepted, OfferMade, TaskUpdated
from bus.nouns import (
    AgentId,
    AppId,
    FrameworkId,
    Offer,
    OfferId,
    Reason,
    Resources,
    Source,
    TaskId,
    TaskInfo,
    TaskState,
    TaskStatus,
)
from bus.services import AppRequested, InstanceScheduled
from bus.subjects import Author, Kind
from components.component import Component
from components.marathon import MarathonConfig, component
from components.marathon.state import App, MarathonState
from tests.components.driver import START, Stage, only

MAIN = Author(Kind.MASTER, "main")
ALICE = Author(Kind.CLIENT, "u-alice")
BOB = Author(Kind.CLIENT, "u-bob")
MARATHON = FrameworkId("marathon")
WEB = AppId("/web")
ROOMY = Resources(cpu_milli=8000, mem_mb=16384, disk_mb=10000, ports=((31000, 31999),))
RUNNING, FAILED, FINISHED = TaskState.RUNNING, TaskState.FAILED, TaskState.FINISHED
STARTING, KILLED, UNREACHABLE = TaskState.STARTING, TaskState.KILLED, TaskState.UNREACHABLE


def spec(app: str = "/web", **fields: object) -> AppSpec:
    """An app that sleeps, with what the test cares for, as it comes off the bus."""
    made = AppSpec(id=AppId(app), **{"cmd": "sleep 1000", **fields})  # type: ignore[arg-type]
    return msgspec.convert(msgspec.to_builtins(made), AppSpec)


def status(task: TaskId, state: TaskState, *, reason: Reason | None = None, message: str = "") -> TaskStatus:
    return TaskStatus(task=task, state=state, source=Source.EXECUTOR, reason=reason, message=message)


class Play(Stage[MarathonState]):
    """A stage with Marathon on it, registered and admitted unless the test does that itself."""

    def __init__(self, config: MarathonConfig | None = None, *, admitted: bool = True) -> None:
        made: Component[MarathonState] = component(config or MarathonConfig())
        super().__init__(made, START)
        self.offers = 0
        self.requests = 0
        self.begin()
        if admitted:
            self.settle()
            self.admit()

    def admit(self) -> list[Event]:
        admitted = FrameworkAdmitted(framework=MARATHON, name="marathon", role="*", failover_timeout_s=604_800.0)
        return self.hear(MAIN, admitted) + self.settle()

    def ask(self, fact: object, *, by: Author = ALICE, trace: str | None = "t1") -> list[Event]:
        """A client asks something; all that follows at once."""
        self.requests += 1
        events = self.hear(by, fact, request=f"q{self.requests}", trace=trace)  # type: ignore[arg-type]
        return events + self.settle()

    def add(self, app: str = "/web", **fields: object) -> list[Event]:
        """Alice creates an app."""
        return self.ask(AppRequested(app=spec(app, **fields)))

    def offer(self, resources: Resources = ROOMY, agent: str = "a1", **where: Any) -> Offer:
        """A new offer, not yet said; `where`: the node's attributes, role, region, zone."""
        self.offers += 1
        name, host = OfferId(f"o-{self.offers}"), f"{agent}.example"
        return Offer(offer=name, agent=AgentId(agent), hostname=host, resources=resources, **where)

    def make(self, *offers: Offer) -> list[Event]:
        """The master makes offers, by default one roomy one; all that follows at once."""
        fact = OfferMade(
            framework=MARATHON,
            role="*",
            offers=offers or (self.offer(),),
            expires_at=self.now,
        )
        return self.hear(MAIN, fact) + self.settle()

    def update(
        self,
        task: TaskId,
        state: TaskState,
        *,
        reason: Reason | None = None,
        message: str = "",
        healthy: bool | None = None,
        failures: int = 0,
        checked: int | None = None,
    ) -> list[Event]:
        """The master says a task's status; all that follows at once."""
        told = replace(
            status(task, state, reason=reason, message=message), healthy=healthy, failures=failures, checked=checked
        )
        fact = TaskUpdated(framework=MARATHON, status=told)
        return self.hear(MAIN, fact) + self.settle()

    def up(self, app: str = "/web", **fields: object) -> list[TaskId]:
        """Alice creates an app and all its instances run."""
        self.add(app, **fields)
        tasks = [task.task for task in launches(self.make())]
        for task in tasks:
            self.update(task, RUNNING)
        return tasks

    def app(self, app: AppId = WEB) -> App:
        return self.state.apps[app]


def launches(events: list[Event]) -> list[TaskInfo]:
    """The tasks asked for in events."""
    return [task for accepted in only(events, OfferAccepted) for task in accepted.launch]


def scheduled(events: list[Event]) -> list[TaskId]:
    """The instances scheduled in events."""
    return [fact.task for fact in only(events, InstanceScheduled)]
