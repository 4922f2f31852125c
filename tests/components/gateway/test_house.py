"""What every route has in common: bodies, methods, people, and whom nobody answers."""

import asyncio
import base64
import json
import os

import httpx
import pytest

from bus import codec
from bus.services import AppRequested, SchedulerLocated
from components.gateway import GatewayConfig
from components.gateway.config import body_bytes_max
from components.gateway.web.people import UsersRefused, read_people
from tests.components.gateway.house import house

MINDS = ("main", "marathon", "metronome")
JSON = {"content-type": "application/json"}


async def test_ping_info_and_leader():
    """As Marathon and Metronome answer them."""
    async with house(who=MINDS) as web:
        place = web.gateway.places["both"]
        ping = await web.get("/ping")
        assert (ping.text, ping.headers["content-type"]) == ("pong", "text/plain; charset=utf-8")
        info = (await web.get("/v2/info")).json()
        assert list(info)[:6] == ["name", "version", "buildref", "elected", "leader", "frameworkId"]
        assert (info["elected"], info["leader"]) == (True, place)
        assert (await web.get("/v2/leader")).json() == (await web.get("/leader")).json() == {"leader": place}
        assert list((await web.get("/info")).json()) == ["version", "libVersion"]
        assert (await web.get("/service/marathon/v2/info")).json() == info
        assert (await web.get("/service/metronome/v1/jobs")).json() == []
        assert (await web.get("/service/metronome/v2/info")).status_code == 404
        root = await web.get("/")
        assert (root.status_code, root.headers["location"]) == (302, "/ui/")
        metrics = (await web.get("/metrics")).json()
        assert metrics["gauges"]["service.mesosphere.marathon.app.count"] == {"value": 0}
        assert "# TYPE busbar_gateway_streams_open gauge" in (await web.get("/metrics/prometheus")).text


async def test_without_a_leader_there_is_503_with_retry_after_and_nothing_is_said():
    """Who leads nothing hears nothing: the request is not on the stream to be done later."""
    async with house(who=("main", "metronome"), answer_s=0.2) as web:
        for verb, path in (("get", "/v2/apps"), ("delete", "/v2/apps/web")):
            answer = await getattr(web, verb)(path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        answer = await web.post("/v2/apps", json={"id": "/web", "cmd": "x"})
        assert answer.json() == {"message": "no marathon leads at the moment: nothing was done"}
        assert (await web.get("/v2/leader")).status_code == 404
        assert (await web.get("/v2/info")).json()["elected"] is False
        assert not [record for record in web.server.records() if ".client." in record.subject]


async def test_a_scheduler_that_just_restarts_is_waited_for():
    """A client does not notice."""
    async with house(who=MINDS) as web:
        await web.end("marathon")
        asked = asyncio.create_task(web.post("/v2/apps", json={"id": "/web", "cmd": "x"}))
        web.begin("marathon")
        assert (await asked).status_code == 201


async def test_who_leads_can_be_asked_to_abdicate():
    """It ends in good order, and the next to start goes on where it was."""
    async with house(who=MINDS) as web:
        await web.post("/v2/apps", json={"id": "/web", "cmd": "x"})
        answer = await web.delete("/v2/leader")
        assert (answer.status_code, answer.json()) == (200, {"message": "Leadership abdicated"})
        await asyncio.wait_for(web.lives["marathon"], 10)
        web.begin("marathon")
        assert [each["id"] for each in (await web.get("/v2/apps")).json()["apps"]] == ["/web"]
        terms = [each for each in web.server.records() if ".leader." in each.subject and "marathon" in each.subject]
        assert [each.subject.split(".")[4] for each in terms] == ["elected", "resigned", "elected"]


async def test_unknown_routes_and_methods():
    """404 that names the path, 405 that says what is allowed."""
    async with house(who=MINDS) as web:
        answer = await web.get("/v3/what")
        assert (answer.status_code, answer.json()) == (404, {"message": "URI not found: /v3/what"})
        answer = await web.put("/ping")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
        answer = await web.request("OPTIONS", "/v2/apps")
        assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS, PATCH, POST, PUT")
        head = await web.head("/v2/apps")
        assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b'{"id": "/a"', b"[" * 100_000, b"nul", b'{"a":1}{'])
async def test_what_is_no_json_is_400(text):
    """With details of the whole."""
    async with house(who=MINDS) as web:
        answer = await web.post("/v2/apps", content=text, headers=JSON)
        assert answer.status_code == 400
        assert answer.json()["message"] == "Invalid JSON"
        assert answer.json()["details"][0]["path"] == "/"


