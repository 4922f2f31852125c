"""How Marathon's own events change what it remembers.

Rule of this room: nothing else writes state. What must not happen is asserted: it would be a bug or a damaged log.
"""

from __future__ import annotations

from bisect import bisect_left, insort

from msgspec.structs import replace

from bus.events import (
    Event,
    FrameworkRegistered,
    FrameworkRevived,
    FrameworkSuppressed,
    LeaderElected,
    OfferAccepted,
    OfferDeclined,
    TaskReconciled,
)
from bus.nouns import MOVES, AgentId, AppId, Now, TaskId, TaskInfo, TaskState, TaskStatus
from bus.plans import Deed
from bus.secrets import SecretsNamed
from bus.services import (
    AppRemoved,
    AppSpecified,
    AppUpdated,
    CheckChanged,
    DelayReset,
    DeploymentAdvanced,
    DeploymentContinued,
    DeploymentEnded,
    DeploymentPaused,
    DeploymentStarted,
    GroupsSpecified,
    HealthChanged,
    InstanceDeactivated,
    InstanceDismissed,
    InstanceExpunged,
    InstanceScheduled,
    PodSpecified,
    ReadinessChanged,
)
from components.component import because
from components.marathon.avoiding import avoid
from components.marathon.containers import contained
from components.marathon.health import count_anew, fold_check, fold_health, fold_readiness, note
from components.marathon.instances import ENDED, LOST, Found, Launched, Waiting, as_instance, is_failure
from components.marathon.state import (
    UNHEALTHY,
    UPGRADING,
    USER_REQUEST,
    App,
    Backoff,
    MarathonState,
    Verdict,
    in_rounds,
    instance_with,
    last_any_port,
)
from components.marathon.steps import (
    advanced,
    came_further,
    continued,
    ended,
    groups_specified,
    no_tries,
    removed,
    specified,
    started,
    to_be,
)
from components.marathon.unreachable import (
    come_back,
    deactivate,
    expunge,
    find,
    forget_absent,
    forget_containers,
    is_waited_for,
    lose,
    remember_expunged,
)
from components.matching import NODE_BACKOFF
from components.referring import fold_names


def fold(state: MarathonState, event: Event) -> None:
    """Fold one event of Marathon's log. (The frequent ones first: a rebuild folds millions)"""
    match event.fact:
        case AppUpdated() as fact:
            _updated(state, fact, event)
        case InstanceScheduled() as fact:
            _scheduled(state, fact, event)
        case InstanceDismissed() as fact:
            _dismissed(state, fact, event)
        case LeaderElected():
            state.to_register, state.admitted = True, False
            count_anew(state)
        case FrameworkRegistered():
            state.to_register, state.admitted = False, False
        case TaskReconciled() as fact:
            _reconciled(state, fact, event)
        case SecretsNamed() as fact:
            fold_names(state.secrets, fact)
        case FrameworkSuppressed():
            _suppress(state)
        case FrameworkRevived():
            _revived(state, event.at)
        case OfferDeclined() as fact:
            _answered(state, fact, event, used={})
        case OfferAccepted() as fact:
            _accepted(state, fact, event)
        case AppSpecified() as fact:
            settle(state, fact.app.id, specified(state, fact.app.id, to_be(fact), fact.deployment, event))
        case PodSpecified() as fact:
            settle(state, fact.pod.id, specified(state, fact.pod.id, to_be(fact), fact.deployment, event))
        case AppRemoved() as fact:
            settle(state, fact.app, removed(state, fact.app, fact.deployment, event))
        case GroupsSpecified() as fact:
            groups_specified(state, fact)
        case DeploymentStarted() as fact:
            started(state, fact, event)
            for each in fact.riding:
                fold(state, replace(event, fact=each))
        case DeploymentAdvanced() as fact:
            for app_id in advanced(state, fact, event.at):
                settle(state, app_id, state.apps[app_id])
        case DeploymentPaused() as fact:
            state.apps[fact.app].paused = True
            settle(state, fact.app, state.apps[fact.app])
        case DeploymentContinued() as fact:
            for app_id in continued(state, fact, event.at):
                settle(state, app_id, state.apps[app_id])
        case DeploymentEnded() as fact:
            for app_id in ended(state, fact):
                settle(state, app_id, state.apps[app_id])
        case InstanceDeactivated() as fact:
            app = state.apps[fact.app]
            deactivate(state, app, fact, event)
            settle(state, fact.app, app)
        case InstanceExpunged() as fact:
            app = state.apps[fact.app]
            expunge(state, app, fact.task, event)
            settle(state, fact.app, app)
        case HealthChanged() as fact:
            app = state.apps[fact.app]
            key = instance_with(state, fact.task)
            fold_health(app, key, fact, event)
            app.mark(key)
            settle(state, fact.app, app)
        case CheckChanged() as fact:
            fold_check(state.apps[fact.app], fact)
        case ReadinessChanged() as fact:
            app = state.apps[fact.app]
            fold_readiness(app, fact)
            app.mark(fact.task)
            settle(state, fact.app, app)
        case DelayReset(app=app_id):
            _forgive(state, app_id, state.apps[app_id], event)


