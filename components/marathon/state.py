"""What Marathon remembers: apps, and of each the instances that wait, run, or are on their way out.

    instance.scheduled ─► waiting ─ offer.accepted ─► launched ─ instance.dismissed ─► dying ─ app.updated ─► forgotten
                             └─ instance.dismissed ─► forgotten    └─ app.updated, ended ─► forgotten, and vacant

Rule of this room: what is here is bounded by what is wanted; an ended instance leaves no more than its app's last
failure. An app that is not as specified is *uneven*, and whoever decides next makes it even.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from bus.documents.constraints import GROUP_BY
from bus.nouns import AgentId, AppId, Now, TaskId, TaskState, TaskStatus, Unfit
from bus.plans import Deed, DeploymentId, GroupTraits
from components.component import Because, State
from components.marathon.changing import Before, Deployment, RunSpec, Specified
from components.marathon.containers import Termination, instance_of
from components.marathon.instances import Launched, Waiting, is_up
from components.marathon.rolling import Counts, Moves, moves
from components.referring import Names

expunged_kept_max = 1000
NEVER = Now(0)
terminations_kept_max = 10

OVER_CAPACITY, UPGRADING, DELETING, USER_REQUEST = "OverCapacity", "Upgrading", "DeletingApp", "UserRequest"
UNHEALTHY = "Unhealthy"
"""Why instances are dismissed. (Marathon: `GoalChangeReason.scala`; the last is not in it)"""


@dataclass(slots=True, kw_only=True)
class Backoff:
    """How long an app's next launch waits after failures, of its present version."""

    delay_us: int = 0
    failed_at: Now | None = None
    until: Now | None = None
    """Until then nothing is launched; none once the master was told that offers are wanted again."""


@dataclass(slots=True, kw_only=True)
class Avoided:
    """A node on which instances of an app's present version failed."""

    failures: int
    """In a row."""
    delay_us: int
    failed_at: Now
    until: Now
    """It is used no sooner, while another is used."""
    held: bool = False
    """Whether it was declined for this, and offers are wanted again when the time has come."""


@dataclass(slots=True, kw_only=True)
class Tries:
    """How offers fared with an app since instances of it wait. (Marathon: `OfferMatchStatisticsActor.scala`)"""

    processed: int = 0
    unused: int = 0
    last_used: Now | None = None
    last_unused: Now | None = None
    rejected: dict[str, int] = field(default_factory=dict)
    """By the first check that failed."""


class Verdict(NamedTuple):
    """Why an app did not fit on an agent, the last time it was tried."""

    at: Now
    unfit: tuple[Unfit, ...]


