"""How long an app that fails waits before its next launch.

Rule of this room: 1 s × 1.15 for each failure in a row, at most 300 s, unless the app says otherwise.
(Marathon: `docs/backoff.md`, `RateLimiter.scala`)
"""

from __future__ import annotations

from bus.documents import AppSpec, PodSpec
from bus.nouns import Now, second
from components.marathon.state import Backoff


def next_delay_us(spec: AppSpec | PodSpec, backoff: Backoff, now: Now) -> int:
    """The delay that a failure at `now` brings, in microseconds.

    It begins anew when the app then ran for the longest delay. Marathon's code counts that from the last failure,
    so an app at the longest delay would fall back to the shortest; its docs add the delay itself, as we do.
    """
    longest_us = round(spec.max_launch_delay_seconds * second)
    if backoff.failed_at is None or now > backoff.failed_at + backoff.delay_us + longest_us:
        return min(longest_us, round(spec.backoff_seconds * second))
    return min(longest_us, round(backoff.delay_us * spec.backoff_factor))
