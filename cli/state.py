"""`busbar state`: the datacenter as it was.

Rule of this room: it prints what the list commands print; only the time is another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import click

from cli.app import apps
from cli.framework import frameworks
from cli.job import jobs
from cli.job_runs import runs
from cli.node import nodes
from cli.offer import offers
from cli.output import Part, date
from cli.past import Asked, Listed, Then, at_a_time
from cli.task import tasks

ROOMS: dict[str, Callable[[Asked], Awaitable[Listed]]] = {
    "agents": nodes,
    "frameworks": frameworks,
    "offers": offers,
    "tasks": tasks,
    "apps": apps,
    "jobs": jobs,
    "runs": runs,
}
"""What there is in a datacenter, and who lists it."""
_TOGETHER = {"all": tuple(ROOMS), "jobs": ("jobs", "runs")}
WHAT = ("agents", "tasks", "apps", "jobs", "offers", "frameworks", "all")


@click.command()
@click.argument("what", type=click.Choice(WHAT), default="all")
@click.option("--all", "ended_too", is_flag=True, help="Show the latest ended tasks too.")
@at_a_time
async def state(then: Then, what: str, ended_too: bool) -> None:
    """Show the datacenter as it was: nodes, tasks, apps, jobs, offers, schedulers.

    The log is folded up to that moment; running processes are not asked.

    \b
    Example:
        busbar state --at 812
        busbar state --at 'yesterday 14:00' tasks
        busbar state --store master.db --at 2026-11-22T21:00 --json
    """
    names = _TOGETHER.get(what, (what,))
    found = {name: await (tasks(then, ended_too=ended_too) if name == "tasks" else ROOMS[name](then)) for name in names}
    content = {"position": then.point.position, "at": then.point.at} | {name: each.rows for name, each in found.items()}
    parts: list[Part] = [f"after event {then.point.position}, {date(then.point.at)}"]
    for name, each in found.items():
        parts += ["", name, each.table]
    then.out.show(content, *parts)
