"""`/v2/apps` and `/v2/tasks`.

Rule of this room: a handler asks once and shapes the answer; what may be asked for is Marathon's to say.
(Marathon: `api/v2/AppsResource.scala`, `AppTasksResource.scala`, `TasksResource.scala`)
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from starlette.responses import PlainTextResponse, Response

from bus.documents import AppSpec, check_document, merged, parse_document, parse_partial
from bus.events import Event, Fact
from bus.nouns import AppId, Refusal
from bus.queries import AppRow
from bus.services import AppRequested, AppSpecified, RemovalRequested, RestartRequested
from components.gateway.routes import Route
from components.gateway.shapes import answers, apps, errors
from components.gateway.shapes.selectors import SelectorError, label_selector
from components.gateway.web.call import Call, HttpError, answer, documents
from components.gateway.web.client import MARATHON, Turned

EMBEDS = (
    "app.tasks",
    "app.counts",
    "app.deployments",
    "app.readiness",
    "app.lastTaskFailure",
    "app.failures",
    "app.taskStats",
)
ALWAYS = ("app.tasks", "app.lastTaskFailure")
"""Of a single app."""


async def rows_of(call: Call) -> list[AppRow]:
    """Every app."""
    return await call.client.ask(MARATHON, "apps", list[AppRow])


async def row_of(call: Call, id_: str) -> AppRow:
    """One app. Raises HttpError."""
    row = next((row for row in await rows_of(call) if row.app.id == id_), None)
    if row is None:
        raise HttpError(404, errors.no_app(id_))
    return row


async def list_apps(call: Call) -> Response:
    """GET /v2/apps."""
    rows = await rows_of(call)
    cmd, part, label = call.one("cmd"), call.one("id"), call.one("label")
    try:
        chosen = label_selector(label) if label else None
    except SelectorError as error:
        raise HttpError(400, str(error)) from None
    if cmd:
        rows = [row for row in rows if cmd.lower() in (row.app.cmd or "").lower()]
    if part:
        rows = [row for row in rows if part.lower() in row.app.id]
    if chosen is not None:
        rows = [row for row in rows if chosen(row.app.labels)]
    embed = [each.replace("apps.", "app.", 1) for each in call.all("embed")]
    return answer({"apps": [apps.app_row(row, embed) for row in rows]})


async def get_app(call: Call) -> Response:
    """GET /v2/apps/{id}; of `{id}/*` all apps of a group."""
    embed = (*ALWAYS, *call.all("embed"))
    if call.id.endswith("/*"):
        prefix = call.id[:-1]
        under = [row for row in await rows_of(call) if row.app.id.startswith(prefix)]
        return answer({"*": [apps.app_row(row, embed) for row in under]})
    return answer({"app": apps.app_row(await row_of(call, call.id), embed)})


# ---- changes ----------------------------------------------------------------------------------------------------


async def change(call: Call, fact: Fact, id_: str) -> Event:
    """What Marathon answers a request about an app. Raises HttpError, in Marathon's words."""
    try:
        return await call.client.request(MARATHON, fact, call.actor)
    except Turned as turned:
        match turned.fact.reason:
            case Refusal.NOT_FOUND:
                raise HttpError(404, errors.no_app(id_)) from None
            case Refusal.ALREADY_EXISTS:
                raise HttpError(409, errors.app_exists(id_)) from None
        raise


async def create_app(call: Call) -> Response:
    """POST /v2/apps."""
    text = await call.body()
    with documents():
        spec = parse_document(text, AppSpec)
    event = await change(call, AppRequested(app=spec), spec.id)
    fact = event.fact
    assert isinstance(fact, AppSpecified), f"marathon answered with {fact.type}"
    deployment = str(event.trace)
    shown = apps.app_spec(fact.app, fact.app_version) | dict.fromkeys(apps.COUNTS, 0)
    shown |= {"deployments": [{"id": deployment}], "tasks": []}
    headers = {"Location": f"/v2/apps{quote(spec.id)}", **deployed_header(deployment)}
    return answer(shown, 201, headers=headers)


def deployed_header(deployment: str) -> Mapping[str, str]:
    """Which deployment a change began."""
    return {"Marathon-Deployment-Id": deployment}


def deployed(version: str, deployment: str, status: int = 200) -> Response:
    """A change that was accepted."""
    return answer({"version": version, "deploymentId": deployment}, status, headers=deployed_header(deployment))


