"""`/v2/apps` and `/v2/tasks` over HTTP, against real minds: exact codes, bodies and headers."""

import pytest

from tests.components.gateway.house import house

APP_KEYS = [
    "id", "backoffFactor", "backoffSeconds", "cmd", "cpus", "disk", "executor", "instances", "labels",
    "maxLaunchDelaySeconds", "mem", "gpus", "networks", "portDefinitions", "requirePorts", "upgradeStrategy",
    "version", "versionInfo", "killSelection", "unreachableStrategy", "role",
]  # fmt: skip
COUNTS = ["tasksStaged", "tasksRunning", "tasksHealthy", "tasksUnhealthy", "deployments"]


async def test_an_app_is_created_with_201_and_told_where_it_is():
    """The app in the order of Marathon's keys, counts of nothing, its deployment, Location and the deployment's id."""
    async with house() as web:
        answer = await web.post("/v2/apps", json={"id": "web", "cmd": "serve"})
        assert answer.status_code == 201
        body = answer.json()
        assert list(body) == [*APP_KEYS, *COUNTS, "tasks"]
        assert (body["id"], body["executor"], body["labels"], body["cpus"], body["mem"]) == ("/web", "", {}, 1, 128)
        assert body["unreachableStrategy"] == {"inactiveAfterSeconds": 0, "expungeAfterSeconds": 0}
        assert [body[key] for key in COUNTS[:4]] == [0, 0, 0, 0]
        assert answer.headers["location"] == "/v2/apps/web"
        assert body["deployments"] == [{"id": answer.headers["marathon-deployment-id"]}]
        assert answer.headers["x-marathon-leader"] == f"http://{web.gateway.places['both']}"
        assert answer.headers["content-type"] == "application/json"


async def test_an_app_is_shown_with_its_tasks():
    """Doubled slashes are one; counts, deployments and tasks always."""
    async with house() as web:
        app = await web.app("/a/web", instances=2)
        assert (await web.get("/v2/apps//a//web")).json() == {"app": app}
        assert (app["tasksRunning"], len(app["tasks"])) == (2, 2)
        task = app["tasks"][0]
        assert list(task)[:6] == ["id", "appId", "host", "state", "role", "slaveId"]
        assert (task["appId"], task["host"], task["state"], task["slaveId"]) == (
            "/a/web",
            "127.0.0.1",
            "TASK_RUNNING",
            "a1",
        )
        assert len(task["ports"]) == len(task["servicePorts"]) == 1
        assert task["ipAddresses"] == [{"ipAddress": "127.0.0.1", "protocol": "IPv4"}]
        assert "checkResult" not in task
        for path in ("/v2/apps/a/web/tasks", "/v2/apps/a/*/tasks", "/v2/tasks", "/v2/tasks?status=running"):
            assert (await web.get(path)).json() == {"tasks": app["tasks"]}
        assert (await web.get("/v2/tasks?status=staging")).json() == {"tasks": []}
        assert (await web.get("/v2/apps/a/*")).json()["*"][0]["id"] == "/a/web"
        text = await web.get("/v2/tasks", headers={"accept": "text/plain"})
        assert text.text.startswith("a_web\t0\t127.0.0.1:")


async def test_a_list_holds_what_is_asked_for():
    """By command, part of the id and labels; tasks only if they are to be embedded."""
    async with house() as web:
        await web.app("/one", cmd="serve ONE", labels={"tier": "front", "x": "1"})
        await web.app("/two", cmd="serve two", labels={"tier": "back"})

        async def ids(query):
            return [app["id"] for app in (await web.get(f"/v2/apps?{query}")).json()["apps"]]

        assert await ids("") == ["/one", "/two"]
        assert await ids("cmd=one") == ["/one"]
        assert await ids("id=w") == ["/two"]
        assert await ids("label=tier") == ["/one", "/two"]
        assert await ids("label=tier==back") == ["/two"]
        assert await ids("label=tier!=back, x") == ["/one"]
        assert await ids("label=tier in (back, middle)") == ["/two"]
        assert await ids("label=tier notin (back)") == ["/one"]
        assert (await web.get("/v2/apps?label=a==(")).status_code == 400
        listed = (await web.get("/v2/apps")).json()["apps"][0]
        assert "tasks" not in listed
        assert list(listed)[-5:] == COUNTS
        embedded = (await web.get("/v2/apps?embed=apps.tasks&embed=app.counts")).json()["apps"][0]
        assert len(embedded["tasks"]) == 1


