"""`busbar app` against marathon on a bus in memory."""

import json

import msgspec
import pytest
from msgspec.structs import replace

from bus.app_rows import AppRow, FoundRow, InstanceRow
from bus.documents import AppSpec, HealthCheck, ReadinessCheck
from bus.events import RequestRefused
from bus.nouns import NOTHING, Now, Refusal, Resources, Source, TaskState, TaskStatus, Unfit
from bus.queries import AgentRow, QueryRefused, Summary
from bus.services import (
    AppRemoved,
    AppRequested,
    AppSpecified,
    AppUpdated,
    RemovalRequested,
    RestartRequested,
    ScaleRequested,
    SchedulerLocated,
)
from bus.waiting_rows import Check, Explanation
from cli.explain import explain_parts
from cli.output import Table
from cli.session import MARATHON, THE_MASTER
from tests.cli.mouth import ME, START, Mouth, known, playing

WEB = AppSpec(id="/web", cmd="serve", instances=2)
VERSION = "2027-01-15T08:00:00.000Z"
KNOWN = {"frameworks": [known("marathon")]}


def row(running, spec=WEB, waiting=0):
    instances = tuple(
        InstanceRow(
            task=f"web.{k}",
            app_version=VERSION,
            state=TaskState.RUNNING,
            since=START,
            hostname="127.0.0.1",
            ports=(31000 + k,),
        )
        for k in range(running)
    )
    return AppRow(app=spec, app_version=VERSION, running=running, waiting=waiting, instances=instances)


def updated(running):
    status = TaskStatus(task=f"web.{running}", state=TaskState.RUNNING, source=Source.EXECUTOR)
    return AppUpdated(app="/web", status=status, agent="a1", instances=2, running=running)


class Marathon:
    """Marathon's part in a talk: each request brings the app nearer to what is wanted."""

    def __init__(self, *answers):
        self.answers, self.heard, self.running = answers, [], 0

    def reply(self, event):
        if not isinstance(event.fact, SchedulerLocated):
            self.heard.append(event.fact)
            for fact in self.answers:
                self.running = fact.running if isinstance(fact, AppUpdated) else self.running
                yield fact

    def apps(self, _question):
        return [row(self.running)] if self.running is not None else []


async def play(marathon, *args, input=None):
    mouth = Mouth()
    async with (
        playing(mouth, THE_MASTER, KNOWN),
        playing(mouth, MARATHON, {"apps": marathon.apps}, marathon.reply),
    ):
        return mouth, await mouth(*args, input=input)


def created(changed="created"):
    return AppSpecified(app=WEB, app_version=VERSION, changed=changed)


async def test_add_says_step_one_then_asks_and_waits_until_every_instance_runs():
    """The scheduler is located first, both events share a trace, the answer shows where the instances are."""
    marathon = Marathon(created(), updated(1), updated(2))
    mouth, result = await play(marathon, "app", "add", "-", input='{"id": "/web", "cmd": "serve", "instances": 2}')
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "/web is created: 2 of 2 instances run")
    assert "127.0.0.1:31001" in result.stdout
    assert "web.1 on a1: TASK_RUNNING, 1/2 running" in result.stderr
    located, asked = mouth.said()
    assert located.fact == SchedulerLocated(framework="marathon", through="master.main")
    assert asked.fact == AppRequested(app=WEB)
    assert (asked.trace, asked.by.id, asked.actor) == (located.trace, ME, located.actor)
    assert asked.request != located.request


async def test_no_wait_returns_with_the_answer():
    """The request is answered; that instances run is not waited for."""
    _, result = await play(Marathon(created()), "app", "add", "-", "--no-wait", input='{"id": "/web", "cmd": "serve"}')
    assert (result.exit_code, result.stdout) == (0, f"/web is created, version {VERSION}\n")


