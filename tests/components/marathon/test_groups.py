"""Groups: a tree changed as a whole, by one deployment, and back again; versions; what would happen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from bus.app_rows import DeploymentRow, GroupRow, GroupsQuestion, PlanQuestion, PlanRow, VersionRow, VersionsQuestion
from bus.documents import AppSpec, GroupSpec, Rollout
from bus.events import Event, Fact, RequestRefused
from bus.nouns import AppId, Refusal
from bus.plans import Deed, GroupTraits
from bus.queries import QueryRefused
from bus.services import (
    AppRequested,
    AppSpecified,
    DeploymentEnded,
    DeploymentStarted,
    GroupRequested,
    GroupsSpecified,
    RemovalRequested,
    RestartRequested,
    RollbackRequested,
    ScaleRequested,
)
from components.marathon.planning import changed_max
from components.marathon.steps import versions_kept_max
from tests.components.driver import only
from tests.components.marathon.play import KILLED, Play, spec
from tests.components.marathon.test_deployments import actions, ended, named, refusal, run_all

SHOP = AppId("/shop")


def group(name: str, *apps: Any, **fields: Any) -> GroupSpec:
    return GroupSpec(id=AppId(name), apps=tuple(apps), **fields)


def put(play: Play, tree: GroupSpec, **fields: Any) -> list[Event]:
    return play.ask(GroupRequested(group=tree, update=True, **fields))


def shop(play: Play) -> list[Event]:
    """A web server that needs a database that needs nothing, all up."""
    tree = GroupSpec(
        id=SHOP,
        groups=(
            group("/shop/front", spec("/shop/front/web", instances=2), dependencies=("/shop/back",)),
            group("/shop/back", spec("/shop/back/db")),
        ),
    )
    events = put(play, tree)
    run_all(play)
    assert play.state.deployments == {}
    return events


def asked(play: Play, query: str, question: Any) -> Any:
    return play.component.queries[query](play.state, msgspec.msgpack.encode(question), play.now)


def tree_of(play: Play, name: str = "/", version: str | None = None) -> GroupRow:
    row = asked(play, "groups", GroupsQuestion(group=AppId(name), version=version))
    assert isinstance(row, GroupRow)
    return row


def planned(play: Play, fact: Fact) -> PlanRow:
    row = asked(play, "plan", PlanQuestion(type=fact.type, fields=msgspec.to_builtins(fact)))
    assert isinstance(row, PlanRow)
    return row


def ids(row: GroupRow) -> list[str]:
    """Everything in a group, in order."""
    own = [one.app.id for one in row.apps if one.app is not None]
    return own + [name for inner in row.groups for name in (inner.group, *ids(inner))]


# ---- a whole tree ------------------------------------------------------------------------------------------------


def test_a_tree_is_one_deployment_in_the_order_of_its_dependencies():
    play = Play()
    events = shop(play)
    assert actions(events) == [
        ["StartApplication /shop/front/web", "StartApplication /shop/back/db"],
        ["ScaleApplication /shop/back/db"],
        ["ScaleApplication /shop/front/web"],
    ]
    assert only(events, DeploymentStarted)[0].group == SHOP
    assert ids(tree_of(play)) == ["/shop", "/shop/back", "/shop/back/db", "/shop/front", "/shop/front/web"]


def test_what_is_not_named_is_removed_and_what_is_not_given_stays():
    play = Play()
    shop(play)
    events = put(play, GroupSpec(id=SHOP, groups=(group("/shop/front", spec("/shop/front/new")),)))
    assert actions(events) == [
        ["StopApplication /shop/back/db", "StopApplication /shop/front/web"],
        ["StartApplication /shop/front/new"],
        ["ScaleApplication /shop/front/new"],
    ]
    run_all(play)
    assert ids(tree_of(play)) == ["/shop", "/shop/front", "/shop/front/new"]
    put(play, GroupSpec(id=SHOP, dependencies=("/elsewhere",)))
    assert ids(tree_of(play)) == ["/shop", "/shop/front", "/shop/front/new"]
    assert play.state.groups[SHOP] == GroupTraits(group=SHOP, dependencies=("/elsewhere",))


def test_only_what_differs_is_done():
    play = Play()
    shop(play)
    tree = group("/shop/front", spec("/shop/front/web", instances=5), spec("/shop/front/b", instances=0))
    events = put(play, tree)
    assert actions(events) == [
        ["StartApplication /shop/front/b"],
        ["ScaleApplication /shop/front/web", "ScaleApplication /shop/front/b"],
    ]
    assert [fact.app.id for fact in only(events, AppSpecified)] == ["/shop/front/b", "/shop/front/web"]


def test_an_empty_group_is_there_until_it_is_removed():
    play = Play()
    put(play, group("/empty"))
    assert ids(tree_of(play)) == ["/empty"]
    refused = refusal(play.ask(GroupRequested(group=group("/empty"))))
    assert (refused.reason, refused.message) == (
        Refusal.ALREADY_EXISTS,
        "group /empty already exists: ask for an update of it",
    )
    play.ask(RemovalRequested(group=AppId("/empty")))
    assert ids(tree_of(play)) == []


def test_a_group_is_removed_with_all_that_is_in_it():
    play = Play()
    shop(play)
    events = play.ask(RemovalRequested(group=SHOP))
    assert only(events, GroupsSpecified)[0].removed == ("/shop", "/shop/front", "/shop/back")
    run_all(play)
    assert (play.state.apps, play.state.groups, play.state.deployments) == ({}, {}, {})


def test_a_group_is_scaled_and_restarted_as_a_whole():
    """Rounded up. Marathon: scaleBy."""
    play = Play()
    shop(play)
    events = play.ask(ScaleRequested(group=SHOP, factor=1.5))
    assert {fact.app.id: fact.app.instances for fact in only(events, AppSpecified)} == {
        "/shop/front/web": 3,
        "/shop/back/db": 2,
    }
    run_all(play)
    events = put(play, GroupSpec(id=SHOP, scale_by=2))
    assert {fact.app.instances for fact in only(events, AppSpecified)} == {4, 6}
    run_all(play)
    events = play.ask(RestartRequested(group=AppId("/shop/front")))
    assert actions(events) == [["RestartApplication /shop/front/web"]]


@pytest.mark.parametrize(
    "fact",
    [
        ScaleRequested(group=AppId("/nowhere"), factor=2),
        RestartRequested(group=AppId("/nowhere")),
        RemovalRequested(group=AppId("/nowhere")),
    ],
)
def test_a_group_that_is_not_there_cannot_be_changed(fact):
    refused = refusal(Play().ask(fact))
    assert (refused.reason, refused.message) == (Refusal.NOT_FOUND, "group /nowhere does not exist")


def test_groups_that_wait_for_each_other_are_refused():
    """Also when only one of them is changed."""
    play = Play()
    shop(play)
    events = put(play, group("/shop/back", spec("/shop/back/db", mem=64), dependencies=("/shop/front",)))
    assert "in a circle: " in refusal(events).message
    assert play.state.apps[AppId("/shop/back/db")].latest.spec.resources.mem_mb == 128


def test_nothing_is_half_applied():
    """One wrong app of many, and none is changed."""
    play = Play()
    events = put(
        play, group("/g", spec("/g/a"), spec("/g/b", secrets={"key": {"source": "none"}}, env={"A": {"secret": "key"}}))
    )
    assert refusal(events).reason is Refusal.INVALID
    assert play.state.apps == {}
    assert play.state.groups == {}


def test_one_deployment_changes_only_so_many():
    apps = [spec(f"/g/a{index}", instances=0) for index in range(changed_max + 1)]
    refused = refusal(put(Play(), group("/g", *apps)))
    assert refused.message.startswith(f"it changes {changed_max + 1} apps, at most {changed_max} are allowed")
    play = Play()
    events = put(play, group("/g", *apps[1:]))
    assert ended(events + play.settle())
    assert len(play.state.apps) == changed_max


def test_one_deployment_changes_only_so_much():
    """Each app is said in one event; all of them are said in one decision."""
    play = Play()
    for index in range(36):
        play.add(f"/g/a{index}", instances=0, labels={f"l{k}": "x" * 4000 for k in range(31)})
    refused = refusal(play.ask(RestartRequested(group=AppId("/g"))))
    assert refused.reason is Refusal.INVALID
    assert refused.message.endswith("at most 4194304 are allowed in one deployment: change fewer")


def test_a_deployment_that_cannot_be_undone_only_fails():
    """Going back would make a circle by now."""
    play = Play()
    play.up("/a", dependencies=("/b",))
    back = Rollout(progress_deadline_seconds=60, auto_rollback=True)
    play.ask(AppRequested(app=spec("/a", cmd="true", rollout=back), update=True))
    play.ask(AppRequested(app=spec("/b", dependencies=("/a",), instances=0)))
    (fact,) = only(play.advance(60), DeploymentEnded)
    assert fact.message.endswith(
        "it is not undone: apps depend on each other in a circle: /a -> /b -> /a - at `$.dependencies`"
    )
    assert play.state.deployments == {}


def test_the_state_is_read_as_it_was_written():
    """As snapshots do it: also in the middle of deployments."""
    play = Play()
    shop(play)
    play.ask(RestartRequested(group=SHOP))
    state = replace(play.state, answers={})
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=type(state)) == state


def test_who_holds_one_app_holds_the_group():
    play = Play()
    shop(play)
    holder = named(play.ask(ScaleRequested(app=AppId("/shop/back/db"), instances=2)))
    refused = refusal(play.ask(ScaleRequested(group=SHOP, factor=2)))
    assert (refused.reason, refused.held_by) == (Refusal.LOCKED, (holder,))


# ---- versions ----------------------------------------------------------------------------------------------------


def test_a_group_goes_back_to_a_version():
    """What was new is removed, what was removed is there again, what was changed is as it was."""
    play = Play()
    first = only(shop(play), DeploymentStarted)[0].deployment_version
    put(
        play,
        GroupSpec(id=SHOP, groups=(group("/shop/front", spec("/shop/front/web", cmd="true"), spec("/shop/front/x")),)),
    )
    run_all(play)
    second = play.state.version
    assert [row.version for row in asked(play, "versions", VersionsQuestion(group=SHOP))] == [second, first]
    assert ids(tree_of(play, "/shop", first)) == ["/shop/back", "/shop/back/db", "/shop/front", "/shop/front/web"]
    events = play.ask(RollbackRequested(group=SHOP, to_version=first))
    assert {one for step in actions(events) for one in step} == {
        "StopApplication /shop/front/x",
        "StartApplication /shop/back/db",
        "ScaleApplication /shop/back/db",
        "RestartApplication /shop/front/web",
    }
    run_all(play)
    assert ids(tree_of(play, "/shop")) == ids(tree_of(play, "/shop", first))
    assert play.state.groups[AppId("/shop/front")].dependencies == ("/shop/back",)


def test_a_version_that_is_not_known_is_refused():
    play = Play()
    shop(play)
    unknown = "2020-01-01T00:00:00.000Z"
    refused = refusal(play.ask(RollbackRequested(group=SHOP, to_version=unknown)))
    assert (refused.reason, refused.message) == (Refusal.NOT_FOUND, f"group /shop has no version {unknown}")
    with pytest.raises(QueryRefused, match="group /shop has no version"):
        tree_of(play, "/shop", unknown)
    with pytest.raises(QueryRefused, match="group /nowhere does not exist"):
        tree_of(play, "/nowhere")


def test_the_versions_of_an_app_are_listed_newest_first():
    play = Play()
    play.up()
    for index in range(versions_kept_max + 5):
        play.ask(AppRequested(app=spec(instances=0, env={"V": str(index)}), update=True))
        run_all(play)
    rows: list[VersionRow] = asked(play, "versions", VersionsQuestion(app=AppId("/web")))
    assert len(rows) == versions_kept_max
    assert [row.version for row in rows] == sorted((row.version for row in rows), reverse=True)
    assert rows[0].app is not None
    assert rows[0].app.env == {"V": str(versions_kept_max + 4)}
    with pytest.raises(QueryRefused, match="app /x does not exist"):
        asked(play, "versions", VersionsQuestion(app=AppId("/x")))


# ---- what would happen -------------------------------------------------------------------------------------------


def test_a_plan_is_what_is_done_and_changes_nothing():
    play = Play()
    shop(play)
    before = play.hash()
    fact = GroupRequested(group=group("/shop/front", spec("/shop/front/web", cmd="true")), update=True)
    row = planned(play, fact)
    assert play.hash() == before
    (change,) = row.changes
    assert change.id == "/shop/front/web"
    assert change.app_before is not None
    assert change.app_after is not None
    assert (change.app_before.cmd, change.app_after.cmd) == ("sleep 1000", "true")
    assert row.plan == only(play.ask(fact), DeploymentStarted)[0].plan


def test_a_plan_says_why_not():
    play = Play()
    holder = named(play.add())
    row = planned(play, ScaleRequested(app=AppId("/web"), instances=3))
    assert (row.refused, row.held_by) == (Refusal.LOCKED, (holder,))
    assert planned(play, ScaleRequested(app=AppId("/web"), instances=3, force=True)).cancels == (holder,)
    assert planned(play, RestartRequested(app=AppId("/x"))).refused is Refusal.NOT_FOUND
    with pytest.raises(QueryRefused, match="there is no request nonsense"):
        asked(play, "plan", PlanQuestion(type="nonsense", fields={}))


def test_a_deployment_tells_how_far_it_is():
    play = Play()
    play.add(instances=2)
    (row,) = asked(play, "deployments", b"")
    assert isinstance(row, DeploymentRow)
    (action,) = row.actions
    assert (row.step, row.by, action.action.name, action.wanted, action.up, action.done) == (
        1,
        "u-alice",
        "ScaleApplication",
        2,
        0,
        False,
    )
    assert action.blocked_by == "0 of 2 up; 2 instances wait for an offer"
    assert isinstance(only(play.ask(ScaleRequested(app=AppId("/web"), instances=3)), RequestRefused)[0], RequestRefused)


def test_what_is_there_again_is_not_the_one_that_was_stopped():
    """What a deployment stopped is created by somebody else before it is done: it leaves that one's alone."""
    play = Play()
    first, second, gone = spec("/g/a"), spec("/g/b", dependencies=("/g/a",)), spec("/g/x")
    put(play, group("/g", first, second, gone))
    run_all(play)
    events = put(play, group("/g", replace_cmd(first), replace_cmd(second)))
    assert actions(events) == [
        ["StopApplication /g/x"],
        ["RestartApplication /g/a"],
        ["RestartApplication /g/b"],
    ]
    for task in list(play.app(AppId("/g/x")).dying):
        play.update(task, KILLED)
    again = named(play.add("/g/x", cpus=64.0))
    run_all(play)
    assert list(play.state.deployments) == [again]
    assert play.app(AppId("/g/x")).deed is Deed.SCALE


