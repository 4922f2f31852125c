"""The master on a stage, with agents and frameworks that say what a test wants; every decision is audited."""

from __future__ import annotations

from collections.abc import Sequence

from bus.events import (
    AgentRegistered,
    Event,
    Fact,
    FrameworkRegistered,
    FrameworkRevived,
    FrameworkSuppressed,
    KillRequested,
    OfferAccepted,
    OfferDeclined,
    OfferMade,
    TaskReconciled,
    TaskReported,
    TaskUpdated,
)
from bus.nouns import (
    AgentId,
    Command,
    FrameworkId,
    HeldTask,
    Now,
    Offer,
    OfferId,
    Position,
    Reason,
    Resources,
    Source,
    TaskId,
    TaskInfo,
    TaskState,
    TaskStatus,
    parse_resources,
)
from bus.subjects import Author, Kind
from components.master import MasterConfig, component
from components.master.books import check_all
from components.master.decide import PingsMissed
from components.master.offers import may_use
from components.master.state import MasterState, allocatable, tick_after
from tests.components.driver import START, Stage, only

BIG = "cpus:4;mem:8192;disk:10000;ports:[31000-31009]"


def status(task: str, state: TaskState, *, reason: Reason | None = None, exit_status: int | None = None) -> TaskStatus:
    return TaskStatus(
        task=TaskId(task), state=state, source=Source.EXECUTOR, reason=reason, message="", exit_status=exit_status
    )


