"""A whole stream decided again in one pass: every log whose terms say what their author was set up with.

    terms = Terms()                              # first: which settings there are
    history = History(terms, mind_of)
    for record in stream: history.take(record)   # then all of it, in order

Rule of this room: an author that cannot be decided again is named with the reason, and the others go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from bus import codec
from bus.codec import Foreign, Unreadable
from bus.events import Event, Term
from bus.nouns import Noun
from bus.port import Record
from bus.subjects import Author
from components.again import Mind, Unfoldable
from components.component import Heard, State
from components.differing import Checked
from components.recomputing import Recomputing

Settings = dict[Author, dict[str, None]]
"""Of each author, what its terms say it was set up with, in their order."""
TERMS = (("leader", "elected"), ("agent", "started"), ("executor", "started"))
"""The events that begin terms: noun and participle."""


def add_settings(settings: Settings, record: Record) -> None:
    """Note what a term says."""
    event = read(record)
    if isinstance(event, Event) and isinstance(event.fact, Term):
        settings.setdefault(event.by, {})[event.fact.settings] = None


def read(record: Record) -> Event | Unreadable | None:
    """A message of the stream; None if it is nobody's event."""
    try:
        return codec.decode(record.subject, record.body, record.position)
    except Unreadable as unreadable:
        return unreadable
    except Foreign:
        return None


class Counted(Noun, frozen=True):
    """What was decided again of one log."""

    author: str
    decisions: int
    decided: dict[str, int]
    """By what led to them: heard, seen, woken; terms and other words of the loop by their type."""
    silent: int
    """Inputs that led to no event."""
    differences: int
    untold: int = 0
    """Decisions of terms that do not say what their author was set up with: not made again."""
    why_not: str = ""
    """Why nothing, or nothing more, of it can be decided again."""


class History:
    """The logs of a stream, or of some of its authors, decided again."""

    def __init__(
        self, settings: Settings, mind_of: Callable[[str], Mind], *, only: frozenset[Author] | None = None
    ) -> None:
        self._logs: dict[Author, Recomputing] = {}
        self._inboxes: dict[str, Recomputing] = {}
        self._ended: dict[Author, Recomputing] = {}
        self._differences: Counter[Author] = Counter()
        self._why_not: dict[Author, str] = {}
        for author, named in settings.items():
            if only is None or author in only:
                self._begin(author, named, mind_of)

    def _begin(self, author: Author, named: Mapping[str, None], mind_of: Callable[[str], Mind]) -> None:
        minds: dict[str, Mind] = {}
        for text in named:
            if text:
                try:
                    minds[text] = mind_of(text)
                except ValueError as error:
                    self._why_not[author] = str(error)
        if not minds:
            self._why_not.setdefault(author, "no term of it says what it was set up with: an older release wrote it")
        self._logs[author] = self._inboxes[author.id] = Recomputing(author, minds)

    def go_on_from(self, author: Author, states: Mapping[str, State], settings: str, prev: bytes) -> None:
        """Begin one log in its middle: with the state for each of the settings it will be decided with."""
        log = self._logs.get(author)
        if log is not None:
            log.go_on_from(states, settings, prev)

    def take(self, record: Record) -> list[Checked]:
        """The next message; the decisions that are then known to be as they were, or not."""
        told = read(record)
        if told is None:
            return []
        event = told.event if isinstance(told, Unreadable) else told
        inbox = self._inboxes.get(event.to)
        if inbox is not None:
            inbox.hear(told if isinstance(told, Unreadable) else Heard(told))
        log = self._logs.get(event.by)
        return [] if log is None else self._take(log, record, told)

    def _take(self, log: Recomputing, record: Record, told: Event | Unreadable) -> list[Checked]:
        try:
            checked = log.take(record, told)
        except Unfoldable as error:
            del self._logs[log.author], self._inboxes[log.author.id]
            self._ended[log.author] = log
            self._why_not[log.author] = str(error)
            checked = [log.unfoldable(record.position, str(error))]
        self._differences[log.author] += sum(each.difference is not None for each in checked)
        return checked

    def counted(self) -> list[Counted]:
        """What was decided again, log by log."""
        logs = self._logs | self._ended
        return [self._counted(logs[author]) for author in sorted(logs)]

    def _counted(self, log: Recomputing) -> Counted:
        return Counted(
            author=str(log.author),
            decisions=log.decided.total(),
            decided=dict(sorted(log.decided.items())),
            silent=log.silent,
            differences=self._differences[log.author],
            untold=log.untold,
            why_not=self._why_not.get(log.author, ""),
        )
