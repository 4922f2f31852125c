"""How the master's own events change what it remembers.

Rule of this room: the only writer of the state; what must not happen is asserted, since it would be our own mistake.
"""

from __future__ import annotations

from bus.access import IdentityGranted, IdentityRenewed, IdentityRevoked, TokenIssued
from bus.events import (
    Event,
    KillDirected,
    OfferAccepted,
    OfferMade,
    OfferRecovered,
    OfferRescinded,
    TaskLaunched,
    TaskReconciled,
    TaskUpdated,
)
from bus.nouns import (
    NOTHING,
    TERMINAL,
    FrameworkId,
    Now,
    OfferId,
    Reason,
    Source,
    TaskGroupId,
    TaskId,
    TaskState,
    TaskStatus,
    is_news,
)
from bus.secrets import SecretKept, SecretRemoved
from bus.vouching import AlarmCleared, AlarmRaised, CheckpointMade
from components.master.books import (
    add_filter,
    close_offer,
    hold,
    note,
    open_offer,
    release,
    spend,
    touch,
)
from components.master.identities import fold_access
from components.master.membership import fold_membership, note_unfinished, revive, suppress
from components.master.state import (
    NOT_YET_RUNNING,
    Accept,
    Agent,
    Alarm,
    Checkpoint,
    Filter,
    MasterState,
    More,
    OutstandingOffer,
    Secret,
    Task,
    owned,
    starting_max,
)

NEVER_LAUNCHED = (Reason.TASK_INVALID, Reason.TASK_GROUP_INVALID, Reason.INVALID_OFFERS)
"""Why a task is not launched at all."""


def fold(state: MasterState, event: Event) -> None:
    """Fold one event of the master's own log. (The frequent ones first: a rebuild folds millions)"""
    match event.fact:
        case TaskUpdated() as fact:
            _update(state, event, fact)
        case TaskLaunched() as fact:
            _launch(state, event, fact)
        case OfferMade() as fact:
            _make(state, event, fact)
        case OfferRecovered(framework=name, offers=offers, filter_until=until) as fact:
            _close(state, event, name, offers, until)
            if fact.suppressed:
                suppress(state, name)
            if state.accepts and state.accepts[0].framework == name:
                state.accepts.pop(0)
        case OfferRescinded(framework=name, offers=offers, filter_until=until):
            _close(state, event, name, offers, until)
        case KillDirected() as fact:
            _want_killed(state, event, fact)
        case OfferAccepted() as fact if fact.framework is not None:
            state.accepts.append(_rest_of(event, fact, fact.framework))
        case TaskReconciled(framework=name, tasks=tasks) if name is not None:
            state.reconciling[name] = set(tasks) or set(state.frameworks[name].task_ids)
        case _:
            _fold_rare(state, event)


def _fold_rare(state: MasterState, event: Event) -> None:
    match event.fact:
        case SecretKept() as fact:
            by = event.actor or event.to
            state.secrets[fact.name] = Secret(fact.sealed, fact.key, fact.number, event.at, by)
        case SecretRemoved(name=name):
            del state.secrets[name]
        case AlarmRaised(alarm=alarm, message=message):
            standing = state.alarms.get(alarm)
            state.alarms[alarm] = Alarm(message, standing.since if standing else event.at)
        case AlarmCleared(alarm=alarm):
            state.alarms.pop(alarm, None)
        case TokenIssued() | IdentityGranted() | IdentityRenewed() | IdentityRevoked():
            fold_access(state, event)
        case CheckpointMade() as fact:
            assert fact.folded_n == event.n - 1, f"#{event.n} vouches for the state after event {fact.folded_n}"
            state.checkpoint = Checkpoint(fact.upto, fact.chain)
        case _:
            fold_membership(state, event)


# ---- offers ------------------------------------------------------------------------------------------------------


def _make(state: MasterState, event: Event, fact: OfferMade) -> None:
    if fact.revived:
        revive(state, fact.framework, event.n)
    for made in fact.offers:
        offer = OutstandingOffer(
            framework=fact.framework,
            agent=made.agent,
            resources=made.resources,
            made_at=event.at,
            expires_at=fact.expires_at,
        )
        open_offer(state, made.offer, offer)
        touch(state, state.agents[made.agent], event.n, event.at)
    state.more = More(fact.more, event.n) if fact.more is not None else None


def _close(
    state: MasterState, event: Event, name: FrameworkId, offers: tuple[OfferId, ...], filter_until: Now | None
) -> None:
    refused: dict[str, list[OutstandingOffer]] = {}
    for offer_id in offers:
        offer = close_offer(state, offer_id)
        assert offer.framework == name, f"{offer_id} is {offer.framework}'s, not {name}'s"
        refused.setdefault(offer.agent, []).append(offer)
    for closed in refused.values():
        agent = state.agents[closed[0].agent]
        amount = closed[0].resources
        for offer in closed[1:]:
            amount += offer.resources
        if filter_until is not None and not amount.empty:
            add_filter(agent, state.frameworks[name], Filter(amount, filter_until))
        touch(state, agent, event.n, event.at)


