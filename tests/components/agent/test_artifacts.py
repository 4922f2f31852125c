"""A task that wants files is handed on once all of them are in its sandbox; what is not to be had is said by name."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus.events import ArtifactsAwaited, KillDirected, TaskDelivered, TaskReported
from bus.nouns import Command, Reason, Resources, TaskGroup, TaskGroupId, TaskId, TaskState, Uri
from components.agent.decide import ArtifactsFetched, ArtifactsMissed, SecretsArrived
from components.agent.state import AgentState
from components.component import Sight
from components.fetcher.order import Limits, Order, Verdict
from tests.components.agent.play import MASTER, info, launched, marked, reports, stage
from tests.components.agent.test_secrets import Term, at_work
from tests.components.driver import Stage, only, types
from tests.components.fetcher.house import member, says, server, tar

pytestmark = pytest.mark.timeout(60)
T1 = TaskId("t1")
patience_s = 40
"""For what another process does, on a busy machine."""
A = Uri(uri="http://h/a")
WANTS = Command(shell="./a", fetch=(A,))
BOTH = Command(shell="./a", fetch=(A,), secret_env={"PW": "db/pw"})


def awaiting(command: Command = WANTS) -> Stage[AgentState]:
    """An agent that was told to launch a task that wants files."""
    acting = stage()
    acting.hear(MASTER, launched("t1", command=command))
    return acting


# ---- the mind ----------------------------------------------------------------------------------------------------


def test_a_task_that_wants_files_waits_for_them():
    """It is the agent's from now on, but nobody is handed it; told twice it is told once."""
    acting = stage()
    events = acting.hear(MASTER, launched("t1", command=WANTS))
    assert types(events) == ["artifacts.awaited"]
    assert (events[0].to, events[0].trace) == ("_", "trace-t1")
    assert acting.state.tasks[T1].status.state is TaskState.STAGING
    assert acting.hear(MASTER, launched("t1", command=WANTS)) == []
    assert [task.info.task for task in acting.hear(MASTER, marked(1))[0].fact.tasks] == ["t1"]
    assert acting.rebuilt() == acting.hash()


def test_it_is_handed_on_once_they_are_here():
    """Because of its launch; seen twice it is old."""
    acting = awaiting()
    events = acting.see(ArtifactsFetched(task=T1))
    assert (types(events), events[0].to, events[0].trace) == (["task.delivered"], "a1-cmd", "trace-t1")
    assert events[0].cause == acting.log[-2].cause
    assert only(events, TaskDelivered)[0].task == info("t1", command=WANTS)
    assert acting.see(ArtifactsFetched(task=T1)) == []
    assert acting.see(ArtifactsMissed(task=T1, message="late")) == []
    reports(acting, "t1", TaskState.STARTING, TaskState.RUNNING, TaskState.FINISHED)
    assert acting.rebuilt() == acting.hash()


def test_its_secrets_come_after_its_files():
    """So that they lie about no longer than they must."""
    acting = awaiting(BOTH)
    assert acting.see(SecretsArrived(task=T1)) == []
    assert types(acting.see(ArtifactsFetched(task=T1))) == ["secret.awaited"]
    assert acting.see(ArtifactsFetched(task=T1)) == []
    assert types(acting.see(SecretsArrived(task=T1))) == ["task.delivered"]
    assert acting.rebuilt() == acting.hash()


def test_a_task_whose_file_is_not_to_be_had_has_failed():
    """With the URI and why; nothing is handed on."""
    acting = awaiting()
    events = acting.see(ArtifactsMissed(task=T1, message="http://h/a was not fetched: the server answers 404"))
    (status,) = [fact.status for fact in only(events, TaskReported)]
    assert (status.state, status.reason) == (TaskState.FAILED, Reason.CONTAINER_LAUNCH_FAILED)
    assert status.message == "http://h/a was not fetched: the server answers 404"
    assert acting.see(ArtifactsFetched(task=T1)) == []
    assert not acting.state.tasks
    assert acting.rebuilt() == acting.hash()


