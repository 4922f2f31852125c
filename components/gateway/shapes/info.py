"""What a Marathon and a Metronome say about themselves.

Rule of this room: as in `components.gateway.shapes`; only keys that PyPI `marathon` knows. (Marathon: `InfoResource`)
"""

from __future__ import annotations

from collections.abc import Mapping

MARATHON_VERSION = "1.11.0"
"""Whose API this is. Our own release is the build."""
METRONOME_VERSION = "0.6.0"


def marathon_info(place: str, build: str, *, elected: bool) -> dict[str, object]:
    """`GET /v2/info`. What is not so here has the value that means as little as possible."""
    host, _, port = place.rpartition(":")
    return {
        "name": "marathon",
        "version": MARATHON_VERSION,
        "buildref": build,
        "elected": elected,
        "leader": place if elected else None,
        "frameworkId": "marathon",
        "marathon_config": {
            "checkpoint": True,
            "decline_offer_duration": 120_000,
            "executor": "//cmd",
            "failover_timeout": 604_800,
            "features": [],
            "framework_name": "marathon",
            "ha": True,
            "hostname": host,
            "local_port_max": 20_000,
            "local_port_min": 10_000,
            "maintenance_mode": False,
            "master": "busbar",
            "max_instances_per_offer": 5,
            "mesos_role": "*",
            "reconciliation_initial_delay": 15_000,
            "reconciliation_interval": 600_000,
            "task_launch_confirm_timeout": 300_000,
            "task_launch_timeout": 300_000,
        },
        "zookeeper_config": {"zk": "", "zk_max_versions": 50},
        "http_config": {"http_port": int(port), "https_port": 0},
    }


def metronome_info(build: str) -> dict[str, object]:
    """Metronome's `GET /info`."""
    return {"version": METRONOME_VERSION, "libVersion": build}


def metrics(counters: Mapping[str, int], gauges: Mapping[str, float]) -> dict[str, object]:
    """`GET /metrics`. (Dropwizard metrics 3)"""
    return {
        "version": "3.0.0",
        "gauges": {name: {"value": value} for name, value in gauges.items()},
        "counters": {name: {"count": count} for name, count in counters.items()},
        "histograms": {},
        "meters": {},
        "timers": {},
    }


def prometheus(counters: Mapping[str, int], gauges: Mapping[str, float]) -> str:
    """`GET /metrics/prometheus`. (Prometheus: text-based format)"""
    lines: list[str] = []
    for kind, values in (("counter", counters), ("gauge", gauges)):
        for name, value in values.items():
            flat = name.replace(".", "_").replace("-", "_")
            lines += [f"# TYPE {flat} {kind}", f"{flat} {value:g}"]
    return "\n".join(lines) + "\n"
