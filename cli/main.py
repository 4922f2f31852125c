"""The command `busbar`: one group, one room a noun.

Rule of this room: groups only. A room is imported when its command is used, so that a component's process does not pay
for tables.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, NamedTuple

import click

from cli.output import complain
from cli.private import be_undumpable


class Room(NamedTuple):
    """Where a command lives, and the first sentence of its help."""

    where: str
    what: str


ROOMS = {
    "up": Room(
        "cli.up:up",
        "Run a datacenter on this machine: the bus, a master, agents, marathon, metronome and a gateway, until Ctrl-C.",
    ),
    "down": Room(
        "cli.up:down", "Stop the datacenter that `busbar up` runs here: every task, every component, the bus last."
    ),
    "status": Room(
        "cli.status:status",
        "Show every component: whether it is up, its term, how far its log is; who leads and who stands by; the "
        "servers of the bus; alarms.",
    ),
    "demo": Room(
        "cli.demo:demo",
        "Boot a datacenter in a temporary directory, check every claim about it, and take it down again.",
    ),
    "app": Room("cli.app:app", "Start, change and look at services: apps in Marathon's JSON."),
    "pod": Room("cli.pod:pod", "Start, change and look at pods in Marathon's JSON: containers that share a life."),
    "group": Room("cli.group:group", "Start, change and look at trees of apps: groups in Marathon's JSON."),
    "deployment": Room("cli.deployment:deployment", "Watch, continue and undo what Marathon is changing."),
    "job": Room("cli.job:job", "Run and schedule computations that end: jobs in Metronome's JSON."),
    "task": Room("cli.task:task", "Look at tasks, read their logs, kill them."),
    "secret": Room("cli.secret:secret", "Keep passwords and keys for apps and jobs, which refer to them by name."),
    "node": Room("cli.node:node", "Look at the nodes: what they have, what is used and offered."),
    "framework": Room("cli.framework:framework", "Look at the schedulers that are registered with the master."),
    "offer": Room("cli.offer:offer", "Look at the outstanding offers."),
    "access": Room("cli.access:access", "Say who may speak on the bus, as what, and who may not any more."),
    "events": Room("cli.events:events", "Read what was said: every step of everything is an event."),
    "store": Room("cli.store:store", "The event store: verify it, ask it, copy it, restore from it."),
    "state": Room("cli.state:state", "Show the datacenter as it was: nodes, tasks, apps, jobs, offers, schedulers."),
    "diff": Room(
        "cli.diff:diff",
        "Show what changed in the datacenter between two moments: one line a thing, + new, - gone, ~ changed.",
    ),
    "blame": Room("cli.blame:blame", "Say why something is as it is: step by step back to the request that caused it."),
    "capture": Room(
        "cli.capture:capture",
        "Write a slice of history to a file; `busbar replay` makes its decisions again, on any machine.",
    ),
    "replay": Room(
        "cli.recompute:replay",
        "Make every decision of a recorded history again and compare: does this release decide as it was decided?",
    ),
    "run": Room("cli.run:run", "Run one component in the foreground; SIGTERM stops it, a restart resumes it."),
    "hosts": Room("cli.hosts:hosts", "Run a datacenter on several hosts."),
}
"""Every command. What each does is said here again, so that `busbar --help` need not import them all."""
interrupted = 130
"""Exit code after Ctrl-C. (POSIX shells: 128 + SIGINT)"""


class House(click.Group):
    """The commands of `busbar`, each imported when it is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(ROOMS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's
        if cmd_name not in ROOMS:
            return None
        module, _, name = ROOMS[cmd_name].where.partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's
        """Tell what there is."""
        room = formatter.width - 6 - max(map(len, ROOMS))  # as click does
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, click.Command(name, help=each.what).get_short_help_str(room)) for name, each in ROOMS.items()]
            )

    def main(self, *given: Any, **named: Any) -> Any:
        """Run a command and exit with its code."""
        try:
            super().main(*given, **(named | {"standalone_mode": False}))
        except click.ClickException as error:
            complain(error)
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(interrupted)
        sys.exit(0)


@click.group(cls=House, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="busbar-os", prog_name="busbar")
def busbar() -> None:
    """Share out a datacenter: services, jobs, and every step between them as an event you can read.

    \b
    Example:
        busbar up --detach
        busbar app add examples/web.json
        busbar task list
    """


def main() -> None:
    """What the command `busbar` calls."""
    be_undumpable()
    busbar.main(prog_name="busbar")


if __name__ == "__main__":
    main()
