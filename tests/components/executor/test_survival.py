"""Who may be killed with -9 without losing a task or its exit status; and what is lost is said to be lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from components.executor.attach import shutdown_launcher
from components.executor.launcher.journal import unseen
from components.executor.launcher.pidfd import wait_status
from tests.components.executor.place import Place, alive, wait_until
from tests.components.executor.test_launcher import ESCAPES, FOREVER, escaped

pytestmark = pytest.mark.timeout(90)
GATED = "echo launched >> launches; mkfifo gate; echo ready; read line < gate; exit 6"
EXECUTOR = """
import asyncio, sys
from pathlib import Path
from bus import logs
from tests.components.executor.place import Place

async def main():
    logs.configure(True, "info")
    client = await Place(Path(sys.argv[1])).attach()
    client.launch("t1", sys.argv[2])
    await client.started("t1")
    print("started", flush=True)
    await client.ended("t1")

asyncio.run(main())
"""


def kernel_tells_exits() -> bool:
    """Whether a pidfd tells the wait status of a process that is somebody else's child: Linux 6.15."""
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    fd = os.pidfd_open(pid)
    os.waitpid(pid, 0)
    told = wait_status(fd)
    os.close(fd)
    return told == 7 << 8


def open_gate(place, task: str = "t1") -> None:
    with place.sandbox(task).joinpath("gate").open("w") as gate:
        gate.write("go\n")


async def kill_launcher(client) -> None:
    os.kill(client.pid, signal.SIGKILL)
    await wait_until(lambda: not alive(client.pid))
    assert await client.link_is_broken()


async def test_two_launches_of_one_id_start_one_process(place):
    """In a row, after a reconnection, after the launcher's death, after the end."""
    client = await place.attach()
    client.launch("t1", GATED)
    client.launch("t1", GATED)
    pid = await client.started("t1")
    await place.wait_line("t1")
    client = await place.attach()
    client.launch("t1", GATED)
    assert await client.started("t1") == pid
    await kill_launcher(client)
    client = await place.attach()
    client.launch("t1", GATED)
    assert await client.started("t1") == pid
    open_gate(place)
    await client.ended("t1")
    client.launch("t1", GATED)
    await client.ended("t1")
    assert place.read("t1", "launches") == "launched\n"


async def test_a_killed_executor_loses_neither_task_nor_exit_status(place):
    argv = (sys.executable, "-c", EXECUTOR, str(place.root), GATED)
    executor = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    assert executor.stdout is not None
    assert await executor.stdout.readline() == b"started\n"
    await place.wait_line("t1")
    executor.kill()
    await executor.wait()
    open_gate(place)
    await wait_until(lambda: "status" in place.record("t1"))
    client = await place.attach(epoch=2)
    client.watch("t1")
    assert await client.ended("t1") == 6 << 8


async def test_a_killed_launcher_loses_no_task(place):
    """The next one adopts what runs: it sees the end, and can kill it with all its children."""
    client = await place.attach()
    client.launch("t1", GATED)
    client.launch("t2", f"{ESCAPES}{FOREVER}")
    pids = await escaped(place, "t2")
    await place.wait_line("t1")
    await kill_launcher(client)
    client = await place.attach()
    client.watch("t1")
    client.watch("t2")
    main = await client.started("t2")
    open_gate(place)
    expected = 6 << 8 if kernel_tells_exits() else None
    assert await client.ended("t1") == expected
    client.kill("t2", 0.1)
    await client.ended("t2")
    assert not any(map(alive, [main, *pids[:-1]])), "nothing about the last one tells whose it is"
    os.kill(pids[-1], signal.SIGKILL)


async def test_a_task_that_ended_while_no_launcher_was_there_is_lost(place):
    """Nobody can know its exit status; its children are ended all the same."""
    client = await place.attach()
    client.launch("t1", f"(setsid sh -c 'echo $$ > daemon; {FOREVER}' &) ; {FOREVER}")
    main, child = await client.started("t1"), await place.wait_pid("t1", "daemon")
    await kill_launcher(client)
    os.kill(main, signal.SIGKILL)
    await wait_until(lambda: not Path(f"/proc/{main}").exists(), "somebody reaps it")
    client = await place.attach()
    client.watch("t1")
    assert await client.ended("t1") is None
    assert not alive(child)
    client.watch("t1")
    assert await client.ended("t1") is None


async def test_a_launch_that_never_came_to_its_command_is_begun_again(place):
    """An empty record: its launcher died between claiming and recording, so nothing was executed."""
    sandbox = place.sandbox("t1")
    sandbox.mkdir(parents=True)
    sandbox.joinpath(".busbar").touch()
    assert await (await place.attach()).run("t1", "exit 3") == 3 << 8


