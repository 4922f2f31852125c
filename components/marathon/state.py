"""What Marathon remembers: apps, and of each the instances that wait, run, or are on their way out.

    instance.scheduled ─► waiting ─ offer.accepted ─► launched ─ instance.dismissed ─► dying ─ app.updated ─► forgotten
                             └─ instance.dismissed ─► forgotten    └─ app.updated, ended ─► forgotten, and vacant

Rule of this room: what is here is bounded by what is wanted; an ended instance leaves no more than its app's last
failure. An app that is not as specified is *uneven*, and whoever decides next makes it even.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from bus.documents import AppSpec
from bus.documents.constraints import GROUP_BY
from bus.nouns import (
    TERMINAL,
    AgentId,
    AppId,
    Check,
    Now,
    Position,
    Reason,
    TaskId,
    TaskState,
    TaskStatus,
    TraceId,
    Unfit,
)
from components.component import State
from components.referring import Names

LOST = frozenset({TaskState.UNREACHABLE, TaskState.UNKNOWN})
ENDED = TERMINAL | LOST
"""States in which an instance counts no more. (Marathon: unreachableStrategy 0/0 expunges at once)"""

expunged_kept_max = 1000

OVER_CAPACITY, UPGRADING, DELETING, USER_REQUEST = "OverCapacity", "Upgrading", "DeletingApp", "UserRequest"
UNHEALTHY = "Unhealthy"
"""Why instances are dismissed. (Marathon: `GoalChangeReason.scala`; the last is not in it)"""


@dataclass(slots=True, kw_only=True)
class Waiting:
    """An instance that waits for an offer."""

    app_version: str
    since: Now
    order: int
    """Who is served first: the number of the event that scheduled it."""
    replaces: TaskId | None


@dataclass(slots=True, kw_only=True)
class Found:
    """What one check of an instance found. (Marathon: `Health.scala`)"""

    alive: bool | None = None
    failures: int = 0
    """In a row."""
    first_success: Now | None = None
    last_success: Now | None = None
    last_failure: Now | None = None
    cause: str = ""


@dataclass(slots=True, kw_only=True)
class Readiness:
    """What an instance answered when it was asked whether it is ready."""

    ready: bool
    status: int | None = None
    content_type: str = ""
    body: str = ""


@dataclass(slots=True, kw_only=True)
class Launched:
    """An instance that was asked for on an agent."""

    app_version: str
    since: Now
    """When it got its state."""
    launched_at: Now
    agent: AgentId
    hostname: str
    ports: tuple[int, ...]
    replaces: TaskId | None
    trace: TraceId | None
    place: dict[str, str] = field(default_factory=dict)
    """What its app's constraints count of its agent."""
    state: TaskState = TaskState.STAGING
    running_since: Now | None = None
    watched: tuple[Check, ...] = ()
    """What Marathon checks of it."""
    asked_ready: Check | None = None
    """What Marathon asks it until it is ready."""
    found: list[Found] = field(default_factory=list)
    """Of each check; of one, if its executor makes it."""
    readiness: Readiness | None = None
    inactive_at: Now | None = None
    """Of one that cannot be reached: when another takes its place."""
    expunge_at: Now | None = None
    """Of one that cannot be reached: when it is given up."""
    lost_by: Position | None = None
    """What said that it cannot be reached."""
    replaced_by: TaskId | None = None
    returned: bool = False
    """Whether it came back after another had taken its place."""

    @property
    def healthy(self) -> bool | None:
        """Whether all its checks are good; None: one of them is not known yet, or there is none."""
        alive = [one.alive for one in self.found]
        return False if False in alive else True if alive and None not in alive else None

    @property
    def ready(self) -> bool | None:
        """Whether it was ready once; None: nothing is known yet, or it is not asked."""
        return self.readiness.ready if self.readiness is not None else None


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
    """A service to keep running."""

    spec: AppSpec
    version: str
    client: str
    """Who changed it last and hears of its instances."""
    trace: TraceId | None
    asked: Position | None
    """Where the last change was asked for."""
    removed: bool = False
    """Wanted no more; it is forgotten with its last instance."""
    waiting: dict[TaskId, Waiting] = field(default_factory=dict)
    """Oldest first."""
    launched: dict[TaskId, Launched] = field(default_factory=dict)
    """Oldest first."""
    outdated: dict[TaskId, None] = field(default_factory=dict)
    """Of the waiting and launched, those of another version: to be dismissed."""
    dying: dict[TaskId, Launched] = field(default_factory=dict)
    """Dismissed, to be killed, not yet ended."""
    absent: dict[TaskId, Launched] = field(default_factory=dict)
    """Not reachable, and replaced; they may come back."""
    vacant: dict[TaskId, Position | None] = field(default_factory=dict)
    """Instances that went and are not replaced yet, with the position of what made each go."""
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

    @property
    def missing(self) -> int:
        """How many instances are to be scheduled; negative: how many are too many."""
        return self.spec.instances - (len(self.waiting) + len(self.launched) - len(self.outdated))

    @property
    def even(self) -> bool:
        """Whether exactly the wanted instances wait or are launched."""
        return not self.outdated and self.missing == 0

    def ready(self, now: Now) -> bool:
        """Whether something waits that may be launched now."""
        held_back = self.outdated or (self.backoff.until is not None and now < self.backoff.until)
        return bool(self.waiting) and not held_back


