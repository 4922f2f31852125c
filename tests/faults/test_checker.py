"""The checker passes what can have been, and refuses each history that cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bus.nouns import Position, RequestId
from tests.faults.checker import Said, check
from tests.faults.history import Fault, History, Read, Write, load

MARATHON = "framework.marathon"


def write(number: int, *, asked_at: int, ended_at: int | None, answer: int | None, client: str = "u-1") -> Write:
    return Write(
        client=client,
        request=RequestId(f"r{number}"),
        of=MARATHON,
        what="app.requested",
        register="/one",
        value=number,
        asked_at=asked_at,
        stored=Position(answer - 1) if answer else None,
        ended_at=ended_at,
        answer=Position(answer) if answer else None,
    )


def read(asked_at: int, value: int, *, n: int = 0, client: str = "u-2") -> Read:
    return Read(
        client=client,
        of=MARATHON,
        what="apps",
        asked_at=asked_at,
        ended_at=asked_at + 5,
        registers={"/one": value},
        epoch=1,
        n=n or asked_at,
    )


def right() -> tuple[History, Said]:
    """Three writes, the second of unknown outcome, and reads between them."""
    history, log = History(), Said()
    history.operations = [
        write(1, asked_at=10, ended_at=20, answer=101),
        read(30, 1),
        write(2, asked_at=40, ended_at=None, answer=None),
        read(50, 1),
        read(60, 2),
        write(3, asked_at=70, ended_at=80, answer=105),
        Fault(what="the leader was killed", at=85),
        read(90, 3),
    ]
    for number, position in ((1, 100), (2, 102), (3, 104)):
        log.asked[RequestId(f"r{number}")].append(Position(position))
        log.answered[RequestId(f"r{number}")].append(Position(position + 1))
    return history, log


def test_what_can_have_been_passes() -> None:
    """Also where the unknown one is in the log, and where it is not."""
    history, log = right()
    assert check(history, log) == []
    history.operations.pop(4)
    del log.asked[RequestId("r2")], log.answered[RequestId("r2")]
    assert check(history, log) == []


def lose_an_acknowledged_one(history: History, log: Said) -> None:
    del log.asked[RequestId("r3")], log.answered[RequestId("r3")]


def lose_an_answer(history: History, log: Said) -> None:
    del log.answered[RequestId("r1")]


def store_twice(history: History, log: Said) -> None:
    log.asked[RequestId("r2")].append(Position(110))


def answer_twice(history: History, log: Said) -> None:
    log.answered[RequestId("r1")].append(Position(111))


def move_behind_a_later_one(history: History, log: Said) -> None:
    log.asked[RequestId("r3")], log.answered[RequestId("r3")] = [Position(98)], [Position(99)]
    history.writes[2].stored, history.writes[2].answer = Position(98), Position(99)


def answer_before_it_is_asked(history: History, log: Said) -> None:
    log.answered[RequestId("r2")] = [Position(50)]


def show_what_is_stale(history: History, log: Said) -> None:
    history.operations[-1] = read(90, 2)


def show_what_nobody_asked_for(history: History, log: Said) -> None:
    history.operations[1] = read(30, 3)


def show_less_than_before(history: History, log: Said) -> None:
    history.operations.insert(6, read(66, 1, client="u-3"))


def show_a_shorter_log(history: History, log: Said) -> None:
    history.operations[-1] = read(90, 3, n=55)


def show_an_older_term(history: History, log: Said) -> None:
    for each in history.reads[:2]:
        each.epoch = 2


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lose_an_acknowledged_one, "was answered and is not in the log"),
        (lose_an_answer, "the log has the answer at no position"),
        (store_twice, "is in the log 2 times"),
        (answer_twice, "is answered 2 times"),
        (move_behind_a_later_one, "before the answer 101"),
        (answer_before_it_is_asked, "before it was asked"),
        (show_what_is_stale, "3 was acknowledged before it"),
        (show_what_nobody_asked_for, "1 is the highest asked before it ended"),
        (show_less_than_before, "had seen (2,)"),
        (show_a_shorter_log, "had seen (1, 60)"),
        (show_an_older_term, "had seen (2, 50)"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_planted_wrong_history_is_refused(spoil: Callable[[History, Said], None], why: str) -> None:
    """One thing is changed in a right history; that one is named."""
    history, log = right()
    spoil(history, log)
    wrong = check(history, log)
    assert any(why in each for each in wrong), wrong


def test_a_read_may_be_behind_by_as_much_as_is_allowed_and_no_more() -> None:
    """Where hosts are cut off. What it shows was known 10 us before."""
    history, log = right()
    show_what_is_stale(history, log)
    assert check(history, log, behind_us=11) == []
    assert check(history, log, behind_us=9)


def test_a_history_is_read_as_it_was_saved(tmp_path: Path) -> None:
    """It is an artefact: who reads it later checks the same."""
    history, log = right()
    history.save(tmp_path / "history.jsonl")
    again = load(tmp_path / "history.jsonl")
    assert again.operations == history.operations
    assert check(again, log) == []
