"""What goes on an offer: the job that waited longest is served first; what does not fit does not hold up the others.

Rule of this room: of each offer it is known why not more was placed on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bus.documents import JobSpec
from bus.events import OfferMade
from bus.nouns import Offer, RunId, TaskId, TaskInfo, Unfit
from components.answering import Placed, accept_bytes_max, answer_offers
from components.component import Say
from components.constraints import Tally, unmet
from components.matching import Shortfall, fit, wrong_role
from components.metronome.config import MetronomeConfig
from components.metronome.state import MetronomeState, Version
from components.metronome.tasks import task_bytes, task_info


def hear_offers(config: MetronomeConfig, state: MetronomeState, fact: OfferMade) -> Iterator[Say]:
    """Answer every offer; want no more if nothing is left to place."""
    waiting = sum(len(tasks) for tasks in state.waiting.values())
    yield from answer_offers(fact, partial(_place, config, state), waiting, decline_s=config.decline_s)


_ALONE = Tally((), ())
"""No constraint of a job looks at where other runs are."""


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

    def lacks(self, spec: JobSpec) -> list[Shortfall]:
        """Each check that fails for one more task, in the order of `matching.REASONS`."""
        run = spec.run
        short = wrong_role((), self.offer.role) + unmet(run.constraints, self.offer, _ALONE)
        return short + fit(self.free, run.resources, gpus=run.gpus)

    def fill(self, version: Version, unfits: int) -> None:
        """As many tasks of one description as fit, and why not one more if one waits."""
        spec = self.state.specs[version].job
        for task, run in self.state.waiting[version].items():
            short = self.lacks(spec)
            if self.full or short:
                agent, offer = self.offer.agent, self.offer.offer
                reasons = [Unfit(agent=agent, offer=offer, job=spec.id, **one._asdict()) for one in short]
                self.unfit += reasons if len(self.unfit) + len(reasons) <= unfits else []
                return
            self.add(version, task, run)


def _place(config: MetronomeConfig, state: MetronomeState, offer: Offer, unfits: int) -> Placed:
    plan = _Plan(config, state, offer)
    for version in state.waiting:
        if plan.full:
            break
        plan.fill(version, unfits)
    return Placed(tuple(plan.launch), tuple(plan.unfit), plan.size, cut=plan.full, served=len(plan.launch))