async def test_bodies_are_bounded_and_are_json():
    """Too large is 413 before all of it is read, other content 415."""
    async with house(who=MINDS) as web:
        large = b'"' + b"x" * body_bytes_max + b'"'
        assert (await web.post("/v2/apps", content=large, headers=JSON)).status_code == 413

        async def pieces():
            yield b'"'
            for _ in range(body_bytes_max // 1024 + 1):
                yield b"x" * 1024

        assert (await web.post("/v2/apps", content=pieces(), headers=JSON)).status_code == 413
        for kind in ({"content-type": "text/xml"}, {"content-type": "application/x-www-form-urlencoded"}, {}):
            answer = await web.post("/v2/apps", content=b'{"id": "/web", "cmd": "x"}', headers=kind)
            assert answer.status_code == 415
        with_charset = {"content-type": "Application/JSON; charset=utf-8"}
        assert (await web.post("/v2/apps", content=b'{"id":"/web","cmd":"x"}', headers=with_charset)).status_code == 201


async def test_a_body_that_breaks_off_does_nothing():
    """Less came than was promised, and the line is cut."""
    async with house(who=MINDS) as web:
        host, _, port = web.gateway.places["both"].rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        body = json.dumps({"id": "/web", "cmd": "x"}).encode()
        length = f"Content-Length: {len(body) + 5}"
        head = f"POST /v2/apps HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{length}"
        writer.write(f"{head}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await web.get("/v2/apps")).json() == {"apps": []}


async def test_what_a_person_asks_is_known_to_be_theirs(tmp_path):
    """The bus sees the gateway and, behind it, the person; step one is said too."""
    users = tmp_path / "users"
    users.write_text("# people\nalice:secret-secret-secret\nbob:another-long-secret:viewer\n")
    users.chmod(0o600)
    async with house(who=(), users=str(users)) as lone:
        assert (await lone.get("/v2/apps")).status_code == 401
        assert (await lone.get("/ping")).status_code == 200
    async with house(who=("main", "metronome"), users=str(users)) as web:
        web.begin("marathon")
        token = {"authorization": "token=secret-secret-secret"}

        async def there():
            return (await web.get("/v2/leader", headers=token)).status_code == 200

        await web.until(there)
        basic = "Basic " + base64.b64encode(b"alice:secret-secret-secret").decode()
        body = {"id": "/web", "cmd": "x"}
        assert (await web.post("/v2/apps", json=body, headers={"authorization": basic})).status_code == 201
        said = [codec.decode(each.subject, each.body, each.position) for each in web.server.records()]
        asked = [event for event in said if event.by.id == "g-web"]
        assert [type(event.fact) for event in asked] == [SchedulerLocated, AppRequested]
        assert {event.behind for event in asked} == {"g-web/alice"}
        assert len({event.trace for event in asked}) == 1
        viewer = {"authorization": "token=another-long-secret"}
        assert (await web.get("/v2/apps", headers=viewer)).status_code == 200
        refused = await web.post("/v2/apps", json=body, headers=viewer)
        assert (refused.status_code, refused.json()) == (403, {"message": "Not Authorized to perform this action!"})
        for wrong in ("token=no", "Basic !", "Bearer x", "token=", basic[:-2]):
            assert (await web.get("/v2/apps", headers={"authorization": wrong})).status_code == 401
        users.write_text("carol:a-third-secret-here\n")
        os.utime(users, ns=(1, 1))
        assert (await web.get("/v2/apps", headers=token)).status_code == 401, "who was taken out is out at once"


def test_a_file_of_people_is_private_and_whole(tmp_path):
    """Nobody is let in by a file that others can read, or that cannot be read."""
    users = tmp_path / "users"
    for text, mode, why in (
        ("alice:secret-secret-secret", 0o644, "chmod 600"),
        ("alice:short", 0o600, "line 1"),
        ("a:secret-secret-secret\n:x", 0o600, "line 2"),
        ("", 0o600, "names nobody"),
    ):
        users.write_text(text)
        users.chmod(mode)
        with pytest.raises(UsersRefused, match=why):
            read_people(users)


async def test_an_open_gateway_answers_no_page_of_elsewhere():
    """A name that was made to point here, and a page that sends without asking."""
    async with house(who=MINDS) as web:
        assert (await web.get("/v2/apps", headers={"host": "evil.example:80"})).status_code == 403
        for origin, code in (
            ("http://evil.example", 403),
            (f"http://{web.gateway.places['both']}", 404),
            ("null", 403),
        ):
            answer = await web.post("/v2/apps/web/restart", headers={"origin": origin})
            assert answer.status_code == code


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"host": "0.0.0.0"}, "--users"),
        ({"host": "example.org"}, "--users"),
        ({"port": 70000}, "not a port"),
        ({"port": 80, "marathon_port": 80}, "twice"),
        ({"answer_s": float("nan")}, "answer_s"),
    ],
)
def test_what_a_gateway_cannot_be(wrong, why):
    """Refused before anything listens."""
    with pytest.raises(ValueError, match=why):
        GatewayConfig(**wrong)


async def test_each_api_can_have_a_port_of_its_own():
    """As Marathon (8080) and Metronome (9000) had."""
    async with house(who=MINDS, marathon_port=0, metronome_port=0) as web:
        places = web.gateway.places
        async with httpx.AsyncClient() as http:
            for api, path, code in (
                ("marathon", "/v2/apps", 200),
                ("marathon", "/v1/jobs", 404),
                ("metronome", "/v1/jobs", 200),
                ("metronome", "/v2/apps", 404),
                ("metronome", "/ping", 200),
            ):
                assert (await http.get(f"http://{places[api]}{path}")).status_code == code


async def test_the_description_tells_every_route():
    """OpenAPI, from the table."""
    async with house(who=()) as web:
        described = (await web.get("/openapi.json")).json()
        assert described["openapi"] == "3.1.0"
        ids = [each["operationId"] for methods in described["paths"].values() for each in methods.values()]
        assert len(set(ids)) == len(ids)
        assert described["components"]["schemas"]["AppSpec"]["properties"]["instances"]["minimum"] == 0
        assert described["paths"]["/v2/apps/{id}"]["get"]["parameters"][0]["name"] == "id"
