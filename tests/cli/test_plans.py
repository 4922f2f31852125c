"""Plans, versions, groups and pods on the command line, against marathon on a bus in memory."""

import json

import msgspec
import pytest

from bus.app_rows import ChangeRow, GroupRow, GroupsQuestion, PlanQuestion, PlanRow, VersionRow, VersionsQuestion
from bus.documents import AppSpec
from bus.nouns import AppId, Refusal, TaskId
from bus.services import (
    AppRequested,
    KillsGranted,
    KillsRequested,
    RollbackRequested,
)
from cli.claims import example
from tests.cli.deployed import (
    D7,
    PLAN,
    SPEC,
    STARTED,
    TEXT,
    V1,
    V2,
    V3,
    WEB,
    Marathon,
    ended,
    play,
    pod_row,
)

pytestmark = pytest.mark.timeout(60)


# ---- plans and versions ------------------------------------------------------------------------------------------


async def test_a_plan_shows_what_would_change():
    """Field by field, then the steps; nothing is asked for."""
    asked = []
    after = msgspec.structs.replace(SPEC, cmd="serve 2", env={"A": "c", "B": "d"}, instances=3)
    changes = (
        ChangeRow(id=WEB, app_before=SPEC, app_after=after),
        ChangeRow(id=AppId("/new"), app_after=AppSpec(id=AppId("/new"), cmd="x")),
        ChangeRow(id=AppId("/old"), app_before=AppSpec(id=AppId("/old"), cmd="x")),
    )
    row = PlanRow(plan=PLAN, changes=changes, cancels=(D7,))

    def plan(question):
        asked.append(msgspec.msgpack.decode(question, type=PlanQuestion))
        return row

    marathon = Marathon(plan=plan)
    result = await play(marathon, "app", "plan", "-", input=TEXT)
    assert (result.exit_code, marathon.heard) == (0, [])
    assert result.stdout.splitlines() == [
        "~ /web",
        '    ~ cmd: "serve" -> "serve 2"',
        '    ~ env.A: "b" -> "c"',
        '    + env.B: "d"',
        "    ~ instances: 2 -> 3",
        "+ /new",
        '    + cmd: "x"',
        "- /old",
        "deployment d-7 would be stopped for it",
        "",
        "step 1: StartApplication /web",
        "step 2: ScaleApplication /web",
    ]
    fact = msgspec.convert(asked[0].fields, AppRequested)
    assert (asked[0].type, fact.app.id, fact.update) == ("app.requested", WEB, True)
    assert msgspec.convert(await play_json(marathon, "app", "plan", "-", input=TEXT), PlanRow) == row


async def play_json(marathon, *args, input=None):
    result = await play(marathon, *args, "--json", input=input)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def test_a_plan_that_would_be_refused_says_so():
    """And one that changes nothing."""
    refused = PlanRow(refused=Refusal.LOCKED, message="/web is locked")
    for room in ("group", "pod"):
        result = await play(Marathon(plan=refused), room, "plan", "-", input=example(f"{room}.json"))
        assert result.exit_code == 1
        assert "it would be refused: locked: /web is locked" in result.stderr
    result = await play(Marathon(plan=PlanRow()), "group", "plan", "-", input=example("group.json"))
    assert result.stdout == "nothing would change\n"


VERSIONS = [
    VersionRow(version=V3, config_version=V2, app=msgspec.structs.replace(SPEC, instances=5)),
    VersionRow(version=V2, config_version=V2, app=SPEC),
    VersionRow(version=V1, config_version=V1, app=msgspec.structs.replace(SPEC, cmd="old")),
]


async def test_versions_are_listed_with_what_each_changed():
    """Or one of them is printed."""
    marathon = Marathon(versions=VERSIONS)
    lines = (await play(marathon, "app", "versions", "web")).stdout.splitlines()
    assert [line.split()[-1] for line in lines] == ["CHANGED", "instances", "cmd", "created"]
    assert '"cmd": "old"' in (await play(marathon, "app", "versions", "web", V1)).stdout
    result = await play(marathon, "app", "versions", "web", "nonsense")
    assert f"there is no version nonsense: the newest is {V3}" in result.stderr
    result = await play(Marathon(versions=[]), "pod", "versions", "web")
    assert "there is no /web, nor was there one whose versions are kept" in result.stderr


def roots(*versions):
    """Answers about the root group, which had an app in these versions, newest first."""
    trees = {f"r{n}": GroupRow(group=AppId("/"), version=f"r{n}", apps=(row,)) for n, row in enumerate(versions)}

    def groups(question):
        return trees[msgspec.msgpack.decode(question, type=GroupsQuestion).version]

    return {"versions": [VersionRow(version=version) for version in trees], "groups": groups}


