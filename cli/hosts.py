"""`busbar hosts generate`: configuration, credentials, certificates and units for a datacenter of several hosts.

Rule of this room: it writes files and starts nothing; written again it keeps every secret, so that nothing changes on
hosts that stay.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from bus import configuration
from bus.authority import Authority, keys_text
from bus.certificates import Pair
from bus.configuration import ACCOUNTS
from bus.credentials import credentials_text, write_credentials
from bus.daemon import write_secret
from bus.keyring import FOUNDERS, ISSUER
from bus.subjects import CLUSTER, SubjectError, check_id
from cli.fleet import (
    AUTHORITIES,
    CERTIFICATE,
    KEY,
    Fleet,
    Gone,
    Paths,
    changed,
    new_fleet,
    parse_hosts,
    read_fleet,
)
from cli.fleet_keys import ADMIN, Bearer, authority_of, bearers, everybody, founders_text, gone, keep_authority
from cli.fleet_tls import Trust, read_server, read_trust, write_trust
from cli.hold import disk
from cli.output import Failure, Output, Table, wrong_usage
from cli.session import json_option
from cli.units import readme, units
from cli.users import USERS, keep_users
from eventstore.signing import new_key, public_file

CLUSTER_KEY = "cluster.key"


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
@click.option("--rotate-tls", is_flag=True, help="New certificates for all servers, by the newest authority.")
@click.option("--rotate-ca", is_flag=True, help="A new authority, trusted from now on; it signs from --rotate-tls on.")
@click.option("--venv", default=Paths().venv, show_default=True, metavar="DIR", help="Busbar's environment on hosts.")
@click.option("--config", default=Paths().config, show_default=True, metavar="DIR", help="Configuration on hosts.")
@click.option("--data", default=Paths().data, show_default=True, metavar="DIR", help="Data on hosts.")
@json_option
def generate(
    masters: str,
    agents: str,
    output: str,
    venv: str,
    config: str,
    data: str,
    rotate_tls: bool,
    rotate_ca: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Write what each host needs: nats-server.conf, credentials, certificates, keys, systemd units, and the steps.

    Run again in the same directory with another host in the place of a lost one, it keeps every secret and every node's
    name, and says which keys to revoke.

    \b
    Example:
        busbar hosts generate --masters h1,h2,h3 --agents h4,h5 -o fleet
        busbar hosts generate --masters h1,h2,h3 --agents h4,h5 -o fleet --rotate-tls
    """
    directory, paths = Path(output).absolute(), _paths(venv, config, data)
    _check_cluster(chosen["cluster"])
    named = parse_hosts(masters, "--masters"), parse_hosts(agents, "--agents")
    with disk(directory):
        before = read_fleet(directory / "fleet.json")
        fleet = changed(before, *named, **chosen) if before else new_fleet(*named, **chosen)
        whole = _whole(directory, fleet, new=before is None, rotate_tls=rotate_tls, rotate_ca=rotate_ca)
        write(whole, directory, paths)
        for host in set(before.hosts if before else ()) - set(fleet.hosts):
            shutil.rmtree(directory / host, ignore_errors=True)  # it must never be started again as what it was
    _show(whole, directory, paths, Output(as_json))


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """Everything that is to be written."""

    fleet: Fleet
    authority: Authority
    bearers: dict[str, Bearer]
    """By file."""
    left: tuple[Gone, ...]
    """Who is no longer of the fleet since this time."""
    trust: Trust
    servers: dict[str, Pair]
    """What the server of each master's host shows."""


def _whole(directory: Path, fleet: Fleet, *, new: bool, rotate_tls: bool, rotate_ca: bool) -> Whole:
    """What there was, and what is to be made. Raises Failure, click.UsageError."""
    at = datetime.now(UTC)
    trust = _trust(directory, fleet, at, new=new, rotate_tls=rotate_tls, rotate_ca=rotate_ca)
    authority = authority_of(directory, fleet.cluster, new=new)
    known = bearers(directory)
    now = everybody(fleet, authority, known, trust.bundle)
    left = gone(known, now)
    shown = {host: None if rotate_tls else read_server(directory / host / "config") for host in fleet.nodes}
    return Whole(
        fleet=msgspec.structs.replace(fleet, gone=(*fleet.gone, *left)),
        authority=authority,
        bearers=now,
        left=left,
        trust=trust,
        servers={host: trust.server(host, before, at) for host, before in shown.items()},
    )


