"""Clients that ask and look without pause, and note what they did and saw.

Each has its own connection, and registers nobody else writes: an app without instances, whose environment holds a
number, and a job whose label does.
Rule of this room: a client knows what it was told, nothing more; what was not answered in time is unknown.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import msgspec

from bus import codec
from bus.app_rows import AppRow
from bus.codec import Foreign, Unreadable
from bus.documents import AppSpec, JobRunSpec, JobSpec
from bus.events import Event, Fact, RequestRefused
from bus.jetstream import JetStreamBus, connect
from bus.job_rows import JobRow
from bus.nouns import AppId, JobId, Now, Position, RequestId, TraceId
from bus.permits import Role
from bus.port import Message, NoAnswer, NobodyThere, OutcomeUnknown, StreamFull
from bus.queries import QueryRefused, Summary, unpack
from bus.services import AppRequested, JobRequested
from bus.subjects import Author, Kind, ask, inbox
from tests.faults.history import History, Read, Write
from tests.identities import identity_of

T = TypeVar("T")

MASTER = Author(Kind.MASTER, "main")
MARATHON = Author(Kind.FRAMEWORK, "marathon")
METRONOME = Author(Kind.FRAMEWORK, "metronome")
answer_s = 15.0
"""How long a client waits before an outcome is unknown to it: longer than any election."""
again_s = 0.25
look_s = 2.0
"""How long a question may take."""
REGISTER = "VALUE"


def microseconds() -> int:
    """The clock of a history."""
    return time.monotonic_ns() // 1000


async def connect_as(role: Role, name: str, data: Path) -> JetStreamBus:
    """A connection as somebody new, with the keys of a data directory."""
    return await connect(identity_of(data, role, name), name=name, make_stream=False, connect_s=30.0)


@dataclass
class _Register:
    """A number with a scheduler that only one client writes, and only upwards."""

    client: str
    number: int = 1
    value: int = 0
    made: bool = False
    """Whether it is there, as far as its client knows."""

    @property
    def name(self) -> str:
        return f"{self.client}-{self.number}"

    def raised(self, of: Author) -> Fact:
        """The request that gives it its value."""
        if of == MARATHON:
            spec = AppSpec(id=AppId(f"/{self.name}"), cmd="true", instances=0, env={REGISTER: str(self.value)})
            return AppRequested(app=spec, update=self.made, force=self.made)
        run = JobRunSpec(cpus=0.1, mem=32, disk=0, cmd="true")
        job = JobSpec(id=JobId(self.name), run=run, labels={REGISTER: str(self.value)})
        return JobRequested(job=job, update=self.made)


class Customer:
    """One client: what it asks is answered on its inbox, and it notes everything."""

    def __init__(self, bus: JetStreamBus, name: str, history: History) -> None:
        self.bus, self.me, self.history = bus, Author(Kind.CLIENT, name), history
        self._waiting: dict[RequestId, asyncio.Future[Event]] = {}
        self._registers: dict[Author, _Register] = {}
        self._turns = {MARATHON: asyncio.Lock(), METRONOME: asyncio.Lock()}

    async def listen(self, after: Position) -> None:
        """Take what is said to this client, for ever."""
        where = inbox(self.bus.cluster, self.me.id)
        async with aclosing(self.bus.follow(where, after=after)) as groups:
            async for records in groups:
                for record in records:
                    with suppress(Foreign, Unreadable):
                        self._heard(codec.decode(record.subject, record.body, record.position))

    def _heard(self, event: Event) -> None:
        waiting = self._waiting.get(event.request) if event.request else None
        if waiting is not None and not waiting.done():
            waiting.set_result(event)

    # ---- requests -----------------------------------------------------------------------------------------------

    async def request(
        self, of: Author, fact: Fact, *, register: str = "", value: int = 0, trace: TraceId | None = None
    ) -> Write:
        """Ask for something, and wait for the answer; as long as it is not known to be stored, ask the same again."""
        request = RequestId(uuid4().hex)
        write = Write(
            client=self.me.id,
            request=request,
            of=str(of),
            what=fact.type,
            register=register,
            value=value,
            asked_at=microseconds(),
        )
        self.history.add(write)
        answered = self._waiting[request] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(answer_s):
                event = self._event(of, fact, request, trace)
                write.stored = await self._store(event)
                _note(write, await answered)
        except (TimeoutError, StreamFull):
            if answered.done() and not answered.cancelled():
                _note(write, answered.result())
        finally:
            del self._waiting[request]
        return write

    def _event(self, of: Author, fact: Fact, request: RequestId, trace: TraceId | None) -> Event:
        at = Now(time.time_ns() // 1000)
        return Event(by=self.me, to=of.id, fact=fact, at=at, trace=trace or TraceId(request), request=request)

    async def _store(self, event: Event) -> Position:
        message = Message(codec.subject(self.bus.cluster, event), codec.encode(event), event.request)
        while True:
            try:
                return await self.bus.append([message], None)
            except OutcomeUnknown:
                await asyncio.sleep(again_s)

    async def tell(self, of: Author, fact: Fact, trace: TraceId) -> None:
        """Say something that nobody answers."""
        request = RequestId(uuid4().hex)
        write = Write(client=self.me.id, request=request, of=str(of), what=fact.type, asked_at=microseconds())
        self.history.add(write)
        with suppress(TimeoutError, StreamFull):
            async with asyncio.timeout(answer_s):
                write.stored = await self._store(self._event(of, fact, request, trace))

    async def write(self, of: Author) -> Write:
        """Raise the number of this client's register with a scheduler by one, one after another.

        One whose last outcome is unknown is left alone, for that may still come true; the next begins another.
        """
        async with self._turns[of]:
            register = self._registers.setdefault(of, _Register(self.me.id))
            register.value += 1
            done = await self.request(
                of, register.raised(of), register=f"{of.id}/{register.name}", value=register.value
            )
            register.made = True
            if done.ended_at is None:
                self._registers[of] = _Register(self.me.id, register.number + 1)
        return done

    # ---- questions ----------------------------------------------------------------------------------------------

    async def look(self, of: Author) -> Read:
        """Look at everybody's registers with a scheduler."""
        read = Read(client=self.me.id, of=str(of), what="list", asked_at=microseconds())
        query, shape = ("apps", list[AppRow]) if of == MARATHON else ("jobs", list[JobRow])
        rows = await self._asked(read, of, query, shape)
        if rows is not None:
            read.registers = dict(found for row in rows if (found := _register(of, row)))
            read.ended_at = microseconds()
        return read

    async def running_of(self, app: AppId) -> int:
        """How many instances of an app run, as Marathon counts; 0 while it does not answer."""
        read = Read(client=self.me.id, of=str(MARATHON), what="list", asked_at=microseconds())
        rows = await self._asked(read, MARATHON, "apps", list[AppRow]) or []
        return next((row.running for row in rows if row.app.id == app), 0)

    async def sum_up(self, of: Author, patience_s: float = look_s) -> Read:
        """Look at how far somebody is."""
        read = Read(client=self.me.id, of=str(of), what="summary", asked_at=microseconds())
        summary = await self._asked(read, of, "summary", Summary, patience_s)
        if summary is not None:
            read.epoch, read.n, read.ended_at = summary.epoch, summary.n, microseconds()
        return read

    async def _asked(self, read: Read, of: Author, query: str, shape: type[T], patience_s: float = look_s) -> T | None:
        self.history.add(read)
        try:
            subject = ask(self.bus.cluster, of, query)
            return unpack(await self.bus.query(subject, msgspec.msgpack.encode(None), timeout_s=patience_s), shape)
        except (NobodyThere, NoAnswer, QueryRefused) as error:
            read.why_not = f"{type(error).__name__}: {error}"
            return None

    async def live(self, pause_s: float) -> None:
        """Write and look in turn, with a pause after each round, for ever."""
        while True:
            for of in (MARATHON, METRONOME):
                await self.write(of)
                await self.look(of)
                await self.sum_up(of)
            await self.sum_up(MASTER)
            await asyncio.sleep(pause_s)


def _note(write: Write, answer: Event) -> None:
    write.ended_at, write.answer = microseconds(), answer.position
    if isinstance(answer.fact, RequestRefused):
        write.refused = f"{answer.fact.reason}: {answer.fact.message}"


def _register(of: Author, row: AppRow | JobRow) -> tuple[str, int] | None:
    values = row.app.env if isinstance(row, AppRow) else row.job.labels
    name = row.app.id.removeprefix("/") if isinstance(row, AppRow) else row.job.id
    return (f"{of.id}/{name}", int(values[REGISTER])) if REGISTER in values else None


@asynccontextmanager
async def customers(data: Path, names: Sequence[str], history: History) -> AsyncIterator[list[Customer]]:
    """Clients that are connected and listen."""
    found, listening = [], []
    try:
        for name in names:
            bus = await connect_as(Role.OPERATOR, name, data)
            customer = Customer(bus, name, history)
            newest = await bus.last(inbox(bus.cluster, name))
            found.append(customer)
            listening.append(asyncio.create_task(customer.listen(newest.position if newest else Position(0))))
        yield found
    finally:
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
        for customer in found:
            await customer.bus.close()
