"""`busbar state`: the datacenter as it was.

Rule of this room: it prints what the list commands print; only the time is another.
"""

from __future__ import annotations

from importlib import import_module

import click

from cli.output import Part, date
from cli.past import Asked, Listed, Then, at_a_time
from cli.task import tasks

ROOMS = {
    "agents": "cli.node:nodes",
    "frameworks": "cli.framework:frameworks",
    "offers": "cli.offer:offers",
    "tasks": "cli.task:tasks",
    "apps": "cli.app:apps",
    "jobs": "cli.job:jobs",
    "runs": "cli.job_runs:runs",
}
"""What there is in a datacenter, and who lists it: imported when it is asked for."""
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
    found = {name: await _listed(then, name, ended_too=ended_too) for name in names}
    content = {"position": then.point.position, "at": then.point.at} | {name: each.rows for name, each in found.items()}
    parts: list[Part] = [f"after event {then.point.position}, {date(then.point.at)}"]
    for name, each in found.items():
        parts += ["", name, each.table]
    then.out.show(content, *parts)


async def _listed(asked: Asked, name: str, *, ended_too: bool) -> Listed:
    if name == "tasks":
        return await tasks(asked, ended_too=ended_too)
    module, _, lister = ROOMS[name].partition(":")
    found: Listed = await getattr(import_module(module), lister)(asked)
    return found