async def test_programs_get_the_app_and_no_progress():
    """stdout is one JSON document, stderr is empty."""
    marathon = Marathon(created(), updated(1), updated(2))
    _, result = await play(
        marathon, "app", "add", "-", "--json", input='{"id": "/web", "cmd": "serve", "instances": 2}'
    )
    assert (json.loads(result.stdout)["running"], result.stderr) == (2, "")


async def test_an_app_that_does_not_come_up_in_time_fails_and_says_how_to_ask_why():
    """Exit code 1, how far it got, and that it goes on."""
    marathon = Marathon(created(), updated(1))
    _, result = await play(marathon, "app", "scale", "web", "2", "--timeout", "0.2")
    assert result.exit_code == 1
    assert "1 of 2 instances of /web run after 0.2 s" in result.stderr
    assert "it goes on\nnext:  busbar app show /web" in result.stderr


@pytest.mark.parametrize(
    ("args", "fact"),
    [
        (("scale", "/web", "2"), ScaleRequested(app="/web", instances=2)),
        (("scale", "web", "2"), ScaleRequested(app="/web", instances=2)),
        (("restart", "/web"), RestartRequested(app="/web")),
    ],
)
async def test_a_change_becomes_the_event_that_asks_for_it(args, fact):
    """The first slash of an app's id may be left out."""
    marathon = Marathon(created("changed"), updated(2))
    _, result = await play(marathon, "app", *args)
    assert (result.exit_code, marathon.heard) == (0, [fact])


async def test_remove_waits_until_the_app_is_gone():
    """Removal is done when marathon knows the app no more."""
    marathon = Marathon(AppRemoved(app="/web"))
    marathon.running = None
    _, result = await play(marathon, "app", "remove", "/web")
    assert (result.exit_code, result.stdout) == (0, "/web is removed\n")
    assert marathon.heard == [RemovalRequested(app="/web")]


async def test_a_refusal_exits_with_1_its_reason_and_a_way_on():
    """The reason is from the closed list; the file that was meant is named in the way on."""
    refused = RequestRefused(reason=Refusal.ALREADY_EXISTS, message="an app with id /web already exists")
    _, result = await play(Marathon(refused), "app", "add", "-", input='{"id": "/web", "cmd": "serve"}')
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == ("error: already_exists: an app with id /web already exists\nnext:  busbar app update -\n")


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ("", "it is empty, expected a JSON object"),
        ("{", "Input data was truncated"),
        ("[1]", "Expected `object`, got `array`"),
        ('{"cmd": "x"}', "missing required field `id`"),
        ('{"id": "/web", "cmd": "x", "colour": 1}', "unknown field `colour`"),
        ('{"id": "/web", "cmd": "x", "instances": "two"}', "Expected `int`, got `str` - at `$.instances`"),
        ('{"id": "/web", "cmd": "x", "instances": -1}', "Expected `int` >= 0 - at `$.instances`"),
        ('{"id": "/web", "cmd": "x", "mem": -5}', "Expected `float` >= 0.0 - at `$.mem`"),
        ('{"id": "/web", "cmd": "x", "cpus": 1e9}', "Expected `float` <= 100000.0 - at `$.cpus`"),
        ('{"id": "/Web", "cmd": "x"}', "'/Web' is not an app id"),
        ('{"id": "/web"}', "exactly one of cmd and args, found neither - at `$.cmd`"),
        ('{"id": "/web", "cmd": "x", "ports": [7, 7]}', "a port is asked for twice"),
        ('{"id": "/web", "cmd": "x", "ports": [70000]}', "Expected `int` <= 65535 - at `$.ports[0]`"),
        ('{"id": "/web", "cmd": "' + "x" * 500_000 + '"}', "longer than 409600 bytes"),
    ],
)
async def test_a_wrong_document_is_refused_with_the_path_and_says_nothing_on_the_bus(document, why):
    """What was wrong, where, what is allowed; exit code 1; no event."""
    marathon = Marathon(created())
    mouth, result = await play(marathon, "app", "add", "-", input=document)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: -: ")
    assert why in result.stderr
    assert mouth.said() == []


