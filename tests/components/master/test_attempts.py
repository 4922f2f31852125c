"""What the server says of attempts, as it is told: bounded, and nobody hides behind another's many."""

from __future__ import annotations

from pathlib import Path

from bus.nouns import Now, second
from components.master.attempts import Attempts, again_s, kinds_of_one_max, told_at_once_max

THIEF, OTHER = "U" + "A" * 55, "U" + "B" * 55


def line(public: str, subject: str) -> str:
    """As nats-server writes it."""
    head = "[7] 2026/11/30 04:00:00.1 [ERR] 127.0.0.1:5 - cid:8 - Publish Violation"
    return f'{head} - JWT User "jwt:{public}", Subject "{subject}"\n'


def test_what_one_tries_is_told_whatever_another_tries(tmp_path: Path) -> None:
    """A thousand subjects of a thief, and then one of somebody else: that one is among the first that are told."""
    file = tmp_path / "nats-server.log"
    file.touch()
    attempts = Attempts(file)
    file.write_text("".join(line(THIEF, f"dc.x.{number}") for number in range(1000)) + line(OTHER, "dc.y"))
    told = attempts.news(Now(again_s * second))
    assert len(told) == told_at_once_max
    assert ("publish", "dc.y", OTHER) in [(each.what, each.subject, each.public) for each in told]
    while more := attempts.news(Now(again_s * second)):
        told += more
    thiefs = [each for each in told if each.public == THIEF]
    assert len(thiefs) == kinds_of_one_max + 1
    assert sum(each.times for each in thiefs) == 1000
    assert thiefs[-1].what == "others"
