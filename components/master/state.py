"""What the master remembers: agents, frameworks, offers, tasks, and what is due.

Agents and unreachable tasks are kept for ever, so the state grows with the number of different nodes a cluster ever
had, not with its age; frameworks are kept until they are removed, ended tasks up to a limit.

Rule of this room: it says what there is; only `fold` changes it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from bus.nouns import (
    NOTHING,
    TERMINAL,
    AgentId,
    FrameworkId,
    Now,
    OfferId,
    Position,
    Resources,
    TaskGroupId,
    TaskId,
    TaskInfo,
    TaskState,
    TaskStatus,
)
from bus.permits import Role
from components.component import Entry, State
from components.master.config import MasterConfig

Name = TypeVar("Name", bound=str)
AT_ONCE = Now(0)
NOWHERE = Position(0)
ENDED_OR_LOST = TERMINAL | {TaskState.UNREACHABLE}
"""States in which a task holds no resources. (Mesos: terminal or UNREACHABLE)"""
NOT_YET_RUNNING = (TaskState.STAGING, TaskState.STARTING)
starting_max = 300
"""Tasks that an agent has to start yet, from which on it is not offered: they would be launched faster than it starts
them (50 to 150 a second), until its list of tasks is full and it drops the next."""


class Filter(msgspec.Struct, frozen=True):
    """A framework does not want this much, or less, on an agent before a moment. (Mesos: `RefusedOfferFilter`)"""

    resources: Resources
    until: Now


@dataclass(slots=True, kw_only=True)
class Due:
    """Names with moments, the earliest first."""

    times: list[tuple[Now, str]] = field(default_factory=list)

    @property
    def first(self) -> Now | None:
        return self.times[0][0] if self.times else None

    def add(self, at: Now, name: str) -> None:
        """Remember a name for a moment: mostly the latest."""
        times, entry = self.times, (at, name)
        if times and entry < times[-1]:
            insort(times, entry)
        else:
            times.append(entry)

    def drop(self, at: Now, name: str) -> None:
        """Forget a name that was added for a moment."""
        index = bisect_left(self.times, (at, name))
        assert self.times[index] == (at, name), f"{name} is not due at {at}"
        del self.times[index]

    def until(self, now: Now, most: int | None = None) -> list[str]:
        """The names whose moment has come, or so many of them, the earliest first."""
        return [name for _, name in self.times[: bisect_left(self.times, (Now(now + 1), ""))][:most]]


@dataclass(slots=True, kw_only=True)
class Agent:
    """A node: what it has, what of it is free, and how it stands with the master."""

    agent: AgentId
    hostname: str
    attributes: dict[str, str]
    total: Resources
    free: Resources
    registered_at: Now
    admitted_n: int
    """The number of the `agent.admitted` that holds: an older one's missed pings are old."""
    acted_n: int
    """The number in the agent's log of its last event that led to one of the master's."""
    known_n: int = 0
    """The agent is known to have heard what the master said to it up to this number in the master's log."""
    key: str = ""
    """Its public key, as it last registered: secrets are sealed to it."""
    role: str = "*"
    """Whose share its resources are kept for."""
    region: str = ""
    zone: str = ""
    unreachable_since: Now | None = None
    marked_n: int = 0
    marked_heard: Position = NOWHERE
    """How far the master had heard when it marked: the mark lies behind this position, every earlier one before it."""
    answered: bool = False
    """The mark was answered, but that registration was refused."""
    offer_ids: set[OfferId] = field(default_factory=set)
    task_ids: set[TaskId] = field(default_factory=set)
    """Those that hold resources."""
    lost_ids: set[TaskId] = field(default_factory=set)
    """Those that are UNREACHABLE."""
    starting: int = 0
    """How many of its tasks are launched and do not run yet."""
    later: dict[TaskId, TaskStatus] = field(default_factory=dict)
    """What the last registration changes about tasks and is not yet said."""
    filters: dict[FrameworkId, list[Filter]] = field(default_factory=dict)
    waits: dict[FrameworkId, Now] = field(default_factory=dict)
    """Who is not offered what is free here, and until when: who has filtered it, or was offered the rest just now."""

    @property
    def active(self) -> bool:
        return self.unreachable_since is None


