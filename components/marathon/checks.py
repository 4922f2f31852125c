"""How an app's checks become those of one instance: with its ports, and by whoever makes them.

    HTTP, HTTPS, TCP                                marathon itself, over the network
    COMMAND, MESOS_HTTP, MESOS_HTTPS, MESOS_TCP     the instance's executor; it can make one

Rule of this room: names and defaults are the original's. (Marathon: `HealthCheck.scala`, `ReadinessCheck.scala`)
"""

from __future__ import annotations

from bus.documents import AppSpec
from bus.documents.app import HealthCheck
from bus.nouns import Check, Command, Probe

_EXECUTORS = {
    "COMMAND": Probe.COMMAND,
    "MESOS_HTTP": Probe.HTTP,
    "MESOS_HTTPS": Probe.HTTPS,
    "MESOS_TCP": Probe.TCP,
}


def health_of(spec: AppSpec, ports: tuple[int, ...]) -> Check | None:
    """What an instance's executor checks: the first of the app's checks that is an executor's."""
    for check in spec.health_checks:
        if check.protocol in _EXECUTORS:
            return _check(check, _EXECUTORS[check.protocol], ports)
    return None


def check_of(spec: AppSpec, ports: tuple[int, ...]) -> Check | None:
    """What an instance's executor looks at only to tell what it finds."""
    given = spec.check
    if given is None:
        return None
    http, probe, port, command = given.http, Probe.COMMAND, 0, None
    if http is not None:
        probe, port = Probe(http.scheme), _port(ports, http.port_index)
    elif given.tcp is not None:
        probe, port = Probe.TCP, _port(ports, given.tcp.port_index)
    elif given.exec is not None:
        command = Command(shell=given.exec.command.shell, argv=given.exec.command.argv or ())
    return Check(
        probe=probe,
        port=port,
        path=http.path if http is not None else "/",
        command=command,
        delay_s=float(given.delay_seconds),
        interval_s=float(given.interval_seconds),
        timeout_s=float(given.timeout_seconds),
        grace_s=0.0,
    )


def watched_of(spec: AppSpec, ports: tuple[int, ...]) -> tuple[Check, ...]:
    """What Marathon checks of an instance, in the app's order."""
    ours = [check for check in spec.health_checks if check.protocol not in _EXECUTORS]
    return tuple(_check(check, Probe(check.protocol), ports) for check in ours)


def readiness_of(spec: AppSpec, ports: tuple[int, ...]) -> Check | None:
    """What tells that an instance is ready, at the port of the name that the check gives."""
    for check in spec.readiness_checks:
        names = [port.name for port in spec.wanted_ports]
        index = names.index(check.port_name) if check.port_name in names else 0
        return Check(
            probe=Probe(check.protocol),
            port=_port(ports, index),
            path=check.path,
            delay_s=0.0,
            interval_s=float(check.interval_seconds),
            timeout_s=float(check.timeout_seconds),
            codes=check.http_status_codes_for_ready,
            keep=check.preserve_last_response,
        )
    return None


def _check(check: HealthCheck, probe: Probe, ports: tuple[int, ...]) -> Check:
    command = Command(shell=check.command.value) if check.command is not None else None
    port = check.port if check.port is not None else _port(ports, check.port_index or 0)
    return Check(
        probe=probe,
        port=0 if probe is Probe.COMMAND else port,
        path=check.path or "/",
        command=command,
        ipv6=check.ip_protocol == "IPv6",
        delay_s=float(check.delay_seconds) if check.protocol in _EXECUTORS else 0.0,
        interval_s=float(check.interval_seconds),
        timeout_s=float(check.timeout_seconds),
        grace_s=float(check.grace_period_seconds),
        failures_max=check.max_consecutive_failures,
        ignore_1xx=check.ignore_http1xx,
    )


def _port(ports: tuple[int, ...], index: int) -> int:
    """The instance's port of an index; 0, where every look fails, if it has no such port."""
    return ports[index] if index < len(ports) else 0
