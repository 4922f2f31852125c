"""What goes on an offer: who waited longest is served first; what does not fit does not hold up the others.

Rule of this room: of each offer it is known why not more was placed on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from bus.events import OfferMade
from bus.nouns import AppId, Now, Offer, TaskId, TaskInfo, Unfit
from components.answering import Placed, accept_bytes_max, answer_offers
from components.component import Say
from components.constraints import Tally, unmet
from components.marathon.avoiding import best_first, kept_away
from components.marathon.config import MarathonConfig
from components.marathon.instances import Waiting
from components.marathon.pods import infos_of
from components.marathon.state import App, MarathonState, in_rounds, last_any_port
from components.marathon.tasks import task_bytes
from components.matching import Shortfall, fit, take, wrong_role


def hear_offers(config: MarathonConfig, state: MarathonState, fact: OfferMade, now: Now) -> Iterator[Say]:
    """Answer every offer; want no more if nothing is left to place."""
    ready = [app for app in state.apps.values() if app.ready(now)]
    place = partial(_place, config, state, ready, {}, now)
    waiting = len(state.uneven) + sum(len(app.waiting) for app in state.apps.values())
    yield from answer_offers(best_first(ready, fact, now), place, waiting, decline_s=config.decline_s)


_Tallies = dict[AppId, Tally]
"""Of each app with constraints, counted once in a decision."""


def tally_of(app: App) -> Tally:
    """Where the instances of an app's present version are, as its constraints count them."""
    placed = ((one.hostname, one.place) for task, one in app.launched.items() if task not in app.outdated)
    return Tally(app.spec.constraints, placed)


class _Turn(NamedTuple):
    """Of an app in the line for an offer, the instance that waits longest, and those behind it."""

    order: int
    task: TaskId
    app: App
    behind: Iterator[tuple[TaskId, Waiting]]


class _Plan:
    """One offer, while it is filled."""

    def __init__(self, config: MarathonConfig, state: MarathonState, tallies: _Tallies, now: Now, offer: Offer) -> None:
        self.config, self.tallies, self.now, self.offer = config, tallies, now, offer
        self.free = offer.resources
        self.last_port = state.last_ports.get(offer.agent, 0)
        self.launch: list[TaskInfo] = []
        self.unfit: list[Unfit] = []
        self.size = self.served = 0

    @property
    def full(self) -> bool:
        return len(self.launch) >= self.config.launches_max or self.size >= accept_bytes_max

    def lacks(self, app: App) -> list[Shortfall]:
        """Each check that fails, in the order of `matching.REASONS`."""
        spec = app.spec
        short = wrong_role(spec.accepted_resource_roles, self.offer.role)
        if spec.constraints:
            short += unmet(spec.constraints, self.offer, self._tally(app))
        if app.avoided:
            short += kept_away(app, self.offer.agent, self.now)
        return short + fit(self.free, spec.resources, _numbers(app), required=spec.require_ports, gpus=spec.gpus)

    def _tally(self, app: App) -> Tally:
        """Where the app's instances are, those of this decision included."""
        if app.spec.id not in self.tallies:
            self.tallies[app.spec.id] = tally_of(app)
        return self.tallies[app.spec.id]

    def add(self, app: App, task: TaskId) -> None:
        """One more task on the offer."""
        spec = app.spec
        taken = take(self.free, spec.resources, _numbers(app), required=spec.require_ports, after=self.last_port)
        infos = infos_of(spec, app.version, app.asked.trace, task, self.config.id, self.offer, taken)
        self.launch += infos
        self.served += 1
        self.size += sum(map(task_bytes, infos))
        self.free -= taken.resources
        self.last_port = last_any_port(spec, taken.ports, self.last_port)
        if spec.constraints:
            self._tally(app).add(infos[0].hostname, infos[0].place)

    def reject(self, app: App, short: Sequence[Shortfall]) -> None:
        """Write down why an app does not fit."""
        agent, offer = self.offer.agent, self.offer.offer
        self.unfit += [Unfit(agent=agent, offer=offer, app=app.spec.id, **one._asdict()) for one in short]


def _place(
    config: MarathonConfig,
    state: MarathonState,
    ready: Sequence[App],
    tallies: _Tallies,
    now: Now,
    offer: Offer,
    reasons_max: int,
) -> Placed:
    plan = _Plan(config, state, tallies, now, offer)
    line = [turn for app in ready if (turn := _turn(app, iter(app.waiting.items())))]
    heapify(line)
    while line and not plan.full:
        turn = heappop(line)
        short = plan.lacks(turn.app)
        if not short:
            plan.add(turn.app, turn.task)
            following = _turn(turn.app, turn.behind)
            if following and not in_rounds(turn.app):
                heappush(line, following)
        elif len(plan.unfit) < reasons_max:
            plan.reject(turn.app, short)
    return Placed(tuple(plan.launch), tuple(plan.unfit), plan.size, cut=bool(line), served=plan.served)


def _turn(app: App, queue: Iterator[tuple[TaskId, Waiting]]) -> _Turn | None:
    for task, waiting in queue:
        return _Turn(waiting.order, task, app, queue)
    return None


def _numbers(app: App) -> tuple[int, ...]:
    return tuple(port.port for port in app.spec.wanted_ports)
