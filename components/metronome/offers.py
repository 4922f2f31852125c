"""How offers are answered: launches where something waits and fits, a reason where it does not.

Rule of this room: every offer is answered in the decision that hears it. The job that waited longest is served first;
what does not fit does not hold up the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bus.events import FrameworkSuppressed, OfferAccepted, OfferDeclined, OfferMade
from bus.nouns import MASTER, Offer, OfferId, RunId, TaskId, TaskInfo, Unfit
from components.component import Say
from components.matching import fit
from components.metronome.config import MetronomeConfig
from components.metronome.state import MetronomeState, Version
from components.metronome.tasks import task_bytes, task_info

accepts_max = 250
"""Offers accepted in one decision; the rest is given back and asked for again."""
accept_bytes_max = 200 * 1024
"""Of tasks, in one accept, before its last."""
launch_bytes_max = 3 * 1024 * 1024
"""Of tasks, in one decision."""
unfits_max = 500
"""In one event."""
decision_unfits_max = 5000
"""In one decision; of further offers the reasons are not said."""


def answer_offers(config: MetronomeConfig, state: MetronomeState, fact: OfferMade) -> Iterator[Say]:
    """Accept, decline or give back every offer; want no more if nothing is left to place."""
    offers = deque(fact.offers)
    unused: list[tuple[OfferId, tuple[Unfit, ...]]] = []
    accepts = launch_bytes = unfits = 0
    while offers and accepts < accepts_max and launch_bytes < launch_bytes_max:
        offer = offers.popleft()
        placed = _place(config, state, offer, unfits_max if unfits < decision_unfits_max else 0)
        unfits += len(placed.unfit)
        if placed.launch:
            yield _accept(config, offer, placed)
            accepts, launch_bytes = accepts + 1, launch_bytes + placed.size
        else:
            unused.append((offer.offer, placed.unfit))
    yield from _decline(config, unused)
    if offers:
        refuse_s = 0.0 if state.waiting else config.decline_s
        yield Say(OfferDeclined(offers=tuple(offer.offer for offer in offers), refuse_s=refuse_s), to=MASTER)
    if not state.waiting and not state.suppressed:
        yield Say(FrameworkSuppressed(framework=config.id), to=MASTER)


def _accept(config: MetronomeConfig, offer: Offer, placed: _Placed) -> Say:
    fact = OfferAccepted(
        offers=(offer.offer,),
        launch=placed.launch,
        refuse_s=0.0 if placed.cut else config.decline_s,
        unfit=placed.unfit,
    )
    traces = {task.trace for task in placed.launch}
    return Say(fact, to=MASTER, trace=traces.pop() if len(traces) == 1 else None)


def _decline(config: MetronomeConfig, unused: Sequence[tuple[OfferId, tuple[Unfit, ...]]]) -> Iterator[Say]:
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


def _declined(config: MetronomeConfig, offers: Sequence[OfferId], unfit: Sequence[Unfit]) -> Say:
    return Say(OfferDeclined(offers=tuple(offers), refuse_s=config.decline_s, unfit=tuple(unfit)), to=MASTER)


# ---- one offer --------------------------------------------------------------------------------------------------


class _Placed(NamedTuple):
    """What one offer is used for, and why not for more."""

    launch: tuple[TaskInfo, ...]
    unfit: tuple[Unfit, ...]
    size: int
    cut: bool
    """Whether more might fit, were there no limit."""


class _Plan:
    """One offer, while it is filled."""

    def __init__(self, config: MetronomeConfig, state: MetronomeState, offer: Offer) -> None:
        self.config, self.state, self.offer = config, state, offer
        self.free = offer.resources
        self.launch: list[TaskInfo] = []
        self.unfit: list[Unfit] = []
        self.size = 0

    @property
    def full(self) -> bool:
        return len(self.launch) >= self.config.launches_max or self.size >= accept_bytes_max

    def add(self, version: Version, task: TaskId, run_id: RunId) -> None:
        """One more task on the offer."""
        spec, run = self.state.specs[version].job, self.state.run(run_id)
        info = task_info(spec, run_id, run.trace if run else None, task, self.config.id, self.offer)
        self.launch.append(info)
        self.size += task_bytes(info)
        self.free -= info.resources

    def fill(self, version: Version, unfits: int) -> None:
        """As many tasks of one description as fit, and why not one more if one waits."""
        spec = self.state.specs[version].job
        for task, run in self.state.waiting[version].items():
            short = fit(self.free, spec.run.resources)
            if self.full or short:
                agent, offer = self.offer.agent, self.offer.offer
                reasons = [Unfit(agent=agent, offer=offer, job=spec.id, **one._asdict()) for one in short]
                self.unfit += reasons if len(self.unfit) + len(reasons) <= unfits else []
                return
            self.add(version, task, run)


def _place(config: MetronomeConfig, state: MetronomeState, offer: Offer, unfits: int) -> _Placed:
    plan = _Plan(config, state, offer)
    for version in state.waiting:
        if plan.full:
            break
        plan.fill(version, unfits)
    return _Placed(tuple(plan.launch), tuple(plan.unfit), plan.size, cut=plan.full)