async def test_put_merges_and_creates():
    """What is not named stays; `partialUpdate=false` replaces; what is not there is created: 201."""
    async with house() as web:
        assert (await web.put("/v2/apps/web", json={"cmd": "serve"})).status_code == 201
        first = await web.until_running("/web", 1)
        answer = await web.put("/v2/apps//web", json={"instances": 2})
        assert (answer.status_code, list(answer.json())) == (200, ["version", "deploymentId"])
        app = await web.until_running("/web", 2)
        assert app["cmd"] == "serve"
        assert {task["id"] for task in first["tasks"]} <= {task["id"] for task in app["tasks"]}
        assert (await web.put("/v2/apps/web?partialUpdate=false", json={"instances": 1})).status_code == 422
        assert (await web.put("/v2/apps/web", json=app)).status_code == 200, "as it is shown it can be sent back"
        assert (await web.put("/v2/apps/web", json={"id": "/other"})).status_code == 422


async def test_an_app_is_removed_and_then_unknown():
    """200 with version and deployment, then 404 with Marathon's words."""
    async with house() as web:
        await web.app("/web")
        answer = await web.delete("/v2/apps//web?force=True")
        assert (answer.status_code, list(answer.json())) == (200, ["version", "deploymentId"])

        async def gone():
            return (await web.get("/v2/apps/web")).status_code == 404

        await web.until(gone)
        for verb, path in (("get", ""), ("delete", ""), ("post", "/restart"), ("get", "/tasks")):
            found = await getattr(web, verb)(f"/v2/apps/web{path}")
            assert (found.status_code, found.json()) == (404, {"message": "App '/web' does not exist"})


async def test_why_a_task_failed_is_shown():
    """Always with a single app, in a list if it is asked for."""
    async with house() as web:
        await web.post("/v2/apps", json={"id": "/bad", "cmd": "bad"})

        async def failed():
            return (await web.get("/v2/apps/bad")).json()["app"].get("lastTaskFailure")

        failure = await web.until(failed)
        assert list(failure) == ["appId", "host", "message", "state", "taskId", "timestamp", "version"]
        assert (failure["appId"], failure["state"]) == ("/bad", "TASK_FAILED")
        assert failure["timestamp"] > failure["version"]
        [listed] = (await web.get("/v2/apps")).json()["apps"]
        [embedded] = (await web.get("/v2/apps?embed=apps.failures")).json()["apps"]
        assert ("lastTaskFailure" in listed, "lastTaskFailure" in embedded) == (False, True)


async def test_restart_replaces_every_task():
    """Another version of the same."""
    async with house() as web:
        before = await web.app("/web")
        answer = await web.post("/v2/apps/web/restart")
        assert answer.status_code == 200

        async def replaced():
            app = (await web.get("/v2/apps/web")).json()["app"]
            return app["version"] == answer.json()["version"] != before["version"] and app["tasksRunning"] == 1

        await web.until(replaced)


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ({"id": "/w", "cmd": 3}, 400, "/cmd"),
        ({"id": "/w", "cmd": "x", "instances": -1}, 422, "/instances"),
        ({"id": "/w", "cmd": "x", "healthChecks": [{"intervalSeconds": 0}]}, 422, "/healthChecks(0)/intervalSeconds"),
        ({"id": "/w", "cmd": "x", "portDefinitions": [{"port": 1}, {"port": 99999}]}, 422, "/portDefinitions(1)/port"),
        ([], 400, "/"),
    ],
)  # fmt: skip
async def test_a_wrong_document_is_refused_with_the_path(body, code, path):
    """400 for what is not of the right type, 422 for what breaks a rule; nothing was done."""
    async with house(who=("main", "marathon", "metronome")) as web:
        answer = await web.post("/v2/apps", json=body)
        assert answer.status_code == code
        assert answer.json()["message"] == ("Invalid JSON" if code == 400 else "Object is not valid")
        assert path in [each["path"] for each in answer.json()["details"]]
        assert (await web.get("/v2/apps")).json() == {"apps": []}


async def test_an_id_that_is_taken_is_409():
    """With Marathon's words."""
    async with house(who=("main", "marathon", "metronome")) as web:
        for _ in range(2):
            answer = await web.post("/v2/apps", json={"id": "/web", "cmd": "serve"})
        assert (answer.status_code, answer.json()) == (409, {"message": "An app with id [/web] already exists."})