@dataclass(slots=True, kw_only=True)
class Framework:
    """A scheduler: what it holds, and whether it wants more."""

    framework: FrameworkId
    name: str
    role: str
    failover_timeout_s: float
    registered_at: Now
    connected_n: int
    """The number of the `framework.admitted` or `.reconnected` that holds: older missed pings are old."""
    wanting_n: int
    """The number of the event since which it wants offers: everything free is looked at for it once."""
    connected: bool = True
    removed_at: Now | None = None
    """While it is not connected: when it is removed unless it comes back."""
    suppressed: bool = False
    offer_ids: set[OfferId] = field(default_factory=set)
    task_ids: set[TaskId] = field(default_factory=set)
    """Live and unreachable ones."""
    held: Resources = NOTHING
    """What its tasks and offers hold, ports aside."""
    allocations: int = 0
    """How many offers it was ever made. (Mesos' sorter counts allocations, and never down)"""
    waits: Due = field(default_factory=Due)
    """The agents with something to offer that it has filtered, by when the filter ends."""
    filtered: dict[AgentId, None] = field(default_factory=dict)
    """The agents on which it has filters."""
    ripe_at: Now | None = None
    """Its entry in `MasterState.ripening`."""

    @property
    def wants(self) -> bool:
        """Whether it takes part in allocation."""
        return self.connected and not self.suppressed


class OutstandingOffer(Entry):
    """An offer that was made and neither answered nor taken back."""

    framework: FrameworkId
    agent: AgentId
    resources: Resources
    made_at: Now
    expires_at: Now


class Task(Entry):
    """A task the master has launched."""

    info: TaskInfo
    role: str
    status: TaskStatus
    since: Now
    launched_at: Now
    launched_n: int
    """The number of its `task.launched` in the master's log."""
    unreachable_since: Now | None = None
    kill_grace_s: float | None = None
    kill_wanted: bool = False
    abandoned: bool = False
    """Its framework was removed: it is to be killed, and counts for nobody's share."""
    extra: Resources = NOTHING
    """What its group's executor takes, if it is the one of the group in whose name that is booked."""

    @property
    def amount(self) -> Resources:
        """What it holds, if it holds anything."""
        return self.info.resources if self.extra.empty else self.info.resources + self.extra

    @property
    def holds(self) -> bool:
        """Whether it holds its resources."""
        return self.status.state not in ENDED_OR_LOST


@dataclass(slots=True, kw_only=True)
class Accept:
    """What is left to decide of an accept that one decision cannot hold."""

    framework: FrameworkId
    offers: tuple[OfferId, ...]
    launch: list[TaskInfo]
    refuse_s: float
    cause: Position | None
    declined: tuple[OfferId, ...] = ()
    """Offers that are closed with its own."""
    suppressed: bool = False


class Secret(msgspec.Struct, frozen=True):
    """A secret as it was given: sealed to a key, by whom and when."""

    sealed: str
    key: str
    number: int
    since: Now
    by: str


class Alarm(msgspec.Struct, frozen=True):
    """Something an operator has to look at."""

    message: str
    since: Now


@dataclass(slots=True, kw_only=True)
class Identity:
    """Somebody who is let in, or was."""

    name: str
    role: Role
    public: str
    agent: str
    since: Now
    by: str
    """The admin who issued its token; nobody for a founder."""
    revoked_at: Now | None = None

    @property
    def live(self) -> bool:
        return self.revoked_at is None


@dataclass(slots=True, kw_only=True)
class Token:
    """A join token: who its bearer may become, once."""

    id: str
    public: str
    name: str
    role: Role
    expires_at: Now
    by: str
    used_at: Now | None = None
    revoked_at: Now | None = None

    @property
    def live(self) -> bool:
        """Whether it may still be exchanged, as long as it has not expired."""
        return self.used_at is None and self.revoked_at is None


class Checkpoint(msgspec.Struct, frozen=True):
    """What the last checkpoint said of the stream."""

    upto: Position
    chain: str


class More(msgspec.Struct, frozen=True):
    """An allocation was cut: it goes on with an agent, in the very next decision."""

    agent: AgentId
    n: int


