"""`busbar task`: by id or prefix, history, trace, log, kill."""

import json

import msgspec
import pytest

from bus import codec
from bus.events import Event, KillRequested, TaskUpdated
from bus.nouns import Now, Resources, Source, TaskState, TaskStatus
from bus.queries import (
    HistoryQuestion,
    HistoryRow,
    LogPiece,
    LogQuestion,
    QueryRefused,
    TaskRow,
    TasksQuestion,
    Trace,
    TraceRow,
)
from bus.services import InstanceDismissed
from cli.session import MARATHON, THE_MASTER, agent
from tests.cli.mouth import START, Mouth, known, playing


def status(task, state=TaskState.RUNNING, **more):
    return TaskStatus(task=task, state=state, source=Source.EXECUTOR, **more)


def row(task, state=TaskState.RUNNING, **more):
    return TaskRow(
        task=task,
        name="web",
        framework="marathon",
        agent="a1",
        status=status(task, state, **more),
        since=START,
        launched_at=START,
        resources=Resources(cpu_milli=100, mem_mb=64, ports=((31000, 31000),)),
        app="/web",
    )


ROWS = [row("web.1"), row("web.10"), row("api.1", TaskState.FAILED, exit_status=3)]


def tasks(question):
    asked = msgspec.msgpack.decode(question, type=TasksQuestion)
    live = [each for each in ROWS if asked.all or each.status.state is TaskState.RUNNING]
    return [each for each in live if each.task.startswith(asked.prefix)]


async def play(*args, master=None, others=()):
    mouth = Mouth()
    async with playing(mouth, THE_MASTER, {"tasks": tasks, "frameworks": [known("marathon")]} | (master or {})):
        if others:
            author, answers, reply = others
            async with playing(mouth, author, answers, reply):
                return mouth, await mouth("task", *args)
        return mouth, await mouth("task", *args)


async def test_list_shows_the_live_tasks_and_with_all_the_ended():
    """One line a task."""
    _, live = await play("list")
    _, every = await play("list", "--all")
    assert [line.split()[0] for line in live.stdout.splitlines()] == ["ID", "web.1", "web.10"]
    assert every.stdout.splitlines()[3].split()[:4] == ["api.1", "TASK_FAILED", "a1", "marathon"]


@pytest.mark.parametrize("text", ["api", "a", "api.1", "web.1", "web.10"])
async def test_a_task_is_named_by_its_id_or_a_beginning_that_fits_only_one(text):
    """A whole id wins over longer ones that begin with it."""
    _, result = await play("show", text, "--json")
    assert json.loads(result.stdout)["task"].startswith(text)


async def test_a_beginning_that_fits_several_lists_them():
    """Exit code 1, and what there is to choose from."""
    _, result = await play("show", "web")
    assert result.exit_code == 1
    assert "'web' fits 2 tasks:\n  web.1  TASK_RUNNING\n  web.10  TASK_RUNNING" in result.stderr


async def test_a_beginning_that_fits_none_says_so():
    """Exit code 1, and where to look."""
    _, result = await play("show", "nothing")
    assert result.stderr == "error: no task's id begins with 'nothing'\nnext:  busbar task list --all\n"


async def test_show_tells_state_and_why():
    """How it ended, who said so, where it was."""
    _, result = await play("show", "api")
    assert "state      TASK_FAILED exit 3\n" in result.stdout
    assert "app        /web\n" in result.stdout


async def test_history_tells_every_event_page_by_page():
    """A page may be short; the end is an empty one."""
    fact = TaskUpdated(framework="marathon", status=status("web.1"))
    events = [Event(by=THE_MASTER, to="marathon", fact=fact, at=Now(START + n)) for n in range(5)]
    rows = [
        HistoryRow(position=n + 1, subject=codec.subject("dc", event), body=codec.encode(event))
        for n, event in enumerate(events)
    ]

    def history(question):
        asked = msgspec.msgpack.decode(question, type=HistoryQuestion)
        assert (asked.noun, asked.id) == ("task", "web.1")
        return [each for each in rows if each.position > asked.after][:2]

    _, result = await play("history", "web.1", master={"history": history})
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["#1", "#2", "#3", "#4", "#5"]


async def test_a_task_that_only_the_store_remembers_is_told_by_its_whole_id():
    """It ended long ago, or was never launched: the master lists it no more, or not yet."""
    fact = TaskUpdated(framework="marathon", status=status("old.1"))
    event = Event(by=THE_MASTER, to="marathon", fact=fact, at=START)
    line = HistoryRow(position=1, subject=codec.subject("dc", event), body=codec.encode(event))

    def history(question):
        asked = msgspec.msgpack.decode(question, type=HistoryQuestion)
        return [line] if (asked.id, asked.after) == ("old.1", 0) else []

    def trace(question):
        task = msgspec.msgpack.decode(question)
        if task != "old.1":
            raise QueryRefused(f"no event in this store mentions task {task}")
        return Trace(task=task, rows=())

    store = {"history": history, "trace": trace}
    assert (await play("history", "old.1", master=store))[1].stdout.startswith("#1 ")
    assert (await play("trace", "old.1", master=store))[1].stdout.startswith("task  old.1\n")
    assert "no task's id begins with 'older'" in (await play("history", "older", master=store))[1].stderr
    assert "no event in this store mentions task older" in (await play("trace", "older", master=store))[1].stderr


