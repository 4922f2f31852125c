"""`/v2/pods` over HTTP, against real minds: exact codes, bodies and headers."""

from tests.components.gateway.house import house

POD = {
    "id": "/pair",
    "containers": [
        {
            "name": "front",
            "resources": {"cpus": 0.1, "mem": 32},
            "exec": {"command": {"shell": "serve"}},
            "endpoints": [{"name": "http", "hostPort": 0, "protocol": ["tcp"]}],
        },
        {"name": "back", "resources": {"cpus": 0.1, "mem": 32}, "exec": {"command": {"shell": "serve"}}},
    ],
}


async def until_status(web, status):
    """The pod, once it is so."""

    async def look():
        found = (await web.get("/v2/pods/pair::status")).json()
        return found.get("status") == status and found

    return await web.until(look, f"the pod is {status}")


async def test_a_pod_lives_and_goes():
    """201, 200, 202, each with its deployment; the status tells of every container."""
    async with house() as web:
        assert (await web.head("/v2/pods")).status_code == 200
        created = await web.post("/v2/pods", json=POD)
        assert (created.status_code, created.headers["location"]) == (201, "/v2/pods/pair")
        assert created.headers["marathon-deployment-id"]
        spec = created.json()
        assert (spec["id"], spec["scaling"]) == ("/pair", {"kind": "fixed", "instances": 1})
        assert spec["scheduling"]["backoff"] == {"backoff": 1, "backoffFactor": 1.15, "maxLaunchDelay": 300}
        assert "rollout" not in spec["scheduling"]
        status = await until_status(web, "STABLE")
        [instance] = status["instances"]
        assert (instance["status"], instance["agentId"], instance["agentHostname"]) == ("STABLE", "a1", "127.0.0.1")
        assert {each["name"]: each["status"] for each in instance["containers"]} == {
            "front": "TASK_RUNNING",
            "back": "TASK_RUNNING",
        }
        front = next(each for each in instance["containers"] if each["name"] == "front")
        assert front["endpoints"][0]["name"] == "http"
        assert 31000 <= front["endpoints"][0]["allocatedHostPort"] < 31100
        assert instance["specReference"] == f"/v2/pods/pair::versions/{spec['version']}"
        assert (await web.get("/v2/pods/::status")).json()[0]["id"] == "/pair"
        assert (await web.get("/v2/pods/pair")).json() == spec == (await web.get("/v2/pods")).json()[0]
        assert (await web.get("/v2/pods/pair::versions")).json() == [spec["version"]]
        assert (await web.get(f"/v2/pods/pair::versions/{spec['version']}")).json() == spec
        assert (await web.get("/v2/groups")).json()["pods"][0]["id"] == "/pair"

        async def calm():
            return not (await web.get("/v2/deployments")).json()

        await web.until(calm)
        changed = await web.put("/v2/pods//pair", json=POD | {"scaling": {"kind": "fixed", "instances": 2}})
        assert (changed.status_code, changed.json()["scaling"]["instances"]) == (200, 2)
        await web.until(calm)
        assert len((await until_status(web, "STABLE"))["instances"]) == 2
        killed = await web.delete(f"/v2/pods/pair::instances/{instance['id']}")
        assert (killed.status_code, killed.json()["id"]) == (200, instance["id"])
        some = await web.request("DELETE", "/v2/pods/pair::instances", json=["no"])
        assert (some.status_code, some.json()) == (200, [])
        removed = await web.delete("/v2/pods/pair?force=true")
        assert (removed.status_code, removed.content) == (202, b"")
        assert removed.headers["marathon-deployment-id"]

        async def gone():
            return (await web.get("/v2/pods/pair::status")).status_code == 404

        await web.until(gone)
        assert (await web.get("/v2/pods/pair")).json() == {"message": "Pod '/pair' does not exist"}
        assert (await web.delete("/v2/pods/pair")).status_code == 404


async def test_a_wrong_pod_is_refused_with_every_path():
    """422 with all that is wrong."""
    async with house(who=("main", "marathon", "metronome")) as web:
        wrong = POD | {
            "containers": [POD["containers"][0] | {"name": "X"}, POD["containers"][1]],
            "scaling": {"instances": -1},
        }
        answer = await web.post("/v2/pods", json=wrong)
        assert answer.status_code == 422
        assert [each["path"] for each in answer.json()["details"]] == ["/containers(0)/name", "/scaling/instances"]
        assert (await web.get("/v2/pods")).json() == []
