"""When a server is stuck: it refuses to store, and it is not the disk any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus import stuck
from bus.stuck import Stuck

REFUSED = "[17] 2026/11/22 21:08:48 [ERR] JetStream failed to store a msg on stream '$G > LOG-DC': no space left\n"


def test_a_refusal_while_there_is_room_is_seen_once(tmp_path: Path) -> None:
    """And so is the next one."""
    log, found = tmp_path / "log", Stuck(tmp_path / "log")
    assert not found.look()
    log.write_text("[17] 2026/11/22 21:08:32 [INF] Server is ready\n")
    assert not found.look()
    with log.open("a") as more:
        more.write(REFUSED)
    assert found.look()
    assert not found.look()
    log.write_text(REFUSED)  # the server began a new log
    assert found.look()


def test_a_refusal_while_the_disk_is_full_is_the_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would be better with a new server; what it said then does not count later."""
    monkeypatch.setattr(stuck, "room_bytes", 2**62)
    (tmp_path / "log").write_text(REFUSED)
    found = Stuck(tmp_path / "log")
    assert not found.look()
    monkeypatch.undo()
    assert not found.look()
