"""Every route, asked for anything: never our mistake (500), and who is refused has changed nothing."""

import json
from random import Random

import pytest

from components.gateway.web.table import ROUTES
from tests.components.gateway.house import house

requests_each = 3
WORDS = ("web", "/a/b", "..", "*", "é", "%00", "a" * 300, "restart", "tasks", "1", "d-1", "2020-01-01T00:00:00.000Z")
VALUES = (None, True, -1, 0, 3, 1e308, 0.5, "", "x", "/web", "é\x00", "9" * 5000, [], {}, [[]], {"a": {"b": [1]}})
KEYS = (
    *("id", "cmd", "args", "cpus", "mem", "instances", "env", "apps", "groups", "containers", "run", "schedules"),
    *("cron", "ids", "version", "scaleBy", "dependencies", "constraints", "healthChecks", "secrets", "upgradeStrategy"),
)
GOOD = (
    {"id": "/web", "cmd": "serve"},
    {"id": "/a/b", "cmd": "serve", "instances": 2, "constraints": [["hostname", "LIKE", ".*"]]},
    {"id": "/shop", "apps": [{"id": "x", "cmd": "serve"}]},
    {"id": "job", "run": {"cpus": 0.1, "mem": 32, "disk": 0, "cmd": "serve"}},
    {"id": "nightly", "cron": "0 0 * * *"},
    {"id": "/pod", "containers": [{"name": "c", "resources": {}, "exec": {"command": {"shell": "serve"}}}]},
    {"instances": 1},
    {"scaleBy": 2},
    {"ids": []},
    [{"id": "/web", "instances": 1}],
    ["x"],
)


def value_of(random, depth=0):
    """Any JSON."""
    kind = random.random()
    if depth > 3 or kind < 0.5:
        return random.choice(VALUES)
    if kind < 0.7:
        return [value_of(random, depth + 1) for _ in range(random.randrange(2))]
    return {random.choice(KEYS): value_of(random, depth + 1) for _ in range(random.randrange(4))}


def body_of(random):
    """A document, good, spoiled, or anything, as bytes."""
    kind = random.random()
    if kind < 0.1:
        return random.randbytes(random.randrange(40))
    value = json.loads(json.dumps(random.choice(GOOD)))
    if kind < 0.6 and isinstance(value, dict):
        value[random.choice(KEYS)] = value_of(random)
    elif kind < 0.8:
        value = value_of(random)
    text = json.dumps(value).encode()
    return text[: random.randrange(len(text) + 1)] if random.random() < 0.1 else text


def path_of(random, route):
    """A path that the route is for, more or less."""
    path = route.path
    for name in route.names:
        known = {"job": ("job", "a.b"), "schedule": ("nightly",), "task": ("web.instance-1-0._app.1",)}.get(name, ())
        path = path.replace("{" + name + "}", random.choice((*known, *WORDS)))
    return path.replace("é", "%C3%A9")


def query_of(random, route):
    names = [*route.query, "embed", "force", "nonsense"]
    values = ("true", "false", "", "x", "-1", "app.tasks", "lastUnusedOffers", "group.apps", "running")
    return {random.choice(names): random.choice(values) for _ in range(random.randrange(3))}


async def spec_of(web):
    """Everything that somebody specified."""
    return [(await web.get(path)).json() for path in ("/v2/groups", "/v1/jobs?embed=schedules")]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", range(3))
async def test_no_request_is_our_mistake_and_no_refused_one_leaves_a_trace(seed):
    """Drawn along the route table."""
    random = Random(seed)
    routes = [route for route in ROUTES if route.path not in ("/v2/events", "/v2/leader")] * requests_each
    random.shuffle(routes)
    answered = set()
    async with house(who=("main", "marathon", "metronome")) as web:
        for route in routes:
            before = await spec_of(web) if route.changes else None
            headers = {"content-type": random.choice(("application/json",) * 9 + ("text/plain",))}
            content = body_of(random) if route.body is not None or random.random() < 0.1 else b""
            path, query = path_of(random, route), query_of(random, route)
            answer = await web.request(route.method, path, params=query, content=content, headers=headers)
            told = f"{route.method} {path} {query} {content[:300]!r}: {answer.status_code} {answer.text[:300]}"
            assert answer.status_code < 500, told
            if answer.status_code >= 400 and route.method != "HEAD":
                assert answer.json()["message"], told
                assert before is None or await spec_of(web) == before, told
            answered.add((route.method, route.path, answer.status_code < 400))
    assert len({each[:2] for each in answered if each[2]}) > len(ROUTES) // 5, "many are asked for something sensible"