async def died_in_between(place, client, task: str) -> None:
    """As if the launcher was killed after it executed the task, and before it wrote down which process that is."""
    pid = await client.started(task)
    await place.wait_line(task)
    await kill_launcher(client)
    fields = place.record(task)
    record = place.sandbox(task) / ".busbar"
    record.write_text(json.dumps({name: fields[name] for name in ("task", "boot")}) + "\n")
    journal = place.work / "tasks.log"
    journal.write_text(journal.read_text().replace(f'"pid": {pid}', '"pid": 0'))


async def test_a_process_that_was_not_written_down_is_found(place):
    """Nothing is executed twice; it is adopted as any other, by who attaches or by who shuts down."""
    client = await place.attach()
    client.launch("t1", GATED)
    await died_in_between(place, client, "t1")
    client = await place.attach()
    client.launch("t1", GATED)
    pid = await client.started("t1")
    assert unseen(str(place.work)) == {str(place.sandbox("t1")): pid}
    open_gate(place)
    assert await client.ended("t1") == (6 << 8 if kernel_tells_exits() else None)
    assert place.read("t1", "launches") == "launched\n"


async def test_a_process_that_was_not_written_down_is_ended_at_a_shutdown(place):
    client = await place.attach()
    client.launch("t1", f"echo $$; {FOREVER}")
    await died_in_between(place, client, "t1")
    await shutdown_launcher(str(place.work))
    assert not alive(int(place.read("t1")))
    assert unseen(str(place.work)) == {}


async def test_a_process_that_was_not_written_down_and_is_gone_is_lost(place):
    """It may have done everything it was to do: it is not executed again."""
    client = await place.attach()
    client.launch("t1", f"echo $$ | tee -a launches; {FOREVER}")
    await died_in_between(place, client, "t1")
    os.kill(int(place.read("t1")), signal.SIGKILL)
    await wait_until(lambda: not alive(int(place.read("t1"))))
    client = await place.attach()
    client.launch("t1", "echo again >> launches")
    assert await client.ended("t1") is None
    assert place.read("t1", "launches").count("\n") == 1


async def test_a_pid_of_another_boot_is_nobodys(place):
    """After a reboot the same pid may be anybody: the task is lost, and nobody is killed for it."""
    client = await place.attach()
    client.launch("t1", FOREVER)
    pid = await client.started("t1")
    await kill_launcher(client)
    record = place.sandbox("t1") / ".busbar"
    record.write_text(record.read_text().replace('"boot": "', '"boot": "other-'))
    client = await place.attach()
    client.watch("t1")
    assert await client.ended("t1") is None
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)


async def test_a_sandbox_that_was_tampered_with_harms_only_its_task(place):
    client = await place.attach()
    sandbox = place.sandbox("t1")
    sandbox.mkdir(parents=True)
    sandbox.joinpath(".busbar").write_text("[1]\n")
    client.launch("t1", "true")
    assert "was tampered with" in str((await client.told_of("t1", "failed"))["message"])
    assert await client.run("t2", "true") == 0


def as_0_5_wrote_it(place: Place, task: str, files: Mapping[str, str]) -> None:
    """A directory with a file for each thing, where there is a record now."""
    record = place.sandbox(task) / ".busbar"
    record.unlink(missing_ok=True)
    record.mkdir(parents=True)
    for name, text in files.items():
        (record / name).write_text(text)


async def test_what_a_launcher_of_0_5_wrote_down_is_read(place):
    """How tasks ended while no executor was there; and one that runs is adopted, and its end written down."""
    client = await place.attach()
    client.launch("runs", GATED)
    pid = await client.started("runs")
    await place.wait_line("runs")
    await kill_launcher(client)
    fields = place.record("runs")
    old = {"pid": 1, "start": 1, "boot": fields["boot"]}
    as_0_5_wrote_it(place, "runs", {"launch": f"{json.dumps(fields)}\n"})
    as_0_5_wrote_it(place, "ended", {"launch": json.dumps({**old, "task": "ended"}) + "\n", "exit": "768\n"})
    as_0_5_wrote_it(place, "never", {"launch": "", "failed": "no such user"})
    stopped = {"launch": json.dumps({**old, "task": "stopped"}) + "\n", "exit": "15\n", "stopped": ""}
    as_0_5_wrote_it(place, "stopped", stopped)
    client = await place.attach()
    for name in ("ended", "never", "stopped", "runs"):
        client.watch(name)
    assert await client.ended("ended") == 3 << 8
    assert (await client.told_of("never", "failed"))["message"] == "no such user"
    told = await client.told_of("stopped", "ended")
    assert (told["status"], told["stopped"]) == (15, True)
    assert await client.started("runs") == pid
    open_gate(place, "runs")
    expected = 6 << 8 if kernel_tells_exits() else None
    assert await client.ended("runs") == expected
    client.watch("runs")
    assert await client.ended("runs") == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_a_task_cannot_point_a_launcher_at_another_process(open_place):
    """Its user swaps the record for one that names somebody else's process: that one is neither adopted nor killed."""
    place = open_place
    client = await place.attach()
    client.launch("victim", FOREVER)
    victim = await client.started("victim")
    forged = json.dumps(place.record("victim")).replace("victim", "t1")
    forge = f"mv .busbar mine; echo '{forged}' > .busbar; echo ready; {FOREVER}"
    client.launch("t1", forge, user="nobody")
    main = await client.started("t1")
    await place.wait_line("t1")
    await kill_launcher(client)
    client = await place.attach()
    client.watch("t1")
    assert "tampered" in str((await client.told_of("t1", "failed"))["message"])
    client.kill("t1", 0)
    await client.told_of("t1", "failed")
    assert alive(victim)
    os.kill(main, signal.SIGKILL)


