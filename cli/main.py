"""The command `busbar`: one group, one room a noun.

Rule of this room: groups only. A room is imported when its command is used, so that a component's process does not pay
for tables.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

from cli.output import complain
from cli.private import be_undumpable

ROOMS = {
    "up": "cli.up:up",
    "down": "cli.up:down",
    "status": "cli.status:status",
    "demo": "cli.demo:demo",
    "app": "cli.app:app",
    "pod": "cli.pod:pod",
    "group": "cli.group:group",
    "deployment": "cli.deployment:deployment",
    "job": "cli.job:job",
    "task": "cli.task:task",
    "secret": "cli.secret:secret",
    "node": "cli.node:node",
    "framework": "cli.framework:framework",
    "offer": "cli.offer:offer",
    "access": "cli.access:access",
    "events": "cli.events:events",
    "store": "cli.store:store",
    "state": "cli.state:state",
    "diff": "cli.diff:diff",
    "blame": "cli.blame:blame",
    "capture": "cli.capture:capture",
    "replay": "cli.recompute:replay",
    "run": "cli.run:run",
    "hosts": "cli.hosts:hosts",
}
"""Every command and where it lives."""
interrupted = 130
"""Exit code after Ctrl-C. (POSIX shells: 128 + SIGINT)"""


class House(click.Group):
    """The commands of `busbar`, each imported when it is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(ROOMS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's
        if cmd_name not in ROOMS:
            return None
        module, _, name = ROOMS[cmd_name].partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command

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
