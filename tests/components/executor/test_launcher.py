"""The launcher with real processes: what a task gets, how its end is told, who dies with it."""

from __future__ import annotations

import os
import pwd
import resource
import shutil
import time
from pathlib import Path

import pytest

from components.executor.attach import LauncherLost, attached, shutdown_launcher
from components.executor.launcher.journal import unseen
from components.executor.launcher.main import descriptors_max
from components.executor.launcher.tree import look
from tests.components.executor.place import Place, alive, belonging, wait_until

pytestmark = pytest.mark.timeout(60)
FOREVER = "exec sleep 1000"


# ---- what a task gets


async def test_exit_codes_and_signals_are_told_apart(place):
    """`exit 137` is no SIGKILL. The raw wait status is told, and kept in the sandbox."""
    client = await place.attach()
    for name, shell, status in (
        ("zero", "true", 0),
        ("three", "exit 3", 3 << 8),
        ("looks-killed", "exit 137", 137 << 8),
        ("killed", "kill -9 $$", 9),
        ("termed", "kill $$", 15),
        ("unfound", "no-such-command", 127 << 8),
    ):
        assert await client.run(name, shell) == status
        assert place.record(name)["status"] == status


async def test_a_task_has_its_sandbox_its_files_and_nothing_else(place):
    """cwd is the sandbox; stdin is empty; own session and group; no descriptor beyond three; no launcher variable."""
    client = await place.attach()
    shell = 'pwd; ls -1 /proc/self/fd; cat; echo oops >&2; echo "$(ps -o pid=,pgid=,sid= -p $$)"; env'
    assert await client.run("t1", shell) == 0
    out = place.read("t1").splitlines()
    assert out[0] == str(place.sandbox("t1"))
    assert out[1:5] == ["0", "1", "2", "3"]  # 3 is the directory that ls reads
    assert len(set(out[5].split())) == 1, "the task leads its own session and group"
    assert place.read("t1", "stderr") == "oops\n"
    names = {line.partition("=")[0] for line in out[6:]}
    assert names == {"PATH", "HOME", "USER", "LOGNAME", "MESOS_TASK_ID", "MESOS_SANDBOX", "PWD"}


async def test_signals_are_as_a_new_process_expects_them(place):
    """Nothing ignored, nothing blocked: SIGPIPE ends a writer."""
    client = await place.attach()
    assert await client.run("t1", "grep -E 'Sig(Ign|Blk)' /proc/self/status") == 0
    masks = [int(line.split()[1], 16) for line in place.read("t1").splitlines()]
    # signals 32 and 33 are the C library's own: nobody can set them, and make leaves 32 blocked in what it starts
    assert {mask & ~(0b11 << 31) for mask in masks} == {0}


async def test_limits_are_those_the_launcher_was_started_with(place):
    assert await (await place.attach()).run("t1", "ulimit -Sn; ulimit -Hn") == 0
    assert tuple(map(int, place.read("t1").split())) == resource.getrlimit(resource.RLIMIT_NOFILE)


async def test_a_launcher_that_needs_more_descriptors_hands_down_what_it_was_given(place):
    """Also a second time: what it lowers for a task it has back afterwards."""
    given = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (given[0] - 1, given[1]))
    try:
        client = await place.attach()
        for task in ("t1", "t2"):
            assert await client.run(task, "ulimit -Sn; ulimit -Hn") == 0
            assert tuple(map(int, place.read(task).split())) == (given[0] - 1, given[1])
            limits = Path(f"/proc/{client.pid}/limits").read_text()
            soft = next(line for line in limits.splitlines() if line.startswith("Max open files")).split()[3]
            assert int(soft) == min(given[1], descriptors_max)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, given)


async def test_an_argument_vector_is_executed_as_it_is(place):
    client = await place.attach()
    assert await client.run("t1", argv=["printf", "%s|", "a b", "$HOME", "ü"]) == 0
    assert place.read("t1") == "a b|$HOME|ü|"


async def test_the_files_are_appended_to(place):
    place.sandbox("t1").mkdir(parents=True)
    (place.sandbox("t1") / "stdout").write_text("before\n")
    assert await (await place.attach()).run("t1", "echo after") == 0
    assert place.read("t1") == "before\nafter\n"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"argv": ["no-such-command"]}, "[Errno 2] No such file or directory: 'no-such-command'"),
        ({"argv": ["/etc/passwd"]}, "[Errno 13] Permission denied: '/etc/passwd'"),
        ({"argv": ["/bin/true"], "user": "no-such-user"}, "user 'no-such-user' does not exist on this host"),
        ({"argv": ["/bin/true", "a\0b"]}, "embedded null byte"),
        ({"argv": ["/bin/true"], "env": {"A=B": "c"}}, "illegal environment variable name"),
    ],
)
async def test_what_cannot_be_executed_says_why(place, given, message):
    """The system's own words; asked again, the same answer; nothing was executed."""
    client = await place.attach()
    client.launch("t1", **given)
    assert (await client.told_of("t1", "failed"))["message"] == message
    client.launch("t1", "echo now")
    assert (await client.told_of("t1", "failed"))["message"] == message
    assert "started" not in {told["say"] for told in client.told}