async def test_a_status_that_cannot_be_written_is_told_and_kept(place):
    """Here a directory is in the way; a full disk is the usual case."""
    client = await place.attach()
    assert await client.run("t1", "rm .busbar; mkdir -p .busbar/launch; exit 2") == 2 << 8
    client.watch("t1")
    assert await client.ended("t1") == 2 << 8
    assert "cannot be recorded" in place.said


async def test_nothing_is_written_to_a_record_that_has_a_second_name(place):
    """It might be another file's; but it is read, and what runs is adopted."""
    client = await place.attach()
    client.launch("t1", f"ln .busbar second; {GATED}")
    pid = await client.started("t1")
    await place.wait_line("t1")
    before = place.read("t1", "second")
    await kill_launcher(client)
    client = await place.attach()
    client.watch("t1")
    assert await client.started("t1") == pid
    open_gate(place)
    told = await client.ended("t1")
    assert told == (6 << 8 if kernel_tells_exits() else None)
    assert place.read("t1", "second") == before
    client.watch("t1")
    assert await client.ended("t1") == told


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a megabyte."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system to fill")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], check=False).returncode != 0:
        pytest.skip("a file system cannot be mounted here")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


async def test_on_a_full_disk_the_launcher_keeps_the_status_in_mind(small_disk):
    """It can write neither the status nor that it cannot; whoever asks is told all the same."""
    place = Place(small_disk)
    client = await place.attach()
    client.launch("t1", "mkfifo gate; read line < gate; exit 7")
    await client.started("t1")
    await wait_until(lambda: place.sandbox("t1").joinpath("gate").exists())
    with (small_disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
    with place.sandbox("t1").joinpath("gate").open("w") as gate:
        gate.write("go\n")
    assert await client.ended("t1") == 7 << 8
    client = await place.attach(epoch=2)
    client.watch("t1")
    assert await client.ended("t1") == 7 << 8
    (small_disk / "filler").unlink()
    await place.stack.aclose()
    await shutdown_launcher(str(place.work))


async def test_a_task_whose_sandbox_was_deleted_still_ends(place):
    client = await place.attach()
    assert await client.run("t1", 'rm -rf "$MESOS_SANDBOX"; exit 2') == 2 << 8
    client.watch("t1")
    assert await client.ended("t1") is None


async def test_shutting_down_ends_what_a_killed_launcher_left(place):
    client = await place.attach()
    client.launch("t1", FOREVER)
    pid = await client.started("t1")
    await kill_launcher(client)
    assert alive(pid)
    await shutdown_launcher(str(place.work))
    assert not alive(pid)
    assert unseen(str(place.work)) == {}


async def test_who_asks_later_is_told_that_everything_was_stopped(place):
    """Not of a task that ended before, nor of one that was being killed already."""
    client = await place.attach()
    assert await client.run("before", "exit 3") == 3 << 8
    client.launch("killed", f"trap : TERM; {FOREVER}")
    await client.started("killed")
    client.launch("t1", FOREVER)
    await client.started("t1")
    client.kill("killed", 60)
    await place.stack.aclose()
    await shutdown_launcher(str(place.work))
    client = await place.attach()
    for name, stopped in (("before", False), ("killed", False), ("t1", True)):
        client.watch(name)
        assert (await client.told_of(name, "ended"))["stopped"] is stopped, name


async def test_shutting_down_where_nobody_ever_was_does_nothing(tmp_path):
    await shutdown_launcher(str(tmp_path / "none"))
    await shutdown_launcher(str(tmp_path))
    assert os.listdir(tmp_path) == []
