"""How the processes of one host are run: systemd units, and the steps from an empty machine to a datacenter.

Rule of this room: text only; whoever ends is started again, and is asked to end before it is killed.
(man 5 systemd.service)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cli.fleet import Fleet


class Paths(NamedTuple):
    """Where things are on every host."""

    venv: str = "/opt/busbar"
    """The Python environment that has busbar-os, and with it nats-server."""
    config: str = "/etc/busbar"
    data: str = "/var/lib/busbar"


def units(fleet: Fleet, host: str, paths: Paths) -> dict[str, str]:
    """The unit files of one host, by name."""
    return dict(_units(fleet, host, paths))


def _units(fleet: Fleet, host: str, paths: Paths) -> Iterator[tuple[str, str]]:
    if host in fleet.nodes:
        node = fleet.nodes[host]
        bus = f"{paths.venv}/bin/nats-server --config {paths.config}/nats-server.conf"
        yield (
            "busbar-bus.service",
            _unit(f"the bus, node {node}", bus, f"{paths.data}/bus", after="network-online.target"),
        )
        key = f"--key {paths.config}/cluster.key"
        yield "busbar-master.service", _component("master", node, paths, key)
        if fleet.schedulers_on(host):
            yield "busbar-marathon.service", _component("marathon", node, paths)
            yield "busbar-metronome.service", _component("metronome", node, paths)
    if host in fleet.agents:
        work = f"{paths.data}/agents/%i"
        given = f"--id %i --hostname {host} --work {work} --store {work}/agent.db"
        given += f" --hide {paths.data} --hide {paths.config}"
        command = f"{_run(paths, 'agent')} {given}"
        yield (
            "busbar-agent@.service",
            _unit("agent %i", command, work, after="network-online.target", more=_TASKS_RUN_ON),
        )


_TASKS_RUN_ON = "KillMode=process\n"
"""Its executor and its tasks run on while an agent is away."""


def _component(name: str, node: str, paths: Paths, *given: str) -> str:
    directory = f"{paths.data}/{name}"
    command = " ".join((_run(paths, name), f"--node {node} --store {directory}/events.db", *given))
    return _unit(f"{name}, node {node}", command, directory, after="busbar-bus.service")


def _run(paths: Paths, component: str) -> str:
    return f"{paths.venv}/bin/busbar run {component} --credentials {paths.config}/credentials.json --log-json"


def _unit(what: str, command: str, directory: str, *, after: str, more: str = "") -> str:
    return f"""\
[Unit]
Description=Busbar: {what}
Wants=network-online.target
After={after}
StartLimitIntervalSec=0

[Service]
User=busbar
ExecStartPre=/bin/mkdir -p {directory}
ExecStart={command}
Restart=always
RestartSec=1
TimeoutStopSec=30
LimitNOFILE=65536
NoNewPrivileges=yes
{more}
[Install]
WantedBy=multi-user.target
"""


def readme(fleet: Fleet, paths: Paths) -> str:
    """The steps, with the hosts of this fleet."""
    rows = "\n".join(_row(fleet, host) for host in fleet.hosts)
    first = fleet.masters[0]
    return f"""\
# {fleet.cluster}: {len(fleet.hosts)} hosts

| host | node | runs |
|---|---|---|
{rows}

`fleet.json` holds the secrets: keep this directory, and keep it private. A host is replaced by running
`busbar hosts generate` on it again (`ops/runbook.md`, "Several hosts").

Each name must mean, on every host and on itself, the address at which the others reach it: `getent hosts {first}` on
{first} must not say 127.0.1.1. The hosts talk on ports {fleet.port} (clients) and {fleet.route_port} (masters among
each other) in the clear: let nobody else reach these ports.

## On every host, as root

```
useradd --system --home-dir {paths.data} busbar
install -d -o busbar -g busbar -m 700 {paths.data} {paths.config}
python3.11 -m venv {paths.venv} && {paths.venv}/bin/pip install busbar_os-*.whl
# copy this directory's HOST/ there, then:
install -o busbar -g busbar -m 600 HOST/config/* {paths.config}/
install -m 644 HOST/units/* /etc/systemd/system/
systemctl daemon-reload
```

## Start

1. On every master host, without waiting for the one before: `systemctl enable --now busbar-bus busbar-master`
{_schedulers(fleet)}{_agents(fleet)}4. On any of them, this ends with exit code 0:
   `busbar status --credentials {paths.config}/credentials.json`
"""


def _row(fleet: Fleet, host: str) -> str:
    runs = ["bus, master"] if host in fleet.nodes else []
    runs += ["marathon, metronome"] if fleet.schedulers_on(host) else []
    runs += [f"agent {fleet.agent_id(host)}"] if host in fleet.agents else []
    return f"| {host} | {fleet.nodes.get(host, '')} | {', '.join(runs)} |"


def _schedulers(fleet: Fleet) -> str:
    where = " and ".join(fleet.masters[:2])
    return f"2. On {where}: `systemctl enable --now busbar-marathon busbar-metronome`\n"


def _agents(fleet: Fleet) -> str:
    each = "".join(
        f"   - {host}: `systemctl enable --now busbar-agent@{fleet.agent_id(host)}`\n" for host in fleet.agents
    )
    return f"3. On every host with an agent:\n{each}"
