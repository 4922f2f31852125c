"""A small master and its agents, honest but slow: what it says lies in a mailbox until Marathon hears it.

It keeps suppression and filters as strictly as it may, so that Marathon is placed only if it asks at the right time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bus.events import (
    Event,
    Fact,
    FrameworkAdmitted,
    FrameworkRegistered,
    FrameworkRevived,
    FrameworkSuppressed,
    KillRequested,
    OfferAccepted,
    OfferDeclined,
    OfferMade,
    OfferRescinded,
    TaskReconciled,
    TaskUpdated,
)
from bus.nouns import (
    TERMINAL,
    AgentId,
    Now,
    Offer,
    OfferId,
    Reason,
    Rescinded,
    Resources,
    Source,
    TaskId,
    TaskInfo,
    TaskState,
    TaskStatus,
    second,
    total,
)
from tests.components.marathon.play import MARATHON

NODE = Resources(cpu_milli=4000, mem_mb=4096, disk_mb=1000, ports=((31000, 31019),))
AGENTS = tuple(AgentId(name) for name in ("a1", "a2", "a3"))


@dataclass
class Task:
    """A task as the master has it, and as its agent does."""

    info: TaskInfo
    state: TaskState = TaskState.STAGING
    before: TaskState = TaskState.STAGING
    """What it did when its agent was lost."""

    @property
    def holds(self) -> bool:
        return self.state not in TERMINAL and self.state is not TaskState.UNREACHABLE


@dataclass
class World:
    """The master's side of the conversation."""

    mailbox: list[Fact] = field(default_factory=list)
    offers: dict[OfferId, Offer] = field(default_factory=dict)
    tasks: dict[TaskId, Task] = field(default_factory=dict)
    filters: dict[AgentId, tuple[Resources, Now]] = field(default_factory=dict)
    lost: set[AgentId] = field(default_factory=set)
    active: bool = False
    suppressed: bool = False
    made: int = 0
    read: int = 0
    """Events of Marathon's log that the master has heard."""

    def hear(self, log: list[Event]) -> None:
        """Everything Marathon said since."""
        for event in log[self.read :]:
            self._heard(event.fact, event.at)
        self.read = len(log)

    def _heard(self, fact: Fact, at: Now) -> None:
        match fact:
            case FrameworkRegistered():
                self.offers.clear()
                self.active, self.suppressed, self.filters = True, False, {}
                admitted = FrameworkAdmitted(framework=MARATHON, name="marathon", role="*", failover_timeout_s=1.0)
                self.mailbox.append(admitted)
            case FrameworkSuppressed():
                self.suppressed = True
            case FrameworkRevived():
                self.suppressed, self.filters = False, {}
            case OfferDeclined():
                self._close(fact.offers, fact.refuse_s, at)
                self.suppressed = self.suppressed or fact.suppressed
            case OfferAccepted():
                self._launch(fact, at)
                self._close(fact.declined, fact.refuse_s, at)
                self.suppressed = self.suppressed or fact.suppressed
            case KillRequested():
                self._kill(fact.task)
            case TaskReconciled():
                self._reconcile(fact.tasks)

    def _close(self, offers: tuple[OfferId, ...], refuse_s: float, at: Now) -> None:
        for name in offers:
            offer = self.offers.pop(name, None)
            if offer:
                self.filters[offer.agent] = (self.free(offer.agent), Now(at + round(max(refuse_s, 1.0) * second)))

    def _launch(self, fact: OfferAccepted, at: Now) -> None:
        live = [self.offers[name] for name in fact.offers if name in self.offers]
        for info in fact.launch:
            assert info.task not in self.tasks, f"{info.task} is launched twice"
            self.tasks[info.task] = Task(info)
            if len(live) < len(fact.offers):
                self.move(info.task, TaskState.DROPPED, Reason.INVALID_OFFERS)
        if len(live) == len(fact.offers):
            offered, used = total(one.resources for one in live), total(info.resources for info in fact.launch)
            assert offered.covers(used), f"{fact.offers}: {used} of {offered}"
            ports = [port for info in fact.launch for port in info.ports]
            assert len(ports) == len(set(ports)), f"{fact.offers}: ports {ports}"
            assert {info.agent for info in fact.launch} == {one.agent for one in live}
        self._close(fact.offers, fact.refuse_s, at)

    def _kill(self, name: TaskId) -> None:
        task = self.tasks.get(name)
        if task and task.holds:
            self.move(name, TaskState.KILLED)

    def _reconcile(self, names: tuple[TaskId, ...]) -> None:
        for name, task in sorted(self.tasks.items()):
            if name in names or (not names and task.state not in TERMINAL):
                self.say(name, task.state, Reason.RECONCILIATION)
        for name in names:
            if name not in self.tasks:
                self.say(name, TaskState.UNKNOWN, Reason.RECONCILIATION)

    # ---- what happens -------------------------------------------------------------------------------------------

    def move(self, name: TaskId, state: TaskState, reason: Reason | None = None) -> None:
        """A task changes."""
        task = self.tasks[name]
        task.state = state
        self.say(name, state, reason)

    def say(self, name: TaskId, state: TaskState, reason: Reason | None = None) -> None:
        told = TaskStatus(task=name, state=state, source=Source.AGENT, reason=reason)
        self.mailbox.append(TaskUpdated(framework=MARATHON, status=told))

    def free(self, agent: AgentId) -> Resources:
        """What nothing on the agent holds and nobody is offered."""
        held = total(task.info.resources for task in self.tasks.values() if task.holds and task.info.agent == agent)
        offered = total(offer.resources for offer in self.offers.values() if offer.agent == agent)
        return NODE - held - offered

    def allocate(self, now: Now) -> None:
        """Offer all that is free and neither suppressed nor filtered."""
        if not self.active or self.suppressed:
            return
        made = [self._offer(agent) for agent in AGENTS if agent not in self.lost and self._offerable(agent, now)]
        if made:
            self.offers |= {offer.offer: offer for offer in made}
            self.mailbox.append(OfferMade(framework=MARATHON, role="*", offers=tuple(made), expires_at=now))

    def _offer(self, agent: AgentId) -> Offer:
        self.made += 1
        return Offer(offer=OfferId(f"o-{self.made}"), agent=agent, hostname=agent, resources=self.free(agent))

    def _offerable(self, agent: AgentId, now: Now) -> bool:
        free = self.free(agent)
        if agent in self.filters:
            refused, until = self.filters[agent]
            if now < until and refused.covers(free):
                return False
        return not free.empty

    def rescind(self, name: OfferId, reason: Rescinded) -> None:
        """An offer is taken back."""
        del self.offers[name]
        self.mailbox.append(OfferRescinded(framework=MARATHON, offers=(name,), reason=reason))

    def lose(self, agent: AgentId) -> None:
        """An agent is unreachable."""
        self.lost.add(agent)
        for name in [name for name, offer in self.offers.items() if offer.agent == agent]:
            self.rescind(name, Rescinded.AGENT_LOST)
        for name, task in sorted(self.tasks.items()):
            if task.info.agent == agent and task.holds:
                task.before = task.state
                self.move(name, TaskState.UNREACHABLE, Reason.AGENT_REMOVED)

    def find(self, agent: AgentId) -> None:
        """An agent is back, with its tasks."""
        self.lost.discard(agent)
        self.filters.pop(agent, None)
        for name, task in sorted(self.tasks.items()):
            if task.info.agent == agent and task.state is TaskState.UNREACHABLE:
                self.move(name, task.before, Reason.AGENT_REREGISTERED)

    def alive(self) -> list[TaskId]:
        """The tasks that run or will."""
        return sorted(name for name, task in self.tasks.items() if task.state not in TERMINAL)
