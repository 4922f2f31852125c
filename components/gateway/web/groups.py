"""`/v2/groups`.

Rule of this room: as in `web.apps`. (Marathon: `api/v2/GroupsResource.scala`)
"""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import Response

from bus.app_rows import AppRow, GroupRow, GroupsQuestion, VersionsQuestion
from bus.documents import GroupSpec
from bus.documents.reading import parse_document
from bus.nouns import AppId
from bus.queries import QueryRefused
from bus.services import GroupRequested, RemovalRequested, RollbackRequested
from components.gateway.routes import Route
from components.gateway.shapes import answers, apps, errors
from components.gateway.shapes.deployments import steps
from components.gateway.shapes.groups import Embed, every_app, group
from components.gateway.web.apps import rows_of, versions_of
from components.gateway.web.call import Call, HttpError, answer, documents, is_rollback
from components.gateway.web.changes import Subject, change, plan_of
from components.gateway.web.client import MARATHON


def id_of(call: Call) -> AppId:
    """The group in the path; the root where there is none."""
    return AppId(call.id if call.params.get("id") else "/")


async def row_of(call: Call, version: str | None = None) -> GroupRow:
    """The group in the path. Raises HttpError."""
    try:
        return await call.client.ask(MARATHON, "groups", GroupRow, GroupsQuestion(group=id_of(call), version=version))
    except QueryRefused:
        raise HttpError(404, errors.no_group(id_of(call), version)) from None


async def get_group(call: Call) -> Response:
    """GET /v2/groups[/{id}]."""
    embed = Embed.of(call.all("embed"))
    live: dict[str, AppRow] = {row.app.id: row for row in await rows_of(call)} if embed.of_apps else {}
    return answer(group(await row_of(call), embed, live))


async def list_group_apps(call: Call) -> Response:
    """GET /v2/groups/{id}/apps: of all groups in it too."""
    found = every_app(await row_of(call))
    shown = [apps.app_spec(each.app, each.version, each.config_version) for each in found if each.app is not None]
    return answer({"apps": shown})


async def create_group(call: Call) -> Response:
    """POST /v2/groups[/{id}]; `dryRun` tells the steps, as with PUT. (Marathon would create it all the same)"""
    spec = _sent(await call.body(), id_of(call) if call.params.get("id") else None)
    about = Subject("group", str(spec.id))
    fact = GroupRequested(group=spec, force=call.flag("force"))
    if call.flag("dryRun"):
        return answer({"steps": steps((await plan_of(call, fact, about)).plan)})
    begun = await change(call, fact, about)
    return answer(
        {"version": begun.version, "deploymentId": begun.deployment},
        201,
        headers={"Location": f"/v2/groups{quote(str(spec.id))}", **begun.headers},
    )


def _sent(text: bytes, at: str | None) -> GroupSpec:
    with documents():
        return parse_document(text, GroupSpec, at=at)


async def update_group(call: Call) -> Response:
    """PUT /v2/groups[/{id}]: the whole tree by one deployment; `dryRun` tells the steps; a version alone rolls back."""
    about, force = Subject("group", id_of(call)), call.flag("force")
    text = await call.body()
    to_version = is_rollback(text)
    if to_version is not None and not call.flag("dryRun"):
        return (
            await change(call, RollbackRequested(group=id_of(call), to_version=to_version, force=force), about)
        ).response()
    fact = GroupRequested(group=_sent(text, id_of(call)), update=True, force=force)
    if call.flag("dryRun"):
        return answer({"steps": steps((await plan_of(call, fact, about)).plan)})
    begun = await change(call, fact, about)
    return begun.response(201 if begun.created else 200)


async def patch_group(call: Call) -> Response:
    """PATCH /v2/groups/{id}: whether its apps must have its role."""
    spec = _sent(await call.body(), id_of(call))
    await row_of(call)
    asked = GroupSpec(id=spec.id, enforce_role=spec.enforce_role)
    await change(call, GroupRequested(group=asked, update=True), Subject("group", id_of(call)))
    return answer({})


async def delete_group(call: Call) -> Response:
    """DELETE /v2/groups[/{id}], with everything in it."""
    fact = RemovalRequested(group=id_of(call), force=call.flag("force"))
    return (await change(call, fact, Subject("group", id_of(call)))).response()


async def list_versions(call: Call) -> Response:
    """GET /v2/groups[/{id}]/versions: a bare array."""
    await row_of(call)
    return answer([row.version for row in await versions_of(call, VersionsQuestion(group=id_of(call)))])


async def get_version(call: Call) -> Response:
    """GET /v2/groups[/{id}]/versions/{version}."""
    row = await row_of(call, call.params["version"])
    return answer(group(row, Embed.of(call.all("embed")), {}))


async def roll_back(call: Call) -> Response:
    """PUT /v2/groups/{id}/versions/{version}. (PyPI marathon: rollback_group)"""
    fact = RollbackRequested(group=id_of(call), to_version=call.params["version"], force=call.flag("force"))
    return (await change(call, fact, Subject("group", id_of(call)))).response()


_CHANGED = {200: answers.Deployed, 404: answers.Message, 409: answers.Message, 422: answers.Invalid}


def _both(method: str, end: str, handler: object, about: str, codes: dict[int, object], **more: object) -> list[Route]:
    """The same of the root group, and of any other."""
    return [
        Route(method=method, path=f"/v2/groups{id_}{end}", handler=handler, about=about, answers=codes, **more)  # type: ignore[arg-type]
        for id_ in ("", "/{id}")
    ]


ROUTES = [
    *_both("GET", "", get_group, "Show a group", {200: "the group", 404: answers.Message}, query=("embed",)),
    *_both("GET", "/apps", list_group_apps, "List a group's apps", {200: answers.Apps, 404: answers.Message}),
    *_both(
        "POST",
        "",
        create_group,
        "Create a group",
        {201: answers.Deployed, 409: answers.Message, 422: answers.Invalid},
        body=GroupSpec,
        query=("force", "dryRun"),
        changes=True,
    ),
    *_both(
        "PUT",
        "",
        update_group,
        "Make a group what it shall be",
        _CHANGED,  # type: ignore[arg-type]
        body=GroupSpec,
        query=("force", "dryRun"),
        changes=True,
    ),
    *_both("DELETE", "", delete_group, "Remove a group", _CHANGED, query=("force",), changes=True),  # type: ignore[arg-type]
    *_both("GET", "/versions", list_versions, "List a group's versions", {200: list[str], 404: answers.Message}),
    *_both(
        "GET",
        "/versions/{version}",
        get_version,
        "Show a group at a version",
        {200: "the group", 404: answers.Message},
        query=("embed",),
    ),
    *_both(
        "PUT",
        "/versions/{version}",
        roll_back,
        "Roll a group back",
        _CHANGED,  # type: ignore[arg-type]
        query=("force",),
        changes=True,
    ),
    Route(
        method="PATCH",
        path="/v2/groups/{id}",
        handler=patch_group,
        about="Set enforceRole",
        body=GroupSpec,
        answers={200: "nothing", 404: answers.Message},
        changes=True,
    ),
]
