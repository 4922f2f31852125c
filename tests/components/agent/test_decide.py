"""What an agent makes of what it hears, one rule at a time."""

from __future__ import annotations

import msgspec
import pytest

from bus.codec import encode
from bus.events import (
    AgentAdmitted,
    AgentRefused,
    AgentRegistered,
    KillDelivered,
    KillDirected,
    RegistrationNoted,
    RequestRefused,
    SandboxCollected,
    TaskDelivered,
    TaskReported,
)
from bus.nouns import AgentId, AppId, Command, Position, Refusal, Resources, Source, TaskId, TaskState, second
from bus.services import AppRemoved, RemovalRequested
from bus.subjects import Author, Kind
from components.agent import component
from components.agent.decide import ResourcesDetected, held_bytes_max
from components.agent.state import slim
from components.places import sandbox_name
from tests.components.agent.play import (
    EIGHT,
    EXECUTOR,
    MASTER,
    config,
    gone,
    info,
    launched,
    marked,
    reports,
    runs,
    stage,
    status,
)
from tests.components.driver import Stage, only, types

S = TaskState
WEEK_S = 604_800
ADMITTED = AgentAdmitted(agent=AgentId("a1"), hostname="n1.example", resources=EIGHT)


def refused(reason: Refusal) -> AgentRefused:
    return AgentRefused(agent=AgentId("a1"), reason=reason, message="tasks hold 900 cpu_milli, registered are 500")


# ---- registering -------------------------------------------------------------------------------------------------


def test_each_term_begins_with_a_registration():
    """It says what the agent has and every task that lives, without commands; ended ones the master knows."""
    acting = stage()
    runs(acting, "t1")
    runs(acting, "t2")
    reports(acting, "t2", S.FINISHED)
    acting.restart()
    (event,) = acting.settle()
    fact = event.fact
    assert isinstance(fact, AgentRegistered)
    assert (event.to, fact.hostname, fact.resources, fact.attributes) == ("main", "n1.example", EIGHT, {"rack": "r1"})
    assert [(held.info, held.status.state) for held in fact.tasks] == [(slim(info("t1")), S.RUNNING)]
    assert fact.answers is None
    assert fact.tasks[0].info.command == Command()


def test_a_registration_leaves_out_what_only_the_executor_needs():
    """The rest of a description can be large: command, environment, labels; the master has it."""
    acting = stage()
    ports = {"resources": Resources(cpu_milli=1, ports=((31000, 31000),)), "ports": (31000,), "hostname": "n1.example"}
    acting.hear(MASTER, launched("t1", labels={"a": "b"}, app="/t", **ports))
    held = only(acting.hear(MASTER, marked(0)), AgentRegistered)[0].tasks[0].info
    assert (held.command, held.labels, held.hostname, held.ports) == (Command(), {}, "", ())
    assert (held.task, held.app, held.framework, held.resources) == ("t1", "/t", "marathon", ports["resources"])


def test_detected_resources_are_registered_once_they_are_seen():
    """Without resources in the configuration the hands look for them; the same found again is old."""
    acting = stage(resources=None)
    assert acting.component.wake_at(acting.state) is None
    assert only(acting.see(ResourcesDetected(resources=EIGHT)), AgentRegistered)[0].resources == EIGHT
    assert acting.see(ResourcesDetected(resources=EIGHT)) == []
    more = msgspec.structs.replace(EIGHT, cpu_milli=16000)
    assert only(acting.see(ResourcesDetected(resources=more)), AgentRegistered)[0].resources == more


def test_configured_resources_are_never_replaced_by_detected_ones():
    """What the operator gives is what is shared out."""
    acting = stage()
    assert acting.see(ResourcesDetected(resources=Resources(cpu_milli=1))) == []


def test_a_mark_is_answered_with_what_the_master_has_not_acted_on():
    """Every live task, and of the ended ones those whose report comes after what the master acted on."""
    acting = stage()
    for task in ("t1", "t2", "t3"):
        runs(acting, task)
    reports(acting, "t1", S.FINISHED)
    acted_n = acting.state.n
    reports(acting, "t2", S.FAILED, exit_status=3, message="Command exited with status 3")
    (event,) = acting.hear(MASTER, marked(acted_n))
    fact = event.fact
    assert isinstance(fact, AgentRegistered)
    assert fact.answers == event.cause == acting.position - 1
    assert [(held.info.task, held.status.state) for held in fact.tasks] == [("t3", S.RUNNING), ("t2", S.FAILED)]
    assert fact.tasks[1].status.exit_status == 3


