"""Everything that can be said on the bus, as frozen classes with their wire names beside them.

Rule of this room: a fact is in the past tense about its author; a wire name is never changed, never reused.
Adding a field with a default needs no new version; anything else does, with one step in `UPCASTS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import msgspec

from bus.nouns import (
    AgentId,
    ExecutorId,
    FrameworkId,
    Glimpse,
    HeldTask,
    Noun,
    Now,
    Offer,
    OfferId,
    Position,
    Refusal,
    RequestId,
    Rescinded,
    Resources,
    TaskId,
    TaskInfo,
    TaskStatus,
    TraceId,
    Unfit,
)
from bus.subjects import Author, Kind


class Fact(Noun, frozen=True):
    """The typed fields of an event: what is said, without who, when and why."""

    type: ClassVar[str]
    """The wire name, `noun.participle`."""
    version: ClassVar[int]
    said: ClassVar[str]
    """Who says it to whom, for people."""


FACTS: dict[str, type[Fact]] = {}
"""Every fact by its wire name."""
RETIRED: frozenset[str] = frozenset()
"""Wire names that were in use once and may never be declared again."""
UPCASTS: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From (type, version) one step up: fields in, fields of the next version out."""

F = TypeVar("F", bound=type[Fact])


def fact(name: str, *, said: str, version: int = 1) -> Callable[[F], F]:
    """Declare a fact under its wire name."""

    def declare(cls: F) -> F:
        assert name not in FACTS, f"{name} is declared twice"
        assert name not in RETIRED, f"{name} is retired"
        cls.type, cls.version, cls.said = name, version, said
        FACTS[name] = cls
        return cls

    return declare


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One fact in the log, with who said it to whom, when, and why.

    `n` counts the author's events from 1 without a gap and `prev` is the SHA-256 of the body of the one before
    (32 bytes); a client's events have neither (n = 0, prev = b""). `position` is known once it is in the stream.
    """

    by: Author
    to: str
    fact: Fact
    at: Now
    n: int = 0
    prev: bytes = b""
    epoch: int = 0
    last: bool = False
    heard: Position = Position(0)
    cause: Position | None = None
    actor: str | None = None
    trace: TraceId | None = None
    request: RequestId | None = None
    """A client's own id of what it asks, and the same id on the one event that answers it."""
    seen: Glimpse | None = None
    """On the first event of a decision that was led to by no event."""
    epochs: dict[str, int] = {}
    """The terms of others that were first heard of since the author's last event, by author."""
    position: Position = Position(0)

    @property
    def type(self) -> str:
        return self.fact.type

    @property
    def behind(self) -> str | None:
        """The person or program behind it, proved by who published it: a client is who the bus let speak, whatever
        it claims; a gateway speaks for people, and both are named. Who owns a log repeats whom it heard."""
        if self.by.kind is not Kind.CLIENT:
            return self.actor
        return f"{self.by.id}/{self.actor}" if self.by.id.startswith("g-") and self.actor else self.by.id


# ---- terms ------------------------------------------------------------------------------------------------------


class Term(Fact, frozen=True):
    """The author began a term: everything it wrote before is folded, every older term is refused from now on."""

    epoch: int
    node: str
    instance: str
    settings: str = ""
    """What the author was set up with, as canonical JSON: with its log, all that its decisions depend on."""


@fact("leader.elected", said="master or framework, to nobody")
class LeaderElected(Term, frozen=True):
    """A singleton's instance leads now."""


@fact("leader.resigned", said="master or framework, to nobody")
class LeaderResigned(Fact, frozen=True):
    """The instance that leads stops in good order: who stands by may begin its term at once."""

    epoch: int
    node: str
    instance: str


@fact("log.kept", said="any owner of a log, to nobody")
class LogKept(Fact, frozen=True):
    """Quiet for long: everything addressed to the author up to this event's `heard` is decided.

    Where an owner says nothing for long, the stream can be trimmed only because it says this.
    """


