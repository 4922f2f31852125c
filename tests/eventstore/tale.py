"""Histories made by hand: what would have been said, as the records of a stream, chained as the authors chain them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bus import codec
from bus.documents import AppSpec
from bus.events import (
    Event,
    Fact,
    LeaderElected,
    OfferAccepted,
    OfferDeclined,
    OfferMade,
    TaskDelivered,
    TaskLaunched,
    TaskReported,
    TaskUpdated,
)
from bus.nouns import (
    NOBODY,
    AgentId,
    AppId,
    Command,
    ExecutorId,
    FrameworkId,
    Now,
    Offer,
    OfferId,
    Position,
    RequestId,
    Resources,
    RunId,
    Source,
    TaskId,
    TaskInfo,
    TaskState,
    TaskStatus,
    TraceId,
)
from bus.plans import Action, Deed, DeploymentId, Plan
from bus.port import Record
from bus.services import AppRequested, AppUpdated, DeploymentStarted, InstanceScheduled, SchedulerLocated
from bus.subjects import Author, Kind

MASTER = Author(Kind.MASTER, "main")
MARATHON = Author(Kind.FRAMEWORK, "marathon")
METRONOME = Author(Kind.FRAMEWORK, "metronome")
A1 = Author(Kind.AGENT, "a1")
A1_CMD = Author(Kind.EXECUTOR, "a1-cmd")
ALICE = Author(Kind.CLIENT, "u-alice")
START = Now(1_800_000_000_000_000)
WEB = AppId("/web")
CALL = TraceId("call-1")
SIZE = Resources(cpu_milli=100, mem_mb=32)


class Tale:
    """A stream that grows as it is told."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.now = START
        self._ends: dict[Author, tuple[int, bytes]] = {}

    def say(
        self,
        by: Author,
        to: str,
        fact: Fact,
        *,
        after_us: int = 1000,
        cause: Position | None = None,
        trace: TraceId | None = None,
        request: RequestId | None = None,
    ) -> Position:
        """The next event of an author."""
        self.now = Now(self.now + after_us)
        event = Event(by=by, to=to, fact=fact, at=self.now, cause=cause, trace=trace, request=request)
        if by.kind is not Kind.CLIENT:
            n, link = self._ends.get(by, (0, b""))
            event = msgspec.structs.replace(event, n=n + 1, prev=link, epoch=1)
        body = codec.encode(event)
        self._ends[by] = (event.n, codec.link(body))
        return self.put(codec.subject("dc", event), body)

    def put(self, subject: str, body: bytes) -> Position:
        """Any message at all."""
        position = Position(len(self.records) + 1)
        self.records.append(Record(position, subject, body))
        return position

    def of(self, author: Author) -> list[Record]:
        """The records under one author's log, as a filtered reader gets them."""
        return [record for record in self.records if record.subject.startswith(f"dc.{author}.")]


def started(epoch: int = 1) -> LeaderElected:
    return LeaderElected(epoch=epoch, node="n1", instance=f"i{epoch}")


def offer_made(offer: str, framework: Author = MARATHON) -> OfferMade:
    offers = (Offer(offer=OfferId(offer), agent=AgentId("a1"), hostname="h1", resources=SIZE),)
    return OfferMade(framework=FrameworkId(framework.id), role="*", offers=offers, expires_at=Now(START + 10**9))


def info_of(
    task: str,
    *,
    trace: TraceId | None = CALL,
    app: AppId | None = WEB,
    run: RunId | None = None,
    framework: Author = MARATHON,
) -> TaskInfo:
    return TaskInfo(
        task=TaskId(task),
        name="web",
        agent=AgentId("a1"),
        framework=FrameworkId(framework.id),
        resources=SIZE,
        command=Command(shell="sleep 1"),
        app=app,
        run=run,
        trace=trace,
    )


def status(task: str, state: TaskState, *, source: Source = Source.EXECUTOR, message: str = "") -> TaskStatus:
    return TaskStatus(task=TaskId(task), state=state, source=source, message=message)


def app_updated(state: TaskStatus) -> AppUpdated:
    return AppUpdated(app=WEB, status=state, agent=AgentId("a1"), instances=1, running=1)


