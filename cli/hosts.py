"""`busbar hosts generate`: configuration, credentials and units for a datacenter of several hosts.

Rule of this room: it writes files and starts nothing; written again it keeps every secret, so that nothing changes on
hosts that stay.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click
import msgspec

from bus import configuration
from bus.daemon import write_secret
from bus.subjects import CLUSTER, SubjectError, check_id
from cli.fleet import Fleet, changed, new_fleet, parse_hosts, read_fleet
from cli.hold import disk
from cli.output import Output, Table, wrong_usage
from cli.session import json_option
from cli.units import Paths, readme, units
from eventstore.signing import new_key, public_file


@click.group()
def hosts() -> None:
    """Run a datacenter on several hosts.

    \b
    Example:
        busbar hosts generate --masters h1,h2,h3 --agents h4,h5 -o fleet
    """


@hosts.command()
@click.option("--masters", required=True, metavar="HOST,...", help="1, 3 or 5 hosts with a master and the bus.")
@click.option(
    "--agents", default="", metavar="HOST,...", help="Hosts that run tasks; masters' hosts may be among them."
)
@click.option("-o", "--output", required=True, metavar="DIR", help="Where to write; run again there to change hosts.")
@click.option("--cluster", metavar="NAME", help="Name of the cluster; as before, or dc.")
@click.option("--port", type=click.IntRange(1, 65535), help="Of the bus, for clients; as before, or 4222.")
@click.option("--route-port", type=click.IntRange(1, 65535), help="Between masters; as before, or 6222.")
@click.option("--venv", default=Paths().venv, show_default=True, metavar="DIR", help="Busbar's environment on hosts.")
@click.option("--config", default=Paths().config, show_default=True, metavar="DIR", help="Configuration on hosts.")
@click.option("--data", default=Paths().data, show_default=True, metavar="DIR", help="Data on hosts.")
@json_option
def generate(
    masters: str, agents: str, output: str, venv: str, config: str, data: str, as_json: bool, **chosen: Any
) -> None:
    """Write what each host needs: nats-server.conf, credentials, the cluster's key, systemd units, and the steps.

    Run again in the same directory with another host in the place of a lost one, it keeps every secret and every node's
    name.

    \b
    Example:
        busbar hosts generate --masters h1,h2,h3 --agents h4,h5 -o fleet
    """
    directory, paths = Path(output).absolute(), _paths(venv, config, data)
    _check_cluster(chosen["cluster"])
    named = parse_hosts(masters, "--masters"), parse_hosts(agents, "--agents")
    with disk(directory):
        before = read_fleet(directory / "fleet.json")
        fleet = changed(before, *named, **chosen) if before else new_fleet(*named, **chosen)
        write(fleet, directory, paths)
        for host in set(before.hosts if before else ()) - set(fleet.hosts):
            shutil.rmtree(directory / host, ignore_errors=True)  # it must never be started again as what it was
    rows = [[host, fleet.nodes.get(host, ""), ", ".join(sorted(units(fleet, host, paths)))] for host in fleet.hosts]
    content = {
        "directory": str(directory),
        "nodes": fleet.nodes,
        "agents": {each: fleet.agent_id(each) for each in fleet.agents},
    }
    Output(as_json).show(
        content,
        f"written to {directory}",
        "",
        Table(("host", "node", "units"), rows),
        "",
        f"go on with {directory}/README.md",
    )


def _paths(venv: str, config: str, data: str) -> Paths:
    """Absolute and without anything that a unit file reads otherwise. Raises click.UsageError."""
    for path in (venv, config, data):
        if not path.startswith("/") or not path.isprintable() or set(path) & set(" %$\"'\\"):
            raise wrong_usage(
                f"{path!r} cannot be written into a unit: expected an absolute path without spaces, %, $ or quotes"
            )
    return Paths(venv, config, data)


def _check_cluster(name: str | None) -> None:
    try:
        check_id(name or CLUSTER)
    except SubjectError as error:
        raise wrong_usage(f"--cluster: {error}") from None


def write(fleet: Fleet, directory: Path, paths: Paths) -> None:
    """Everything of a fleet, as files under a directory: one directory a host."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_secret(directory / "fleet.json", msgspec.json.format(msgspec.json.encode(fleet)) + b"\n")
    key = directory / "cluster.key"
    if not key.exists():
        new_key(key)
    for host in fleet.hosts:
        _write_host(fleet, host, directory / host, key, paths)
    (directory / "README.md").write_text(readme(fleet, paths))


def _write_host(fleet: Fleet, host: str, directory: Path, key: Path, paths: Paths) -> None:
    config, unit_files = directory / "config", directory / "units"
    for each in (config, unit_files):
        each.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in each.iterdir():  # of what this host was before
            left.unlink()
    credentials = msgspec.json.format(msgspec.json.encode(fleet.credentials(host)))
    write_secret(config / "credentials.json", credentials + b"\n")
    if host in fleet.nodes:
        write_secret(config / "nats-server.conf", configuration.text(fleet.server(host, f"{paths.data}/bus")).encode())
        write_secret(config / "cluster.key", key.read_bytes())
    (config / "cluster.pub").write_bytes(public_file(key).read_bytes())
    for name, text in units(fleet, host, paths).items():
        (unit_files / name).write_text(text)