class Datacenter(Stage[MasterState]):
    """A master that has begun its term. What agents and frameworks say is heard at once, and what is due follows."""

    def __init__(self, config: MasterConfig | None = None) -> None:
        super().__init__(component(config or MasterConfig()), START)
        self.begin()

    # ---- agents

    def register(
        self,
        agent: str,
        resources: str | Resources = BIG,
        *,
        tasks: Sequence[HeldTask] = (),
        answers: Position | None = None,
        attributes: dict[str, str] | None = None,
        hostname: str | None = None,
        **where: str,
    ) -> list[Event]:
        """`where`: its role, region and zone."""
        amount = resources if isinstance(resources, Resources) else parse_resources(resources)
        fact = AgentRegistered(
            hostname=f"host-{agent}"[:255] if hostname is None else hostname,
            resources=amount,
            attributes=attributes or {},
            tasks=tuple(tasks),
            answers=answers,
            **where,
        )
        return self.tell(Author(Kind.AGENT, agent), fact)

    def report(self, agent: str, task: str, state: TaskState, **more: object) -> list[Event]:
        return self.tell(Author(Kind.AGENT, agent), TaskReported(status=status(task, state, **more)))  # type: ignore[arg-type]

    def held(self, task: str, state: TaskState) -> HeldTask:
        """How the task's agent lists it."""
        return HeldTask(info=self.task(task).info, status=status(task, state))

    def lose(self, agent: str) -> list[Event]:
        """The agent misses its pings."""
        n = self.state.agents[AgentId(agent)].admitted_n
        return self.see_all(PingsMissed(kind=Kind.AGENT, id=agent, since_n=n, missed=5))

    # ---- frameworks

    def enroll(self, framework: str, role: str = "*", **more: object) -> list[Event]:
        return self.say(framework, FrameworkRegistered(name=framework, role=role, **more))  # type: ignore[arg-type]

    def suppress(self, framework: str) -> list[Event]:
        return self.say(framework, FrameworkSuppressed(framework=FrameworkId(framework)))

    def revive(self, framework: str) -> list[Event]:
        return self.say(framework, FrameworkRevived(framework=FrameworkId(framework)))

    def decline(self, framework: str, *offers: str, refuse_s: float = 5.0) -> list[Event]:
        names = tuple(OfferId(offer) for offer in offers) or tuple(self.offers(framework))
        return self.say(framework, OfferDeclined(offers=names, refuse_s=refuse_s))

    def accept(self, framework: str, offers: Sequence[str], *launch: TaskInfo, refuse_s: float = 5.0) -> list[Event]:
        names = tuple(OfferId(offer) for offer in offers)
        return self.say(framework, OfferAccepted(offers=names, launch=launch, refuse_s=refuse_s))

    def kill(self, framework: str, task: str, grace_s: float | None = None) -> list[Event]:
        return self.say(framework, KillRequested(task=TaskId(task), grace_s=grace_s))

    def reconcile(self, framework: str, *tasks: str) -> list[Event]:
        return self.say(framework, TaskReconciled(tasks=tuple(TaskId(task) for task in tasks)))

    def silence(self, framework: str) -> list[Event]:
        """The framework misses its pings."""
        n = self.state.frameworks[FrameworkId(framework)].connected_n
        return self.see_all(PingsMissed(kind=Kind.FRAMEWORK, id=framework, since_n=n, missed=5))

    def say(self, framework: str, fact: Fact) -> list[Event]:
        return self.tell(Author(Kind.FRAMEWORK, framework), fact)

    # ---- the world

    def tell(self, by: Author, fact: Fact) -> list[Event]:
        events = self.hear(by, fact) + self.settle()
        self.audit()
        return events

    def see_all(self, sight: PingsMissed) -> list[Event]:
        events = self.see(sight) + self.settle()
        self.audit()
        return events

    def pass_time(self, seconds: float) -> list[Event]:
        events = self.advance(seconds)
        self.audit()
        return events

    def audit(self) -> None:
        """The books balance, and nothing is kept from a framework that wants it."""
        check_all(self.state)
        for agent in self.state.agents.values():
            for framework in self.state.frameworks.values():
                offerable = allocatable(self.state, agent) and may_use(framework.role, agent.role)
                if framework.wants and offerable:
                    filters = agent.filters.get(framework.framework, [])
                    kept = any(entry.until > self.now and entry.resources.covers(agent.free) for entry in filters)
                    out = [self.state.offers[name] for name in sorted(agent.offer_ids)]
                    asked = any(
                        offer.framework == framework.framework
                        and tick_after(self.state.interval_us, offer.made_at) > self.now
                        for offer in out
                    )
                    assert kept or asked, f"{agent.agent} has {agent.free} free, and {framework.framework} is not asked"

    # ---- what is

    def offers(self, framework: str) -> list[OfferId]:
        """The framework's outstanding offers, oldest first."""
        return [name for name, offer in self.state.offers.items() if offer.framework == framework]

    def offer_of(self, framework: str, agent: str) -> OfferId:
        (name,) = [name for name in self.offers(framework) if self.state.offers[name].agent == agent]
        return name

    def task(self, name: str):  # type: ignore[no-untyped-def]
        return self.state.tasks.get(TaskId(name)) or self.state.ended[TaskId(name)]

    def state_of(self, name: str) -> TaskState:
        found: TaskState = self.task(name).status.state
        return found

    def free(self, agent: str) -> Resources:
        return self.state.agents[AgentId(agent)].free

    def launch(self, framework: str, agent: str, *launch: TaskInfo, refuse_s: float = 120.0) -> list[Event]:
        """Accept what the framework is offered of the agent for tasks."""
        return self.accept(framework, [self.offer_of(framework, agent)], *launch, refuse_s=refuse_s)


def info(
    task: str,
    agent: str = "a1",
    framework: str = "marathon",
    *,
    resources: str = "cpus:1;mem:128",
    command: Command | None = None,
    **more: object,
) -> TaskInfo:
    return TaskInfo(
        task=TaskId(task),
        name=task,
        agent=AgentId(agent),
        framework=FrameworkId(framework),
        resources=parse_resources(resources),
        command=command or Command(shell="sleep 1000"),
        **more,  # type: ignore[arg-type]
    )


def made(events: Sequence[Event]) -> list[tuple[str, list[str]]]:
    """Who was offered which agents, in order."""
    return [(fact.framework, [offer.agent for offer in fact.offers]) for fact in only(events, OfferMade)]


def offered(events: Sequence[Event]) -> list[Offer]:
    return [offer for fact in only(events, OfferMade) for offer in fact.offers]


def updates(events: Sequence[Event]) -> list[tuple[str, TaskState, Reason | None]]:
    """Which tasks changed, in order."""
    return [(fact.status.task, fact.status.state, fact.status.reason) for fact in only(events, TaskUpdated)]


def at(dc: Datacenter, event: Event) -> float:
    """Seconds since the stage began."""
    return (event.at - START) / 1_000_000


NOON = Now(START)
