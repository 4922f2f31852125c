"""What Marathon makes of what is found about its running instances.

Rule of this room: a change is an event, that nothing changed is none. A failure within the grace does not count unless
the instance was healthy before. Who leads anew knows what was found before it, and has to see every failure itself
before it kills. (Marathon: `HealthCheckActor.scala`, which knows nothing after a change of the leader)
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from bus.events import Event
from bus.nouns import MASTER, AppId, Check, Now, TaskId, TaskState, TaskStatus, second
from bus.services import CheckChanged, HealthChanged, InstanceDismissed, ReadinessChanged
from components.component import Say
from components.marathon.avoiding import avoided_until
from components.marathon.backoff import next_delay_us
from components.marathon.instances import Found, Launched, Readiness, kill_of
from components.marathon.sights import CheckSeen, ReadinessSeen
from components.marathon.state import UNHEALTHY, App, MarathonState

cause_length_max = 1000
body_length_max = 10_000


def see_check(state: MarathonState, seen: CheckSeen, now: Now) -> Iterator[Say]:
    """What follows from one look at an instance: nothing, a change of its health, or its end."""
    app_id, instance = _running(state, seen.task)
    if app_id is None or instance is None or seen.check >= len(instance.watched):
        return
    check, found = instance.watched[seen.check], instance.found[seen.check]
    if seen.healthy:
        if found.alive is not True:
            yield _changed(app_id, instance, seen, 0)
    elif found.first_success is not None or now >= _graced_until(instance, check):
        yield _changed(app_id, instance, seen, found.failures + 1)
        if 0 < check.failures_max <= found.failures:  # as it is folded by now
            yield from _dismiss(app_id, state.apps[app_id], instance, seen, found.failures, now)


def hear_health(app_id: AppId, instance: Launched, status: TaskStatus) -> Iterator[Say]:
    """What an executor's check found, if it is not known: it decides itself whether its task lives on."""
    if not instance.containers and status.checked != instance.checked:
        yield Say(CheckChanged(app=app_id, task=status.task, found=status.checked), trace=instance.trace)
    if instance.watched or status.healthy is None or not (instance.found or instance.containers):
        return
    if instance.containers:
        told = instance.containers[status.task].status
        alive, failures = told.healthy, told.failures
    else:
        alive, failures = instance.found[0].alive, instance.found[0].failures
    if (alive, failures) != (status.healthy, status.failures):
        fact = HealthChanged(
            app=app_id,
            task=status.task,
            check=0,
            healthy=status.healthy,
            failures=status.failures,
            cause="" if status.healthy else status.message[:cause_length_max],
        )
        yield Say(fact, trace=instance.trace)


def see_readiness(state: MarathonState, seen: ReadinessSeen) -> Iterator[Say]:
    """Whether an instance is ready, or what it says instead, if that is new."""
    app_id, instance = _running(state, seen.task)
    if app_id is None or instance is None or instance.asked_ready is None or instance.ready:
        return
    keeps = instance.asked_ready.keep
    fact = ReadinessChanged(
        app=app_id,
        task=seen.task,
        ready=seen.ready,
        status=seen.status if keeps else None,
        content_type=seen.content_type[:cause_length_max] if keeps else "",
        body=seen.body[:body_length_max] if keeps else "",
        cause=seen.cause[:cause_length_max],
    )
    if instance.readiness != _readiness(fact):
        yield Say(fact, trace=instance.trace)


def _running(state: MarathonState, task: TaskId) -> tuple[AppId | None, Launched | None]:
    """An instance that runs and is wanted, and its app."""
    app_id = state.owners.get(task)
    instance = state.apps[app_id].launched.get(task) if app_id is not None else None
    return app_id, instance if instance is not None and instance.state is TaskState.RUNNING else None


def _graced_until(instance: Launched, check: Check) -> Now:
    since = instance.running_since if instance.running_since is not None else instance.since
    return Now(since + round(check.grace_s * second))


def _changed(app_id: AppId, instance: Launched, seen: CheckSeen, failures: int) -> Say:
    fact = HealthChanged(
        app=app_id,
        task=seen.task,
        check=seen.check,
        healthy=seen.healthy,
        failures=failures,
        cause=seen.cause[:cause_length_max],
    )
    return Say(fact, trace=instance.trace)


def _dismiss(app_id: AppId, app: App, instance: Launched, seen: CheckSeen, failures: int, now: Now) -> Iterator[Say]:
    """An instance that failed too often in a row is killed; another takes its place, not before the backoff."""
    delay_us = next_delay_us(app.spec, app.backoff, now) if seen.task not in app.outdated else 0
    why = f"{failures} checks in a row failed, the last one: {seen.cause[:cause_length_max]}"
    fact = InstanceDismissed(
        app=app_id,
        task=seen.task,
        reason=UNHEALTHY,
        why=why,
        delay_until=Now(now + delay_us) if delay_us else None,
        avoided_until=avoided_until(app, instance.agent, now) if delay_us else None,
    )
    yield Say(fact, trace=instance.trace)
    kill = kill_of(seen.task, instance, app.spec.task_kill_grace_period_seconds, why)
    yield Say(kill, to=MASTER, trace=instance.trace)


# ---- what is remembered -----------------------------------------------------------------------------------------


def fold_health(app: App, key: TaskId, fact: HealthChanged, event: Event) -> None:
    """Remember what a check found of an instance, or of one of its containers."""
    instance = app.launched.get(key) or app.dying.get(key) or app.absent[key]
    if instance.containers:
        container = instance.containers[fact.task]
        status = replace(container.status, healthy=fact.healthy, failures=fact.failures, message=fact.cause)
        container.take(status, event.at)
    else:
        note(instance.found[fact.check], fact.healthy, fact.failures, fact.cause, event.at)
    if instance.healthy:
        app.avoided.pop(instance.agent, None)


def note(found: Found, healthy: bool, failures: int, cause: str, at: Now) -> None:
    """Change what is known of one check."""
    found.alive, found.failures = healthy, failures
    if healthy:
        found.last_success = at
        if found.first_success is None:
            found.first_success = at
    else:
        found.last_failure, found.cause = at, cause


def fold_check(app: App, fact: CheckChanged) -> None:
    """Remember what an executor found."""
    instance = app.launched.get(fact.task) or app.dying[fact.task]
    instance.checked = fact.found


def fold_readiness(app: App, fact: ReadinessChanged) -> None:
    """Remember what an instance answered."""
    instance = app.launched.get(fact.task)
    if instance is not None:
        instance.readiness = _readiness(fact)


def _readiness(fact: ReadinessChanged) -> Readiness:
    return Readiness(ready=fact.ready, status=fact.status, content_type=fact.content_type, body=fact.body)


def count_anew(state: MarathonState) -> None:
    """A term began: failures that another process of Marathon saw end nobody's life."""
    for app in state.apps.values():
        for instance in (*app.launched.values(), *app.absent.values()):
            if instance.watched:
                for found in instance.found:
                    found.failures = 0
