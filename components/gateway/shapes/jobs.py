"""Jobs and runs as Metronome shows them.

Rule of this room: as in `components.gateway.shapes`. (Metronome: `api/v1/models/package.scala`)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from bus.documents import JobSpec, Schedule
from bus.job_rows import AttemptRow, JobRow, QueuedRow, RunRow
from bus.nouns import TaskState
from components.gateway.shapes.times import number, offset

EMBEDS = ("activeRuns", "schedules", "history", "historySummary")
ENDED = ("SUCCESS", "FAILED")
history_max = 1000
STATES = {
    TaskState.STAGING: "TASK_STAGING",
    TaskState.STARTING: "TASK_STARTING",
    TaskState.RUNNING: "TASK_RUNNING",
    TaskState.KILLING: "TASK_RUNNING",
    TaskState.FINISHED: "TASK_FINISHED",
    TaskState.KILLED: "TASK_KILLED",
}
"""What Metronome calls them; whatever else happened to a task is TASK_FAILED. (Metronome: `TaskState.scala`)"""


def job_spec(spec: JobSpec) -> dict[str, object]:
    """A job without its schedules."""
    written: dict[str, Any] = msgspec.to_builtins(spec)
    run, given = spec.run, written["run"]
    shown: dict[str, object] = {
        "id": spec.id,
        "description": spec.description or None,
        "labels": dict(spec.labels),
        "dependencies": written.get("dependencies", []),
        "run": {
            "cpus": number(run.cpus),
            "mem": number(run.mem),
            "disk": number(run.disk),
            **{key: given[key] for key in ("gpus", "cmd", "args", "user", "docker", "ucr") if key in given},
            "env": given.get("env", {}),
            "placement": {"constraints": msgspec.to_builtins(run.placement.constraints)},
            "artifacts": given.get("artifacts", []),
            "maxLaunchDelay": run.max_launch_delay,
            "volumes": given.get("volumes", []),
            "restart": {"policy": run.restart.policy} | _deadline(run.restart.active_deadline_seconds),
            **{key: given[key] for key in ("taskKillGracePeriodSeconds", "networks") if key in given},
            "secrets": given.get("secrets", {}),
        },
    }
    return {key: value for key, value in shown.items() if value is not None}


def _deadline(seconds: int | None) -> dict[str, object]:
    return {} if seconds is None else {"activeDeadlineSeconds": seconds}


def schedules(row: JobRow) -> list[dict[str, object]]:
    """A job's schedules, and when each fires next."""
    return [schedule(each, row) for each in row.job.schedules]


def schedule(one: Schedule, row: JobRow) -> dict[str, object]:
    """One schedule."""
    shown: dict[str, object] = {
        "id": one.id,
        "cron": one.cron,
        "timezone": one.timezone,
        "startingDeadlineSeconds": one.starting_deadline_seconds,
        "concurrencyPolicy": one.concurrency_policy,
        "enabled": one.enabled,
    }
    if one.catch_up != "none":
        shown["catchUp"] = one.catch_up
    next_at = row.nexts.get(one.id, row.next_run_at if len(row.job.enabled) == 1 else None)
    if next_at is not None and one.enabled:
        shown["nextRunAt"] = offset(next_at)
    return shown


def job(row: JobRow, embed: Iterable[str] = (), runs: Sequence[RunRow] = ()) -> dict[str, object]:
    """A job, and of it what is asked for."""
    wanted, mine = set(embed), [run for run in runs if run.job == row.job.id]
    shown = job_spec(row.job)
    if "activeRuns" in wanted:
        shown["activeRuns"] = [job_run(run) for run in mine if run.state not in ENDED]
    if "schedules" in wanted:
        shown["schedules"] = schedules(row)
    if "history" in wanted:
        shown["history"] = summary(row) | {
            "successfulFinishedRuns": _finished(mine, "SUCCESS"),
            "failedFinishedRuns": _finished(mine, "FAILED"),
        }
    if "historySummary" in wanted:
        shown["historySummary"] = summary(row)
    return shown


def summary(row: JobRow) -> dict[str, object]:
    """How a job went."""
    return {
        "successCount": row.successes,
        "failureCount": row.failures,
        "lastSuccessAt": offset(row.last_success_at) if row.last_success_at is not None else None,
        "lastFailureAt": offset(row.last_failure_at) if row.last_failure_at is not None else None,
    }


def _finished(runs: Sequence[RunRow], state: str) -> list[dict[str, object]]:
    """Newest first."""
    ended = sorted((run for run in runs if run.state == state), key=lambda run: (run.created_at, run.run), reverse=True)
    return [
        {
            "id": run.run,
            "createdAt": offset(run.created_at),
            "finishedAt": offset(run.finished_at) if run.finished_at is not None else None,
            "tasks": [status.task for status in run.tasks],
        }
        for run in ended[:history_max]
    ]


def job_run(run: RunRow) -> dict[str, object]:
    """One run."""
    return {
        "id": run.run,
        "jobId": run.job,
        "status": run.state,
        "createdAt": offset(run.created_at),
        "completedAt": offset(run.finished_at) if run.finished_at is not None else None,
        "tasks": [_task(attempt) for attempt in run.attempts],
    }


def _task(attempt: AttemptRow) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": attempt.task,
        "status": "TASK_CREATED" if attempt.state is None else STATES.get(attempt.state, "TASK_FAILED"),
        "createdAt": offset(attempt.created_at),
    }
    if attempt.finished_at is not None:
        shown["finishedAt"] = offset(attempt.finished_at)
    return shown


def queue(rows: Iterable[QueuedRow]) -> list[dict[str, object]]:
    """The runs that wait for an offer, by job."""
    return [{"jobId": row.job, "runs": [{"runId": run} for run in row.runs]} for row in rows]