# ---- the master and its offers ----------------------------------------------------------------------------------


def _reconciled(state: MarathonState, fact: TaskReconciled, event: Event) -> None:
    for task in fact.tasks:
        del state.unconfirmed[task]
        state.unconfirmed[task] = event.at
    if not fact.tasks:
        # what the master kept of suppression and filters from before is not ours to know: both may hold offers back
        state.admitted, state.suppressed, state.filtered, state.given_back = True, False, True, False
        state.hungry, state.wanted_for = any(app.waiting for app in state.apps.values()), because(event)


def _revived(state: MarathonState, at: Now) -> None:
    state.suppressed = state.filtered = state.hungry = state.given_back = False
    state.wanted_for = None
    while state.delays and state.delays[0][0] <= at:
        _, app_id = state.delays.pop(0)
        app = state.apps[app_id]
        app.delayed = None
        if app.backoff.until is not None and app.backoff.until <= at:
            app.backoff.until = None
        for node in app.avoided.values():
            node.held = node.held and node.until > at
        _place_delay(state, app_id, app)


def _answered(
    state: MarathonState, fact: OfferAccepted | OfferDeclined, event: Event, used: dict[AppId | None, None]
) -> None:
    """`used`: the apps for which the same offer was taken."""
    at = event.at
    state.hungry, state.filtered = False, True
    state.given_back = state.given_back or fact.refuse_s == 0
    state.wanted_for = because(event) if state.given_back else None
    for one in fact.unfit:
        app = state.apps.get(one.app) if one.app is not None else None
        if app is None or not app.waiting:
            continue
        before = app.verdicts.get(one.agent)
        others = before.unfit if before and before.at == at and before.unfit[0].offer == one.offer else ()
        app.verdicts[one.agent] = Verdict(at, (*others, one))
        if not others and one.app not in used:
            _count_unused(app, one.reason, at)
        if one.reason == NODE_BACKOFF and one.agent in app.avoided:
            app.avoided[one.agent].held = True
            _place_delay(state, app.spec.id, app)
    if fact.suppressed:
        _suppress(state)


def _suppress(state: MarathonState) -> None:
    state.suppressed, state.given_back = True, False


def _count_unused(app: App, reason: str, at: Now) -> None:
    tries = app.tries
    tries.processed, tries.unused, tries.last_unused = tries.processed + 1, tries.unused + 1, at
    tries.rejected[reason] = tries.rejected.get(reason, 0) + 1


def _accepted(state: MarathonState, fact: OfferAccepted, event: Event) -> None:
    at = event.at
    for name in dict.fromkeys(_launched(state, task, at) for task in fact.launch):
        settle(state, name, state.apps[name])
    used = dict.fromkeys(task.app for task in fact.launch)
    for app_id in used:
        app = state.apps.get(app_id) if app_id is not None else None
        if app is not None and app.waiting:
            app.tries.processed, app.tries.last_used = app.tries.processed + 1, at
            state.given_back = state.given_back or in_rounds(app)
    _answered(state, fact, event, used)


