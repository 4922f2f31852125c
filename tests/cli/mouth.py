"""Commands as people type them, against a bus in memory.

mouth = Mouth()
async with playing(mouth, MARATHON, {"apps": rows}):
    assert (await mouth("app", "list")).exit_code == 0
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from bus import codec, queries
from bus.credentials import Credentials
from bus.events import Event, Fact
from bus.memory import MemoryBus, MemoryServer
from bus.nkey import For, Key
from bus.nouns import NOTHING, FrameworkId, Now, Position, RequestId, TraceId, second
from bus.queries import FrameworkRow
from bus.subjects import CLUSTER, Author, ask, inbox
from cli.main import busbar
from cli.session import Reach, Where, client_id, user_name, wall_clock

ME = client_id(user_name())
START = Now(1_800_000_000 * second)
command_s = 20.0
ELSEWHERE = Credentials(url="nats://bus.example:4222", name=ME, role="admin", seed=Key.new(For.USER).seed)
"""What a command finds where it looks for the cluster's address."""


def known(framework: str) -> FrameworkRow:
    """A scheduler as the master lists it."""
    return FrameworkRow(
        framework=FrameworkId(framework),
        name=framework,
        role="*",
        state="ACTIVE",
        tasks=0,
        offers=0,
        used=NOTHING,
        share_milli=0,
        registered_at=START,
    )


class Mouth:
    """Runs commands in a thread of their own; their coroutines run in the test's event loop."""

    def __init__(self) -> None:
        self.server = MemoryServer(CLUSTER, wall_clock)

    async def __call__(self, *args: str, input: str | bytes | None = None) -> Result:
        loop = asyncio.get_running_loop()

        def run(work: Coroutine[Any, Any, None]) -> None:
            asyncio.run_coroutine_threadsafe(work, loop).result(command_s)

        reach = Reach(open=self._open, administer=self._administer, find=lambda _where: ELSEWHERE, run=run)
        return await asyncio.to_thread(CliRunner().invoke, busbar, args, input=input, obj=reach)

    async def json(self, *args: str, input: str | None = None) -> Any:
        """What a command says to programs."""
        result = await self(*args, "--json", input=input)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    @asynccontextmanager
    async def _open(self, _where: Where) -> AsyncIterator[MemoryBus]:
        bus = MemoryBus(self.server)
        try:
            yield bus
        finally:
            await bus.close()

    def _administer(self, where: Where, _keys: Path) -> AbstractAsyncContextManager[MemoryBus]:
        return self._open(where)

    def say(self, by: Author, fact: Fact, to: str = "_", **more: Any) -> Position:
        """Put an event into the stream as its author would."""
        event = Event(by=by, to=to, fact=fact, at=more.pop("at", START), **more)
        return self.server.inject(codec.subject(CLUSTER, event), codec.encode(event))

    def said(self, by: str = "client") -> list[Event]:
        """What authors of a kind said."""
        events = [codec.decode(record.subject, record.body, record.position) for record in self.server.records()]
        return [event for event in events if event.by.kind == by]


Answers = Mapping[str, object]
Reply = Callable[[Event], Iterable[Fact]]


@asynccontextmanager
async def playing(mouth: Mouth, author: Author, answers: Answers, reply: Reply | None = None) -> AsyncIterator[None]:
    """Play a component: serve answers to queries (a value, or a function of the question), reply to who asks.

    The first fact of a reply is the answer to the request; the others follow under the request's trace.
    """
    bus = MemoryBus(mouth.server)
    for query, content in answers.items():
        await bus.serve(ask(CLUSTER, author, query), _answerer(content))
    task = asyncio.create_task(_converse(mouth, bus, author, reply)) if reply else None
    try:
        yield
    finally:
        if task:
            task.cancel()
        await bus.close()


def _answerer(content: object) -> Callable[[bytes], Coroutine[Any, Any, bytes]]:
    async def answer(question: bytes) -> bytes:
        try:
            return queries.answer_ok(content(question) if callable(content) else content)
        except queries.QueryRefused as refused:
            return queries.answer_refused(str(refused))

    return answer


async def _converse(mouth: Mouth, bus: MemoryBus, author: Author, reply: Reply) -> None:
    async with aclosing(bus.follow(inbox(CLUSTER, author.id), after=Position(0))) as groups:
        async for records in groups:
            for record in records:
                event = codec.decode(record.subject, record.body, record.position)
                for index, fact in enumerate(reply(event)):
                    _reply(mouth, author, event, fact, event.request if index == 0 else None)


def _reply(mouth: Mouth, author: Author, to: Event, fact: Fact, request: RequestId | None) -> None:
    trace: TraceId | None = to.trace
    mouth.say(author, fact, to.by.id, trace=trace, request=request)
