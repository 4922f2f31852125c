"""`busbar run`: one component as its own process, on any host, against any NATS.

Rule of this room: options in, one frozen config out; the config refuses what is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bus import logs
from bus.nouns import PUBLIC_ROLE, AgentId, ExecutorId, FrameworkId, parse_resources
from bus.port import Bus
from bus.subjects import check_id
from cli.gateway import gateway
from cli.output import Failure, wrong_usage
from cli.processes import OWN_COMMAND
from cli.wiring import Place, Wired, place_options, run_component
from components.runtime import system_clock

if TYPE_CHECKING:
    from bus.authority import Issuer
    from bus.keyring import Founder
    from components.master.vault import HandOn
    from components.sealing import AgentKey
    from eventstore.signing import Signer

C = TypeVar("C")
log = logs.get_logger()

UNCONFINED = "unconfined"
"""The attribute of an agent whose tasks are not confined: `busbar node show` tells it, and so does each offer."""


@click.group()
def run() -> None:
    """Run one component in the foreground; SIGTERM stops it, a restart resumes it.

    \b
    Example:
        busbar run marathon --bus nats://10.0.0.1:4222 --credentials busbar.json
    """


run.add_command(gateway)


def checked(make: Callable[..., C], **settings: object) -> C:
    """A component's config, or the usage error that says which setting is wrong."""
    try:
        return make(**settings)
    except ValueError as error:
        raise wrong_usage(str(error)) from None


def _named(_context: click.Context, _option: click.Parameter, paths: tuple[str, ...]) -> tuple[str, ...]:
    """Absolute paths. Raises click.UsageError for one without which no task could be executed."""
    found = tuple(os.path.abspath(path) for path in paths)
    if "/" in found:
        raise wrong_usage("--hide /: expected a directory that tasks can do without")
    return found


def confinement_options(command: Callable[..., None]) -> Callable[..., None]:
    """What tasks may see: the options of whoever starts them."""
    for option in (
        click.option("--unconfined", is_flag=True, help="Let tasks read whatever their user can, credentials too."),
        click.option(
            "--hide", multiple=True, metavar="PATH", callback=_named, help="What no task may see; any number of paths."
        ),
    ):
        command = option(command)
    return command


@run.command()
@click.option("--allocation-interval-s", type=float, default=1.0, show_default=True, help="Between batch allocations.")
@click.option("--offer-timeout-s", type=float, default=120.0, show_default=True, help="Until an offer is rescinded.")
@click.option("--ping-interval-s", type=float, default=15.0, show_default=True, help="Between pings of an agent.")
@click.option("--pings-missed-max", type=int, default=5, show_default=True, help="Until an agent is unreachable.")
@click.option("--weight", "weights", multiple=True, metavar="ROLE=NUMBER", help="Share of a role; 1 unless given.")
@click.option("--key", metavar="FILE", help="The cluster's key, which signs checkpoints; without it, none is signed.")
@click.option(
    "--recovery-agent-removal-limit",
    "recovery_agent_removal_limit_percent",
    type=float,
    default=100.0,
    show_default=True,
    metavar="PERCENT",
    help="If more agents are silent after a failover, none is marked.",
)
@click.option("--agent-removal-rate-limit", metavar="N/TIME", help="Agents marked at most, e.g. 1/10mins; any number.")
@click.option("--issuer", metavar="FILE", help="The keys it grants identities with; without them nobody can join.")
@click.option("--founders", metavar="FILE", help="Who was let in when the cluster was founded.")
@click.option("--gate", metavar="DIR", help="The directory of the bus server here: revoked identities are kept out.")
@click.option("--checkpoint-events", type=int, default=10_000, show_default=True, help="Positions between checkpoints.")
@click.option("--checkpoint-s", type=float, default=60.0, show_default=True, help="Seconds between checkpoints.")
@place_options
def master(
    place: Place,
    weights: tuple[str, ...],
    key: str | None,
    issuer: str | None,
    founders: str | None,
    gate: str | None,
    agent_removal_rate_limit: str | None,
    **settings: float,
) -> None:
    """Run a master: it offers the agents' resources to the schedulers.

    \b
    Example:
        busbar run master --credentials busbar.json --store master.db
    """
    from cli.remote import PastTeller
    from components.master import MasterConfig, component
    from components.master.gate import Gate
    from components.master.hands import MasterHands
    from components.master.standing import StandingWitness

    limits, signing = _removals(agent_removal_rate_limit), _signing(place, key)
    keys = _issuer(issuer)
    issuing = {"issue": keys.passport} if keys is not None else {}
    config = checked(MasterConfig, weights=dict(map(_weight, weights)), **settings, **limits, **signing, **issuing)
    first = _founders(founders)
    if gate is not None and keys is None:
        raise wrong_usage("--gate takes the keys of --issuer FILE, too")

    def wire(bus: Bus) -> Wired[Any]:
        witness = StandingWitness(bus, place.node, system_clock, config.public)
        kept = Gate(Path(gate), keys, bus, system_clock) if gate is not None and keys is not None else None
        hands = partial(MasterHands, config, bus, place.store, PastTeller(place.store), kept, first)
        mind = component(config, hands, witness, kept.show if kept is not None else None, _hand_on(key))
        return Wired(mind, kept.run if kept is not None else None)

    run_component(place, wire, "master.main")