def _launched(state: MarathonState, task: TaskInfo, at: Now) -> AppId:
    """Whose instance it is: that app is to be settled."""
    key = TaskId(task.group.id) if task.group is not None else task.task
    app_id = state.owners[key]
    app = state.apps[app_id]
    if task.group is not None and task.group.index:
        app.launched[key].ports += task.ports
    else:
        app.launched[key] = _fresh(app.waiting.pop(key), task, at)
    if task.group is not None:
        app.launched[key].containers[task.task] = contained(task, at)
    app.verdicts.pop(task.agent, None)
    state.unconfirmed[task.task] = at
    state.last_ports[task.agent] = last_any_port(app.spec, task.ports, state.last_ports.get(task.agent, 0))
    return app_id


def _fresh(waited: Waiting, task: TaskInfo, at: Now) -> Launched:
    return Launched(
        app_version=waited.app_version,
        since=at,
        agent=task.agent,
        hostname=task.hostname,
        ports=task.ports,
        replaces=waited.replaces,
        trace=task.trace,
        place=task.place,
        watched=task.watched,
        asked_ready=task.readiness,
        launched_at=at,
        found=[Found() for _ in task.watched or ((task.health,) if task.health is not None and not task.group else ())],
    )


# ---- instances --------------------------------------------------------------------------------------------------


def _scheduled(state: MarathonState, fact: InstanceScheduled, event: Event) -> None:
    app = state.apps[fact.app]
    assert fact.task not in state.owners, f"{fact.task} is scheduled twice"
    assert app.missing > 0, f"{fact.task}: {fact.app} needs no more than {app.wanted} instances"
    app.waiting[fact.task] = Waiting(
        app_version=fact.app_version, since=event.at, order=event.n, replaces=fact.replaces
    )
    state.owners[fact.task] = fact.app
    if fact.replaces is not None:
        app.vacant.pop(fact.replaces, None)
        if fact.replaces in app.absent:
            app.absent[fact.replaces].replaced_by = fact.task
        if fact.replaces in state.expunged:
            state.expunged[fact.replaces] = fact.task
    if app.ready(event.at):
        _hunger(state, event)
    settle(state, fact.app, app)


def _hunger(state: MarathonState, event: Event) -> None:
    """An instance waits that did not when the last offers were answered."""
    if not state.hungry:
        state.hungry, state.wanted_for = True, because(event)


def _dismissed(state: MarathonState, fact: InstanceDismissed, event: Event) -> None:
    app, task = state.apps[fact.app], fact.task
    app.failures += fact.reason == UNHEALTHY and task not in app.outdated
    app.outdated.pop(task, None)
    instance = app.launched.get(task) or app.absent.get(task)
    if instance is not None and instance.state is TaskState.UNREACHABLE:
        wanted = task in app.launched and fact.reason in (UPGRADING, USER_REQUEST)
        expunge(state, app, task, event if wanted else None)  # its kill waits for it, nobody else does
    elif task in app.launched:
        app.dying[task] = _leave(app, task)
        if fact.reason in (UPGRADING, USER_REQUEST, UNHEALTHY) and app.counts.new < app.wanted:
            app.vacant[task] = because(event)
    elif task in app.waiting:
        del app.waiting[task], state.owners[task]
    if fact.delay_until is not None:
        _hold_back(app, fact.delay_until, event.at)
    if fact.avoided_until is not None and instance is not None:
        avoid(app, instance.agent, fact.avoided_until, event.at)
    settle(state, fact.app, app)


def _updated(state: MarathonState, fact: AppUpdated, event: Event) -> None:
    app, key = state.apps[fact.app], instance_with(state, fact.status.task)
    state.unconfirmed.pop(fact.status.task, None)
    instance = app.launched.get(key) or app.dying.get(key) or app.absent[key]
    status = as_instance(key, instance, fact.status)
    if instance.containers:
        instance.containers[fact.status.task].take(fact.status, event.at)
    if instance.containers and status.state is instance.state:
        app.mark(key)
    elif is_waited_for(app, status):
        _moved(state, app, status, event.at)
        lose(state, app, status.task, event)
    elif status.state in ENDED:
        _ended(state, app, status, event)
    else:
        _moved(state, app, status, event.at)
    if fact.delay_until is not None:
        _hold_back(app, fact.delay_until, event.at)
    if fact.agent is not None:
        _avoid(app, fact.agent, fact, event.at)
    settle(state, fact.app, app)