async def test_rolled_back_to_the_configuration_before():
    """A change of the number of instances is none; nor is what was undone: it is not what was before."""
    marathon = Marathon(STARTED, ended(), **roots(*VERSIONS))
    result = await play(marathon, "app", "rollback", "web")
    assert result.exit_code == 0, result.stderr
    assert marathon.heard == [RollbackRequested(app=WEB, to_version=V1)]
    undone = VersionRow(version="undone", config_version="undone", app=SPEC)
    marathon = Marathon(STARTED, ended(), **roots(VERSIONS[0], VERSIONS[2], undone, VERSIONS[2]))
    await play(marathon, "app", "rollback", "web")
    assert marathon.heard == [RollbackRequested(app=WEB, to_version=V1)]
    result = await play(Marathon(**roots(*VERSIONS[:2])), "app", "rollback", "web")
    assert "/web has had no other configuration\nnext:  busbar app versions /web" in result.stderr


async def test_a_group_goes_back_to_when_anything_in_it_was_different():
    """Its apps' numbers count, too."""
    marathon = Marathon(STARTED, ended(), **roots(VERSIONS[0], VERSIONS[0], VERSIONS[1]))
    result = await play(marathon, "group", "rollback", "/")
    assert result.exit_code == 0, result.stderr
    assert marathon.heard == [RollbackRequested(group=AppId("/"), to_version="r2")]


# ---- groups and pods ---------------------------------------------------------------------------------------------


async def test_groups_are_listed_and_shown():
    """With everything in them."""
    web = VersionRow(version=V2, config_version=V2, app=SPEC)
    shop = GroupRow(group=AppId("/shop"), version=V2, apps=(web,), dependencies=(AppId("/db"),))
    root = GroupRow(group=AppId("/"), version=V2, groups=(shop,))

    def groups(question):
        return shop if msgspec.msgpack.decode(question, type=GroupsQuestion).group == "/shop" else root

    marathon = Marathon(groups=groups)
    lines = (await play(marathon, "group", "list")).stdout.splitlines()
    assert [line.split()[:4] for line in lines[1:]] == [["/", "1", "0", "1"], ["/shop", "1", "0", "0"]]
    shown = (await play(marathon, "group", "show", "shop")).stdout
    assert "depends on  /db" in shown
    assert "2/2" in shown
    assert (await play(Marathon(versions=[VersionRow(version=V1)]), "group", "versions")).exit_code == 0


async def test_a_group_needs_an_id():
    """Which one it is."""
    result = await play(Marathon(), "group", "add", "-", input='{"apps": []}')
    assert "-: Object missing required field `id`" in result.stderr


async def test_pods_are_listed_shown_and_killed():
    """With their containers and where these serve."""
    marathon = Marathon(KillsGranted(tasks=(TaskId("paper.1"),)), pods=[pod_row()])
    assert "press kiosk" in (await play(marathon, "pod", "list")).stdout
    shown = (await play(marathon, "pod", "show", "paper")).stdout
    assert "web=h1:31000" in shown
    assert "1 of 1 up" in shown
    result = await play(marathon, "pod", "kill", "paper", "--all")
    assert (result.exit_code, result.stdout) == (0, "1 instance of /paper killed and replaced\n")
    assert marathon.heard == [KillsRequested(tasks=(TaskId("paper.1"),))]
    result = await play(marathon, "pod", "show", "nothing")
    assert "there is no pod /nothing\nnext:  busbar pod list" in result.stderr


async def test_versions_are_asked_of_what_is_meant():
    """An app, a pod, a group."""
    asked = []

    def versions(question):
        asked.append(msgspec.msgpack.decode(question, type=VersionsQuestion))
        return VERSIONS

    marathon = Marathon(versions=versions)
    for room in ("app", "pod", "group"):
        await play(marathon, room, "versions", "/x")
    assert asked == [VersionsQuestion(app="/x"), VersionsQuestion(pod="/x"), VersionsQuestion(group="/x")]


async def test_what_is_not_there_is_called_what_it_was_asked_as():
    """A pod's explanation tells of no app; a version that is not there, where to see those that are."""
    result = await play(Marathon(pods=[]), "pod", "explain", "/no")
    assert (result.exit_code, result.stderr) == (1, "error: there is no pod /no\nnext:  busbar pod list\n")
    result = await play(Marathon(versions=VERSIONS), "app", "versions", "web", "never")
    assert result.stderr.endswith(f"the newest is {V3}\nnext:  busbar app versions /web\n")