async def update_app(call: Call) -> Response:
    """PUT /v2/apps/{id}."""
    text = await call.body()
    row = next((row for row in await rows_of(call) if row.app.id == call.id), None)
    with documents():
        if row is not None and call.flag("partialUpdate", default=True):
            spec = merged(row.app, parse_partial(text, at=call.id))
            check_document(spec)
        else:
            spec = parse_document(text, AppSpec, at=call.id)
    event = await change(call, AppRequested(app=spec, update=True), call.id)
    fact = event.fact
    assert isinstance(fact, AppSpecified), f"marathon answered with {fact.type}"
    return deployed(fact.app_version, str(event.trace), 201 if fact.changed == "created" else 200)


async def delete_app(call: Call) -> Response:
    """DELETE /v2/apps/{id}. It is forced unless it is asked not to be. (Marathon: AppsResource.delete)"""
    row = await row_of(call, call.id)
    event = await change(call, RemovalRequested(app=AppId(call.id)), call.id)
    return deployed(row.app_version, str(event.trace))


async def restart_app(call: Call) -> Response:
    """POST /v2/apps/{id}/restart."""
    event = await change(call, RestartRequested(app=AppId(call.id)), call.id)
    fact = event.fact
    assert isinstance(fact, AppSpecified), f"marathon answered with {fact.type}"
    return deployed(fact.app_version, str(event.trace))


# ---- tasks ------------------------------------------------------------------------------------------------------


def wants_text(call: Call) -> bool:
    """Whether plain text was asked for and JSON was not."""
    accept = call.request.headers.get("accept", "")
    return "text/plain" in accept and "json" not in accept


async def list_app_tasks(call: Call) -> Response:
    """GET /v2/apps/{id}/tasks; `{id}/*` for a group."""
    if call.id.endswith("/*"):
        rows = [row for row in await rows_of(call) if row.app.id.startswith(call.id[:-1])]
        if not rows:
            raise HttpError(404, errors.no_group(call.id[:-2]))
    else:
        rows = [await row_of(call, call.id)]
    if wants_text(call):
        return PlainTextResponse(apps.tasks_text(rows))
    return answer({"tasks": [task for row in rows for task in apps.tasks(row)]})


async def list_tasks(call: Call) -> Response:
    """GET /v2/tasks."""
    rows = await rows_of(call)
    if wants_text(call):
        return PlainTextResponse(apps.tasks_text(rows))
    wanted = {each.lower() for each in (*call.all("status"), *call.all("status[]"))}
    if wanted - {"running", "staging"}:
        raise HttpError(400, f"status={sorted(wanted)[0]}: expected running or staging")
    states = [each for name in sorted(wanted) for each in (apps.STAGED if name == "staging" else ("TASK_RUNNING",))]
    found = [task for row in rows for task in apps.tasks(row)]
    return answer({"tasks": [task for task in found if not wanted or task["state"] in states]})


ROUTES = [
    Route(
        method="GET",
        path="/v2/apps",
        handler=list_apps,
        about="List the apps",
        answers={200: answers.Apps},
        query=("cmd", "id", "label", "embed"),
    ),
    Route(
        method="POST",
        path="/v2/apps",
        handler=create_app,
        about="Create an app",
        body=AppSpec,
        answers={201: "the app", 409: answers.Message, 422: answers.Invalid},
        query=("force",),
        changes=True,
    ),
    Route(
        method="GET",
        path="/v2/apps/{id}",
        handler=get_app,
        about="Show an app",
        answers={200: "{app}", 404: answers.Message},
        query=("embed",),
    ),
    Route(
        method="PUT",
        path="/v2/apps/{id}",
        handler=update_app,
        about="Change or create an app",
        body=AppSpec,
        answers={200: answers.Deployed, 201: answers.Deployed, 422: answers.Invalid},
        query=("force", "partialUpdate"),
        changes=True,
    ),
    Route(
        method="DELETE",
        path="/v2/apps/{id}",
        handler=delete_app,
        about="Remove an app",
        answers={200: answers.Deployed, 404: answers.Message},
        query=("force",),
        changes=True,
    ),
    Route(
        method="POST",
        path="/v2/apps/{id}/restart",
        handler=restart_app,
        about="Replace every instance",
        answers={200: answers.Deployed, 404: answers.Message},
        query=("force",),
        changes=True,
    ),
    Route(
        method="GET",
        path="/v2/apps/{id}/tasks",
        handler=list_app_tasks,
        about="List an app's tasks",
        answers={200: answers.Tasks, 404: answers.Message},
    ),
    Route(
        method="GET",
        path="/v2/tasks",
        handler=list_tasks,
        about="List all tasks",
        answers={200: answers.Tasks},
        query=("status",),
    ),
]
