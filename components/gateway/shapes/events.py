"""What happened, as Marathon's event stream tells it.

Rule of this room: as in `components.gateway.shapes`; only types that PyPI `marathon` knows, unless one is asked for by
its name. What an event does not say itself was said by one before it, and is remembered. (Marathon:
`core/event/Events.scala`)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

import msgspec

from bus.documents import AppSpec
from bus.documents.ids import parent
from bus.events import Event, Fact, OfferAccepted
from bus.nouns import TaskState
from bus.plans import DeploymentId, Outcome
from bus.services import (
    AppRemoved,
    AppSpecified,
    AppUpdated,
    DeploymentAdvanced,
    DeploymentContinued,
    DeploymentEnded,
    DeploymentPaused,
    DeploymentStarted,
    HealthChanged,
    InstanceDismissed,
    InstanceScheduled,
    PodSpecified,
    facts_of,
    in_short,
)
from components.gateway.shapes.apps import app_spec, full
from components.gateway.shapes.deployments import actions, event_plan
from components.gateway.shapes.tasks import addresses
from components.gateway.shapes.times import zulu

TYPES = (
    *("api_post_event", "status_update_event", "framework_message_event", "subscribe_event", "unsubscribe_event"),
    *("add_health_check_event", "remove_health_check_event", "failed_health_check_event"),
    *("health_status_changed_event", "unhealthy_task_kill_event", "group_change_success", "group_change_failed"),
    *("deployment_success", "deployment_failed", "deployment_info", "deployment_step_success"),
    *("deployment_step_failure", "event_stream_attached", "event_stream_detached", "app_terminated_event"),
    *("instance_changed_event", "unknown_instance_terminated_event", "unhealthy_instance_kill_event"),
    *("instance_health_changed_event", "pod_created_event", "pod_updated_event", "pod_deleted_event"),
)
"""All that PyPI marathon knows; it fails at any other."""
remembered_max = 10_000
"""Apps, tasks and deployments."""
UNHEALTHY = "unhealthy"


T = TypeVar("T")
Id = TypeVar("Id", bound=str)


class Told(NamedTuple):
    """One message of the stream."""

    type: str
    content: dict[str, object]


class Where(NamedTuple):
    """Where a task is, and of which version."""

    version: str = ""
    host: str = ""
    agent: str = ""
    ports: tuple[int, ...] = ()


class Teller:
    """Tells events one after another."""

    def __init__(self) -> None:
        self.plans: OrderedDict[DeploymentId, DeploymentStarted] = OrderedDict()
        """Of the deployments that go on, and others that were looked up."""
        self._apps: OrderedDict[str, tuple[AppSpec, str]] = OrderedDict()
        self._tasks: OrderedDict[str, Where] = OrderedDict()

    def unknown(self, event: Event) -> DeploymentId | None:
        """The deployment that must be looked up before an event can be told."""
        match event.fact:
            case DeploymentAdvanced() | DeploymentPaused() | DeploymentContinued() | DeploymentEnded() as fact:
                return fact.deployment if fact.deployment not in self.plans else None
        return None

    def remember(self, event: Event) -> None:
        """Something that was said before what is told: only what it says of places and plans is kept."""
        for fact in facts_of(event.fact):
            if isinstance(fact, InstanceScheduled | OfferAccepted | DeploymentStarted):
                for _ in self._tell(fact):
                    pass

    def tell(self, event: Event) -> list[Told]:
        """What Marathon would have said."""
        common = {"timestamp": zulu(event.at)}
        told = (each for fact in facts_of(event.fact) for each in self._tell(fact))
        return [Told(type_, {"eventType": type_, **content, **common}) for type_, content in told]

    def _tell(self, fact: Fact) -> Iterator[tuple[str, dict[str, object]]]:
        match fact:
            case AppSpecified() as fact:
                yield from self._specified(fact)
            case PodSpecified() as fact:
                type_ = "pod_created_event" if fact.changed == "created" else "pod_updated_event"
                yield type_, {"clientIp": "", "uri": f"/v2/pods{fact.pod.id}"}
            case AppRemoved() as fact:
                yield from self._removed(fact)
            case InstanceScheduled() as fact:
                self._task(fact.task, version=fact.app_version)
            case OfferAccepted() as fact:
                for info in fact.launch:
                    self._task(info.task, host=info.hostname, agent=info.agent, ports=info.ports)
            case AppUpdated() as fact:
                yield from self._updated(fact)
            case HealthChanged() as fact:
                yield from self._health(fact)
            case InstanceDismissed() as fact if fact.reason.lower() == UNHEALTHY:
                yield from self._unhealthy(fact)
            case DeploymentStarted() as fact:
                _remember(self.plans, fact.deployment, in_short(fact))
                yield "group_change_success", {"groupId": _group(fact), "version": fact.deployment_version}
            case DeploymentAdvanced() as fact:
                yield from self._advanced(fact)
            case DeploymentEnded() as fact:
                yield from self._ended(fact)

    # ---- apps ---------------------------------------------------------------------------------------------------

    def _specified(self, fact: AppSpecified) -> Iterator[tuple[str, dict[str, object]]]:
        version = fact.change_version or fact.app_version
        _remember(self._apps, fact.app.id, (fact.app, fact.app_version))
        shown = app_spec(fact.app, version, fact.app_version)
        yield "api_post_event", {"clientIp": "", "uri": f"/v2/apps{fact.app.id}", "appDefinition": shown}
        if version == fact.app_version:
            for check in fact.app.health_checks:
                yield (
                    "add_health_check_event",
                    {"appId": fact.app.id, "version": version, "healthCheck": full(check)},
                )

    def _removed(self, fact: AppRemoved) -> Iterator[tuple[str, dict[str, object]]]:
        known = self.plans.get(fact.deployment) if fact.deployment is not None else None
        if known is not None and fact.app in known.plan.pods:
            yield "pod_deleted_event", {"clientIp": "", "uri": f"/v2/pods{fact.app}"}
            return
        spec = self._apps.pop(fact.app, None)
        for check in spec[0].health_checks if spec is not None else ():
            yield "remove_health_check_event", {"appId": fact.app, "healthCheck": full(check)}
        yield "app_terminated_event", {"appId": fact.app}

    def _task(self, task: str, **known: Any) -> None:
        _remember(self._tasks, task, self._tasks.get(task, Where())._replace(**known))

    def unknown_task(self, event: Event) -> str | None:
        """The task whose place must be looked up before an event can be told."""
        match event.fact:
            case AppUpdated(status=status) if not self._tasks.get(status.task, Where()).version:
                return status.task
        return None

    def _updated(self, fact: AppUpdated) -> Iterator[tuple[str, dict[str, object]]]:
        status = fact.status
        self._task(status.task, **({"agent": fact.agent} if fact.agent else {}))
        version, host, agent, ports = self._tasks[status.task]
        yield (
            "status_update_event",
            {
                "slaveId": agent,
                "taskId": status.task,
                "taskStatus": status.state,
                "message": status.message,
                "appId": fact.app,
                "host": host,
                "ipAddresses": addresses(host),
                "ports": list(ports),
                "version": version,
            },
        )
        yield (
            "instance_changed_event",
            {
                "instanceId": status.task,
                "condition": condition(status.state),
                "runSpecId": fact.app,
                "agentId": agent,
                "host": host,
                "runSpecVersion": version,
            },
        )

    # ---- health ---------------------------------------------------------------------------------------------------

    def _health(self, fact: HealthChanged) -> Iterator[tuple[str, dict[str, object]]]:
        where, known = self._tasks.get(fact.task, Where()), self._apps.get(fact.app)
        of: dict[str, object] = {"appId": fact.app, "taskId": fact.task, "instanceId": fact.task}
        checks = known[0].health_checks if known is not None else ()
        if not fact.healthy:
            check: object = full(checks[fact.check]) if fact.check < len(checks) else {}
            yield "failed_health_check_event", {**of, "healthCheck": check}
        yield "health_status_changed_event", {**of, "version": where.version, "alive": fact.healthy}
        yield (
            "instance_health_changed_event",
            {
                "instanceId": fact.task,
                "runSpecId": fact.app,
                "runSpecVersion": where.version,
                "healthy": fact.healthy,
            },
        )

    def _unhealthy(self, fact: InstanceDismissed) -> Iterator[tuple[str, dict[str, object]]]:
        where = self._tasks.get(fact.task, Where())
        yield (
            "unhealthy_instance_kill_event",
            {
                "appId": fact.app,
                "taskId": fact.task,
                "instanceId": fact.task,
                "version": where.version,
                "reason": fact.why or fact.reason,
                "host": where.host,
                "slaveId": where.agent,
            },
        )

    # ---- deployments ----------------------------------------------------------------------------------------------

    def _plan(self, deployment: DeploymentId) -> dict[str, object]:
        known = self.plans.get(deployment)
        if known is None:
            return {}
        return event_plan(known.deployment, known.deployment_version, known.plan)

    def _step(self, deployment: DeploymentId, number: int) -> dict[str, object]:
        known = self.plans.get(deployment)
        there = known is not None and 0 <= number < len(known.plan.steps)
        return {"actions": actions(known.plan.steps[number]) if known is not None and there else []}

    def _advanced(self, fact: DeploymentAdvanced) -> Iterator[tuple[str, dict[str, object]]]:
        plan = self._plan(fact.deployment)
        if fact.step > 0:
            done = self._step(fact.deployment, fact.step - 1)
            yield "deployment_step_success", {"plan": plan, "currentStep": done}
        yield "deployment_info", {"plan": plan, "currentStep": self._step(fact.deployment, fact.step)}

    def _ended(self, fact: DeploymentEnded) -> Iterator[tuple[str, dict[str, object]]]:
        plan, known = self._plan(fact.deployment), self.plans.pop(fact.deployment, None)
        content: dict[str, object] = {"id": fact.deployment, "plan": plan}
        if fact.outcome is not Outcome.SUCCEEDED:
            yield "deployment_failed", {**content, "reason": fact.message or fact.outcome}
            return
        if known is not None and known.plan.steps:
            last = {"actions": actions(known.plan.steps[-1])}
            yield "deployment_step_success", {"plan": plan, "currentStep": last}
        yield "deployment_success", content


def _group(fact: DeploymentStarted) -> str:
    """The group that a deployment changes."""
    changed = (*fact.plan.apps, *fact.plan.pods)
    return fact.group or (parent(changed[0]) if len(changed) == 1 else "/")


def _remember(known: OrderedDict[Id, T], id_: Id, what: T) -> None:
    known[id_] = what
    known.move_to_end(id_)
    if len(known) > remembered_max:
        known.popitem(last=False)


def condition(state: TaskState) -> str:
    """`Running`. (Marathon: `Condition.scala`)"""
    return state.removeprefix("TASK_").capitalize()


def own(event: Event) -> Told:
    """An event as it is in the log, for who asks for it by its name."""
    content = {
        "eventType": event.type,
        "timestamp": zulu(event.at),
        "position": event.position,
        "by": str(event.by),
        "to": event.to,
        "actor": event.actor,
        "trace": event.trace,
        "cause": event.cause,
        "data": msgspec.to_builtins(event.fact),
    }
    return Told(event.type, content)
