"""`busbar up` and `busbar down`: a whole datacenter on this machine, in one process tree.

Rule of this room: options in, one plan out; what then lives and ends is in `hold`.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from bus.nouns import Resources, parse_resources
from bus.server import free_port
from cli.datacenter import Plan, Shape, Tell, agents_default, agents_max, as_flag, free_ports
from cli.detach import Report, detached, refusal, report
from cli.hold import Content, disk, end_leftovers, hold, sole, supervisor_of
from cli.output import Failure, NoCluster, Output, Table, date, wrong_usage
from cli.processes import Process
from cli.session import DATA, json_option, wall_clock
from components.agent.machine import detect_resources
from components.master.config import MasterConfig

stop_s = 60.0
"""How long `down` waits for a supervisor that stops everything."""
data_option = click.option(
    "--data",
    default=DATA,
    show_default=True,
    envvar="BUSBAR_DATA",
    metavar="DIR",
    help="Where everything of the datacenter is kept.",
)


@click.command()
@data_option
@click.option("--agents", type=click.IntRange(1, agents_max), help="How many agents; as before, or 2.")
@click.option(
    "--public-agents", type=click.IntRange(0, agents_max), help="Of them in the public zone; as before, or 0."
)
@click.option("--resources", metavar="TEXT", help="Split between the agents: cpus:4;mem:8192; as before, or all.")
@click.option("--masters", type=click.Choice(["1", "3", "5"]), help="Nodes with master and bus; as before, or 1.")
@click.option("--port", type=click.IntRange(1, 65535), help="Where the bus listens; as before, or any free port.")
@click.option("--ping-interval-s", type=float, default=15.0, show_default=True, help="Between pings of an agent.")
@click.option("--pings-missed-max", type=int, default=5, show_default=True, help="Until an agent is unreachable.")
@click.option("--gateway-port", type=click.IntRange(1, 65535), help="Of the HTTP API; as before, or any free port.")
@click.option("--gateway-open", is_flag=True, help="Let every process of this machine use the HTTP API, tasks too.")
@click.option("--no-gateway", is_flag=True, help="Run no gateway: no HTTP API.")
@click.option("--unconfined", is_flag=True, help="Let tasks read whatever their user can, credentials too.")
@click.option("--detach", is_flag=True, help="Return once everything is ready; `busbar down` stops it.")
@click.option("--tell", "pipe", type=int, hidden=True, help="File descriptor that is told how the start went.")
@json_option
def up(data: str, detach: bool, pipe: int | None, as_json: bool, **given: Any) -> None:
    """Run a datacenter on this machine: the bus, a master, agents, marathon, metronome and a gateway, until Ctrl-C.

    With --masters 3 there are three nodes, n1 to n3, each with a server of the bus and a master, and marathon and
    metronome have a standby each: any one node may go, and nothing is lost.

    \b
    Example:
        busbar up --detach
        busbar up --masters 3 --agents 3 --detach
        busbar up --agents 3 --public-agents 1
        busbar up --data /var/lib/busbar --agents 4 --resources 'cpus:8;mem:16384;ports:[31000-32000]'
    """
    path, out = Path(data).absolute(), Output(as_json)
    _parsed(given["resources"])
    _check_pings(given["ping_interval_s"], given["pings_missed_max"])
    if detach:
        _show(out, path, _detach(path, given))
    elif pipe is not None:
        _hold_for(pipe, path, given)
    else:
        _hold(path, given, lambda content: _show(out, path, content), out.note)


def _check_pings(ping_interval_s: float, pings_missed_max: int) -> None:
    try:
        MasterConfig(ping_interval_s=ping_interval_s, pings_missed_max=pings_missed_max)
    except ValueError as error:
        raise wrong_usage(str(error)) from None


def _hold(data: Path, given: dict[str, Any], ready: Callable[[Content], None], tell: Tell) -> None:
    with disk(data), sole(data):
        plan = _plan(data, given)

        def remember(content: Content) -> None:
            shape = Shape(
                agents=plan.agents,
                resources=as_flag(plan.resources),
                masters=plan.masters,
                public_agents=plan.public_agents,
                gateway_port=plan.gateway_port,
            )
            shape.write(data)  # one that came up, no other
            ready(content)

        asyncio.run(hold(plan, remember, tell))


def _hold_for(pipe: int, data: Path, given: dict[str, Any]) -> None:
    """Hold a datacenter, and tell who waits at the other end of a pipe once whether it came up."""
    told: list[Report] = []

    def tell_once(how: Report) -> None:
        if not told:
            told.append(how)
            report(pipe, how)

    try:
        _hold(data, given, lambda content: tell_once(Report(up=content)), _log)
    except click.ClickException as error:
        tell_once(refusal(error))
        raise


def _log(text: str) -> None:
    with suppress(OSError):  # a full disk takes no log, and must not end who starts again what it ended
        click.echo(f"{date(wall_clock())} {text}")


def _detach(data: Path, given: dict[str, Any]) -> Content:
    settings = [part for name, value in given.items() for part in _told(name, value)]
    with disk(data):
        data.mkdir(parents=True, exist_ok=True)
        (data / "logs").mkdir(exist_ok=True)
        return detached(["up", "--data", str(data), *settings], data / "logs" / "up.log")


def _told(name: str, value: object) -> tuple[str, ...]:
    """A setting as it is told to another `busbar up`."""
    if isinstance(value, bool):
        return (_flag(name),) if value else ()
    return () if value is None else (_flag(name), str(value))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _plan(data: Path, given: dict[str, Any]) -> Plan:
    """The datacenter that is wanted; what is not said is as it was before, or as the machine suggests."""
    flags = [part for name in ("ping_interval_s", "pings_missed_max") for part in (_flag(name), str(given[name]))]
    before = Shape.read(data)
    resources = _resources(_parsed(given["resources"]), before, data)
    agents = given["agents"] or (before.agents if before else agents_default)
    return Plan(
        data=data,
        agents=agents,
        resources=resources,
        masters=_masters(given["masters"], before, data),
        port=given["port"],
        master=tuple(flags),
        unconfined=given["unconfined"],
        public_agents=_public_agents(given["public_agents"], before, agents),
        gateway_port=None if given["no_gateway"] else _gateway_port(given["gateway_port"], before),
        gateway_open=given["gateway_open"],
    )


def _public_agents(given: int | None, before: Shape | None, agents: int) -> int:
    """How many of the agents are in the public zone: jobs and most apps need one that is not."""
    public = given if given is not None else (before.public_agents if before is not None else 0)
    if public >= agents:
        raise wrong_usage(f"--public-agents {public}: expected fewer than the {agents} agents")
    return public


def _gateway_port(given: int | None, before: Shape | None) -> int:
    """Where the HTTP API is: where it is wanted, where it was unless somebody else is there now, or anywhere."""
    there = before.gateway_port if before is not None else None
    if given is None and there is not None and free_ports(((there, there),)):
        return there
    return given or free_port()


def _masters(given: str | None, before: Shape | None, data: Path) -> int:
    """How many there shall be: a stream that one server keeps is not one that three keep."""
    there = before.masters if before is not None else None
    if given is not None and there is not None and int(given) != there:
        raise Failure(
            f"{data} was made with --masters {there}, and that number cannot be changed",
            next_=f"start a new datacenter in another directory: busbar up --masters {given} --data DIR",
        )
    return there or int(given or 1)


def _parsed(text: str | None) -> Resources:
    try:
        return parse_resources(text or "")
    except ValueError as error:
        raise wrong_usage(f"--resources: {error}") from None


def _resources(given: Resources, before: Shape | None, data: Path) -> Resources:
    if before is not None and given.empty:
        return parse_resources(before.resources)
    found = detect_resources(str(data))
    return Resources(
        cpu_milli=given.cpu_milli or found.cpu_milli,
        mem_mb=given.mem_mb or found.mem_mb,
        disk_mb=given.disk_mb or found.disk_mb,
        ports=given.ports or free_ports(),
    )


def _show(out: Output, data: Path, content: Content) -> None:
    there = "" if data == Path(DATA).absolute() else f" --data {data}"
    components = content["components"]
    assert isinstance(components, list), "as hold made it"
    rows = [[each["by"], str(each["pid"])] for each in components]
    out.show(
        content,
        f"cluster {content['cluster']} is up in {data}, held by process {content['supervisor']}",
        "",
        Table(("component", "pid"), rows),
        *_http(content),
        "",
        "go on with",
        f"  busbar status{there}",
        f"  busbar app add FILE{there}",
        f"  busbar down{there}",
    )


def _http(content: Content) -> list[str]:
    """Where the HTTP API is, and how to speak with it."""
    found = content.get("gateway")
    if not isinstance(found, dict):
        return []
    who = f' -u "$(cat {found["users"]})"' if found["users"] else ""
    return ["", "Marathon's and Metronome's HTTP APIs", f"  curl{who} {found['url']}/v2/apps"]


@click.command()
@data_option
@json_option
def down(data: str, as_json: bool) -> None:
    """Stop the datacenter that `busbar up` runs here: every task, every component, the bus last.

    \b
    Example:
        busbar down
    """
    path, out = Path(data).absolute(), Output(as_json)
    if not (path / "lock").exists():
        raise NoCluster(f"nothing runs on {path}: `busbar up` was never used there", next_="busbar down --data DIR")
    with disk(path):
        ended = asyncio.run(stop(path, supervisor_of(path), out.note))
    if not ended:
        raise NoCluster(f"nothing runs on {path}", next_=f"busbar up --data {path}")
    out.show({"data": str(path), "stopped": True}, f"the datacenter on {path} is stopped")


async def stop(data: Path, holder: Process | None, tell: Tell) -> bool:
    """End a datacenter through its supervisor, or in its place; whether there was anything to end."""
    if holder is not None:
        tell(f"stopping the datacenter of process {holder.pid}: its schedulers, tasks, agents, master and bus")
        holder.send(signal.SIGTERM)
        if not await holder.gone(stop_s):
            tell(f"process {holder.pid} did not end within {stop_s:g} s and is killed")
            holder.send(signal.SIGKILL)
            await holder.gone(stop_s)
    with disk(data), sole(data):
        return await end_leftovers(data, tell) or holder is not None