async def test_a_sandbox_that_cannot_be_made_says_why(place):
    place.root.joinpath("sandboxes").write_text("a file")
    client = await place.attach()
    client.launch("t1", "true")
    failed = await client.told_of("t1", "failed")
    assert str(failed["message"]).startswith("[Errno 20] Not a directory")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_a_task_runs_as_its_user(open_place):
    """User, groups and home are the user's; the sandbox and its files belong to it."""
    place = open_place
    client = await place.attach()
    assert await client.run("t1", "id -u; id -G; echo $HOME; touch mine", user="nobody") == 0
    entry = pwd.getpwnam("nobody")
    groups = " ".join(map(str, os.getgrouplist("nobody", entry.pw_gid)))
    assert place.read("t1").splitlines() == [str(entry.pw_uid), groups, entry.pw_dir]
    assert place.sandbox("t1").joinpath("stdout").stat().st_uid == entry.pw_uid
    assert place.sandbox("t1").joinpath(".busbar").stat().st_uid == 0


# ---- kills


async def test_a_kill_is_a_sigterm_and_time_to_obey(place):
    client = await place.attach()
    client.launch("t1", "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.01; done")
    await place.wait_line("t1")
    client.kill("t1", 60)
    assert await client.ended("t1") == 5 << 8
    assert place.read("t1") == "ready\nbye\n"


async def test_a_task_that_ignores_sigterm_dies_by_sigkill_when_its_grace_is_over(place):
    client = await place.attach()
    client.launch("t1", f"trap '' TERM; echo ready; {FOREVER}")
    await place.wait_line("t1")
    began = time.monotonic()
    client.kill("t1", 0.3)
    assert await client.ended("t1") == 9
    assert time.monotonic() - began >= 0.3


async def test_a_second_kill_can_only_shorten_the_grace(place):
    client = await place.attach()
    client.launch("t1", f"trap '' TERM; echo ready; {FOREVER}")
    await place.wait_line("t1")
    client.kill("t1", 1000)
    client.kill("t1", 0.1)
    client.kill("t1", 1000)
    assert await client.ended("t1") == 9


async def test_a_stopped_task_dies_too(place):
    client = await place.attach()
    client.launch("t1", "kill -STOP $$")
    pid = await client.started("t1")
    await wait_until(lambda: " T " in Path(f"/proc/{pid}/stat").read_text())
    client.kill("t1", 0.05)
    assert await client.ended("t1") in (9, 15)


async def test_a_task_killed_before_its_launch_is_never_launched(place):
    client = await place.attach()
    client.kill("t1", 3)
    assert (await client.told_of("t1", "failed"))["message"] == "killed before it was launched"
    client.launch("t1", "echo hello")
    await client.told_of("t1", "failed")
    assert not place.sandbox("t1").joinpath("stdout").exists()


async def test_a_kill_right_behind_the_launch_ends_the_task(place):
    client = await place.attach()
    client.launch("t1", FOREVER)
    client.kill("t1", 0)
    assert await client.ended("t1") == 9


async def test_a_gentle_kill_right_behind_the_launch_is_not_lost(place):
    """SIGTERM comes to the process as soon as there is one, not only SIGKILL when the grace is over."""
    client = await place.attach()
    client.launch("t1", FOREVER)
    client.kill("t1", 3600)
    assert await client.ended("t1") == 15


# ---- the whole tree

ESCAPES = """
sh -c 'echo $$ > child; exec sleep 1000' &
setsid sh -c 'trap "" TERM; echo $$ > other-session; while :; do sleep 1; done' &
(sh -c 'echo $$ > orphan; exec sleep 1000' &)
(setsid sh -c 'trap "" TERM; echo $$ > daemon; while :; do sleep 1; done' &)
(env -i /bin/sh -c 'echo $$ > nameless; exec sleep 1000' &)
(env -i setsid /bin/sh -c 'echo $$ > faceless; cd /; exec sleep 1000' >/dev/null 2>&1 &)
"""
NAMES = ("child", "other-session", "orphan", "daemon", "nameless", "faceless")


async def escaped(place: Place, task: str) -> list[int]:
    return [await place.wait_pid(task, name) for name in NAMES]


@pytest.mark.parametrize("grace_s", [0.0, 0.2])
async def test_children_that_left_their_group_session_or_parent_die_with_the_kill(place, grace_s):
    client = await place.attach()
    client.launch("t1", f"{ESCAPES}{FOREVER}")
    pids = await escaped(place, "t1")
    client.kill("t1", grace_s)
    assert await client.ended("t1") in (9, 15)
    assert [pid for pid in pids if alive(pid)] == []


async def test_no_child_outlives_the_tasks_main_process(place):
    """When `ended` is told, nobody is left: a replacement may take the same port."""
    client = await place.attach()
    client.launch("t1", f"{ESCAPES} mkfifo gate; read line < gate; exit 4")
    pids = await escaped(place, "t1")
    await wait_until(lambda: place.sandbox("t1").joinpath("gate").exists())
    with place.sandbox("t1").joinpath("gate").open("w") as gate:
        gate.write("go\n")
    assert await client.ended("t1") == 4 << 8
    assert [pid for pid in pids if alive(pid)] == []


