"""`/v2/deployments` and `/v2/queue`.

Rule of this room: as in `web.apps`. (Marathon: `api/v2/DeploymentsResource.scala`, `QueueResource.scala`)
"""

from __future__ import annotations

from starlette.responses import Response

from bus.app_rows import DeploymentRow
from bus.nouns import AppId
from bus.plans import DeploymentId
from bus.services import CancelRequested, ContinueRequested, ResetRequested
from bus.waiting_rows import QueueRow
from components.gateway.routes import Route
from components.gateway.shapes import answers
from components.gateway.shapes.apps import app_spec, version_of
from components.gateway.shapes.deployments import deployment
from components.gateway.shapes.queue import queued
from components.gateway.web import pods
from components.gateway.web.apps import rows_of
from components.gateway.web.call import Call, HttpError, answer
from components.gateway.web.changes import Subject, ask, change
from components.gateway.web.client import MARATHON


async def list_deployments(call: Call) -> Response:
    """GET /v2/deployments."""
    rows = await call.client.ask(MARATHON, "deployments", list[DeploymentRow])
    apps = {row.app.id: row for row in await rows_of(call)} if rows else {}
    return answer([deployment(row, apps) for row in rows])


async def cancel_deployment(call: Call) -> Response:
    """DELETE /v2/deployments/{deployment}: another one goes back; forced, it is only stopped: 202 and nothing."""
    about, force = Subject("deployment", call.params["deployment"]), call.flag("force")
    fact = CancelRequested(deployment=DeploymentId(about.id), force=force)
    if force:
        await ask(call, fact, about)
        return Response(status_code=202)
    return (await change(call, fact, about)).response()


async def continue_deployment(call: Call) -> Response:
    """POST /v2/deployments/{deployment}/continue: its canaries are good. (not in Marathon)"""
    about = Subject("deployment", call.params["deployment"])
    await ask(call, ContinueRequested(deployment=DeploymentId(about.id)), about)
    return answer({"deploymentId": about.id})


async def list_queue(call: Call) -> Response:
    """GET /v2/queue."""
    rows = await call.client.ask(MARATHON, "queue", list[QueueRow])
    apps = {row.app.id: row for row in await rows_of(call)} if rows else {}
    specs = {id_: app_spec(row.app, version_of(row), row.app_version) for id_, row in apps.items()}
    pod_shapes = await pod_specs(call) if any(row.pod for row in rows) else {}
    unused, now = "lastUnusedOffers" in call.all("embed"), call.client.clock()
    known = [(row, (pod_shapes if row.pod else specs).get(row.app)) for row in rows]
    return answer({"queue": [queued(row, spec, now, unused=unused) for row, spec in known if spec is not None]})


async def pod_specs(call: Call) -> dict[str, dict[str, object]]:
    """Every pod as it was specified, by id."""
    return {row.pod.id: pods.shown(row) for row in await pods.rows_of(call)}


async def reset_delay(call: Call) -> Response:
    """DELETE /v2/queue/{id}/delay. (Marathon: QueueResource.resetDelay)"""
    rows = await call.client.ask(MARATHON, "queue", list[QueueRow])
    if not any(row.app == call.id for row in rows):
        raise HttpError(404, f"Application {call.id} not found in tasks queue.")
    await ask(call, ResetRequested(app=AppId(call.id)), Subject("app", call.id))
    return Response(status_code=204)


ROUTES = [
    Route(
        method="GET",
        path="/v2/deployments",
        handler=list_deployments,
        about="List the deployments that go on",
        answers={200: "an array of deployments"},
    ),
    Route(
        method="DELETE",
        path="/v2/deployments/{deployment}",
        handler=cancel_deployment,
        about="Cancel a deployment",
        answers={200: answers.Deployed, 202: "stopped where it is", 404: answers.Message},
        query=("force",),
        changes=True,
    ),
    Route(
        method="POST",
        path="/v2/deployments/{deployment}/continue",
        handler=continue_deployment,
        about="Let a deployment go on behind its canaries",
        answers={200: "{deploymentId}", 404: answers.Message},
        changes=True,
    ),
    Route(
        method="GET",
        path="/v2/queue",
        handler=list_queue,
        about="List what waits",
        answers={200: "{queue}"},
        query=("embed",),
    ),
    Route(
        method="DELETE",
        path="/v2/queue/{id}/delay",
        handler=reset_delay,
        about="Forgive an app's failures",
        answers={204: "done", 404: answers.Message},
        changes=True,
    ),
]
