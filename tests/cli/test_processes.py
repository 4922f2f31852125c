"""A process is told from every other that ever had its pid."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import msgspec
import pytest

from cli.processes import end, identify, record, recorded, started_ticks

STUBBORN = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
MEEK = "import signal; print('up', flush=True); signal.pause()"


@contextmanager
def child(code):
    """A process that says when it is up, reaped at the end."""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"up\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_process_is_its_pid_its_start_and_its_boot():
    """Another with the same pid, of another time or boot, is another."""
    me = identify("me", "test", os.getpid())
    assert me.alive
    assert not msgspec.structs.replace(me, started=me.started + 1).alive
    assert not msgspec.structs.replace(me, boot="another").alive


def test_a_process_that_only_waits_to_be_reaped_is_gone():
    """A zombie runs no more."""
    with child(MEEK) as process:
        known = identify("meek", "test", process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert started_ticks(process.pid) is None
        assert not known.alive


def test_a_signal_never_reaches_another_process_of_the_same_pid():
    """What is not surely ours is left alone."""
    with child(MEEK) as process:
        known = identify("meek", "test", process.pid)
        assert not msgspec.structs.replace(known, started=1).send(signal.SIGKILL)
        assert process.poll() is None
        assert known.send(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not known.send(signal.SIGKILL)


@pytest.mark.timeout(20)
async def test_who_does_not_end_when_asked_is_ended():
    """The meek end by SIGTERM; the stubborn are killed after the patience and named."""
    with child(MEEK) as meek, child(STUBBORN) as stubborn:
        known = [identify(name, "test", each.pid) for name, each in (("meek", meek), ("stubborn", stubborn))]
        killed = await end(known, 0.3)
        assert [process.name for process in killed] == ["stubborn"]
        codes = await asyncio.gather(*(asyncio.to_thread(each.wait) for each in (meek, stubborn)))
        assert codes == [-signal.SIGTERM, -signal.SIGKILL]


def test_only_running_processes_are_found_again(tmp_path):
    """The dead, and files cut short, are nobody."""
    with child(MEEK) as process:
        known = identify("a1", "agent", process.pid)
        record(tmp_path / "run" / "a1.json", known)
        (tmp_path / "run" / "cut.json").write_text('{"name": "cu')
        assert recorded(tmp_path / "run") == [known]
    assert recorded(tmp_path / "run") == []
    assert recorded(tmp_path / "nowhere") == []