@dataclass(slots=True, kw_only=True)
class App:
    """A service to keep running: an app, or a pod."""

    given: Specified
    """What its instances are made from. While a deployment waits to begin with it, this is what was before."""
    client: str
    """Who changed it last and hears of its instances."""
    asked: Because
    """What led to the last change."""
    pending: Specified | None = None
    """What it is to be as soon as its step of the deployment begins."""
    history: dict[str, Specified] = field(default_factory=dict)
    """By version of the change, the latest ones, newest last."""
    deployment: DeploymentId | None = None
    """The one that changes it now: nobody else may."""
    deed: Deed | None = None
    """What the deployment does to it, from the beginning of its step until it is done."""
    at_once: bool = False
    """Its outdated instances are replaced all at once: it was specified without a deployment, in an old log."""
    unopened: bool = False
    """It is new, and has no instances before its step."""
    removed: bool = False
    """Wanted no more; it is forgotten with its last instance."""
    canaries_good: bool = False
    """A person said so, of those of its present version."""
    paused: bool = False
    """It was said that its canaries are up."""
    most_up: int = 0
    """In its step, how many of its present version were up at once."""
    progressed_at: Now = NEVER
    """In its step, when one more came up, or when it began."""
    failures: int = 0
    """In its step, of its present version's instances."""
    deadline: Now | None = None
    """Its entry in `MarathonState.deadlines`."""
    waiting: dict[TaskId, Waiting] = field(default_factory=dict)
    """Oldest first."""
    launched: dict[TaskId, Launched] = field(default_factory=dict)
    """Oldest first."""
    outdated: dict[TaskId, None] = field(default_factory=dict)
    """Of the waiting and launched, those of another version."""
    up: dict[TaskId, None] = field(default_factory=dict)
    """Of the launched, those that count in a deployment. (`is_up`)"""
    old_up: dict[TaskId, None] = field(default_factory=dict)
    """Of these, the outdated."""
    returned: dict[TaskId, None] = field(default_factory=dict)
    """Of the launched, those that came back after they had been replaced."""
    dying: dict[TaskId, Launched] = field(default_factory=dict)
    """Dismissed, to be killed, not yet ended."""
    absent: dict[TaskId, Launched] = field(default_factory=dict)
    """Not reachable, and replaced; they may come back."""
    vacant: dict[TaskId, Because] = field(default_factory=dict)
    """Instances that went and are not replaced yet, with what made each go."""
    running: int = 0
    """Of the launched, those that run."""
    verdicts: dict[AgentId, Verdict] = field(default_factory=dict)
    """While instances wait: why not on this agent."""
    tries: Tries = field(default_factory=Tries)
    backoff: Backoff = field(default_factory=Backoff)
    avoided: dict[AgentId, Avoided] = field(default_factory=dict)
    delayed: Now | None = None
    """Its entry in `MarathonState.delays`."""
    last_failure: TaskStatus | None = None
    terminations: list[Termination] = field(default_factory=list)
    """Of a pod, the latest instances that ended, oldest first."""

    @property
    def spec(self) -> RunSpec:
        """What its instances are made from."""
        return self.given.spec

    @property
    def version(self) -> str:
        """Of the configuration its instances are made from."""
        return self.given.version

    @property
    def latest(self) -> Specified:
        """What it is to be."""
        return self.pending or self.given

    @property
    def wanted(self) -> int:
        """How many instances there are to be now."""
        return 0 if self.removed or self.unopened else self.spec.instances

    @property
    def counts(self) -> Counts:
        """Its instances, as a rolling replacement counts them."""
        there, old, old_up = len(self.waiting) + len(self.launched), len(self.outdated), len(self.old_up)
        new_up = len(self.up) - old_up
        return Counts(
            wanted=self.wanted,
            old_up=old_up,
            old_down=old - old_up,
            new_up=new_up,
            new_down=there - old - new_up,
            dying=len(self.dying),
        )

    @property
    def moves(self) -> Moves:
        """What is to be done with its instances now."""
        if self.outdated and next(iter(self.waiting), None) in self.outdated:
            return Moves(kill=1)  # nobody is served by it yet, and nobody shall be
        if self.deed is Deed.RESTART:
            strategy = self.spec.upgrade_strategy
            least, over = strategy.minimum_health_capacity, strategy.maximum_over_capacity
            return moves(self.counts, least, over, self.canaries)
        missing = self.wanted - len(self.waiting) - len(self.launched)
        if self.at_once and self.outdated:
            return Moves(kill=len(self.outdated), start=max(0, missing + len(self.outdated)))
        return Moves(start=max(0, missing), surplus=max(0, -missing))

    @property
    def canaries(self) -> int | None:
        """How many instances of its new version are tried before somebody says that they are good."""
        return (self.spec.rollout.canaries or None) if self.wanted and not self.canaries_good else None

    @property
    def pause_due(self) -> bool:
        """Whether the canaries are up, and it was not said yet."""
        if self.deed is not Deed.RESTART or self.canaries is None or self.paused:
            return False
        return len(self.up) - len(self.old_up) >= min(self.canaries, self.wanted)

    @property
    def held(self) -> bool:
        """Whether it waits for somebody to say that its canaries are good."""
        return self.deed is Deed.RESTART and self.canaries is not None

    @property
    def missing(self) -> int:
        """How many instances are to be scheduled now."""
        return self.moves.start

    @property
    def even(self) -> bool:
        """Whether nothing is to be done with its instances now."""
        if self.outdated or self.deed is Deed.RESTART:
            return not self.moves
        return len(self.waiting) + len(self.launched) == self.wanted

    @property
    def as_wanted(self) -> bool:
        """Whether exactly the wanted instances exist, all of its version, and all of them up."""
        exact = len(self.up) == len(self.launched) == self.wanted
        return exact and not (self.waiting or self.outdated or self.dying or self.held)

    def ready(self, now: Now) -> bool:
        """Whether something waits that may be launched now."""
        first = next(iter(self.waiting), None)
        held_back = first in self.outdated or (self.backoff.until is not None and now < self.backoff.until)
        return first is not None and not held_back

    def mark(self, task: TaskId) -> None:
        """After any change of one of its instances: whether it counts in a deployment, and came back. (fold)"""
        one = self.launched.get(task)
        up, returned = one is not None and is_up(one), one is not None and one.returned
        for marked, counts in (
            (self.up, up),
            (self.old_up, up and task in self.outdated),
            (self.returned, returned),
        ):
            if not counts:
                marked.pop(task, None)
            elif task not in marked:
                marked[task] = None


