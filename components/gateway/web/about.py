"""What is asked about the service itself: ping, info, leader, metrics, the description of the API.

Rule of this room: as in `web.apps`. (Marathon: `InfoResource`, `LeaderResource`; Metronome: `ApplicationController`)
"""

from __future__ import annotations

from importlib.metadata import version

from starlette.responses import PlainTextResponse, RedirectResponse, Response

from bus.app_rows import AppRow
from bus.job_rows import JobRow
from bus.services import ResignationRequested
from components.gateway.routes import BOTH, Route
from components.gateway.shapes import answers
from components.gateway.shapes.info import marathon_info, metrics, metronome_info, prometheus
from components.gateway.shapes.times import number
from components.gateway.web.call import Call, HttpError, answer
from components.gateway.web.client import MARATHON, METRONOME, Away
from components.gateway.web.counted import COUNTED

BUILD = f"busbar-{version('busbar-os')}"


async def ping(_call: Call) -> Response:
    """GET /ping."""
    return PlainTextResponse("pong")


async def root(_call: Call) -> Response:
    """GET /."""
    return RedirectResponse("/ui/", 302)


async def marathons_info(call: Call) -> Response:
    """GET /v2/info."""
    return answer(marathon_info(call.place, BUILD, elected=await call.client.leads(MARATHON)))


async def metronomes_info(_call: Call) -> Response:
    """GET /info."""
    return answer(metronome_info(BUILD))


async def marathons_leader(call: Call) -> Response:
    """GET /v2/leader: any gateway speaks for whoever leads."""
    if not await call.client.leads(MARATHON):
        raise HttpError(404, "There is no leader")
    return answer({"leader": call.place})


async def abdicate(call: Call) -> Response:
    """DELETE /v2/leader: the instance that leads ends, and another one leads. (Marathon: LeaderResource.delete)"""
    if not await call.client.leads(MARATHON):
        raise HttpError(404, "There is no leader")
    await call.client.request(MARATHON, ResignationRequested(), call.actor)
    return answer({"message": "Leadership abdicated"})


async def metronomes_leader(call: Call) -> Response:
    """GET /leader."""
    if not await call.client.leads(METRONOME):
        raise HttpError(404, "There is no leader")
    return answer({"leader": call.place})


async def list_subscriptions(_call: Call) -> Response:
    """GET /v2/eventSubscriptions: nobody is called back; what happens is at /v2/events."""
    return answer({"callbackUrls": []})


async def change_subscription(_call: Call) -> Response:
    """POST, DELETE /v2/eventSubscriptions. (Marathon, unless started with `--event_subscriber http_callback`)"""
    raise HttpError(400, "http event callback system is not running on this Marathon instance: listen at /v2/events")


async def _gauges(call: Call) -> dict[str, float]:
    found: dict[str, float] = {"busbar.gateway.streams.open": COUNTED.streams}
    try:
        rows = await call.client.ask(MARATHON, "apps", list[AppRow])
        found["service.mesosphere.marathon.app.count"] = len(rows)
        found["service.mesosphere.marathon.task.running.count"] = sum(row.running for row in rows)
        found["service.mesosphere.marathon.task.staged.count"] = sum(row.waiting for row in rows)
        found["metronome.jobs.count"] = len(await call.client.ask(METRONOME, "jobs", list[JobRow]))
    except Away:
        return found  # what is measured here is there all the same
    return {name: number(value) for name, value in found.items()}


async def show_metrics(call: Call) -> Response:
    """GET /metrics."""
    return answer(metrics(COUNTED.counters(), await _gauges(call)))


async def show_prometheus(call: Call) -> Response:
    """GET /metrics/prometheus."""
    text = prometheus(COUNTED.counters(), await _gauges(call))
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


async def describe_api(_call: Call) -> Response:
    """GET /openapi.json."""
    from components.gateway.openapi import describe
    from components.gateway.web.table import ROUTES as EVERY

    return answer(describe(EVERY, version("busbar-os")))


ROUTES = [
    Route(method="GET", path="/ping", handler=ping, about="Is it there?", api=BOTH, answers={200: "pong"}, public=True),
    Route(method="GET", path="/", handler=root, about="To the pages", answers={302: "to /ui/"}),
    Route(method="GET", path="/v2/info", handler=marathons_info, about="What this is", answers={200: "info"}),
    Route(
        method="GET",
        path="/info",
        handler=metronomes_info,
        about="What this is",
        api="metronome",
        answers={200: "info"},
    ),
    Route(
        method="GET",
        path="/v2/leader",
        handler=marathons_leader,
        about="Where Marathon's API is",
        answers={200: answers.Leader, 404: answers.Message},
    ),
    Route(
        method="DELETE",
        path="/v2/leader",
        handler=abdicate,
        about="Have another instance of Marathon lead",
        answers={200: answers.Message, 404: answers.Message},
        changes=True,
    ),
    Route(
        method="GET",
        path="/leader",
        handler=metronomes_leader,
        about="Where Metronome's API is",
        api="metronome",
        answers={200: answers.Leader, 404: answers.Message},
    ),
    Route(
        method="GET",
        path="/v2/eventSubscriptions",
        handler=list_subscriptions,
        about="Who is called back: nobody",
        answers={200: "{callbackUrls}"},
    ),
    *(
        Route(
            method=method,
            path="/v2/eventSubscriptions",
            handler=change_subscription,
            about="Refused: nobody is called back",
            answers={400: answers.Message},
            query=("callbackUrl",),
            changes=True,
        )
        for method in ("POST", "DELETE")
    ),
    Route(method="GET", path="/metrics", handler=show_metrics, about="Counters", api=BOTH, answers={200: "metrics"}),
    Route(
        method="GET",
        path="/v1/metrics",
        handler=show_metrics,
        about="Counters",
        api="metronome",
        answers={200: "metrics"},
    ),
    Route(
        method="GET",
        path="/metrics/prometheus",
        handler=show_prometheus,
        about="Counters, for Prometheus",
        api=BOTH,
        answers={200: "metrics as text"},
    ),
    Route(
        method="GET",
        path="/openapi.json",
        handler=describe_api,
        about="This description",
        api=BOTH,
        answers={200: "OpenAPI 3.1.0"},
    ),
]
