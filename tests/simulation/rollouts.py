"""An auditor of deployments: reads Marathon's words, and nothing of what it remembers.

    deployment.started ─► advanced* ─► ended, once, with a reason unless it succeeded
    while an app is restarted there are never more of it than `maximumOverCapacity` allows, and none of those that
    are up is dismissed for it below `minimumHealthCapacity`

What is counted is what Marathon has said up to there, in the order of its log. (Marathon: `TaskReplaceActor.scala`)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, field

from msgspec.structs import replace

from bus.documents import AppSpec
from bus.events import Event, Fact, OfferAccepted
from bus.instances import InstanceDeactivated, InstanceExpunged
from bus.nouns import TERMINAL, AppId, TaskId, TaskState
from bus.plans import Deed, DeploymentId, Outcome, Plan
from bus.services import (
    AppRemoved,
    AppSpecified,
    AppUpdated,
    DeploymentAdvanced,
    DeploymentContinued,
    DeploymentEnded,
    DeploymentPaused,
    DeploymentStarted,
    InstanceDismissed,
    InstanceScheduled,
    PodSpecified,
    facts_of,
)
from bus.subjects import Author, Kind

MARATHON = Author(Kind.FRAMEWORK, "marathon")
GONE = TERMINAL | {TaskState.UNREACHABLE, TaskState.UNKNOWN}
UPGRADING, USER_REQUEST = "Upgrading", "UserRequest"
OF_ONE = (AppRemoved, InstanceScheduled, InstanceDismissed, InstanceExpunged, InstanceDeactivated, AppUpdated)
_tiny = 1e-9


@dataclass(slots=True)
class Instance:
    """One instance of an app, by what was said of it."""

    version: str
    launched: bool = False
    up: bool = False
    dying: bool = False


@dataclass(slots=True)
class Known:
    """An app, by what was said of it."""

    spec: AppSpec
    version: str
    instances: dict[TaskId, Instance] = field(default_factory=dict)
    pending: tuple[AppSpec, str] | None = None
    """What it is to be once its step begins."""
    removed: bool = False
    mixed: bool = False
    """A deployment of it was stopped where it was: nobody said that all its instances are of one version."""

    @property
    def up(self) -> int:
        return sum(one.up and not one.dying for one in self.instances.values())

    @property
    def lasting(self) -> list[Instance]:
        """Those that are not on their way out."""
        return [one for one in self.instances.values() if not one.dying]

    def becomes(self) -> None:
        """What it is to be it is from now on."""
        if self.pending is not None:
            (self.spec, self.version), self.pending = self.pending, None


@dataclass(slots=True)
class Going:
    """A deployment that goes on."""

    plan: Plan
    step: int = -1
    killing: bool = False
    """Whether it was asked for by killing instances, so that their apps have fewer."""
    paused: dict[AppId, None] = field(default_factory=dict)
    """Apps whose canaries wait for a person's word."""

    def deed(self, app: AppId) -> Deed | None:
        """What is done to an app in the present step."""
        step = self.plan.steps[self.step] if self.step >= 0 else ()
        return next((one.deed for one in step if one.id == app), None)

    def leave(self, apps: Set[AppId]) -> None:
        """What these become is another deployment's."""
        steps = tuple(tuple(one for one in step if one.id not in apps) for step in self.plan.steps)
        self.plan = replace(self.plan, steps=steps)


