"""The gate, in short: hosts in network namespaces are cut off and healed. (long: make gate-hosts)"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults import hosts
from tests.faults.network import why_not
from tests.faults.report import drawn_seed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
LEADERS = (hosts.cut_the_leader, hosts.mute_the_leader, hosts.deafen_the_leader, hosts.part_the_leader)
AGENTS = (hosts.cut_an_agent, hosts.mute_an_agent, hosts.deafen_an_agent)


def test_hosts_are_cut_off_and_no_task_is_lost_or_runs_twice(tmp_path: Path) -> None:
    """The leader's host, and an agent's for longer than its pings: one way of each, drawn by chance."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    seed = drawn_seed()
    chance = random.Random(seed)
    hosts.run(tmp_path / "data", [chance.choice(LEADERS).__name__, chance.choice(AGENTS).__name__], seed)
