"""What a task sees: its own sandbox, and nothing of what its agent keeps, by whatever way it looks.

Rule of this room: what runs unconfined reads canaries and does nothing else. What would change anything is tried behind
GUARD, and would be harmless if it succeeded.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bus.nouns import TaskState
from components.executor.attach import shutdown_launcher
from components.executor.launcher.confine import KEPT
from tests.components.executor.house import CANARY, NOBODY, SECRETS, House, Neighbour, python_of, refusing
from tests.components.executor.place import Client, belonging, wait_until
from tests.components.executor.world import World

pytestmark = pytest.mark.timeout(60)
FILES = {
    "credentials": "cat {top}/etc/a1.json",
    "executor's credentials": "cat {top}/etc/a1-cmd.json",
    "store": "cat {top}/stores/a1.db",
    "store's newest": "cat {top}/stores/a1.db-wal",
    "executor's store": "cat {top}/stores/a1.executor.db",
    "data directory": "cat {top}/data/cluster.key",
    "beside the sandboxes": "cat {top}/a1/agent.log",
    "another's sandbox": "cat {top}/a1/sandboxes/{canary}/stdout",
    "names of tasks": "ls {top}/a1/sandboxes | grep {canary}",
    "launcher's socket": "test -S {top}/a1/executor/launcher.sock && echo {canary}",
    "launcher's lock": "test -s {top}/a1/executor/launcher.lock && echo {canary}",
    "upwards": "cat ../../../etc/a1.json ../../agent.log ../{canary}/stdout",
    "a link": "ln -s {top}/etc/a1.json link; cat link",
    "its root directory": "cat /proc/self/root{top}/etc/a1.json",
}
PROCESS = {
    "root": "cat /proc/{pid}/root{top}/etc/a1.json",
    "cwd": "cat /proc/{pid}/cwd/etc/a1.json",
    "thread": "cat /proc/{pid}/task/{pid}/root{top}/etc/a1.json",
    "fd": "cat /proc/{pid}/fd/3",
    "environ": "cat /proc/{pid}/environ",
    "mem": "dd if=/proc/{pid}/mem iflag=skip_bytes bs=64 count=1 skip={at}",
    "maps": "grep -q heap /proc/{pid}/maps && echo {canary}",
}
PROBES = {**FILES, **PROCESS}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="the tests do not run as root")
MACHINE = os.readlink("/proc/self/ns/mnt")
GUARD = f"""
here=$(readlink /proc/self/ns/mnt) && test -n "$here" && test "$here" != "{MACHINE}" || exit 99
"""
"""Nothing below it is executed unless the task is in a mount namespace of its own."""


@pytest.fixture(params=["root", "ordinary"])
async def house(request, open_path) -> AsyncIterator[House]:
    """An agent's, once of root and once of somebody else."""
    if request.param == "root" and os.geteuid() != 0:
        pytest.skip("the tests do not run as root")
    given = House(open_path, NOBODY if request.param == "ordinary" and os.geteuid() == 0 else None)
    yield given
    await given.stack.aclose()
    await shutdown_launcher(str(given.work))
    await wait_until(lambda: not belonging(open_path), f"nobody left in {open_path}")


@pytest.fixture
def neighbour(house: House) -> Iterator[Neighbour]:
    yield from house.neighbour()


@pytest.fixture
async def client(house: House) -> Client:
    house.begin()
    return await house.attach()


def look(house: House, neighbour: Neighbour) -> str:
    """The shell that tries every probe and keeps what each one saw."""
    return "\n".join(f"({house.shell(probe, neighbour)}) > probe-{n}" for n, probe in enumerate(PROBES.values()))


def seen(house: House, task: str = "t1") -> dict[str, str]:
    """The probes that saw anything; each must have been tried."""
    saw = {name: house.read(task, f"probe-{n}") for n, name in enumerate(PROBES)}
    return {name: text for name, text in saw.items() if text}


# ---- what it cannot see


async def test_a_task_cannot_see_what_its_agent_has(house, neighbour, client):
    """Not its files, not other tasks', not through its process."""
    await client.run("t1", look(house, neighbour))
    assert seen(house) == {}


