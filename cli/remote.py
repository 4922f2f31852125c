"""The past from afar: a master tells what its store has, with the very command a person would run beside it.

Rule of this room: what a question may cost the master is bounded: one at a time, in a process of its own that can only
read, for so long and so many bytes.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec

from bus.job_rows import RunRow, RunsQuestion
from bus.nouns import Now, Position
from bus.port import NoAnswer, NobodyThere
from bus.queries import PastQuestion, QueryRefused, TasksQuestion, pack, unpack
from bus.subjects import Author, ask
from bus.waiting_rows import ExplainQuestion, JobExplainQuestion
from cli.moments import Moment, Point
from cli.output import Failure, Output
from cli.processes import OWN_COMMAND
from cli.session import THE_MASTER, NotThere, Session

R = TypeVar("R")

told_s = 45.0
"""How long a master may take to tell the past; without snapshots it folds a million events."""
asked_s = 60.0
told_bytes_max = 32 * 1024 * 1024
_TOGETHER = {"runs": "jobs"}
"""What is told together with something else."""
_EXPLAINED = ("app", "job")
"""Of what one can be asked why it waits."""


class PastTeller:
    """Answers the query `past` from a master's store."""

    def __init__(self, store: str | None, command: tuple[str, ...] = OWN_COMMAND) -> None:
        self.store, self.command = store, command
        self._turn = asyncio.Lock()

    async def __call__(self, question: bytes) -> bytes:
        """The JSON that `busbar state` prints. Raises QueryRefused, msgspec.DecodeError."""
        asked = msgspec.msgpack.decode(question, type=PastQuestion)
        if self.store is None:
            raise QueryRefused("this master records its events nowhere: it has no past to tell")
        when = ("--store", self.store, f"--at={asked.moment}", "--json")
        if asked.what == "queue":
            argv = [*self.command, "app", "queue", *when]
        elif asked.what in _EXPLAINED:
            argv = [*self.command, asked.what, "explain", *when, "--", asked.id]
        else:
            every = ("--all",) if asked.ended_too else ()
            argv = [*self.command, "state", *when, *every, "--", asked.what]
        async with self._turn:
            return await _run(argv)


async def _run(argv: list[str]) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(told_s):
            told, complained = await asyncio.gather(_read(process.stdout), _read(process.stderr))
            code = await process.wait()
    except TimeoutError:
        raise QueryRefused(f"the past was not folded within {told_s:g} s: ask beside a store, with --store") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code:
        raise QueryRefused(complained.decode(errors="replace").partition("\n")[0].removeprefix("error: "))
    return told


async def _read(stream: asyncio.StreamReader | None) -> bytes:
    """All of it. Raises QueryRefused beyond a bound."""
    assert stream is not None, "the process was started with pipes"
    pieces: list[bytes] = []
    size = 0
    while piece := await stream.read(65536):
        pieces.append(piece)
        size += len(piece)
        if size > told_bytes_max:
            raise QueryRefused(f"the answer is larger than {told_bytes_max} bytes: ask beside a store, with --store")
    return b"".join(pieces)


class RemotePast:
    """A datacenter as the leading master's store has it at one moment."""

    def __init__(self, session: Session, moment: Moment) -> None:
        self.session, self.moment = session, moment
        self._told: dict[tuple[str, bool], msgspec.Raw] = {}
        """Rows by the name of their query, and whether the ended are among them."""
        self._point: Point | None = None

    @property
    def out(self) -> Output:
        """Where the answer goes."""
        return self.session.out

    @property
    def point(self) -> Point:
        """Where in the stream the moment is, by the first answer."""
        assert self._point is not None, "nothing was asked yet"
        return self._point

    def now(self) -> Now:
        """What time it was."""
        return self.point.at

    async def ask(self, _of: Author, query: str, shape: type[R], question: object = None) -> R:
        """What a component would have answered. Raises Failure."""
        if isinstance(question, ExplainQuestion | JobExplainQuestion):
            return await self._explained(question, shape)
        if query == "queue":
            return msgspec.json.decode(await self._ask(PastQuestion(what=query, moment=self._text())), type=shape)
        ended_too = isinstance(question, TasksQuestion) and question.all
        rows = msgspec.json.decode(await self._rows(query, ended_too), type=shape)
        if isinstance(question, RunsQuestion) and isinstance(rows, list):
            rows[:] = [row for row in rows if isinstance(row, RunRow) and question.wants(row)]
        return rows

    async def _explained(self, question: ExplainQuestion | JobExplainQuestion, shape: type[R]) -> R:
        what, name = ("app", question.app) if isinstance(question, ExplainQuestion) else ("job", question.job)
        told = msgspec.json.decode(await self._ask(PastQuestion(what=what, moment=self._text(), id=name)))
        told.pop("not_offered", None)  # asked of the nodes as they were, as everybody else does
        return msgspec.convert(told, shape)

    async def _rows(self, query: str, ended_too: bool) -> msgspec.Raw:
        if (query, ended_too) not in self._told:
            what = "all" if self._told else _TOGETHER.get(query, query)  # who asks for two things asks for more
            question = PastQuestion(what=what, moment=self._text(), ended_too=ended_too)
            told = msgspec.json.decode(await self._ask(question), type=dict[str, msgspec.Raw])
            position, at = (msgspec.json.decode(told.pop(name), type=int) for name in ("position", "at"))
            self._point = self._point or Point(Position(position), Now(at))
            self._told |= {(name, ended_too and name == "tasks"): rows for name, rows in told.items()}
        return self._told[query, ended_too]

    async def _ask(self, question: PastQuestion) -> bytes:
        subject = ask(self.session.cluster, THE_MASTER, "past")
        try:
            return unpack(await self.session.bus.query(subject, pack(question), timeout_s=asked_s), bytes)
        except NobodyThere:
            raise NotThere(
                "the master is not running: ask beside a store, with --store", next_="busbar status"
            ) from None
        except NoAnswer:
            raise NotThere(f"the master did not tell the past within {asked_s:g} s", next_="busbar status") from None
        except QueryRefused as refused:
            raise Failure(str(refused)) from None

    def _text(self) -> str:
        """The moment as the master is to read it: the same for every question, in no zone of anybody's."""
        if self._point is not None and self.moment.time is None:
            return str(self._point.position)
        if self.moment.time is not None:
            return (_EPOCH + timedelta(microseconds=self.moment.time)).isoformat(timespec="microseconds")
        return "now" if self.moment.position is None else str(self.moment.position)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