def test_a_task_can_be_killed_while_its_files_are_fetched():
    """At once: nothing of it was started."""
    acting = awaiting()
    (status,) = [fact.status for fact in only(acting.hear(MASTER, KillDirected(task=T1)), TaskReported)]
    assert (status.state, status.reason) == (TaskState.KILLED, Reason.TASK_KILLED_DURING_LAUNCH)
    assert status.message == "killed before its files were here"
    assert acting.see(ArtifactsFetched(task=T1)) == []
    assert acting.rebuilt() == acting.hash()


def test_a_group_waits_for_the_files_of_each():
    """And is handed on as a whole."""
    acting = stage()
    for index, command in enumerate((WANTS, Command(shell="true"))):
        group = TaskGroup(id=TaskGroupId("g"), index=index, size=2, executor=Resources())
        acting.hear(MASTER, launched(f"t{index}", command=command, group=group))
    assert TaskDelivered not in [type(event.fact) for event in acting.log]
    events = acting.see(ArtifactsFetched(task=TaskId("t0")))
    assert types(events) == ["task.gathered", "task.delivered", "task.delivered"]
    assert acting.rebuilt() == acting.hash()


# ---- the hands ---------------------------------------------------------------------------------------------------


@pytest.fixture
def work(tmp_path: Path) -> str:
    return str(tmp_path / "work")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine needs to reach others."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


async def saw(term: Term) -> Sight:
    """The first thing the hands see: a process is started for it."""
    async with asyncio.timeout(patience_s):
        while not term.seen:
            await asyncio.sleep(0.005)
    return term.seen[0]


def awaited(*uris: str, **fields: Any) -> ArtifactsAwaited:
    fetch = tuple(Uri(uri=uri) for uri in uris)
    return ArtifactsAwaited(task=info("t1", command=Command(shell="x", fetch=fetch, **fields)))


class Slow:
    """A server that sends a byte now and then, for ever."""

    def __init__(self) -> None:
        self.asked, self.gone = threading.Event(), threading.Event()

    def __call__(self, connection: socket.socket, _path: str) -> None:
        self.asked.set()
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
            while not self.gone.wait(0.01):
                connection.sendall(b"x")
        except OSError:
            self.gone.set()


@pytest.fixture
def slow() -> Iterator[Slow]:
    one = Slow()
    yield one
    one.gone.set()


async def test_files_are_fetched_into_the_sandbox(work: str):
    """Archives unpacked, by a process of their own."""
    with server(says(tar((member("bin/tool", mode=0o755), b"#!/bin/sh\n")))) as at:
        async with at_work(Term(work)) as term:
            term.tell(awaited(f"{at}/tools.tar"))
            assert await saw(term) == ArtifactsFetched(task=T1)
    assert (Path(work) / "sandboxes/t1/bin/tool").read_bytes() == b"#!/bin/sh\n"
    assert os.access(f"{work}/sandboxes/t1/bin/tool", os.X_OK)


async def test_what_is_not_to_be_had_is_said(work: str):
    """With the URI."""
    with server(says(b"", "404 Not Found")) as at:
        async with at_work(Term(work)) as term:
            term.tell(awaited(f"{at}/a"))
            why = f"{at}/a was not fetched: the server answers 404 Not Found"
            assert await saw(term) == ArtifactsMissed(task=T1, message=why)


async def test_a_user_there_is_not_is_said(work: str):
    """Before anything is fetched."""
    async with at_work(Term(work)) as term:
        term.tell(awaited("http://127.0.0.1:1/a", user="busbar-no-such-user"))
        seen = await saw(term)
    assert isinstance(seen, ArtifactsMissed)
    assert "user" in seen.message
    assert "busbar-no-such-user" in seen.message


async def test_a_fetch_has_an_end(work: str, slow: Slow):
    """However busily the server drips; the fetcher ends with it."""
    with server(slow) as at:
        async with at_work(Term(work, artifacts_s=1.0)) as term:
            term.tell(awaited(f"{at}/a"))
            assert await saw(term) == ArtifactsMissed(task=T1, message="not everything was fetched within 1 s")
            assert not any(map(_is_fetcher, filter(str.isdigit, os.listdir("/proc"))))


