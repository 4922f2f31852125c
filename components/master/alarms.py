"""What an operator has to look at: raised once, standing until it is in order again.

Rule of this room: an alarm is named by what it is about, so that whoever finds it in order can clear it.
"""

from __future__ import annotations

from collections.abc import Iterator

from bus.events import Event
from bus.nouns import Refusal
from bus.vouching import AlarmCleared, AlarmRaised, CheckpointConfirmed, CheckpointDisputed
from components.component import Say, Sight, answer, refuse, sight
from components.master.state import MasterState

alarms_max = 1000
"""That stand at the same time; their names come from nodes, and nodes are few."""
name_length_max = 255
message_length_max = 2000


@sight("alarm.seen")
class AlarmSeen(Sight, frozen=True):
    """The hands found something out of order, or in order again."""

    alarm: str
    message: str | None = None
    """What is out of order; None: nothing any more."""


def see_alarm(state: MasterState, seen: AlarmSeen) -> Iterator[Say]:
    """Said once: what stands already, in the same words, is old."""
    standing = state.alarms.get(seen.alarm)
    if seen.message is None:
        if standing is not None:
            yield Say(AlarmCleared(alarm=seen.alarm))
    elif standing is None or standing.message != seen.message[:message_length_max]:
        yield Say(raised(seen.alarm, seen.message))


def raised(alarm: str, message: str) -> AlarmRaised:
    """An alarm, as long as one event may well be."""
    return AlarmRaised(alarm=alarm[:name_length_max], message=message[:message_length_max])


def hear_witness(state: MasterState, event: Event) -> Iterator[Say]:
    """A master that stands by says what it holds differs from a checkpoint, or that it does not any more."""
    match event.fact:
        case CheckpointDisputed(node=node) | CheckpointConfirmed(node=node) if event.by.id != f"m-{node}":
            yield refuse(event, Refusal.INVALID, f"{event.by.id} speaks for {event.by.id[2:]}, not for {node[:63]}")
        case CheckpointDisputed(node=node, message=message):
            alarm = f"checkpoint.{node}"
            if alarm not in state.alarms and len(state.alarms) >= alarms_max:
                yield refuse(event, Refusal.INVALID, f"{alarms_max} alarms stand already: see to those first")
            else:
                yield answer(event, raised(alarm, message))
        case CheckpointConfirmed(node=node):
            yield answer(event, AlarmCleared(alarm=f"checkpoint.{node}"))
