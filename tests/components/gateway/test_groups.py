"""`/v2/groups`, `/v2/deployments`, `/v2/queue`, versions and kills over HTTP, against real minds."""

from tests.components.gateway.house import house

MINDS = ("main", "marathon", "metronome")
DB = {"id": "db", "cmd": "serve"}
WEB = {"id": "web", "cmd": "serve", "dependencies": ["/shop/db"]}
SHOP = {"id": "/shop", "apps": [DB, WEB], "groups": [{"id": "inner", "apps": [{"id": "x", "cmd": "serve"}]}]}
LARGE = {"id": "/large", "cmd": "serve", "cpus": 1000}


async def until_calm(web):
    """No deployment goes on."""

    async def calm():
        return not (await web.get("/v2/deployments")).json()

    await web.until(calm, "no deployment goes on")


async def test_a_group_is_created_and_shown_as_a_tree():
    """201, Location, the deployment's id; relative ids are absolute; the root holds it."""
    async with house() as web:
        created = await web.post("/v2/groups", json=SHOP)
        assert (created.status_code, list(created.json())) == (201, ["version", "deploymentId"])
        assert created.headers["location"] == "/v2/groups/shop"
        assert created.headers["marathon-deployment-id"] == created.json()["deploymentId"]
        await web.until_running("/shop/web", 1)
        await web.until_running("/shop/inner/x", 1)
        shown = (await web.get("/v2/groups//shop")).json()
        assert list(shown) == ["id", "apps", "pods", "groups", "dependencies", "version"]
        assert [each["id"] for each in shown["apps"]] == ["/shop/db", "/shop/web"]
        assert [each["id"] for each in shown["groups"]] == ["/shop/inner"]
        root = (await web.get("/v2/groups")).json()
        assert (root["id"], root["apps"], [each["id"] for each in root["groups"]]) == ("/", [], ["/shop"])
        assert root["version"] == created.json()["version"]
        some = (await web.get("/v2/groups/shop?embed=group.groups")).json()
        assert list(some) == ["id", "groups", "dependencies", "version"]
        counted = (await web.get("/v2/groups/shop?embed=group.apps&embed=group.apps.counts")).json()
        assert counted["apps"][0]["tasksRunning"] == 1
        every = (await web.get("/v2/groups/shop/apps")).json()["apps"]
        assert [each["id"] for each in every] == ["/shop/db", "/shop/web", "/shop/inner/x"]
        again = await web.post("/v2/groups", json=SHOP)
        assert again.status_code == 409
        assert (await web.get("/v2/groups/no")).json() == {"message": "Group '/no' does not exist"}


async def test_a_group_is_changed_scaled_rolled_back_and_removed_as_a_whole():
    """One deployment each; what is not named is removed; versions are a bare array, newest first."""
    async with house() as web:
        first = (await web.post("/v2/groups", json=SHOP)).json()["version"]
        await web.until_running("/shop/web", 1)
        await until_calm(web)
        steps = (await web.put("/v2/groups/shop?dryRun=true", json={"apps": [DB]})).json()["steps"]
        assert steps == [{"actions": [{"action": "StopApplication", "app": "/shop/web"}]}]
        assert len((await web.get("/v2/apps")).json()["apps"]) == 3, "nothing was done"
        put = await web.put("/v2/groups/shop", json={"apps": [DB]})
        assert (put.status_code, list(put.json())) == (200, ["version", "deploymentId"])
        await until_calm(web)
        assert [each["id"] for each in (await web.get("/v2/groups/shop")).json()["apps"]] == ["/shop/db"]
        assert (await web.put("/v2/groups/shop", json={"scaleBy": 2})).status_code == 200
        await web.until_running("/shop/db", 2)
        await until_calm(web)
        versions = (await web.get("/v2/groups/shop/versions")).json()
        assert versions == sorted(versions, reverse=True)
        assert {first, put.json()["version"]} <= {*versions}
        old = (await web.get(f"/v2/groups/shop/versions/{first}")).json()
        assert [each["id"] for each in old["apps"]] == ["/shop/db", "/shop/web"]
        back = await web.put("/v2/groups/shop", json={"version": first})
        assert back.status_code == 200
        await web.until_running("/shop/web", 1)
        await until_calm(web)
        assert (await web.delete("/v2/groups/shop?force=true")).status_code == 200

        async def gone():
            return (await web.get("/v2/groups/shop")).status_code == 404

        await web.until(gone)