async def test_every_probe_sees_its_canary_where_nothing_is_confined(house, neighbour, client):
    """So each of them can fail. This is what --unconfined costs."""
    await client.run("t1", look(house, neighbour), hide=None)
    assert {name for name, text in seen(house).items() if CANARY in text} == set(PROBES)


async def test_a_task_cannot_look_into_its_launcher(house, client):
    """Which is not in its namespaces."""
    ways = "cat /proc/$PPID/root$MESOS_SANDBOX/../../agent.log /proc/$PPID/environ /proc/$PPID/maps"
    assert await client.run("t1", f"{ways}; readlink /proc/$PPID/fd/* /proc/$PPID/exe; echo done") == 0
    assert house.read("t1") == "done\n"


async def test_an_orphan_of_a_task_is_confined_too(house, neighbour, client):
    """A process that left its session and lost its parent sees what the task sees."""
    await client.run("t1", ORPHAN % (client.pid, look(house, neighbour)))
    assert house.read("t1") == "orphan\n"
    assert seen(house) == {}


ORPHAN = """
(setsid sh -c '
    until [ "$(cut -d" " -f4 /proc/$$/stat)" = %s ]; do sleep 0.01; done
    echo orphan
    %s
    : > done' &)
until [ -e done ]; do sleep 0.01; done
"""


async def test_a_task_knows_nothing_of_the_bus(place, monkeypatch):
    """Whatever its executor was started with."""
    monkeypatch.setenv("BUSBAR_CREDENTIALS", CANARY)
    client = await place.attach()
    assert await client.run("t1", "env; tr '\\0' '\\n' < /proc/self/environ; cat /proc/$PPID/environ; true") == 0
    told = place.read("t1")
    assert "MESOS_TASK_ID=t1" in told
    assert "BUSBAR" not in told
    assert CANARY not in told


@as_root
async def test_a_launcher_has_an_empty_environment(place, monkeypatch):
    """What its executor was started with is not handed on."""
    monkeypatch.setenv("BUSBAR_CREDENTIALS", CANARY)
    client = await place.attach()
    assert Path(f"/proc/{client.pid}/environ").read_bytes() == b""


# ---- what it cannot undo


async def test_a_task_cannot_take_the_cover_off(house, neighbour, client):
    """umount fails, and everything is as hidden as before."""
    covers = "for path in {top}/a1 {top}/etc/a1.json {top}/data; do umount $path && echo off; done"
    await client.run("t1", f"{GUARD}{house.shell(covers, neighbour)}\n{look(house, neighbour)}; echo done")
    assert house.read("t1") == "done\n"
    assert seen(house) == {}


INSIDE = """
import ctypes, os, sys
machine, top, pid, *names = sys.argv[1:]
assert os.readlink("/proc/self/ns/mnt") != machine
libc = ctypes.CDLL(None, use_errno=True)
def tell(what, done):
    print(what, 0 if done == 0 else ctypes.get_errno())
tell("unshare", libc.unshare(0x10020000))
for flags in (0, 2):
    for cover in ("a1", "etc/a1.json", "data"):
        tell("umount", libc.umount2(f"{top}/{cover}".encode(), flags))
ways = [f"{top}/{name}" for name in names]
for path in (*ways, *(f"/proc/{pid}/root{way}" for way in ways), *(f"/proc/{pid}/{n}" for n in ("environ", "fd/3"))):
    try:
        print(open(path).read())
    except OSError:
        print("hidden")
"""
"""New namespaces of users and mounts, entered without executing anything: so it has every power in them."""


async def test_a_namespace_inside_shows_no_more(house, neighbour, client):
    """There a task has every power, but a cover that came from outside stays on, and nobody outside is its own."""
    given = (MACHINE, str(house.top), str(neighbour.pid), *SECRETS)
    assert await client.run("t1", argv=[python_of(house.uid), "-I", "-S", "-c", INSIDE, *given]) == 0
    told = house.read("t1")
    if "unshare 0\n" not in told:
        pytest.skip(f"a task may have no namespaces of its own here: {told.splitlines()[0]}")
    assert "umount 0\n" not in told
    assert told.count("umount") == 6
    assert CANARY not in told
    assert told.count("hidden") >= len(SECRETS) + 2


