"""Changes of apps, groups and pods against marathon on a bus in memory: asked for, watched, planned, undone."""

import msgspec
import pytest

from bus.documents import GroupSpec, PodSpec
from bus.documents.reading import parse_document
from bus.events import RequestRefused
from bus.nouns import Refusal, TaskId
from bus.plans import DeploymentId, Outcome
from bus.services import (
    CancelRequested,
    ContinueRequested,
    DeploymentAdvanced,
    DeploymentContinued,
    DeploymentEnded,
    DeploymentPaused,
    GroupRequested,
    KillsGranted,
    KillsRequested,
    PodRequested,
    RemovalRequested,
    RestartRequested,
    RollbackRequested,
    ScaleRequested,
)
from cli.claims import example
from cli.deploying import picture
from cli.session import MARATHON
from tests.cli.deployed import D7, STARTED, TEXT, V1, WEB, Marathon, app_row, ended, goes_on, play, pod_row, updated
from tests.cli.mouth import Mouth

pytestmark = pytest.mark.timeout(60)


# ---- what is asked for -------------------------------------------------------------------------------------------


async def test_a_deployment_is_seen_through():
    """What happens is told beside the answer, which says what runs in the end."""
    marathon = Marathon(STARTED, updated(1), updated(2), ended(), rows=[goes_on()])
    result = await play(marathon, "app", "add", "-", input=TEXT)
    assert (result.exit_code, result.stdout) == (0, "/web is created: 2 of 2 instances run\n")
    assert "step 2/2: RestartApplication /web 1/2 up, 1 old" in result.stderr
    assert "web.1 on a1: TASK_RUNNING, 1/2 running" in result.stderr


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        (("app", "scale", "web", "3"), ScaleRequested(app=WEB, instances=3)),
        (("app", "scale", "web", "3", "--force"), ScaleRequested(app=WEB, instances=3, force=True)),
        (("app", "restart", "web", "--force"), RestartRequested(app=WEB, force=True)),
        (("app", "remove", "web"), RemovalRequested(app=WEB)),
        (("app", "remove", "web", "--no-force"), RemovalRequested(app=WEB, force=False)),
        (("app", "rollback", "web", V1), RollbackRequested(app=WEB, to_version=V1)),
        (("group", "scale", "/shop", "1.5"), ScaleRequested(group="/shop", factor=1.5)),
        (("group", "restart", "shop"), RestartRequested(group="/shop")),
        (("group", "remove", "shop"), RemovalRequested(group="/shop", force=False)),
        (("group", "rollback", "/", V1), RollbackRequested(group="/", to_version=V1)),
        (("pod", "scale", "/paper", "3"), ScaleRequested(pod="/paper", instances=3)),
        (("pod", "restart", "/paper"), RestartRequested(pod="/paper")),
        (("pod", "remove", "/paper"), RemovalRequested(pod="/paper")),
        (("pod", "rollback", "/paper", V1), RollbackRequested(pod="/paper", to_version=V1)),
        (("deployment", "rollback", "d-7"), CancelRequested(deployment=D7)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
async def test_every_change_is_one_request(words, fact):
    """And its answer is a deployment."""
    marathon = Marathon(STARTED, ended(), pods=[pod_row()])
    result = await play(marathon, *words)
    assert result.exit_code == 0, result.stderr
    assert marathon.heard == [fact]


async def test_documents_become_requests():
    """Of apps, groups and pods, created or updated."""
    for room, shape, fact in (("group", GroupSpec, GroupRequested), ("pod", PodSpec, PodRequested)):
        document = parse_document(example(f"{room}.json"), shape)
        for word, update in (("add", False), ("update", True)):
            marathon = Marathon(STARTED, ended(), pods=[pod_row()])
            result = await play(marathon, room, word, "-", "--force", input=example(f"{room}.json"))
            assert result.exit_code == 0, result.stderr
            assert marathon.heard == [fact(**{room: document}, update=update, force=True)]


async def test_a_part_of_an_app_is_changed():
    """The fields that are given, and no others."""
    marathon = Marathon(STARTED, ended())
    result = await play(marathon, "app", "update", "-", "--partial", "web", input='{"instances": 3}')
    assert result.exit_code == 0, result.stderr
    (asked,) = marathon.heard
    assert (asked.app.id, asked.app.instances, asked.partial, asked.only_existing) == (WEB, 3, ("instances",), True)


@pytest.mark.parametrize(
    ("settings", "fields", "values"),
    [
        (("instances=3",), ("instances",), {"instances": 3}),
        (("env.LEVEL=debug", "env.N=1"), ("env",), {"env": {"A": "b", "LEVEL": "debug", "N": "1"}}),
        (("env.A=null",), ("env",), {"env": {}}),
        (("labels.a.b=c",), ("labels",), {"labels": {"a.b": "c"}}),
        (("cmd=sleep 5", "mem=64.5"), ("cmd", "mem"), {"cmd": "sleep 5", "mem": 64.5}),
        (("cmd=null", 'args=["a"]', "ports=[80]"), ("cmd", "args", "portDefinitions"), {"cmd": None, "args": ("a",)}),
        (("upgradeStrategy.minimumHealthCapacity=0.5",), ("upgradeStrategy",), {}),
    ],
)
async def test_fields_are_set_by_hand(settings, fields, values):
    """One by one, also inside of others."""
    marathon = Marathon(STARTED, ended())
    result = await play(marathon, "app", "set", "web", *settings)
    assert result.exit_code == 0, result.stderr
    (asked,) = marathon.heard
    assert asked.partial == fields
    assert {name: getattr(asked.app, name) for name in values} == values


@pytest.mark.parametrize(
    ("settings", "said", "code"),
    [
        (("instances=-1",), "Expected `int` >= 0 - at `$.instances`", 1),
        (("args=[1]",), "Expected `str`, got `int` - at `$.args[0]`", 1),
        (('args=["x"]',), "expected exactly one of cmd and args, found both - at `$.cmd`", 1),
        (("nonsense=1",), "Object contains unknown field `nonsense`", 1),
        (("instances",), "expected KEY=VALUE", 2),
        (("id=/b",), "an app's id cannot be changed", 2),
        (("cmd.x=1",), "cmd has no parts", 2),
    ],
)
async def test_settings_that_make_no_app_are_refused_here(settings, said, code):
    """Before anything is said."""
    marathon = Marathon(STARTED)
    result = await play(marathon, "app", "set", "web", *settings)
    assert (result.exit_code, marathon.heard) == (code, [])
    assert said in result.stderr


async def test_everything_wrong_with_a_document_is_printed():
    """A line each."""
    result = await play(Marathon(), "app", "add", "-", input='{"id": "/web", "cpus": 0, "args": 1}')
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "error: -: Expected `float` >= 0.001 - at `$.cpus`",
        "error: -: Expected `array | null`, got `int` - at `$.args`",
        "next:  correct the file; nothing was changed",
    ]