def replace_cmd(app: AppSpec) -> AppSpec:
    return msgspec.structs.replace(app, cmd="true")


def test_only_so_many_groups_are_changed_at_once():
    """What a deployment says of groups is one event."""
    play = Play()
    for many in range(3):
        inner = tuple(GroupSpec(id=AppId(f"/m{many}/{'g' * 200}-{k}")) for k in range(600))
        named(play.ask(GroupRequested(group=GroupSpec(id=AppId(f"/m{many}"), groups=inner))))
    refused = refusal(play.ask(RemovalRequested(group=AppId("/"))))
    assert refused.reason is Refusal.INVALID
    assert "at most 262144 are allowed in one deployment: change fewer" in refused.message


def test_what_goes_back_by_itself_stops_nobody_else():
    """What a deployment stopped is somebody else's by now: without being asked, nothing is taken from them."""
    play = Play()
    put(play, group("/g", spec("/g/a"), spec("/g/x")))
    run_all(play)
    back = Rollout(progress_deadline_seconds=60, auto_rollback=True)
    changed = named(put(play, group("/g", spec("/g/a", cmd="true", rollout=back))))
    for task in list(play.app(AppId("/g/x")).dying):
        play.update(task, KILLED)
    again = named(play.add("/g/x", cpus=64.0))
    (fact,) = only(play.advance(60), DeploymentEnded)
    assert fact.deployment == changed
    assert f"; it is not undone: /g/x is locked by deployment {again} of " in fact.message
    assert list(play.state.deployments) == [again]
