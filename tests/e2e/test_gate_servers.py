"""The gate, in short: two faults of the bus's servers, and a few of a master's store. (long: make gate-servers)"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.faults import servers, stores
from tests.faults.report import drawn_seed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
KILLS = (servers.kill_a_follower, servers.kill_the_leader, servers.kill_all, servers.kill_a_node)
DAMAGES = (servers.damage_a_block, servers.truncate_a_store, servers.lose_a_node, servers.fill_a_disk)


def test_servers_die_and_disks_fail_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    """A kill and a damage drawn by chance, under load."""
    seed = drawn_seed()
    chance = random.Random(seed)
    damages = DAMAGES if os.geteuid() == 0 else DAMAGES[:-1]
    names = [chance.choice(KILLS).__name__, chance.choice(damages).__name__]
    servers.run(tmp_path / "data", names, seed)


def test_a_master_that_is_killed_while_it_commits_keeps_what_it_stored(tmp_path: Path) -> None:
    """Two kills, and its file flipped and cut once each: found before it is used."""
    stores.run(tmp_path / "data", kills=2, damages=1, seed=drawn_seed())