async def test_a_task_cannot_enter_its_agents_namespace(house, neighbour, client):
    shell = "nsenter --mount=/proc/{pid}/ns/mnt cat {top}/etc/a1.json; echo done"
    assert await client.run("t1", f"{GUARD}{house.shell(shell, neighbour)}") == 0
    assert house.read("t1") == "done\n"


async def test_a_task_cannot_move_what_is_hidden(house, neighbour, client):
    """The directories it lies in stay where they are; so nothing is uncovered elsewhere."""
    shell = "mv {top}/etc {top}/moved; cat {top}/moved/a1.json; echo done"
    assert await client.run("t1", f"{GUARD}{house.shell(shell, neighbour)}") == 0
    assert house.read("t1") == "done\n"
    assert (house.top / "etc/a1.json").read_text() == f"{CANARY}\n"


async def test_a_task_mounts_nothing(house, client):
    assert await client.run("t1", f"{GUARD}mkdir inside && mount -t tmpfs -o size=64k tmpfs inside") not in (0, 99 << 8)


TRACE = """
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
def seize(pid):
    return 0 if libc.ptrace(0x4206, pid, None, None) == 0 else ctypes.get_errno()
child = os.fork()
if child == 0:
    signal.pause()
print(*map(seize, (child, int(sys.argv[1]), os.getppid())))
os.kill(child, signal.SIGKILL)
"""


async def test_a_task_can_trace_its_own_processes_and_nobody_elses(house, neighbour, client):
    """ptrace(2) of a child is allowed; of an agent and of the launcher it is not."""
    argv = [python_of(house.uid), "-I", "-S", "-c", TRACE, str(neighbour.pid)]
    assert await client.run("t1", argv=argv) == 0
    assert house.read("t1") == f"0 {errno.EPERM} {errno.EPERM}\n"


async def test_a_task_has_no_powers_beyond_those_listed(house, client):
    """And can get none by executing something."""
    assert await client.run("t1", "cat /proc/self/status") == 0
    status = dict(line.split(":\t") for line in house.read("t1").splitlines())
    if house.uid is None and os.geteuid() == 0:
        listed = sum(1 << number for number in KEPT.values())
        assert int(status["CapEff"], 16) & ~listed == int(status["CapBnd"], 16) & ~listed == 0
    else:
        assert (int(status["CapEff"], 16), status["NoNewPrivs"]) == (0, "1")


DISKS = 'for disk in /sys/class/block/*; do test -b "/dev/${disk##*/}" && echo $disk; done; true'


@as_root
async def test_a_task_of_root_has_no_disks_and_can_tell_the_kernel_nothing(place):
    """Both are asked without touching anything; unconfined, the answers differ."""
    client = await place.attach()
    asked = f"{DISKS}; for path in /proc/sys/kernel/core_pattern /sys; do test -w $path && echo $path; done; true"
    assert await client.run("t1", asked) == 0
    assert await client.run("control", asked, hide=None) == 0
    assert place.read("t1") == ""
    assert "/proc/sys/kernel/core_pattern\n/sys\n" in place.read("control")


@as_root
async def test_a_task_of_root_makes_no_devices(place):
    """Here it would be another /dev/null."""
    assert await (await place.attach()).run("t1", f"{GUARD}mknod null c 1 3") not in (0, 99 << 8)


# ---- what it still has


async def test_a_task_has_its_sandbox_by_every_path(house, client):
    """Absolute, relative, as the working directory; what it writes is there for everybody."""
    shell = """
    echo one > first; cat "$MESOS_SANDBOX/first"; echo two > "$MESOS_SANDBOX/second"; cat second
    pwd -P; /bin/pwd; readlink /proc/self/cwd; ls "$MESOS_SANDBOX/.."; echo oops >&2
    """
    assert await client.run("t1", shell) == 0
    sandbox = str(house.sandbox("t1"))
    assert house.read("t1").splitlines() == ["one", "two", sandbox, sandbox, sandbox, "t1"]
    assert (house.read("t1", "second"), house.read("t1", "stderr")) == ("two\n", "oops\n")


