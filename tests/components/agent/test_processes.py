"""An executor is kept: real processes, a bus in memory."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from bus.memory import Faults, MemoryBus, MemoryServer
from bus.subjects import CLUSTER, ping
from components.agent.processes import WarmExecutor, find, note, start
from tests.components.agent.play import clock, config, pong, told_logs, wait_until
from tests.simulation.clock import run_virtually

pytestmark = pytest.mark.timeout(30)

SLEEP = ("sleep", "1000")
QUICK = {"ping_every_s": 0.02, "silent_s": 0.1, "start_grace_s": 0.1, "restart_first_s": 0.01}


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    """A work directory; the executors noted in it during the test are ended afterwards."""
    yield tmp_path
    noted(tmp_path)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
    pids.clear()


pids: set[int] = set()


def noted(work: Path) -> int:
    """The pid that is written down; 0 if none is."""
    path = work / "executor.pid"
    pid = int(json.loads(path.read_text())["pid"]) if path.exists() else 0
    if pid:
        pids.add(pid)
    return pid


def lives(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def memory(faults: Faults | None = None) -> MemoryBus:
    return MemoryBus(MemoryServer(CLUSTER, clock), faults)


@asynccontextmanager
async def kept(
    work: Path, bus: MemoryBus, argv: tuple[str, ...] = SLEEP, **given: float
) -> AsyncIterator[WarmExecutor]:
    """An agent's process that keeps an executor; at the end it is gone without a word."""
    keeper = WarmExecutor(config(work=str(work), executor_argv=argv, **(QUICK | given)), bus)
    keeping = asyncio.create_task(keeper.keep())
    try:
        yield keeper
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping


async def test_an_executor_that_dies_is_started_again(work: Path):
    """kill -9, as often as it comes; nothing is left for anybody to reap."""
    async with kept(work, memory()):
        for _ in range(3):
            await wait_until(lambda: lives(noted(work)))
            before = noted(work)
            os.kill(before, signal.SIGKILL)
            await wait_until(lambda before=before: noted(work) != before)  # type: ignore[misc]
            assert not Path(f"/proc/{before}").exists()


async def test_an_executor_is_on_its_own(work: Path):
    """Own session, so no terminal's signal reaches it; no input; its words in a file nobody else reads."""
    async with kept(work, memory(), ("sh", "-c", "echo hello; echo world >&2; exec sleep 1000")):
        output = work / "executor.log"
        await wait_until(lambda: output.exists() and output.read_text() == "hello\nworld\n")
        pid = noted(work)
        assert os.getsid(pid) == pid != os.getsid(0)
        assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
        assert output.stat().st_mode & 0o777 == 0o600
        ignored = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "SigIgn" in line)
        assert int(ignored.split()[1], 16) & (1 << (signal.SIGPIPE - 1)) == 0


async def test_an_executor_outlives_a_clean_stop_and_is_found_again(work: Path):
    """The next agent takes it as it is."""
    async with kept(work, memory()):
        await wait_until(lambda: lives(noted(work)))
    pid = noted(work)
    assert lives(pid)
    with told_logs() as logs:
        async with kept(work, memory()):
            await wait_until(lambda: bool(logs))
    assert (logs[0]["event"], logs[0]["pid"]) == ("executor found running", pid)
    assert lives(pid)


AGENT = """
import asyncio, sys
from tests.components.agent.test_processes import kept, memory, Path
async def main():
    async with kept(Path(sys.argv[1]), memory(), start_grace_s=60.0):
        await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_an_executor_outlives_a_killed_agent(work: Path):
    """kill -9 of the agent's process: its executor does not notice, and the next agent finds it."""
    agent = await asyncio.create_subprocess_exec(sys.executable, "-c", AGENT, str(work))
    await wait_until(lambda: lives(noted(work)))
    pid = noted(work)
    agent.kill()
    await agent.wait()
    assert lives(pid)
    async with kept(work, memory(), start_grace_s=60.0):
        os.kill(pid, signal.SIGKILL)  # not a child of this agent: its end is noticed all the same
        await wait_until(lambda: noted(work) != pid)


class Counting(MemoryBus):
    """Notes when something was asked."""

    def __init__(self, server: MemoryServer, faults: Faults | None = None) -> None:
        super().__init__(server, faults)
        self.asked_s: list[float] = []

    async def query(self, subject: str, question: bytes, *, timeout_s: float) -> bytes:
        self.asked_s.append(asyncio.get_running_loop().time())
        return await super().query(subject, question, timeout_s=timeout_s)


async def test_an_executor_that_answers_no_pings_is_replaced(work: Path):
    """It runs but it hangs; the bus carries the agent's own ping, so it is not the bus."""
    bus = memory()
    await bus.serve(ping(CLUSTER, config().author), pong)
    with told_logs() as logs:
        async with kept(work, bus):
            await wait_until(lambda: lives(noted(work)))
            before = noted(work)
            await wait_until(lambda: noted(work) != before)
            assert not lives(before)
    assert {"event": "executor lost", "why": "it answered no ping"}.items() <= logs[1].items()


