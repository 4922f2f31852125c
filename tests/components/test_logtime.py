"""What time it is on a log whose clock was wrong: it never goes back, and never stands still."""

from __future__ import annotations

import pytest

from bus.nouns import Now, second
from components.logtime import LogTime

hour = 3600 * second


class Host:
    """A clock that can be set, and a log that remembers its newest event."""

    def __init__(self) -> None:
        self.clock, self.newest = Now(hour), Now(0)
        self.time = LogTime(lambda: self.clock, lambda: self.newest)

    def pass_s(self, span_s: int) -> int:
        """What passes on the log meanwhile (s), looked at each second."""
        before = self.time()
        for _ in range(span_s):
            self.clock = Now(self.clock + second)
            after = self.time()
        return (after - before) // second

    def say(self) -> None:
        self.newest = self.time()


def test_a_right_clock_is_the_log_s_time():
    host = Host()
    host.say()
    assert host.pass_s(100) == 100
    assert host.time() == host.clock


@pytest.mark.parametrize("events", [True, False])
def test_after_a_clock_was_set_back_time_goes_on_at_half_its_pace(events: bool):
    """An hour ahead for a moment, and one event: what is due in a minute is due in two, not in an hour."""
    host = Host()
    host.clock = Now(host.clock + hour)
    host.say()
    host.clock = Now(host.clock - hour)
    assert host.time() == host.newest
    passed_s = 0
    for _ in range(10):
        passed_s += host.pass_s(12)
        if events:
            host.say()
    assert passed_s == 60


def test_the_log_comes_to_agree_with_its_clock():
    host = Host()
    host.clock = Now(host.clock + 60 * second)
    host.say()
    host.clock = Now(host.clock - 60 * second)
    host.pass_s(119)
    assert host.time() > host.clock
    host.pass_s(1)
    assert host.time() == host.clock
    assert host.pass_s(10) == 10


def test_a_new_instance_goes_on_from_the_newest_event():
    """Who led before was half an hour ahead: nothing this one says is before what that one said."""
    host = Host()
    host.newest = Now(host.clock + hour // 2)
    assert host.time() == host.newest
    assert host.pass_s(10) == 5


def test_a_clock_that_jumps_ahead_is_believed():
    host = Host()
    host.say()
    host.clock = Now(host.clock + hour)
    assert host.time() == host.clock