@pytest.mark.parametrize("args", [("show", "/We b"), ("scale", "/a//b", "1"), ("explain", "/-"), ("remove", "")])
async def test_an_id_that_breaks_the_grammar_is_refused_before_anybody_is_asked(args):
    """What an app's id looks like is said."""
    mouth = Mouth()
    result = await mouth("app", *args)
    assert (result.exit_code, "is not an app id: expected /a/b" in result.stderr, mouth.said()) == (1, True, [])


async def test_without_a_master_the_scheduler_itself_tells_how_to_reach_it():
    """An app can be asked for while no master leads."""
    mouth, marathon = Mouth(), Marathon(created())
    summary = Summary(
        by="framework.marathon",
        node="n",
        instance="i",
        epoch=1,
        n=1,
        position=1,
        heard=0,
        state_hash="",
        pid=1,
        rss_kb=1,
        started_at=START,
    )
    async with playing(mouth, MARATHON, {"apps": marathon.apps, "summary": summary}, marathon.reply):
        result = await mouth("app", "restart", "/web", "--no-wait")
    assert result.exit_code == 0
    assert mouth.said()[0].fact.through == "framework.marathon"


async def test_without_anybody_the_missing_component_is_named_and_nothing_is_said():
    """One component missing is exit code 1, not 3."""
    mouth = Mouth()
    result = await mouth("app", "restart", "/web")
    assert (result.exit_code, mouth.said()) == (1, [])
    assert result.stderr == "error: marathon is not running\nnext:  busbar status\n"


async def test_a_scheduler_the_master_does_not_know_is_not_asked():
    """The request would stand unanswered."""
    mouth = Mouth()
    async with playing(mouth, THE_MASTER, {"frameworks": []}):
        result = await mouth("app", "restart", "/web")
    assert (result.exit_code, mouth.said()) == (1, [])
    assert "marathon is not registered with the master" in result.stderr


async def test_list_shows_what_runs_and_what_waits():
    """One line an app, upper-case headings."""
    mouth = Mouth()
    async with playing(mouth, MARATHON, {"apps": [row(1, waiting=1)]}):
        result = await mouth("app", "list")
    heading, line = result.stdout.splitlines()
    assert heading.split() == ["ID", "RUNNING", "HEALTHY", "WAITING", "CPUS", "MEM", "MB", "STATE", "VERSION", "CMD"]
    assert line.split() == ["/web", "1/2", "-", "1", "1", "128", "waiting", "for", "offers", VERSION, "serve"]


async def test_health_is_shown_of_apps_that_have_checks():
    mouth, checked = Mouth(), replace(WEB, health_checks=(HealthCheck(),), readiness_checks=(ReadinessCheck(),))
    found = (FoundRow(alive=True), FoundRow(alive=False, failures=2, cause="HTTP 500"))
    shown = row(4, checked)
    healths = [
        replace(shown.instances[0], healthy=True, found=found[:1], ready=True),
        replace(shown.instances[1], healthy=False, found=found),
        replace(shown.instances[2], found=(FoundRow(),), ready=False),
        shown.instances[3],
    ]
    shown = replace(shown, instances=tuple(healths), healthy=1, unhealthy=1)
    async with playing(mouth, MARATHON, {"apps": [shown]}):
        listed = (await mouth("app", "list")).stdout.splitlines()[1]
        lines = (await mouth("app", "show", "/web")).stdout.splitlines()
    assert "1/4" in listed.split()
    cells = [line for line in lines if line.startswith("web.")]
    wanted = ("healthy, ready", "unhealthy, 2 in a row: HTTP 500", "unknown, not ready", "-")
    for line, health in zip(cells, wanted, strict=True):
        assert f"TASK_RUNNING  {health} " in line