async def test_an_executor_that_answered_has_no_grace_left(work: Path):
    """The long wait is for one that starts; once it answered, its silence is short."""
    theirs = memory()
    bus = Counting(theirs.server)
    await bus.serve(ping(CLUSTER, config().author), pong)
    async with kept(work, bus, start_grace_s=1000.0):
        await wait_until(lambda: lives(noted(work)))
        before = noted(work)
        await theirs.serve(ping(CLUSTER, config().executor_author), pong)
        asked = len(bus.asked_s)
        await wait_until(lambda: len(bus.asked_s) > asked + 2)
        await theirs.close()
        await wait_until(lambda: noted(work) != before)


async def test_an_executor_is_not_blamed_for_the_bus(work: Path):
    """While not even the agent's own ping comes through, silence says nothing."""
    faults = Silent()
    bus = Counting(MemoryServer(CLUSTER, clock), faults)
    await bus.serve(ping(CLUSTER, config().author), pong)
    async with kept(work, bus, silent_s=0.0, start_grace_s=0.0):
        await wait_until(lambda: lives(noted(work)))
        before = noted(work)
        asked = len(bus.asked_s)
        await wait_until(lambda: len(bus.asked_s) > asked + 10)
        assert noted(work) == before
        assert lives(before)
        faults.silent = False
        await wait_until(lambda: noted(work) != before)


class Silent(Faults):
    """Nothing that is asked arrives, and nobody waits for it."""

    silent = True

    async def ask(self, subject: str) -> bool:
        if self.silent:
            raise TimeoutError
        return True


async def test_an_executor_that_somebody_else_runs_is_left_alone(work: Path):
    """`busbar run executor` on this host, by hand: none is started until it is gone."""
    theirs = memory()
    bus = Counting(theirs.server)
    await bus.serve(ping(CLUSTER, config().author), pong)
    await theirs.serve(ping(CLUSTER, config().executor_author), pong)
    async with kept(work, bus):
        await wait_until(lambda: len(bus.asked_s) > 10)
        assert noted(work) == 0
        await theirs.close()
        await wait_until(lambda: lives(noted(work)))


def test_an_executor_that_cannot_be_started_is_tried_ever_more_slowly(tmp_path: Path):
    """0.2 s doubling to 10 s, and each time the log says what is missing."""

    async def keep_for_a_minute() -> list[float]:
        bus = Counting(MemoryServer(CLUSTER, clock))
        keeper = WarmExecutor(config(work=str(tmp_path), executor_argv=("/no/such/program",)), bus)
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                await keeper.keep()
        return bus.asked_s

    with told_logs() as logs:
        tried_s = run_virtually(keep_for_a_minute())
    pauses = [round(after - before, 1) for before, after in itertools.pairwise(tried_s)]
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10, 10]
    assert {line["event"] for line in logs} == {"executor cannot be started"}
    assert "No such file" in logs[0]["why"]


def test_a_pid_that_means_another_process_now_is_left_alone(work: Path):
    """After a restart of the machine the number may be anybody's."""
    path = str(work / "executor.pid")
    process = start(SLEEP, str(work / "executor.log"))
    pids.add(process.pid)
    note(path, process, SLEEP)
    written = json.loads(Path(path).read_text())
    Path(path).write_text(json.dumps(written | {"began": "another boot 17"}))
    assert find(path, SLEEP) is None
    os.unlink(path)
    other = json.dumps(written | {"pid": os.getpid()})
    (work / "another.pid").write_text(other)
    assert find(str(work / "another.pid"), SLEEP) is None
    assert lives(process.pid)
    process.close()


async def test_a_process_that_nobody_reaped_does_not_run(work: Path):
    """An executor that ended after its agent is whose child? On some machines nobody's: it stays in the table."""
    path = str(work / "executor.pid")
    process = start(SLEEP, str(work / "executor.log"))
    pids.add(process.pid)
    note(path, process, SLEEP)
    os.kill(process.pid, signal.SIGKILL)
    await wait_until(lambda: not lives(process.pid))
    assert Path(f"/proc/{process.pid}").exists()
    assert find(path, SLEEP) is None
    process.close()


@pytest.mark.parametrize("text", ["", "{}", "[]", "17", '{"pid": "x"}', '{"pid": 4194305}'])
def test_a_damaged_note_is_none(text: str, tmp_path: Path):
    """Pings tell then."""
    (tmp_path / "executor.pid").write_text(text)
    assert find(str(tmp_path / "executor.pid"), SLEEP) is None


async def test_an_executor_started_otherwise_is_replaced(work: Path):
    """Another bus, another release: the one that runs would never answer here."""
    async with kept(work, memory()):
        await wait_until(lambda: lives(noted(work)))
    before = noted(work)
    async with kept(work, memory(), ("sleep", "1001")):
        await wait_until(lambda: noted(work) != before)
    assert not lives(before)


async def test_a_large_output_is_set_aside(work: Path):
    """What executors write is bounded by two files."""
    with (work / "executor.log").open("w") as file:
        file.truncate(17 * 2**20)
    async with kept(work, memory(), ("sh", "-c", "echo hello; exec sleep 1000")):
        await wait_until(lambda: (work / "executor.log").exists() and (work / "executor.log").read_text() == "hello\n")
        noted(work)
    assert (work / "executor.log.1").stat().st_size == 17 * 2**20
