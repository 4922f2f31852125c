"""Honest but slow people around one master, for random histories.

Agents and frameworks here are honest but slow: what they say reaches the master late, what it says reaches them late,
agents restart and fall silent at any moment, the master crashes. All that is drawn is drawn from what there is: real
offers, also stale ones; real tasks, also ended ones.
"""

from __future__ import annotations

from collections import Counter, deque

import msgspec

from bus.events import (
    AgentMarked,
    AgentRegistered,
    Event,
    Fact,
    FrameworkDisconnected,
    FrameworkRegistered,
    FrameworkRemoved,
    FrameworkRevived,
    FrameworkSuppressed,
    KillDirected,
    KillRequested,
    OfferAccepted,
    OfferDeclined,
    OfferMade,
    TaskLaunched,
    TaskReconciled,
    TaskReported,
    TaskUpdated,
)
from bus.nouns import (
    MOVES,
    TERMINAL,
    HeldTask,
    Offer,
    Position,
    Reason,
    Resources,
    Source,
    TaskId,
    TaskInfo,
    TaskState,
    TaskStatus,
    parse_resources,
)
from bus.subjects import Author, Kind
from components.master.decide import PingsMissed
from tests.components.master.datacenter import Datacenter, info

S = TaskState
AGENTS = ("a1", "a2", "a3")
FRAMEWORKS = {"spark": "dev", "hadoop": "dev", "web": "prod"}
ROLES = ("*", "*", "*", "prod")
"""What an agent may be kept for, from one start to the next."""
SIZES = ("cpus:4;mem:4096;ports:[31000-31003]", "cpus:2;mem:8192;ports:[31000-31001]", "cpus:1;mem:64")
PATHS = {
    S.STAGING: (S.STARTING, S.RUNNING, S.FAILED),
    S.STARTING: (S.RUNNING, S.FAILED),
    S.RUNNING: (S.FINISHED, S.FAILED),
}


def mark_of(event: Event) -> str:
    status = event.fact.status if isinstance(event.fact, TaskUpdated) else None
    return f"{event.type} {status.state} {status.reason}" if status else event.type


MARKS: Counter[str] = Counter()
"""What the random histories came by: a test that touches nothing proves nothing."""


class Node:
    """An honest agent: it rebuilds from its log, hears its inbox in order, and answers marks."""

    def __init__(self, name: str, resources: Resources) -> None:
        self.author, self.resources = Author(Kind.AGENT, name), resources
        self.role = "*"
        self.inbox: deque[Event] = deque()
        self.tasks: dict[TaskId, HeldTask] = {}
        self.ended: dict[TaskId, tuple[int, HeldTask]] = {}
        self.n = 0

    def hear(self, event: Event) -> list[Fact]:
        match event.fact:
            case TaskLaunched(task=task):
                assert task.task not in self.tasks, "launched twice"
                self.tasks[task.task] = HeldTask(info=task, status=said(task.task, S.STAGING))
            case KillDirected(task=name):
                return self.move(name, S.KILLED) if name in self.tasks else []
            case AgentMarked(acted_n=acted_n):
                ended = [held for n, held in self.ended.values() if n > acted_n]
                return [self.registration(answers=event.position, ended=ended)]
        return []

    def move(self, name: TaskId, state: TaskState) -> list[Fact]:
        held = HeldTask(info=self.tasks[name].info, status=said(name, state))
        self.tasks[name] = held
        if state in TERMINAL:
            del self.tasks[name]
            self.ended[name] = (self.n + 1, held)
        return [TaskReported(status=held.status)]

    def registration(self, *, answers: Position | None = None, ended: list[HeldTask] | None = None) -> AgentRegistered:
        return AgentRegistered(
            hostname=self.author.id,
            resources=self.resources,
            tasks=(*self.tasks.values(), *(ended or [])),
            answers=answers,
            role=self.role,
        )


class Scheduler:
    """A framework that knows what it was told."""

    def __init__(self, name: str) -> None:
        self.author = Author(Kind.FRAMEWORK, name)
        self.inbox: deque[Event] = deque()
        self.offers: list[Offer] = []
        self.tasks: dict[TaskId, TaskState] = {}
        self.removed: set[TaskId] = set()
        """Those of its tasks that were nobody's when it was removed."""

    def hear(self, event: Event) -> list[Fact]:
        match event.fact:
            case OfferMade(offers=offers, role=role):
                assert all(offer.role in ("*", role) for offer in offers), f"kept for others: {offers}"
                self.offers = [*self.offers, *offers][-12:]
            case FrameworkDisconnected():
                return [registration(self.author.id)]
            case FrameworkRemoved():
                self.removed = set(self.tasks)
            case TaskUpdated(status=status) if status.reason is not Reason.RECONCILIATION:
                before = self.tasks.get(status.task, S.STAGING)
                due_to_removal = status.task in self.removed and status.state is S.KILLED
                assert not due_to_removal or status.reason is Reason.FRAMEWORK_REMOVED, status
                assert status.state in MOVES[before], f"{status.task}: {before} -> {status.state}"
                self.tasks[status.task] = status.state
        return []


