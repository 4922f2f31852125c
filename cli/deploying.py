"""How a change of apps, pods or groups is asked for and seen through: the deployment, step by step, until it ends.

Rule of this room: what is shown comes from Marathon's own events and rows; every wait ends; who stops waiting changes
nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, Protocol, TypeVar

import click

from bus.app_rows import ActionRow, DeploymentRow
from bus.events import Event, Fact
from bus.nouns import Position, Refusal
from bus.plans import Deed, DeploymentId, Outcome, Step
from bus.services import (
    AppSpecified,
    AppUpdated,
    DeploymentAdvanced,
    DeploymentEnded,
    DeploymentPaused,
    DeploymentStarted,
)
from bus.subjects import Kind, pattern
from cli.output import Failure, Output, is_terminal, visible
from cli.progress import say_app_updated, wait_app, wait_gone
from cli.request import Inbox, conversation
from cli.session import MARATHON, Session

C = TypeVar("C", bound=Callable[..., object])

look_again_s = 1.0
"""Marathon is asked this often although nothing was heard."""
actions_shown_max = 10
_BAR = 24


def force_option(command: C) -> C:
    """Give a command `--force`."""
    return click.option(
        "--force", is_flag=True, help="Stop the deployment that holds a lock on it, instead of being refused."
    )(command)


class Deployed(NamedTuple):
    """What became of a request."""

    answer: Fact
    ended: DeploymentEnded | DeploymentPaused | None = None
    """How its deployment ended, or what it waits for a person for; None: it was not waited for."""


async def deploy(
    session: Session, fact: Fact, hints: Mapping[Refusal, str], timeout_s: float, *, no_wait: bool
) -> Deployed:
    """Ask Marathon for a change, and see its deployment through. Raises Failure if it comes to no good end."""
    after = await newest(session)
    async with conversation(session, MARATHON) as talk:
        answer = (await talk.ask(fact, hints=hints)).fact
        if no_wait:
            return Deployed(answer)
        if isinstance(answer, DeploymentStarted):
            return Deployed(answer, _good(await follow(session, answer.deployment, after, timeout_s)))
        if isinstance(answer, AppSpecified):  # (a Marathon that knows no deployments yet)
            await wait_app(talk, answer.app.id, timeout_s)
        elif (gone := getattr(answer, "app", None)) is not None:
            await wait_gone(talk, gone, timeout_s)
    return Deployed(answer)


async def newest(session: Session) -> Position:
    """Where Marathon's log ends now."""
    last = await session.bus.last(_log(session))
    return last.position if last is not None else Position(0)


def _log(session: Session) -> str:
    return pattern(session.cluster, kind=Kind.FRAMEWORK, name=MARATHON.id)


def _good(ended: DeploymentEnded | DeploymentPaused) -> DeploymentEnded | DeploymentPaused:
    if isinstance(ended, DeploymentEnded) and ended.outcome is not Outcome.SUCCEEDED:
        why = f": {ended.message}" if ended.message else ""
        raise Failure(f"deployment {ended.deployment} {ended.outcome.lower()}{why}", next_="busbar deployment list")
    return ended


def paused_note(ended: DeploymentEnded | DeploymentPaused | None) -> list[str]:
    """What a person has to do, if that is waited for."""
    if not isinstance(ended, DeploymentPaused):
        return []
    many = f"{ended.canaries} canar{'y' if ended.canaries == 1 else 'ies'} of {ended.app}"
    return [
        f"{many} up; the rest waits for your word",
        f"next:  busbar deployment continue {ended.deployment}, or busbar deployment rollback {ended.deployment}",
    ]


async def deployment_rows(session: Session) -> list[DeploymentRow]:
    """The deployments that go on."""
    return await session.ask(MARATHON, "deployments", list[DeploymentRow])


async def follow(
    session: Session, deployment: DeploymentId, after: Position, timeout_s: float
) -> DeploymentEnded | DeploymentPaused:
    """Watch a deployment until it ends or waits for a person. Raises Failure if that takes too long."""
    deadline = time.monotonic() + timeout_s
    heard = Inbox(session.bus.follow(_log(session), after=after))
    row: DeploymentRow | None = None
    with board(session.out, deployment) as shown:
        try:
            while True:
                row = next((each for each in await deployment_rows(session) if each.deployment == deployment), row)
                if row is not None:
                    shown.show(row)
                ended = await _hear(heard, deployment, row, shown, min(look_again_s, deadline - time.monotonic()))
                if ended is not None:
                    return ended
                if time.monotonic() >= deadline:
                    raise _unfinished(deployment, row, timeout_s)
        finally:
            await heard.close()


