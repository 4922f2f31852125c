"""What must hold of a job beyond its fields. (Metronome: `JobSpec.scala`, `JobRunSpec.scala`)

Rule of this room: as in `bus.documents`; one rule each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from bus.documents.base import JOB_ID, Complaint
from bus.documents.job import JobRunSpec, JobSpec
from bus.documents.rules import Rule, constraints, env_secrets, exactly_one, fetches, secret_paths, undeclared, under


def _id(job: JobSpec) -> Iterator[Complaint]:
    if not JOB_ID.fullmatch(job.id) or len(job.id) > 255:
        yield Complaint(f"{job.id!r} is not a job id: expected a.b, parts of [a-z0-9-]", ("id",))


def _run(job: JobSpec) -> Iterator[Complaint]:
    for rule in (_impossible, _command, _secrets, _artifacts, _placement):
        yield from under(("run",), rule(job.run))


def _impossible(run: JobRunSpec) -> Iterator[Complaint]:
    """What Metronome takes and nothing here can do."""
    for name in ("docker", "ucr"):
        if getattr(run, name) is not None:
            yield Complaint("no container platform runs images here: say cmd or args without an image", (name,))
    if run.gpus:
        yield Complaint(f"no node offers GPUs here: {run.gpus} would be waited for for ever", ("gpus",))
    for index, network in enumerate(run.networks):
        if network.mode != "host":
            wrong = f"{network.mode!r} is not possible here: runs are on the host network"
            yield Complaint(wrong, ("networks", index, "mode"))
    for index, volume in enumerate(run.volumes):
        if volume.secret is None:
            why = "a directory of the host cannot be mounted here: a run finds it under its own path"
            yield Complaint(f"expected a volume with a secret: {why}", ("volumes", index))
        elif volume.host_path is not None or volume.mode is not None:
            yield Complaint("a volume with a secret has neither hostPath nor mode", ("volumes", index))


def _command(run: JobRunSpec) -> Iterator[Complaint]:
    if run.docker is None and run.ucr is None:
        yield from exactly_one(run.cmd, run.args)


def _secrets(run: JobRunSpec) -> Iterator[Complaint]:
    used = [*env_secrets(run.env, ("env",))]
    for index, volume in enumerate(run.volumes):
        if volume.secret is not None:
            used.append((("volumes", index), volume.secret))
    yield from undeclared(used, run.secrets, "$.run.secrets")
    yield from secret_paths(run.secret_volumes, ("volumes",))
    keys = {key for _, key in used}
    for key in run.secrets:
        if key not in keys:  # (Metronome; Marathon takes it)
            yield Complaint(f"{key!r} is declared and not used", ("secrets", key))


def _artifacts(run: JobRunSpec) -> Iterator[Complaint]:
    return fetches(run.artifacts, ("artifacts",))


def _placement(run: JobRunSpec) -> Iterator[Complaint]:
    rules = run.placement.constraints
    for index, rule in enumerate(rules):
        if rule.value is None:
            yield Complaint(f"{rule.operator} needs a value", ("placement", "constraints", index, "value"))
    if all(rule.value is not None for rule in rules):
        yield from constraints(run.constraints, ("placement", "constraints"))


def _schedules(job: JobSpec) -> Iterator[Complaint]:
    times = Counter(schedule.id for schedule in job.schedules)
    for index, schedule in enumerate(job.schedules):
        if times[schedule.id] > 1:
            wrong = f"{schedule.id!r} is the id of {times[schedule.id]} schedules"
            yield Complaint(wrong, ("schedules", index, "id"))
        if schedule.catch_up == "all" and schedule.concurrency_policy == "FORBID":
            why = "runs that are caught up begin beside each other, which FORBID forbids: expected none or latest"
            yield Complaint(why, ("schedules", index, "catchUp"))


def _dependencies(job: JobSpec) -> Iterator[Complaint]:
    if job.dependencies and job.schedules:
        yield Complaint("a job has dependencies or schedules, not both", ("dependencies",))
    times = Counter(job.parents)
    for index, parent in enumerate(job.parents):
        if parent == job.id:
            yield Complaint(f"{parent} cannot depend on itself", ("dependencies", index, "id"))
        elif times[parent] > 1:
            yield Complaint(f"{parent} is named {times[parent]} times", ("dependencies", index, "id"))


JOB_RULES: tuple[Rule[JobSpec], ...] = (
    Rule(("id",), _id),
    Rule(("run",), _run),
    Rule(("schedules",), _schedules),
    Rule(("id", "dependencies", "schedules"), _dependencies),
)
