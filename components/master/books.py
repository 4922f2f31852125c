"""The master's accounts: what an agent has is what is free, what its offers hold and what its tasks hold.

Rule of this room: every amount that leaves one account enters another in the same call; nobody else adds or subtracts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from bus.nouns import NOTHING, AgentId, FrameworkId, Now, OfferId, Resources, TaskInfo, normal, total
from components.master.state import (
    NOT_YET_RUNNING,
    Agent,
    Filter,
    Framework,
    MasterState,
    OutstandingOffer,
    Task,
    allocatable,
    changed_since,
    tick_after,
)
from components.master.validity import taken_by

audited_max = 1000
"""Agents that one check looks at because its decision touched them, and as many that others did before: 2 ms each."""
recounted_max = 8
"""Tasks of one agent that are recounted at every check; of more, one check in so many recounts them."""


def scalars(resources: Resources) -> Resources:
    """Resources without their ports, whose numbers say nothing across agents."""
    if not resources.ports:
        return resources
    return Resources(cpu_milli=resources.cpu_milli, mem_mb=resources.mem_mb, disk_mb=resources.disk_mb)


def note(state: MasterState, agent: AgentId, n: int) -> None:
    """Event `n` changed the agent's books."""
    state.changed.pop(agent, None)
    state.changed[agent] = n


def move(state: MasterState, framework: FrameworkId) -> None:
    """This event changed what a framework holds or was given, its role, or whether it wants more."""
    state.moved.pop(framework, None)
    state.moved[framework] = state.n


def _hold_more(state: MasterState, framework: Framework, more: Resources) -> None:
    held = framework.held
    framework.held = Resources(
        cpu_milli=held.cpu_milli + more.cpu_milli,
        mem_mb=held.mem_mb + more.mem_mb,
        disk_mb=held.disk_mb + more.disk_mb,
    )
    move(state, framework.framework)


def _hold_less(state: MasterState, framework: Framework, less: Resources) -> None:
    held = framework.held
    framework.held = Resources(
        cpu_milli=held.cpu_milli - less.cpu_milli,
        mem_mb=held.mem_mb - less.mem_mb,
        disk_mb=held.disk_mb - less.disk_mb,
    )
    move(state, framework.framework)


def touch(state: MasterState, agent: Agent, n: int, at: Now) -> None:
    """Event `n` changed what is free on an agent: note it, and see anew who has filtered that."""
    note(state, agent.agent, n)
    if allocatable(state, agent):
        state.offerable[agent.agent] = None
        if agent.filters or agent.waits or agent.offer_ids:
            _refresh(state, agent, at)
    else:
        state.offerable.pop(agent.agent, None)
        if agent.waits:
            _wait_for(state, agent, {})


def _refresh(state: MasterState, agent: Agent, at: Now) -> None:
    waits: dict[FrameworkId, Now] = {}
    for offer in map(state.offers.__getitem__, sorted(agent.offer_ids)):
        tick = tick_after(state.interval_us, offer.made_at)
        if tick > at:
            waits[offer.framework] = max(tick, waits.get(offer.framework, tick))
    for name in list(agent.filters):
        kept = [entry for entry in agent.filters[name] if entry.until > at]
        if not kept:
            _unfilter(state, agent, name)
            continue
        agent.filters[name] = kept
        covering = [entry.until for entry in kept if entry.resources.covers(agent.free)]
        if covering:
            waits[name] = max(*covering, waits.get(name, at))
    _wait_for(state, agent, waits)


def _wait_for(state: MasterState, agent: Agent, waits: dict[FrameworkId, Now]) -> None:
    for name in {**agent.waits, **waits}:
        old, new = agent.waits.get(name), waits.get(name)
        if old != new:
            framework = state.frameworks[name]
            if old is not None:
                framework.waits.drop(old, agent.agent)
            if new is not None:
                framework.waits.add(new, agent.agent)
            ripen(state, framework)
    agent.waits = waits