async def test_a_dry_run_creates_nothing_either():
    """Marathon ignores it of POST: who only wanted to look has a group."""
    async with house(who=MINDS) as web:
        dry = await web.post("/v2/groups?dryRun=true", json=SHOP)
        assert (dry.status_code, list(dry.json())) == (200, ["steps"])
        assert (await web.get("/v2/groups/shop")).status_code == 404


async def test_a_group_is_not_removed_by_a_rollback():
    """Versions of a group are those at which it was there; to another it does not go back."""
    async with house(who=MINDS) as web:
        before = (await web.put("/v2/apps/old", json={"cmd": "serve", "instances": 0})).json()["version"]
        await web.post("/v2/groups", json={"id": "/shop", "apps": [DB | {"instances": 0}]})
        await until_calm(web)
        (first,) = (await web.get("/v2/groups/shop/versions")).json()
        assert (await web.get("/v2/groups/versions")).json() == [first, before]
        for path, body in (("/v2/groups/shop", {"version": before}), (f"/v2/groups/shop/versions/{before}", None)):
            refused = await web.put(path, json=body)
            assert refused.status_code == 404
            assert f"group /shop did not exist at version {before}" in refused.json()["message"]
        await web.delete("/v2/groups/shop")
        await until_calm(web)
        assert (await web.put("/v2/groups/shop", json={"version": first})).status_code in (200, 201), "it comes back"
        assert (await web.get("/v2/apps/shop/db")).status_code == 200


async def test_who_holds_the_lock_is_in_the_refusal():
    """409 with the ids of deployments; a cancelled one goes back, a forced one just stops: 202 and nothing."""
    async with house(who=MINDS) as web:
        created = await web.post("/v2/apps", json=LARGE)
        [deployment] = (await web.get("/v2/deployments")).json()
        assert list(deployment) == [
            *("id", "version", "affectedApps", "affectedPods", "steps", "currentActions", "currentStep", "totalSteps")
        ]
        assert deployment["id"] == created.headers["marathon-deployment-id"]
        assert (deployment["affectedApps"], deployment["affectedPods"]) == (["/large"], [])
        assert deployment["steps"][0] == {"actions": [{"action": "StartApplication", "app": "/large"}]}
        assert (deployment["currentStep"], deployment["totalSteps"]) == (2, 2)
        [action] = deployment["currentActions"]
        assert action == {"action": "ScaleApplication", "app": "/large", "readinessCheckResults": []}
        locked = await web.put("/v2/apps/large", json={"instances": 2})
        assert locked.status_code == 409
        assert locked.json()["deployments"] == [{"id": deployment["id"]}]
        assert f"deployment {deployment['id']}" in locked.json()["message"]
        assert (await web.put("/v2/apps/large?force=true", json={"instances": 2})).status_code == 200
        [other] = (await web.get("/v2/deployments")).json()
        forced = await web.delete(f"/v2/deployments/{other['id']}?force=true")
        assert (forced.status_code, forced.content) == (202, b"")
        assert (await web.get("/v2/deployments")).json() == []
        await web.put("/v2/apps/large", json={"instances": 3})
        [third] = (await web.get("/v2/deployments")).json()
        undone = await web.delete(f"/v2/deployments/{third['id']}")
        assert (undone.status_code, {*undone.json()}) == (200, {"version", "deploymentId"})
        missing = await web.delete("/v2/deployments/d-0")
        assert (missing.status_code, missing.json()) == (404, {"message": "DeploymentPlan d-0 does not exist"})


async def test_what_waits_is_in_the_queue_and_why():
    """Without `role`; a delay is forgiven with 204."""
    async with house() as web:
        await web.post("/v2/apps", json=LARGE)

        async def tried():
            found = (await web.get("/v2/queue?embed=lastUnusedOffers")).json()["queue"]
            return found and found[0]["processedOffersSummary"]["unusedOffersCount"] and found

        [item] = await web.until(tried)
        assert list(item) == ["count", "delay", "since", "processedOffersSummary", "lastUnusedOffers", "app"]
        assert (item["count"], item["app"]["id"]) == (1, "/large")
        assert item["delay"] == {"timeLeftSeconds": 0, "overdue": True}
        offers = item["processedOffersSummary"]["rejectSummaryLastOffers"]
        assert [each["reason"] for each in offers if each["declined"]] == ["InsufficientCpus"]
        assert len(offers) == 10
        assert item["lastUnusedOffers"][0]["reason"] == ["InsufficientCpus"]
        assert "lastUnusedOffers" not in (await web.get("/v2/queue")).json()["queue"][0]
        done = await web.delete("/v2/queue//large/delay")
        assert (done.status_code, done.content) == (204, b"")
        missing = await web.delete("/v2/queue/no/delay")
        assert (missing.status_code, missing.json()) == (404, {"message": "Application /no not found in tasks queue."})