async def test_the_end_of_a_task_ends_its_fetch(work: str, slow: Slow):
    """Nothing is seen of it any more."""
    with server(slow) as at:
        async with at_work(Term(work)) as term:
            term.tell(awaited(f"{at}/a"))
            assert await asyncio.to_thread(slow.asked.wait, patience_s)
            (event,) = awaiting().hear(MASTER, KillDirected(task=T1))
            term.hands.act(event)
            assert await asyncio.to_thread(slow.gone.wait, patience_s)
            assert term.seen == []


async def test_an_agent_that_starts_again_begins_again(work: str):
    """From nothing: what was half there is gone."""
    half = Path(work) / "sandboxes/t1"
    half.mkdir(parents=True)
    (half / "a").write_bytes(b"half")
    (half / "b").write_bytes(b"of another try")
    with server(says(b"whole")) as at:
        acting = awaiting(Command(shell="x", fetch=(Uri(uri=f"{at}/a"),)))
        term = Term(work)
        async with at_work(term, acting.state):
            assert await saw(term) == ArtifactsFetched(task=T1)
    assert {path.name: path.read_bytes() for path in half.iterdir()} == {"a": b"whole"}


async def test_a_fetcher_does_not_outlive_its_agent(work: str, slow: Slow):
    """Killed by -9, as nobody can prepare for."""
    Path(work).mkdir()
    with server(slow) as at:
        order = Order(sandbox=work, fetch=(Uri(uri=f"{at}/a"),), agent=0)
        text = msgspec.json.encode(order).decode().replace('"agent":0', '"agent":%d')
        agent = f"""
import os, subprocess, sys
fetcher = subprocess.Popen([sys.executable, "-P", "-m", "components.fetcher"], stdin=subprocess.PIPE)
fetcher.stdin.write(({text!r} % os.getpid()).encode())
fetcher.stdin.close()
fetcher.wait()
"""
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", agent)
        assert await asyncio.to_thread(slow.asked.wait, patience_s)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        assert await asyncio.to_thread(slow.gone.wait, patience_s)


async def test_an_archive_gets_no_more_memory_than_there_is(work: str):
    """xz may ask for a dictionary of gigabytes; the agent's memory is not the fetcher's."""
    Path(work).mkdir()
    source = Path(work).parent / "source"
    source.mkdir()
    (source / "a.tar.xz").write_bytes(tar((member("a"), b"x" * 100), kind="xz"))
    order = Order(
        sandbox=work,
        fetch=(Uri(uri=f"file://{source}/a.tar.xz"),),
        agent=os.getpid(),
        directories=(str(source),),
        limits=Limits(memory_max=2**20),
    )
    argv = (sys.executable, "-P", "-m", "components.fetcher")
    process = await asyncio.create_subprocess_exec(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    said, _ = await process.communicate(msgspec.json.encode(order))
    why = msgspec.json.decode(said, type=Verdict).why
    assert why == f"file://{source}/a.tar.xz was not fetched: a.tar.xz cannot be unpacked: it asks for too much memory"


async def test_a_fetcher_that_falls_is_a_file_that_is_missed(work: str, slow: Slow):
    """Whoever ended it."""
    with server(slow) as at:
        async with at_work(Term(work)) as term:
            term.tell(awaited(f"{at}/a"))
            assert await asyncio.to_thread(slow.asked.wait, patience_s)
            for pid in filter(str.isdigit, os.listdir("/proc")):
                if _is_fetcher(pid):
                    os.kill(int(pid), signal.SIGKILL)
            await saw(term)
            assert term.seen == [ArtifactsMissed(task=T1, message="the fetcher was ended by SIGKILL")]


def _is_fetcher(pid: str) -> bool:
    """Whether a process is a fetcher that this one started."""
    try:
        status = Path(f"/proc/{pid}/status").read_text().split()
        argv = Path(f"/proc/{pid}/cmdline").read_bytes()
        return status[status.index("PPid:") + 1] == str(os.getpid()) and b"components.fetcher" in argv
    except OSError:
        return False
