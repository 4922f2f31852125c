"""A master's mind among simulated agents and frameworks, without a bus between them.

Rule of this room: the mind is the real one and says all that it says; agents and frameworks say only what real ones
would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bus import codec
from bus.events import (
    AgentRegistered,
    Event,
    Fact,
    FrameworkRegistered,
    FrameworkRevived,
    FrameworkSuppressed,
    OfferAccepted,
    OfferMade,
    TaskReported,
)
from bus.nouns import (
    MASTER,
    Command,
    FrameworkId,
    Now,
    Offer,
    Position,
    Resources,
    Source,
    TaskId,
    TaskInfo,
    TaskState,
    TaskStatus,
    parse_resources,
    second,
)
from bus.port import Record
from bus.subjects import CLUSTER, Author, Kind
from components import master
from components.component import Heard, Input, Wake
from components.master.state import MasterState
from components.mind import Decided, Mind

START = Now(1_750_000_000 * second)
EACH_AGENT = parse_resources("cpus:64;mem:131072;disk:65536;ports:[31000-32000]")
EACH_TASK = Resources(cpu_milli=100, mem_mb=32)


def task_on(offer: Offer, framework: FrameworkId, name: str) -> TaskInfo:
    """A task of the size that a command has, as a framework asks for it."""
    return TaskInfo(
        task=TaskId(name),
        name="bench",
        agent=offer.agent,
        framework=framework,
        resources=EACH_TASK,
        command=Command(argv=("/bin/true",)),
        hostname=offer.hostname,
    )


def status_of(task: TaskId, state: TaskState) -> TaskStatus:
    """As an executor would tell it."""
    return TaskStatus(task=task, state=state, source=Source.EXECUTOR, message="pid 4711")


class Crowd:
    """A master, and who speaks to it."""

    def __init__(self, *, whole: bool = False) -> None:
        self._whole = whole
        self.now, self.position = START, Position(0)
        self.mind: Mind[MasterState] = Mind(master.component(master.MasterConfig()), CLUSTER, lambda: self.now)
        self.log: list[Record] = []
        """What the master said and nobody took; if it shall be whole, what it was told, too."""
        self.offered: list[tuple[FrameworkId, Offer]] = []
        """What it offered and nobody took."""
        self._n: dict[Author, int] = {}
        self.keep(self.mind.begin("bench", "i1"))
        self.mind.remember(self.log[-1])

    def agents(self, count: int) -> None:
        """So many register."""
        for number in range(1, count + 1):
            fact = AgentRegistered(hostname=f"a{number}", resources=EACH_AGENT)
            self.say(Author(Kind.AGENT, f"a{number}"), fact)

    def frameworks(self, count: int) -> list[FrameworkId]:
        """So many register, each with a role of its own."""
        names = [FrameworkId(f"f{number}") for number in range(1, count + 1)]
        for name in names:
            self.say(Author(Kind.FRAMEWORK, name), FrameworkRegistered(name=name, role=f"r-{name}"))
        return names

    def say(self, author: Author, fact: Fact) -> None:
        """Somebody says something to the master, which decides on it, and whatever that leaves due."""
        self.decide(Heard(self.event(author, fact)))
        while self.due:
            self.decide(Wake())

    def event(self, author: Author, fact: Fact) -> Event:
        """The next that somebody says to the master."""
        self._n[author] = self._n.get(author, 0) + 1
        self.position = Position(self.position + 1)
        event = Event(by=author, to=MASTER, fact=fact, at=self.now, n=self._n[author], epoch=1, position=self.position)
        if self._whole:
            self.log.append(Record(self.position, codec.subject(CLUSTER, event), codec.encode(event)))
        return event

    @property
    def due(self) -> bool:
        """Whether the master has to decide now."""
        at = self.mind.component.wake_at(self.mind.state)
        return at is not None and at <= self.now

    def decide(self, told: Input) -> None:
        """One decision of the master."""
        self.keep(self.mind.decide(told))

    def fold(self, fact: Fact) -> None:
        """The master said something, and decided no more than that."""
        self.keep(self.mind.add(fact))

    def launch(self, framework: FrameworkId, offer: Offer, names: Sequence[str], states: Sequence[TaskState]) -> None:
        """A framework launches tasks on an offer, and wants no more offers; each goes through these states."""
        tasks = tuple(task_on(offer, framework, name) for name in names)
        accepted = OfferAccepted(offers=(offer.offer,), launch=tasks, refuse_s=60)
        self.say(Author(Kind.FRAMEWORK, framework), accepted)
        self.say(Author(Kind.FRAMEWORK, framework), FrameworkSuppressed(framework=framework))
        for info in tasks:
            for state in states:
                self.say(Author(Kind.AGENT, offer.agent), TaskReported(status=status_of(info.task, state)))

    def keep(self, decided: Decided | None) -> None:
        """Note what was decided."""
        if decided is None:
            return
        for event, message in zip(decided.events, decided.messages, strict=True):
            self.position = Position(self.position + 1)
            self.log.append(Record(self.position, message.subject, message.body))
            if isinstance(event.fact, OfferMade):
                self.offered += [(event.fact.framework, offer) for offer in event.fact.offers]

    def take(self) -> list[Record]:
        """What was said since this was last asked."""
        taken, self.log = self.log, []
        return taken

    def answers(self) -> list[tuple[FrameworkId, Offer]]:
        """What was offered since this was last asked."""
        taken, self.offered = self.offered, []
        return taken


def busy(tasks: int, each: int = 100) -> Iterator[list[Record]]:
    """The log of a master with so many running tasks, so many on each agent, in pieces."""
    crowd = Crowd()
    crowd.agents(-(-tasks // each))
    [framework] = crowd.frameworks(1)
    yield crowd.take()
    left = tasks
    for _, offer in crowd.answers():
        names = [f"task-{offer.agent}-{number}" for number in range(min(each, left))]
        left -= len(names)
        crowd.launch(framework, offer, names, (TaskState.RUNNING,))
        yield crowd.take()
    states = [task.status.state for task in crowd.mind.state.tasks.values()]
    assert states == [TaskState.RUNNING] * tasks, f"{len(states)} tasks, {states.count(TaskState.RUNNING)} run"


def finished(tasks: int, each: int = 100) -> Iterator[list[Record]]:
    """The log of a master with one agent, on which so many tasks ran and ended, so many at once, in pieces."""
    crowd = Crowd()
    crowd.agents(1)
    [framework] = crowd.frameworks(1)
    [(_, offer)] = crowd.answers()
    for first in range(0, tasks, each):
        names = [f"task-{number}" for number in range(first, min(first + each, tasks))]
        crowd.launch(framework, offer, names, (TaskState.RUNNING, TaskState.FINISHED))
        crowd.say(Author(Kind.FRAMEWORK, framework), FrameworkRevived(framework=framework))
        [(_, offer)] = crowd.answers()
        yield crowd.take()
    assert not crowd.mind.state.tasks, f"{len(crowd.mind.state.tasks)} tasks have not ended"
