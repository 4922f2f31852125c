"""The things Busbar speaks about: ids, times, resources, offers, tasks.

Rule of this room: nouns are frozen, whole-numbered and know no clock.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NewType

import msgspec

from bus.amounts import NOTHING as NOTHING
from bus.amounts import Noun as Noun
from bus.amounts import Ranges as Ranges
from bus.amounts import Resources as Resources
from bus.amounts import along as along
from bus.amounts import normal as normal
from bus.amounts import parse_resources as parse_resources
from bus.amounts import total as total
from bus.amounts import within as within
from bus.amounts import without as without

TaskId = NewType("TaskId", str)
AgentId = NewType("AgentId", str)
ExecutorId = NewType("ExecutorId", str)
FrameworkId = NewType("FrameworkId", str)
OfferId = NewType("OfferId", str)
TaskGroupId = NewType("TaskGroupId", str)
AppId = NewType("AppId", str)
JobId = NewType("JobId", str)
RunId = NewType("RunId", str)
RequestId = NewType("RequestId", str)
TraceId = NewType("TraceId", str)

Position = NewType("Position", int)
"""A place in the stream; the first event is at 1, 0 means before everything."""
Now = NewType("Now", int)
"""Microseconds since 1970-01-01 UTC."""

second = 1_000_000
"""Microseconds in a second, the unit of `Now`."""

ID_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z"
"""What a component may be called: it becomes a token of a subject."""
NOBODY = "_"
"""The addressee of an event that speaks to nobody in particular."""
MASTER = "main"
"""The id of the master's log: one name, whoever leads."""

ANYBODY = "*"
"""The role of resources that are kept for nobody in particular. (Mesos)"""
PUBLIC_ROLE = "slave_public"
"""What nodes in the public zone are kept for, and whose share Marathon uses. (DC/OS)"""


class TaskState(StrEnum):
    """What a task is doing. (Mesos: `mesos.proto` TaskState, without the legacy LOST)"""

    STAGING = "TASK_STAGING"
    STARTING = "TASK_STARTING"
    RUNNING = "TASK_RUNNING"
    KILLING = "TASK_KILLING"
    FINISHED = "TASK_FINISHED"
    FAILED = "TASK_FAILED"
    KILLED = "TASK_KILLED"
    ERROR = "TASK_ERROR"
    DROPPED = "TASK_DROPPED"
    GONE = "TASK_GONE"
    UNREACHABLE = "TASK_UNREACHABLE"
    UNKNOWN = "TASK_UNKNOWN"
    """Only an answer to reconciliation; never a task's own state."""


_S = TaskState
_ENDS = frozenset({_S.FINISHED, _S.FAILED, _S.KILLED, _S.GONE, _S.UNREACHABLE})
MOVES: dict[TaskState, frozenset[TaskState]] = {
    _S.STAGING: _ENDS | {_S.STARTING, _S.RUNNING, _S.ERROR, _S.DROPPED},
    _S.STARTING: _ENDS | {_S.RUNNING, _S.KILLING},
    _S.RUNNING: _ENDS | {_S.KILLING},
    _S.KILLING: _ENDS,
    _S.UNREACHABLE: _ENDS - {_S.UNREACHABLE} | {_S.STAGING, _S.STARTING, _S.RUNNING, _S.KILLING, _S.ERROR, _S.DROPPED},
    _S.FINISHED: frozenset(),
    _S.FAILED: frozenset(),
    _S.KILLED: frozenset(),
    _S.ERROR: frozenset(),
    _S.DROPPED: frozenset(),
    _S.GONE: frozenset(),
}
"""From each state, the states that may follow. (Mesos: `master.cpp` updateTask, `protobuf_utils.cpp`)"""

TERMINAL = frozenset(state for state, following in MOVES.items() if not following)


class Reason(StrEnum):
    """Why a task has its state. (Mesos: `docs/task-state-reasons.md`)

    Two of Mesos' have no place here: an agent that is lost takes its offers with it, so there is no launch on a
    disconnected one (AGENT_DISCONNECTED; it is INVALID_OFFERS), and a launch waits in the inbox of an agent that
    restarts, so none is lost there (AGENT_RESTARTED).
    """

    TASK_INVALID = "REASON_TASK_INVALID"
    TASK_GROUP_INVALID = "REASON_TASK_GROUP_INVALID"
    INVALID_OFFERS = "REASON_INVALID_OFFERS"
    AGENT_REMOVED = "REASON_AGENT_REMOVED"
    AGENT_REREGISTERED = "REASON_AGENT_REREGISTERED"
    CONTAINER_LAUNCH_FAILED = "REASON_CONTAINER_LAUNCH_FAILED"
    EXECUTOR_REGISTRATION_TIMEOUT = "REASON_EXECUTOR_REGISTRATION_TIMEOUT"
    EXECUTOR_TERMINATED = "REASON_EXECUTOR_TERMINATED"
    FRAMEWORK_REMOVED = "REASON_FRAMEWORK_REMOVED"
    TASK_KILLED_DURING_LAUNCH = "REASON_TASK_KILLED_DURING_LAUNCH"
    MAX_COMPLETION_TIME_REACHED = "REASON_MAX_COMPLETION_TIME_REACHED"
    RECONCILIATION = "REASON_RECONCILIATION"
    TASK_HEALTH_CHECK_STATUS_UPDATED = "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED"
    TASK_CHECK_STATUS_UPDATED = "REASON_TASK_CHECK_STATUS_UPDATED"


