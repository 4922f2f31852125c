"""What can be asked about pods: how each stands, with its instances and their containers.

Rule of this room: as in `queries`. The words for how something stands are the original's.
(Marathon: `PodStatusConversion.scala`, `PodStatusManagerImpl`)
"""

from __future__ import annotations

from msgspec.structs import replace

from bus.documents import PodContainer, PodSpec
from bus.documents.base import resources
from bus.nouns import NOTHING, TERMINAL, Now, Resources, TaskId, TaskState, total
from bus.pod_rows import ContainerRow, EndpointRow, PodInstanceRow, PodRow, TerminationRow
from components.marathon.containers import Contained, Termination
from components.marathon.instances import Launched, Waiting, is_up
from components.marathon.state import App, MarathonState
from components.marathon.waiting import delay_until, waiting

UNREACHABLE = "pod instance has become unreachable"
UNHEALTHY = "at least one container is not healthy"
_STARTING = (TaskState.STAGING, TaskState.STARTING)


def pods(state: MarathonState, _question: bytes, now: Now) -> list[PodRow]:
    """Every pod with its instances, by id. One that was removed wants none and is shown until the last ended."""
    specs = ((app, app.latest.spec) for _, app in sorted(state.apps.items()))
    return [_row(app, spec, now) for app, spec in specs if isinstance(spec, PodSpec)]


def _row(app: App, spec: PodSpec, now: Now) -> PodRow:
    latest = app.latest
    there = [*app.launched.items(), *app.dying.items(), *app.absent.items()]
    instances = [_instance(app, _made_from(app, spec, one), task, one) for task, one in there]
    instances += [_waiting(task, one) for task, one in app.waiting.items()]
    stable = sum(one.status == "STABLE" for one in instances)
    status = "TERMINAL" if app.removed else "STABLE" if stable >= spec.instances else "DEGRADED"
    since = max([one.since for one in instances] + [one.terminated_at for one in app.terminations], default=now)
    return PodRow(
        pod=replace(spec, scaling=replace(spec.scaling, instances=0)) if app.removed else spec,
        app_version=latest.version,
        status=status,
        since=since,
        changed=max([one.changed for one in instances], default=since),
        instances=tuple(instances),
        terminations=tuple(_termination(spec, one) for one in app.terminations),
        waiting=waiting(app),
        change_version=latest.change if latest.change != latest.version else None,
        deployments=(app.deployment,) if app.deployment is not None else (),
        delay_until=delay_until(app, now),
        last_failure=app.last_failure,
    )


def _made_from(app: App, latest: PodSpec, one: Launched) -> PodSpec:
    """The pod as it was when an instance of it was launched; as it is to be, if that is forgotten."""
    specs = (was.pod for was in app.history.values() if was.version == one.app_version)
    return next((spec for spec in specs if spec is not None), latest)


def _waiting(task: TaskId, one: Waiting) -> PodInstanceRow:
    return PodInstanceRow(
        instance=task,
        status="PENDING",
        since=one.since,
        changed=one.since,
        app_version=one.app_version,
        replaces=one.replaces,
    )


def _instance(app: App, spec: PodSpec, task: TaskId, one: Launched) -> PodInstanceRow:
    status, message = _stands(one)
    containers = tuple(_container(spec, name, each) for name, each in one.containers.items())
    own = spec.executor_resources
    held = [row.resources for row in containers]
    live = any(each.state not in TERMINAL for each in one.containers.values())
    return PodInstanceRow(
        instance=task,
        status=status,
        since=one.since,
        changed=max(each.changed for each in one.containers.values()),
        app_version=one.app_version,
        message=message,
        agent=one.agent,
        hostname=one.hostname or None,
        resources=total([resources(own.cpus, own.mem, own.disk), *held]) if live else NOTHING,
        containers=containers,
        replaces=one.replaces,
        up=is_up(one),
        dying=task in app.dying,
    )


def _stands(one: Launched) -> tuple[str, str]:
    """How an instance stands, and what is to be said of it."""
    if one.state is TaskState.UNREACHABLE:
        return "DEGRADED", UNREACHABLE
    if one.state in _STARTING:
        return "STAGING", ""
    if one.state is not TaskState.RUNNING:
        return "TERMINAL", ""
    if any(each.checked and each.status.healthy is not True for each in one.containers.values()):
        return "DEGRADED", UNHEALTHY
    return "STABLE", ""


def _container(spec: PodSpec, task: TaskId, one: Contained) -> ContainerRow:
    live = one.state not in TERMINAL
    described = next((each for each in spec.containers if each.name == one.name), None)
    return ContainerRow(
        name=one.name,
        task=task,
        state=one.state,
        since=one.since,
        changed=one.changed,
        message=one.status.message,
        endpoints=_endpoints(described, one) if live and described is not None else (),
        resources=_held(described) if live and described is not None else NOTHING,
        exit_status=one.status.exit_status,
        signal=one.status.signal,
        healthy=one.status.healthy,
        checked=one.checked,
    )


def _endpoints(container: PodContainer, one: Contained) -> tuple[EndpointRow, ...]:
    check = container.health_check
    looked_at = [each.endpoint for each in (check.http, check.tcp) if each is not None] if check is not None else []
    served = [endpoint for endpoint in container.endpoints if endpoint.host_port is not None]
    return tuple(
        EndpointRow(
            name=endpoint.name,
            host_port=port,
            healthy=one.status.healthy if endpoint.name in looked_at else None,
        )
        for endpoint, port in zip(served, one.ports, strict=False)
    )


def _held(container: PodContainer) -> Resources:
    asked = container.resources
    return resources(asked.cpus, asked.mem, asked.disk)


def _termination(spec: PodSpec, one: Termination) -> TerminationRow:
    return TerminationRow(
        instance=one.instance,
        started_at=one.started_at,
        terminated_at=one.terminated_at,
        message=one.message,
        containers=tuple(_container(spec, task, each) for task, each in one.containers.items()),
    )
