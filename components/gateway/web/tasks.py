"""`/v2/tasks`, `/v2/apps/{id}/tasks`: what runs, and ending it.

Rule of this room: as in `web.apps`. (Marathon: `api/v2/AppTasksResource.scala`, `TasksResource.scala`)
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import PlainTextResponse, Response

from bus.app_rows import AppRow, InstanceRow
from bus.nouns import AppId, TaskId
from bus.services import KillsRequested, ScaleRequested
from components.gateway.routes import Route
from components.gateway.shapes import answers, errors, tasks
from components.gateway.web.apps import row_of, rows_of
from components.gateway.web.call import Call, HttpError, answer, part
from components.gateway.web.changes import Subject, ask, change

Found = tuple[AppRow, InstanceRow]


def wants_text(call: Call) -> bool:
    """Whether plain text was asked for and JSON was not."""
    accept = call.request.headers.get("accept", "")
    return "text/plain" in accept and "json" not in accept


async def _rows(call: Call) -> list[AppRow]:
    """The app in the path, or of `{id}/*` all of a group. Raises HttpError."""
    if not call.id.endswith("/*"):
        return [await row_of(call, call.id)]
    rows = [row for row in await rows_of(call) if row.app.id.startswith(call.id[:-1])]
    if not rows:
        raise HttpError(404, errors.no_group(call.id[:-2] or "/"))
    return rows


async def list_app_tasks(call: Call) -> Response:
    """GET /v2/apps/{id}/tasks; `{id}/*` for a group."""
    rows = await _rows(call)
    if wants_text(call):
        return PlainTextResponse(tasks.tasks_text(rows))
    return answer({"tasks": [task for row in rows for task in tasks.tasks(row)]})


async def list_tasks(call: Call) -> Response:
    """GET /v2/tasks."""
    wanted = [each.lower() for each in (*call.all("status"), *call.all("status[]"))]
    for each in wanted:
        if each not in tasks.STATES:
            raise HttpError(400, f"status={each}: expected running or staging")
    rows = await rows_of(call)
    if wants_text(call):
        return PlainTextResponse(tasks.tasks_text(rows))
    states = [state for each in wanted for state in tasks.STATES[each]]
    found = [task for row in rows for task in tasks.tasks(row)]
    return answer({"tasks": [task for task in found if not wanted or task["state"] in states]})


# ---- ending them ------------------------------------------------------------------------------------------------


async def kill_app_tasks(call: Call) -> Response:
    """DELETE /v2/apps/{id}/tasks: all of an app, or those on one host."""
    _check_flags(call)
    host, rows = call.one("host"), await _rows(call)
    found = [
        (row, each)
        for row in rows
        for each in row.instances
        if each.state and host in (None, each.hostname, each.agent)
    ]
    if not found and call.flag("scale"):
        same = ScaleRequested(app=AppId(rows[0].app.id), instances=rows[0].app.instances)
        return (await change(call, same, Subject("app", rows[0].app.id))).response()
    return await _kill(call, found, {"tasks": [tasks.task(*each) for each in found]})


async def kill_app_task(call: Call) -> Response:
    """DELETE /v2/apps/{id}/tasks/{task}."""
    _check_flags(call)
    row, task = await row_of(call, call.id), call.params["task"]
    found = [(row, each) for each in row.instances if each.task == task and each.state]
    if not found:
        raise HttpError(404, errors.no_task(task))
    return await _kill(call, found, {"task": tasks.task(*found[0])})


async def kill_tasks(call: Call) -> Response:
    """POST /v2/tasks/delete."""
    _check_flags(call)
    ids = part(await call.json(), answers.TaskIds).ids
    known = {each.task: (row, each) for row in await rows_of(call) for each in row.instances if each.state}
    for each in ids:
        if each not in known:
            raise HttpError(400, errors.no_task(each))
    found = [known[TaskId(each)] for each in dict.fromkeys(ids)]
    return await _kill(call, found, {"tasks": [tasks.task(*each) for each in found]})


def _check_flags(call: Call) -> None:
    if call.flag("scale") and call.flag("wipe"):
        raise HttpError(400, "You cannot use scale and wipe at the same time.")


async def _kill(call: Call, found: Sequence[Found], shown: dict[str, object]) -> Response:
    """The tasks are killed: and replaced, which is told by what they were; or with `scale` there are fewer."""
    if not found:
        return answer(shown)
    fact = KillsRequested(
        tasks=tuple(each.task for _, each in found),
        scale=call.flag("scale"),
        wipe=call.flag("wipe"),
        force=call.flag("force"),
    )
    about = Subject("app", found[0][0].app.id)
    if fact.scale:
        return (await change(call, fact, about)).response()
    await ask(call, fact, about)
    return answer(shown)


_KILL = ("scale", "wipe", "force")
ROUTES = [
    Route(
        method="GET",
        path="/v2/apps/{id}/tasks",
        handler=list_app_tasks,
        about="List an app's tasks",
        answers={200: answers.Tasks, 404: answers.Message},
    ),
    Route(
        method="DELETE",
        path="/v2/apps/{id}/tasks",
        handler=kill_app_tasks,
        about="Kill an app's tasks",
        answers={200: answers.Tasks, 404: answers.Message},
        query=("host", *_KILL),
        changes=True,
    ),
    Route(
        method="DELETE",
        path="/v2/apps/{id}/tasks/{task}",
        handler=kill_app_task,
        about="Kill a task",
        answers={200: "{task}", 404: answers.Message},
        query=_KILL,
        changes=True,
    ),
    Route(
        method="GET",
        path="/v2/tasks",
        handler=list_tasks,
        about="List all tasks",
        answers={200: answers.Tasks},
        query=("status",),
    ),
    Route(
        method="POST",
        path="/v2/tasks/delete",
        handler=kill_tasks,
        about="Kill tasks",
        body=answers.TaskIds,
        answers={200: answers.Tasks, 400: answers.Message},
        query=_KILL,
        changes=True,
    ),
]
