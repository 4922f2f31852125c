"""How a scheduler answers offers: one accept where something was placed, one decline for all the others.

The accept that leaves nothing waiting says the rest as well: it declines all others, and with them further offers.

Rule of this room: every offer is answered in the decision that hears it. What goes on an offer, and why not more, the
scheduler says; how much one event and one decision hold is settled here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from bus.events import OfferAccepted, OfferDeclined, OfferMade
from bus.nouns import MASTER, Offer, OfferId, TaskInfo, Unfit
from components.component import Say

accepts_max = 250
"""Offers accepted in one decision; the rest is given back and offered again at once."""
accept_bytes_max = 200 * 1024
"""Of tasks, in one accept."""
launch_bytes_max = 3 * 1024 * 1024
"""Of tasks, in one decision."""
unfits_max = 500
"""Reasons in one event."""
decision_unfits_max = 5000
"""Reasons in one decision; of further offers they are not said."""


class Placed(NamedTuple):
    """What one offer is used for, and why not for more."""

    launch: tuple[TaskInfo, ...]
    unfit: tuple[Unfit, ...]
    size: int
    """Bytes of the tasks."""
    cut: bool
    """Whether more might fit, were there no limit."""
    served: int
    """Of those that wait, how many it is launched for."""


Place = Callable[[Offer, int], Placed]
"""Fills an offer; says at most so many reasons."""


def answer_offers(made: OfferMade, place: Place, waiting: int, *, decline_s: float) -> Iterator[Say]:
    """Accept, decline or give back every offer, `waiting` for so many; given back it is offered again at once."""
    offers = deque(made.offers)
    unused: list[tuple[OfferId, tuple[Unfit, ...]]] = []
    accepts = launch_bytes = unfits = 0
    while offers and accepts < accepts_max and launch_bytes < launch_bytes_max:
        offer = offers.popleft()
        placed = place(offer, unfits_max if unfits < decision_unfits_max else 0)
        unfits, waiting = unfits + len(placed.unfit), waiting - placed.served
        if placed.launch and not waiting:
            yield from _accept_last(offer, placed, unused, [each.offer for each in offers], decline_s)
            return
        if placed.launch:
            yield _accepted(offer, placed, 0.0 if placed.cut else decline_s)
            accepts, launch_bytes = accepts + 1, launch_bytes + placed.size
        else:
            unused.append((offer.offer, placed.unfit))
    yield from _decline(unused, decline_s, suppressed=not waiting)
    if offers:
        yield _declined([offer.offer for offer in offers], (), 0.0)


def _accept_last(
    offer: Offer,
    placed: Placed,
    unused: Sequence[tuple[OfferId, tuple[Unfit, ...]]],
    others: Sequence[OfferId],
    decline_s: float,
) -> Iterator[Say]:
    """The accept that leaves nothing waiting; why something did not fit elsewhere before goes with it, if it may."""
    reasons = tuple(unfit for _, unfits in unused for unfit in unfits)
    if len(placed.unfit) + len(reasons) > unfits_max:
        yield from _decline(unused, decline_s, suppressed=False)
        unused, reasons = (), ()
    say = _accepted(offer, placed, decline_s)
    declined = (*(each for each, _ in unused), *others)
    yield replace(say, fact=replace(say.fact, unfit=placed.unfit + reasons, declined=declined, suppressed=True))


def _accepted(offer: Offer, placed: Placed, refuse_s: float) -> Say:
    fact = OfferAccepted(offers=(offer.offer,), launch=placed.launch, refuse_s=refuse_s, unfit=placed.unfit)
    traces = {task.trace for task in placed.launch}
    return Say(fact, to=MASTER, trace=traces.pop() if len(traces) == 1 else None)


def _decline(
    unused: Sequence[tuple[OfferId, tuple[Unfit, ...]]], decline_s: float, *, suppressed: bool
) -> Iterator[Say]:
    """One event; more only where the reasons would make it too large."""
    offers: list[OfferId] = []
    unfit: list[Unfit] = []
    for offer, reasons in unused:
        if offers and len(unfit) + len(reasons) > unfits_max:
            yield _declined(offers, unfit, decline_s)
            offers, unfit = [], []
        offers.append(offer)
        unfit += reasons
    if offers:
        yield _declined(offers, unfit, decline_s, suppressed=suppressed)


def _declined(offers: Sequence[OfferId], unfit: Sequence[Unfit], refuse_s: float, *, suppressed: bool = False) -> Say:
    fact = OfferDeclined(offers=tuple(offers), refuse_s=refuse_s, unfit=tuple(unfit), suppressed=suppressed)
    return Say(fact, to=MASTER)
