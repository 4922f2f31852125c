"""What must hold of an app beyond its fields. (Marathon: `AppValidation.scala`, `SchedulingValidation.scala`)

Rule of this room: as in `bus.documents`; one rule each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bus.documents.app import AppSpec, HealthCheck, Rollout, UnreachableStrategy
from bus.documents.base import Complaint, Steps
from bus.documents.check import check_rules
from bus.documents.ids import id_invalid
from bus.documents.older import NO_NETWORKS, SINGLE_INSTANCE
from bus.documents.rules import (
    Rule,
    constraints,
    env_secrets,
    exactly_one,
    fetches,
    secret_paths,
    twice,
    undeclared,
)

EXECUTOR_RUN = ("COMMAND", "MESOS_HTTP", "MESOS_HTTPS", "MESOS_TCP")
"""The checks the executor runs; the others are the scheduler's."""


def _id(app: AppSpec) -> Iterator[Complaint]:
    wrong = id_invalid(app.id)
    if wrong is not None:
        yield Complaint(wrong, ("id",))


def _command(app: AppSpec) -> Iterator[Complaint]:
    return exactly_one(app.cmd, app.args)


def _ports(app: AppSpec) -> Iterator[Complaint]:
    at: Steps = ("portDefinitions",) if app.ports is None else ("ports",)
    if app.ports is not None and app.port_definitions is not None:
        if app.ports and tuple(each.port for each in app.port_definitions) != app.ports:
            yield Complaint("ports and portDefinitions exclude each other", ("ports",))
        at = ("portDefinitions",)
    if twice(port.port for port in app.wanted_ports if port.port):
        yield Complaint("a port is asked for twice", at)
    if twice(port.name for port in app.wanted_ports if port.name):
        yield Complaint("two ports have the same name", at)


def _networks(app: AppSpec) -> Iterator[Complaint]:
    for index, network in enumerate(app.networks):
        if network.mode != "host":
            yield Complaint(f"{network.mode!r} is not built: {NO_NETWORKS}", ("networks", index, "mode"))
        elif network.name is not None:
            yield Complaint("the host's network has no name", ("networks", index, "name"))
    if len(app.networks) > 1:
        yield Complaint("the host's network is there once", ("networks",))


def _secrets(app: AppSpec) -> Iterator[Complaint]:
    volumes = ("container", "volumes")
    used = [*env_secrets(app.env, ("env",))]
    used += [((*volumes, index), volume.secret) for index, volume in enumerate(app.secret_volumes)]
    yield from undeclared(used, app.secrets, "$.secrets")
    yield from secret_paths(app.secret_volumes, volumes)


def _fetch(app: AppSpec) -> Iterator[Complaint]:
    return fetches(app.fetch, ("fetch",))


def _constraints(app: AppSpec) -> Iterator[Complaint]:
    return constraints(app.constraints, ("constraints",))


def _roles(app: AppSpec) -> Iterator[Complaint]:
    return accepted_roles(app.accepted_resource_roles, app.role, ("acceptedResourceRoles",))


def accepted_roles(accepted: Iterable[str], role: str | None, at: Steps) -> Iterator[Complaint]:
    """Offers of a role can be taken by who has that role. Who says none has the scheduler's."""
    for index, each in enumerate(accepted):
        if role is not None and each not in ("*", role):
            yield Complaint(f"{each!r} is not the role it has: expected * or {role}", (*at, index))


def _health(app: AppSpec) -> Iterator[Complaint]:
    at: Steps = ("healthChecks",)
    by_executor = [check.protocol in EXECUTOR_RUN for check in app.health_checks]
    if any(by_executor) and not all(by_executor):
        of = ", ".join(EXECUTOR_RUN)
        yield Complaint(f"checks of the executor ({of}) and of the scheduler do not mix", at)
    elif sum(by_executor) > 1:
        yield Complaint("the executor runs at most one check of a task", at)
    for index, check in enumerate(app.health_checks):
        for each in _check(check, len(app.wanted_ports)):
            yield each._replace(steps=(*at, index, *(each.steps or ())))


def _check(check: HealthCheck, ports: int) -> Iterator[Complaint]:
    if check.protocol == "COMMAND":
        if check.command is None:
            yield Complaint("COMMAND needs a command", ("command",))
        for name, found in (("path", check.path), ("port", check.port), ("portIndex", check.port_index)):
            if found is not None:
                yield Complaint(f"COMMAND takes no {name}", (name,))
        return
    if check.command is not None:
        yield Complaint(f"{check.protocol} takes no command", ("command",))
    if check.path is not None and check.protocol.endswith("TCP"):
        yield Complaint(f"{check.protocol} takes no path", ("path",))
    if check.port is None and (check.port_index or 0) >= ports:
        has = f"the app has {ports} port{'' if ports == 1 else 's'}"
        yield Complaint(f"no port {check.port_index or 0}: {has}, counted from 0; or say port", ("portIndex",))


