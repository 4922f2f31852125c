"""`/v1/jobs` over HTTP, against a real Metronome: exact codes, bodies and keys."""

import re
from types import SimpleNamespace

import pytest

from bus import codec
from bus.events import Event
from bus.nouns import Now, Position
from bus.queries import HistoryRow, QueryRefused
from bus.services import RunCreated
from components.gateway.web.client import METRONOME
from components.gateway.web.jobs import told_run
from tests.components.gateway.house import house

RUN = {"cpus": 0.1, "mem": 32, "disk": 0, "cmd": "serve"}
NIGHTLY = {"id": "nightly", "cron": "30 2 * * *", "timezone": "Europe/Berlin"}
MINDS = ("main", "marathon", "metronome")
AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000")


async def test_a_job_is_created_shown_changed_and_removed():
    """201, 200, 200, 200; its schedules stay when it is changed."""
    async with house(who=MINDS) as web:
        created = await web.post("/v1/jobs", json={"id": "a.b", "run": RUN, "description": "d", "labels": {"x": "y"}})
        assert created.status_code == 201
        body = created.json()
        assert list(body) == ["id", "description", "labels", "dependencies", "run"]
        assert body["run"] == {
            **{"cpus": 0.1, "mem": 32, "disk": 0, "cmd": "serve", "env": {}, "placement": {"constraints": []}},
            **{"artifacts": [], "maxLaunchDelay": 3600, "volumes": [], "restart": {"policy": "NEVER"}, "secrets": {}},
        }
        assert (await web.get("/v1/jobs/a.b")).json() == body
        assert (await web.get("/v1/jobs")).json() == [body]
        assert (await web.post("/v1/jobs/a.b/schedules", json=NIGHTLY)).status_code == 201
        changed = await web.put("/v1/jobs/a.b", json={"id": "a.b", "run": RUN | {"cpus": 1}})
        assert (changed.status_code, changed.json()["run"]["cpus"]) == (200, 1)
        assert [each["id"] for each in (await web.get("/v1/jobs/a.b/schedules")).json()] == ["nightly"]
        removed = await web.delete("/v1/jobs/a.b")
        assert (removed.status_code, removed.json()["id"]) == (200, "a.b")
        assert (await web.get("/v1/jobs")).json() == []


async def test_schedules():
    """201 with when it fires next, 409 for the same again, PUT, DELETE, 404 with Metronome's words."""
    async with house(who=MINDS) as web:
        await web.post("/v1/jobs", json={"id": "j", "run": RUN})
        created = await web.post("/v1/jobs/j/schedules", json=NIGHTLY)
        assert created.status_code == 201
        shown = created.json()
        assert AT.fullmatch(shown.pop("nextRunAt"))
        assert shown == NIGHTLY | {"startingDeadlineSeconds": 900, "concurrencyPolicy": "ALLOW", "enabled": True}
        again = await web.post("/v1/jobs/j/schedules", json=NIGHTLY)
        assert (again.status_code, again.json()) == (409, {"message": "Schedule with this id already exists"})
        second = await web.post("/v1/jobs/j/schedules", json=NIGHTLY | {"id": "daily"})
        assert (second.status_code, second.json()) == (
            409,
            {"message": "job j has schedule nightly: at most one schedule was asked for"},
        )
        hasty = NIGHTLY | {"startingDeadlineSeconds": 59}
        refused = await web.put("/v1/jobs/j/schedules/nightly", json=hasty)
        assert (refused.status_code, refused.json()["details"]) == (
            422,
            [{"path": "/startingDeadlineSeconds", "errors": ["expected at least 60, found 59"]}],
        )
        both = await web.post("/v0/scheduled-jobs", json={"id": "k", "run": RUN, "schedules": [hasty]})
        assert (both.status_code, both.json()["details"][0]["path"]) == (422, "/schedules(0)/startingDeadlineSeconds")
        assert [each["id"] for each in (await web.get("/v1/jobs")).json()] == ["j"], "nothing was done"
        put = await web.put("/v1/jobs/j/schedules/nightly", json={"cron": "0 0 * * *", "enabled": False})
        assert (put.status_code, "nextRunAt" in put.json()) == (200, False)
        assert (await web.get("/v1/jobs/j/schedules/nightly")).json() == put.json()
        wrong = await web.put("/v1/jobs/j/schedules/nightly", json={"cron": "0 0 30 2 *"})
        assert (wrong.status_code, wrong.json()["details"][0]["path"]) == (422, "/cron")
        assert (await web.delete("/v1/jobs/j/schedules/nightly")).status_code == 200
        for verb in ("get", "delete"):
            gone = await getattr(web, verb)("/v1/jobs/j/schedules/nightly")
            assert (gone.status_code, gone.json()) == (404, {"id": "nightly", "message": "Schedule not found"})
        assert (await web.put("/v1/jobs/j/schedules/nightly", json={"cron": "0 0 * * *"})).status_code == 404