async def test_show_prints_the_instances_and_the_document():
    """Where each instance listens, and the JSON as it was added."""
    mouth = Mouth()
    async with playing(mouth, MARATHON, {"apps": [row(2)]}):
        shown = await mouth("app", "show", "web")
        missing = await mouth("app", "show", "nothing")
    assert "web.1     TASK_RUNNING" in shown.stdout
    assert json.loads(shown.stdout[shown.stdout.index("{") :]) == {"id": "/web", "cmd": "serve", "instances": 2}
    assert (missing.exit_code, missing.stderr.startswith("error: there is no app /nothing")) == (1, True)


def test_explain_holds_every_node_against_every_check():
    """Where a check failed: needed and had; where it held: ok."""
    unfit = Unfit(agent="a2", offer="o-1-0", reason="InsufficientCpus", needed="64 cpus", had="2 cpus", app="/web")
    answer = Explanation(
        app="/web",
        waiting=1,
        needed=Resources(cpu_milli=64_000),
        ports=1,
        checks=(Check(unfit=unfit, at=START), Check(unfit=Unfit(**_other(unfit)), at=Now(START + 1))),
        note="it would fit with 62 cpus more",
    )
    *said, table = explain_parts(answer)
    assert isinstance(table, Table)
    assert said[-2] == "it would fit with 62 cpus more"
    assert table.columns == ("node", "cpus", "memory", "disk", "ports", "offer declined at")
    assert [row[:5] for row in table.rows] == [
        ["a1", "ok", "needs 512 MB, had 128 MB", "ok", "ok"],
        ["a2", "needs 64 cpus, had 2 cpus", "ok", "ok", "ok"],
    ]


def _other(unfit):
    return {
        "agent": "a1",
        "offer": "o-2-0",
        "reason": "InsufficientMemory",
        "needed": "512 MB",
        "had": "128 MB",
        "app": unfit.app,
    }


async def test_explain_knows_nodes_of_which_nothing_is_offered():
    """A full one and one that is away: the master tells, and the same checks say what is lacking there now."""
    declined = Unfit(agent="a3", offer="o-1-0", reason="InsufficientCpus", needed="2 cpus", had="1 cpus", app="/web")
    answer = Explanation(
        app="/web",
        waiting=1,
        needed=Resources(cpu_milli=2000, mem_mb=64),
        ports=1,
        checks=(Check(unfit=declined, at=START),),
    )
    full = Resources(cpu_milli=4000, mem_mb=512, ports=((31000, 31000),))
    away = node("a2", full, NOTHING)
    nodes = [node("a1", full, full), msgspec.structs.replace(away, state="UNREACHABLE"), node("a3", full, NOTHING)]
    mouth = Mouth()
    async with playing(mouth, MARATHON, {"explain": answer}), playing(mouth, THE_MASTER, {"agents": nodes}):
        told = await mouth.json("app", "explain", "/web")
        shown = (await mouth("app", "explain", "/web")).stdout.splitlines()[-3:]
    assert [(one["agent"], one["state"], len(one["lacks"])) for one in told["not_offered"]] == [
        ("a1", "ACTIVE", 3),
        ("a2", "UNREACHABLE", 0),
    ]
    assert told["not_offered"][0]["lacks"][0] == {"reason": "InsufficientCpus", "needed": "2 cpus", "had": "0 cpus"}
    assert [line.split()[0] for line in shown] == ["a1", "a2", "a3"]
    assert shown[0].endswith("needs 1 ports, had 0 ports  not offered")
    assert shown[1].endswith("unreachable")


def node(name, total, used):
    return AgentRow(
        agent=name, hostname=name, state="ACTIVE", total=total, used=used, offered=NOTHING, tasks=1, registered_at=START
    )


async def test_explain_of_an_unknown_app_says_what_marathon_says():
    """A refused question is exit code 1."""

    def unknown(_question):
        raise QueryRefused("app /web does not exist")

    mouth = Mouth()
    async with playing(mouth, MARATHON, {"explain": unknown}):
        result = await mouth("app", "explain", "/web")
    assert (result.exit_code, result.stderr) == (1, "error: app /web does not exist\nnext:  busbar app list\n")