# ---- how it ends -------------------------------------------------------------------------------------------------


async def test_who_finds_it_locked_is_told_by_whom_and_what_can_be_done():
    """Wait for it, or stop it."""
    message = "/web is locked by deployment d-7 of alice, version v, at step 1 of 2: StartApplication /web"
    refused = RequestRefused(reason=Refusal.LOCKED, message=message, held_by=("d-7",))
    result = await play(Marathon(refused), "app", "restart", "web")
    assert result.exit_code == 1
    assert f"error: locked: {message}" in result.stderr
    assert "next:  busbar deployment watch d-7, then again; or --force, which stops d-7 where it is" in result.stderr


async def test_a_deployment_that_fails_says_why():
    """Exit code 1."""
    marathon = Marathon(STARTED, ended(Outcome.FAILED, "RestartApplication /web came no further for 600 s"))
    result = await play(marathon, "app", "restart", "web")
    assert result.exit_code == 1
    assert "deployment d-7 failed: RestartApplication /web came no further for 600 s" in result.stderr


async def test_a_deployment_that_takes_long_goes_on():
    """What it waits for, and how to watch on or find out more."""
    result = await play(Marathon(STARTED, rows=[goes_on()]), "app", "restart", "web", "--timeout", "0.2")
    assert result.exit_code == 1
    assert "d-7 has not ended after 0.2 s: step 2/2: RestartApplication /web 1/2 up, 1 old, 1 of 2 up;" in result.stderr
    assert "next:  busbar deployment watch d-7; busbar app explain /web" in result.stderr


async def test_canaries_wait_for_a_word():
    """The command ends; it says how to go on and how to go back."""
    marathon = Marathon(STARTED, DeploymentPaused(deployment=D7, app=WEB, canaries=1))
    result = await play(marathon, "app", "update", "-", input=TEXT)
    assert result.exit_code == 0, result.stderr
    assert "1 canary of /web up; the rest waits for your word" in result.stdout
    assert "busbar deployment continue d-7, or busbar deployment rollback d-7" in result.stdout


