"""Apps with constraints through crashes, losses, failures and time: never where they may not be, and in the end as many
as may be. Two planted bugs are found: a Marathon that counts nothing in a decision, and one that avoids for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.nouns import TERMINAL, TaskState, second
from bus.services import ScaleRequested
from components.marathon import avoiding, offers
from tests.components.marathon.play import MAIN, WEB, Play
from tests.components.marathon.world import AGENTS, World

PER_NODE = {
    ("hostname", "UNIQUE"): 1,
    ("hostname", "MAX_PER", "2"): 2,
    ("hostname", "GROUP_BY", "3"): 3,
    ("hostname", "LIKE", "a[12]"): 3,
    ("@hostname", "CLUSTER", "a2"): 3,
}
"""How many of an app's instances a node may have, of three that are wanted at most by nodes that may have any."""


class History:
    """One app, a small master, and what happens."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.constraint = random.choice(sorted(PER_NODE))
        self.play, self.world = Play(admitted=False), World()
        self.tell()
        self.play.hear(MAIN, self.world.mailbox.pop(0))
        self.tell()
        self.play.add(cpus=0.1, mem=10, ports=(), instances=3, constraints=[self.constraint])
        self.tell()

    def tell(self) -> None:
        self.play.settle()
        self.world.hear(self.play.log)

    def hear(self) -> None:
        while self.world.mailbox:
            self.play.hear(MAIN, self.world.mailbox.pop(0))
            self.tell()
            self.check()

    def work(self) -> None:
        self.world.allocate(self.play.now)
        self.hear()
        for name, task in sorted(self.world.tasks.items()):
            if task.state is TaskState.STAGING:
                self.world.move(name, TaskState.RUNNING)
        self.hear()

    def fail(self) -> None:
        names = sorted(name for name, task in self.world.tasks.items() if task.holds)
        if names:
            self.world.move(self.random.choice(names), self.random.choice((TaskState.FAILED, TaskState.KILLED)))
            self.hear()

    def lose_or_find(self) -> None:
        agent = self.random.choice(AGENTS)
        (self.world.find if agent in self.world.lost else self.world.lose)(agent)
        self.hear()

    def scale(self) -> None:
        self.play.ask(ScaleRequested(app=WEB, instances=self.random.randint(0, 3)))
        self.tell()

    def pass_time(self) -> None:
        self.play.advance(self.random.choice((1, 5, 120)))
        self.tell()

    def crash(self) -> None:
        self.play.restart()
        self.tell()
        self.hear()

    def check(self) -> None:
        """No node has more than it may have, and none has any that may have none."""
        placed = Counter(str(one.agent) for one in self.play.app().launched.values())
        assert all(count <= PER_NODE[self.constraint] for count in placed.values()), (self.constraint, placed)
        assert set(placed) <= set(self.nodes()), (self.constraint, placed)

    def nodes(self) -> list[str]:
        """Where its instances may be."""
        if self.constraint[1] == "LIKE":
            return ["a1", "a2"]
        return ["a2"] if self.constraint[1] == "CLUSTER" else list(AGENTS)

    def end_well(self) -> None:
        """Once nothing fails any more, what may run does, before the longest delay is over twice."""
        for agent in sorted(self.world.lost):
            self.world.find(agent)
        end = self.play.now + 2 * 300 * second
        while self.play.now < end:
            self.work()
            self.play.advance(30)
            self.tell()
        running = [task for task in self.world.tasks.values() if task.state not in TERMINAL]
        assert len(running) == self.play.app().spec.instances, (self.constraint, self.play.app())
        assert self.play.rebuilt() == self.play.hash()


STEPS = (
    *(History.work, History.work, History.work),
    *(History.fail, History.lose_or_find, History.scale, History.pass_time, History.crash),
)


def live_through(random: Random, steps: int) -> None:
    history = History(random)
    for _ in range(steps):
        random.choice(STEPS)(history)
        history.check()
    history.end_well()


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.randoms(use_true_random=True), st.integers(1, 60))
def test_whatever_happens_instances_are_only_where_they_may_be(random: Random, steps: int) -> None:
    live_through(random, steps)


def counts_nothing_in_a_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offers.Tally, "add", lambda *_: None)


def avoids_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avoiding, "_runs_elsewhere", lambda app, now: True)
    monkeypatch.setattr(avoiding, "_longest_us", lambda app: 10**15)
    monkeypatch.setattr(avoiding, "growth", 10**6)


@pytest.mark.parametrize("bug", [counts_nothing_in_a_decision, avoids_for_ever])
def test_a_planted_bug_is_found(bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        sixty_lives()


def sixty_lives() -> None:
    for seed in range(60):
        live_through(Random(seed), 40)