def ripen(state: MasterState, framework: Framework) -> None:
    """After any change of what a framework waits for, or whether it wants offers: when the first of it is due."""
    due = framework.waits.first if framework.wants else None
    if due == framework.ripe_at:
        return
    if framework.ripe_at is not None:
        state.ripening.drop(framework.ripe_at, framework.framework)
    if due is not None:
        state.ripening.add(due, framework.framework)
    framework.ripe_at = due


def add_filter(agent: Agent, framework: Framework, refused: Filter) -> None:
    """The framework does not want this on the agent; what the new filter says already is dropped."""
    filters = agent.filters.setdefault(framework.framework, [])
    filters[:] = [
        entry for entry in filters if entry.until > refused.until or not refused.resources.covers(entry.resources)
    ]
    filters.append(refused)
    framework.filtered[agent.agent] = None


def _unfilter(state: MasterState, agent: Agent, framework: FrameworkId) -> None:
    del agent.filters[framework]
    del state.frameworks[framework].filtered[agent.agent]


def clear_filters(state: MasterState, agent: Agent) -> None:
    """Nobody's filters on the agent hold any more. It is to be touched."""
    for framework in list(agent.filters):
        _unfilter(state, agent, framework)


def drop_filters(state: MasterState, framework: Framework) -> None:
    """The framework's filters are void on every agent, and nothing waits for its answers."""
    for name in framework.filtered:
        del state.agents[name].filters[framework.framework]
    for _, waiting in framework.waits.times:
        del state.agents[AgentId(waiting)].waits[framework.framework]
    framework.filtered.clear()
    framework.waits.times.clear()
    ripen(state, framework)


def open_offer(state: MasterState, name: OfferId, offer: OutstandingOffer) -> None:
    """Free resources become an offer."""
    agent, framework = state.agents[offer.agent], state.frameworks[offer.framework]
    assert name not in state.offers, f"{name} is made twice"
    if agent.free == offer.resources:
        agent.free = NOTHING
    else:
        assert agent.free.covers(offer.resources), f"{name}: {offer.resources}, {agent.agent} has {agent.free} free"
        agent.free -= offer.resources
    _hold_more(state, framework, offer.resources)
    framework.allocations += 1
    agent.offer_ids.add(name)
    framework.offer_ids.add(name)
    state.offers[name] = offer
    state.expiring.add(offer.expires_at, name)


def close_offer(state: MasterState, name: OfferId) -> OutstandingOffer:
    """What an offer still holds is free again."""
    offer = state.offers.pop(name)
    agent, framework = state.agents[offer.agent], state.frameworks[offer.framework]
    agent.free += offer.resources
    _hold_less(state, framework, offer.resources)
    agent.offer_ids.remove(name)
    framework.offer_ids.remove(name)
    state.expiring.drop(offer.expires_at, name)
    return offer


def spend(state: MasterState, names: tuple[OfferId, ...], info: TaskInfo) -> None:
    """A task takes its resources out of offers of one agent, the first of a group the executor's too; the rest stays in
    the first offer."""
    taken = taken_by(info)
    offers = [state.offers[name] for name in names]
    pool = total(offer.resources for offer in offers)
    assert pool.covers(taken), f"{info.task} takes {taken} of {pool}"
    for offer in offers:
        assert (offer.agent, offer.framework) == (info.agent, info.framework), f"{info.task}: {offer}"
        offer.resources = NOTHING
    offers[0].resources = pool - taken
    state.agents[info.agent].task_ids.add(info.task)
    state.frameworks[info.framework].task_ids.add(info.task)


def hold(state: MasterState, task: Task) -> None:
    """A task that was UNREACHABLE takes its resources again."""
    if task.info.group is not None and _holding(state, task) is None:
        task.extra = task.info.group.executor
    agent, amount = state.agents[task.info.agent], task.amount
    assert agent.free.covers(amount), f"{task.info.task} returns with {amount}, {agent.agent} has {agent.free} free"
    agent.free -= amount
    if not task.abandoned:
        _hold_more(state, state.frameworks[task.info.framework], amount)
    agent.lost_ids.remove(task.info.task)
    agent.task_ids.add(task.info.task)