async def test_a_job_and_its_schedules_in_one():
    """As DC/OS' command line and pages send it."""
    async with house(who=MINDS) as web:
        both = {"id": "j", "run": RUN, "schedules": [NIGHTLY]}
        created = await web.post("/v0/scheduled-jobs", json=both)
        assert (created.status_code, created.json()["schedules"][0]["id"]) == (201, "nightly")
        again = await web.post("/v0/scheduled-jobs", json=both)
        assert (again.status_code, again.json()) == (409, {"message": "Job with this id already exists"})
        shown = (await web.get("/v1/jobs/j?embed=schedules")).json()
        put = await web.put("/v0/scheduled-jobs/j", json=shown)
        assert (put.status_code, put.json()) == (200, shown)
        assert (await web.put("/v0/scheduled-jobs/k", json={"run": RUN})).json() == {
            "id": "k",
            "message": "Job not found",
        }


async def test_runs():
    """201 while it begins, active ones in the list, 200 also when it has ended, stop."""
    async with house() as web:
        await web.post("/v1/jobs", json={"id": "j", "run": RUN})
        created = await web.post("/v1/jobs/j/runs")
        assert created.status_code == 201
        run = created.json()
        assert list(run) == ["id", "jobId", "status", "createdAt", "completedAt", "tasks"]
        assert (run["jobId"], run["status"], run["completedAt"], run["tasks"]) == ("j", "INITIAL", None, [])
        assert AT.fullmatch(run["createdAt"])
        path = f"/v1/jobs/j/runs/{run['id']}"

        async def active():
            found = (await web.get(path)).json()
            return found["status"] == "ACTIVE" and found

        shown = await web.until(active)
        assert (list(shown["tasks"][0]), shown["tasks"][0]["status"]) == (["id", "status", "createdAt"], "TASK_RUNNING")
        assert (await web.get("/v1/jobs/j/runs")).json() == [shown]
        assert (await web.get("/v1/jobs/j?embed=activeRuns")).json()["activeRuns"] == [shown]
        held = await web.delete("/v1/jobs/j")
        assert held.status_code == 409
        stopped = await web.post(f"{path}/actions/stop")
        assert (stopped.status_code, stopped.content) == (200, b"")

        async def ended():
            return (await web.get(path)).json()["status"] == "FAILED"

        await web.until(ended, "a run that was stopped has failed")
        assert (await web.get("/v1/jobs/j/runs")).json() == []
        found = (await web.get("/v1/jobs/j?embed=history&embed=historySummary")).json()
        assert found["historySummary"]["failureCount"] == 1
        assert [each["id"] for each in found["history"]["failedFinishedRuns"]] == [run["id"]]
        assert list(found["history"])[-2:] == ["successfulFinishedRuns", "failedFinishedRuns"]
        assert (await web.post(f"{path}/actions/stop")).status_code == 404
        assert (await web.delete("/v1/jobs/j?stopCurrentJobRuns=true")).status_code == 200


