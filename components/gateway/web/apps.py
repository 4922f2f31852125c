"""`/v2/apps`.

Rule of this room: a handler asks once and shapes the answer; what may be asked for is Marathon's to say.
(Marathon: `api/v2/AppsResource.scala`, `AppVersionsResource.scala`)
"""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import Response

from bus.app_rows import AppRow, VersionRow, VersionsQuestion
from bus.documents import AppSpec
from bus.documents.reading import Given, check_document, merged, parse_apps, parse_document, parse_partial
from bus.nouns import AppId
from bus.services import (
    AppRequested,
    AppsRequested,
    AppWish,
    RemovalRequested,
    RestartRequested,
    RollbackRequested,
)
from components.gateway.routes import Route
from components.gateway.shapes import answers, apps, errors
from components.gateway.shapes.selectors import SelectorError, label_selector
from components.gateway.web.call import Call, HttpError, answer, documents, is_rollback
from components.gateway.web.changes import Subject, change
from components.gateway.web.client import MARATHON

ALWAYS = ("app.tasks", "app.lastTaskFailure")
"""Of a single app. (Marathon: AppInfo.Embed)"""


async def rows_of(call: Call) -> list[AppRow]:
    """Every app."""
    return await call.client.ask(MARATHON, "apps", list[AppRow])


async def row_of(call: Call, id_: str) -> AppRow:
    """One app. Raises HttpError."""
    row = next((row for row in await rows_of(call) if row.app.id == id_), None)
    if row is None:
        raise HttpError(404, errors.no_app(id_))
    return row


def embeds(call: Call) -> list[str]:
    """What is to be shown besides; `apps.` is the older form. (Marathon: AppInfo)"""
    return [each.replace("apps.", "app.", 1) for each in call.all("embed")]


async def list_apps(call: Call) -> Response:
    """GET /v2/apps."""
    cmd, part, label = call.one("cmd"), call.one("id"), call.one("label")
    try:
        chosen = label_selector(label) if label else None
    except SelectorError as error:
        raise HttpError(400, str(error)) from None
    rows = await rows_of(call)
    if cmd:
        rows = [row for row in rows if cmd.lower() in (row.app.cmd or "").lower()]
    if part:
        rows = [row for row in rows if part.lower() in row.app.id]
    if chosen is not None:
        rows = [row for row in rows if chosen(row.app.labels)]
    return answer({"apps": [apps.app_row(row, embeds(call), call.client.clock()) for row in rows]})


async def get_app(call: Call) -> Response:
    """GET /v2/apps/{id}; of `{id}/*` all apps of a group."""
    embed, now = (*ALWAYS, *embeds(call)), call.client.clock()
    if call.id.endswith("/*"):
        under = [row for row in await rows_of(call) if row.app.id.startswith(call.id[:-1])]
        return answer({"*": [apps.app_row(row, embed, now) for row in under]})
    return answer({"app": apps.app_row(await row_of(call, call.id), embed, now)})


# ---- changes ----------------------------------------------------------------------------------------------------


async def create_app(call: Call) -> Response:
    """POST /v2/apps."""
    text = await call.body()
    with documents():
        spec = parse_document(text, AppSpec)
    begun = await change(call, AppRequested(app=spec, force=call.flag("force")), Subject("app", spec.id))
    shown = apps.app_spec(spec, begun.version) | dict.fromkeys(apps.COUNTS, 0)
    shown |= {"deployments": [{"id": begun.deployment}], "tasks": []}
    return answer(shown, 201, headers={"Location": f"/v2/apps{quote(spec.id)}", **begun.headers})


async def update_app(call: Call) -> Response:
    """PUT /v2/apps/{id}: change what is named, or with `partialUpdate=false` all; a version alone rolls back."""
    return await _put(call, only_existing=False)


async def patch_app(call: Call) -> Response:
    """PATCH /v2/apps/{id}: as PUT, of what is there."""
    return await _put(call, only_existing=True)


async def _put(call: Call, *, only_existing: bool) -> Response:
    text, force, about = await call.body(), call.flag("force"), Subject("app", call.id)
    to_version = is_rollback(text)
    if to_version is not None:
        back = RollbackRequested(app=AppId(call.id), to_version=to_version, force=force)
        return (await change(call, back, about)).response()
    partial = only_existing or call.flag("partialUpdate", default=True)
    given = await _given(call, text, partial=partial, only_existing=only_existing)
    fact = AppRequested(
        app=given.app,
        update=True,
        partial=given.fields or None,
        only_existing=only_existing,
        force=force,
    )
    begun = await change(call, fact, about)
    return begun.response(201 if begun.created else 200)


