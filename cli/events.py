"""`busbar events`: the stream itself, live, by position, and told again.

Rule of this room: one reader from the start position shows history and what comes; there is no seam to miss one in.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

import click

from bus.nouns import Now, Position, second
from bus.port import Record
from bus.subjects import Kind, SubjectError
from cli.memory import TOKENS, Memory, Tokens, remembered
from cli.output import Failure, Fields, Output, date, pretty, wrong_usage
from cli.pipe import while_read
from cli.replay import POSITION, replay
from cli.session import wall_clock
from cli.story import Told, each, fields_of, tell
from eventstore.mentions import mentions_of

lines_default = 20
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@click.group()
def events() -> None:
    """Read what was said: every step of everything is an event.

    \b
    Example:
        busbar events tail -f
        busbar events show 812
    """


class Ago(click.ParamType[int]):
    """A length of time before now, e.g. `10m`."""

    name = "ago"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Microseconds."""
        found = re.fullmatch(r"(\d{1,9})([smhd])", str(value))
        if found is None:
            self.fail(f"{value!r} is not a length of time: expected a number and s, m, h or d, e.g. 10m", param, ctx)
        return int(found[1]) * _UNITS_S[found[2]] * second


@events.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what is said from now on.")
@click.option("-n", "--lines", type=click.IntRange(0, 100_000), help="Begin with the last so many events (20).")
@click.option("--since", type=Ago(), metavar="AGO", help="Begin so long ago, e.g. 30s, 10m, 2h, 1d.")
@click.option("--from", "from_", type=POSITION, metavar="N", help="Begin with event N.")
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]), help="Only authors of this kind.")
@click.option("--id", "name", help="Only the author of this id.")
@click.option("--noun", help="Only events about this noun, e.g. task.")
@click.option("--participle", help="Only events with this participle, e.g. launched.")
@click.option("--to", help="Only events addressed to this id.")
@click.option("--task", "task_id", help="Only events that mention a task whose id begins so.")
@click.option("--actor", metavar="NAME", help="Only what this person or program is behind, e.g. u-alice.")
@remembered
async def tail(memory: Memory, out: Output, follow: bool, task_id: str | None, actor: str | None, **given: Any) -> None:
    """Print events as they are said, one a line.

    Who is behind an event is who the bus let speak, and for what follows from a request, who asked for it.

    \b
    Example:
        busbar events tail -f --since 10m --noun task
        busbar events tail --actor u-alice
        busbar events tail --store .busbar/master/events.db --kind client
    """
    if follow and not memory.lasting:
        raise wrong_usage("-f waits for what a cluster says; with --store nobody does")
    tokens = {name: given[name] for name in TOKENS}
    end = await _last(memory, tokens)
    wanted = Wanted(task_id, actor)
    after, lines = await _start(memory, given, end, sparse=any(wanted) or any(tokens.values()))
    if not follow and end <= after:
        return
    with while_read():
        async with aclosing(memory.told(tokens, after=after)) as groups:
            async for told in _shown(groups, wanted, end, lines, follow):
                out.line(told.content, told.text)


async def _last(memory: Memory, tokens: Tokens) -> Position:
    try:
        return await memory.last(tokens)
    except SubjectError as error:
        raise wrong_usage(str(error)) from None


async def _start(memory: Memory, given: dict[str, Any], end: Position, *, sparse: bool) -> tuple[Position, int | None]:
    """Behind which position to read, and how many of the events up to the end to show (None: all)."""
    chosen = [name for name in ("lines", "since", "from_") if given[name] is not None]
    if len(chosen) > 1:
        raise wrong_usage("--lines, --since and --from exclude each other")
    if given["from_"] is not None:
        await _check_exists(memory, given["from_"], ahead=1)
        return Position(given["from_"] - 1), None
    if given["since"] is not None:
        return Position(await memory.first_since(Now(wall_clock() - given["since"])) - 1), None
    lines = lines_default if given["lines"] is None else given["lines"]
    return Position(0 if sparse else max(0, end - lines)), lines


async def _shown(
    groups: AsyncGenerator[Sequence[Record], None], wanted: Wanted, end: Position, lines: int | None, follow: bool
) -> AsyncIterator[Told]:
    """What is to be shown of a stream: of what was said until `end` the last `lines` (None: all), then everything."""
    history: deque[Told] = deque(maxlen=lines)
    async for record in each(groups):
        told = tell(record)
        if wanted.fits(told):
            if lines is None or record.position > end:
                yield told
            else:
                history.append(told)
        if record.position >= end:
            while history:
                yield history.popleft()
            if not follow:
                return
    while history:  # a store ends where it ends
        yield history.popleft()


class Wanted(NamedTuple):
    """Which events are to be shown, beside what their subjects say."""

    task_id: str | None
    actor: str | None

    def fits(self, told: Told) -> bool:
        """Whether an event is among them."""
        if self.actor is not None and (told.event is None or told.event.behind != self.actor):
            return False
        return self.task_id is None or _mentions(told, self.task_id)


def _mentions(told: Told, task_id: str) -> bool:
    mentions = mentions_of(told.event) if told.event else []
    return any(noun == "task" and task.startswith(task_id) for noun, task in mentions)


@events.command()
@click.argument("position", type=POSITION)
@remembered
async def show(memory: Memory, out: Output, position: int) -> None:
    """Show everything one event carries.

    \b
    Example:
        busbar events show 812
    """
    await _check_exists(memory, position)
    [record] = await memory.between(Position(position), Position(position))
    told = tell(record)
    out.show(told.content, *_parts(told))


@events.command()
@click.argument("position", type=POSITION)
@click.option("-n", "--lines", type=click.IntRange(0, 10_000), default=10, show_default=True, help="On either side.")
@remembered
async def around(memory: Memory, out: Output, position: int, lines: int) -> None:
    """Show what was said just before and after an event.

    \b
    Example:
        busbar events around 812 -n 5
    """
    await _check_exists(memory, position)
    records = await memory.between(Position(max(1, position - lines)), Position(position + lines))
    for told in map(tell, records):
        out.line(
            told.content, told.text if out.as_json or told.content["position"] != position else f"{told.text}  <--"
        )


async def _check_exists(memory: Memory, position: int, *, ahead: int = 0) -> None:
    end = await memory.last()
    if position > end + ahead:
        raise Failure(f"there is no event {position} yet; the last one is {end}", next_="busbar events tail")


def _parts(told: Told) -> list[Fields | str]:
    if told.event is None:
        return [told.text]
    carried = fields_of(told.event)
    data = carried.pop("data")
    shown = [
        (name, "" if value is None else str(value)) for name, value in (carried | {"at": date(told.event.at)}).items()
    ]
    return [told.text, "", Fields(shown), "", pretty(data)]


events.add_command(replay)
