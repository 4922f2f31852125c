"""Changes of apps, pods and groups: asked of Marathon, answered with the deployment that makes them so.

Rule of this room: as in `web.apps`; a refusal has Marathon's code and words, wherever it comes from.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from starlette.responses import Response

from bus.app_rows import PlanQuestion, PlanRow
from bus.events import Event, Fact, RequestRefused
from bus.nouns import Refusal
from bus.plans import Plan
from bus.services import AppRemoved, AppSpecified, DeploymentStarted
from components.gateway.shapes import errors
from components.gateway.web.call import Call, HttpError, answer
from components.gateway.web.client import MARATHON, Turned

TOO_MANY = "Maximum deployments running: "


class Subject(NamedTuple):
    """What a change is about, for the words of its refusal."""

    kind: str
    """app, group, pod or deployment."""
    id: str

    def missing(self) -> str:
        """That there is no such thing."""
        words = {"app": errors.no_app, "group": errors.no_group, "pod": errors.no_pod}
        return words.get(self.kind, errors.no_deployment)(self.id)

    def exists(self) -> str:
        """That there is one already."""
        if self.kind == "group":
            return f"Group {self.id} is already created. Use PUT to change this group."
        return f"A pod with id [{self.id}] already exists." if self.kind == "pod" else errors.app_exists(self.id)


class Started(NamedTuple):
    """A change that goes on."""

    deployment: str
    version: str
    plan: Plan
    created: bool

    def response(self, status: int = 200) -> Response:
        """As Marathon tells it."""
        return answer({"version": self.version, "deploymentId": self.deployment}, status, headers=self.headers)

    @property
    def headers(self) -> dict[str, str]:
        return {"Marathon-Deployment-Id": self.deployment}


async def change(call: Call, fact: Fact, about: Subject) -> Started:
    """The deployment that makes it so. Raises HttpError."""
    return started(await ask(call, fact, about))


async def ask(call: Call, fact: Fact, about: Subject) -> Event:
    """What Marathon answers a request. Raises HttpError, in Marathon's words."""
    try:
        return await call.client.request(MARATHON, fact, call.actor)
    except Turned as turned:
        raise refusal(turned.fact, about) from None


def refusal(fact: RequestRefused, about: Subject) -> HttpError:
    """A refusal over HTTP."""
    match fact.reason:
        case Refusal.NOT_FOUND if "version" in fact.message:
            return HttpError(404, fact.message)
        case Refusal.NOT_FOUND:
            return HttpError(404, about.missing())
        case Refusal.ALREADY_EXISTS:
            return HttpError(409, about.exists())
        case Refusal.LOCKED:
            return HttpError(409, errors.locked(fact.message, list(fact.held_by)))
        case Refusal.TOO_MANY:
            return HttpError(403, fact.message)
        case Refusal.INVALID:
            return HttpError(*errors.invalid([errors.complaint_of(fact.message)]))
        case _:
            return HttpError(409, fact.message)


def started(event: Event) -> Started:
    """What an answer says of the deployment."""
    match event.fact:
        case DeploymentStarted() as fact:
            return Started(fact.deployment, fact.deployment_version, fact.plan, fact.changed == "created")
        case AppSpecified() as fact:
            return Started(str(event.trace), fact.app_version, Plan(), fact.changed == "created")
        case AppRemoved():
            return Started(str(event.trace), "", Plan(), created=False)
    raise AssertionError(f"marathon answered with {event.fact.type}")


async def plan_of(call: Call, fact: Fact, about: Subject) -> PlanRow:
    """What a request would lead to. Raises HttpError."""
    question = PlanQuestion(type=fact.type, fields=msgspec.to_builtins(fact))
    row = await call.client.ask(MARATHON, "plan", PlanRow, question)
    if row.refused is not None:
        raise refusal(RequestRefused(reason=row.refused, message=row.message, held_by=row.cancels), about)
    return row
