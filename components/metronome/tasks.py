"""How a run becomes a task: its ids, its environment.

Rule of this room: names come from the log and the time, never from chance. (Metronome: `JobRunId.scala`,
`yyyyMMddHHmmss` and five characters, there by chance)
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from string import ascii_lowercase, digits

import msgspec

from bus.documents import JobSpec, plain_env, secret_env, secret_files
from bus.documents.rules import uris_of
from bus.nouns import AgentId, Command, FrameworkId, JobId, Now, Offer, OfferId, RunId, TaskId, TaskInfo, TraceId

job_chars_max = 150
"""Of a job's id in a task id, which is a file name too."""
kill_grace_s = 3.0
"""Unless the job says otherwise. (Mesos: `executor.cpp`)"""
id_chars = 5
"""Of a run's id, behind the time. (Metronome: `JobRunId.scala`)"""
_ALPHABET = digits + ascii_lowercase
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def run_id(now: Now, n: int) -> RunId:
    """The id of the run created by the event after event `n` of the log, e.g. `202611221830000000c`.

    In one second no log has as many events as five characters tell apart.
    """
    return RunId(f"{_EPOCH + timedelta(microseconds=now):%Y%m%d%H%M%S}{_characters(n)}")


def _characters(n: int) -> str:
    found = ""
    for _ in range(id_chars):
        n, rest = divmod(n, len(_ALPHABET))
        found = _ALPHABET[rest] + found
    return found


def task_id(job: JobId, run: RunId, attempt: int) -> TaskId:
    """The id of a run's `attempt`-th task, from 1."""
    return TaskId(f"{job[:job_chars_max]}.{run}.{attempt}")


def task_info(
    spec: JobSpec, run: RunId, trace: TraceId | None, task: TaskId, framework: FrameworkId, offer: Offer
) -> TaskInfo:
    """The task that is one attempt of a run, on an offer."""
    how = spec.run
    return TaskInfo(
        task=task,
        name=spec.id,
        agent=offer.agent,
        hostname=offer.hostname,
        framework=framework,
        resources=how.resources,
        command=Command(
            shell=how.cmd,
            argv=how.args or (),
            env=environment(spec, run, offer.hostname),
            user=how.user,
            secret_env=secret_env(how),
            secret_files=secret_files(how),
            fetch=uris_of(how.artifacts),
        ),
        kill_grace_s=kill_grace_s if how.task_kill_grace_period_seconds is None else how.task_kill_grace_period_seconds,
        labels=spec.labels,
        job=spec.id,
        run=run,
        trace=trace,
    )


def environment(spec: JobSpec, run: RunId, hostname: str) -> dict[str, str]:
    """What an attempt finds in its environment; what the job itself says wins."""
    return {"METRONOME_JOB_ID": spec.id, "METRONOME_RUN_ID": run, "HOST": hostname} | plain_env(spec.run)


def task_bytes(task: TaskInfo) -> int:
    """About how large a task is on the bus."""
    return len(msgspec.msgpack.encode(task))


def largest_task_bytes(spec: JobSpec) -> int:
    """About how large a job's tasks are at most."""
    offer = Offer(offer=OfferId("o-0-0"), agent=AgentId("a" * 63), hostname="h" * 253, resources=spec.run.resources)
    run = run_id(Now(0), 10**12)
    task = task_id(spec.id, run, 10**6)
    return task_bytes(task_info(spec, run, TraceId("t" * 64), task, FrameworkId("f" * 63), offer))