def _trust(directory: Path, fleet: Fleet, at: datetime, *, new: bool, rotate_tls: bool, rotate_ca: bool) -> Trust:
    if rotate_tls and rotate_ca:
        raise wrong_usage("--rotate-ca and --rotate-tls: a new authority must be trusted everywhere before it signs")
    trust = read_trust(directory)
    if trust is None and not new:
        raise Failure(f"{directory} has no certificate authority any more", next_="restore ca.json from a copy")
    trust = trust or Trust.new(fleet.cluster, at)
    if rotate_ca:
        return trust.rotated(fleet.cluster, at)
    return trust.advanced() if rotate_tls else trust


def _show(whole: Whole, directory: Path, paths: Paths, out: Output) -> None:
    fleet = whole.fleet
    rows = [[host, fleet.nodes.get(host, ""), ", ".join(sorted(units(fleet, host, paths)))] for host in fleet.hosts]
    content = {
        "directory": str(directory),
        "nodes": fleet.nodes,
        "agents": {each: fleet.agent_id(each) for each in fleet.agents},
        "gone": whole.left,
    }
    revoked = [
        "",
        "revoke what has left with its host:",
        *(f"  busbar access revoke --key {each.public}    # {each.name} on {each.host}" for each in whole.left),
    ]
    out.show(
        content,
        f"written to {directory}",
        "",
        Table(("host", "node", "units"), rows),
        *(revoked if whole.left else ()),
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


def write(whole: Whole, directory: Path, paths: Paths) -> None:
    """Everything of a fleet, as files under a directory: one directory a host."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    fleet = msgspec.json.format(msgspec.json.encode(whole.fleet))
    write_secret(directory / "fleet.json", fleet + b"\n")  # first: nothing that must be revoked is forgotten
    keep_authority(directory, whole.authority)
    write_trust(directory, whole.trust)
    key = directory / CLUSTER_KEY
    if not key.exists():
        new_key(key)
    write_credentials(directory / ADMIN, whole.bearers[ADMIN].known)
    keep_users(directory / USERS)
    for host in whole.fleet.hosts:
        _write_host(whole, host, directory, paths)
    (directory / "README.md").write_text(readme(whole.fleet, paths, whole.servers))


def _write_host(whole: Whole, host: str, directory: Path, paths: Paths) -> None:
    """What a host is, and nothing of what it was; what stays is there at every moment."""
    (directory / host).mkdir(exist_ok=True, mode=0o700)
    for name, files in (("config", _config(whole, host, directory)), ("bus", _bus(whole, host, paths))):
        _fill(directory / host / name, dict(files))
    texts = units(whole.fleet, host, paths)
    _fill(directory / host / "units", {file: text.encode() for file, text in texts.items()})
    for file in texts:
        (directory / host / "units" / file).chmod(0o644)  # for everybody to read


def _fill(folder: Path, files: Mapping[str, bytes]) -> None:
    """A folder with these files and no others; none if there are none."""
    if not files:
        shutil.rmtree(folder, ignore_errors=True)
        return
    folder.mkdir(exist_ok=True, mode=0o700)
    for left in folder.iterdir():
        if left.name not in files:
            left.unlink()
    for file, content in files.items():
        write_secret(folder / file, content)


def _config(whole: Whole, host: str, directory: Path) -> Iterator[tuple[str, bytes]]:
    """What the processes of a host read."""
    for wanted in whole.fleet.wanted(host):
        yield wanted.file, credentials_text(whole.bearers[f"{host}/config/{wanted.file}"].known)
    key = directory / CLUSTER_KEY
    yield public_file(key).name, public_file(key).read_bytes()
    if whole.fleet.schedulers_on(host):
        yield USERS, (directory / USERS).read_bytes()
    if host in whole.fleet.nodes:
        yield key.name, key.read_bytes()
        yield ISSUER, keys_text(whole.authority.issuer())
        yield FOUNDERS, founders_text(whole.fleet, whole.bearers.values())
        yield CERTIFICATE, whole.servers[host].certificate.encode()
        yield KEY, whole.servers[host].key.encode()
        yield AUTHORITIES, whole.trust.bundle.encode()


def _bus(whole: Whole, host: str, paths: Paths) -> Iterator[tuple[str, bytes]]:
    """What the server of a master's host reads, and the master there changes."""
    if host in whole.fleet.nodes:
        settings = whole.fleet.server(host, paths, whole.authority.operator_text())
        yield "nats-server.conf", configuration.text(settings).encode()
        yield ACCOUNTS, whole.authority.issuer().accounts_text({}).encode()
