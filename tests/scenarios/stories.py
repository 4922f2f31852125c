"""Scenarios: text files that say what a component hears and sees, and what it says to that.

    # a comment
    component master
    hear agent.a1 agent.registered hostname=h1 resources=cpus:4;mem:8192
    ----
    #3 agent.admitted to a1 because #2: agent=a1 hostname=h1 resources=[cpus:4; mem:8192; disk:0] acted_n=1

A line of input, `----`, and the lines that follow from it, up to an empty line. Inputs: `hear AUTHOR TYPE FIELDS`,
`again` (the same event once more), `see TYPE FIELDS` (the hands did), `silent AUTHOR` (pings missed),
`advance SECONDS`, `restart`, `away SECONDS` (nobody runs it for so
long). A field's value is text or JSON; resources, statuses, tasks to launch and lists of
ids have short forms, moments are like `+60s`. Times are seconds since the
beginning. `REWRITE_SCENARIOS=1` writes what follows instead of comparing: read the difference in review.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

import msgspec

from bus.documents import AppSpec, JobSpec, PodSpec
from bus.events import FACTS, Event, Fact, TaskDelivered
from bus.nouns import AgentId, Command, Now, Offer, Resources, TaskInfo, TaskStatus, parse_resources, second
from bus.plans import Plan
from bus.subjects import Kind, parse_author
from components import executor, marathon, master, metronome
from components.component import SIGHTS, Component, Sight
from components.master.decide import PingsMissed
from tests.components.driver import START, Stage

COMPONENTS: dict[str, Callable[[], Component[Any]]] = {
    "master": lambda: master.component(master.MasterConfig()),
    "marathon": lambda: marathon.component(marathon.MarathonConfig()),
    "metronome": lambda: metronome.component(metronome.MetronomeConfig()),
    "executor": lambda: executor.component(executor.ExecutorConfig(agent=AgentId("a1"), work="/w")),
}
TIMES = (
    "expires_at",
    "filter_until",
    "unreachable_since",
    "removed_at",
    "delay_until",
    "avoided_until",
    "nominal",
    "until",
    "next_at",
    "start_by",
    "kill_at",
)


class Story(Stage[Any]):
    """A stage that remembers the last event it heard."""

    latest: Event


def told(text: str) -> str:
    """The scenario with what really follows from each input."""
    blocks = [block.strip("\n") for block in text.strip().split("\n\n")]
    stage: Story | None = None
    out = []
    for block in blocks:
        inputs = block.partition("\n----")[0]
        lines = [line for line in inputs.splitlines() if line and not line.startswith("#")]
        events: list[Event] = []
        for line in lines:
            verb, _, rest = line.partition(" ")
            if verb == "component":
                stage = Story(COMPONENTS[rest]())
                events += stage.begin()
            else:
                assert stage is not None, "a scenario begins with its component"
                events += follow(stage, verb, rest)
        out.append("\n".join([inputs, "----", *map(line_of, events)]) if lines else inputs)
    assert stage is not None
    assert stage.rebuilt() == stage.hash(), "the log does not give the live state"
    return "\n\n".join(out) + "\n"


def follow(stage: Story, verb: str, rest: str) -> list[Event]:
    """What follows from one input."""
    match verb:
        case "hear":
            author, type_, *fields = shlex.split(rest)
            stage.latest = stage.said(parse_author(author), fact_of(type_, fields))
            return stage.hear_event(stage.latest) + stage.settle()
        case "again":
            return stage.hear_event(stage.latest) + stage.settle()
        case "silent":
            return stage.see(silence(stage, rest)) + stage.settle()
        case "see":
            type_, *fields = shlex.split(rest)
            given = {name: json_or_text(text) for name, text in (field.split("=", 1) for field in fields)}
            return stage.see(msgspec.convert(given, SIGHTS[type_])) + stage.settle()
        case "advance":
            return stage.advance(float(rest.removesuffix("s")))
        case "away":
            stage.now = Now(stage.now + round(float(rest.removesuffix("s")) * second))
            return stage.restart() + stage.settle()
        case "restart":
            return stage.restart() + stage.settle()
    raise AssertionError(f"{verb!r} is not an input")


def silence(stage: Story, author: str) -> Sight:
    """The sight of five missed pings, as the hands would have it now."""
    kind, name = parse_author(author)
    known = stage.state.agents[name].admitted_n if kind is Kind.AGENT else stage.state.frameworks[name].connected_n
    return PingsMissed(kind=kind, id=name, since_n=known, missed=5)


# ---- reading -----------------------------------------------------------------------------------------------------


def fact_of(type_: str, fields: list[str]) -> Fact:
    """A fact from its wire name and `name=value`s."""
    given = dict(field.split("=", 1) for field in fields)
    values: dict[str, Any] = {}
    if type_ == "task.reported":
        values["status"] = {"source": "SOURCE_EXECUTOR", **{name: json_or_text(text) for name, text in given.items()}}
    else:
        values = {name: value_of(type_, name, text) for name, text in given.items()}
    return msgspec.convert(values, FACTS[type_])


def value_of(type_: str, name: str, text: str) -> Any:
    """A field's value: its short form, JSON, or text."""
    match name:
        case "task" if type_ == "task.delivered":
            return msgspec.to_builtins(task_of(text))
        case "start_by":
            return START + round(float(text.removesuffix("s")) * second)
        case "resources":
            return msgspec.to_builtins(parse_resources(text))
        case "launch":
            return [msgspec.to_builtins(task_of(task)) for task in text.split()]
        case "tasks" if type_ == "agent.registered":
            return [held_of(task) for task in text.split()]
        case "offers" | "tasks" if not text.startswith("["):
            return text.split(",")
    return json_or_text(text)


