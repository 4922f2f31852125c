"""Marathon's part in the tests of commands that change things: an app, a pod, and a deployment of them."""

import json

from bus.app_rows import ActionRow, AppRow, DeploymentRow, InstanceRow
from bus.documents import AppSpec, PodSpec
from bus.documents.reading import parse_document
from bus.nouns import AppId, Now, Source, TaskId, TaskState, TaskStatus, second
from bus.plans import Action, Deed, DeploymentId, Outcome, Plan
from bus.pod_rows import ContainerRow, EndpointRow, PodInstanceRow, PodRow
from bus.services import (
    AppUpdated,
    DeploymentEnded,
    DeploymentStarted,
    SchedulerLocated,
)
from cli.claims import example
from cli.session import MARATHON, THE_MASTER
from tests.cli.mouth import START, Mouth, known, playing

WEB, D7 = AppId("/web"), DeploymentId("d-7")
SPEC = AppSpec(id=WEB, cmd="serve", instances=2, env={"A": "b"})
V1, V2, V3 = (f"2027-01-15T08:00:0{n}.000Z" for n in (1, 2, 3))
PLAN = Plan(steps=((Action(deed=Deed.START, app=WEB),), (Action(deed=Deed.SCALE, app=WEB),)))
STARTED = DeploymentStarted(deployment=D7, deployment_version=V2, plan=PLAN, changed="created")
PAPER = parse_document(example("pod.json"), PodSpec)


def ended(outcome=Outcome.SUCCEEDED, message=""):
    return DeploymentEnded(deployment=D7, outcome=outcome, message=message)


def updated(running):
    status = TaskStatus(task=TaskId(f"web.{running}"), state=TaskState.RUNNING, source=Source.EXECUTOR)
    return AppUpdated(app=WEB, status=status, agent="a1", instances=2, running=running)


def app_row(**fields):
    instances = tuple(
        InstanceRow(task=TaskId(f"web.{k}"), app_version=V2, state=TaskState.RUNNING, since=START) for k in range(2)
    )
    return AppRow(app=SPEC, app_version=V2, running=2, waiting=0, instances=instances, **fields)


def goes_on(step=1, **action):
    fields = {"done": False, "wanted": 2, "up": 1, "old": 1, "blocked_by": "1 of 2 up; 1 instance waits for an offer"}
    row = ActionRow(action=Action(deed=Deed.RESTART, app=WEB), **(fields | action))
    return DeploymentRow(
        deployment=D7,
        version=V2,
        plan=PLAN,
        step=step,
        actions=(row,),
        changed="updated",
        by="alice",
        since=START,
        step_since=Now(START + second),
    )


class Marathon:
    """Marathon's part: it answers every request the same, and goes on with a deployment until it said the end."""

    def __init__(self, *answers, rows=(), **answering):
        self.answers, self.heard, self.rows = answers, [], list(rows)
        self.answering = {"apps": [app_row()], "deployments": lambda _: self.rows} | answering

    def reply(self, event):
        if not isinstance(event.fact, SchedulerLocated):
            self.heard.append(event.fact)
            yield from self.answers


async def play(marathon, *args, input=None, mouth=None):
    mouth = mouth or Mouth()
    async with (
        playing(mouth, THE_MASTER, {"frameworks": [known("marathon")]}),
        playing(mouth, MARATHON, marathon.answering, marathon.reply),
    ):
        return await mouth(*args, input=input)


TEXT = json.dumps({"id": "/web", "cmd": "serve", "instances": 2})


def pod_row():
    container = ContainerRow(
        name="kiosk",
        task=TaskId("paper.kiosk"),
        state=TaskState.RUNNING,
        since=START,
        changed=START,
        endpoints=(EndpointRow(name="web", host_port=31000),),
    )
    instance = PodInstanceRow(
        instance=TaskId("paper.1"),
        status="STABLE",
        since=START,
        changed=START,
        app_version=V1,
        hostname="h1",
        containers=(container,),
        up=True,
    )
    return PodRow(pod=PAPER, app_version=V1, status="STABLE", since=START, changed=START, instances=(instance,))
