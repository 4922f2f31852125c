"""How frameworks come, fall silent and are heard again.

Rule of this room: a framework speaks for itself alone; what it says about others' offers or tasks has no effect.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from bus.events import (
    Event,
    Fact,
    FrameworkAdmitted,
    FrameworkDisconnected,
    FrameworkReconnected,
    FrameworkRefused,
    FrameworkRegistered,
    FrameworkRevived,
    FrameworkSuppressed,
    KillRequested,
    OfferAccepted,
    OfferDeclined,
    TaskReconciled,
)
from bus.nouns import AgentId, FrameworkId, Now, Refusal, Rescinded
from components.component import Say, refuse
from components.master.accepts import hear_accept
from components.master.config import MasterConfig
from components.master.membership import removed_at
from components.master.offers import hear_decline, rescind
from components.master.state import Framework, MasterState
from components.master.tasks import hear_kill, hear_reconcile
from components.master.validity import framework_invalid, reserved

SPOKEN: tuple[type[Fact], ...] = (
    FrameworkSuppressed,
    FrameworkRevived,
    OfferDeclined,
    OfferAccepted,
    TaskReconciled,
    KillRequested,
)
"""What a framework can say to the master once it is admitted."""


Revived = FrameworkId | None
"""The framework that wants offers again: what it is offered says so."""


def hear_framework(config: MasterConfig, state: MasterState, event: Event, now: Now) -> Generator[Say, None, Revived]:
    """A framework registers, or says something as one that has."""
    name = FrameworkId(event.by.id)
    framework = state.frameworks.get(name)
    if isinstance(event.fact, FrameworkRegistered):
        yield from _register(state, name, event.fact)
    elif framework is None:
        if isinstance(event.fact, SPOKEN):
            yield refuse(event, Refusal.NOT_FOUND, f"{name} is not a framework here: register first")
    else:
        if not framework.connected:
            yield Say(FrameworkReconnected(framework=name), to=name)
        if isinstance(event.fact, FrameworkRevived):
            return name
        yield from _act_on(config, state, framework, event, now)
    return None


def _act_on(config: MasterConfig, state: MasterState, framework: Framework, event: Event, now: Now) -> Iterator[Say]:
    match event.fact:
        case OfferDeclined() as fact:
            yield from hear_decline(config, state, framework, fact, now)
        case OfferAccepted() as fact:
            yield from hear_accept(config, state, framework, fact, now)
        case KillRequested() as fact:
            yield from hear_kill(state, framework, event, fact)
        case TaskReconciled() as fact:
            yield from hear_reconcile(state, framework, fact)
        case FrameworkSuppressed() if not framework.suppressed:
            yield Say(FrameworkSuppressed(framework=framework.framework))


def _register(state: MasterState, name: FrameworkId, fact: FrameworkRegistered) -> Iterator[Say]:
    """Admit a framework, a known one as if it were new: its offers are void and it wants offers again.

    One that was removed is admitted as new, without its tasks. Mesos refuses the id of a removed framework for ever;
    there an id is made by the master, here it is a name that an operator gave, and a scheduler keeps it for life.
    """
    framework = state.frameworks.get(name)
    wrong = framework_invalid(fact)
    if reserved(name) or AgentId(name) in state.agents:
        taken = f"{name} is, or may become, the id of something that is no framework"
        yield Say(FrameworkRefused(framework=name, reason=Refusal.ID_TAKEN, message=taken), to=name)
    elif wrong is not None:
        yield Say(FrameworkRefused(framework=name, reason=Refusal.INVALID, message=wrong), to=name)
    else:
        if framework is not None:
            yield from rescind(state, framework.offer_ids, Rescinded.FRAMEWORK_REREGISTERED)
        admitted = FrameworkAdmitted(
            framework=name,
            name=fact.name,
            role=fact.role,
            failover_timeout_s=fact.failover_timeout_s,
            secrets=tuple(sorted(state.secrets)),
        )
        yield Say(admitted, to=name)


def lose_framework(state: MasterState, name: FrameworkId, since_n: int, now: Now) -> Iterator[Say]:
    """A framework stopped answering pings. A sight made before it was connected again is old."""
    framework = state.frameworks.get(name)
    if framework is None or not framework.connected or framework.connected_n != since_n:
        return
    yield Say(FrameworkDisconnected(framework=name, removed_at=removed_at(framework, now)), to=name)
    yield from rescind(state, framework.offer_ids, Rescinded.FRAMEWORK_DISCONNECTED)