@dataclass(slots=True, kw_only=True)
class MarathonState(State):
    """Everything Marathon knows."""

    apps: dict[AppId, App] = field(default_factory=dict)
    owners: dict[TaskId, AppId] = field(default_factory=dict)
    """The app of every instance that is not forgotten."""
    uneven: dict[AppId, None] = field(default_factory=dict)
    """Apps whose instances are not what is wanted: due now, in this order."""
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

    @property
    def idle(self) -> bool:
        """Whether no offer is of any use."""
        return not self.uneven and not any(app.waiting for app in self.apps.values())


def is_failure(status: TaskStatus) -> bool:
    """Whether an end makes the app wait before its next launch. (Marathon: backoff grows on all ends but KILLED)

    An offer that had just been taken back, a lost agent, and a machine that went down with all its tasks say nothing
    about the app. One that was killed as unhealthy failed.
    """
    if status.state is TaskState.KILLED:
        return status.reason is Reason.TASK_HEALTH_CHECK_STATUS_UPDATED
    failures = (TaskState.FINISHED, TaskState.FAILED, TaskState.ERROR, TaskState.DROPPED, TaskState.GONE)
    return status.state in failures and status.reason not in (Reason.INVALID_OFFERS, Reason.EXECUTOR_TERMINATED)


def in_rounds(app: App) -> bool:
    """Whether an offer takes one instance of an app at a time: those that spread over groups go round all offers.

    One more here allows one more elsewhere, and of how many groups there are only offers tell.
    """
    return any(each[1] == GROUP_BY for each in app.spec.constraints)


def last_any_port(spec: AppSpec, ports: tuple[int, ...], before: int) -> int:
    """The last of a task's ports that was chosen for it; `before` if it asked for each by number."""
    asked = {port.port for port in spec.wanted_ports}
    return next((port for port in reversed(ports) if port not in asked), before)


def check(state: MarathonState) -> None:
    """What must hold between decisions: as many instances as wanted, or the rest is due; no instance without an app."""
    for app_id, app in state.apps.items():
        _check_app(state, app_id, app)
    known = sum(len(app.waiting) + len(app.launched) + len(app.dying) + len(app.absent) for app in state.apps.values())
    assert len(state.owners) == known, f"{len(state.owners)} instances have an app, {known} are in one"
    assert len(state.delays) == sum(app.delayed is not None for app in state.apps.values()), state.delays
    assert not (state.to_register and state.admitted), "admitted without being registered"
    _check_lost(state)


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
    assert app.waiting or not app.verdicts, f"{_story(app_id, app)}; nothing waits, yet verdicts are kept"
    assert not app.removed or app.waiting or app.launched or app.dying, f"{_story(app_id, app)}; removed and not gone"


def _story(app_id: AppId, app: App) -> str:
    return (
        f"{app_id} {app.version}: {app.spec.instances} wanted, {len(app.waiting)} wait, {len(app.launched)} launched,"
        f" {len(app.outdated)} of both outdated, {app.running} running, {len(app.dying)} dying"
    )