@pytest.mark.parametrize("words", [("app", "continue", "web"), ("deployment", "continue", "d-7")], ids=" ".join)
async def test_the_word_is_given(words):
    """For the app's deployment, or by its id."""
    answer = DeploymentContinued(deployment=D7, apps=(WEB,))
    marathon = Marathon(answer, apps=[app_row(deployments=(D7,))])
    result = await play(marathon, *words)
    assert (result.exit_code, result.stdout) == (0, "deployment d-7 goes on\n")
    assert marathon.heard == [ContinueRequested(deployment=D7)]


async def test_nothing_to_continue():
    """No deployment changes the app."""
    result = await play(Marathon(), "app", "continue", "web")
    assert "no deployment changes /web\nnext:  busbar deployment list" in result.stderr


# ---- deployments -------------------------------------------------------------------------------------------------


async def test_deployments_are_listed():
    """Whose, since when, how far, and what they wait for."""
    result = await play(Marathon(rows=[goes_on()]), "deployment", "list")
    assert "d-7" in result.stdout
    assert "RestartApplication /web 1/2 up, 1 old" in result.stdout
    assert "1 of 2 up; 1 instance waits for an offer" in result.stdout
    assert (await play(Marathon(), "deployment", "list")).stdout == "no deployment goes on\n"


async def test_a_deployment_is_watched_to_its_end():
    """Whoever asked for it; its steps are told."""
    mouth, marathon = Mouth(), Marathon(rows=[goes_on(step=0)])

    def rows(_question):
        if len(asked) == 1:
            mouth.say(MARATHON, DeploymentAdvanced(deployment=D7, step=1), "u-alice")
            mouth.say(MARATHON, DeploymentEnded(deployment=DeploymentId("d-8"), outcome=Outcome.FAILED), "u-alice")
            mouth.say(MARATHON, ended(), "u-alice")
        asked.append(1)
        return marathon.rows

    asked = []
    marathon.answering["deployments"] = rows
    result = await play(marathon, "deployment", "watch", "d-7", mouth=mouth)
    assert (result.exit_code, result.stdout) == (0, "deployment d-7 succeeded\n")
    assert "step 2/2 begins: ScaleApplication /web" in result.stderr


async def test_a_deployment_that_is_over_cannot_be_watched():
    """Nor one that never was."""
    result = await play(Marathon(), "deployment", "watch", "d-7")
    assert result.exit_code == 1
    assert "no deployment d-7 goes on: it ended, or never was" in result.stderr


async def test_a_deployment_is_stopped_where_it_is():
    """By force: nothing is undone."""
    marathon = Marathon(ended(Outcome.CANCELLED))
    result = await play(marathon, "deployment", "cancel", "d-7")
    assert (result.exit_code, result.stdout) == (0, "deployment d-7 is stopped; its apps are as far as they came\n")
    assert marathon.heard == [CancelRequested(deployment=D7, force=True)]


def test_the_picture_of_a_deployment_has_a_bar_for_each_action():
    """Never more than ten."""
    assert picture(D7, goes_on()) == [
        "d-7 by alice: step 2 of 2",
        "  [############............] RestartApplication /web 1/2 up, 1 old  1 of 2 up; 1 instance waits for an offer",
    ]
    many = msgspec.structs.replace(goes_on(), actions=goes_on().actions * 12)
    assert picture(D7, many)[-1] == "  and 2 more"


# ---- kills -------------------------------------------------------------------------------------------------------


async def test_instances_are_killed_and_replaced():
    """Those that are named, or all."""
    for words, tasks in ((("web.1",), ("web.1",)), (("--all",), ("web.0", "web.1"))):
        marathon = Marathon(KillsGranted(tasks=tasks))
        result = await play(marathon, "app", "kill", "web", *words)
        assert result.exit_code == 0, result.stderr
        assert marathon.heard == [KillsRequested(tasks=tasks)]
    assert result.stdout == "2 instances of /web are killed and replaced\n"


async def test_instances_are_killed_for_good():
    """Then it is a deployment."""
    marathon = Marathon(STARTED, ended())
    result = await play(marathon, "app", "kill", "web", "web.0", "--scale")
    assert (result.exit_code, result.stdout) == (0, "1 instance of /web is killed for good\n")
    assert marathon.heard == [KillsRequested(tasks=(TaskId("web.0"),), scale=True)]


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        ((), "expected either the instances, or --all", 2),
        (("web.0", "--all"), "expected either the instances, or --all", 2),
        (("db.0",), "db.0 is no instance of /web that runs", 1),
    ],
)
async def test_nobody_else_is_killed(words, said, code):
    """What is meant must be said, and be the app's."""
    marathon = Marathon()
    result = await play(marathon, "app", "kill", "web", *words)
    assert (result.exit_code, marathon.heard) == (code, [])
    assert said in result.stderr
