"""What an executor makes of what its checks find."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bus.events import TaskReported
from bus.nouns import Check, Probe, Reason, TaskId, TaskState, TaskStatus, is_news, second
from components.executor.sights import CheckFound, HealthSeen, TaskEnded, TaskStarted
from components.executor.state import ExecutorState
from tests.components.driver import Stage, only
from tests.components.executor.nouns import AGENT, delivered, killed, stage

T1 = TaskId("t1")
GOOD, BAD = HealthSeen(task=T1, healthy=True), HealthSeen(task=T1, healthy=False, message="HTTP 500")
CHECK = Check(probe=Probe.HTTP, port=8080, grace_s=10.0, failures_max=3)
RUNNING, KILLING, KILLED = TaskState.RUNNING, TaskState.KILLING, TaskState.KILLED
UPDATED = Reason.TASK_HEALTH_CHECK_STATUS_UPDATED
SIGKILLED = 9


def checked(check: Check = CHECK) -> Stage[ExecutorState]:
    played = stage()
    played.hear(AGENT, delivered(health=check))
    played.see(TaskStarted(task=T1, pid=71))
    return played


def told(events: list) -> list[tuple[TaskState, bool | None, int]]:
    return [(one.status.state, one.status.healthy, one.status.failures) for one in only(events, TaskReported)]


def test_a_change_and_each_failure_is_told_and_the_last_failure_is_the_end():
    """Mesos: an update on every change and on every unhealthy result; killed at the third in a row."""
    played = checked()
    assert told(played.see(GOOD)) == [(RUNNING, True, 0)]
    assert played.see(GOOD) == []
    assert told(played.see(BAD)) == [(RUNNING, False, 1)]
    assert told(played.see(BAD)) == [(RUNNING, False, 2)]
    assert told(played.see(GOOD)) == [(RUNNING, True, 0)]
    told_first = [told(played.see(BAD)) for _ in range(2)]
    assert told_first == [[(RUNNING, False, 1)], [(RUNNING, False, 2)]]
    events = played.see(BAD)
    assert told(events) == [(RUNNING, False, 3), (KILLING, False, 3)]
    assert played.state.tasks[T1].kill_at == played.now + 3 * second
    (end,) = only(played.see(TaskEnded(task=T1, wait_status=SIGKILLED)), TaskReported)
    assert (end.status.state, end.status.reason, end.status.healthy) == (KILLED, UPDATED, False)
    assert end.status.message == "Command terminated with signal SIGKILL; it was killed as unhealthy: HTTP 500"


def test_failures_within_the_grace_do_not_count_until_it_was_healthy():
    played = checked()
    assert played.see(BAD) == []
    played.advance(9.999)
    assert played.see(BAD) == []
    played.advance(0.001)
    assert told(played.see(BAD)) == [(RUNNING, False, 1)]


def test_the_grace_ends_with_the_first_success():
    played = checked()
    played.see(GOOD)
    assert told(played.see(BAD)) == [(RUNNING, False, 1)]


def test_no_failures_allowed_means_killed_at_the_first():
    """(Mesos: `consecutive_failures` 0)"""
    played = checked(replace(CHECK, failures_max=0, grace_s=0.0))
    assert told(played.see(BAD)) == [(RUNNING, False, 1), (KILLING, False, 1)]


def test_what_is_seen_of_a_task_that_is_killed_or_ended_is_old():
    played = checked()
    played.see(GOOD)
    played.hear(AGENT, killed())
    assert played.see(BAD) == []
    (end,) = only(played.see(TaskEnded(task=T1, wait_status=SIGKILLED)), TaskReported)
    assert (end.status.state, end.status.reason, end.status.healthy) == (KILLED, None, None)
    assert played.see(BAD) == played.see(GOOD) == []


def test_failures_in_a_row_are_known_after_a_restart():
    played = checked()
    for seen in (GOOD, BAD, BAD):
        played.see(seen)
    played.restart()
    assert told(played.see(BAD)) == [(RUNNING, False, 3), (KILLING, False, 3)]


def test_what_the_other_check_finds_is_told_when_it_changes_and_changes_no_health():
    """(Mesos: CheckInfo; an update only if the result changes)"""
    played = checked()
    assert played.see(CheckFound(task=T1, found=200)) == []
    played = stage()
    played.hear(AGENT, delivered(health=CHECK, check=CHECK))
    played.see(TaskStarted(task=T1, pid=71))
    played.see(GOOD)
    seen = []
    for found in (200, 200, 503, None, None, 200):
        for report in only(played.see(CheckFound(task=T1, found=found)), TaskReported):
            status = report.status
            seen.append(status.checked)
            assert (status.state, status.healthy, status.reason) == (RUNNING, True, Reason.TASK_CHECK_STATUS_UPDATED)
    assert seen == [200, 503, None, 200]
    (report,) = only(played.see(BAD), TaskReported)
    assert (report.status.checked, report.status.healthy) == (200, False)


class Model:
    """The rule in a few lines: what is told of a list of results, each so many seconds after the one before it."""

    def __init__(self, grace_s: int, failures_max: int) -> None:
        self.grace_s, self.failures_max = grace_s, failures_max
        self.age_s, self.failures, self.proven, self.dead = 0, 0, False, False

    def see(self, waited_s: int, healthy: bool) -> int:
        """The number of reports."""
        self.age_s += waited_s
        if self.dead or (not healthy and not self.proven and self.age_s < self.grace_s):
            return 0
        if healthy:
            news = not self.proven or self.failures > 0
            self.failures, self.proven = 0, True
            return int(news)
        self.failures += 1
        self.dead = self.failures >= self.failures_max
        return 1 + self.dead


@given(st.integers(0, 20), st.integers(0, 4), st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=25))
def test_any_results_are_told_by_the_rule_and_each_report_is_news(grace_s, failures_max, results):
    played = checked(replace(CHECK, grace_s=float(grace_s), failures_max=failures_max))
    model, status = Model(grace_s, failures_max), played.state.tasks[T1].status
    for waited_s, healthy in results:
        played.advance(waited_s)
        reports = only(played.see(GOOD if healthy else BAD), TaskReported)
        assert len(reports) == model.see(waited_s, healthy)
        for report in reports:
            assert is_news(status, report.status), f"{status} -> {report.status}"
            status = report.status
        assert (status.state is KILLING) == model.dead


def test_only_a_running_task_has_a_health_that_is_news():
    running = TaskStatus(task=T1, state=RUNNING, source="SOURCE_EXECUTOR")
    healthy, unhealthy = replace(running, healthy=True), replace(running, healthy=False, failures=1)
    assert is_news(running, healthy)
    assert is_news(healthy, unhealthy)
    assert is_news(unhealthy, replace(unhealthy, failures=2))
    assert not is_news(healthy, healthy)
    assert not is_news(unhealthy, unhealthy)
    assert not is_news(healthy, running)
    assert not is_news(replace(running, state=KILLING), replace(healthy, state=KILLING))
