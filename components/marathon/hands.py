"""What Marathon does in the world: it looks whether running instances are healthy, and whether new ones are ready.

Rule of this room: here is looked, and nothing is counted. A look that finds what the one before it found is told only
if it failed. Instances are looked for where their agents say that they are. (Marathon: `HealthCheckWorker.scala`)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from bus import logs
from bus.events import Event, OfferAccepted
from bus.nouns import TERMINAL, Check, Probe, TaskId, TaskInfo, TaskState
from bus.services import AppUpdated, InstanceDismissed, InstanceExpunged, ReadinessChanged
from components.component import Ask, See
from components.marathon.health import body_length_max
from components.marathon.sights import CheckSeen, ReadinessSeen
from components.marathon.state import MarathonState
from components.probing import Answer, ProbeFailed, connect, get

log = logs.get_logger()

looks_max = 256
"""At the same time. (Marathon: health check threads)"""
READY_FIRST = (200,)


class Target:
    """An instance and what is looked at."""

    __slots__ = ("host", "looking", "readiness", "watched")

    def __init__(self, host: str, watched: tuple[Check, ...], readiness: Check | None) -> None:
        self.host, self.watched, self.readiness = host, watched, readiness
        self.looking: list[asyncio.Task[None]] = []

    @classmethod
    def of(cls, info: TaskInfo) -> Target | None:
        """What is to be looked at of a task, if anything is."""
        return cls(info.hostname, info.watched, info.readiness) if info.watched or info.readiness else None


class MarathonHands:
    """The hands of one Marathon that leads; `pause` is what waits so many seconds between two looks."""

    def __init__(self, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._pause = pause
        self.asks: Mapping[str, Ask] = {}
        self._targets: dict[TaskId, Target] = {}
        self._room = asyncio.Semaphore(looks_max)
        self._see: See | None = None

    async def run(self, state: MarathonState, see: See) -> None:
        """Look after what runs, until cancelled."""
        self._see = see
        for app in state.apps.values():
            for task, one in (*app.launched.items(), *app.absent.items()):
                if one.watched or one.asked_ready is not None:
                    asked = one.asked_ready if not one.ready else None
                    self._targets[task] = Target(one.hostname, one.watched, asked)
                    if one.state is TaskState.RUNNING:
                        self._begin(task)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for task in list(self._targets):
                self._end(task)

    def act(self, event: Event) -> None:
        """Begin with an instance that runs, end with one that does not, or is not wanted any more."""
        match event.fact:
            case OfferAccepted(launch=launch):
                for info in launch:
                    target = Target.of(info)
                    if target is not None:
                        self._targets[info.task] = target
            case AppUpdated(status=status) if status.state is TaskState.RUNNING:
                self._begin(status.task)
            case AppUpdated(status=status):
                self._end(status.task, forget=status.state in TERMINAL)
            case InstanceDismissed(task=task) | InstanceExpunged(task=task):
                self._end(task, forget=True)
            case ReadinessChanged(task=task, ready=True) if task in self._targets:
                self._targets[task].readiness = None

    def _begin(self, task: TaskId) -> None:
        target = self._targets.get(task)
        if target is None or target.looking or self._see is None:
            return
        looks = [self._watch(task, target, index, self._see) for index in range(len(target.watched))]
        if target.readiness is not None:
            looks.append(self._ask(task, target, target.readiness, self._see))
        for look in looks:
            looking = asyncio.create_task(look)
            looking.add_done_callback(_complain)
            target.looking.append(looking)

    def _end(self, task: TaskId, *, forget: bool = False) -> None:
        target = self._targets.get(task)
        if target is None:
            return
        for looking in target.looking:
            looking.cancel()
        target.looking.clear()
        if forget:
            del self._targets[task]

    async def _watch(self, task: TaskId, target: Target, index: int, see: See) -> None:
        """Look again and again; tell the first success after anything else, and every failure."""
        check, told = target.watched[index], False
        while True:
            good, cause = await self._look(target.host, check)
            if good is False or (good and not told):
                await see(CheckSeen(task=task, check=index, healthy=good, cause=cause))
            told = told if good is None else good
            await self._pause(check.interval_s)

    async def _look(self, host: str, check: Check) -> tuple[bool | None, str]:
        """Whether a look is good, or says nothing; and what was wrong."""
        try:
            async with self._room, asyncio.timeout(check.timeout_s or None):
                if check.probe is Probe.TCP:
                    await connect(host, check.port)
                    return True, ""
                status = (await get(address(host, check), interim=check.ignore_1xx)).status
        except TimeoutError:
            return False, f"no answer within {check.timeout_s:g} s"
        except ProbeFailed as error:
            return False, str(error)
        if check.ignore_1xx and 100 <= status < 200:
            return None, ""
        good = 200 <= status < 400
        return good, "" if good else f"HTTP {status} from {address(host, check)}"

    async def _ask(self, task: TaskId, target: Target, check: Check, see: See) -> None:
        """Ask until it is ready."""
        while target.readiness is not None:
            seen = await self._asked(task, target.host, check)
            await see(seen)
            await self._pause(check.interval_s)

    async def _asked(self, task: TaskId, host: str, check: Check) -> ReadinessSeen:
        most = body_length_max if check.keep else 0
        try:
            async with self._room, asyncio.timeout(check.timeout_s or None):
                answer = await get(address(host, check), body_bytes_max=most)
        except TimeoutError:
            return ReadinessSeen(task=task, ready=False, cause=f"no answer within {check.timeout_s:g} s")
        except ProbeFailed as error:
            return ReadinessSeen(task=task, ready=False, cause=str(error))
        return _judged(task, check, answer)


def _judged(task: TaskId, check: Check, answer: Answer) -> ReadinessSeen:
    ready = answer.status in (check.codes or READY_FIRST)
    return ReadinessSeen(
        task=task,
        ready=ready,
        status=answer.status,
        content_type=answer.headers.get("content-type", ""),
        body=answer.body.decode("utf-8", "replace"),
        cause="" if ready else f"HTTP {answer.status}",
    )


def address(host: str, check: Check) -> str:
    """Where an instance is looked at."""
    at = f"[{host}]" if ":" in host else host
    return f"{check.probe.lower()}://{at}:{check.port}{check.path}"


def _complain(looking: asyncio.Task[None]) -> None:
    if not looking.cancelled() and looking.exception() is not None:
        log.error("a check ended, and the instance is looked after no more", error=looking.exception())