class Source(StrEnum):
    """Who first said that a task has its state."""

    MASTER = "SOURCE_MASTER"
    AGENT = "SOURCE_AGENT"
    EXECUTOR = "SOURCE_EXECUTOR"


class Refusal(StrEnum):
    """Why a request or a registration was refused: a closed list."""

    INVALID = "invalid"
    ALREADY_EXISTS = "already_exists"
    NOT_FOUND = "not_found"
    NOT_RUNNING = "not_running"
    ID_TAKEN = "id_taken"
    BELOW_HELD = "below_held"
    RUNS_ACTIVE = "runs_active"
    HAS_DEPENDANTS = "has_dependants"
    FORBIDDEN = "forbidden"
    REVOKED = "revoked"
    TOKEN_USED = "token_used"
    TOKEN_EXPIRED = "token_expired"
    LAST_ONE = "last_one"
    LOCKED = "locked"
    """Another deployment changes it; the message says which, who asked for it, since when, and its step."""
    TOO_MANY = "too_many"


class Rescinded(StrEnum):
    """Why an offer was taken back. (Mesos: `master.cpp` rescindOffer callers)"""

    TIMEOUT = "timeout"
    AGENT_LOST = "agent_lost"
    AGENT_REREGISTERED = "agent_reregistered"
    FRAMEWORK_DISCONNECTED = "framework_disconnected"
    FRAMEWORK_REREGISTERED = "framework_reregistered"


class Glimpse(msgspec.Struct, frozen=True, array_like=True):
    """What led to a decision that no event led to: something the author's own hands saw, or that a time came."""

    type: str
    """The wire name of the sight; `woken` for a time that came."""
    fields: dict[str, Any] = {}


WOKEN = Glimpse("woken")


class Offer(Noun, frozen=True):
    """The free resources of one agent, promised to one framework until answered or rescinded."""

    offer: OfferId
    agent: AgentId
    hostname: str
    resources: Resources
    attributes: dict[str, str] = {}
    role: str = "*"
    """Whose share the agent's resources are kept for; `*`: anybody's."""
    region: str = ""
    zone: str = ""


class Uri(Noun, frozen=True):
    """A file that is brought into the sandbox before the task starts. (Mesos: CommandInfo.URI)"""

    uri: str
    extract: bool = True
    """An archive is unpacked into the sandbox, and stays; anything else is left as it is. (Mesos: `fetcher.cpp`)"""
    executable: bool = False
    """The file may be executed; it is not unpacked then. (Mesos: `fetcher.cpp`)"""
    cache: bool = False
    """Taken and not acted on: every task fetches for itself."""
    dest_path: str | None = None
    """Its path in the sandbox; the last part of the URI's unless said."""
    checksum: str | None = None
    """`sha256:` and what the file must be, or the task fails."""


class Command(Noun, frozen=True):
    """What a task executes: a shell line, or an argument vector. Exactly one of the two."""

    shell: str | None = None
    argv: tuple[str, ...] = ()
    env: dict[str, str] = {}
    user: str | None = None
    secret_env: dict[str, str] = {}
    """Variables that hold a secret, and its name. The value is in no event."""
    secret_files: dict[str, str] = {}
    """Paths in the sandbox at which a secret can be read, and its name."""
    fetch: tuple[Uri, ...] = ()


class Probe(StrEnum):
    """How a check looks. (Mesos: CheckInfo.Type)"""

    COMMAND = "COMMAND"
    TCP = "TCP"
    HTTP = "HTTP"
    HTTPS = "HTTPS"