async def test_tasks_are_killed_and_replaced_or_fewer():
    """{tasks}, {task}, with scale a deployment; scale and wipe together 400; who is unknown 404 or 400."""
    async with house() as web:
        app = await web.app("/web", instances=3)
        await until_calm(web)
        ids = [task["id"] for task in app["tasks"]]
        one = await web.delete(f"/v2/apps/web/tasks/{ids[0]}")
        assert (one.status_code, one.json()["task"]["id"]) == (200, ids[0])
        both = await web.post("/v2/tasks/delete", json={"ids": ids[1:]})
        assert [task["id"] for task in both.json()["tasks"]] == ids[1:]

        async def replaced():
            tasks = (await web.get("/v2/apps/web/tasks")).json()["tasks"]
            return not {task["id"] for task in tasks} & {*ids} and len(tasks) == 3 and tasks

        tasks = await web.until(replaced)
        app = await web.until_running("/web", 3)
        fewer = await web.delete(f"/v2/apps/web/tasks/{app['tasks'][0]['id']}?scale=true")
        assert (fewer.status_code, {*fewer.json()}) == (200, {"version", "deploymentId"})
        await web.until_running("/web", 2)
        assert len((await web.delete("/v2/apps/web/tasks?host=127.0.0.1")).json()["tasks"]) == 2
        assert (await web.delete("/v2/apps/web/tasks?host=no")).json() == {"tasks": []}
        assert (await web.delete("/v2/apps/web/tasks?scale=true&wipe=true")).status_code == 400
        unknown = await web.delete("/v2/apps/web/tasks/no")
        assert (unknown.status_code, unknown.json()) == (404, {"message": "Task 'no' does not exist"})
        assert (await web.post("/v2/tasks/delete", json={"ids": ["no"]})).status_code == 400
        assert (await web.post("/v2/tasks/delete", json={"ids": 3})).status_code == 400
        del tasks


async def test_versions_of_an_app():
    """Newest first; each can be shown, and gone back to by its version alone."""
    async with house() as web:
        first = (await web.app("/web", env={"A": "1"}))["version"]
        await until_calm(web)
        second = (await web.put("/v2/apps/web", json={"env": {"A": "2"}})).json()["version"]
        await until_calm(web)
        assert (await web.get("/v2/apps/web/versions")).json() == {"versions": [second, first]}
        assert (await web.get(f"/v2/apps/web/versions/{first}")).json()["env"] == {"A": "1"}
        missing = await web.get("/v2/apps/web/versions/2020-01-01T00:00:00.000Z")
        assert missing.json()["message"] == "App '/web' does not exist in version 2020-01-01T00:00:00.000Z"
        assert (await web.get("/v2/apps/no/versions")).status_code == 404
        assert (await web.put("/v2/apps/web", json={"version": first})).status_code == 200
        await until_calm(web)
        assert (await web.get("/v2/apps/web")).json()["app"]["env"] == {"A": "1"}
        assert (await web.put("/v2/apps/web", json={"version": "2020-01-01T00:00:00.000Z"})).status_code in (404, 422)


async def test_several_apps_at_once():
    """PUT creates and changes, PATCH only changes; all that is wrong is said, and nothing is done."""
    async with house() as web:
        await web.app("/one")
        put = await web.put("/v2/apps", json=[{"id": "/one", "instances": 2}, {"id": "/two", "cmd": "serve"}])
        assert (put.status_code, {*put.json()}) == (200, {"version", "deploymentId"})
        await web.until_running("/one", 2)
        await web.until_running("/two", 1)
        await until_calm(web)
        assert (await web.patch("/v2/apps", json=[{"id": "/two", "instances": 2}])).status_code == 200
        await web.until_running("/two", 2)
        assert (await web.patch("/v2/apps", json=[{"id": "/no", "instances": 2}])).status_code == 404
        assert (await web.patch("/v2/apps/no", json={"instances": 2})).status_code == 404
        wrong = await web.put(
            "/v2/apps?partialUpdate=false", json=[{"id": "/one", "cmd": "x", "instances": -1}, {"id": "/X", "cmd": "x"}]
        )
        assert wrong.status_code == 422
        assert [each["path"] for each in wrong.json()["details"]] == ["(0)/instances", "(1)/id"]
        assert [each["id"] for each in (await web.get("/v2/apps")).json()["apps"]] == ["/one", "/two"]