def registration(framework: str) -> FrameworkRegistered:
    """Each has another patience: one is removed at once."""
    patience_s = {"spark": 0.0, "hadoop": 5.0, "web": 100.0}[framework]
    return FrameworkRegistered(name=framework, role=FRAMEWORKS[framework], failover_timeout_s=patience_s)


def said(task: TaskId, state: TaskState) -> TaskStatus:
    return TaskStatus(task=task, state=state, source=Source.EXECUTOR)


class World:
    """A datacenter in which everybody follows the protocol, at their own pace. Each action takes two drawn numbers."""

    def __init__(self) -> None:
        self.dc = Datacenter()
        self.nodes = {name: Node(name, parse_resources(size)) for name, size in zip(AGENTS, SIZES, strict=True)}
        self.schedulers = {name: Scheduler(name) for name in FRAMEWORKS}
        self.wire: deque[Event] = deque()
        """What was said to the master and not heard yet."""
        self.last: Event | None = None
        self.launches = 0
        self.sights: list[PingsMissed] = []
        for number in range(3):
            self.agent_restarts(number, 0)
            self.framework_restarts(number, 0)
        self.everybody_hears()

    def node(self, pick: int) -> Node:
        return self.nodes[AGENTS[pick % len(AGENTS)]]

    def scheduler(self, pick: int) -> Scheduler:
        return self.schedulers[sorted(FRAMEWORKS)[pick % len(FRAMEWORKS)]]

    # ---- how words travel

    def say(self, who: Node | Scheduler, facts: list[Fact]) -> None:
        for fact in facts:
            event = self.dc.said(who.author, fact)
            self.wire.append(event)
            if isinstance(who, Node):
                who.n = event.n

    def carry(self, events: list[Event]) -> None:
        """What the master says goes into the inboxes."""
        for event in events:
            MARKS[mark_of(event)] += 1
            if isinstance(event.fact, TaskUpdated):
                status = event.fact.status
                assert status.state is not S.GONE, f"honest agents lose nothing, yet {status.task} is gone"
            for people in (self.nodes, self.schedulers):
                if event.to in people:
                    people[event.to].inbox.append(event)
        self.dc.audit()

    def hear_some(self, who: Node | Scheduler, count: int) -> None:
        for _ in range(min(count, len(who.inbox))):
            self.say(who, who.hear(who.inbox.popleft()))

    def agent_hears(self, a: int, b: int) -> None:
        self.hear_some(self.node(a), 1 + b % 5)

    def framework_hears(self, a: int, b: int) -> None:
        self.hear_some(self.scheduler(a), 1 + b % 5)

    def master_hears(self, a: int, b: int = 0) -> None:
        for _ in range(min(1 + a % 8, len(self.wire))):
            self.last = self.wire.popleft()
            self.carry(self.dc.hear_event(self.last) + self.dc.settle())

    def everybody_hears(self, a: int = 0, b: int = 0) -> None:
        """For a moment nothing is on its way."""
        for _ in range(20):
            while self.wire:
                self.master_hears(7)
            for who in (*self.nodes.values(), *self.schedulers.values()):
                self.hear_some(who, len(who.inbox))
            if not self.wire:
                return
        raise AssertionError("they never fall silent")

    # ---- agents

    def agent_restarts(self, a: int, b: int) -> None:
        node = self.node(a)
        node.role = ROLES[b % len(ROLES)]
        self.say(node, [node.registration()])

    def agent_falls_silent(self, a: int, b: int) -> None:
        name = self.node(a).author.id
        self.see(PingsMissed(kind=Kind.AGENT, id=name, since_n=self.dc.state.agents[name].admitted_n, missed=5))

    def see(self, sight: PingsMissed) -> None:
        self.sights.append(sight)
        self.carry(self.dc.see(sight) + self.dc.settle())

    def old_sight(self, a: int, b: int) -> None:
        if self.sights:
            self.carry(self.dc.see(self.sights[a % len(self.sights)]) + self.dc.settle())

    def task_moves(self, a: int, b: int) -> None:
        movable = [(name, node) for node in self.nodes.values() for name in sorted(node.tasks)]
        if movable:
            name, node = movable[a % len(movable)]
            path = PATHS[node.tasks[name].status.state]
            self.say(node, node.move(name, path[b % len(path)]))

    # ---- frameworks

    def framework_restarts(self, a: int, b: int) -> None:
        name = self.scheduler(a).author.id
        self.say(self.scheduler(a), [registration(name)])

    def framework_falls_silent(self, a: int, b: int) -> None:
        name = self.scheduler(a).author.id
        known = self.dc.state.frameworks.get(name)
        if known is not None:
            self.see(PingsMissed(kind=Kind.FRAMEWORK, id=name, since_n=known.connected_n, missed=5))

    def accept(self, a: int, b: int) -> None:
        """Of an outstanding offer, tasks that take a half, a third or a quarter each."""
        found = list(self.dc.state.offers.items())
        if found:
            name, held = found[a % len(found)]
            offer = Offer(offer=name, agent=held.agent, hostname="", resources=held.resources)
            self.answer(self.schedulers[held.framework], offer, [2 + b % 3] * (1 + b % 2))

    def accept_what_may_be_stale(self, a: int, b: int) -> None:
        """Of an offer that a framework heard of, sometimes more than there is."""
        scheduler = self.scheduler(a)
        if scheduler.offers:
            self.answer(scheduler, scheduler.offers[b % len(scheduler.offers)], [1 + b % 3] * (1 + a % 3))

    def answer(self, scheduler: Scheduler, offer: Offer, parts: list[int]) -> None:
        launch = tuple(self.wanted(scheduler.author.id, offer, part) for part in parts)
        refuse_s = REFUSE_S[self.launches % len(REFUSE_S)]
        others = [each.offer for each in scheduler.offers if each.offer != offer.offer]
        last = {"declined": tuple(others), "suppressed": self.launches % 2 == 0} if self.launches % 3 == 0 else {}
        self.say(scheduler, [OfferAccepted(offers=(offer.offer,), launch=launch, refuse_s=refuse_s, **last)])

    def wanted(self, name: str, offer: Offer, part: int) -> TaskInfo:
        """A task that takes a part of the offer, with one of its ports if it has any."""
        self.launches += 1
        has = offer.resources
        at = self.launches % 2 if has.ports else 0
        ports = ((has.ports[-1][at], has.ports[-1][at]),) if has.ports else ()
        amount = Resources(cpu_milli=max(1, has.cpu_milli // part), mem_mb=has.mem_mb // part, ports=ports)
        return msgspec.structs.replace(info(f"t{self.launches}", offer.agent, name), resources=amount)

    def decline(self, a: int, b: int) -> None:
        found = list(self.dc.state.offers.items())
        if found:
            name, held = found[a % len(found)]
            fact = OfferDeclined(offers=(name,), refuse_s=REFUSE_S[b % len(REFUSE_S)], suppressed=b % 4 == 0)
            self.say(self.schedulers[held.framework], [fact])

    def suppress_or_revive(self, a: int, b: int) -> None:
        word = FrameworkSuppressed if b % 3 == 0 else FrameworkRevived
        self.say(self.scheduler(a), [word(framework=self.scheduler(a).author.id)])

    def kill(self, a: int, b: int) -> None:
        tasks = list(self.dc.state.tasks.values())
        if tasks:
            task = tasks[a % len(tasks)].info
            self.say(self.schedulers[task.framework], [KillRequested(task=task.task)])

    def reconcile(self, a: int, b: int) -> None:
        known = (*sorted(self.scheduler(a).tasks), TaskId("never"))
        self.say(self.scheduler(a), [TaskReconciled(tasks=known if b % 2 else ())])

    # ---- the master and the world

    def time_passes(self, a: int, b: int) -> None:
        self.carry(self.dc.advance((0.1, 0.5, 1.0, 7.0, 130.0)[a % 5]))

    def master_restarts(self, a: int, b: int) -> None:
        """The new process rebuilds, and hears again what led to nothing."""
        self.dc.restart()
        if self.last is not None and self.last.position > self.dc.state.heard:
            self.carry(self.dc.hear_event(self.last) + self.dc.settle())

    def end(self) -> None:
        """Once everybody has heard everything, master and agents agree, and the log gives the state."""
        self.everybody_hears()
        for name, node in self.nodes.items():
            agent = self.dc.state.agents[name]
            known = {task: self.dc.state.tasks[task].status.state for task in sorted(agent.task_ids)}
            assert agent.active, name
            assert known == {task: held.status.state for task, held in node.tasks.items()}, name
            assert not agent.lost_ids, name
        abandoned = [name for name, task in self.dc.state.tasks.items() if task.abandoned]
        assert not abandoned, f"their framework was removed and they live: {abandoned}"
        assert not self.dc.state.leaving.times, "everybody is back"
        assert self.dc.rebuilt() == self.dc.hash()


REFUSE_S = (0.0, 0.3, 1.0, 5.0, 60.0, -1.0)
WEIGHTS = {
    World.accept: 6,
    World.task_moves: 6,
    World.master_hears: 6,
    World.agent_hears: 5,
    World.framework_hears: 4,
    World.everybody_hears: 3,
    World.time_passes: 3,
    World.decline: 2,
    World.suppress_or_revive: 2,
    World.agent_falls_silent: 2,
    World.accept_what_may_be_stale: 1,
    World.kill: 1,
    World.reconcile: 1,
    World.agent_restarts: 1,
    World.framework_restarts: 1,
    World.framework_falls_silent: 1,
    World.old_sight: 1,
    World.master_restarts: 1,
}
ACTIONS = [action for action, weight in WEIGHTS.items() for _ in range(weight)]
"""What can happen, as often as it is to."""
