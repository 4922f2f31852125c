"""Nodes that an app keeps away from: where its instances failed, for a time that grows, while they do run elsewhere.

A scheduler without this sends an app to a broken node for ever: a node where everything dies at once always has the
most room. A node counts as an alternative only if an instance of the app is there and it is not to be avoided itself;
so where there is one node, or all fail alike, the app waits no longer than its own backoff says.

Rule of this room: failures of another version do not count, and are forgotten with it; so are those of a node where
an instance became healthy, or where the last is longer ago than its delay and the app's longest. (not in Marathon)
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from bus.events import OfferMade
from bus.nouns import AgentId, Now, second
from components.marathon.state import App, Avoided
from components.matching import NODE_BACKOFF, Shortfall

growth = 2
"""The first delay is twice the app's own, so that the very next instance goes elsewhere; then each twice the last."""


def avoided_until(app: App, agent: AgentId, at: Now) -> Now | None:
    """Until when the app keeps away from a node after one more failure there, if at all."""
    before = _in_a_row(app, agent, at)
    delay_us = growth * (before.delay_us if before else round(app.spec.backoff_seconds * second))
    delay_us = min(_longest_us(app), delay_us)
    return Now(at + delay_us) if delay_us else None


def avoid(app: App, agent: AgentId, until: Now, at: Now) -> None:
    """Remember one more failure on a node. (fold)"""
    before = _in_a_row(app, agent, at)
    failures = before.failures + 1 if before else 1
    app.avoided[agent] = Avoided(failures=failures, delay_us=until - at, failed_at=at, until=until)


def _in_a_row(app: App, agent: AgentId, at: Now) -> Avoided | None:
    """The failures there before, unless they are too long ago."""
    before = app.avoided.get(agent)
    return before if before is not None and at <= before.until + _longest_us(app) else None


def _longest_us(app: App) -> int:
    return round(app.spec.max_launch_delay_seconds * second)


def kept_away(app: App, agent: AgentId, now: Now) -> list[Shortfall]:
    """Why an app's next instance does not go on a node where others failed; nothing if it may."""
    here = app.avoided.get(agent)
    if here is None or here.until <= now or not _runs_elsewhere(app, now):
        return []
    ago = f"{(now - here.failed_at) / second:.1f} s ago"
    times = "1 failure" if here.failures == 1 else f"{here.failures} failures in a row"
    needed = f"no failure of the app there for {here.delay_us / second:g} s"
    return [Shortfall(NODE_BACKOFF, needed, f"{times}, the last {ago}")]


def _runs_elsewhere(app: App, now: Now) -> bool:
    """Whether an instance of the present version is on a node that is not avoided."""
    return any(
        (there := app.avoided.get(one.agent)) is None or there.until <= now
        for task, one in app.launched.items()
        if task not in app.outdated
    )


def best_first(ready: Sequence[App], made: OfferMade, now: Now) -> OfferMade:
    """The offers in the order they are tried: those of avoided nodes last, of these the longest avoided."""
    until: dict[AgentId, Now] = {}
    for app in ready:
        for agent, one in app.avoided.items():
            if one.until > now:
                until[agent] = max(one.until, until.get(agent, one.until))
    if not until:
        return made
    return replace(made, offers=tuple(sorted(made.offers, key=lambda offer: until.get(offer.agent, Now(0)))))