@fact("agent.started", said="agent, to nobody")
class AgentStarted(Term, frozen=True):
    """An agent process began to speak for its node."""


@fact("executor.started", said="executor, to nobody")
class ExecutorStarted(Term, frozen=True):
    """An executor process began to speak for its tasks, in one run (`boot`) of the machine."""

    boot: str = ""


# ---- refusals ---------------------------------------------------------------------------------------------------


@fact("request.refused", said="any owner of a log, to who asked")
class RequestRefused(Fact, frozen=True):
    """What was asked will not be done, and nothing was changed."""

    reason: Refusal
    message: str
    also: tuple[str, ...] = ()
    """Of a wrong document: what is wrong besides, each with its path."""
    held_by: tuple[str, ...] = ()
    """Of something locked: the ids of those that hold the lock."""


@fact("event.unreadable", said="any owner of a log, to the author of what it could not read")
class EventUnreadable(Fact, frozen=True):
    """An event addressed to me has a type or version I do not know, or fields that do not fit."""

    unreadable: Position
    unreadable_type: str
    unreadable_version: int
    message: str = ""


# ---- agents and the master ---------------------------------------------------------------------------------------


@fact("agent.registered", said="agent, to the master")
class AgentRegistered(Fact, frozen=True):
    """An agent says what it has: on every start, and whenever it hears that it was marked unreachable."""

    hostname: str
    resources: Resources
    attributes: dict[str, str] = {}
    tasks: tuple[HeldTask, ...] = ()
    """Every non-terminal task; answering a mark, also the ended ones whose report the master has not acted on."""
    answers: Position | None = None
    """The position of the `agent.marked` this registration answers."""
    key: str = ""  # its public key (X25519, hex): secrets are sealed to it
    role: str = "*"
    """Whose share the resources are kept for: frameworks of this role alone are offered them; `*`: anybody's."""
    region: str = ""
    zone: str = ""


@fact("agent.admitted", said="master, to the agent")
class AgentAdmitted(Fact, frozen=True):
    """The agent's resources can be offered from now on."""

    agent: AgentId
    hostname: str
    resources: Resources
    attributes: dict[str, str] = {}
    acted_n: int = 0
    """The number of the registration in the agent's log."""
    changes: tuple[TaskStatus, ...] = ()
    """What the registration changes about the agent's tasks: each becomes a `task.updated`."""
    key: str = ""
    role: str = "*"
    region: str = ""
    zone: str = ""


@fact("agent.refused", said="master, to the agent")
class AgentRefused(Fact, frozen=True):
    """The agent's registration was turned down."""

    agent: AgentId
    reason: Refusal
    message: str


@fact("registration.noted", said="agent, to nobody")
class RegistrationNoted(Fact, frozen=True):
    """The agent heard what became of its registration: admitted, or refused for a reason."""

    reason: Refusal | None = None
    """None: admitted."""
    message: str = ""


@fact("agent.marked", said="master, to the agent")
class AgentMarked(Fact, frozen=True):
    """The agent missed its pings and is unreachable; nothing it says counts until it registers in answer to this."""

    agent: AgentId
    acted_n: int
    """The number in the agent's log of its last event the master acted on."""
    message: str


# ---- frameworks and offers ---------------------------------------------------------------------------------------


@fact("framework.registered", said="framework, to the master")
class FrameworkRegistered(Fact, frozen=True):
    """A scheduler wants offers, on every start of its term."""

    name: str
    role: str = "*"
    failover_timeout_s: float = 604_800.0
    """(Marathon, Metronome: 604800 s)"""


@fact("framework.admitted", said="master, to the framework")
class FrameworkAdmitted(Fact, frozen=True):
    """The framework takes part in allocation from now on; its earlier offers are void."""

    framework: FrameworkId
    name: str
    role: str
    failover_timeout_s: float
    secrets: tuple[str, ...] = ()  # the names of all there are


