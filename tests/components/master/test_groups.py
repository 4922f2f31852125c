"""A group is launched as a whole or not at all, and its executor is booked once, for as long as one of it holds."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.events import KillDirected, KillRequested, TaskLaunched, TaskUpdated
from bus.nouns import Reason, Resources, SharedVolume, Source, TaskGroup, TaskInfo, TaskState, parse_resources, total
from components.master.accepts import launches_max
from components.master.groups import group_tasks_max, portion, units
from tests.components.driver import only, types
from tests.components.master.datacenter import Datacenter, info, updates

NODE = "cpus:4;mem:4096;disk:1000;ports:[31000-31009]"
OVERHEAD = Resources(cpu_milli=100, mem_mb=32, disk_mb=10)
INVALID = (TaskState.ERROR, Reason.TASK_GROUP_INVALID)


def group(*tasks: str, name: str = "g", executor: Resources = OVERHEAD, **more: object) -> list[TaskInfo]:
    return [
        info(task, group=TaskGroup(id=name, index=index, size=len(tasks), executor=executor), **more)
        for index, task in enumerate(tasks)
    ]


@pytest.fixture
def dc():
    dc = Datacenter()
    dc.register("a1", NODE)
    dc.enroll("marathon")
    yield dc
    assert dc.rebuilt() == dc.hash()


def used(dc, agent="a1"):
    """What the tasks on an agent hold; the audit after every step compares the books with it."""
    return total(dc.state.tasks[name].amount for name in dc.state.agents[agent].task_ids)


# ---- all or nothing


def test_a_group_is_launched_as_one(dc):
    events = dc.launch("marathon", "a1", *group("t1", "t2", "t3"))
    assert types(events) == ["task.launched", "task.launched", "task.launched"]
    assert [event.last for event in events] == [False, False, True], "one decision: one batch"
    assert [bool(fact.recovered) for fact in only(events, TaskLaunched)] == [False, False, True]
    assert used(dc) == parse_resources("cpus:3.1;mem:416;disk:10")


def none_is_launched(dc, tasks, message):
    events = dc.launch("marathon", "a1", *tasks)
    assert [(state, reason) for _, state, reason in updates(events)] == [INVALID] * len(tasks)
    assert {fact.status.message for fact in only(events, TaskUpdated)} == {message}
    assert {fact.status.source for fact in only(events, TaskUpdated)} == {Source.MASTER}
    assert not only(events, TaskLaunched)
    assert used(dc).empty
    assert not dc.state.groups


def test_one_that_does_not_fit_keeps_all_from_being_launched(dc):
    """Three of four would, and four do without the executor."""
    tasks = group("t1", "t2", "t3", "t4")
    why = (
        "Task t4 is invalid: Total resources cpus:1; mem:128; disk:0 required by task is more than available"
        " cpus:0.9; mem:3680; disk:990; ports:[31000-31009]"
    )
    none_is_launched(dc, tasks, why)


def test_one_that_is_invalid_keeps_all_from_being_launched(dc):
    tasks = group("t1", "t2")
    tasks[1] = info("t2", resources="cpus:0", group=tasks[1].group)
    none_is_launched(dc, tasks, "Task t2 is invalid: Task uses no resources")


def test_two_of_a_group_cannot_have_one_port(dc):
    tasks = group("t1", "t2", resources="cpus:1;ports:[31000-31000]", executor=Resources())
    why = (
        "Task t2 is invalid: Total resources cpus:1; mem:0; disk:0; ports:[31000-31000] required by task is more than"
        " available cpus:3; mem:4096; disk:1000; ports:[31001-31009]"
    )
    none_is_launched(dc, tasks, why)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda tasks: tasks[:1], "Task group g has 1 tasks in a row in the accept: expected 2, at most 100"),
        (lambda tasks: tasks[::-1], "Task t2 is not number 0 of task group g as the others have it"),
        (lambda tasks: [tasks[0], tasks[0]], "Task t1 is not number 1 of task group g as the others have it"),
        (lambda _: group("t1", "t1"), "Task group g has a task twice"),
        (
            lambda _: group("t1", name="a/b"),
            "Task group ID 'a/b' is invalid: expected 1 to 255 of [A-Za-z0-9._-], not beginning with '.'",
        ),
        (
            lambda _: group("t1", executor=Resources(cpu_milli=-1)),
            "Task group g has an executor with invalid resources: cpus is -1: expected 0 to 1000000000000",
        ),
        (
            lambda _: group("t1", executor=Resources(ports=((31000, 31000),))),
            "Task group g has an executor with invalid resources: it has ports",
        ),
    ],
)
def test_what_is_no_group(dc, spoil, message):
    none_is_launched(dc, spoil(group("t1", "t2")), message)


def test_a_group_of_too_many(dc):
    tasks = group(*(f"t{n}" for n in range(group_tasks_max + 1)), resources="cpus:0.001")
    none_is_launched(dc, tasks, "Task group g has 101 tasks in a row in the accept: expected 101, at most 100")


def test_a_group_that_lives_is_not_launched_again(dc):
    dc.launch("marathon", "a1", *group("t1"), refuse_s=0)
    dc.pass_time(1)
    events = dc.launch("marathon", "a1", *group("t2"))
    assert only(events, TaskUpdated)[0].status.message == "Task group has duplicate ID: g"


def test_the_other_tasks_of_the_accept_are_launched_all_the_same(dc):
    tasks = [info("a"), *group("t1", "t2", "t3", "t4"), info("b"), *group("u1", name="h")]
    events = dc.launch("marathon", "a1", *tasks)
    assert [fact.task.task for fact in only(events, TaskLaunched)] == ["a", "b", "u1"]


def test_on_an_offer_that_is_gone_all_are_dropped(dc):
    (offer,) = dc.offers("marathon")
    dc.decline("marathon")
    events = dc.accept("marathon", [offer], *group("t1", "t2"))
    dropped = (TaskState.DROPPED, Reason.INVALID_OFFERS)
    assert [(state, reason) for _, state, reason in updates(events)] == [dropped, dropped]


def test_a_replayed_accept_drops_none_of_a_group(dc):
    (offer,) = dc.offers("marathon")
    dc.accept("marathon", [offer], *group("t1", "t2"))
    events = dc.accept("marathon", [offer], *group("t1", "t2"))
    assert [(state, reason) for _, state, reason in updates(events)] == [
        (TaskState.STAGING, Reason.RECONCILIATION),
        (TaskState.STAGING, Reason.RECONCILIATION),
    ]


@pytest.mark.parametrize(
    ("volumes", "message"),
    [
        (({"name": "a/b", "path": "x"},), "'a/b' at 'x': expected a name of 1 to 255 of [A-Za-z0-9._-], no dot first"),
        (({"name": "v", "path": "../x"},), "'v' at '../x': expected a path inside the sandbox"),
        (({"name": "v", "path": "/"},), "'v' at '/': the path has 0 characters"),
        (({"name": "v", "path": "stdout"},), "'v' at 'stdout': stdout in the sandbox is not the task's to name"),
        (({"name": "v", "path": "x"}, {"name": "w", "path": "x"}), "Task shares two volumes at one path"),
    ],
)
def test_what_is_no_shared_volume(dc, volumes, message):
    tasks = group("t1", volumes=tuple(SharedVolume(**volume) for volume in volumes))
    events = dc.launch("marathon", "a1", *tasks)
    assert message in only(events, TaskUpdated)[0].status.message
    assert not only(events, TaskLaunched)


# ---- a long accept


def test_no_cut_goes_through_a_group(dc):
    """An accept longer than a decision: each group is in one, and the books are as if it had not been cut."""
    dc.register("big", "cpus:1000;mem:100000")
    small = {"resources": "cpus:0.01", "agent": "big"}
    singles = [info(f"s{n}", **small) for n in range(launches_max - 3)]
    tasks = [*singles, *group("t1", "t2", "t3", "t4", executor=Resources(), **small), info("last", **small)]
    events = dc.accept("marathon", [dc.offer_of("marathon", "big")], *tasks)
    assert [fact.task for fact in only(events, TaskLaunched)] == tasks
    ends = [index for index, event in enumerate(events) if event.last]
    places = [i for i, e in enumerate(events) if isinstance(e.fact, TaskLaunched) and e.fact.task.group is not None]
    assert len({sum(place > end for end in ends) for place in places}) == 1, "the group is in one decision"
    assert len(ends) > 1


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(1, 12))
@settings(deadline=None)
def test_a_portion_is_whole_and_the_portions_are_all(sizes, most):
    """Whatever the sizes of groups (0: a task by itself), none is split that is not larger than a portion."""
    launch: list[TaskInfo] = []
    for n, size in enumerate(sizes):
        launch += group(*(f"t{n}-{k}" for k in range(size)), name=f"g{n}") if size else [info(f"t{n}")]
    rest, portions = launch, []
    while rest:
        portions.append(portion(rest, most))
        rest = rest[len(portions[-1]) :]
    assert [one for part in portions for one in part] == launch
    assert all(1 <= len(part) <= most for part in portions)
    split = [len(unit) for part in portions for unit in units(part) if unit[0].group and len(unit) < unit[0].group.size]
    assert all(size <= most for size in split)
    for part in portions:
        for unit in units(part):
            assert unit[0].group is None or len(unit) == unit[0].group.size or unit[0].group.size > most


# ---- the executor's share


def test_the_executor_is_booked_until_the_last_has_ended(dc):
    dc.launch("marathon", "a1", *group("t1", "t2"))
    dc.report("a1", "t1", TaskState.FINISHED)
    assert used(dc) == parse_resources("cpus:1.1;mem:160;disk:10")
    dc.report("a1", "t2", TaskState.FINISHED)
    assert used(dc).empty
    assert not dc.state.groups


def test_the_executor_goes_and_comes_back_with_its_agent(dc):
    dc.launch("marathon", "a1", *group("t1", "t2"))
    for name in ("t1", "t2"):
        dc.report("a1", name, TaskState.RUNNING)
    dc.lose("a1")
    assert used(dc).empty
    mark = next(event for event in reversed(dc.log) if event.type == "agent.marked")
    held = [dc.held("t2", TaskState.RUNNING), dc.held("t1", TaskState.RUNNING)]
    dc.register("a1", NODE, tasks=held, answers=mark.position)
    assert used(dc) == parse_resources("cpus:2.1;mem:288;disk:10")


def test_an_agent_that_comes_back_smaller_than_a_group_with_its_executor_is_refused(dc):
    dc.launch("marathon", "a1", *group("t1", "t2"))
    events = dc.register("a1", "cpus:2;mem:4096;disk:1000", tasks=[])
    assert types(events) == ["agent.refused"]


def test_a_kill_of_one_goes_to_its_agent_which_knows_the_rest(dc):
    dc.launch("marathon", "a1", *group("t1", "t2"))
    events = dc.kill("marathon", "t1")
    assert [fact.task for fact in only(events, KillDirected)] == ["t1"]


def test_a_kill_of_the_group_goes_to_all_that_live(dc):
    """Whichever of its tasks is named, even one that has ended."""
    dc.launch("marathon", "a1", *group("t1", "t2", "t3"))
    dc.report("a1", "t1", TaskState.FINISHED)
    for named in ("t1", "t2"):
        events = dc.say("marathon", KillRequested(task=named, group=True))
        assert [(fact.task, fact.grace_s) for fact in only(events, KillDirected)] == [("t2", None), ("t3", None)]
    for name in ("t2", "t3"):
        dc.report("a1", name, TaskState.KILLED)
    events = dc.say("marathon", KillRequested(task="t1", group=True))
    assert updates(events) == [("t1", TaskState.FINISHED, Reason.RECONCILIATION)]


STATES = (TaskState.RUNNING, TaskState.FINISHED, TaskState.FAILED, TaskState.KILLED)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_the_books_balance_whatever_becomes_of_groups(data):
    """Groups are launched, end task by task, are lost and come back, lose their framework: every amount is somewhere.

    (`Datacenter.tell` audits all books after every step; that an audit can fail is shown by `test_properties`)
    """
    dc = Datacenter()
    dc.register("a1", NODE)
    dc.enroll("marathon")
    for step in range(data.draw(st.integers(5, 25))):
        kind = data.draw(st.sampled_from(["launch", "launch", "report", "report", "report", "lose", "back", "leave"]))
        live = sorted(dc.state.tasks)
        active = dc.state.agents["a1"].active
        if kind == "launch" and dc.offers("marathon"):
            size = data.draw(st.integers(1, 3))
            tasks = group(*(f"t{step}-{k}" for k in range(size)), name=f"g{step}", resources="cpus:0.5;mem:64")
            dc.accept("marathon", dc.offers("marathon"), *tasks, refuse_s=0)
        elif kind == "report" and live and active:
            dc.report("a1", data.draw(st.sampled_from(live)), data.draw(st.sampled_from(STATES)))
        elif kind == "lose" and active:
            dc.lose("a1")
        elif kind == "back" and not active:
            mark = next(event for event in reversed(dc.log) if event.type == "agent.marked")
            held = data.draw(st.lists(st.sampled_from(live), unique=True)) if live else []
            dc.register("a1", NODE, tasks=[dc.held(n, TaskState.RUNNING) for n in held], answers=mark.position)
        elif kind == "leave" and data.draw(st.booleans()):
            dc.silence("marathon")
            dc.pass_time(604_801)
            dc.enroll("marathon")
        dc.pass_time(1)
    if dc.state.agents["a1"].active:
        for name in sorted(dc.state.tasks):
            dc.report("a1", name, TaskState.KILLED)
        assert used(dc).empty
        assert not dc.state.groups
    assert dc.rebuilt() == dc.hash()
