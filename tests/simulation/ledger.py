"""Reads the whole stream as it grows and holds every event against what must always be true."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from bus import codec
from bus.events import (
    AgentAdmitted,
    Event,
    Fact,
    OfferMade,
    OfferRecovered,
    OfferRescinded,
    TaskLaunched,
    TaskReported,
    TaskUpdated,
    Term,
)
from bus.memory import MemoryServer
from bus.nouns import (
    MOVES,
    NOTHING,
    TERMINAL,
    AgentId,
    JobId,
    Now,
    OfferId,
    Position,
    Reason,
    Resources,
    RunId,
    TaskId,
    TaskInfo,
    TaskState,
)
from bus.port import Record
from bus.services import AppRemoved, AppSpecified, PodSpecified, RunCreated, RunUpdated, facts_of, in_short
from bus.subjects import Author, Kind, parse_subject
from tests.simulation.groups import Groups
from tests.simulation.mirror import Mirror
from tests.simulation.rollouts import MARATHON, Rollouts

SPECIFIES = (AppSpecified, PodSpecified, AppRemoved)
ENDED = ("SUCCESS", "FAILED")
"""Of a run; a task that comes back later may still be spoken of."""


@dataclass
class Ledger:
    """An auditor that knows nothing of the components' states, only their words."""

    server: MemoryServer
    mirror: Mirror = field(default_factory=Mirror)
    read: int = 0
    chains: dict[Author, tuple[int, bytes, int]] = field(default_factory=dict)
    """Of each author: the last n, the link of the last body, the epoch."""
    foreign: set[Position] = field(default_factory=set)
    """What was put on the stream under the names of others: everybody has to pass it over."""
    gone: set[bytes] = field(default_factory=set)
    """What damage took away. A late copy of it may land again where it was: that is no new word of its author."""
    asks: Counter[str] = field(default_factory=Counter)
    """How often each request is in the stream."""
    totals: dict[AgentId, Resources] = field(default_factory=dict)
    offers: dict[OfferId, tuple[AgentId, Resources]] = field(default_factory=dict)
    launched: dict[TaskId, TaskInfo] = field(default_factory=dict)
    holding: set[TaskId] = field(default_factory=set)
    states: dict[TaskId, TaskState] = field(default_factory=dict)
    starting: set[TaskId] = field(default_factory=set)
    firings: set[tuple[JobId, str, Now | tuple[RunId, ...]]] = field(default_factory=set)
    """What runs began by themselves for: of a schedule and a time, or the runs before them."""
    runs: dict[RunId, str] = field(default_factory=dict)
    answers: dict[str, list[Fact]] = field(default_factory=lambda: defaultdict(list))
    specified: list[Fact] = field(default_factory=list)
    """What was said of apps, each answer once."""
    groups: Groups = field(default_factory=Groups)
    seen: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    rollouts: Rollouts = field(default_factory=Rollouts)
    found: Exception | None = None

    def audit(self) -> None:
        """Read what is new. Raises what was found wrong, also later: a process in which it was found ends of it."""
        if self.found is not None:
            raise self.found
        try:
            for record in self.server.records()[self.read :]:
                self.read += 1
                self._read(record)
            self.mirror.check_books()
        except Exception as error:
            self.found = error
            raise

    def _read(self, record: Record) -> None:
        if record.position in self.foreign:
            author = parse_subject(record.subject).author
            self.mirror.read(author, record)
            assert self._mirrored(author), f"#{record.position} is foreign, and is folded"
            return
        if record.body in self.gone:
            return
        event = codec.decode(record.subject, record.body, record.position)
        self.seen[event.type] += 1
        if event.by.kind is Kind.CLIENT:
            self.asks[event.request or ""] += 1
            return
        self._chain(event, record.body)
        self.mirror.read(event.by, record)
        assert self._mirrored(event.by), f"#{record.position} is not folded"
        self._check(event)
        if event.by == MARATHON and (event.request is None or len(self.answers[event.request]) == 1):
            self.rollouts.read(event)  # the same answer said again is folded by nobody

    def _mirrored(self, author: Author) -> bool:
        mind = self.mirror.minds.get(author)
        return mind is None or mind.state.n == self.chains.get(author, (0,))[0]

    def must_be_starting(self, task: TaskId) -> None:
        """Nothing happens in the world except because of an event in the log."""
        self.audit()
        assert task in self.starting, f"{task} was started, but no STARTING is in the log"
        assert task in self.launched, f"{task} was started, but the master launched no such task"

    def _chain(self, event: Event, body: bytes) -> None:
        n, link, epoch = self.chains.get(event.by, (0, b"", 0))
        assert event.n == n + 1, f"#{event.position} {event.by}: {event.n} after {n}"
        assert event.prev == link, f"#{event.position} {event.by}: another event was before"
        assert event.epoch == epoch + isinstance(event.fact, Term), f"#{event.position} {event.by}: epoch {event.epoch}"
        self.chains[event.by] = (event.n, codec.link(body), event.epoch)
        if event.request is not None:
            self._answer(event, event.request)

    def _answer(self, event: Event, request: str) -> None:
        given = self.answers[request]
        given.append(event.fact)
        same = event.fact in (given[0], in_short(given[0]))
        assert same, f"#{event.position} {request} was answered {given[0]}, and is {event.fact}"
        assert len(given) <= self.asks[request], f"#{event.position} {request} has {len(given)} answers"

    def epoch(self, author: Author) -> int:
        """The newest term of an author, by its log."""
        return self.chains.get(author, (0, b"", 0))[2]

    def unanswered(self) -> list[str]:
        """What is in the stream and has no answer for each time it is."""
        return sorted(request for request, count in self.asks.items() if len(self.answers[request]) < count)

    def _check(self, event: Event) -> None:
        self.groups.read(event)
        self.specified += [fact for fact in facts_of(event.fact) if isinstance(fact, SPECIFIES)]
        match event.fact:
            case AgentAdmitted() as fact:
                self.totals[fact.agent] = fact.resources
            case OfferMade() as fact:
                for offer in fact.offers:
                    assert offer.offer not in self.offers
                    self.offers[offer.offer] = (offer.agent, offer.resources)
                    self._balance(offer.agent, event)
            case OfferRecovered() | OfferRescinded() as fact:
                for offer_id in fact.offers:
                    del self.offers[offer_id]
            case TaskLaunched() as fact:
                self._launched(fact, event)
                for offer_id in fact.recovered:
                    del self.offers[offer_id]
            case TaskReported() as fact if event.by.kind is Kind.EXECUTOR and fact.delivered is not None:
                if fact.status.state in TERMINAL:
                    return  # of a group, and never started
                assert fact.status.task not in self.starting, f"{fact.status.task} starts twice"
                self.starting.add(fact.status.task)
            case TaskReported() as fact if event.by.kind is Kind.EXECUTOR and fact.status.state is TaskState.STARTING:
                self.seen["slow starts"] += 1
            case TaskUpdated() as fact:
                self._updated(fact, event)
            case RunCreated() as fact if event.request is None or fact.run not in self.runs:
                self._fired(fact)
            case RunUpdated() as fact:
                self._run(fact, event)

    def _launched(self, fact: TaskLaunched, event: Event) -> None:
        task = fact.task
        assert task.task not in self.launched, f"{task.task} is launched twice"
        self.launched[task.task] = task
        self.holding.add(task.task)
        self.states[task.task] = TaskState.STAGING
        (offer_id,) = fact.offers
        agent, left = self.offers[offer_id]
        taken = self.groups.taken_by(task)
        assert left.covers(taken), f"{task.task} takes more than {offer_id} holds"
        self.offers[offer_id] = (agent, left - taken)
        self._balance(agent, event)

    def _updated(self, fact: TaskUpdated, event: Event) -> None:
        task, state = fact.status.task, fact.status.state
        if task not in self.states or fact.status.reason is Reason.RECONCILIATION:
            return
        before = self.states[task]
        health = state is before is TaskState.RUNNING and fact.status.healthy is not None
        assert health or state in MOVES[before], f"#{event.position} {task}: {before} -> {state}"
        self.states[task] = state
        if state in TERMINAL or state is TaskState.UNREACHABLE:
            self.holding.discard(task)
        else:
            self.holding.add(task)
        if event.last:
            self._balance(self.launched[task].agent, event)

    def _balance(self, agent: AgentId, event: Event) -> None:
        if not event.last:
            return
        held = [left for at, left in self.offers.values() if at == agent]
        held += [self.launched[task].resources for task in sorted(self.holding) if self.launched[task].agent == agent]
        held += self.groups.executors(self.holding, agent)
        amount = NOTHING
        for one in held:
            assert not _overlap(amount, one), f"#{event.position} {agent}: a port is held twice"
            amount += one
        assert self.totals[agent].covers(amount), f"#{event.position} {agent}: {amount} of {self.totals[agent]}"

    def _fired(self, fact: RunCreated) -> None:
        if fact.schedule is not None and fact.nominal is not None:
            key = (fact.job, fact.schedule, fact.nominal)
            assert key not in self.firings, f"{key} fired twice"
            self.firings.add(key)
        if fact.parents:
            for parent in fact.parents:
                assert self.runs.get(parent) == "SUCCESS", f"{fact.run} begins after {parent}, {self.runs.get(parent)}"
            after = (fact.job, "", fact.parents)
            assert after not in self.firings, f"{fact.run} begins after {fact.parents}, and so did another one"
            self.firings.add(after)
        assert fact.run not in self.runs, f"{fact.run} is created twice"
        self.runs[fact.run] = "INITIAL"

    def _run(self, fact: RunUpdated, event: Event) -> None:
        before = self.runs[fact.run]
        assert before not in ENDED or fact.state == before, f"#{event.position} {fact.run}: {before} -> {fact.state}"
        self.runs[fact.run] = fact.state


def _overlap(one: Resources, other: Resources) -> bool:
    return (one + other).port_count != one.port_count + other.port_count