def _issuer(file: str | None) -> Issuer | None:
    """The keys that identities are granted with. Raises Failure."""
    from bus.authority import read_issuer
    from bus.credentials import CredentialsRefused

    try:
        return read_issuer(Path(file)) if file is not None else None
    except CredentialsRefused as refused:
        raise Failure(str(refused), next_=refused.fix) from None


def _founders(file: str | None) -> list[Founder]:
    """Who was let in when the cluster was founded. Raises Failure."""
    from bus.keyring import read_founders

    try:
        return read_founders(Path(file)) if file is not None else []
    except (OSError, ValueError) as error:
        raise Failure(f"{file} does not say who founded the cluster: {error}", next_="ops/runbook.md, Access") from None


def _removals(rate: str | None) -> dict[str, object]:
    """The settings of a master that marks so many agents in so long."""
    from components.master.config import parse_rate

    if rate is None:
        return {}
    count, window_s = checked(parse_rate, text=rate)
    return {"agent_removals_max": count, "agent_removal_window_s": window_s}


def _signing(place: Place, key: str | None) -> dict[str, object]:
    """The settings of a master that signs its checkpoints, if it has a key. Raises Failure."""
    from eventstore.signing import checkpoint_text

    if key is None:
        return {}
    signer, cluster = _signer(key), place.credentials().cluster
    return {"public": signer.public, "sign": lambda fact: signer.sign(checkpoint_text(cluster, fact))}


def _hand_on(key: str | None) -> HandOn | None:
    """What opens secrets with the cluster's key, and seals them again. Raises Failure."""
    from components.sealing import Vault

    return None if key is None else Vault(_signer(key)).hand_on


def _signer(key: str) -> Signer:
    """Who signs with the key in a file. Raises Failure."""
    from eventstore.signing import KeyRefused, Signer

    try:
        return Signer.load(key)
    except KeyRefused as refused:
        raise Failure(str(refused), next_="busbar run master --help") from None


def _weight(text: str) -> tuple[str, float]:
    role, _, number = text.partition("=")
    try:
        return role, float(number)
    except ValueError:
        raise wrong_usage(f"--weight {text!r}: expected ROLE=NUMBER") from None


