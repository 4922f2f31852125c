"""The read-only questions that can be asked, and the rows that answer them.

Rule of this room: a question changes nothing and is in no log. Every owner of a log answers `summary`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from bus.nouns import (
    NOTHING,
    AgentId,
    AppId,
    FrameworkId,
    JobId,
    Noun,
    Now,
    OfferId,
    Position,
    Refusal,
    Resources,
    RunId,
    TaskGroupId,
    TaskId,
    TaskInfo,
    TaskStatus,
    TraceId,
)

R = TypeVar("R")


class QueryRefused(Exception):
    """The one who was asked cannot answer this question; the text says why."""


class _Answer(msgspec.Struct, omit_defaults=True):
    ok: msgspec.Raw = msgspec.Raw()  # not `Raw | None`: msgspec then decodes only None
    refused: str | None = None


def pack(question: object) -> bytes:
    """A question, or an answer's content, as bytes."""
    return msgspec.msgpack.encode(question)


def answer_ok(content: object) -> bytes:
    """The bytes of an answer."""
    return msgspec.msgpack.encode(_Answer(ok=msgspec.Raw(pack(content))))


def answer_refused(why: str) -> bytes:
    """The bytes of a refusal to answer."""
    return msgspec.msgpack.encode(_Answer(refused=why))


