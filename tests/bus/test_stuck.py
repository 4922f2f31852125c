"""When a server is stuck: it refuses to store, and it is not the disk any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus import stuck
from bus.stuck import Stuck

REFUSED = "[17] 2026/11/22 21:08:48 [ERR] JetStream failed to store a msg on stream '$G > LOG-DC': no space left\n"
FAILED = (
    "[17] 2026/11/22 22:53:42 [ERR] Filestore [LOG-DC] Critical write error: write 1.blk: no space left on device\n"
)
GIVEN_UP = "[17] 2026/11/22 22:53:42 [ERR] JetStream out of resources, will be DISABLED\n"
FILES_GIVEN_UP = "[17] 2026/11/22 22:53:42 [ERR] JetStream out of File resources, will be DISABLED\n"
BEGUN = "[18] 2026/11/22 22:53:50 [INF] Starting nats-server\n"


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


@pytest.mark.parametrize("said", [FAILED, GIVEN_UP, FILES_GIVEN_UP])
def test_one_of_several_that_gave_up_is_seen_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """It says so only once, while the disk is full, and is silent when there is room again."""
    monkeypatch.setattr(stuck, "room_bytes", 2**62)
    (tmp_path / "log").write_text(BEGUN + said)
    found = Stuck(tmp_path / "log")
    assert not found.look()
    assert not found.look()
    monkeypatch.undo()
    assert found.look()
    assert not found.look()


def test_a_server_that_was_started_anew_meanwhile_has_not_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its predecessor said is not its own."""
    monkeypatch.setattr(stuck, "room_bytes", 2**62)
    (tmp_path / "log").write_text(GIVEN_UP)
    found = Stuck(tmp_path / "log")
    assert not found.look()
    with (tmp_path / "log").open("a") as more:
        more.write(BEGUN)
    assert not found.look()
    monkeypatch.undo()
    assert not found.look()
