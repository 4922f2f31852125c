"""A run as the events of the stream tell it: for one that ended so long ago that Metronome no longer remembers it.

Rule of this room: it reads what Metronome said, in its order, and says what Metronome would.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from bus.events import Event, OfferAccepted
from bus.job_rows import AttemptRow, RunRow
from bus.nouns import TERMINAL, RunId, TaskState
from bus.services import RunCreated, RunStopped, RunUpdated

LOST = frozenset({TaskState.UNREACHABLE, TaskState.UNKNOWN})


def run_row(run: RunId, events: Iterable[Event]) -> RunRow | None:
    """What became of a run, from the events that mention it; None if none of them created it."""
    row: RunRow | None = None
    for event in events:
        match event.fact:
            case RunCreated() as fact if fact.run == run:
                row = RunRow(
                    run=run,
                    job=fact.job,
                    state="INITIAL",
                    created_at=event.at,
                    schedule=fact.schedule,
                    nominal=fact.nominal,
                    parents=fact.parents,
                )
            case OfferAccepted() as fact if row is not None:
                row = _launched(row, fact, event)
            case RunStopped() as fact if row is not None and fact.run == run:
                row = replace(row, message=fact.reason)
            case RunUpdated() as fact if row is not None and fact.run == run:
                row = _updated(row, fact, event)
    return row


def _launched(row: RunRow, fact: OfferAccepted, event: Event) -> RunRow:
    mine = (task for task in fact.launch if task.run == row.run)
    new = tuple(AttemptRow(task=task.task, state=None, created_at=event.at, agent=task.agent) for task in mine)
    return replace(row, attempts=row.attempts + new, agent=new[-1].agent if new else row.agent, retry_at=None)


def _updated(row: RunRow, fact: RunUpdated, event: Event) -> RunRow:
    ended = fact.state in ("SUCCESS", "FAILED")
    row = replace(
        row,
        state=fact.state,
        message=fact.message if fact.message or fact.state != row.state else row.message,
        finished_at=event.at if ended else None,
        retry_at=None if ended else fact.delay_until or row.retry_at,
    )
    status = fact.status
    if status is None:
        return row
    over = event.at if status.state in TERMINAL | LOST else None
    attempts = tuple(
        replace(one, state=status.state, finished_at=over) if one.task == status.task else one for one in row.attempts
    )
    others = tuple(one for one in row.tasks if one.task != status.task)
    return replace(row, attempts=attempts, tasks=(*others, status))