async def _given(call: Call, text: bytes, *, partial: bool, only_existing: bool) -> Given:
    """An app as it was sent; what comes of it is checked with all that is wrong with it. Raises HttpError."""
    row = next((row for row in await rows_of(call) if row.app.id == call.id), None) if partial else None
    if row is None and only_existing:
        raise HttpError(404, errors.no_app(call.id))
    with documents():
        if row is None:
            return Given(parse_document(text, AppSpec, at=call.id), ())
        given = parse_partial(text, at=call.id)
        whole = merged(row.app, given)
        check_document(whole)
    return Given(whole, given.fields)


async def update_apps(call: Call) -> Response:
    """PUT /v2/apps: several at once, by one deployment."""
    return await _put_all(call, only_existing=False)


async def patch_apps(call: Call) -> Response:
    """PATCH /v2/apps: several that are there."""
    return await _put_all(call, only_existing=True)


async def _put_all(call: Call, *, only_existing: bool) -> Response:
    text, partial = await call.body(), only_existing or call.flag("partialUpdate", default=True)
    known = {row.app.id: row.app for row in await rows_of(call)} if partial else {}
    with documents():
        given = parse_apps(text, partial=partial)
    if not given:
        raise HttpError(*errors.invalid([errors.Complaint("/", "must not be empty")]))
    if only_existing and (missing := [each.app.id for each in given if each.app.id not in known]):
        raise HttpError(404, errors.no_app(missing[0]))
    with documents():
        for each in given if partial else ():
            check_document(merged(known[each.app.id], each) if each.app.id in known else each.app)
    wishes = tuple(
        AppWish(app=each.app, partial=each.fields if partial and each.app.id in known else None) for each in given
    )
    fact = AppsRequested(apps=wishes, only_existing=only_existing, force=call.flag("force"))
    return (await change(call, fact, Subject("app", given[0].app.id))).response()


async def delete_app(call: Call) -> Response:
    """DELETE /v2/apps/{id}. It is forced unless it is asked not to be. (Marathon: AppsResource.delete)"""
    fact = RemovalRequested(app=AppId(call.id), force=call.flag("force", default=True))
    return (await change(call, fact, Subject("app", call.id))).response()


async def restart_app(call: Call) -> Response:
    """POST /v2/apps/{id}/restart."""
    fact = RestartRequested(app=AppId(call.id), force=call.flag("force"))
    return (await change(call, fact, Subject("app", call.id))).response()


# ---- versions ---------------------------------------------------------------------------------------------------


async def versions_of(call: Call, question: VersionsQuestion) -> list[VersionRow]:
    """What there was, newest first."""
    return await call.client.ask(MARATHON, "versions", list[VersionRow], question)


async def list_versions(call: Call) -> Response:
    """GET /v2/apps/{id}/versions."""
    rows = await versions_of(call, VersionsQuestion(app=AppId(call.id)))
    if not rows:
        raise HttpError(404, errors.no_app(call.id))
    return answer({"versions": [row.version for row in rows]})


async def get_version(call: Call) -> Response:
    """GET /v2/apps/{id}/versions/{version}."""
    version = call.params["version"]
    rows = await versions_of(call, VersionsQuestion(app=AppId(call.id)))
    found = next((row for row in rows if row.version == version), None)
    if found is None or found.app is None:
        raise HttpError(404, errors.no_app(call.id, version))
    return answer(apps.app_spec(found.app, found.version, found.config_version))


_CHANGED = {200: answers.Deployed, 404: answers.Message, 409: answers.Message, 422: answers.Invalid}
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
        method="PUT",
        path="/v2/apps",
        handler=update_apps,
        about="Change or create several apps",
        body=list[AppSpec],
        answers=_CHANGED,
        query=("force", "partialUpdate"),
        changes=True,
    ),
    Route(
        method="PATCH",
        path="/v2/apps",
        handler=patch_apps,
        about="Change several apps",
        body=list[AppSpec],
        answers=_CHANGED,
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
        about="Change or create an app, or roll it back",
        body=AppSpec,
        answers=_CHANGED | {201: answers.Deployed},
        query=("force", "partialUpdate"),
        changes=True,
    ),
    Route(
        method="PATCH",
        path="/v2/apps/{id}",
        handler=patch_app,
        about="Change an app",
        body=AppSpec,
        answers=_CHANGED,
        query=("force",),
        changes=True,
    ),
    Route(
        method="DELETE",
        path="/v2/apps/{id}",
        handler=delete_app,
        about="Remove an app",
        answers=_CHANGED,
        query=("force",),
        changes=True,
    ),
    Route(
        method="POST",
        path="/v2/apps/{id}/restart",
        handler=restart_app,
        about="Replace every instance",
        answers=_CHANGED,
        query=("force",),
        changes=True,
    ),
    Route(
        method="GET",
        path="/v2/apps/{id}/versions",
        handler=list_versions,
        about="List an app's versions",
        answers={200: answers.Versions, 404: answers.Message},
    ),
    Route(
        method="GET",
        path="/v2/apps/{id}/versions/{version}",
        handler=get_version,
        about="Show an app at a version",
        answers={200: "the app", 404: answers.Message},
    ),
]
