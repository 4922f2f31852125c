"""`/v2/pods`.

Rule of this room: as in `web.apps`. (Marathon: `api/v2/PodsResource.scala`)
"""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import Response

from bus.app_rows import VersionsQuestion
from bus.documents import PodSpec
from bus.documents.reading import parse_document
from bus.nouns import AppId, TaskId
from bus.pod_rows import PodInstanceRow, PodRow
from bus.services import KillsRequested, PodRequested, RemovalRequested
from components.gateway.routes import Route
from components.gateway.shapes import answers, errors
from components.gateway.shapes.pods import instance_status, pod_spec, pod_status, version_of
from components.gateway.web.apps import versions_of
from components.gateway.web.call import Call, HttpError, answer, documents, part
from components.gateway.web.changes import Subject, ask, change
from components.gateway.web.client import MARATHON


async def rows_of(call: Call) -> list[PodRow]:
    """Every pod."""
    return await call.client.ask(MARATHON, "pods", list[PodRow])


async def row_of(call: Call) -> PodRow:
    """The pod in the path. Raises HttpError."""
    row = next((row for row in await rows_of(call) if row.pod.id == call.id), None)
    if row is None:
        raise HttpError(404, errors.no_pod(call.id))
    return row


def shown(row: PodRow) -> dict[str, object]:
    """A pod as it is specified now."""
    return pod_spec(row.pod, version_of(row))


async def probe(_call: Call) -> Response:
    """HEAD /v2/pods: yes, there are pods."""
    return Response(status_code=200)


async def list_pods(call: Call) -> Response:
    """GET /v2/pods."""
    return answer([shown(row) for row in await rows_of(call)])


async def get_pod(call: Call) -> Response:
    """GET /v2/pods/{id}."""
    return answer(shown(await row_of(call)))


async def list_statuses(call: Call) -> Response:
    """GET /v2/pods/::status."""
    return answer([pod_status(row) for row in await rows_of(call)])


async def get_status(call: Call) -> Response:
    """GET /v2/pods/{id}::status."""
    return answer(pod_status(await row_of(call)))


async def list_versions(call: Call) -> Response:
    """GET /v2/pods/{id}::versions: a bare array."""
    await row_of(call)
    return answer([row.version for row in await versions_of(call, VersionsQuestion(pod=AppId(call.id)))])


async def get_version(call: Call) -> Response:
    """GET /v2/pods/{id}::versions/{version}."""
    await row_of(call)
    rows = await versions_of(call, VersionsQuestion(pod=AppId(call.id)))
    found = next((row for row in rows if row.version == call.params["version"]), None)
    if found is None or found.pod is None:
        raise HttpError(404, errors.no_pod(call.id, call.params["version"]))
    return answer(pod_spec(found.pod, found.version))


async def create_pod(call: Call) -> Response:
    """POST /v2/pods."""
    text = await call.body()
    with documents():
        spec = parse_document(text, PodSpec)
    begun = await change(call, PodRequested(pod=spec, force=call.flag("force")), Subject("pod", spec.id))
    headers = {"Location": f"/v2/pods{quote(spec.id)}", **begun.headers}
    return answer(pod_spec(spec, begun.version), 201, headers=headers)


async def update_pod(call: Call) -> Response:
    """PUT /v2/pods/{id}."""
    text = await call.body()
    with documents():
        spec = parse_document(text, PodSpec, at=call.id)
    fact = PodRequested(pod=spec, update=True, force=call.flag("force"))
    begun = await change(call, fact, Subject("pod", spec.id))
    return answer(pod_spec(spec, begun.version), 200, headers=begun.headers)


async def delete_pod(call: Call) -> Response:
    """DELETE /v2/pods/{id}: 202. (Marathon: PodsResource.remove)"""
    fact = RemovalRequested(pod=AppId(call.id), force=call.flag("force"))
    begun = await change(call, fact, Subject("pod", call.id))
    headers = {"Location": f"/v2/deployments/{begun.deployment}", **begun.headers}
    return Response(status_code=202, headers=headers)


async def kill_instances(call: Call) -> Response:
    """DELETE /v2/pods/{id}::instances: those that are named in the body."""
    ids = part(await call.json(), list[str])
    row = await row_of(call)
    return await _kill(call, row, [each for each in row.instances if each.instance in ids])


async def kill_instance(call: Call) -> Response:
    """DELETE /v2/pods/{id}::instances/{instance}."""
    row = await row_of(call)
    found = [each for each in row.instances if each.instance == call.params["instance"]]
    if not found:
        raise HttpError(404, errors.no_task(call.params["instance"]))
    return await _kill(call, row, found, alone=True)


async def _kill(call: Call, row: PodRow, found: list[PodInstanceRow], *, alone: bool = False) -> Response:
    killed = [instance_status(row, each) for each in found]
    if found:
        fact = KillsRequested(tasks=tuple(TaskId(each.instance) for each in found), wipe=call.flag("wipe"))
        await ask(call, fact, Subject("pod", call.id))
    return answer(killed[0] if alone else killed)


_404 = {404: answers.Message}
_CHANGED = {404: answers.Message, 409: answers.Message, 422: answers.Invalid}
ROUTES = [
    Route(method="HEAD", path="/v2/pods", handler=probe, about="Are there pods?", answers={200: "yes"}),
    Route(method="GET", path="/v2/pods", handler=list_pods, about="List the pods", answers={200: "an array of pods"}),
    Route(
        method="POST",
        path="/v2/pods",
        handler=create_pod,
        about="Create a pod",
        body=PodSpec,
        answers={201: PodSpec, **_CHANGED},
        query=("force",),
        changes=True,
    ),
    Route(
        method="GET",
        path="/v2/pods/::status",
        handler=list_statuses,
        about="How all pods go",
        answers={200: "an array of statuses"},
    ),
    Route(method="GET", path="/v2/pods/{id}", handler=get_pod, about="Show a pod", answers={200: PodSpec, **_404}),
    Route(
        method="PUT",
        path="/v2/pods/{id}",
        handler=update_pod,
        about="Change a pod",
        body=PodSpec,
        answers={200: PodSpec, **_CHANGED},
        query=("force",),
        changes=True,
    ),
    Route(
        method="DELETE",
        path="/v2/pods/{id}",
        handler=delete_pod,
        about="Remove a pod",
        answers={202: "it goes", **_404, 409: answers.Message},
        query=("force",),
        changes=True,
    ),
    Route(
        method="GET",
        path="/v2/pods/{id}::status",
        handler=get_status,
        about="How a pod goes",
        answers={200: "the status", **_404},
    ),
    Route(
        method="GET",
        path="/v2/pods/{id}::versions",
        handler=list_versions,
        about="List a pod's versions",
        answers={200: list[str], **_404},
    ),
    Route(
        method="GET",
        path="/v2/pods/{id}::versions/{version}",
        handler=get_version,
        about="Show a pod at a version",
        answers={200: PodSpec, **_404},
    ),
    Route(
        method="DELETE",
        path="/v2/pods/{id}::instances",
        handler=kill_instances,
        about="Kill instances",
        body=list[str],
        answers={200: "an array of instances", **_404},
        query=("wipe",),
        changes=True,
    ),
    Route(
        method="DELETE",
        path="/v2/pods/{id}::instances/{instance}",
        handler=kill_instance,
        about="Kill an instance",
        answers={200: "the instance", **_404},
        query=("wipe",),
        changes=True,
    ),
]
