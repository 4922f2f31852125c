"""The launcher's journal: what the next launcher finds in it, whatever happened to the last."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.executor.launcher import journal
from components.executor.launcher.journal import Journal, unseen


def test_the_next_launcher_finds_what_was_not_seen_to_its_end(tmp_path: Path):
    """By the process it is now known to be."""
    first = Journal(str(tmp_path))
    for number in range(3):
        first.add(0, f"/s/t{number}")
    first.add(41, "/s/t1")
    first.remove("/s/t2")
    assert list(Journal(str(tmp_path))) == [(0, "/s/t0"), (41, "/s/t1")]


def test_a_line_that_was_written_in_part_is_passed_over(tmp_path: Path):
    """And what comes after it is read."""
    first = Journal(str(tmp_path))
    first.add(7, "/s/t1")
    with (tmp_path / "tasks.log").open("a") as file:
        file.write('{"sandbox": "/s/t2", "pi')
    second = Journal(str(tmp_path))
    second.add(8, "/s/t3")
    assert unseen(str(tmp_path)) == {"/s/t1": 7, "/s/t3": 8}


def test_a_long_journal_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It stays about as large as what is in it, and loses nothing."""
    monkeypatch.setattr(journal, "bytes_max", 1000)
    kept = Journal(str(tmp_path))
    kept.add(1, "/s/stays")
    for number in range(1000):
        kept.add(number, "/s/comes-and-goes")
        kept.remove("/s/comes-and-goes")
    assert (tmp_path / "tasks.log").stat().st_size < 2000
    assert unseen(str(tmp_path)) == {"/s/stays": 1}


def test_where_no_launcher_was_nothing_is_unseen(tmp_path: Path):
    assert unseen(str(tmp_path)) == {}
    assert list(tmp_path.iterdir()) == []