@fact("framework.refused", said="master, to the framework")
class FrameworkRefused(Fact, frozen=True):
    """The framework's registration was turned down."""

    framework: FrameworkId
    reason: Refusal
    message: str


@fact("framework.disconnected", said="master, to the framework")
class FrameworkDisconnected(Fact, frozen=True):
    """The framework stopped answering pings: it gets no offers until it registers or is heard again."""

    framework: FrameworkId
    removed_at: Now | None = None
    """When it is removed unless it comes back. None, in older logs: its failover timeout after this event."""


@fact("framework.reconnected", said="master, to the framework")
class FrameworkReconnected(Fact, frozen=True):
    """A disconnected framework was heard again and gets offers as before."""

    framework: FrameworkId


@fact("framework.removed", said="master, to the framework")
class FrameworkRemoved(Fact, frozen=True):
    """The framework did not come back before its failover timeout: it is forgotten and its tasks are killed.

    (Mesos: `failover_timeout`; the tasks' reason is FRAMEWORK_REMOVED)
    """

    framework: FrameworkId
    message: str


@fact("framework.suppressed", said="framework, to the master; then the master, to nobody")
class FrameworkSuppressed(Fact, frozen=True):
    """The framework wants no offers until it revives. (Mesos: SUPPRESS)"""

    framework: FrameworkId


@fact("framework.revived", said="framework, to the master; then the master, to nobody")
class FrameworkRevived(Fact, frozen=True):
    """The framework wants offers again, without the filters it had set. (Mesos: REVIVE)"""

    framework: FrameworkId


@fact("offer.made", said="master, to the framework")
class OfferMade(Fact, frozen=True):
    """Resources of agents are held for the framework until it answers, all offers of one allocation together."""

    framework: FrameworkId
    role: str
    offers: tuple[Offer, ...]
    expires_at: Now
    more: AgentId | None = None
    """The allocation was too large for one decision: it goes on with this agent in the next."""
    revived: bool = False
    """It answers `framework.revived`, and says for the master what that event of its own would: filters are void."""


@fact("offer.rescinded", said="master, to the framework")
class OfferRescinded(Fact, frozen=True):
    """Offers are void; what they held is free again."""

    framework: FrameworkId
    offers: tuple[OfferId, ...]
    reason: Rescinded
    filter_until: Now | None = None
    """After a timeout: the same or less on these agents is not offered again to the framework before this."""


@fact("offer.declined", said="framework, to the master")
class OfferDeclined(Fact, frozen=True):
    """The framework does not want these offers."""

    offers: tuple[OfferId, ...]
    refuse_s: float = 5.0
    """How long the same or less on these agents need not be offered again. (Mesos: Filters, 5 s)"""
    unfit: tuple[Unfit, ...] = ()
    """Why, for each app or job that waits. Empty: nothing is pending."""
    suppressed: bool = False
    """With them the framework wants no offers until it revives, as by `framework.suppressed`."""


@fact("offer.accepted", said="framework, to the master; then the master, to nobody, what is left of it")
class OfferAccepted(Fact, frozen=True):
    """The framework asks for tasks to be launched on offers of one agent; what is left over is declined."""

    offers: tuple[OfferId, ...]
    launch: tuple[TaskInfo, ...]
    refuse_s: float = 5.0
    unfit: tuple[Unfit, ...] = ()
    """Why what still waits does not fit on what is left over, or what waited does not on the declined."""
    framework: FrameworkId | None = None
    """Whose, where the master says it: `launch` is what it will decide next."""
    declined: tuple[OfferId, ...] = ()
    """Offers that the framework does not want with it, of any agents: nothing waits for them any more."""
    suppressed: bool = False


