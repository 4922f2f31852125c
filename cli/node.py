"""`busbar node`: the machines that run tasks."""

from __future__ import annotations

import click

from bus.queries import AgentRow, TaskRow, TasksQuestion
from cli.output import Failure, Fields, Table, cpus, date, share
from cli.past import Asked, Listed, at_any_time
from cli.session import THE_MASTER, Session, on_cluster
from cli.task import task_table


@click.group()
def node() -> None:
    """Look at the nodes: what they have, what is used and offered.

    \b
    Example:
        busbar node list
    """


@node.command("list")
@at_any_time
async def list_(asked: Asked) -> None:
    """List the nodes with what they have.

    \b
    Example:
        busbar node list
        busbar node list --at 'yesterday 14:00'
    """
    asked.out.show(*await nodes(asked))


async def nodes(asked: Asked) -> Listed:
    """Every node, for programs and for people."""
    rows = await asked.ask(THE_MASTER, "agents", list[AgentRow])
    columns = ("id", "hostname", "state", "tasks", "cpus", "mem mb", "disk mb", "ports", "offered", "registered")
    return Listed(rows, Table(columns, [_cells(row) for row in rows], empty="no node is registered"))


def _cells(row: AgentRow) -> list[str]:
    return [
        row.agent,
        row.hostname,
        row.state,
        str(row.tasks),
        f"{cpus(row.used)}/{cpus(row.total)}",
        share(row.used.mem_mb, row.total.mem_mb),
        share(row.used.disk_mb, row.total.disk_mb),
        share(row.used.port_count, row.total.port_count),
        "" if row.offered.empty else f"cpus:{cpus(row.offered)} mem:{row.offered.mem_mb}",
        date(row.registered_at),
    ]


@node.command()
@click.argument("node_id")
@on_cluster
async def show(session: Session, node_id: str) -> None:
    """Show one node and its tasks.

    \b
    Example:
        busbar node show a1
    """
    rows = await session.ask(THE_MASTER, "agents", list[AgentRow])
    row = next((row for row in rows if row.agent == node_id), None)
    if row is None:
        known = ", ".join(row.agent for row in rows) or "none"
        raise Failure(f"no node is called {node_id!r}; there are: {known}", next_="busbar node list")
    tasks = await session.ask(THE_MASTER, "tasks", list[TaskRow], TasksQuestion())
    here = [task for task in tasks if task.agent == node_id]
    session.out.show({"node": row, "tasks": here}, _fields(row), "", task_table(here, "no task is on this node"))


def _fields(row: AgentRow) -> Fields:
    return Fields(
        [
            ("id", row.agent),
            ("hostname", row.hostname),
            ("state", row.state),
            ("total", str(row.total)),
            ("used", str(row.used)),
            ("offered", str(row.offered)),
            ("attributes", ", ".join(f"{name}={value}" for name, value in sorted(row.attributes.items()))),
            ("role", row.role),
            *([("region, zone", f"{row.region or '-'}, {row.zone or '-'}")] if row.region or row.zone else []),
            ("registered", date(row.registered_at)),
            *([("unreachable since", date(row.unreachable_since))] if row.unreachable_since else []),
        ]
    )
