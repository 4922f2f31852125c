"""Busbar among its peers: `busbar up` as it is, asked over one client's connection.

Rule of this room: the same work in the same words as the others': a job run many times, a service of many instances.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import ClassVar, TypeVar
from uuid import uuid4

from bus.documents import AppSpec, JobRunSpec, JobSpec
from bus.nouns import AppId, JobId
from bus.services import (
    AppRequested,
    DeploymentStarted,
    JobRequested,
    JobSpecified,
    RemovalRequested,
    RunRequested,
    ScaleRequested,
)
from cli.session import MARATHON, METRONOME
from ops.bench.burst import run_all
from ops.bench.client import Client, client
from ops.bench.latency import is_run
from ops.bench.peer import Peer
from ops.bench.service import all_killed, all_run, is_removal
from ops.bench.site import Site

T = TypeVar("T")
SINGLE = JobId("bench-single")


class Busbar(Peer):
    """Ourselves."""

    name: ClassVar[str] = "busbar"

    @classmethod
    def missing(cls) -> str:
        return ""

    def start(self) -> None:
        self._site, self._app, self._count = Site(self.directory), AppId("/bench"), 0
        self._site.up()
        self._with(self._job(SINGLE, ("/bin/sleep", "0.1")))

    def stop(self) -> None:
        if self._site is not None:
            self._site.down()
            self._site = None

    _site: Site | None = None

    def _with(self, work: Callable[[Client], Awaitable[T]]) -> T:
        assert self._site is not None, "not started"
        site = self._site

        async def run() -> T:
            async with site.bus() as bus, client(bus) as found:
                return await work(found)

        return asyncio.run(run())

    def _job(self, job: JobId, args: tuple[str, ...]) -> Callable[[Client], Awaitable[None]]:
        async def make(found: Client) -> None:
            spec = JobSpec(id=job, run=JobRunSpec(cpus=0.01, mem=32, disk=0, args=args))
            await found.say(METRONOME, JobRequested(job=spec))
            await found.hear("job specified", lambda event: isinstance(event.fact, JobSpecified))

        return make

    def burst(self, count: int) -> None:
        async def work(found: Client) -> None:
            job = JobId(f"bench-{uuid4().hex[:8]}")
            await self._job(job, ("/bin/true",))(found)
            await run_all(found, job, count)

        self._with(work)

    def single(self) -> float:
        async def work(found: Client) -> float:
            began = time.perf_counter()
            trace = await found.say(METRONOME, RunRequested(job=SINGLE))
            _, heard_at = await found.hear("run RUNNING", is_run(trace, "ACTIVE"))
            await found.hear("run SUCCESS", is_run(trace, "SUCCESS"))
            return heard_at - began

        return self._with(work)

    def up(self, count: int) -> None:
        async def work(found: Client) -> None:
            spec = AppSpec(id=self._app, cmd="exec sleep 1000", cpus=0.01, mem=32, instances=count, ports=())
            await found.say(MARATHON, AppRequested(app=spec))
            await found.hear("app specified", lambda event: isinstance(event.fact, DeploymentStarted))
            await found.hear(f"{count} instances", all_run(count))

        self._count = count
        self._with(work)

    def down(self) -> None:
        async def work(found: Client) -> None:
            await found.say(MARATHON, ScaleRequested(app=self._app, instances=0))
            await found.hear("no instances", all_killed(self._count))
            await found.say(MARATHON, RemovalRequested(app=self._app))
            await found.hear("app removed", is_removal)

        self._with(work)
