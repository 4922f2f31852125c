"""What an accept leads to: its tasks are launched or refused, in order, and what is left over is declined.

Rule of this room: one line in the log for each task, whatever becomes of it. (Mesos: `Master::accept`, `_accept`)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec

from bus.events import OfferAccepted, TaskLaunched, TaskUpdated
from bus.nouns import (
    FrameworkId,
    Now,
    OfferId,
    Reason,
    Source,
    TaskId,
    TaskInfo,
    TaskState,
    TaskStatus,
    total,
)
from components.component import Say
from components.master.config import MasterConfig
from components.master.groups import group_invalid, portion, units
from components.master.offers import empty, filter_until, recover
from components.master.state import Accept, Framework, MasterState, owned
from components.master.tasks import what_is_known
from components.master.validity import launch_invalid, taken_by

launches_max = 600
"""Launches of one accept that one decision holds."""
closed_max = 1000
"""Offers that the last launch of an accept closes, for its agent hears of them; of more `offer.recovered` tells."""
message_length_max = 1000


def hear_accept(
    config: MasterConfig, state: MasterState, framework: Framework, fact: OfferAccepted, now: Now
) -> Iterator[Say]:
    """Decide on an accept; what one decision does not hold, the master says again to itself."""
    name, launch = framework.framework, list(fact.launch)
    now_decided = len(portion(launch, launches_max))
    accept = Accept(
        framework=name,
        offers=fact.offers,
        launch=launch,
        refuse_s=fact.refuse_s,
        cause=None,
        declined=fact.declined,
        suppressed=fact.suppressed,
    )
    yield from go_on_with(config, state, accept, now)
    if len(launch) > now_decided:
        yield Say(msgspec.structs.replace(fact, framework=name, launch=fact.launch[now_decided:], unfit=()))


def go_on_with(config: MasterConfig, state: MasterState, accept: Accept, now: Now) -> Iterator[Say]:
    """Decide on the first launches of an accept, and close its offers if these are all: with the last launch, or apart
    if that is refused."""
    launch = portion(accept.launch, launches_max)
    complete, closed = len(launch) == len(accept.launch), False
    until = filter_until(config, now, accept.refuse_s)
    wrong = _offers_invalid(state, accept.framework, accept.offers)
    line = deque(units(launch))
    while line:
        unit = line.popleft()
        if wrong is not None:
            yield from _drop(state, accept, unit, wrong)
            continue
        closes = complete and not line and len(accept.offers) + len(accept.declined) <= closed_max
        for say in _launch(state, accept, unit):
            if closes and isinstance(say.fact, TaskLaunched) and say.fact.task == unit[-1]:
                closed, say = True, msgspec.structs.replace(say, fact=_closing(state, accept, say.fact, until))
            yield say
    if complete and not closed:
        for say in _recover(config, state, accept, wrong is None, now):
            yield msgspec.structs.replace(say, cause=accept.cause)


def _closing(state: MasterState, accept: Accept, launched: TaskLaunched, until: Now) -> TaskLaunched:
    """The last launch of an accept, which says what becomes of its offers and of those declined with it."""
    declined = owned(state, accept.framework, accept.declined)
    accepted = total(state.offers[name].resources for name in accept.offers)
    left = not (accepted - taken_by(launched.task)).empty or not empty(state, declined)
    return msgspec.structs.replace(
        launched,
        recovered=tuple(dict.fromkeys((*accept.offers, *declined))),
        filter_until=until if left else None,
        suppressed=accept.suppressed,
    )


def _recover(config: MasterConfig, state: MasterState, accept: Accept, valid: bool, now: Now) -> Iterator[Say]:
    until = filter_until(config, now, accept.refuse_s)
    if valid:
        yield from recover(state, accept.framework, (*accept.offers, *accept.declined), until, accept.suppressed)
    else:
        yield from recover(state, accept.framework, accept.offers, filter_until(config, now, 0))
        yield from recover(state, accept.framework, accept.declined, until, accept.suppressed)


def _launched(state: MasterState, task: TaskId) -> bool:
    return task in state.tasks or task in state.ended


def _launch(state: MasterState, accept: Accept, unit: list[TaskInfo]) -> Iterator[Say]:
    """Launch one task, or all tasks of one group; or none of them."""
    framework, agent = accept.framework, state.offers[accept.offers[0]].agent
    left = total(state.offers[name].resources for name in accept.offers)
    if unit[0].group is not None:
        reason = Reason.TASK_GROUP_INVALID
        wrong = group_invalid(state, unit, framework=framework, agent=agent, left=left)
    else:
        reason, known = Reason.TASK_INVALID, _launched(state, unit[0].task)
        wrong = launch_invalid(unit[0], framework=framework, agent=agent, left=left, known=known)
    for info in unit:
        if wrong is not None:
            yield _not_launched(accept, info, TaskState.ERROR, reason, wrong)
        else:
            fact = TaskLaunched(task=info, role=state.frameworks[framework].role, offers=accept.offers)
            yield Say(fact, to=agent, cause=accept.cause, trace=info.trace)


def _drop(state: MasterState, accept: Accept, unit: list[TaskInfo], why: str) -> Iterator[Say]:
    for info in unit:
        if _launched(state, info.task):  # accepted once already: this is a replay, and the task is not dropped
            yield msgspec.structs.replace(what_is_known(state, accept.framework, info.task), cause=accept.cause)
        else:
            yield _not_launched(accept, info, TaskState.DROPPED, Reason.INVALID_OFFERS, why)


def _not_launched(accept: Accept, info: TaskInfo, state: TaskState, reason: Reason, why: str) -> Say:
    message = why[:message_length_max]
    status = TaskStatus(task=info.task, state=state, source=Source.MASTER, reason=reason, message=message)
    fact = TaskUpdated(framework=accept.framework, status=status)
    return Say(fact, to=accept.framework, cause=accept.cause, trace=info.trace)


def _offers_invalid(state: MasterState, framework: FrameworkId, names: tuple[OfferId, ...]) -> str | None:
    """Why offers cannot be accepted together: each must be live, the framework's, named once, all of one agent."""
    if not names:
        return "No offers specified"
    if len(set(names)) < len(names):
        return "Duplicate offer in offer list"
    for name in names:
        offer, first = state.offers.get(name), state.offers.get(names[0])
        if offer is None or first is None:
            return f"Offer {name} is no longer valid"
        if offer.framework != framework:
            return f"Offer {name} has invalid framework {offer.framework} while framework {framework} is expected"
        if offer.agent != first.agent:
            return f"Offer {name} is of agent {offer.agent}, {names[0]} is of {first.agent}: expected one agent"
    return None