@dataclass
class Rollouts:
    """Every deployment of one run."""

    apps: dict[AppId, Known] = field(default_factory=dict)
    going: dict[DeploymentId, Going] = field(default_factory=dict)
    ended: dict[DeploymentId, Outcome] = field(default_factory=dict)
    pods: set[AppId] = field(default_factory=set)
    versions: dict[AppId, list[str]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def read(self, event: Event) -> None:
        """One event of Marathon's. Of pods it is held against what must be that deployments begin and end; whole groups
        are another auditor's. (`tests.simulation.groups`)"""
        for fact in facts_of(event.fact):
            self._read(fact)

    def _read(self, fact: Fact) -> None:
        if isinstance(fact, OF_ONE) and fact.app in self.pods:
            return
        match fact:
            case PodSpecified(pod=pod):
                self.pods.add(pod.id)
            case DeploymentStarted() as fact:
                self._start(fact)
            case DeploymentAdvanced() as fact:
                self._advance(fact)
            case DeploymentEnded() as fact:
                self._end(fact)
            case DeploymentPaused(deployment=name, app=app):
                self.going[name].paused[app] = None
                self.counts["pauses"] += 1
            case DeploymentContinued(deployment=name, apps=apps):
                for app in apps:
                    self.going[name].paused.pop(app, None)
            case AppSpecified() as fact:
                self._specify(fact)
            case AppRemoved(app=app):
                self.apps[app].removed, self.apps[app].pending = True, None
            case InstanceScheduled() as fact:
                self._schedule(fact)
            case InstanceDismissed() as fact:
                self._dismiss(fact)
            case OfferAccepted() as fact:
                self._launch(fact)
            case InstanceExpunged(app=app, task=task):
                self._update(app, task, TaskState.UNREACHABLE)
            case InstanceDeactivated(app=app, task=task):
                self.apps[app].instances[task].up = False
            case AppUpdated(app=app, status=status):
                self._update(app, status.task, status.state)

    # ---- deployments ------------------------------------------------------------------------------------------------

    def _start(self, fact: DeploymentStarted) -> None:
        name = fact.deployment
        assert name not in self.going, f"{name} starts twice"
        assert name not in self.ended, f"{name} starts again"
        for other, going in self.going.items():
            both = {*going.plan.apps, *going.plan.pods} & {*fact.plan.apps, *fact.plan.pods}
            gone = {one for one in both if self._is_gone(one, going)}
            going.leave(gone)
            both -= gone
            assert not both, f"{name} changes {sorted(both)}, which {other} holds a lock on"
        for app in (one for step in fact.plan.steps for one in step if one.app is not None):
            self.counts[app.deed] += 1
        self.going[name] = Going(fact.plan, killing=fact.changed == "killed")
        self.counts["deployments"] += 1
        self.counts["steps"] += len(fact.plan.steps)

    def _is_gone(self, app: AppId, going: Going) -> bool:
        """What was stopped and has no instance left is free, though its deployment goes on. (Pods are not counted.)"""
        known = self.apps.get(app)
        if app in self.pods or known is None:
            return any(one.id == app and one.deed is Deed.STOP for step in going.plan.steps for one in step)
        return known.removed and not known.instances

    def _advance(self, fact: DeploymentAdvanced) -> None:
        going = self.going[fact.deployment]
        assert going.step < fact.step < len(going.plan.steps), f"{fact.deployment}: {fact.step} after {going.step}"
        self._all_done(fact.deployment, going, upto=fact.step)
        going.step = fact.step
        for action in going.plan.steps[fact.step]:
            if action.deed is not Deed.START and action.app is not None:
                self.apps[action.id].becomes()
                if action.deed is not Deed.STOP:
                    self._in_order(action.id, going, fact.step)

    def _in_order(self, app: AppId, going: Going, step: int) -> None:
        """What it depends on is done before."""
        if going.killing:
            return  # nothing is started for it
        later = {one.id for others in going.plan.steps[step:] for one in others if one.deed is not Deed.STOP}
        early = later & set(self.apps[app].spec.dependencies)
        assert not early, f"{app} has its turn before {sorted(early)}, which it depends on"

    def _end(self, fact: DeploymentEnded) -> None:
        name, outcome = fact.deployment, fact.outcome
        going = self.going.pop(name)
        assert outcome is Outcome.SUCCEEDED or fact.message, f"{name} is {outcome}, nobody says why"
        if outcome is Outcome.SUCCEEDED:
            self._all_done(name, going, upto=len(going.plan.steps))
        for app_id in going.plan.apps:
            app = self.apps[app_id]
            app.becomes()
            app.mixed = outcome is not Outcome.SUCCEEDED
        self.ended[name] = outcome
        self.counts[outcome] += 1

    def _all_done(self, name: DeploymentId, going: Going, upto: int) -> None:
        """Every action of the step that is over is as it was to be, when Marathon says so."""
        for action in going.plan.steps[going.step] if 0 <= going.step < upto else ():
            app = self.apps.get(action.id)
            if app is None or action.deed is Deed.START or action.app is None:
                continue
            told = f"{name}: {action.name} {action.id} is done, with {app.instances} of {app.version}"
            if action.deed is Deed.STOP:
                assert not app.lasting, told
            else:
                assert len(app.lasting) == app.up == app.spec.instances, told
                assert all(one.version == app.version for one in app.lasting), told

    # ---- what apps are to be ----------------------------------------------------------------------------------------

    def _specify(self, fact: AppSpecified) -> None:
        app = self.apps.get(fact.app.id)
        self.versions.setdefault(fact.app.id, []).append(fact.change_version or fact.app_version)
        if app is None:
            self.apps[fact.app.id] = Known(fact.app, fact.app_version)
            return
        app.pending = (fact.app, fact.app_version)
        if app.removed or fact.deployment is None:
            app.becomes()
        app.removed = False

    # ---- instances --------------------------------------------------------------------------------------------------

    def _deed(self, app: AppId) -> Deed | None:
        return next((deed for one in self.going.values() if (deed := one.deed(app)) is not None), None)

    def _schedule(self, fact: InstanceScheduled) -> None:
        app = self.apps[fact.app]
        assert not app.removed, f"{fact.task}: {fact.app} is removed"
        assert fact.app_version == app.version, f"{fact.task} is of version {fact.app_version}, not {app.version}"
        app.instances[fact.task] = Instance(fact.app_version)
        there, wanted = len(app.instances), app.spec.instances
        if self._deed(fact.app) is Deed.RESTART and not self._is_canary(app):
            most = self._most(app)
            assert there <= most, f"{fact.task}: {fact.app} has {there} instances, at most {most} may be there"
        mine = sum(one.version == app.version for one in app.lasting)
        assert mine <= wanted, f"{fact.task}: {fact.app} has {mine} instances of {app.version}, {wanted} are wanted"

    def _most(self, app: Known) -> int:
        """(Marathon: maximumOverCapacity; one more where nothing could move otherwise)"""
        wanted, strategy = app.spec.instances, app.spec.upgrade_strategy
        most = math.floor(wanted * (1 + strategy.maximum_over_capacity) + _tiny)
        return max(most, self._least(app) + 1)

    def _is_canary(self, app: Known) -> bool:
        """Whether there are no more of the new than run beside all of the old until somebody finds them good."""
        canaries, wanted = app.spec.rollout.canaries, app.spec.instances
        new = sum(one.version == app.version for one in app.lasting)
        return canaries > 0 and new <= max(min(canaries, wanted), wanted - (len(app.lasting) - new))

    def _least(self, app: Known) -> int:
        """(Marathon: minimumHealthCapacity)"""
        return math.ceil(app.spec.instances * app.spec.upgrade_strategy.minimum_health_capacity - _tiny)

    def _dismiss(self, fact: InstanceDismissed) -> None:
        app = self.apps[fact.app]
        instance = app.instances[fact.task]
        assert fact.reason == USER_REQUEST or not instance.dying, f"{fact.task} is dismissed twice"
        was_up = instance.up
        instance.dying = True
        if not instance.launched:
            del app.instances[fact.task]
        if fact.reason == UPGRADING and was_up and self._deed(fact.app) is Deed.RESTART:
            self.counts["dismissals"] += 1
            least = self._least(app)
            assert app.up >= least, f"{fact.task} is dismissed, {app.up} of {fact.app} are up, at least {least} must be"

    def _launch(self, fact: OfferAccepted) -> None:
        for info in fact.launch:
            app = self.apps.get(info.app) if info.app is not None else None
            if app is not None:
                app.instances[info.task].launched = True

    def _update(self, app_id: AppId, task: TaskId, state: TaskState) -> None:
        app = self.apps.get(app_id)
        instance = app.instances.get(task) if app is not None else None
        if app is None or instance is None:
            return
        instance.up = state is TaskState.RUNNING
        if state in GONE:
            del app.instances[task]