@run.command()
@click.option("--id", "id_", required=True, metavar="ID", help="Name of the agent: [a-z0-9-], unique in the cluster.")
@click.option("--hostname", metavar="NAME", help="Under which tasks on this agent are reached; the node's name.")
@click.option("--work", default=".", metavar="DIR", help="Where sandboxes and the executor's files are kept.")
@click.option("--resources", metavar="TEXT", help="cpus:4;mem:8192;disk:1024;ports:[31000-32000]; else what there is.")
@click.option("--attributes", default="", metavar="TEXT", help="rack:r1;disk:ssd")
@click.option("--role", default="*", show_default=True, help="Whose share it is kept for; slave_public: public zone.")
@click.option("--region", default="", metavar="NAME", help="Where it is, for constraints on @region.")
@click.option("--zone", default="", metavar="NAME", help="Where in the region, for constraints on @zone.")
@click.option("--fetch-from", multiple=True, metavar="DIR", help="Where file:// URIs of tasks may lead; else nowhere.")
@click.option(
    "--sandbox-gc-s", type=float, default=604_800.0, show_default=True, help="Until an ended task's files go."
)
@confinement_options
@place_options
def agent(
    place: Place,
    id_: str,
    hostname: str | None,
    work: str,
    resources: str | None,
    attributes: str,
    role: str,
    region: str,
    zone: str,
    fetch_from: tuple[str, ...],
    sandbox_gc_s: float,
    hide: tuple[str, ...],
    unconfined: bool,
) -> None:
    """Run an agent: it has resources and runs tasks through an executor, which it starts.

    No task sees what is under --work beside its own sandbox, nor the files of --credentials and --store. These are
    covered as they are when a task starts: keep them in directories that are hidden if they will ever be replaced.

    \b
    Example:
        busbar run agent --id a1 --credentials busbar.json --work /var/lib/busbar --resources 'cpus:4;mem:8192'
        busbar run agent --id a1 --credentials /etc/busbar/a1.json --work /var/lib/busbar --hide /etc/busbar
    """
    from components.agent import AgentConfig, component
    from components.agent.hands import AgentHands

    config = checked(
        AgentConfig,
        id=AgentId(id_),
        hostname=hostname or place.node,
        work=str(Path(work).absolute()),
        executor_argv=executor_argv(place, id_, Path(work).absolute(), hide, unconfined=unconfined),
        resources=checked(parse_resources, text=resources) if resources is not None else None,
        attributes=attributes_of(attributes, unconfined=unconfined),
        role=role,
        region=region,
        zone=zone,
        fetch_from=fetch_from,
        sandbox_gc_s=sandbox_gc_s,
    )
    if unconfined:
        log.warning("tasks run unconfined: they can read the credentials of this agent", by=str(config.author))
    key = _agent_key(Path(config.work))
    config = replace(config, key=key.public)
    run_component(place, lambda bus: Wired(component(config, partial(AgentHands, config, bus, key))), f"agent.{id_}")


def _agent_key(work: Path) -> AgentKey:
    """The key to which this agent's secrets are sealed, made at its first start. Raises Failure."""
    from components.sealing import AgentKey, SealRefused

    try:
        return AgentKey.of(work / "agent.key")
    except SealRefused as refused:
        raise Failure(str(refused), next_="only the agent's user may read its key") from None


def attributes_of(text: str, *, unconfined: bool) -> dict[str, str]:
    """What an agent tells of itself: as given, and if its tasks are unconfined. Raises click.UsageError."""
    from components.agent import parse_attributes

    return checked(parse_attributes, text=text) | ({UNCONFINED: "true"} if unconfined else {})


def executor_argv(
    place: Place, agent_id: str, work: Path, hide: tuple[str, ...] = (), *, unconfined: bool = False
) -> tuple[str, ...]:
    """How an agent starts its executor, whose credentials lie beside its own: NAME.json and NAME-cmd.json."""
    argv = [*OWN_COMMAND, "run", "executor", "--agent", agent_id, "--work", str(work / "executor")]
    argv += (
        ["--unconfined"] if unconfined else [part for path in _hidden(place, work, hide) for part in ("--hide", path)]
    )
    if place.bus is not None:
        argv += ["--bus", place.bus]
    if place.credentials_file is not None:
        mine = Path(place.credentials_file).absolute()
        argv += ["--credentials", str(mine.with_name(f"{mine.stem}-cmd{mine.suffix}"))]
    if place.pid_file is not None:
        noted = Path(place.pid_file).absolute()
        argv += ["--pid-file", str(noted.with_name(f"{noted.stem}-cmd.json"))]
    if place.store is not None:
        argv += ["--store", str(Path(place.store).absolute().with_suffix(".executor.db"))]
    return (*argv, "--node", place.node)