def _hold_back(app: App, until: Now, at: Now) -> None:
    app.backoff = Backoff(delay_us=until - at, failed_at=at, until=until)


def _forgive(state: MarathonState, app_id: AppId, app: App, event: Event) -> None:
    app.backoff = Backoff()
    app.avoided.clear()
    if app.waiting:
        _hunger(state, event)
    _place_delay(state, app_id, app)


def _avoid(app: App, agent: AgentId, fact: AppUpdated, at: Now) -> None:
    if fact.avoided_until is not None:
        avoid(app, agent, fact.avoided_until, at)
    elif fact.status.healthy and agent in app.avoided:
        del app.avoided[agent]


def _moved(state: MarathonState, app: App, status: TaskStatus, at: Now) -> None:
    if status.task in app.absent:
        come_back(app, status.task)
    instance = app.launched.get(status.task) or app.dying[status.task]
    legal = status.state in MOVES[instance.state] or bool(instance.containers)
    assert legal, f"{status.task}: {instance.state} -> {status.state}"
    if status.task in app.launched:
        app.running += (status.state is TaskState.RUNNING) - (instance.state is TaskState.RUNNING)
    if instance.state is TaskState.UNREACHABLE:
        find(state, status.task, instance)
    instance.state, instance.since = status.state, at
    if status.state is TaskState.RUNNING:
        instance.running_since = at
        if status.healthy is not None and instance.found and not instance.watched:
            note(instance.found[0], status.healthy, status.failures, status.message, at)
    app.mark(status.task)


def _ended(state: MarathonState, app: App, status: TaskStatus, event: Event) -> None:
    task = status.task
    del state.owners[task]
    forget_containers(state, app, task, status.message, event.at)
    instance = app.launched.get(task) or app.absent.get(task)
    if instance is not None:
        find(state, task, instance)
    if status.state in LOST:
        remember_expunged(state, task, instance.replaced_by if instance is not None else None)
    if app.absent.pop(task, None) is not None:
        return
    if task in app.dying:
        del app.dying[task]
        return
    _leave(app, task)
    if is_failure(status) and task not in app.outdated:
        app.failures += 1
    app.outdated.pop(task, None)
    app.vacant[task] = because(event)
    if is_failure(status) or status.state in LOST:
        app.last_failure = status


def _leave(app: App, task: TaskId) -> Launched:
    instance = app.launched.pop(task)
    app.running -= instance.state is TaskState.RUNNING
    app.mark(task)
    return instance


# ---- what follows from any change of an app ---------------------------------------------------------------------


def settle(state: MarathonState, app_id: AppId, app: App) -> None:
    """Whatever changed of an app: what is due for it now."""
    if app.at_once and not app.outdated:
        app.at_once = False
    if app.even and not app.pause_due:
        state.uneven.pop(app_id, None)
        if app.deed is not Deed.RESTART:
            app.vacant.clear()
    else:
        state.uneven[app_id] = None
    if not app.waiting:
        no_tries(app)
    _place_delay(state, app_id, app)
    if app.removed:
        forget_absent(state, app)
    gone = app.removed and not (app.waiting or app.launched or app.dying)
    came_further(state, app_id, app, gone=gone)
    if gone:
        del state.apps[app_id]


def _place_delay(state: MarathonState, app_id: AppId, app: App) -> None:
    until = _next_try(app) if app.waiting else None
    if until == app.delayed:
        return
    if app.delayed is not None:
        del state.delays[bisect_left(state.delays, (app.delayed, app_id))]
    if until is not None:
        insort(state.delays, (until, app_id))
    app.delayed = until


def _next_try(app: App) -> Now | None:
    """When something that waits may be launched that could not be before: anywhere, or on a node that was avoided."""
    if app.backoff.until is not None:
        return app.backoff.until
    return min((node.until for node in app.avoided.values() if node.held), default=None)