def test_the_report_the_master_acted_on_last_is_not_told_again():
    """`acted_n` itself was acted on."""
    acting = stage()
    runs(acting, "t1")
    reports(acting, "t1", S.FINISHED)
    n = acting.state.n
    assert only(acting.hear(MASTER, marked(n)), AgentRegistered)[0].tasks == ()
    assert len(only(acting.hear(MASTER, marked(n - 1)), AgentRegistered)[0].tasks) == 1


def test_a_mark_heard_while_resources_are_looked_for_is_answered_at_once():
    """The mark comes once only; the last term's resources answer it, the new ones follow."""
    acting = stage(resources=None)
    acting.see(ResourcesDetected(resources=EIGHT))
    acting.restart()
    assert only(acting.hear(MASTER, marked(0)), AgentRegistered)[0].resources == EIGHT
    more = msgspec.structs.replace(EIGHT, cpu_milli=16000)
    assert only(acting.see(ResourcesDetected(resources=more)), AgentRegistered)[0].answers is None


def test_a_mark_before_the_first_registration_is_none():
    """Only who has registered can be marked; there is nothing to answer with, and nothing breaks."""
    assert stage(resources=None).hear(MASTER, marked(0)) == []


def test_admission_and_refusal_are_noted_once():
    """What the master answered is in the agent's state, and in its log only where it is news."""
    acting = stage()
    assert only(acting.hear(MASTER, ADMITTED), RegistrationNoted) == [RegistrationNoted()]
    assert acting.hear(MASTER, ADMITTED) == []
    noted = RegistrationNoted(reason=Refusal.ID_TAKEN, message=refused(Refusal.ID_TAKEN).message)
    assert only(acting.hear(MASTER, refused(Refusal.ID_TAKEN)), RegistrationNoted) == [noted]
    assert acting.hear(MASTER, refused(Refusal.ID_TAKEN)) == []
    assert acting.state.verdict == noted


def test_who_was_refused_for_what_its_tasks_hold_tries_again_when_one_ends():
    """Only an end can change that verdict; while the answer is awaited no further end asks again."""
    acting = stage()
    for task in ("t1", "t2", "t3"):
        runs(acting, task)
    acting.hear(MASTER, refused(Refusal.BELOW_HELD))
    assert types(reports(acting, "t1", S.KILLING)) == ["task.reported"]
    assert types(reports(acting, "t1", S.FINISHED)) == ["task.reported", "agent.registered"]
    assert types(reports(acting, "t2", S.FINISHED)) == ["task.reported"]
    acting.hear(MASTER, refused(Refusal.ID_TAKEN))
    assert types(reports(acting, "t3", S.FINISHED)) == ["task.reported"]


def test_a_registration_fits_into_one_event_however_many_tasks_ended():
    """The newest ends are told, as many as fit; the master learns that the others are gone."""
    acting = stage(ended_max=5000)
    for k in range(1600):
        task = f"batch.{k:060}"
        acting.hear(MASTER, launched(task))
        reports(acting, task, S.FAILED, message="x" * 1000)
    (event,) = acting.hear(MASTER, marked(0))
    assert held_bytes_max * 0.95 < len(encode(event)) < held_bytes_max * 1.05
    assert event.fact.tasks[-1].info.task == f"batch.{1599:060}"  # type: ignore[attr-defined]


# ---- launching ---------------------------------------------------------------------------------------------------


def test_a_launched_task_is_handed_to_the_executor():
    """Step 8: the whole description, the sandbox to use, the trace of the client's command."""
    acting = stage()
    (event,) = acting.hear(MASTER, launched("t1"), trace="trace-t1")
    assert (event.to, event.trace, event.cause) == ("a1-cmd", "trace-t1", acting.position - 1)
    start_by = acting.now + 60 * second
    assert event.fact == TaskDelivered(
        task=info("t1"), executor="a1-cmd", sandbox="/w/a1/sandboxes/t1", start_by=start_by
    )


def test_a_live_task_launched_again_yields_nothing():
    """One id, one process."""
    acting = stage()
    runs(acting, "t1")
    assert acting.hear(MASTER, launched("t1")) == []


def test_an_id_whose_files_are_kept_cannot_be_used_again():
    """The second launch is answered, so that the master does not wait for ever; the first end stays as it was."""
    acting = stage()
    runs(acting, "t1")
    reports(acting, "t1", S.FINISHED)
    (report,) = only(acting.hear(MASTER, launched("t1")), TaskReported)
    assert (report.status.state, report.status.source) == (S.DROPPED, Source.AGENT)
    assert acting.state.ended[TaskId("t1")].status.state is S.FINISHED
    acting.advance(WEEK_S)
    assert only(acting.hear(MASTER, launched("t1")), TaskReported)[0].status.state is S.DROPPED