async def test_a_tree_that_keeps_growing_is_caught(place):
    client = await place.attach()
    client.launch("t1", "trap '' TERM; echo ready; while :; do (sleep 0.05; sleep 0.05) & sleep 0.01; done")
    await place.wait_line("t1")
    client.kill("t1", 0.2)
    assert await client.ended("t1") == 9
    assert belonging(place.sandbox("t1")) == []


def ticks() -> int:
    """The clock of start times: hundredths of a second since boot."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def started_at(pid: int) -> int:
    process = look(pid)
    assert process is not None
    return process.start


async def test_other_tasks_and_their_children_stay(place):
    client = await place.attach()
    client.launch("old", f"{ESCAPES}{FOREVER}")
    olds = await escaped(place, "old")
    client.launch("mid", f"{ESCAPES}{FOREVER}")
    mids = await escaped(place, "mid")
    await wait_until(lambda: ticks() > started_at(mids[-1]), "a new task can be told to be younger")
    client.launch("new", f"{ESCAPES}{FOREVER}")
    news = await escaped(place, "new")
    client.kill("mid", 0)
    await client.ended("mid")
    assert all(map(alive, olds + news))
    assert not any(map(alive, mids[:-1])), "the last one could be the older task's: nothing about it tells"
    client.kill("old", 0)
    await client.ended("old")
    assert all(map(alive, news))
    assert not any(map(alive, olds + mids)), "now nobody living can have started it"


# ---- many


async def test_a_burst_of_two_hundred_tasks_all_report_zero(place):
    client = await place.attach()
    for number in range(200):
        client.launch(f"t{number}", argv=["/bin/true"])
    for _ in range(200):
        await client.told_of_any("ended")
    ended = {told["task"]: told["status"] for told in client.told if told["say"] == "ended"}
    assert ended == {f"t{number}": 0 for number in range(200)}
    assert [told for told in client.told if told["say"] == "failed"] == []
    assert unseen(str(place.work)) == {}


# ---- the socket


async def test_an_executor_of_an_older_term_is_refused_and_a_newer_one_takes_over(place):
    first = await place.attach(epoch=2)
    with pytest.raises(LauncherLost, match="serves term 2, not 1"):
        async with attached(place.config, 1):
            pass
    second = await place.attach(epoch=3)
    assert await first.link_is_broken()
    assert await second.run("t1", "true") == 0


async def test_who_talks_nonsense_is_hung_up_on(place):
    client = await place.attach()
    other = await place.attach(epoch=1)
    assert await client.link_is_broken()
    other.link.say({"do": "fly"})
    assert (await other.link.hear())["say"] == "refused"
    other.link._writer.write(b"not json\n")
    assert await other.link_is_broken()
    assert await (await place.attach()).run("t1", "true") == 0


async def test_a_work_directory_may_have_a_path_longer_than_a_socket_address(tmp_path):
    place = Place(tmp_path, work="w" * 200)
    assert await (await place.attach()).run("t1", "true") == 0
    await place.stack.aclose()
    await shutdown_launcher(str(place.work))


async def test_a_launcher_that_nobody_needs_goes(tmp_path):
    """Nobody attached and nothing running for a while; with a task it stays."""
    place = Place(tmp_path, idle_s=0.2)
    client = await place.attach()
    client.launch("t1", "mkfifo gate; read line < gate")
    await client.started("t1")
    await place.stack.aclose()
    await wait_until(lambda: place.sandbox("t1").joinpath("gate").exists())
    assert alive(client.pid)
    with place.sandbox("t1").joinpath("gate").open("w") as gate:
        gate.write("go\n")
    await wait_until(lambda: not alive(client.pid), "the launcher goes")
    assert place.record("t1")["status"] == 0
    assert not (place.work / "launcher.sock").exists()


async def test_a_launcher_whose_work_directory_is_gone_ends_its_tasks_and_goes(tmp_path):
    """Nobody could ever reach it again."""
    place = Place(tmp_path, idle_s=0.2)
    client = await place.attach()
    client.launch("t1", FOREVER)
    pid = await client.started("t1")
    shutil.rmtree(place.work)
    await wait_until(lambda: not alive(pid) and not alive(client.pid), "both go")
    await place.stack.aclose()


async def test_shutting_down_leaves_nobody(place):
    client = await place.attach()
    client.launch("t1", f"{ESCAPES}{FOREVER}")
    pids = [*await escaped(place, "t1"), client.pid]
    await place.stack.aclose()
    await shutdown_launcher(str(place.work))
    await wait_until(lambda: not any(map(alive, pids)), "all are gone")
    await shutdown_launcher(str(place.work))


async def test_a_sigterm_to_the_launcher_shuts_it_down(place):
    client = await place.attach()
    client.launch("t1", FOREVER)
    pid = await client.started("t1")
    os.kill(client.pid, 15)
    await wait_until(lambda: not alive(pid) and not alive(client.pid), "both go")
    assert place.record("t1")["status"] == 15