def json_or_text(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def task_of(text: str) -> TaskInfo:
    """`t1/a1/marathon/cpus:1;mem:128`: task, agent, framework, resources; and of one of a group
    `/g:0:2:cpus:0.1;mem:32`: the group, which of how many it is, and what their executor takes.
    """
    task, agent, framework, resources, *group = text.split("/")
    return msgspec.convert(
        {
            "task": task,
            "name": task,
            "agent": agent,
            "framework": framework,
            "resources": msgspec.to_builtins(parse_resources(resources)),
            "command": msgspec.to_builtins(Command(shell="sleep 60")),
            "trace": f"trace-{task}",
            "group": group_of(group[0]) if group else None,
        },
        TaskInfo,
    )


def group_of(text: str) -> dict[str, Any]:
    name, index, size, executor = text.split(":", 3)
    taken = msgspec.to_builtins(parse_resources(executor))
    return {"id": name, "index": int(index), "size": int(size), "executor": taken}


def held_of(text: str) -> dict[str, Any]:
    """`t1/a1/marathon/cpus:1;mem:128=TASK_RUNNING`: a task as its agent lists it."""
    task, _, state = text.partition("=")
    info = task_of(task)
    return {
        "info": msgspec.to_builtins(info),
        "status": {"task": info.task, "state": state, "source": "SOURCE_EXECUTOR"},
    }


# ---- writing -----------------------------------------------------------------------------------------------------


def line_of(event: Event) -> str:
    """An event as one line."""
    head = f"#{event.position} {seconds(event.at)} {event.type} to {event.to}"
    head += f" because #{event.cause}" if event.cause is not None else ""
    fields = " ".join(f"{name}={shown(name, value)}" for name, value in told_fields(event.fact))
    return f"{head}: {fields}" if fields else head


def told_fields(fact: Fact) -> list[tuple[str, Any]]:
    """The fields that say something."""
    found = []
    for field in msgspec.structs.fields(fact):
        value = getattr(fact, field.name)
        if value != field.default and not (field.default is msgspec.NODEFAULT and value in ((), {}, None)):
            found.append((field.name, value))
    return found


def shown(name: str, value: Any) -> str:
    """A value, short enough to read."""
    match value:
        case Resources():
            return f"[{value}]"
        case Offer():
            return f"{value.offer}({value.agent} {value.resources})"
        case AppSpec():
            return f"{value.id}({value.instances} × cpus:{value.cpus:g}; mem:{value.mem:g})"
        case PodSpec():
            return (
                f"{value.id}({value.instances} × {' '.join(one.name for one in value.containers)}, {value.resources})"
            )
        case JobSpec():
            times = [f"{one.id}: {one.cron} {one.timezone}" for one in value.schedules]
            after = [f"after {parent}" for parent in value.parents]
            return f"{value.id}({', '.join((*times, *after)) or value.run.cmd})"
        case TaskInfo():
            return f"{value.task}({value.agent} {value.resources})"
        case TaskDelivered():
            return shown("task", value.task)
        case TaskStatus():
            message = repr(value.message) if value.message else None
            said = (value.task, value.state, value.source, value.reason, message)
            return "(" + " ".join(str(part) for part in said if part) + ")"
        case Plan():
            steps = [", ".join(f"{one.name} {one.id}" for one in step) for step in value.steps]
            return f"[{'; '.join(steps)}]"
        case tuple():
            return ",".join(shown(name, item) for item in value)
        case int() if name in TIMES:
            return seconds(value)
        case str() if " " in value:
            return repr(value)
    return str(value)


def seconds(at: int) -> str:
    """A moment, as seconds since the beginning."""
    return f"{(at - START) / 1_000_000:+g}s"