def task_updated(state: TaskStatus, framework: Author = MARATHON) -> TaskUpdated:
    return TaskUpdated(framework=FrameworkId(framework.id), status=state, agent=AgentId("a1"))


def idle_round(tale: Tale, offer: str = "o-1-0", framework: Author = MARATHON) -> tuple[Position, Position]:
    """Steps 2 and 3: an offer, and its decline while nothing is pending."""
    made = tale.say(MASTER, framework.id, offer_made(offer, framework))
    return made, tale.say(framework, "main", OfferDeclined(offers=(OfferId(offer),)), cause=made)


def client_asks(tale: Tale) -> tuple[Position, Position]:
    """Steps 1 and 4."""
    located = tale.say(
        ALICE, "marathon", SchedulerLocated(framework=FrameworkId("marathon"), through="dns"), trace=CALL
    )
    asked = AppRequested(app=AppSpec(id=WEB, cmd="sleep 1"))
    return located, tale.say(ALICE, "marathon", asked, trace=CALL, request=RequestId("r1"))


def wanted(tale: Tale, task: str, *, cause: Position, replaces: str | None = None, apart: bool = False) -> Position:
    """Marathon wants an instance: with its answer to the request, or `apart`: a replacement, and in older logs."""
    fact = InstanceScheduled(
        app=WEB, task=TaskId(task), app_version="v1", replaces=TaskId(replaces) if replaces else None
    )
    answer = answered(TaskId(task))
    return tale.say(MARATHON, NOBODY, fact if replaces or apart else answer, cause=cause, trace=CALL)


def answered(task: TaskId) -> DeploymentStarted:
    """Marathon's answer to who creates an app of one instance."""
    return DeploymentStarted(
        deployment=DeploymentId("d-1"),
        deployment_version="v1",
        plan=Plan(steps=((Action(deed=Deed.START, app=WEB),), (Action(deed=Deed.SCALE, app=WEB),))),
        changed="created",
        app=AppSpec(id=WEB, cmd="sleep 1"),
        app_version="v1",
        scheduled=(task,),
    )


def launch(tale: Tale, info: TaskInfo, offer: str, framework: Author = MARATHON) -> list[Position]:
    """Steps 5 to 8."""
    trace = info.trace
    return [
        tale.say(MASTER, framework.id, offer_made(offer, framework)),
        tale.say(framework, "main", OfferAccepted(offers=(OfferId(offer),), launch=(info,)), trace=trace),
        tale.say(MASTER, "a1", TaskLaunched(task=info, role="*", offers=(OfferId(offer),)), trace=trace),
        tale.say(A1, "a1-cmd", TaskDelivered(task=info, executor=ExecutorId("a1-cmd"), sandbox="/s"), trace=trace),
    ]


def report(
    tale: Tale, state: TaskStatus, last: Fact, *, framework: Author = MARATHON, slow_us: int = 1000
) -> list[Position]:
    """Steps 9 to 12; `slow_us` is what the first of them takes."""
    return [
        tale.say(A1_CMD, "a1", TaskReported(status=state), trace=CALL, after_us=slow_us),
        tale.say(A1, "main", TaskReported(status=state), trace=CALL),
        tale.say(MASTER, framework.id, task_updated(state, framework), trace=CALL),
        tale.say(framework, "u-alice", last, trace=CALL),
    ]


def twelve_steps(task: str = "web.1") -> tuple[Tale, Sequence[Position]]:
    """A cluster's first task, and where each of its twelve steps is."""
    tale = Tale()
    tale.say(MASTER, NOBODY, started())
    tale.say(MARATHON, NOBODY, started())
    made, declined = idle_round(tale)
    located, asked = client_asks(tale)
    wanted(tale, task, cause=asked)
    launching = launch(tale, info_of(task), "o-2-0")
    starting, running = status(task, TaskState.STARTING), status(task, TaskState.RUNNING)
    report(tale, starting, app_updated(starting))
    reporting = report(tale, running, app_updated(running), slow_us=70_000)
    return tale, [located, made, declined, asked, *launching, *reporting]