def release(state: MasterState, task: Task) -> None:
    """A task that ends or becomes UNREACHABLE gives its resources back. Its group's executor stays with the others."""
    _bequeath(state, task)
    agent, amount = state.agents[task.info.agent], task.amount
    task.extra = NOTHING
    agent.free += amount
    if not task.abandoned:
        _hold_less(state, state.frameworks[task.info.framework], amount)
    agent.task_ids.remove(task.info.task)


def _bequeath(state: MasterState, task: Task) -> None:
    """What the executor of a task's group takes is booked in the name of another that holds resources, if one does."""
    heir = _holding(state, task)
    if task.extra.empty or heir is None:
        return
    for owner, book in ((task, _hold_less), (heir, _hold_more)):
        if not owner.abandoned:
            book(state, state.frameworks[owner.info.framework], task.extra)
    heir.extra, task.extra = task.extra, NOTHING


def _holding(state: MasterState, task: Task) -> Task | None:
    """Another task of the same group that holds resources."""
    if task.info.group is None:
        return None
    others = (state.tasks[name] for name in state.groups[task.info.group.id] if name != task.info.task)
    return next((other for other in others if other.holds), None)


def returning(state: MasterState, task: Task) -> Resources:
    """What a task that was UNREACHABLE takes when it returns: with its executor, if it is the first of its group."""
    group = task.info.group
    if group is None or _holding(state, task) is not None:
        return task.info.resources
    return task.info.resources + group.executor


def held_by(tasks: Iterable[Task]) -> Resources:
    """What tasks hold together, and the executors of their groups."""
    held = list(tasks)
    groups = {task.info.group.id: task.info.group.executor for task in held if task.info.group is not None}
    return total([*(task.info.resources for task in held), *groups.values()])


def abandon(state: MasterState, framework: Framework, task: Task) -> None:
    """A task is nobody's any more and is to be killed. It holds what it holds until it ends, for nobody's share."""
    task.abandoned = task.kill_wanted = True
    framework.task_ids.remove(task.info.task)
    if task.holds:
        _hold_less(state, framework, task.amount)
    state.orphans[task.info.task] = None


# ---- the audit ---------------------------------------------------------------------------------------------------


