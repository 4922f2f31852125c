"""How offers are answered: launches where something waits and fits, a reason where it does not.

Rule of this room: every offer is answered in the decision that hears it. Who waited longest is served first; what
does not fit does not hold up the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from bus.events import FrameworkSuppressed, OfferAccepted, OfferDeclined, OfferMade
from bus.nouns import MASTER, Now, Offer, OfferId, TaskId, TaskInfo, Unfit
from components.component import Say
from components.marathon.config import MarathonConfig
from components.marathon.state import App, MarathonState, Waiting, last_any_port
from components.marathon.tasks import task_bytes, task_info
from components.matching import Shortfall, fit, take

accepts_max = 250
"""Offers accepted in one decision; the rest is given back and asked for again."""
accept_bytes_max = 200 * 1024
"""Of tasks, in one accept."""
launch_bytes_max = 3 * 1024 * 1024
"""Of tasks, in one decision."""
unfits_max = 500
"""In one event."""
decision_unfits_max = 5000
"""In one decision; of further offers the reasons are not said."""


def answer_offers(config: MarathonConfig, state: MarathonState, fact: OfferMade, now: Now) -> Iterator[Say]:
    """Accept, decline or give back every offer; want no more if nothing is left to place."""
    offers, ready = deque(fact.offers), [app for app in state.apps.values() if app.ready(now)]
    unused: list[tuple[OfferId, tuple[Unfit, ...]]] = []
    accepts = launch_bytes = unfits = 0
    while offers and accepts < accepts_max and launch_bytes < launch_bytes_max:
        offer = offers.popleft()
        placed = _place(config, state, ready, offer, reasons=unfits < decision_unfits_max)
        unfits += len(placed.unfit)
        if placed.launch:
            yield _accept(config, offer, placed)
            accepts, launch_bytes = accepts + 1, launch_bytes + placed.size
        else:
            unused.append((offer.offer, placed.unfit))
    yield from _decline(config, unused)
    if offers:
        refuse_s = config.decline_s if state.idle else 0.0
        yield Say(OfferDeclined(offers=tuple(offer.offer for offer in offers), refuse_s=refuse_s), to=MASTER)
    if state.idle and not state.suppressed:
        yield Say(FrameworkSuppressed(framework=config.id), to=MASTER)


def _accept(config: MarathonConfig, offer: Offer, placed: _Placed) -> Say:
    traces = {task.trace for task in placed.launch}
    fact = OfferAccepted(
        offers=(offer.offer,),
        launch=placed.launch,
        refuse_s=0.0 if placed.cut else config.decline_s,
        unfit=placed.unfit,
    )
    return Say(fact, to=MASTER, trace=traces.pop() if len(traces) == 1 else None)


def _decline(config: MarathonConfig, unused: Sequence[tuple[OfferId, tuple[Unfit, ...]]]) -> Iterator[Say]:
    """One event; more only where the reasons would make it too large."""
    offers: list[OfferId] = []
    unfit: list[Unfit] = []
    for offer, reasons in unused:
        if offers and len(unfit) + len(reasons) > unfits_max:
            yield _declined(config, offers, unfit)
            offers, unfit = [], []
        offers.append(offer)
        unfit += reasons
    if offers:
        yield _declined(config, offers, unfit)


def _declined(config: MarathonConfig, offers: Sequence[OfferId], unfit: Sequence[Unfit]) -> Say:
    return Say(OfferDeclined(offers=tuple(offers), refuse_s=config.decline_s, unfit=tuple(unfit)), to=MASTER)


# ---- one offer --------------------------------------------------------------------------------------------------


class _Placed(NamedTuple):
    """What one offer is used for, and why not for more."""

    launch: tuple[TaskInfo, ...]
    unfit: tuple[Unfit, ...]
    size: int
    cut: bool
    """Whether more might fit, were there no limit."""


class _Turn(NamedTuple):
    """Of an app in the line for an offer, the instance that waits longest, and those behind it."""

    order: int
    task: TaskId
    app: App
    behind: Iterator[tuple[TaskId, Waiting]]


class _Plan:
    """One offer, while it is filled."""

    def __init__(self, config: MarathonConfig, state: MarathonState, offer: Offer) -> None:
        self.config, self.offer = config, offer
        self.free = offer.resources
        self.last_port = state.last_ports.get(offer.agent, 0)
        self.launch: list[TaskInfo] = []
        self.unfit: list[Unfit] = []
        self.size = 0

    @property
    def full(self) -> bool:
        return len(self.launch) >= self.config.launches_max or self.size >= accept_bytes_max

    def lacks(self, app: App) -> list[Shortfall]:
        return fit(self.free, app.spec.resources, _numbers(app), required=app.spec.require_ports)

    def add(self, app: App, task: TaskId) -> None:
        """One more task on the offer."""
        spec = app.spec
        taken = take(self.free, spec.resources, _numbers(app), required=spec.require_ports, after=self.last_port)
        info = task_info(spec, app.version, app.trace, task, self.config.id, self.offer, taken)
        self.launch.append(info)
        self.size += task_bytes(info)
        self.free -= taken.resources
        self.last_port = last_any_port(spec, taken.ports, self.last_port)

    def reject(self, app: App, short: Sequence[Shortfall]) -> None:
        """Write down why an app does not fit."""
        agent, offer = self.offer.agent, self.offer.offer
        self.unfit += [Unfit(agent=agent, offer=offer, app=app.spec.id, **one._asdict()) for one in short]


def _place(
    config: MarathonConfig, state: MarathonState, ready: Sequence[App], offer: Offer, *, reasons: bool
) -> _Placed:
    plan = _Plan(config, state, offer)
    line = [turn for app in ready if (turn := _turn(app, iter(app.waiting.items())))]
    heapify(line)
    while line and not plan.full:
        turn = heappop(line)
        short = plan.lacks(turn.app)
        if not short:
            plan.add(turn.app, turn.task)
            following = _turn(turn.app, turn.behind)
            if following:
                heappush(line, following)
        elif reasons and len(plan.unfit) < unfits_max:
            plan.reject(turn.app, short)
    return _Placed(tuple(plan.launch), tuple(plan.unfit), plan.size, cut=bool(line))


def _turn(app: App, queue: Iterator[tuple[TaskId, Waiting]]) -> _Turn | None:
    for task, waiting in queue:
        return _Turn(waiting.order, task, app, queue)
    return None


def _numbers(app: App) -> tuple[int, ...]:
    return tuple(port.port for port in app.spec.wanted_ports)