async def test_trace_prints_the_steps_numbered_with_the_slowest_marked():
    """Position, time, since previous, author, addressee, type, words; a step that did not happen says why."""
    steps = (
        TraceRow(step=1, words="The client learns", position=7, at=START, by="client.u-a", type="scheduler.located"),
        TraceRow(step=2, words="The master offers", note="no offer was made"),
        TraceRow(step=3, words="declines", position=9, at=START, since_previous_us=2500, slowest=True, by="x"),
    )
    asked = []

    def trace(question):
        asked.append(msgspec.msgpack.decode(question))
        return Trace(task="web.1", rows=steps, trace="t-1")

    _, result = await play("trace", "web.1", master={"trace": trace})
    lines = result.stdout.splitlines()
    assert asked == ["web.1"]
    assert lines[:2] == ["task   web.1", "trace  t-1"]
    assert lines[4].split()[:2] == ["1", "#7"]
    assert lines[5].split(maxsplit=3)[:2] == ["2", "-"]
    assert lines[5].endswith("The master offers [no offer was made]")
    assert "2.5 ms  <- slowest" in lines[6]


class Files:
    """An agent that has one task's file, growing with each look."""

    def __init__(self, *looks):
        self.looks, self.asked = list(looks), []

    def __call__(self, question):
        asked = msgspec.msgpack.decode(question, type=LogQuestion)
        self.asked.append(asked)
        data, ended = self.looks[0]
        if len(self.looks) > 1:
            self.looks.pop(0)
        return LogPiece(data=data[asked.offset : asked.offset + 4], offset=asked.offset, size=len(data), ended=ended)


async def test_log_prints_the_file_byte_for_byte():
    """Piece by piece, also when the task has ended; stderr when asked."""
    files = Files((b"hello\xff\n", True))
    _, result = await play("log", "api", "--stderr", others=(agent("a1"), {"log": files}, None))
    assert result.stdout_bytes == b"hello\xff\n"
    assert {(asked.task, asked.file) for asked in files.asked} == {("api.1", "stderr")}


async def test_following_a_log_ends_with_the_task():
    """What is added is printed until nothing more can come."""
    files = Files((b"ab", False), (b"ab", False), (b"abcdefgh", False), (b"abcdefgh", True))
    _, result = await play("log", "web.1", "-f", others=(agent("a1"), {"log": files}, None))
    assert result.stdout == "abcdefgh"


async def test_a_log_for_programs_is_one_document():
    """Text, however broken."""
    _, result = await play("log", "api", "--json", others=(agent("a1"), {"log": Files((b"\xffhi", True))}, None))
    assert json.loads(result.stdout) == {"task": "api.1", "file": "stdout", "text": "�hi"}


async def test_a_log_that_was_collected_says_so():
    """What the agent says is the message."""

    def collected(_question):
        raise QueryRefused("the sandbox of task api.1 was collected")

    _, result = await play("log", "api", others=(agent("a1"), {"log": collected}, None))
    assert (result.exit_code, result.stderr) == (1, "error: the sandbox of task api.1 was collected\n")


async def test_a_log_without_its_agent_says_which_is_missing():
    """Exit code 1, not 3: the cluster is there."""
    _, result = await play("log", "api")
    assert (result.exit_code, result.stderr) == (1, "error: agent a1 is not running\nnext:  busbar status\n")


class Killing:
    """Marathon that passes a kill on, and a master that tells its end."""

    def __init__(self):
        self.heard, self.mouth = [], None

    def reply(self, event):
        if not isinstance(event.fact, KillRequested):
            return
        self.heard.append(event.fact)
        yield InstanceDismissed(app="/web", task=event.fact.task, reason="user request")
        for state in (TaskState.KILLING, TaskState.KILLED):
            told = TaskUpdated(framework="marathon", status=status(event.fact.task, state))
            self.mouth.say(THE_MASTER, told, "marathon")


async def test_kill_asks_the_tasks_scheduler_and_waits_for_the_end():
    """The grace travels along; what became of the task is told."""
    killing, mouth = Killing(), Mouth()
    killing.mouth = mouth
    async with (
        playing(mouth, THE_MASTER, {"tasks": tasks, "frameworks": [known("marathon")]}),
        playing(mouth, MARATHON, {}, killing.reply),
    ):
        result = await mouth("task", "kill", "web.1", "--grace-s", "7")
    assert (result.exit_code, result.stdout) == (0, "web.1: TASK_KILLED\n")
    assert killing.heard == [KillRequested(task="web.1", grace_s=7.0)]


async def test_an_ended_task_cannot_be_killed():
    """Nothing is asked."""
    mouth, result = await play("kill", "api")
    assert (result.exit_code, mouth.said()) == (1, [])
    assert "api.1 has ended already: TASK_FAILED exit 3" in result.stderr