@dataclass(slots=True, kw_only=True)
class MarathonState(State):
    """Everything Marathon knows."""

    apps: dict[AppId, App] = field(default_factory=dict)
    owners: dict[TaskId, AppId] = field(default_factory=dict)
    """The app of every instance that is not forgotten."""
    uneven: dict[AppId, None] = field(default_factory=dict)
    """Apps whose instances are not what is wanted: due now, in this order."""
    deployments: dict[DeploymentId, Deployment] = field(default_factory=dict)
    """Those that go on, oldest first."""
    done: dict[DeploymentId, None] = field(default_factory=dict)
    """Of these, those whose present step is done: due now, in this order."""
    deadlines: list[tuple[Now, AppId]] = field(default_factory=list)
    """Ascending: when apps have failed unless they come further. (`rollout`)"""
    groups: dict[AppId, GroupTraits] = field(default_factory=dict)
    """Those that were asked for; others are there because something is in them."""
    version: str | None = None
    """Of the root group: of the latest change of anything."""
    changes: dict[str, Before] = field(default_factory=dict)
    """By version of the root group, the latest changes, newest last."""
    delays: list[tuple[Now, AppId]] = field(default_factory=list)
    """Ascending: when apps with waiting instances may launch again."""
    unconfirmed: dict[TaskId, Now] = field(default_factory=dict)
    """Launches nobody has reported yet, and when they were asked for; ascending."""
    lost: list[tuple[Now, TaskId]] = field(default_factory=list)
    """Ascending: when instances that cannot be reached are replaced or given up."""
    expunged: dict[TaskId, TaskId | None] = field(default_factory=dict)
    """The latest instances that were given up because they could not be reached, each with the one that took its place:
    so that, when one comes back, it can be said which survives."""
    last_ports: dict[AgentId, int] = field(default_factory=dict)
    """The last any-port given out on each agent."""
    secrets: Names = field(default_factory=dict)
    """The names of all there are."""
    to_register: bool = False
    admitted: bool = False
    suppressed: bool = False
    filtered: bool = False
    """Whether resources may be held back from us because we declined them."""
    hungry: bool = False
    """Whether an instance waits that was scheduled after the last offers were answered."""
    given_back: bool = False
    """Whether something offered was given back only because one decision could not use more of it, or could not yet:
    instances that spread over groups are placed in rounds."""
    wanted_for: Because | None = None
    """What led to that an instance waits that did not when the last offers were answered, or to what was given back."""

    @property
    def revives(self) -> bool:
        """Whether offers are to be asked for: at once.

        What was given back would come again with the master's next batch: asking for it brings it at once.
        """
        held_back = self.hungry and (self.suppressed or self.filtered)
        return self.admitted and (held_back or self.given_back)

    @property
    def idle(self) -> bool:
        """Whether no offer is of any use."""
        return not self.uneven and not any(app.waiting for app in self.apps.values())