async def test_what_waits_is_in_the_queue():
    """No node is there."""
    async with house(who=MINDS) as web:
        await web.post("/v1/jobs", json={"id": "j", "run": RUN})
        run = (await web.post("/v1/jobs/j/runs")).json()["id"]

        async def queued():
            return (await web.get("/v1/queue")).json()

        assert await web.until(queued) == [{"jobId": "j", "runs": [{"runId": run}]}]


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [
        ("get", "/v1/jobs/x", {"id": "x", "message": "Job not found"}),
        ("delete", "/v1/jobs/x", {"id": "x", "message": "Job not found"}),
        ("post", "/v1/jobs/x/runs", {"id": "x", "message": "Job not found"}),
        ("get", "/v1/jobs/x/runs", {"id": "x", "message": "Job not found"}),
        ("get", "/v1/jobs/x/schedules", {"id": "x", "message": "Job not found"}),
        ("get", "/v1/jobs/x/runs/r", {"jobSpec": "x", "id": "r", "message": "Job Run not found"}),
        ("post", "/v1/jobs/x/runs/r/actions/stop", {"jobSpec": "x", "id": "r", "message": "Job Run not found"}),
    ],
)
async def test_what_is_not_there_is_404(verb, path, body):
    """With Metronome's bodies."""
    async with house(who=MINDS) as web:
        answer = await getattr(web, verb)(path)
        assert (answer.status_code, answer.json()) == (404, body)


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ({"id": "J", "run": RUN}, 422, "/id"),
        ({"id": "j"}, 422, "/"),
        ({"id": "j", "run": RUN | {"cpus": "1"}}, 422, "/run/cpus"),
        ({"id": "j", "run": RUN | {"mem": 1}}, 422, "/run/mem"),
    ],
)
async def test_a_wrong_job_is_refused_with_the_path(body, code, path):
    """And is not there."""
    async with house(who=MINDS) as web:
        answer = await web.post("/v1/jobs", json=body)
        assert answer.status_code == code, answer.text
        assert answer.json()["details"][0]["path"] == path
        assert (await web.get("/v1/jobs")).json() == []
        assert (await web.get("/v1/jobs?embed=what")).status_code == 400


async def test_jobs_that_run_after_others():
    """A parent is not removed, 409; a circle is 422 with its path; all complaints at once."""
    async with house(who=MINDS) as web:
        await web.post("/v1/jobs", json={"id": "a", "run": RUN})
        child = await web.post("/v1/jobs", json={"id": "b", "run": RUN, "dependencies": [{"id": "a"}]})
        assert (child.status_code, child.json()["dependencies"]) == (201, [{"id": "a"}])
        held = await web.delete("/v1/jobs/a")
        assert (held.status_code, held.json()["message"].partition(":")[0]) == (409, "b depends on a")
        circle = await web.put("/v1/jobs/a", json={"id": "a", "run": RUN, "dependencies": [{"id": "b"}]})
        assert (circle.status_code, circle.json()["details"]) == (
            422,
            [{"path": "/dependencies", "errors": ["jobs would wait for each other: a -> b -> a"]}],
        )
        crons = [{"id": "x", "cron": "61 * * * *"}, {"id": "y", "cron": "* * * * *", "timezone": "Mars"}]
        wrong = await web.post("/v0/scheduled-jobs", json={"id": "c", "run": RUN, "schedules": crons})
        paths = [each["path"] for each in wrong.json()["details"]]
        assert (wrong.status_code, paths) == (422, ["/schedules(0)/cron", "/schedules(1)/timezone"])


async def test_a_run_that_metronome_has_forgotten_is_told_by_the_log():
    """Its events become the run again; a master without a store knows none."""
    told = Event(by=METRONOME, to="_", fact=RunCreated(job="j", run="r1"), at=Now(1), n=1)
    lines = [HistoryRow(position=Position(7), subject=codec.subject("dc", told), body=codec.encode(told))]

    class Teller:
        async def ask(self, _of, query, _shape, question):
            assert query == "history"
            if question.id == "r2":
                raise QueryRefused("this master records its events nowhere: it has no history to tell")
            return lines if question.after == 0 else []

    call = SimpleNamespace(client=Teller())
    row = await told_run(call, "r1")
    assert (row.run, row.job, row.state) == ("r1", "j", "INITIAL")
    assert await told_run(call, "r2") is None
