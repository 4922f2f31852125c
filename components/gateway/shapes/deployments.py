"""Deployments as Marathon shows them.

Rule of this room: as in `components.gateway.shapes`. (Marathon: `types/deployment.raml`,
`Formats.scala`)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bus.app_rows import AppRow, DeploymentRow
from bus.nouns import AppId
from bus.plans import Action, Plan, Step
from components.gateway.shapes.tasks import readiness_results


def deployment(row: DeploymentRow, apps: Mapping[AppId, AppRow]) -> dict[str, object]:
    """A deployment that goes on."""
    return {
        "id": row.deployment,
        "version": row.version,
        "affectedApps": list(row.plan.apps),
        "affectedPods": list(row.plan.pods),
        "steps": steps(row.plan),
        "currentActions": [
            action(each.action) | {"readinessCheckResults": _readiness(apps.get(each.action.id))}
            for each in row.actions
        ],
        "currentStep": row.step + 1,
        "totalSteps": len(row.plan.steps),
    }


def steps(plan: Plan) -> list[dict[str, object]]:
    """The steps of a plan."""
    return [{"actions": actions(step)} for step in plan.steps]


def actions(step: Step | Iterable[Action]) -> list[dict[str, object]]:
    """What is done in one step."""
    return [action(each) for each in step]


def action(one: Action) -> dict[str, object]:
    """One thing that is done, under the name of its key: `app` or `pod`."""
    return {"action": one.name, "app" if one.pod is None else "pod": one.id}


def _readiness(row: AppRow | None) -> list[dict[str, object]]:
    return readiness_results(row) if row is not None else []


def event_plan(id_: str, version: str, plan: Plan) -> dict[str, object]:
    """A plan in an event. What the whole tree was and is to be is asked for, not repeated in every event."""
    tree = {"id": "/", "apps": [], "groups": [], "pods": [], "dependencies": [], "version": version}
    told = [
        {"actions": [{"action": one.name, "app" if one.pod is None else "pod": one.id} for one in step]}
        for step in plan.steps
    ]
    return {"id": id_, "original": tree, "target": tree, "steps": told, "version": version}