def unpack(answer: bytes, shape: type[R]) -> R:
    """The content of an answer. Raises QueryRefused, or msgspec.ValidationError if it has another shape, or none."""
    try:
        envelope = msgspec.msgpack.decode(answer, type=_Answer)
        if envelope.refused is not None or not envelope.ok:
            raise QueryRefused(envelope.refused or "no reason given")
        return msgspec.msgpack.decode(envelope.ok, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # whoever answers may be anybody
        raise msgspec.ValidationError(str(error)) from None


# ---- asked of every owner of a log: `summary` -----------------------------------------------------------------------


class Summary(Noun, frozen=True):
    """An owner of a log: its term, how far it is, and what it remembers as one hash."""

    by: str
    node: str
    instance: str
    epoch: int
    n: int
    """Events in its log that are folded."""
    position: Position
    """Position of the last event of its log that is known to be in the stream."""
    heard: Position
    state_hash: str
    """SHA-256 (hex) of the canonical folded state after event `n`."""
    pid: int
    rss_kb: int
    """The most memory it ever had resident."""
    started_at: Now


class IdentityRow(Noun, frozen=True):
    """Somebody who is let in, or was."""

    name: str
    role: str
    public: str
    agent: str
    since: Now
    by: str
    revoked_at: Now | None = None


class TokenRow(Noun, frozen=True):
    """A join token."""

    id: str
    name: str
    role: str
    expires_at: Now
    by: str
    used_at: Now | None = None


class Passport(Noun, frozen=True):
    """What says, to every server of the bus, that the bearer of a key is somebody; worth nothing without the key."""

    name: str
    role: str
    passport: str


# ---- asked of every instance of a singleton: `subjects.roll`, `subjects.ask_instance` -------------------------------


LEADER, STANDBY, REBUILDING, DIVERGED = "LEADER", "STANDBY", "REBUILDING", "DIVERGED"


class Instance(Noun, frozen=True):
    """One instance of a singleton: a process on one node that leads, stands by, or may do neither."""

    by: str
    node: str
    instance: str
    standing: str
    """LEADER, STANDBY, REBUILDING: it has just been started, or DIVERGED: its store and the stream disagree, so it only
    answers questions."""
    epoch: int
    """The newest term it knows of."""
    n: int
    """Events of the log that it has folded."""
    position: Position
    """Position of the last of them."""
    stored: Position = Position(0)
    """How far its store is; 0 without one."""
    pid: int = 0
    started_at: Now = Now(0)
    message: str = ""
    """Of a diverged one: the first bad position, what is known about it, and the command that repairs."""


class PageQuestion(Noun, frozen=True):
    """Of a master's store, query `page`: the records behind a position, as many as fit into one answer.

    The answer is a list of HistoryRow; an empty one says that the store ends there.
    """

    after: Position
    author: str = ""
    """Only this author's, e.g. `agent.a1`."""
    limit: int = 1000


class PastQuestion(Noun, frozen=True):
    """Of the leading master's store, query `past`: the cluster as it was. The answer is what `busbar state` prints."""

    what: str
    """agents, tasks, apps, jobs, offers, frameworks or all; `queue`; or `app` or `job`: why one of these waited."""
    moment: str
    """A position, an ISO time with its zone, or `now`."""
    ended_too: bool = False
    """Of tasks, also the latest that had ended."""
    id: str = ""
    """With `what` app or job: which one; the answer is what its `explain` prints."""


class ChainQuestion(Noun, frozen=True):
    """Of a master's store, query `chain`: the running hash after each of these positions."""

    positions: tuple[Position, ...]


class ChainRow(Noun, frozen=True):
    """The running hash of a stored stream after a position: SHA-256, hex; empty if it is not stored."""

    position: Position
    chain: str = ""


# ---- asked of the master: `agents`, `frameworks`, `offers`, `tasks`, `alarms` ----------------------------------------


class AgentRow(Noun, frozen=True):
    """An agent as the master has it."""

    agent: AgentId
    hostname: str
    state: str
    """ACTIVE or UNREACHABLE."""
    total: Resources
    used: Resources
    offered: Resources
    tasks: int
    registered_at: Now
    attributes: dict[str, str] = {}
    unreachable_since: Now | None = None
    role: str = "*"
    """Whose share its resources are kept for."""
    region: str = ""
    zone: str = ""


class FrameworkRow(Noun, frozen=True):
    """A framework as the master has it."""

    framework: FrameworkId
    name: str
    role: str
    state: str
    """ACTIVE, SUPPRESSED or DISCONNECTED."""
    tasks: int
    offers: int
    used: Resources
    share_milli: int
    """Dominant share of the cluster in thousandths, weight aside. (DRF, NSDI'11 section 4)"""
    registered_at: Now
    failover_timeout_s: float = 0.0
    removed_at_latest: Now | None = None
    """Of a disconnected one: when it is removed and its tasks are killed, unless it comes back."""


class OfferRow(Noun, frozen=True):
    """An outstanding offer."""

    offer: OfferId
    framework: FrameworkId
    agent: AgentId
    resources: Resources
    made_at: Now
    expires_at: Now


class TasksQuestion(Noun, frozen=True):
    """Which tasks: the live ones, or with `all` the latest ended ones too; of those, the ones with this prefix."""

    all: bool = False
    prefix: str = ""


class TaskRow(Noun, frozen=True):
    """A task as the master has it."""

    task: TaskId
    name: str
    framework: FrameworkId
    agent: AgentId
    status: TaskStatus
    since: Now
    """When it got this status."""
    launched_at: Now
    resources: Resources = NOTHING
    app: AppId | None = None
    job: JobId | None = None
    run: RunId | None = None
    group: TaskGroupId | None = None
    """The tasks it started with."""


def task_row(info: TaskInfo, status: TaskStatus, since: Now, launched_at: Now) -> TaskRow:
    """A task as whoever remembers it tells of it."""
    return TaskRow(
        task=info.task,
        name=info.name,
        framework=info.framework,
        agent=info.agent,
        status=status,
        since=since,
        launched_at=launched_at,
        resources=info.resources,
        app=info.app,
        job=info.job,
        run=info.run,
        group=info.group.id if info.group is not None else None,
    )


class AlarmRow(Noun, frozen=True):
    """Something an operator has to look at: it stands until the master says `alarm.cleared`. Query `alarms`."""

    alarm: str
    message: str
    since: Now


# ---- asked of the master's store: `history`, `trace`, `counts`, `foreign` --------------------------------------------


class HistoryQuestion(Noun, frozen=True):
    """The events that mention a thing: task, app, job, run, framework, agent, offer, request, trace or deployment."""

    noun: str
    id: str
    after: Position = Position(0)
    limit: int = 1000


class HistoryRow(Noun, frozen=True):
    """One event as it lies in the stream."""

    position: Position
    subject: str
    body: bytes


class TraceRow(Noun, frozen=True):
    """One of the twelve steps in the life of a task."""

    step: int
    words: str
    """The seed's words for the step."""
    position: Position | None = None
    at: Now | None = None
    since_previous_us: int | None = None
    by: str = ""
    to: str = ""
    type: str = ""
    slowest: bool = False
    note: str = ""
    """What led here, or why the step did not happen."""


class Trace(Noun, frozen=True):
    """The twelve steps of one task."""

    task: TaskId
    rows: tuple[TraceRow, ...]
    trace: TraceId | None = None
    replaces: TaskId | None = None


class CountsRow(Noun, frozen=True):
    """How many events of one type an author's kind wrote."""

    kind: str
    type: str
    count: int


class Foreigners(Noun, frozen=True):
    """The messages on the stream that are not the next event of their author: how many, and the last one."""

    count: int = 0
    position: Position | None = None
    subject: str = ""
    because: str = ""


# ---- asked of an agent: `log`, `tasks` (answered with TaskRow), `standing` -------------------------------------------


class Standing(Noun, frozen=True):
    """How an agent stands with the master, as the agent knows it."""

    agent: AgentId
    hostname: str
    admitted: bool
    """False: refused for `reason`, or the answer is still to come."""
    tasks: int
    ended: int
    """Ended tasks whose sandboxes are kept."""
    resources: Resources | None = None
    """As last registered."""
    attributes: dict[str, str] = {}
    reason: Refusal | None = None
    message: str = ""


class LogQuestion(Noun, frozen=True):
    """A piece of a file in a task's sandbox; a negative offset counts from the end."""

    task: TaskId
    file: str = "stdout"
    offset: int = 0
    limit: int = 65536


class LogPiece(Noun, frozen=True):
    """Bytes of a task's file: `data` begins at `offset`; more may come while the task lives."""

    data: bytes
    offset: int
    size: int
    ended: bool


def fields(row: object) -> Any:
    """A row as plain values for JSON."""
    return msgspec.to_builtins(row)