def auditor() -> Callable[[MasterState], None]:
    """A check of the books of every agent touched since this check was last asked: at once of up to so many, the
    latest first, of the others so many with every later check. (A new term's first decision finds all agents touched)

    It remembers what it has not checked yet: of a state that is behind that it checks all.
    """
    checked_n = 0
    left: list[AgentId] = []

    def check(state: MasterState) -> None:
        nonlocal checked_n
        if state.n < checked_n:
            checked_n = 0
            left.clear()
        touched = list(changed_since(state, checked_n))
        left.extend(touched[audited_max:])
        later = [left.pop() for _ in range(min(len(left), audited_max))]
        for name in (*touched[:audited_max], *later):
            agent = state.agents[name]
            if state.n % (1 + len(agent.task_ids) // recounted_max) == 0:
                check_agent(state, agent)
        checked_n = state.n

    return check


def check_agent(state: MasterState, agent: Agent) -> None:
    """What the agent has is exactly what is free, what its offers hold and what its tasks hold; no port is in two."""
    parts = [agent.free]
    if agent.offer_ids:
        parts += [state.offers[offer].resources for offer in sorted(agent.offer_ids)]
    if agent.task_ids:
        parts += [state.tasks[task].amount for task in sorted(agent.task_ids)]
    if not _balanced(parts, agent.total):
        story = "\n".join(f"  {what}: {held}" for what, held in _parts(state, agent))
        raise AssertionError(f"{agent.agent} has {agent.total}\n{story}")
    assert agent.active or not agent.offer_ids, f"{agent.agent} is unreachable and offered: {sorted(agent.offer_ids)}"


def _balanced(parts: Sequence[Resources], whole: Resources) -> bool:
    """Whether parts, none of them negative, are together exactly the whole, and no port is in two of them."""
    cpu = mem = disk = 0
    ports: list[tuple[int, int]] = []
    for part in parts:
        if part.cpu_milli < 0 or part.mem_mb < 0 or part.disk_mb < 0:
            return False
        cpu, mem, disk = cpu + part.cpu_milli, mem + part.mem_mb, disk + part.disk_mb
        if part.ports:
            ports += part.ports
    if (cpu, mem, disk) != (whole.cpu_milli, whole.mem_mb, whole.disk_mb):
        return False
    if len(ports) == len(whole.ports) == 1:
        return ports[0] == whole.ports[0]
    count = sum(high - low + 1 for low, high in ports)
    return count == whole.port_count and normal(ports) == whole.ports


def _parts(state: MasterState, agent: Agent) -> Iterator[tuple[str, Resources]]:
    yield "free", agent.free
    for offer in sorted(agent.offer_ids):
        yield offer, state.offers[offer].resources
    for task in sorted(agent.task_ids):
        yield task, state.tasks[task].amount


def check_all(state: MasterState) -> None:
    """Every book and every index, from the first to the last: for tests and simulations."""
    for agent in state.agents.values():
        check_agent(state, agent)
        assert all(state.tasks[task].holds for task in sorted(agent.task_ids)), agent.agent
        assert not any(state.tasks[task].holds for task in sorted(agent.lost_ids)), agent.agent
        starting = [task for task in sorted(agent.task_ids) if state.tasks[task].status.state in NOT_YET_RUNNING]
        assert agent.starting == len(starting), f"{agent.agent}: {agent.starting} is not {len(starting)}"
    _check_indexes(state)
    for framework in state.frameworks.values():
        amounts = [state.offers[name].resources for name in sorted(framework.offer_ids)]
        tasks = [state.tasks[name] for name in sorted(framework.task_ids)]
        amounts += [task.amount for task in tasks if task.holds]
        assert framework.held == scalars(total(amounts)), f"{framework.framework}: {framework.held}"
    capacity = total(scalars(agent.total) for agent in state.agents.values() if agent.active)
    assert state.capacity == capacity, f"{state.capacity} is not {capacity}"


def _check_indexes(state: MasterState) -> None:
    agents, frameworks = state.agents.values(), state.frameworks.values()
    offers, tasks = sorted(state.offers), sorted(state.tasks)
    assert sorted(name for agent in agents for name in sorted(agent.offer_ids)) == offers
    assert sorted(name for framework in frameworks for name in sorted(framework.offer_ids)) == offers
    assert sorted(name for agent in agents for name in sorted(agent.task_ids | agent.lost_ids)) == tasks
    grouped = sorted(name for members in state.groups.values() for name in members)
    assert grouped == [name for name in tasks if state.tasks[name].info.group is not None], grouped
    owned = [name for framework in frameworks for name in sorted(framework.task_ids)]
    assert sorted([*owned, *(name for name in tasks if state.tasks[name].abandoned)]) == tasks
    assert all(state.tasks[name].abandoned for name in state.orphans), list(state.orphans)
    assert sorted(name for _, name in state.expiring.times) == offers
    leaving = sorted((framework.removed_at, framework.framework) for framework in frameworks if framework.removed_at)
    assert state.leaving.times == leaving, f"{state.leaving.times} is not {leaving}"
    assert all(framework.connected == (framework.removed_at is None) for framework in frameworks)
    for framework in frameworks:
        waits = sorted(
            (at, agent.agent) for agent in agents for by, at in agent.waits.items() if by == framework.framework
        )
        assert framework.waits.times == waits, framework.framework
        filtered = sorted(agent.agent for agent in agents if framework.framework in agent.filters)
        assert sorted(framework.filtered) == filtered, f"{framework.framework}: {sorted(framework.filtered)}"
        assert framework.ripe_at == (framework.waits.first if framework.wants else None), framework.framework
    ripening = sorted((one.ripe_at, one.framework) for one in frameworks if one.ripe_at is not None)
    assert state.ripening.times == ripening, f"{state.ripening.times} is not {ripening}"
    offerable = sorted(agent.agent for agent in agents if allocatable(state, agent))
    assert sorted(state.offerable) == offerable, f"{sorted(state.offerable)} is not {offerable}"