async def _hear(
    heard: Inbox, deployment: DeploymentId, row: DeploymentRow | None, shown: Board, within_s: float
) -> DeploymentEnded | DeploymentPaused | None:
    """Show what was said until now, waiting for the first of it; the end, if that was said."""
    event = await heard.next(max(0.0, within_s))
    while event is not None:
        fact = event.fact
        if isinstance(fact, DeploymentEnded | DeploymentPaused) and fact.deployment == deployment:
            return fact
        text = _say(event, deployment, row)
        if text is not None:
            shown.tell(text)
        event = await heard.next(0)
    return None


def _say(event: Event, deployment: DeploymentId, row: DeploymentRow | None) -> str | None:
    match event.fact:
        case AppUpdated() as fact if row is not None and fact.app in (*row.plan.apps, *row.plan.pods):
            return say_app_updated(fact)
        case DeploymentAdvanced(deployment=name, step=step) if name == deployment and row and step > row.step:
            return f"step {step + 1}/{len(row.plan.steps)} begins: {say_step(row.plan.steps[step])}"
        case _:
            return None


def say_step(step: Step) -> str:
    """A step's actions."""
    said = ", ".join(f"{action.name} {action.id}" for action in step[:actions_shown_max])
    return said if len(step) <= actions_shown_max else f"{said} and {len(step) - actions_shown_max} more"


def say_action(row: ActionRow) -> str:
    """How far an action is."""
    counts = f"{row.up}/{row.wanted} up" + (f", {row.old} old" if row.old else "")
    if row.action.deed is Deed.STOP:
        counts = f"{row.old} left"
    return f"{row.action.name} {row.action.id} {'done' if row.done else counts}"


def say_progress(row: DeploymentRow) -> str:
    """How far a deployment is."""
    actions = row.actions[:actions_shown_max]
    more = f"; {len(row.actions) - len(actions)} more" if len(row.actions) > len(actions) else ""
    return f"step {row.step + 1}/{len(row.plan.steps)}: {'; '.join(map(say_action, actions))}{more}"


def _unfinished(deployment: DeploymentId, row: DeploymentRow | None, timeout_s: float) -> Failure:
    late = f"deployment {deployment} has not ended after {timeout_s:g} s"
    if row is None:
        return Failure(late, next_="busbar deployment list")
    blocked = next((each for each in row.actions if not each.done), None)
    why = f", {blocked.blocked_by}" if blocked is not None and blocked.blocked_by else ""
    again = f"busbar deployment watch {deployment}"
    explain = f"; busbar app explain {blocked.action.app}" if blocked is not None and blocked.action.app else ""
    return Failure(f"{late}: {say_progress(row)}{why}; it goes on", next_=again + explain)


# ---- what a waiting person sees ----------------------------------------------------------------------------------


class Board(Protocol):
    """Where a deployment is shown."""

    def show(self, row: DeploymentRow) -> None:
        """It is so far."""

    def tell(self, text: str) -> None:
        """One thing happened."""


class _Lines:
    """For who is not at a terminal; programs see nothing of it."""

    def __init__(self, out: Output) -> None:
        self.out = out
        self._said = ""

    def show(self, row: DeploymentRow) -> None:
        text = say_progress(row)
        if text != self._said:
            self._said = text
            self.out.note(text)

    def tell(self, text: str) -> None:
        self.out.note(text)


@contextmanager
def board(out: Output, deployment: DeploymentId) -> Iterator[Board]:
    """A picture that moves at a terminal, lines elsewhere, nothing for programs."""
    if out.as_json or not is_terminal(sys.stderr):
        yield _Lines(out)
        return
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True)
    with Live(console=console, transient=True, auto_refresh=False) as live:

        class _Picture:
            def show(self, row: DeploymentRow) -> None:
                live.update(Group(*map(Text, picture(deployment, row))), refresh=True)

            def tell(self, text: str) -> None:
                live.console.print(Text(visible(text)))

        yield _Picture()


def picture(deployment: DeploymentId, row: DeploymentRow) -> list[str]:
    """A deployment's present step, a line for each action."""
    lines = [f"{deployment} by {visible(row.by)}: step {row.step + 1} of {len(row.plan.steps)}"]
    for each in row.actions[:actions_shown_max]:
        full = _BAR if each.done else round(_BAR * min(1.0, each.up / max(1, each.wanted)))
        bar = "#" * full + "." * (_BAR - full)
        lines.append(f"  [{bar}] {visible(say_action(each))}  {visible(each.blocked_by)}".rstrip())
    if len(row.actions) > actions_shown_max:
        lines.append(f"  and {len(row.actions) - actions_shown_max} more")
    return lines
