"""`busbar replay`: every decision of a recorded history made again by this release, and compared.

Rule of this room: it reads and computes; nothing is written and nothing need run. What differs is an exit code.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

import click

from bus.nouns import Position
from bus.port import Record
from bus.subjects import Author, SubjectError, parse_author
from cli.captured import Capture, NotACapture, Start, read
from cli.minds import NotKnown, mind_of
from cli.output import Failure, Output, date, wrong_usage
from cli.progress import Display, display
from cli.session import json_option, the_reach
from cli.story import tell
from cli.then import reading
from cli.verdicts import counts_table, lines_of, notes_of
from components.component import State
from components.differing import Checked, Difference
from components.histories import TERMS, History, Settings, add_settings
from components.snapshots import Snapshots, Unfit
from eventstore.mentions import mentions_of
from eventstore.store import Reader

shown_default = 20
steps = 20
"""How often the progress is told."""


class Verdict:
    """What came of a history so far."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.events = 0
        self.differences: list[Difference] = []

    def take(self, record: Record) -> list[Checked]:
        """The next message of the stream."""
        self.events += 1
        checked = self.history.take(record)
        self.differences += [each.difference for each in checked if each.difference is not None]
        return checked


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False), required=False)
@click.option(
    "--recorded",
    type=click.Path(exists=True, dir_okay=False),
    metavar="STORE",
    help="All decisions in a master's store, instead of those in a capture.",
)
@click.option("--author", "authors", multiple=True, metavar="KIND.ID", help="Only this log; may be given again.")
@click.option(
    "--show",
    type=click.IntRange(0, 100_000),
    default=shown_default,
    show_default=True,
    metavar="N",
    help="So many differences in full.",
)
@json_option
def replay(file: str | None, recorded: str | None, authors: tuple[str, ...], show: int, as_json: bool) -> None:
    """Make every decision of a recorded history again and compare: does this release decide as it was decided?

    FILE is what `busbar capture` wrote. The exit code is 1 if anything differs.

    \b
    Example:
        busbar replay web.capture
        busbar replay --recorded .busbar/master/events.db --author framework.marathon
    """
    if (file is None) == (recorded is None):
        raise wrong_usage("name a capture, or a store with --recorded: one of the two")
    only, out = frozenset(map(_author, authors)) or None, Output(as_json)
    if file is not None:
        _replay_capture(Path(file), only, out, show)
    elif recorded is not None:
        the_reach().run(_replay_store(Path(recorded), only, out, show))


def _author(text: str) -> Author:
    try:
        return parse_author(text)
    except SubjectError as error:
        raise wrong_usage(f"--author {text!r}: {error}") from None


# ---- a store ----------------------------------------------------------------------------------------------------


async def _replay_store(store: Path, only: frozenset[Author] | None, out: Output, show: int) -> None:
    async with reading(store) as reader:
        settings = await settings_in(reader)
        verdict = Verdict(_history(settings, only))
        end = await reader.last()
        with display(out, "deciding again") as shown:
            async for records in _told(reader, end, shown):
                for record in records:
                    verdict.take(record)
    _show(verdict, out, show, {"store": str(store)})


async def settings_in(reader: Reader, to: Position | None = None) -> Settings:
    """What the authors in a store were set up with, by their terms."""
    settings: Settings = {}
    for noun, participle in TERMS:
        async for records in reader.records(noun=noun, participle=participle, to=to):
            for record in records:
                add_settings(settings, record)
    return settings


async def _told(reader: Reader, end: Position, shown: Display) -> AsyncIterator[Sequence[Record]]:
    """All records of a store, with the progress."""
    step, told = max(1, end // steps), 0
    async for records in reader.records(to=end):
        yield records
        if records[-1].position - told >= step or records[-1].position == end:
            told = records[-1].position
            shown.count(told, end)


def _history(settings: Settings, only: frozenset[Author] | None) -> History:
    for author in sorted(only or ()):
        if author not in settings:
            known = ", ".join(map(str, sorted(settings))) or "none"
            raise Failure(f"{author} began no term in this history; those who did: {known}")
    return History(settings, mind_of, only=only)


# ---- a capture --------------------------------------------------------------------------------------------------


def _replay_capture(path: Path, only: frozenset[Author] | None, out: Output, show: int) -> None:
    capture = load(path)
    records = capture.stream()
    settings: Settings = {}
    for record in records:
        add_settings(settings, record)
    verdict = Verdict(_begun(capture, settings, only))
    checked = {record.position: verdict.take(record) for record in records}
    _tell_story(capture, records, [each for found in checked.values() for each in found], out)
    _show(verdict, out, show, {"capture": str(path), "noun": capture.noun, "id": capture.id})


def _begun(capture: Capture, settings: Settings, only: frozenset[Author] | None) -> History:
    """The history of a capture, with the states in it at its beginning. Raises Failure."""
    begun: Settings = {}
    states: dict[Author, dict[str, State]] = {}
    links: dict[Author, bytes] = {}
    for start in capture.starts:
        author = parse_author(start.author)
        state, links[author] = _unpacked(start)
        states.setdefault(author, {})[start.settings] = state
        begun.setdefault(author, {})[start.settings] = None
    for name in capture.authors:
        author = parse_author(name)
        begun[author] = begun.get(author, {}) | settings.get(author, {})
    history = _history(begun, only)
    for author, each in states.items():
        history.go_on_from(author, each, next(iter(each)), links[author])
    return history


def _unpacked(start: Start) -> tuple[State, bytes]:
    try:
        return Snapshots(mind_of(start.settings), Path()).unpack(start.content)
    except (Unfit, NotKnown) as error:
        raise Failure(f"{start.author} cannot go on from its state: {error}", next_="busbar capture --whole") from None


def load(path: Path) -> Capture:
    """The capture in a file. Raises Failure."""
    try:
        return read(path)
    except NotACapture as error:
        raise Failure(str(error), next_="busbar capture --help") from None
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from None


def _tell_story(capture: Capture, records: Iterable[Record], checked: Iterable[Checked], out: Output) -> None:
    """What happened to the thing that a capture is about, each line with what became of its decision."""
    if out.as_json:
        return
    about = f"{capture.noun} {capture.id}" if capture.noun else "everything"
    out.show(None, f"{about} in {capture.cluster}, events {capture.first} to {capture.last}, {date(capture.made_at)}")
    if not capture.noun:
        return
    marks = {
        position: "different" if each.difference else "same"
        for each in checked
        for position in range(each.first, each.last + 1)
    }
    for record in records:
        told = tell(record)
        if told.event is not None and (capture.noun, capture.id) in mentions_of(told.event):
            out.show(None, f"{marks.get(record.position, ''):<10}{told.text}")


# ---- what came of it ------------------------------------------------------------------------------------------------


def _show(verdict: Verdict, out: Output, show: int, what: dict[str, str]) -> None:
    logs, found = verdict.history.counted(), verdict.differences
    decisions = sum(log.decisions for log in logs)
    content = what | {
        "events": verdict.events,
        "decisions": decisions,
        "logs": logs,
        "different": len(found),
        "differences": found[:show],
    }
    out.show(
        content, counts_table(logs), *notes_of(logs), *(line for each in found[:show] for line in ("", *lines_of(each)))
    )
    if found:
        more = f", {show} of them shown" if len(found) > show else ""
        raise Failure(f"{len(found)} of {decisions} decisions differ{more}", next_="busbar events show POSITION")
    if not decisions:
        raise Failure(
            "nothing could be decided again", next_="name a store whose terms say what their authors were set up with"
        )
    out.note(f"{decisions} decisions made again: all the same")