@fact("offer.recovered", said="master, to nobody")
class OfferRecovered(Fact, frozen=True):
    """Answered offers are closed; what no task took is free again, filtered for the framework until `filter_until`."""

    framework: FrameworkId
    offers: tuple[OfferId, ...]
    filter_until: Now | None = None
    suppressed: bool = False
    """The framework wants no offers until it revives."""


# ---- tasks ------------------------------------------------------------------------------------------------------


@fact("task.launched", said="master, to the agent")
class TaskLaunched(Fact, frozen=True):
    """Resources of the offers are committed to a task; its agent is to launch it."""

    task: TaskInfo
    role: str
    offers: tuple[OfferId, ...]
    recovered: tuple[OfferId, ...] = ()
    """The last launch of an accept closes its offers and those declined with it, as `offer.recovered` would; one that
    closes none is followed by another launch, or by that."""
    filter_until: Now | None = None
    suppressed: bool = False


@fact("artifacts.awaited", said="agent, to nobody")
class ArtifactsAwaited(Fact, frozen=True):
    """A task was launched that wants files: the agent fetches them into its sandbox before it hands it on."""

    task: TaskInfo


@fact("task.gathered", said="agent, to nobody")
class TaskGathered(Fact, frozen=True):
    """A task of a group is ready to be handed to the executor, which it is together with the rest of the group."""

    task: TaskInfo


@fact("task.delivered", said="agent, to the executor")
class TaskDelivered(Fact, frozen=True):
    """A task is handed to the executor that is to run it."""

    task: TaskInfo
    executor: ExecutorId
    sandbox: str
    start_by: Now | None = None
    """The executor does not start it at this moment or later: by then its agent gives it up."""


@fact("task.reported", said="executor, to its agent, to nobody that it starts; agent, to the master")
class TaskReported(Fact, frozen=True):
    """A task has a new status."""

    status: TaskStatus
    delivered: TaskDelivered | None = None
    """With an executor's STARTING: what it was handed, so that its own log can tell it again.

    With the end of a task of a group that it never started, too.
    """
    kill_at: Now | None = None
    """With an executor's KILLING: when SIGKILL follows SIGTERM."""


@fact("task.updated", said="master, to the framework")
class TaskUpdated(Fact, frozen=True):
    """A task's status changed: said once for each change, or again as the answer to a reconciliation."""

    framework: FrameworkId
    status: TaskStatus
    agent: AgentId | None = None
    unreachable_since: Now | None = None
    acted_n: int = 0
    """The number of the report in the agent's log, where one led to this."""


@fact("task.reconciled", said="framework, to the master; then the master, to nobody, what is left of it")
class TaskReconciled(Fact, frozen=True):
    """The framework asks for the status of tasks; of all its tasks if it names none. (Mesos: RECONCILE)"""

    tasks: tuple[TaskId, ...] = ()
    framework: FrameworkId | None = None
    """Whose, where the master says it."""


@fact("kill.requested", said="client, to the framework; framework, to the master")
class KillRequested(Fact, frozen=True):
    """A task shall be killed."""

    task: TaskId
    grace_s: float | None = None
    reason: str = ""
    """Why, where no event before says it: which copy of two survives. Empty: it is wanted no more."""
    group: bool = False
    """With it all tasks of its group, each with its own grace unless one is given. To the master only."""


@fact("kill.directed", said="master, to the agent")
class KillDirected(Fact, frozen=True):
    """The task's agent is to kill it."""

    task: TaskId
    grace_s: float | None = None
    reason: str = ""
    """Why, where its framework did not ask for it, or said why."""


@fact("kill.delivered", said="agent, to the executor")
class KillDelivered(Fact, frozen=True):
    """The executor is to kill a task: SIGTERM, and SIGKILL once the grace is over."""

    task: TaskId
    grace_s: float | None = None


@fact("sandbox.collected", said="agent, to nobody")
class SandboxCollected(Fact, frozen=True):
    """The files of an ended task are old enough to be deleted. (Mesos: gc_delay)"""

    task: TaskId
