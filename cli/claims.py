"""What Busbar claims, each as a function that finds out: it says what it saw, or fails.

Rule of this room: nothing is taken for true because a command returned; pages are fetched, outputs counted, processes
killed, states compared.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from bus import codec
from bus.app_rows import InstanceRow
from bus.documents import AppSpec, JobSpec, plain_env
from bus.documents.reading import parse_document
from bus.nouns import AppId, TaskId, TaskState
from bus.queries import CountsRow, Summary, TaskRow, TasksQuestion, Trace
from bus.services import AppRequested, JobRequested, RunCreated, RunRequested
from bus.subjects import everything
from cli.logs import pieces
from cli.output import Failure, Part, Table, span
from cli.processes import recorded
from cli.progress import app_row, wait_app, wait_run
from cli.request import conversation
from cli.session import MARATHON, METRONOME, THE_MASTER, Session
from cli.task import trace_parts
from components.component import Component, State, apply, state_hash
from components.marathon import MarathonConfig
from components.marathon import component as marathon
from components.master import MasterConfig
from components.master import component as master
from components.metronome import MetronomeConfig
from components.metronome import component as metronome
from eventstore.store import Reader, open_reader

S = TypeVar("S", bound=State)
T = TypeVar("T")
patience_s = 15.0
"""How long one thing may take to come true."""
look_again_s = 0.05
STEPS = set(range(1, 13))
MEMBERS = {"bus", "master", "a1", "a2", "marathon", "metronome"}


class Page(NamedTuple):
    """A page that an instance served."""

    task: TaskId
    address: str
    text: str
    pid: int
    """Of the process that served it, as it says."""


@dataclass(slots=True)
class Stage:
    """A datacenter that claims are made about, and what was seen of it so far."""

    session: Session
    data: Path
    web: dict[TaskId, Page] = field(default_factory=dict)
    """The first instances of the service, and their pages."""
    parts: list[Part] = field(default_factory=list)
    """What else there is to see of the claim at hand."""


Claim = Callable[[Stage], Awaitable[str]]


def example(name: str) -> bytes:
    """A document from `examples/`, wherever Busbar is installed."""
    return (Path(__file__).with_name("examples") / name).read_bytes()


async def until(what: str, look: Callable[[], Awaitable[T | None]]) -> T:
    """Look until there is something to see. Raises Failure that says what was not seen."""
    deadline = time.monotonic() + patience_s
    while (seen := await look()) is None:
        if time.monotonic() >= deadline:
            raise Failure(f"{what}: not within {patience_s:g} s")
        await asyncio.sleep(look_again_s)
    return seen


async def processes(stage: Stage) -> str:
    """A bus, a master, two agents, marathon and metronome are up, each a process of its own."""
    running = recorded(stage.data / "run")
    missing = MEMBERS - {process.name for process in running}
    if missing or len({process.pid for process in running}) < len(running):
        raise Failure(f"not running as a process of its own: {', '.join(sorted(missing)) or 'two share one'}")
    return ", ".join(f"{process.name} is {process.pid}" for process in running)


async def web(stage: Stage) -> str:
    """A service of two instances runs, and a page comes from each."""
    spec = parse_document(example("web.json"), AppSpec)
    async with conversation(stage.session, MARATHON) as talk:
        await talk.ask(AppRequested(app=spec))
        row = await wait_app(talk, spec.id, patience_s)
    pages = [await _page(instance) for instance in row.instances]
    stage.parts += [f"  {page.address}  {page.text}" for page in pages]
    if len(pages) != 2:
        raise Failure(f"{len(pages)} instances, expected 2")
    stage.web = {page.task: page for page in pages}
    return " and ".join(f"{page.task} answers at {page.address}" for page in pages)


async def _page(instance: InstanceRow) -> Page:
    """The page of one instance. Raises Failure unless it comes from that instance."""
    address = f"http://{instance.hostname}:{instance.ports[0]}/"

    async def look() -> Page | None:
        text = await asyncio.to_thread(_fetch, address)
        pid = re.search(r"pid (\d+)", text or "")
        return Page(instance.task, address, text, int(pid[1])) if text and pid else None

    page = await until(f"a page from {address}", look)
    if instance.task not in page.text:
        raise Failure(f"{address} answered, but not as {instance.task}: {page.text}")
    return page


def _fetch(address: str) -> str | None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(address, timeout=2) as answer:
            return str(answer.read(10_000).decode()).strip()
    except OSError:
        return None  # it is not listening yet: looked at again until the patience ends


async def wordcount(stage: Stage) -> str:
    """A job counts the words of a text; what it printed is what the text holds."""
    spec = parse_document(example("wordcount.json"), JobSpec)
    async with conversation(stage.session, METRONOME) as talk:
        await talk.ask(JobRequested(job=spec))
    async with conversation(stage.session, METRONOME) as talk:
        created = (await talk.ask(RunRequested(job=spec.id))).fact
        assert isinstance(created, RunCreated), f"metronome answered {created.type}"
        run = await wait_run(talk, created.run, patience_s)
    lines = (await _output(stage, run.tasks[-1].task)).split("\n") if run.tasks else []
    counted = {word: int(count) for count, word in (line.split() for line in lines if line)}
    if run.state != "SUCCESS" or counted != Counter(re.findall("[a-z]+", plain_env(spec.run)["TEXT"].lower())):
        raise Failure(f"run {run.run} is {run.state} and counted {len(counted)} words wrongly")
    stage.parts += [f"  {line.strip()}" for line in lines[:5]]
    return f"{sum(counted.values())} words, {len(counted)} different ones, counted by run {run.run}"


async def _output(stage: Stage, task: TaskId) -> str:
    """What a task wrote to stdout, as its agent has it."""

    async def look() -> TaskRow | None:
        question = TasksQuestion(all=True, prefix=task)
        rows = await stage.session.ask(THE_MASTER, "tasks", list[TaskRow], question)
        return next((row for row in rows if row.task == task), None)

    row = await until(f"task {task}", look)
    return b"".join([piece.data async for piece in pieces(stage.session, row, "stdout", follow=False)]).decode()


async def replaced(stage: Stage) -> str:
    """An instance killed by SIGKILL is replaced, and a page comes from the replacement."""
    task, page = next(iter(stage.web.items()))
    began = time.monotonic()
    _kill(page.pid, task)

    async def look() -> InstanceRow | None:
        row = await app_row(stage.session, AppId("/web"))
        fresh = [one for one in row.instances if one.replaces == task and one.state is TaskState.RUNNING] if row else []
        return fresh[0] if fresh else None

    instance = await until(f"a replacement of {task}", look)
    took_s = time.monotonic() - began
    fresh = await _page(instance)
    stage.parts += [f"  {fresh.address}  {fresh.text}"]
    return f"pid {page.pid} killed; {instance.task} runs after {took_s:.1f} s and answers at {fresh.address}"


def _kill(pid: int, task: TaskId) -> None:
    """SIGKILL a task's process, once it is sure that it is the task's."""
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    if f"MESOS_TASK_ID={task}".encode() not in environment:
        raise Failure(f"process {pid} is not task {task}")
    os.kill(pid, signal.SIGKILL)


async def trace(stage: Stage) -> str:
    """The trace of a task tells all twelve steps, each with its event."""
    task = next(iter(stage.web))

    async def look() -> Trace | None:
        told = await stage.session.ask(THE_MASTER, "trace", Trace, task)
        return told if {row.step for row in told.rows if row.position} == STEPS else None

    told = await until(f"twelve steps of {task}", look)
    stage.parts += trace_parts(told)
    slowest = next(row for row in told.rows if row.slowest)
    return f"{task}: {len(STEPS)} steps; the slowest was {slowest.step}, {span(slowest.since_previous_us)}"


async def counts(stage: Stage) -> str:
    """The history is counted, and not one event of the stream is missing in the store."""

    async def look() -> list[CountsRow] | None:
        rows = await stage.session.ask(THE_MASTER, "counts", list[CountsRow])
        newest = await stage.session.bus.last(everything(stage.session.cluster))
        return rows if newest and sum(row.count for row in rows) == newest.position else None

    rows = await until("as many events in the store as in the stream", look)
    stage.parts.append(Table(("author", "event", "count"), [[row.kind, row.type, str(row.count)] for row in rows]))
    return f"{sum(row.count for row in rows)} events of {len({row.type for row in rows})} types"


async def rebuilt(stage: Stage) -> str:
    """States folded from the store alone equal the live ones: the master's, marathon's, metronome's."""
    async with open_reader(stage.data / "master" / "events.db") as store:
        said = [
            await _rebuild(stage, store, master(MasterConfig())),
            await _rebuild(stage, store, marathon(MarathonConfig())),
            await _rebuild(stage, store, metronome(MetronomeConfig())),
        ]
    return "; ".join(said)


async def _rebuild(stage: Stage, store: Reader, component: Component[S]) -> str:
    """One component's state from the store, held against what the component says of itself."""
    live = await stage.session.ask(component.author, "summary", Summary)

    async def look() -> bool | None:
        return await store.last() >= live.position or None

    await until(f"event {live.position} in the store", look)
    state = component.start()
    async for records in store.records(author=component.author, to=live.position):
        for record in records:
            apply(component, state, codec.decode(record.subject, record.body, 0))
    if (state.n, state_hash(state)) != (live.n, live.state_hash):
        raise Failure(f"{component.author} is at event {live.n} with {live.state_hash}, the store gives {state.n}")
    return f"{component.author} after event {state.n} has hash {live.state_hash[:12]}, live and rebuilt"


CLAIMS: tuple[Claim, ...] = (processes, web, wordcount, replaced, trace, counts, rebuilt)
"""In this order: later ones look at what earlier ones did."""