@dataclass(slots=True, kw_only=True)
class MasterState(State):
    """Everything the master remembers."""

    minimum_cpu_milli: int
    minimum_mem_mb: int
    tasks_kept_max: int
    interval_us: int
    """Between two moments of allocation, as `Now` counts."""
    agents: dict[AgentId, Agent] = field(default_factory=dict)
    frameworks: dict[FrameworkId, Framework] = field(default_factory=dict)
    offers: dict[OfferId, OutstandingOffer] = field(default_factory=dict)
    tasks: dict[TaskId, Task] = field(default_factory=dict)
    """Live and unreachable ones."""
    groups: dict[TaskGroupId, dict[TaskId, None]] = field(default_factory=dict)
    """Of each task group, the tasks that are live or unreachable."""
    ended: dict[TaskId, Task] = field(default_factory=dict)
    """The latest that ended, in the order they did."""
    capacity: Resources = NOTHING
    """What the active agents have together, ports aside."""
    changed: dict[AgentId, int] = field(default_factory=dict)
    """The number of the last event that touched an agent's books, in the order of these numbers."""
    offerable: dict[AgentId, None] = field(default_factory=dict)
    """The agents with something to offer."""
    moved: dict[FrameworkId, int] = field(default_factory=dict)
    """The number of the last event that changed where a framework stands in the allocation, or whether it takes part,
    in the order of these numbers."""
    ripening: Due = field(default_factory=Due)
    """Frameworks that want offers, by when the first filter ends that keeps something from them."""
    expiring: Due = field(default_factory=Due)
    """Outstanding offers by when they time out."""
    leaving: Due = field(default_factory=Due)
    """Disconnected frameworks by when they are removed."""
    orphans: dict[TaskId, None] = field(default_factory=dict)
    """Tasks of removed frameworks whose agents are not yet told to kill them."""
    unfinished: dict[AgentId, None] = field(default_factory=dict)
    """Agents about whose tasks there is more to say than one decision holds, oldest first."""
    accepts: list[Accept] = field(default_factory=list)
    reconciling: dict[FrameworkId, set[TaskId]] = field(default_factory=dict)
    """Tasks a framework asked about and is not yet answered."""
    secrets: dict[str, Secret] = field(default_factory=dict)
    """By name."""
    alarms: dict[str, Alarm] = field(default_factory=dict)
    """Those that stand, by name."""
    identities: dict[str, Identity] = field(default_factory=dict)
    """Everybody who was ever let in, by public key."""
    tokens: dict[str, Token] = field(default_factory=dict)
    """Join tokens by id."""
    checkpoint: Checkpoint | None = None
    taken_over: int = 0
    """How many agents were active when the present term began."""
    marks: list[Now] = field(default_factory=list)
    """When the latest agents were marked unreachable, ascending."""
    more: More | None = None
    """How the last allocation goes on."""


def start(config: MasterConfig) -> MasterState:
    """The state before the first event."""
    return MasterState(
        minimum_cpu_milli=config.minimum_cpu_milli,
        minimum_mem_mb=config.minimum_mem_mb,
        tasks_kept_max=config.tasks_kept_max,
        interval_us=config.interval_us,
    )


def tick_after(interval_us: int, at: Now) -> Now:
    """The first multiple of the allocation interval after a moment."""
    return Now((at // interval_us + 1) * interval_us)


def allocatable(state: MasterState, agent: Agent) -> bool:
    """Whether what is free on an agent is worth an offer, and the agent can be offered at all."""
    enough = agent.free.cpu_milli >= state.minimum_cpu_milli or agent.free.mem_mb >= state.minimum_mem_mb
    return enough and agent.active and not agent.later and agent.starting < starting_max


def owned(state: MasterState, framework: FrameworkId, names: Iterable[OfferId]) -> tuple[OfferId, ...]:
    """Those of the offers that are out and the framework's, each once."""
    found = ((name, state.offers.get(name)) for name in dict.fromkeys(names))
    return tuple(name for name, offer in found if offer is not None and offer.framework == framework)


def changed_since(state: MasterState, n: int) -> Iterator[AgentId]:
    """The agents whose books an event after number `n` touched, the latest first."""
    return _since(state.changed, n)


def moved_since(state: MasterState, n: int) -> Iterator[FrameworkId]:
    """The frameworks that an event after number `n` moved, the latest first."""
    return _since(state.moved, n)


def _since(numbers: dict[Name, int], n: int) -> Iterator[Name]:
    for name in reversed(numbers):
        if numbers[name] <= n:
            return
        yield name


def rest_due(state: MasterState) -> bool:
    """Whether a decision was cut and has to go on."""
    return bool(state.unfinished or state.accepts or state.reconciling or state.orphans) or goes_on(state, state.n)


def goes_on(state: MasterState, n: int) -> bool:
    """Whether a decision that begins behind event `n` has to go on with a cut allocation."""
    return state.more is not None and state.more.n == n


def wake_at(state: MasterState) -> Now | None:
    """When somebody must decide: at once if a decision was cut, else when an offer times out, a filter ends, or a
    framework is removed.

    A filter counts only while it alone keeps something free from being offered, so that each wake leads to an event.
    """
    if rest_due(state):
        return AT_ONCE
    earliest = None
    for due in (state.expiring, state.leaving, state.ripening):
        if due.times and (earliest is None or due.times[0][0] < earliest):
            earliest = due.times[0][0]
    return earliest