class Check(Noun, frozen=True):
    """How it is found out whether a task is healthy. (Mesos: HealthCheck; Marathon: `HealthCheck.scala`)

    Healthy is a command that exits with 0, a port that takes connections, an answer from 200 to 399.
    """

    probe: Probe
    port: int = 0
    """The host's; none with a command."""
    path: str = "/"
    command: Command | None = None
    """Executed in the task's sandbox and confinement; its environment is the task's, and this on top."""
    ipv6: bool = False
    delay_s: float = 15.0
    """From the start of the task to the first look."""
    interval_s: float = 10.0
    """From one look to the next."""
    timeout_s: float = 20.0
    """After which a look has failed; 0: never. (Mesos)"""
    grace_s: float = 10.0
    """From the start of the task, delay included: failures before do not count until it was healthy once."""
    failures_max: int = 3
    """In a row, at which the task is killed. 0: the executor kills at the first (Mesos), Marathon never."""
    ignore_1xx: bool = False
    """Answers below 200 say nothing. Marathon's own checks only."""
    codes: tuple[int, ...] = ()
    """The answers that are good; none: 200 to 399. (Marathon: httpStatusCodesForReady)"""
    keep: bool = False
    """What was answered is kept with the result. (Marathon: preserveLastResponse)"""


class TaskGroup(Noun, frozen=True):
    """What a task has in common with those that start with it or not at all, by the default executor.

    If one of them ends other than by finishing, the rest are killed. (Mesos: LAUNCH_GROUP)
    """

    id: TaskGroupId
    index: int
    """Which of them the task is, from 0 on: in this order they are launched."""
    size: int
    """How many they are."""
    executor: Resources = NOTHING
    """What the executor takes beside them all, for as long as one of them holds resources."""


class SharedVolume(Noun, frozen=True):
    """A directory of a task's group, and where the task finds it."""

    name: str
    path: str
    """In its sandbox; or absolute, then of a directory that is there."""
    read_only: bool = False


class TaskInfo(Noun, frozen=True):
    """A task as a framework asks for it and everybody after it carries it on."""

    task: TaskId
    name: str
    agent: AgentId
    framework: FrameworkId
    resources: Resources
    command: Command
    hostname: str = ""
    """The agent's, as the offer had it."""
    ports: tuple[int, ...] = ()
    """Those of `resources`, in the order the app asked for them. (Mesos: DiscoveryInfo)"""
    place: dict[str, str] = {}
    """What its app's constraints count of the agent: field and value, so that the next is held against it."""
    kill_grace_s: float = 3.0
    """(Mesos: `executor.cpp`, 3 s)"""
    max_completion_s: float | None = None
    health: Check | None = None
    """What its executor checks."""
    check: Check | None = None
    """What its executor looks at only to tell what is found: nothing follows from that. (Mesos: CheckInfo)"""
    watched: tuple[Check, ...] = ()
    """What its framework checks by itself, over the network: nobody else does."""
    readiness: Check | None = None
    """The same, until it is ready for the first time."""
    labels: dict[str, str] = {}
    app: AppId | None = None
    job: JobId | None = None
    run: RunId | None = None
    trace: TraceId | None = None
    group: TaskGroup | None = None
    volumes: tuple[SharedVolume, ...] = ()


class TaskStatus(Noun, frozen=True):
    """What is known of a task: state, why, and who said so."""

    task: TaskId
    state: TaskState
    source: Source
    reason: Reason | None = None
    message: str = ""
    exit_status: int | None = None
    """The exit code, where the task ended by itself."""
    signal: int | None = None
    """The number of the signal that ended it."""
    healthy: bool | None = None
    """What its executor's check found last; None: nothing yet, or there is no check."""
    failures: int = 0
    """Of that check, in a row."""
    checked: int | None = None
    """What `TaskInfo.check` found last: an exit code, an HTTP status, 1 for a port that takes connections and 0 for one
    that does not; None: nothing could be found, or there is no such check."""


def is_news(before: TaskStatus, after: TaskStatus) -> bool:
    """Whether one status may follow the other as a change: of the state, or of what is found about a running task.

    Each failed check of an unhealthy task is a change: it has one failure more. (Mesos: `checker`, on every failure)
    """
    if after.state in MOVES[before.state]:
        return True
    running = before.state is after.state is TaskState.RUNNING
    forgotten = before.healthy is not None and after.healthy is None
    return running and not forgotten and _found(before) != _found(after)


def _found(status: TaskStatus) -> tuple[bool | None, int, int | None]:
    return status.healthy, status.failures, status.checked


class HeldTask(Noun, frozen=True):
    """A task an agent has, as it tells the master on registering."""

    info: TaskInfo
    status: TaskStatus


class Unfit(Noun, frozen=True):
    """Why one app or job was not placed on one offer: each check that failed, with the numbers."""

    agent: AgentId
    offer: OfferId
    reason: str
    """UnfulfilledConstraint, InsufficientCpus and so on: one of `components.matching.REASONS`, or NodeBackoff."""
    needed: str
    had: str
    app: AppId | None = None
    job: JobId | None = None
