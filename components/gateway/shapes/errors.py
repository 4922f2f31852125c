"""Errors as Marathon and Metronome word them.

Rule of this room: as in `components.gateway.shapes`. (Marathon: `api/MarathonExceptionMapper.scala`,
`api/v2/Validation.scala`; Metronome: `api/ErrorDetail.scala`)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from bus.documents import DocumentError

INVALID_JSON, INVALID_OBJECT = "Invalid JSON", "Object is not valid"
_PLACE = re.compile(r"(?P<what>.*?)(?: - at (?:`key` in )?`\$(?P<path>[^`]*)`)?", re.DOTALL)
_MISTYPED = re.compile(r"Expected `[\w|]+(?: \| [\w]+)*`, got `\w+`|Object missing required field .*", re.DOTALL)


class Complaint(NamedTuple):
    """What is wrong with one field of a document."""

    path: str
    """`/healthChecks(0)/path`; `/` for the whole."""
    what: str

    @property
    def mistyped(self) -> bool:
        """Whether it is not even of the type that belongs there: 400 and not 422."""
        return _MISTYPED.fullmatch(self.what) is not None


def complaint_of(text: str) -> Complaint:
    """A complaint of `bus.documents` in words, as a scheduler sends it: its text ends with the place."""
    place = _PLACE.fullmatch(text)
    assert place is not None, "every text matches it"
    return Complaint(pointer(place["path"] or ""), place["what"])


def pointer(path: str) -> str:
    """`.healthChecks[0].path` as Marathon writes it: `/healthChecks(0)/path`. (play-json: JsPath)"""
    return re.sub(r"\[(\d+)\]", r"(\1)", path).replace(".", "/") or "/"


def wrong_document(error: DocumentError, *, typed: bool = True) -> tuple[int, dict[str, object]]:
    """Code and body for a document that is wrong: 400 if it is no JSON, or not of the types it should be; else 422."""
    complaints = [Complaint(_of_steps(each.steps or ()), each.text) for each in error.complaints]
    if typed and all(each.steps is None for each in error.complaints):
        return 400, {"message": INVALID_JSON, "details": details(complaints)}
    return invalid(complaints, typed=typed)


def _of_steps(steps: Sequence[str | int]) -> str:
    return "".join(f"({step})" if isinstance(step, int) else f"/{step}" for step in steps) or "/"


def details(complaints: list[Complaint]) -> list[dict[str, object]]:
    """All complaints, by path."""
    by_path: dict[str, list[str]] = {}
    for path, what in complaints:
        by_path.setdefault(path, []).append(what)
    return [{"path": path, "errors": errors} for path, errors in by_path.items()]


def invalid(complaints: list[Complaint], *, typed: bool = True) -> tuple[int, dict[str, object]]:
    """Code and body for a wrong document: 400 if it has another type than it should somewhere, else 422.

    Not `typed`: 422 for either. (Metronome checks a schema, types and values alike)
    """
    mistyped = typed and any(each.mistyped for each in complaints)
    message = INVALID_JSON if mistyped else INVALID_OBJECT
    return (400 if mistyped else 422), {"message": message, "details": details(complaints)}


def no_app(id_: str, version: str | None = None) -> str:
    """(Marathon: AppNotFoundException)"""
    return f"App '{id_}' does not exist" + (f" in version {version}" if version is not None else "")


def no_group(id_: str, version: str | None = None) -> str:
    """(Marathon: UnknownGroupException)"""
    return f"Group '{id_}' does not exist" + (f" in version {version}" if version is not None else "")


def no_pod(id_: str, version: str | None = None) -> str:
    """(Marathon: PodNotFoundException)"""
    return f"Pod '{id_}' does not exist" + (f" in version {version}" if version is not None else "")


def no_task(id_: str) -> str:
    """(Marathon: UnknownInstanceException)"""
    return f"Task '{id_}' does not exist"


def no_deployment(id_: str) -> str:
    """(Marathon: DeploymentsResource)"""
    return f"DeploymentPlan {id_} does not exist"


def app_exists(id_: str) -> str:
    """(Marathon: AppsResource.create)"""
    return f"An app with id [{id_}] already exists."


def locked(message: str, deployments: list[str]) -> dict[str, object]:
    """(Marathon: AppLockedException), and who holds the lock, since when, at which step."""
    return {
        "message": "App is locked by one or more deployments. Override with the option '?force=true'."
        f" View details at '/v2/deployments/<DEPLOYMENT_ID>'. {message}".rstrip(),
        "deployments": [{"id": each} for each in deployments],
    }


def no_job(id_: str) -> dict[str, object]:
    """(Metronome: UnknownJob)"""
    return {"id": id_, "message": "Job not found"}


def no_schedule(id_: str) -> dict[str, object]:
    """(Metronome: UnknownSchedule)"""
    return {"id": id_, "message": "Schedule not found"}


def no_run(job: str, id_: str) -> dict[str, object]:
    """(Metronome: UnknownJobRun)"""
    return {"jobSpec": job, "id": id_, "message": "Job Run not found"}
