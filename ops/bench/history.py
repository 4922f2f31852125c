"""A datacenter's history of any length, made without a bus: what master and Marathon say is what they decide.

A service of many instances runs on many agents; again and again some of its instances are killed and replaced.
Rule of this room: agents and executors say only what real ones would; everything lies in one stream, in one order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from random import Random
from typing import Any

from bus import codec
from bus.documents import AppSpec
from bus.events import (
    AgentRegistered,
    AgentStarted,
    Event,
    ExecutorStarted,
    Fact,
    KillDirected,
    TaskDelivered,
    TaskLaunched,
    TaskReported,
    Term,
)
from bus.nouns import (
    MASTER,
    NOBODY,
    AppId,
    ExecutorId,
    Now,
    Position,
    RequestId,
    Source,
    TaskId,
    TaskState,
    TaskStatus,
    parse_resources,
    second,
)
from bus.port import Message, Record
from bus.services import AppRequested
from bus.subjects import CLUSTER, Author, Kind
from components import marathon, master
from components.component import Component, Heard, Wake
from components.mind import Decided, Mind
from ops.bench.figures import SEED

START = Now(1_750_000_000 * second)
EACH_AGENT = parse_resources("cpus:64;mem:65536;disk:65536;ports:[31000-32000]")
tick_us = 1000
"""Between two decisions."""


class Voice:
    """An author that needs no mind: it chains what it says."""

    def __init__(self, author: Author, term: type[Term]) -> None:
        self.author, self.term = author, term
        self.n, self.prev = 0, b""

    def say(self, fact: Fact, to: str, now: Now, cause: Position | None = None) -> Message:
        """The message that says a fact next."""
        return self.decide(fact, to, now, cause).messages[0]

    def decide(self, fact: Fact, to: str, now: Now, cause: Position | None = None) -> Decided:
        """The decision to say no more than a fact."""
        self.n += 1
        event = Event(
            by=self.author, to=to, fact=fact, at=now, n=self.n, prev=self.prev, epoch=1, last=True, cause=cause
        )
        body = codec.encode(event)
        self.prev = codec.link(body)
        return Decided([event], [Message(codec.subject(CLUSTER, event), body)])

    def begin(self, now: Now) -> Message:
        """The first message."""
        return self.say(self.term(epoch=1, node="bench", instance="i1"), NOBODY, now)


class History:
    """A datacenter that grows a stream."""

    def __init__(self, *, agents: int, instances: int, seed: int = SEED) -> None:
        self.random, self.now, self.position = Random(seed), START, Position(0)
        self.fresh: list[Record] = []
        """What was said and not yet taken."""
        self._heard: deque[Event] = deque()
        self._running: dict[TaskId, str] = {}
        self._minds = {
            MASTER: self._mind(master.component(master.MasterConfig())),
            "marathon": self._mind(marathon.component(marathon.MarathonConfig())),
        }
        names = [f"a{number}" for number in range(1, agents + 1)]
        self._agents = {name: Voice(Author(Kind.AGENT, name), AgentStarted) for name in names}
        self._executors = {
            f"{name}-cmd": Voice(Author(Kind.EXECUTOR, f"{name}-cmd"), ExecutorStarted) for name in names
        }
        self._begin(instances)

    def _mind(self, component: Component[Any]) -> Mind[Any]:
        return Mind(component, CLUSTER, lambda: self.now)

    def _begin(self, instances: int) -> None:
        for mind in self._minds.values():
            self._publish(mind.begin("bench", "i1").messages[0])
            mind.remember(self.fresh[-1])
        for voice in (*self._agents.values(), *self._executors.values()):
            self._publish(voice.begin(self.now))
        for name, agent in self._agents.items():
            registered = AgentRegistered(hostname=name, resources=EACH_AGENT)
            self._publish(agent.say(registered, MASTER, self.now))
        self._settle()
        app = AppSpec(id=AppId("/bench"), cmd="exec sleep 1000", cpus=0.1, mem=32, instances=instances)
        self._publish(self._ask(AppRequested(app=app)))
        self._settle()

    def _ask(self, fact: Fact) -> Message:
        by = Author(Kind.CLIENT, "u-bench")
        event = Event(by=by, to="marathon", fact=fact, at=self.now, request=RequestId("r1"))
        return Message(codec.subject(CLUSTER, event), codec.encode(event), "r1")

    def grow(self, events: int) -> Iterator[list[Record]]:
        """The whole stream, from its first event until it has so many, in pieces."""
        while self.position < events:
            for task in self.random.sample(sorted(self._running), min(len(self._agents), len(self._running))):
                self._say_of(self._executors[f"{self._running.pop(task)}-cmd"], task, TaskState.KILLED, None)
            self._settle()
            taken, self.fresh = self.fresh, []
            yield taken

    def _settle(self) -> None:
        """Until nobody has anything to say any more."""
        for name in self._minds:
            self._wake(name)
        while self._heard:
            self._hear(self._heard.popleft())

    def _hear(self, event: Event) -> None:
        self.now = Now(self.now + tick_us)
        if event.to in self._minds:
            self._publish_all(self._minds[event.to].decide(Heard(event)))
            self._wake(event.to)
        elif event.to in self._agents:
            self._agent_hears(self._agents[event.to], event)
        elif isinstance(event.fact, TaskDelivered):
            executor, task = self._executors[event.to], event.fact.task.task
            self._say_of(executor, task, TaskState.STARTING, event.position, event.fact)
            self._say_of(executor, task, TaskState.RUNNING, event.position)

    def _wake(self, name: str) -> None:
        mind = self._minds[name]
        while (due := mind.component.wake_at(mind.state)) is not None and due <= mind.now():
            self._publish_all(mind.decide(Wake()))

    def _agent_hears(self, agent: Voice, event: Event) -> None:
        match event.fact:
            case TaskLaunched(task=info):
                executor = ExecutorId(f"{agent.author.id}-cmd")
                delivered = TaskDelivered(task=info, executor=executor, sandbox=f"/var/lib/busbar/{info.task}")
                self._publish(agent.say(delivered, executor, self.now, event.position))
            case TaskReported(status=status):
                if status.state is TaskState.RUNNING:
                    self._running[status.task] = agent.author.id
                self._publish(agent.say(TaskReported(status=status), MASTER, self.now, event.position))
            case KillDirected(task=task):
                self._say_of(self._executors[f"{agent.author.id}-cmd"], task, TaskState.KILLED, event.position)

    def _say_of(
        self,
        executor: Voice,
        task: TaskId,
        state: TaskState,
        cause: Position | None,
        delivered: TaskDelivered | None = None,
    ) -> None:
        message = {TaskState.RUNNING: "pid 4711", TaskState.KILLED: "Command terminated with signal SIGTERM"}
        status = TaskStatus(task=task, state=state, source=Source.EXECUTOR, message=message.get(state, ""))
        fact = TaskReported(status=status, delivered=delivered)
        to = NOBODY if state is TaskState.STARTING else executor.author.id.removesuffix("-cmd")
        self._publish(executor.say(fact, to, self.now, cause))

    def _publish_all(self, decided: Decided | None) -> None:
        for message in decided.messages if decided else ():
            self._publish(message)

    def _publish(self, message: Message) -> None:
        self.position = Position(self.position + 1)
        self.fresh.append(Record(self.position, message.subject, message.body))
        event = codec.decode(message.subject, message.body, self.position)
        if event.to != NOBODY:
            self._heard.append(event)