def _readiness(app: AppSpec) -> Iterator[Complaint]:
    names = [port.name for port in app.wanted_ports if port.name]
    for index, check in enumerate(app.readiness_checks):
        at: Steps = ("readinessChecks", index)
        if check.port_name not in names:
            known = f"expected one of {', '.join(names)}" if names else "no port of the app has a name"
            yield Complaint(f"no port is called {check.port_name!r}: {known}", (*at, "portName"))
        if check.timeout_seconds >= check.interval_seconds:
            wrong = f"expected less than the interval of {check.interval_seconds} s, found {check.timeout_seconds} s"
            yield Complaint(wrong, (*at, "timeoutSeconds"))


def _unreachable(app: AppSpec) -> Iterator[Complaint]:
    return unreachable(app.unreachable_strategy, ("unreachableStrategy",))


def unreachable(strategy: UnreachableStrategy | str, at: Steps) -> Iterator[Complaint]:
    """Nothing is given up before it is replaced."""
    if isinstance(strategy, UnreachableStrategy) and strategy.inactive_after_seconds > strategy.expunge_after_seconds:
        most = f"expungeAfterSeconds, {strategy.expunge_after_seconds}"
        yield Complaint(
            f"expected at most {most}, found {strategy.inactive_after_seconds}", (*at, "inactiveAfterSeconds")
        )


def _single_instance(app: AppSpec) -> Iterator[Complaint]:
    if app.labels.get(SINGLE_INSTANCE) != "true":
        return
    if app.instances > 1:
        yield Complaint(f"with the label {SINGLE_INSTANCE} expected at most 1, found {app.instances}", ("instances",))
    strategy = app.upgrade_strategy
    for name, found in (
        ("minimumHealthCapacity", strategy.minimum_health_capacity),
        ("maximumOverCapacity", strategy.maximum_over_capacity),
    ):
        if found != 0:
            wrong = f"with the label {SINGLE_INSTANCE} expected 0, found {found:g}"
            yield Complaint(wrong, ("upgradeStrategy", name))


def _dependencies(app: AppSpec) -> Iterator[Complaint]:
    return dependencies(app.dependencies, app.id)


def dependencies(needed: Iterable[str], id_: str) -> Iterator[Complaint]:
    """What is to be up before: somebody else, each once."""
    needed = tuple(needed)
    for index, each in enumerate(needed):
        wrong = id_invalid(each, "the id of an app or group")
        if wrong is not None:
            yield Complaint(wrong, ("dependencies", index))
        elif each == id_:
            yield Complaint(f"{each!r} depends on itself", ("dependencies", index))
    for index in twice(needed):
        yield Complaint(f"{needed[index]!r} is there twice", ("dependencies", index))


def _rollout(app: AppSpec) -> Iterator[Complaint]:
    return rollout(app.rollout, ("rollout",))


def rollout(wanted: Rollout, at: Steps) -> Iterator[Complaint]:
    """Who goes back must be able to fail."""
    if wanted.auto_rollback and wanted.progress_deadline_seconds is None and wanted.max_launch_attempts is None:
        wrong = "nothing makes a deployment fail: expected progressDeadlineSeconds or maxLaunchAttempts with it"
        yield Complaint(wrong, (*at, "autoRollback"))


PORTS = ("ports", "portDefinitions")
APP_RULES: tuple[Rule[AppSpec], ...] = (
    Rule(("id",), _id),
    Rule(("cmd", "args"), _command),
    Rule(PORTS, _ports),
    Rule(("networks",), _networks),
    Rule(("env", "container", "secrets"), _secrets),
    Rule(("fetch",), _fetch),
    Rule(("constraints",), _constraints),
    Rule(("acceptedResourceRoles", "role"), _roles),
    Rule(("healthChecks", *PORTS), _health),
    Rule(("readinessChecks", *PORTS), _readiness),
    Rule(("check", *PORTS), lambda app: check_rules(app.check, len(app.wanted_ports))),
    Rule(("unreachableStrategy",), _unreachable),
    Rule(("labels", "instances", "upgradeStrategy"), _single_instance),
    Rule(("dependencies", "id"), _dependencies),
    Rule(("rollout", "instances"), _rollout),
)