def test_a_task_that_would_not_fit_into_a_registration_is_dropped():
    """An agent holds as many tasks as it can tell the master about in one event."""
    acting = stage()
    said = [acting.hear(MASTER, launched(f"batch.{k:060}"))[0] for k in range(1600)]
    full = next(k for k, event in enumerate(said) if isinstance(event.fact, TaskReported))
    assert full > 800
    assert only(said, TaskReported)[0].status.state is S.DROPPED
    assert f"a1 has {full} tasks" in only(said, TaskReported)[0].status.message
    acting.restart()
    (event,) = acting.settle()
    assert len(encode(event)) < held_bytes_max
    reports(acting, f"batch.{0:060}", S.FINISHED)
    assert types(acting.hear(MASTER, launched("late"))) == ["task.delivered"]


def test_a_description_too_large_to_be_handed_on_is_an_error():
    """It would not fit into one event; nothing that is sent stops the agent."""
    acting = stage()
    (event,) = acting.hear(MASTER, launched("t1", command=Command(shell="x", env={"A": "b" * 512_000})))
    assert isinstance(event.fact, TaskReported)
    assert (event.fact.status.state, event.fact.status.reason) == (S.ERROR, "REASON_TASK_INVALID")


def test_only_the_master_is_obeyed():
    """A framework, another agent or an executor cannot launch, kill or mark here."""
    acting = stage()
    runs(acting, "t1")
    for kind, name in (
        (Kind.FRAMEWORK, "marathon"),
        (Kind.AGENT, "a2"),
        (Kind.EXECUTOR, "a1-cmd"),
        (Kind.MASTER, "m2"),
    ):
        for fact in (launched("t2"), KillDirected(task=TaskId("t1")), marked(0), ADMITTED):
            assert acting.hear(Author(kind, name), fact) == []


def test_a_request_is_refused():
    """Whoever asks something of an agent gets an answer."""
    acting = stage()
    (event,) = acting.hear(Author(Kind.CLIENT, "u-eve"), RemovalRequested(app=AppId("/a")), request="q1")
    assert (event.to, event.request) == ("u-eve", "q1")
    assert only([event], RequestRefused)[0].reason is Refusal.INVALID
    assert acting.hear(MASTER, AppRemoved(app=AppId("/a"))) == []


# ---- sandbox names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["web.7f3a", "job_20260101-A", "0", "a" * 120])
def test_a_plain_id_is_the_name_of_its_sandbox(task: str):
    assert sandbox_name(TaskId(task)) == task


@pytest.mark.parametrize("task", ["", ".", "..", "../x", "/etc", "a/b", "_a", "-rf", "a\x00", "ü", "a\n", "a" * 121])
def test_any_other_id_is_hashed(task: str):
    """No name leads out of the directory, is hidden or too long, or can be mistaken for a plain one."""
    name = sandbox_name(TaskId(task))
    assert name.startswith("_")
    assert len(name) == 65
    assert name[1:].isalnum()


# ---- killing -----------------------------------------------------------------------------------------------------


def test_a_kill_is_handed_to_the_executor_each_time():
    """A second kill can shorten the grace."""
    acting = stage()
    runs(acting, "t1")
    for grace_s in (None, 1.5, 0.0):
        (event,) = acting.hear(MASTER, KillDirected(task=TaskId("t1"), grace_s=grace_s))
        assert (event.to, event.fact) == ("a1-cmd", KillDelivered(task=TaskId("t1"), grace_s=grace_s))


def test_a_kill_of_an_ended_task_is_answered_with_its_end():
    """The master passes over what it knows; the state does not change."""
    acting = stage()
    runs(acting, "t1")
    reports(acting, "t1", S.FINISHED)
    before = acting.state.ended[TaskId("t1")].reported_n
    (event,) = acting.hear(MASTER, KillDirected(task=TaskId("t1")))
    assert event.fact == TaskReported(status=status("t1", S.FINISHED))
    assert acting.state.ended[TaskId("t1")].reported_n == before


def test_a_kill_of_an_unknown_task_tells_the_master_that_it_is_gone():
    acting = stage()
    (event,) = acting.hear(MASTER, KillDirected(task=TaskId("t9")))
    assert (event.to, event.fact) == ("main", TaskReported(status=gone("t9", "a1 has no such task")))
    runs(acting, "t1")
    reports(acting, "t1", S.FINISHED)
    acting.advance(WEEK_S)
    (event,) = acting.hear(MASTER, KillDirected(task=TaskId("t1")))
    assert event.fact == TaskReported(status=gone("t1", "a1 has collected it"))


