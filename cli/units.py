"""How the processes of one host are run: systemd units, and the steps from an empty machine to a datacenter.

Rule of this room: text only; whoever ends is started again, and is asked to end before it is killed.
(man 5 systemd.service)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bus.certificates import Pair, valid_until
from bus.configuration import ACCOUNTS
from bus.keyring import AUTHORITY, FOUNDERS, ISSUER
from cli.datacenter import GATEWAY, SCHEDULERS
from cli.fleet import Fleet, Gone, Paths
from cli.users import USERS


def units(fleet: Fleet, host: str, paths: Paths) -> dict[str, str]:
    """The unit files of one host, by name."""
    return dict(_units(fleet, host, paths))


def _units(fleet: Fleet, host: str, paths: Paths) -> Iterator[tuple[str, str]]:
    if host in fleet.nodes:
        node = fleet.nodes[host]
        bus = f"{paths.venv}/bin/nats-server --config {paths.bus}/nats-server.conf"
        yield (
            "busbar-bus.service",
            _unit(f"the bus, node {node}", bus, paths.bus, after="network-online.target", more=_READS_AGAIN),
        )
        keys = (f"--key {paths.config}/cluster.key", f"--issuer {paths.config}/{ISSUER}")
        gate = (f"--founders {paths.config}/{FOUNDERS}", f"--gate {paths.bus}")
        yield "busbar-master.service", _component("master", node, paths, *keys, *gate)
        if fleet.schedulers_on(host):
            for name in SCHEDULERS:
                yield f"busbar-{name}.service", _component(name, node, paths)
            given = f"--node {node} --users {paths.config}/{USERS}"
            command = f"{_run(paths, GATEWAY)} {given}"
            yield (
                f"busbar-{GATEWAY}.service",
                _unit(f"the gateway, node {node}", command, f"{paths.data}/{GATEWAY}", after="busbar-bus.service"),
            )
    if host in fleet.agents:
        work = f"{paths.data}/agents/%i"
        given = f"--id %i --hostname {host} --work {work} --store {work}/agent.db"
        given += f" --hide {paths.data} --hide {paths.config}"
        command = f"{_run(paths, 'agent')} {given}"
        yield (
            "busbar-agent@.service",
            _unit("agent %i", command, work, after="network-online.target", more=_TASKS_RUN_ON),
        )


_READS_AGAIN = "ExecReload=/bin/kill -HUP $MAINPID\n"
"""Certificates, and who is let in. (nats-server: SIGHUP)"""
_TASKS_RUN_ON = "KillMode=process\n"
"""Its executor and its tasks run on while an agent is away."""


def _component(name: str, node: str, paths: Paths, *given: str) -> str:
    directory = f"{paths.data}/{name}"
    command = " ".join((_run(paths, name), f"--node {node} --store {directory}/events.db", *given))
    return _unit(f"{name}, node {node}", command, directory, after="busbar-bus.service")


def _run(paths: Paths, component: str) -> str:
    return f"{paths.venv}/bin/busbar run {component} --credentials {paths.config}/{component}.json --log-json"


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


def readme(fleet: Fleet, paths: Paths, servers: Mapping[str, Pair]) -> str:
    """The steps, with the hosts of this fleet."""
    rows = "\n".join(_row(fleet, host, servers) for host in fleet.hosts)
    first = fleet.masters[0]
    return f"""\
# {fleet.cluster}: {len(fleet.hosts)} hosts

| host | node | runs | certificate valid until |
|---|---|---|---|
{rows}

This directory holds every secret of the cluster: `{AUTHORITY}` and `ca.json` are nowhere else, `admin.json` is you.
Keep it, keep it private, and keep a copy. A host gets its own directory and nothing more. Hosts are replaced, and
certificates made anew, by running `busbar hosts generate` on it again (`ops/runbook.md`, "Several hosts").

Each name must mean, on every host and on itself, the address at which the others reach it: `getent hosts {first}` on
{first} must not say 127.0.1.1. The hosts talk by TLS, on ports {fleet.port} (clients) and {fleet.route_port} (masters
among each other).

## On every host, as root

```
useradd --system --home-dir {paths.data} busbar
install -d -o busbar -g busbar -m 700 {paths.data} {paths.config}
python3.11 -m venv {paths.venv} && {paths.venv}/bin/pip install busbar_os-*.whl
# copy this directory's HOST/ there, then:
{_install(paths)}
install -m 644 HOST/units/* /etc/systemd/system/
systemctl daemon-reload
```

On a master's host also, where {ACCOUNTS} is left as it is if it is there already (it says who was revoked):

```
install -d -o busbar -g busbar -m 700 {paths.bus}
install -o busbar -g busbar -m 600 HOST/bus/nats-server.conf {paths.bus}/
test -e {paths.bus}/{ACCOUNTS} || install -o busbar -g busbar -m 600 HOST/bus/{ACCOUNTS} {paths.bus}/
```

## Start

1. On every master host, without waiting for the one before: `systemctl enable --now busbar-bus busbar-master`
{_schedulers(fleet)}{_agents(fleet)}4. Here, or wherever you bring `admin.json` (0600), this ends with exit code 0:
   `busbar status --credentials admin.json`

## New certificates

The newest `HOST/config` on every host, then on one master's host after the other; nobody loses a connection:

```
{_install(paths)}
systemctl reload busbar-bus
```
{_revoked(fleet.gone)}"""


def _install(paths: Paths) -> str:
    return f"install -o busbar -g busbar -m 600 HOST/config/* {paths.config}/"


def _revoked(gone: Sequence[Gone]) -> str:
    """What to revoke; again does no harm."""
    if not gone:
        return ""
    lines = "\n".join(f"busbar access revoke --key {each.public}    # {each.name} on {each.host}" for each in gone)
    return f"""
## Revoke

What left with its host opens the bus until it is revoked:

```
export BUSBAR_CREDENTIALS=$PWD/admin.json
{lines}
```
"""


def _row(fleet: Fleet, host: str, servers: Mapping[str, Pair]) -> str:
    runs = ["bus, master"] if host in fleet.nodes else []
    runs += ["marathon, metronome, gateway"] if fleet.schedulers_on(host) else []
    runs += [f"agent {fleet.agent_id(host)}"] if host in fleet.agents else []
    until = f"{valid_until(servers[host].certificate):%Y-%m-%d}" if host in servers else ""
    return f"| {host} | {fleet.nodes.get(host, '')} | {', '.join(runs)} | {until} |"


def _schedulers(fleet: Fleet) -> str:
    where = " and ".join(fleet.masters[:2])
    return f"2. On {where}: `systemctl enable --now busbar-marathon busbar-metronome busbar-gateway`\n"


def _agents(fleet: Fleet) -> str:
    each = "".join(
        f"   - {host}: `systemctl enable --now busbar-agent@{fleet.agent_id(host)}`\n" for host in fleet.agents
    )
    return f"3. On every host with an agent:\n{each}"