async def test_a_sandbox_behind_a_link_is_there_by_both_paths(house):
    """As when /var/lib/busbar is a link to another disk."""
    house.begin()
    (house.top / "link").symlink_to(house.root)
    client = await house.attach()
    sandbox = f"{house.top}/link/sandboxes/t1"
    shell = f"echo mine > file; cat {sandbox}/file {house.sandbox('t1')}/file; cat {house.top}/link/agent.log"
    client.launch("t1", f"{shell}; echo done", sandbox=sandbox)
    await client.ended("t1")
    assert house.read("t1") == "mine\nmine\ndone\n"


async def test_what_is_hidden_and_not_there_is_harmless(house):
    """It is not made either."""
    gone = house.top / "gone"
    house.config = replace(house.config, hide=(*house.config.hide, str(gone), str(gone / "further")))
    house.begin()
    assert await (await house.attach()).run("t1", "true") == 0
    assert not gone.exists()


async def test_each_task_sees_only_its_own_sandbox(house, client):
    """Two at a time; the first is still there when the second looks."""
    client.launch("t1", f"echo {CANARY}; exec sleep 1000")
    await house.wait_line("t1")
    assert await client.run("t2", "cat ../t1/stdout; ls ..") == 0
    assert house.read("t2") == "t2\n"


@as_root
async def test_a_task_of_another_user_is_confined_and_has_its_sandbox(open_place):
    """By every path, as that user; what others may read is hidden from it all the same."""
    place = open_place
    place.root.mkdir(mode=0o755, exist_ok=True)
    (place.root / "secret").write_text(CANARY)
    client = await place.attach()
    shell = f'id -u; pwd; echo mine > "$MESOS_SANDBOX/file"; cat file; cat {place.root}/secret; echo done'
    assert await client.run("t1", shell, user="nobody") == 0
    assert place.read("t1").splitlines() == [str(NOBODY), str(place.sandbox("t1")), "mine", "done"]
    assert place.sandbox("t1").joinpath("file").stat().st_uid == NOBODY
    await client.run("control", f"cat {place.root}/secret", user="nobody", hide=None)
    assert place.read("control") == CANARY


# ---- where the kernel forbids it

FORBIDDEN = "the task cannot be confined, and its agent was not started with --unconfined: "
NO_NAMESPACES = (errno.EPERM, "unshare", "mount")
NOT_PERMITTED = f"{FORBIDDEN}[Errno 1] Operation not permitted: 'unshare'"


async def test_where_the_kernel_forbids_it_nothing_is_executed(house):
    """Each task fails with the reason, which who attaches is told too; nothing was executed."""
    house.begin(refusing(*NO_NAMESPACES))
    client = await house.attach()
    for name in ("t1", "t2"):
        client.launch(name, "echo executed")
        assert (await client.told_of(name, "failed"))["message"] == NOT_PERMITTED
        assert house.read(name) == ""
    assert NOT_PERMITTED in house.said
    assert await client.run("t3", "echo executed", hide=None) == 0


@as_root
@pytest.mark.parametrize("house", ["root"], indirect=True)
async def test_a_task_of_root_is_not_executed_without_landlock(house):
    """A kernel older than 5.19, or one built without it."""
    house.begin(refusing(errno.ENOSYS, "landlock"))
    client = await house.attach()
    client.launch("t1", "echo executed")
    why = f"{FORBIDDEN}[Errno 38] Function not implemented: 'landlock'"
    assert (await client.told_of("t1", "failed"))["message"] == why
    assert house.read("t1") == ""


async def test_an_executor_goes_on_where_no_task_can_be_confined(house):
    """Its tasks fail one by one, each with the reason."""
    house.begin(refusing(*NO_NAMESPACES))
    world = World(house)
    await world.begin()
    for name in ("t1", "t2"):
        await world.launch(name, "echo executed")
        status = await world.wait_state(name)
        assert (status.state, status.message) == (TaskState.FAILED, NOT_PERMITTED)
    assert not world.running.done()
    await world.die()


async def test_an_executor_that_is_unconfined_has_its_tasks_read_everything(house):
    """Where the kernel forbids confinement, this is how tasks run at all."""
    house.config = replace(house.config, unconfined=True)
    house.begin(refusing(*NO_NAMESPACES))
    world = World(house)
    await world.begin()
    await world.launch("t1", f"cat {house.top}/etc/a1.json")
    assert (await world.wait_state("t1")).state is TaskState.FINISHED
    assert house.read("t1") == f"{CANARY}\n"
    await world.die()
