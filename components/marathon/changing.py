"""What is to be, what was before, and the plan that leads there.

Rule of this room: as in `state`, of which this is a part.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bus.documents import AppSpec, PodSpec
from bus.nouns import AppId, Now, Position, TraceId
from bus.plans import DeploymentId, GroupTraits, Plan

RunSpec = AppSpec | PodSpec
"""What is kept running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Specified:
    """An app or a pod as it was specified once."""

    app: AppSpec | None = None
    pod: PodSpec | None = None
    version: str
    """Of its configuration."""
    change: str
    """Of this change: the same, unless it was only scaled."""

    @property
    def spec(self) -> RunSpec:
        found = self.app if self.app is not None else self.pod
        assert found is not None
        return found


@dataclass(slots=True, kw_only=True)
class Deployment:
    """A plan that is being carried out."""

    version: str
    plan: Plan
    changed: str
    by: str
    """Who asked for it."""
    client: str
    trace: TraceId | None
    asked: Position | None
    since: Now
    step_since: Now
    step: int = -1
    """The present one, from 0; -1 until the first begins."""
    unfinished: dict[AppId, None] = field(default_factory=dict)
    """What is not done yet in the present step."""
    group: AppId | None = None
    reverses: DeploymentId | None = None


@dataclass(slots=True, kw_only=True)
class Before:
    """What was before a change of the root group: to go back to."""

    apps: dict[AppId, Specified | None] = field(default_factory=dict)
    """None: there was none."""
    groups: dict[AppId, GroupTraits | None] = field(default_factory=dict)
