"""When a datacenter is up: by what its components answer, never by how long it took.

Rule of this room: a condition that does not hold is named, so that waiting in vain says for what.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bus.nouns import TaskState
from bus.permits import GATEWAYS
from bus.port import NoAnswer, NobodyThere
from bus.queries import LEADER, STANDBY, AgentRow, FrameworkRow, Standing, Summary, TaskRow, TasksQuestion
from bus.roll import roll_call
from bus.subjects import Author, roll
from cli.datacenter import Plan
from cli.output import Failure, Output
from cli.session import (
    MARATHON,
    METRONOME,
    SINGLETONS,
    THE_MASTER,
    NotThere,
    Session,
    Where,
    agent,
    connected,
    executor_of,
    person,
    title,
)

ready_s = 30.0
"""How long a datacenter may take to come up."""
several_ready_s = 60.0
"""The same of several nodes, whose servers elect leaders first. (nats-server: 4 to 9 s)"""
look_again_s = 0.03
settle_s = 3.0
"""How long the ends of tasks may take to reach the master."""


@asynccontextmanager
async def session_at(data: Path) -> AsyncIterator[Session]:
    """A session with the datacenter of a data directory, as the person who runs it."""
    async with connected(Where(data=str(data)), patience_s=ready_s) as bus:
        me = person(bus)
        yield Session(bus, me, me.id, Output(as_json=True))


async def until_ready(session: Session, plan: Plan, timeout_s: float | None = None) -> list[Summary]:
    """Wait until everything a client may need answers; what each component says about itself.

    Raises Failure that names what is missing.
    """
    timeout_s = timeout_s or (ready_s if plan.masters == 1 else several_ready_s)
    deadline = time.monotonic() + timeout_s
    while True:
        summaries, missing = await _look(session, plan)
        if not missing:
            return summaries
        if time.monotonic() >= deadline:
            raise Failure(
                f"not ready after {timeout_s:g} s: {', '.join(missing)}{_last_words(plan)}",
                next_=f"read the logs in {plan.data / 'logs'}",
            )
        await asyncio.sleep(look_again_s)


def _last_words(plan: Plan) -> str:
    """Why components ended, where it is the last they said: those that end again and again. One a line."""
    logs = (file.read_text(errors="replace").splitlines() for file in sorted((plan.data / "logs").glob("*.log")))
    ends = [lines[-1] for lines in logs if lines and lines[-1].startswith("error: ")]
    return "".join(f"\n  {end.removeprefix('error: ')}" for end in dict.fromkeys(ends))


async def _look(session: Session, plan: Plan) -> tuple[list[Summary], list[str]]:
    """Who answers, and which conditions do not hold yet. Everybody is asked at once."""
    of_agents = (author for agent_id in plan.agent_ids for author in (agent(agent_id), executor_of(agent_id)))
    authors = (THE_MASTER, *of_agents, MARATHON, METRONOME)
    answers = await asyncio.gather(*(_summary(session, author) for author in authors))
    summaries = [answer for answer in answers if answer is not None]
    missing = [f"{author} does not answer" for author, answer in zip(authors, answers, strict=True) if answer is None]
    if not missing:
        missing = [missed for singleton in SINGLETONS for missed in await _absent(session, plan, singleton)]
    if not missing and plan.gateway_port is not None:
        missing = await _no_gateway(session)
    return summaries, missing or await _not_admitted(session, plan)


async def _summary(session: Session, author: Author) -> Summary | None:
    try:
        return await session.look(author, "summary", Summary)
    except NotThere:
        return None


async def _no_gateway(session: Session) -> list[str]:
    try:
        await session.bus.query(roll(session.cluster, GATEWAYS), b"", timeout_s=1)
    except (NobodyThere, NoAnswer):
        return ["the gateway does not answer"]
    return []


async def _absent(session: Session, plan: Plan, singleton: Author) -> list[str]:
    """Which instances of a singleton do not answer; one without others has answered already."""
    name = "master" if singleton == THE_MASTER else singleton.id
    wanted = plan.nodes_of(name)
    if len(wanted) == 1:
        return []
    found = await roll_call(session.bus, singleton)
    there = {each.node for each in found if each.standing in (LEADER, STANDBY)}
    return [f"{title(singleton)} on {node} neither leads nor stands by" for node in wanted if node not in there]


async def _not_admitted(session: Session, plan: Plan) -> list[str]:
    try:
        agents, frameworks, standings = await asyncio.gather(
            session.look(THE_MASTER, "agents", list[AgentRow]),
            session.look(THE_MASTER, "frameworks", list[FrameworkRow]),
            asyncio.gather(*(session.look(agent(agent_id), "standing", Standing) for agent_id in plan.agent_ids)),
        )
    except NotThere as error:
        return [error.message]
    known = {str(row.agent) for row in agents if row.state == "ACTIVE"} | {str(row.framework) for row in frameworks}
    wanted = (*plan.agent_ids, MARATHON.id, METRONOME.id)
    absent = [f"the master has not admitted {name}" for name in wanted if name not in known]
    refused = [f"the master refused {each.agent}: {each.message}" for each in standings if each.reason]
    waiting = [f"{each.agent} is not admitted" for each in standings if not each.admitted and not each.reason]
    return absent + refused + waiting


async def until_settled(session: Session) -> None:
    """Wait until the master knows of no live task, but not for long: the next start learns it too."""
    deadline = time.monotonic() + settle_s
    while time.monotonic() < deadline:
        try:
            tasks = await session.look(THE_MASTER, "tasks", list[TaskRow], TasksQuestion())
        except Failure:
            return
        if all(task.status.state is TaskState.UNREACHABLE for task in tasks):
            return
        await asyncio.sleep(look_again_s)
