"""`/v2/events`: what happens as it happens, resuming, and who does not read."""

import asyncio
import json
import resource
from collections.abc import Sequence
from contextlib import aclosing

import httpx
import pytest
from marathon.models.events import EventFactory

from bus import codec
from bus.documents import AppSpec
from bus.events import Event
from bus.memory import Faults, MemoryBus, MemoryServer
from bus.nouns import Position
from bus.port import Record
from bus.services import AppSpecified
from bus.subjects import CLUSTER, Author, Kind
from components.gateway.web import stream
from components.gateway.web.client import MARATHON, Client
from components.gateway.web.counted import COUNTED
from components.runtime import system_clock
from tests.components.gateway.house import gateway_on, house


async def until(condition):
    """Wait for something to come true."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


SSE = {"accept": "text/event-stream"}
MINDS = ("main", "marathon", "metronome")
ELSEWHERE = Author(Kind.CLIENT, "g-other")


async def listen(web, count, *, after=None, query="", place=None, until=None):
    """So many messages as (type, data, id)."""
    headers = SSE | ({"last-event-id": str(after)} if after is not None else {})
    url = f"http://{place or web.gateway.places['both']}/v2/events{query}"
    found = []
    async with (
        asyncio.timeout(20),
        httpx.AsyncClient(timeout=None) as http,
        http.stream("GET", url, headers=headers) as got,
    ):
        assert got.status_code == 200, await got.aread()
        assert got.headers["content-type"].startswith("text/event-stream")
        fields = {}
        async for line in got.aiter_lines():
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
            elif not line and fields:
                found.append(
                    (fields["event"], json.loads(fields["data"]), int(fields["id"]) if "id" in fields else None)
                )
                fields = {}
                if len(found) >= count or (until and until(found[-1])):
                    return found
    return found


def is_running(message):
    """The last of what is told of a task that runs now."""
    return message[0] == "instance_changed_event" and message[1]["condition"] == "Running"


async def test_what_becomes_of_an_app_is_told_in_marathons_events():
    """Every message is one that PyPI marathon can read; the last of each event bears its position."""
    async with house() as web:
        heard = asyncio.create_task(listen(web, 100, until=is_running))
        await web.until(lambda: asyncio.sleep(0, COUNTED.streams))
        app = await web.app("/web", healthChecks=[{"protocol": "COMMAND", "command": {"value": "true"}}])
        told = await heard
        for type_, content, _ in told:
            assert EventFactory().process(content).event_type == type_ == content["eventType"]
            assert content["timestamp"].endswith("Z")
        types = [type_ for type_, _, _ in told]
        assert types[0] == "event_stream_attached"
        assert {"api_post_event", "add_health_check_event", "status_update_event", "instance_changed_event"} <= {*types}
        post = next(content for type_, content, _ in told if type_ == "api_post_event")
        assert (post["uri"], post["appDefinition"]["id"]) == ("/v2/apps/web", "/web")
        running, task = told[-2][1], app["tasks"][0]
        assert (running["taskId"], running["appId"], running["slaveId"]) == (task["id"], "/web", "a1")
        assert (running["host"], running["ports"], running["version"]) == ("127.0.0.1", task["ports"], task["version"])
        assert running["ipAddresses"] == task["ipAddresses"]
        ids = [id_ for _, _, id_ in told if id_ is not None]
        assert ids == sorted(set(ids))


async def test_a_deployment_is_told_step_by_step_also_to_who_comes_in_the_middle():
    """The plan is in each of its events; who reads only the end of it gets it from the store."""
    async with house() as web:
        await web.app("/web")
        done = "deployment_success"
        told = await listen(web, 1000, after=0, until=lambda message: message[0] == done)
        kinds = ("deployment_info", "deployment_step_success", done)
        deployed = [each for each in told if each[0] in kinds]
        assert [each[0] for each in deployed] == [*kinds[:2], *kinds]
        plan = deployed[0][1]["plan"]
        assert [each["actions"][0]["action"] for each in plan["steps"]] == ["StartApplication", "ScaleApplication"]
        assert all(each[1]["plan"] == plan for each in deployed)
        assert deployed[2][1]["currentStep"] == plan["steps"][1]
        assert any(each[0] == "group_change_success" and each[1]["groupId"] == "/" for each in told)
        async with gateway_on(web.server, ELSEWHERE) as other:
            last = deployed[2][2]
            rest = await listen(web, 1000, after=last, place=other.places["both"], until=lambda each: each[0] == done)
        assert [each for each in rest if each[0] in kinds] == deployed[3:]


async def test_who_was_away_resumes_behind_any_event_also_at_another_gateway():
    """What is told again is the same, whoever tells it: from what a hub keeps, or from the log."""
    async with house() as web:
        for name in ("/one", "/two", "/three"):
            await web.app(name)
        first = await listen(
            web, 1000, after=0, until=lambda told: is_running(told) and told[1]["runSpecId"] == "/three"
        )
        positions = [id_ for _, _, id_ in first if id_ is not None]
        for after in (0, positions[0], positions[len(positions) // 2], positions[-2]):
            expected = [each for each in first[1:] if _behind(first[1:], each, after)]
            assert (await listen(web, len(expected) + 1, after=after))[1:] == expected
        async with gateway_on(web.server, ELSEWHERE) as other:
            place = other.places["both"]
            assert (await listen(web, len(first), after=0, place=place))[1:] == first[1:]
            kept = await listen(web, 3, after=positions[-2], place=place)
            assert kept[1:] == [each for each in first if _behind(first, each, positions[-2])]


def _behind(told, message, after):
    """Whether a message belongs to an event behind a position: the next id at or after it says which."""
    index = told.index(message)
    return next((id_ for _, _, id_ in told[index:] if id_ is not None), after + 1) > after


async def test_a_stream_goes_on_across_a_restart_of_its_gateway():
    """Nothing is missed and nothing is told twice."""
    async with house() as web:
        async with gateway_on(web.server, ELSEWHERE) as before:
            heard = asyncio.create_task(listen(web, 100, place=before.places["both"], until=is_running))
            await web.until(lambda: asyncio.sleep(0, before.hub.listeners))
            await web.app("/one")
            first = await heard
        await web.app("/two")
        async with gateway_on(web.server, ELSEWHERE) as later:
            last = max(id_ for _, _, id_ in first if id_ is not None)
            rest = await listen(web, 100, after=last, place=later.places["both"], until=is_running)
        whole = await listen(web, 1000, after=0, until=lambda told: is_running(told) and told[1]["runSpecId"] == "/two")
        upto = next(index for index, each in enumerate(whole) if each[2] is not None and each[2] > last)
        assert [each for each in rest[1:] if each[2]] == [each for each in whole[upto:] if each[2]]


async def test_types_are_chosen_and_our_own_come_only_by_name():
    """`event_type` may be repeated; a name of our log gives the event as it is there."""
    async with house(who=MINDS) as web:
        await web.post("/v2/apps", json={"id": "/web", "cmd": "x"})
        told = await listen(web, 2, after=0, query="?event_type=api_post_event&event_type=framework.revived")
        assert [type_ for type_, _, _ in told] == ["api_post_event", "framework.revived"]
        assert all(id_ is not None for _, _, id_ in told)
        assert told[1][1]["data"] == {"framework": "marathon"}
        assert told[1][1]["by"] == "framework.marathon"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"accept": "application/json"}, 406),
        ({"accept": "*/*"}, 406),
        (SSE | {"last-event-id": "x"}, 400),
        (SSE | {"last-event-id": "-1"}, 400),
        (SSE | {"last-event-id": "999999"}, 410),
    ],
)
async def test_who_cannot_be_told_is_told_why(headers, code):
    """Not asked for as a stream, no position, a position of another stream."""
    async with house(who=MINDS) as web:
        assert (await web.get("/v2/events", headers=headers)).status_code == code


def say_app(server, id_):
    """Marathon says that an app is there."""
    fact = AppSpecified(app=AppSpec(id=id_, cmd="x"), app_version="2027-01-15T08:00:00.000Z", changed="created")
    event = Event(by=MARATHON, to="_", fact=fact, at=system_clock())
    return server.inject(codec.subject(CLUSTER, event), codec.encode(event))


async def test_behind_what_was_trimmed_away_nothing_is_skipped():
    """410, and where the stream begins; from there on it goes, also for a hub that had not read what is gone."""
    async with house(who=()) as web:
        first = [say_app(web.server, f"/app-{index}") for index in range(5)][3]
        web.server.trim(first)
        gone = await web.get("/v2/events", headers=SSE | {"last-event-id": "1"})
        assert (gone.status_code, f"begins at {first}" in gone.json()["message"]) == (410, True)
        say_app(web.server, "/last")
        told = await listen(web, 4, after=first - 1)
        assert [each["appDefinition"]["id"] for _, each, _ in told[1:]] == ["/app-3", "/app-4", "/last"]


class Delivered(Faults):
    """What a connection was given of a log."""

    def __init__(self) -> None:
        self.positions: list[Position] = []

    async def deliver(self, records: Sequence[Record]) -> int:
        self.positions += [record.position for record in records]
        return len(records)


async def test_what_nobody_listens_to_is_not_read():
    """Behind the last who left one more event is; who comes then hears what is said from then on."""
    server, delivered = MemoryServer(CLUSTER, system_clock), Delivered()
    hub = stream.Hub(Client(MemoryBus(server, delivered), ELSEWHERE, system_clock, answer_s=1))
    running = asyncio.create_task(hub.run())
    say_app(server, "/unheard")
    for name in ("/one", "/two"):
        listener = stream.Listener(frozenset({"api_post_event"}))
        await hub.welcome(listener)
        async with aclosing(hub.told(listener, None)) as told:
            hearing = asyncio.ensure_future(anext(told))
            await until(lambda listener=listener: listener in hub.listeners)
            said = say_app(server, name)
            assert f'"id":"{name}"'.encode() in await hearing
            assert delivered.positions[-1] == said
        hub.detach(listener)
        last = say_app(server, f"{name}-unheard")
        await until(lambda last=last: delivered.positions[-1] == last)
        say_app(server, f"{name}-unread")
    running.cancel()
    await asyncio.wait({running})
    assert delivered.positions == [2, 3, 5, 6]


async def test_who_never_reads_is_cut_off_and_others_hear_all(monkeypatch):
    """What waits for one is bounded; the line is cut, the memory free."""
    monkeypatch.setattr(stream, "queue_max", 8)
    async with house(who=MINDS) as web:
        host, _, port = web.gateway.places["both"].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1)
        transport = writer.transport
        transport.pause_reading()
        writer.write(f"GET /v2/events HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n".encode())
        await web.until(lambda: asyncio.sleep(0, web.gateway.hub.listeners))
        dropped, labels = COUNTED.dropped, {f"label-{index}": "x" * 4000 for index in range(20)}
        made = 0
        while COUNTED.dropped == dropped and made < 400:
            answer = await web.post("/v2/apps", json={"id": f"/web-{made}", "cmd": "x", "labels": labels})
            assert answer.status_code == 201
            made += 1
        assert COUNTED.dropped == dropped + 1
        await web.until(lambda: asyncio.sleep(0, not web.gateway.hub.listeners))
        writer.close()
        assert len((await web.get("/v2/apps")).json()["apps"]) == made
        del reader


async def test_a_thousand_listen_and_do_nothing():
    """Each hears what happens; requests are answered as before."""
    wanted = 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * wanted + 500:
        pytest.skip(f"only {hard} files may be open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * wanted + 500)), hard))
    async with house(who=MINDS) as web:
        host, _, port = web.gateway.places["both"].rpartition(":")
        ask = f"GET /v2/events?event_type=api_post_event HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n"
        lines = []
        for _ in range(wanted):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(ask.encode())
            lines.append((reader, writer))
        await web.until(lambda: asyncio.sleep(0, len(web.gateway.hub.listeners) == wanted))
        assert (await web.post("/v2/apps", json={"id": "/web", "cmd": "x"})).status_code == 201

        async def heard(reader):
            async with asyncio.timeout(20):
                while b"event: api_post_event" not in await reader.readline():
                    pass
            return True

        assert all(await asyncio.gather(*(heard(reader) for reader, _ in lines)))
        for _, writer in lines:
            writer.close()
        await web.until(lambda: asyncio.sleep(0, not web.gateway.hub.listeners))