# ---- reports -----------------------------------------------------------------------------------------------------


def test_a_report_goes_to_the_master_as_the_executor_said_it():
    """Steps 9 and 10: the status unchanged, under the trace of the command that launched the task."""
    acting = stage()
    acting.hear(MASTER, launched("t1"))
    said = status("t1", S.RUNNING, message="pid 12")
    (event,) = acting.hear(EXECUTOR, TaskReported(status=said))
    assert (event.to, event.trace, event.fact) == ("main", "trace-t1", TaskReported(status=said))


def test_reports_that_are_no_news_are_passed_over():
    """The same again, a step back, anything after the end, what is not an executor's to say, an unknown task."""
    acting = stage()
    runs(acting, "t1")
    assert reports(acting, "t1", S.RUNNING, S.STARTING, S.STAGING, S.UNREACHABLE, S.UNKNOWN) == []
    reports(acting, "t1", S.KILLED)
    assert reports(acting, "t1", *TaskState) == []
    assert reports(acting, "t9", *TaskState) == []


def test_an_end_is_an_end():
    """An error after the start is not in the table; the task ended all the same, and must not hang."""
    acting = stage()
    runs(acting, "t1")
    (event,) = reports(acting, "t1", S.ERROR, message="disk quota")
    assert isinstance(event.fact, TaskReported)
    assert event.fact.status.state is S.FAILED
    assert event.fact.status.message == "TASK_ERROR after TASK_RUNNING: disk quota"


def test_only_the_own_executor_is_believed():
    acting = stage()
    runs(acting, "t1")
    end = TaskReported(status=status("t1", S.FINISHED))
    for kind, name in ((Kind.EXECUTOR, "a2-cmd"), (Kind.AGENT, "a2"), (Kind.CLIENT, "u-eve"), (Kind.MASTER, "main")):
        assert acting.hear(Author(kind, name), end) == []
    assert types(acting.hear(EXECUTOR, end)) == ["task.reported"]


def test_a_long_message_is_cut():
    """What an executor says fits into the agent's event, whatever its length."""
    acting = stage()
    acting.hear(MASTER, launched("t1"))
    (event,) = reports(acting, "t1", S.FAILED, message="x" * 500_000)
    assert len(encode(event)) < 5000


# ---- sandboxes ---------------------------------------------------------------------------------------------------


def test_a_sandbox_is_collected_when_its_time_is_over():
    """A week after the end, not before, and each one once."""
    acting = stage()
    for task in ("t1", "t2"):
        runs(acting, task)
        reports(acting, task, S.FINISHED)
        acting.advance(60)
    assert acting.advance(WEEK_S - 121) == []
    (event,) = acting.advance(1)
    assert (event.to, event.fact) == ("_", SandboxCollected(task=TaskId("t1")))
    assert only(acting.advance(2 * WEEK_S), SandboxCollected) == [SandboxCollected(task=TaskId("t2"))]


def test_the_oldest_sandboxes_go_when_there_are_too_many():
    """The disk is bounded; the newest ends stay, which a mark may ask for."""
    acting = stage(ended_max=2)
    for task in ("t1", "t2", "t3"):
        runs(acting, task)
        reports(acting, task, S.FINISHED)
    assert only(acting.settle(), SandboxCollected) == [SandboxCollected(task=TaskId("t1"))]
    assert list(acting.state.ended) == ["t2", "t3"]


def test_many_due_sandboxes_are_collected_in_several_decisions():
    acting = stage(ended_max=2000)
    for k in range(1200):
        acting.hear(MASTER, launched(f"t{k}"))
        reports(acting, f"t{k}", S.FINISHED)
    acting.now = type(acting.now)(acting.now + WEEK_S * 1_000_000)
    assert len(acting.wake()) == 500
    assert len(acting.settle()) == 700
    assert len(acting.state.collected) == 1000


def test_the_state_is_the_log_under_any_configuration():
    """A reader of the log needs to know nothing of how the agent was run."""
    acting = stage()
    runs(acting, "t1")
    reports(acting, "t1", S.FINISHED)
    acting.advance(WEEK_S)
    reader = Stage(component(config(sandbox_gc_s=1.0, resources=None, hostname="elsewhere")))
    reader.log = acting.log
    assert reader.rebuilt() == acting.hash()


def test_heard_twice_is_decided_twice_without_harm():
    """What led to no event is heard again after a crash."""
    acting = stage()
    runs(acting, "t1")
    again = acting.said(EXECUTOR, TaskReported(status=status("t1", S.RUNNING)))
    assert acting.hear_event(again) == acting.hear_event(again) == []
    assert acting.state.heard < Position(again.position)
