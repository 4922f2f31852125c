"""One allocation of all agents' resources among all frameworks, in the master's own decisions.

Everything is free and everybody wants it: the frameworks' revivals are in the log, and the last of them is decided on.
Rule of this room: no bus and no loop; time between two decisions is nobody's, so the longest decision is how long the
loop has no turn.
"""

from __future__ import annotations

import gc
import time

from bus.events import FrameworkRevived, FrameworkSuppressed, OfferDeclined
from bus.nouns import FrameworkId, Now, second
from bus.subjects import Author, Kind
from components.component import Heard, Wake
from components.garbage import looked_at_once
from ops.bench.crowd import Crowd
from ops.bench.figures import Figure, one


def allocation(agents: int, frameworks: int, rounds: int) -> list[Figure]:
    """Milliseconds of an allocation of that size, and of its longest decision."""
    crowd = Crowd()
    names = crowd.frameworks(frameworks)
    for name in names:
        crowd.say(Author(Kind.FRAMEWORK, name), FrameworkSuppressed(framework=name))
    crowd.agents(agents)
    with looked_at_once():  # as in a component's process
        gc.collect()
        took = [_round(crowd, names, agents) for _ in range(rounds)]
    size = f"{agents} agents x {frameworks} frameworks"
    return [
        Figure(f"{size}, one allocation", "ms", [1000 * sum(each) for each in took], "<= 200"),
        Figure("  its longest decision", "ms", [1000 * max(each) for each in took], "<= 50"),
        one("  decisions it takes", "", len(took[-1])),
    ]


def _round(crowd: Crowd, names: list[FrameworkId], agents: int) -> list[float]:
    """Seconds of each decision of one allocation. Everything is free again afterwards."""
    *rest, last = names
    for name in rest:
        crowd.fold(FrameworkRevived(framework=name))
    crowd.answers()
    revived = crowd.event(Author(Kind.FRAMEWORK, last), FrameworkRevived(framework=last))
    took = [_timed(crowd, Heard(revived))]
    while crowd.due:
        took.append(_timed(crowd, Wake()))
    _give_back(crowd, names, agents)
    return took


def _timed(crowd: Crowd, told: Heard | Wake) -> float:
    began = time.perf_counter()
    decided = crowd.mind.decide(told)
    took_s = time.perf_counter() - began
    crowd.keep(decided)
    return took_s


def _give_back(crowd: Crowd, names: list[FrameworkId], agents: int) -> None:
    given = crowd.answers()
    assert len({offer.agent for _, offer in given}) == len(given) == agents, f"{len(given)} offers of {agents} agents"
    shares = [sum(1 for framework, _ in given if framework == name) for name in (names[0], names[-1])]
    assert max(shares) - min(shares) <= 1, f"the first and the last framework were offered {shares}"
    for name in names:
        crowd.say(Author(Kind.FRAMEWORK, name), FrameworkSuppressed(framework=name))
    for name in names:
        declined = tuple(offer.offer for framework, offer in given if framework == name)
        if declined:
            crowd.say(Author(Kind.FRAMEWORK, name), OfferDeclined(offers=declined, refuse_s=0))
    assert not crowd.mind.state.offers, "everything is free again"
    crowd.take()
    crowd.now = Now(crowd.now + second)