def instance_with(state: MarathonState, task: TaskId) -> TaskId:
    """The instance that a task is, or is a container of."""
    return task if task in state.owners else instance_of(task)


def in_rounds(app: App) -> bool:
    """Whether an offer takes one instance of an app at a time: those that spread over groups go round all offers.

    One more here allows one more elsewhere, and of how many groups there are only offers tell.
    """
    return any(each[1] == GROUP_BY for each in app.spec.constraints)


def last_any_port(spec: RunSpec, ports: tuple[int, ...], before: int) -> int:
    """The last of a task's ports that was chosen for it; `before` if it asked for each by number."""
    if not ports:
        return before
    asked = {port.port for port in spec.wanted_ports}
    return next((port for port in reversed(ports) if port not in asked), before)


def check(state: MarathonState) -> None:
    """What must hold between decisions: as many instances as wanted, or the rest is due; no instance without an app."""
    for app_id, app in state.apps.items():
        _check_app(state, app_id, app)
    known = sum(len(app.waiting) + len(app.launched) + len(app.dying) + len(app.absent) for app in state.apps.values())
    assert len(state.owners) == known, f"{len(state.owners)} instances have an app, {known} are in one"
    assert len(state.delays) == sum(app.delayed is not None for app in state.apps.values()), state.delays
    assert len(state.deadlines) == sum(app.deadline is not None for app in state.apps.values()), state.deadlines
    assert not (state.to_register and state.admitted), "admitted without being registered"
    _check_lost(state)
    for name, deployment in state.deployments.items():
        _check_deployment(state, name, deployment)


def _check_lost(state: MarathonState) -> None:
    """Each instance that is waited for with an end is due once."""
    due: list[tuple[Now, TaskId]] = []
    for app in state.apps.values():
        for task, one in (*app.launched.items(), *app.absent.items()):
            at = one.inactive_at if one.inactive_at is not None else one.expunge_at
            if at is not None:
                assert one.state is TaskState.UNREACHABLE, f"{task} is {one.state} and due at {at}"
                due.append((at, task))
        for task, one in app.absent.items():
            assert one.state is TaskState.UNREACHABLE, f"{task} is {one.state} and absent"
    assert state.lost == sorted(due), f"{state.lost} are due, of the instances {sorted(due)}"


def _check_app(state: MarathonState, app_id: AppId, app: App) -> None:
    assert app.even or app_id in state.uneven, f"{_story(app_id, app)}; no rest is due"
    assert 0 <= app.running <= len(app.launched), _story(app_id, app)
    assert sorted(app.returned) == sorted(task for task, one in app.launched.items() if one.returned), app.returned
    assert app.waiting or not app.verdicts, f"{_story(app_id, app)}; nothing waits, yet verdicts are kept"
    assert not app.removed or app.waiting or app.launched or app.dying, f"{_story(app_id, app)}; removed and not gone"
    assert app.deployment is None or app.deployment in state.deployments, f"{app_id} is locked by {app.deployment}"
    assert app.deployment is not None or not (app.pending or app.unopened or app.deed), f"{app_id}: nobody opens it"


def _check_deployment(state: MarathonState, name: DeploymentId, deployment: Deployment) -> None:
    assert 0 <= deployment.step < len(deployment.plan.steps), f"{name} is at step {deployment.step}"
    assert deployment.unfinished or name in state.done, f"{name}: nothing is open, and nothing is due"
    for app_id in deployment.unfinished:
        app = state.apps[app_id]
        assert app.deployment == name, f"{name} works on {app_id}, which {app.deployment} has"
        assert app.deed is Deed.STOP or not app.as_wanted, f"{_story(app_id, app)}; {name} should be done with it"


def _story(app_id: AppId, app: App) -> str:
    return (
        f"{app_id} {app.version}: {app.wanted} wanted, {len(app.waiting)} wait, {len(app.launched)} launched,"
        f" {len(app.outdated)} of both outdated, {app.running} running, {len(app.dying)} dying"
    )
