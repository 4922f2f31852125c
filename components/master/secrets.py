"""What clients say about secrets, and what the frameworks are told of it.

The master keeps them sealed, as they come: whether one can be opened is found by whoever has the key, when a task
needs it. That a framework is disconnected does not matter: its inbox keeps what it is told until it hears it.

Rule of this room: a value is never looked at, nor is a wrong name said again: it may be a value.
"""

from __future__ import annotations

from collections.abc import Iterator

from bus.events import Event
from bus.nouns import Refusal
from bus.secrets import SecretGiven, SecretKept, SecretRemoved, SecretsNamed, SecretWithdrawn, name_invalid
from components.component import Say, answer, refuse
from components.master.alarms import AlarmSeen, see_alarm
from components.master.config import MasterConfig
from components.master.state import MasterState

secrets_max = 1000
sealed_chars_max = 90_000
"""Of one value: 64 KiB, what it is bound to, and the box, in base64."""
sealed_together_max = 12 * 1024 * 1024
"""Characters of all that are kept: every checkpoint hashes them, and every snapshot holds them."""
named_max = 20
"""Lost secrets that an alarm names."""
LOST = "secrets.lost"


def hear_secret(config: MasterConfig, state: MasterState, event: Event) -> Iterator[Say]:
    """A client sets or removes a secret."""
    match event.fact:
        case SecretGiven() as fact:
            yield from _keep(config, state, event, fact)
        case SecretWithdrawn(name=name):
            yield from _remove(state, event, name)
    if LOST in state.alarms:
        yield from see_alarm(state, AlarmSeen(alarm=LOST, message=lost_message(config, state)))


def _keep(config: MasterConfig, state: MasterState, event: Event, fact: SecretGiven) -> Iterator[Say]:
    wrong = name_invalid(fact.name) or _sealed_wrong(config, fact) or _no_room(state, fact)
    if wrong is not None:
        yield refuse(event, Refusal.INVALID, wrong)
        return
    before = state.secrets.get(fact.name)
    number = before.number + 1 if before else 1
    yield answer(event, SecretKept(name=fact.name, sealed=fact.sealed, key=fact.key, number=number))
    if before is None:
        yield from _tell(state, SecretsNamed(names=(fact.name,)))


def _sealed_wrong(config: MasterConfig, fact: SecretGiven) -> str | None:
    if not config.public:
        return "this cluster's master has no key: it can keep no secret"
    if fact.key != config.public:
        return f"the value is sealed to another key than the cluster's, which is {config.public}"
    if not 1 <= len(fact.sealed) <= sealed_chars_max:
        return f"the sealed value has {len(fact.sealed)} characters: expected 1 to {sealed_chars_max}"
    return None


def _no_room(state: MasterState, fact: SecretGiven) -> str | None:
    if fact.name not in state.secrets and len(state.secrets) >= secrets_max:
        return f"there are {secrets_max} secrets, and no more can be kept"
    others = sum(len(secret.sealed) for name, secret in state.secrets.items() if name != fact.name)
    if others + len(fact.sealed) > sealed_together_max:
        return f"all secrets together would take {others + len(fact.sealed)} of {sealed_together_max} characters"
    return None


def _remove(state: MasterState, event: Event, name: str) -> Iterator[Say]:
    wrong = name_invalid(name)
    if wrong is not None:
        yield refuse(event, Refusal.INVALID, wrong)
    elif name not in state.secrets:
        yield refuse(event, Refusal.NOT_FOUND, f"secret {name} does not exist")
    else:
        yield answer(event, SecretRemoved(name=name))
        yield from _tell(state, SecretsNamed(gone=(name,)))


def _tell(state: MasterState, fact: SecretsNamed) -> Iterator[Say]:
    for framework in sorted(state.frameworks):
        yield Say(fact, to=framework)


def lost_message(config: MasterConfig, state: MasterState) -> str | None:
    """Which secrets are sealed to another key than the one this cluster has now; None if none is."""
    lost = sorted(name for name, secret in state.secrets.items() if secret.key != config.public)
    if not lost:
        return None
    more = f" and {len(lost) - named_max} more" if len(lost) > named_max else ""
    return (
        f"{len(lost)} secrets are sealed to another key than the cluster's and cannot be opened: "
        f"{', '.join(lost[:named_max])}{more}. Set each again, or bring the old key back"
    )
