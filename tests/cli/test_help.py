"""Every command explains itself: help, an example, every option, JSON for programs."""

import click
import pytest
from click.testing import CliRunner

from cli.main import ROOMS, busbar

STREAMS = {
    "busbar run master",
    "busbar run agent",
    "busbar run executor",
    "busbar run gateway",
    "busbar run marathon",
    "busbar run metronome",
}
"""Commands that answer nothing: they are components."""


line_chars_max = 100
"""Help is not wider."""


def walk(command, path):
    """Every command with the words that call it."""
    yield path, command
    if isinstance(command, click.Group):
        ctx = click.Context(command, info_name=path)
        for name in command.list_commands(ctx):
            yield from walk(command.get_command(ctx, name), f"{path} {name}")


COMMANDS = dict(walk(busbar, "busbar"))
LEAVES = {path: command for path, command in COMMANDS.items() if not isinstance(command, click.Group)}
WANTED_WORDS = """
    up down status demo
    app.add app.list app.show app.scale app.update app.restart app.remove app.explain
    job.add job.list job.show job.run job.runs job.stop job.remove
    task.list task.show task.history task.trace task.log task.kill
    node.list node.show framework.list offer.list
    events.tail events.show events.replay
    run.master run.agent run.executor run.marathon run.metronome
"""


def test_every_command_there_must_be_is_there():
    """The commands of the issue, by their words."""
    assert {f"busbar {name.replace('.', ' ')}" for name in WANTED_WORDS.split()} <= LEAVES.keys()


@pytest.mark.parametrize("path", COMMANDS)
def test_a_command_has_help_with_an_example_that_calls_it(path):
    """A sentence on what it is, and a line that can be typed."""
    result = CliRunner().invoke(busbar, [*path.split()[1:], "--help"])
    assert result.exit_code == 0
    assert COMMANDS[path].help
    example = result.output.partition("Example:")[2]
    assert f"{path} " in f"{example} ".replace("\n", " "), result.output


@pytest.mark.parametrize("path", LEAVES)
def test_every_option_has_help(path):
    """Nobody has to read the source."""
    bare = [each.name for each in LEAVES[path].params if isinstance(each, click.Option) and not each.help]
    assert bare == []


@pytest.mark.parametrize("path", sorted(LEAVES.keys() - STREAMS))
def test_every_command_that_answers_speaks_json(path):
    """`--json` for programs."""
    assert "--json" in [name for each in LEAVES[path].params for name in each.opts]


@pytest.mark.parametrize("room", ROOMS)
def test_the_help_of_the_house_names_every_room(room):
    """`busbar --help` shows where to go."""
    assert f"\n  {room} " in CliRunner().invoke(busbar, ["--help"]).output


@pytest.mark.parametrize("room", ROOMS)
def test_the_help_of_the_house_says_what_the_room_says(room):
    """In as many characters as a line can have."""
    said = click.Command(room, help=ROOMS[room].what).get_short_help_str(line_chars_max)
    assert said == COMMANDS[f"busbar {room}"].get_short_help_str(line_chars_max)


def test_the_version_is_told():
    """As it is installed."""
    from importlib.metadata import version

    assert CliRunner().invoke(busbar, ["--version"]).output == f"busbar, version {version('busbar-os')}\n"