def _hidden(place: Place, work: Path, more: tuple[str, ...]) -> list[str]:
    """What no task of an agent may see: its directory, others' secrets, what opens the bus, copies of logs."""
    from components.places import secrets_of

    paths = [work, Path(secrets_of(str(work))), *map(Path, more)]
    if place.credentials_file is not None:
        mine = Path(place.credentials_file).absolute()
        paths += [mine, mine.with_name(f"{mine.stem}-cmd{mine.suffix}")]
    if place.store is not None:
        stores = (Path(place.store), Path(place.store).with_suffix(".executor.db"))
        paths += [Path(f"{store}{suffix}") for store in stores for suffix in ("", "-wal", "-shm")]
    return [str(path.absolute()) for path in paths]


@run.command()
@click.option("--agent", "agent_id", required=True, metavar="ID", help="The agent whose tasks it runs.")
@click.option("--id", "id_", default="", metavar="ID", help="Name of the executor; <agent>-cmd unless given.")
@click.option("--work", required=True, metavar="DIR", help="Where its launcher's socket, lock and log are kept.")
@confinement_options
@place_options
def executor(place: Place, agent_id: str, id_: str, work: str, hide: tuple[str, ...], unconfined: bool) -> None:
    """Run an executor: it hosts the tasks of one agent. Agents start theirs themselves.

    \b
    Example:
        busbar run executor --agent a1 --credentials busbar.json --work /var/lib/busbar/executor
    """
    from components.executor import ExecutorConfig, component
    from components.executor.hands import ExecutorHands
    from components.executor.launcher.sandbox import boot_id

    config = checked(
        ExecutorConfig,
        agent=AgentId(agent_id),
        id=ExecutorId(id_),
        work=str(Path(work).absolute()),
        hide=hide,
        boot=boot_id(),
        unconfined=unconfined,
    )
    run_component(place, lambda _bus: Wired(component(config, partial(ExecutorHands, config))), f"executor.{config.id}")


@run.command()
@click.option("--id", "id_", default="marathon", show_default=True, metavar="ID", help="Name of the scheduler.")
@click.option(
    "--role", default=PUBLIC_ROLE, show_default=True, help="Whose share its apps use; it gets what is kept for it too."
)
@click.option("--decline-s", type=float, default=120.0, show_default=True, help="How long a declined offer stays away.")
@place_options
def marathon(place: Place, id_: str, **settings: object) -> None:
    """Run Marathon: it keeps services running.

    \b
    Example:
        busbar run marathon --credentials busbar.json --store marathon.db
    """
    from components.marathon import MarathonConfig, component
    from components.marathon.hands import MarathonHands

    config = checked(MarathonConfig, id=FrameworkId(checked(check_id, text=id_)), **settings)
    run_component(place, lambda _bus: Wired(component(config, MarathonHands)), f"framework.{id_}")


@run.command()
@click.option("--id", "id_", default="metronome", show_default=True, metavar="ID", help="Name of the scheduler.")
@click.option("--role", default="*", show_default=True, help="Whose share of the cluster its jobs use.")
@place_options
def metronome(place: Place, id_: str, **settings: object) -> None:
    """Run Metronome: it runs jobs, now or on a schedule.

    \b
    Example:
        busbar run metronome --credentials busbar.json --store metronome.db
    """
    from components.metronome import MetronomeConfig, component

    config = checked(MetronomeConfig, id=FrameworkId(checked(check_id, text=id_)), **settings)
    run_component(place, lambda _bus: Wired(component(config)), f"framework.{id_}")
