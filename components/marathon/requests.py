"""What clients ask of Marathon: one answer each.

Rule of this room: a request either changes what apps are to be, by a deployment, or is refused and changes nothing.
What follows for instances is not decided here.
"""

from __future__ import annotations

from collections.abc import Iterator

from bus.events import Event, KillRequested
from bus.nouns import MASTER, AppId, Now, Refusal, TaskId
from bus.plans import DeploymentId, Outcome
from bus.services import (
    CancelRequested,
    ContinueRequested,
    DelayReset,
    DeploymentContinued,
    InstanceDismissed,
    KillsGranted,
    KillsRequested,
    ResetRequested,
    ResignationGranted,
    ResignationRequested,
    SchedulerLocated,
)
from components.component import Say, answer, refuse
from components.marathon.deployments import begin, end
from components.marathon.drafting import draft_of, forced, known_tasks, no_deployment, wanted
from components.marathon.instances import kill_of
from components.marathon.planning import Refused, course_of, message_chars_max
from components.marathon.state import USER_REQUEST, MarathonState, instance_with

grace_s_max = 31_536_000
kills_max = 200
"""Instances killed by one request."""


def hear_request(state: MarathonState, event: Event, now: Now) -> Iterator[Say]:
    """The answer to a client, and what follows from it at once."""
    try:
        yield from _answered(state, event, now)
    except Refused as refused:
        yield refuse(event, refused.reason, refused.message[:message_chars_max], refused.held_by)


def _answered(state: MarathonState, event: Event, now: Now) -> Iterator[Say]:
    fact = event.fact
    draft = draft_of(state, fact)
    if draft is not None:
        kills = known_tasks(state, fact.tasks) if isinstance(fact, KillsRequested) else []
        _bounded(kills)
        course = course_of(state, draft, force=forced(fact))
        yield from begin(state, course, answer(event, fact), now)
        for task in kills:
            yield from _dismissed(state, task)
        return
    match fact:
        case CancelRequested():
            yield _stop(state, event, fact.deployment)
        case ContinueRequested():
            yield _continue(state, event, fact.deployment)
        case KillRequested():
            yield from _kill(state, event, fact)
        case KillsRequested():
            yield from _kill_several(state, event, fact.tasks)
        case ResetRequested():
            yield _reset(state, event, fact.app)
        case ResignationRequested():
            yield answer(event, ResignationGranted(epoch=state.epoch))
        case SchedulerLocated():
            return
        case _ if event.request is not None:
            raise Refused(Refusal.INVALID, f"marathon knows nothing of {event.type}")


# ---- deployments that go on -------------------------------------------------------------------------------------


def _stop(state: MarathonState, event: Event, name: DeploymentId) -> Say:
    if name not in state.deployments:
        raise no_deployment(name)
    by = event.actor or event.by.id
    return answer(event, end(state, name, Outcome.CANCELLED, f"stopped where it was by {by}").fact)


def _continue(state: MarathonState, event: Event, name: DeploymentId) -> Say:
    if name not in state.deployments:
        raise no_deployment(name)
    waiting = tuple(app_id for app_id in state.deployments[name].unfinished if state.apps[app_id].held)
    if not waiting:
        raise Refused(Refusal.NOT_RUNNING, f"deployment {name} waits for nobody's word")
    return answer(event, DeploymentContinued(deployment=name, apps=waiting))


def _reset(state: MarathonState, event: Event, app_id: AppId) -> Say:
    app = wanted(state, app_id)
    if app is None or not app.waiting:
        raise Refused(Refusal.NOT_FOUND, f"{app_id} does not wait in the queue")
    return answer(event, DelayReset(app=app_id))


# ---- kills ------------------------------------------------------------------------------------------------------


def _kill(state: MarathonState, event: Event, fact: KillRequested) -> Iterator[Say]:
    key = instance_with(state, fact.task)
    app_id = state.owners.get(key)
    if app_id is None:
        raise Refused(Refusal.NOT_FOUND, f"no instance {fact.task}")
    app = state.apps[app_id]
    if key in app.waiting:
        raise Refused(Refusal.NOT_RUNNING, f"{fact.task} waits for an offer")
    grace_s = fact.grace_s
    if grace_s is not None and not 0 <= grace_s <= grace_s_max:
        wrong = f"Expected `float` from 0 to {grace_s_max}, found {grace_s} - at `$.grace_s`"
        raise Refused(Refusal.INVALID, wrong)
    if grace_s is None:
        grace_s = app.spec.task_kill_grace_period_seconds
    kill = kill_of(key, app.launched.get(key) or app.dying.get(key) or app.absent.get(key), grace_s)
    yield answer(event, InstanceDismissed(app=app_id, task=key, reason=USER_REQUEST))
    yield Say(kill, to=MASTER)


def _kill_several(state: MarathonState, event: Event, tasks: tuple[TaskId, ...]) -> Iterator[Say]:
    found = known_tasks(state, tasks)
    _bounded(found)
    yield answer(event, KillsGranted(tasks=tuple(found)))
    for task in found:
        yield from _dismissed(state, task)


def _bounded(tasks: list[TaskId]) -> None:
    if len(tasks) > kills_max:
        wrong = f"Expected at most {kills_max} instances, found {len(tasks)} - at `$.tasks`"
        raise Refused(Refusal.INVALID, wrong)


def _dismissed(state: MarathonState, task: TaskId) -> Iterator[Say]:
    app_id = state.owners[task]
    app = state.apps[app_id]
    instance = app.launched.get(task)
    yield Say(InstanceDismissed(app=app_id, task=task, reason=USER_REQUEST))
    if instance is not None:
        yield Say(kill_of(task, instance, app.spec.task_kill_grace_period_seconds), to=MASTER)