# ---- tasks -------------------------------------------------------------------------------------------------------


def _launch(state: MasterState, event: Event, fact: TaskLaunched) -> None:
    info = fact.task
    assert info.task not in state.tasks, f"{info.task} is launched twice, #{event.n}"
    spend(state, fact.offers, info)
    state.tasks[info.task] = Task(
        info=info,
        role=fact.role,
        status=TaskStatus(task=info.task, state=TaskState.STAGING, source=Source.MASTER),
        since=event.at,
        launched_at=event.at,
        launched_n=event.n,
    )
    if info.group is not None:
        state.groups.setdefault(info.group.id, {})[info.task] = None
        state.tasks[info.task].extra = NOTHING if info.group.index else info.group.executor
    agent = state.agents[info.agent]
    agent.starting += 1
    if agent.starting == starting_max:
        touch(state, agent, event.n, event.at)
    note(state, info.agent, event.n)
    _close(state, event, info.framework, fact.recovered, fact.filter_until)
    if fact.suppressed:
        suppress(state, info.framework)
    _drain_accept(state, info.task)


def _update(state: MasterState, event: Event, fact: TaskUpdated) -> None:
    status = fact.status
    if status.source is Source.MASTER and status.reason in NEVER_LAUNCHED:
        _drain_accept(state, status.task)  # it was never launched: nothing is kept of it
    elif status.source is Source.MASTER and status.reason is Reason.RECONCILIATION:
        _drain_reconciling(state, fact.framework, status.task)
    else:
        _move(state, event, fact)


def _move(state: MasterState, event: Event, fact: TaskUpdated) -> None:
    status = fact.status
    task = state.tasks[status.task]
    agent = state.agents[task.info.agent]
    before = task.status.state
    assert is_news(task.status, status), f"{status.task}: {before} -> {status.state}, #{event.n}"
    held = task.holds
    task.status, task.since, task.unreachable_since = status, event.at, fact.unreachable_since
    if held and not task.holds:
        release(state, task)
    elif task.holds and not held:
        hold(state, task)
    if status.state is TaskState.UNREACHABLE:
        agent.lost_ids.add(status.task)
    elif status.state in TERMINAL:
        _end(state, agent, task)
    if fact.acted_n:
        agent.acted_n, agent.known_n = max(agent.acted_n, fact.acted_n), max(agent.known_n, task.launched_n)
    full = agent.starting >= starting_max
    agent.starting += (status.state in NOT_YET_RUNNING) - (before in NOT_YET_RUNNING)
    due = bool(agent.later)
    if due or not agent.active:
        agent.later.pop(status.task, None)
        note_unfinished(state, agent)
    if due or held != task.holds or full != (agent.starting >= starting_max):
        touch(state, agent, event.n, event.at)


def _want_killed(state: MasterState, event: Event, fact: KillDirected) -> None:
    task = state.tasks.get(fact.task)
    if task is not None and task.info.agent == event.to:
        task.kill_wanted, task.kill_grace_s = True, fact.grace_s
        state.orphans.pop(fact.task, None)


def _rest_of(event: Event, fact: OfferAccepted, framework: FrameworkId) -> Accept:
    return Accept(
        framework=framework,
        offers=fact.offers,
        launch=list(fact.launch),
        refuse_s=fact.refuse_s,
        cause=event.cause,
        declined=fact.declined,
        suppressed=fact.suppressed,
    )


def _end(state: MasterState, agent: Agent, task: Task) -> None:
    name = task.info.task
    agent.lost_ids.discard(name)
    state.orphans.pop(name, None)
    if not task.abandoned:
        state.frameworks[task.info.framework].task_ids.remove(name)
    state.ended[name] = state.tasks.pop(name)
    if task.info.group is not None:
        _leave_group(state, task.info.group.id, name)
    while len(state.ended) > state.tasks_kept_max:
        del state.ended[next(iter(state.ended))]


def _leave_group(state: MasterState, group: TaskGroupId, task: TaskId) -> None:
    del state.groups[group][task]
    if not state.groups[group]:
        del state.groups[group]


def _drain_accept(state: MasterState, task: TaskId) -> None:
    if not state.accepts:
        return
    accept = state.accepts[0]
    if accept.launch and accept.launch[0].task == task:
        accept.launch.pop(0)
        if not accept.launch and not owned(state, accept.framework, accept.offers):
            state.accepts.pop(0)


def _drain_reconciling(state: MasterState, framework: FrameworkId, task: TaskId) -> None:
    asked = state.reconciling.get(framework)
    if asked is not None:
        asked.discard(task)
        if not asked:
            del state.reconciling[framework]
