"""The border: who may say what, who may hear what, and how much of it. One table, which the server enforces.

    KERNEL   has the stream: masters, and the administrator, who is nobody at run time
    USER     everybody else; what it may ask of KERNEL are services, each mapped to a subject of its own:
             dc.agent.>, dc.framework.> ...        say something (on the own log: the permission names it)
             log.dc.create.<consumer>.<filter>     read the log, through a consumer of the own slots
             log.dc.next|end.<consumer>            ... pull from it, end it
             log.dc.info, log.dc.get               how long it is; any message of it
             ask.dc.master.>, roll., at., ping.    questions to masters

A reply subject that crosses from one account to the other is replaced by the server, so an answer lands on nobody's
log, whatever reply subject was asked for. (nats-server: accounts.go addRespServiceImport)

Rule of this room: patterns and numbers, no I/O. `{me}` is the name in the passport, `{slot}` each of the reader slots,
`{agent}` the agent an executor belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from bus.fitness import stream_name
from bus.subjects import Author, Kind, roll

slots = 32
"""Readers of one identity at the same time, over all its connections: the names of their consumers are its own."""
payload_max = 640 * 1024
"""Bytes of one message: an event is at most 512 KiB, and an atomic batch adds headers. Masters answer in pieces."""
body_max = payload_max - 16 * 1024
"""Bytes of it without its headers. A client that sends more is thrown out, so it is told before."""
_answers_max = 10_000
_answer_s = 120
"""How many answers to one question, and how long after it. A large one comes in pieces."""


class Space(StrEnum):
    """The two accounts at run time."""

    KERNEL = "KERNEL"
    USER = "USER"


class Role(StrEnum):
    """What an identity is."""

    MASTER = "master"
    ADMINISTRATOR = "administrator"
    AGENT = "agent"
    EXECUTOR = "executor"
    FRAMEWORK = "framework"
    GATEWAY = "gateway"
    AUDITOR = "auditor"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    JOINER = "joiner"


PEOPLE = (Role.VIEWER, Role.OPERATOR, Role.ADMIN, Role.AUDITOR)
"""Roles of clients, for `--role`."""


NOT_JOINED = (Role.MASTER, Role.ADMINISTRATOR, Role.EXECUTOR, Role.JOINER)
"""Roles that no join token is for: granted when a cluster is founded, or with another one."""
PREFIXES = {
    **dict.fromkeys(PEOPLE, "u-"),
    Role.GATEWAY: "g-",
    Role.MASTER: "m-",
    Role.JOINER: "t-",
}
"""How the names of clients begin, by role; nobody else's begins so."""


class Permit(NamedTuple):
    """What one role may do."""

    role: Role
    space: Space
    about: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    never: tuple[str, ...] = ()
    """Exceptions from `publish`."""
    subscriptions: int = 200
    """Of one connection."""
    messages_s: int = 2_000
    """Messages a second, sustained for some seconds, before the identity is suspended for a while."""
    connections: int = 32
    """At the same time to one server, likewise."""


def permits(cluster: str) -> Mapping[Role, Permit]:
    """The table of one cluster."""
    return {permit.role: permit for permit in _permits(cluster)}


def _permits(c: str) -> Iterator[Permit]:
    yield _master(c)
    yield Permit(
        Role.ADMINISTRATOR,
        Space.KERNEL,
        "repairs, restores and trims the stream; held by no running component",
        (">",),
        (">",),
        subscriptions=-1,
        messages_s=0,
        connections=0,
    )
    yield Permit(
        Role.AGENT,
        Space.USER,
        "speaks for one node",
        (
            f"{c}.agent.{{me}}.>",
            *_reading(c, f"{c}.*.*.*.*.{{me}}", f"{c}.agent.{{me}}.>"),
            *_past(c, "agent"),
            f"ping.{c}.agent.{{me}}",
            f"ping.{c}.executor.{{me}}-cmd",
            f"ask.{c}.master.main.secrets",
        ),
        (*_own(c, "agent"),),
        messages_s=20_000,
    )
    yield Permit(
        Role.EXECUTOR,
        Space.USER,
        "runs the tasks of one agent, speaks to that agent alone, and tells whoever else speaks to it that it does not",
        (
            f"{c}.executor.{{me}}.*.*.{{agent}}",
            f"{c}.executor.{{me}}.*.*._",
            *(f"{c}.executor.{{me}}.{word}.*" for word in ("event.unreadable", "request.refused")),
            *_reading(c, f"{c}.*.*.*.*.{{me}}", f"{c}.executor.{{me}}.>"),
            *_past(c, "executor"),
        ),
        (*_own(c, "executor"),),
        messages_s=20_000,
    )
    yield Permit(
        Role.FRAMEWORK,
        Space.USER,
        "a scheduler: marathon, metronome, or one that users bring",
        (
            f"{c}.framework.{{me}}.>",
            *_reading(
                c,
                f"{c}.*.*.*.*.{{me}}",
                f"{c}.framework.{{me}}.>",
                f"{c}.framework.{{me}}.leader.elected.*",
            ),
            *_past(c, "framework"),
            f"ping.{c}.framework.{{me}}",
            f"roll.{c}.framework.{{me}}",
        ),
        (*_own(c, "framework"), f"roll.{c}.framework.{{me}}", f"at.{c}.framework.{{me}}.>"),
        messages_s=20_000,
    )
    yield from _clients(c)
    yield Permit(
        Role.JOINER,
        Space.USER,
        "who holds a join token: may exchange it for an identity, and nothing else",
        (
            f"{c}.client.{{me}}.identity.requested.main",
            f"ask.{c}.master.main.passport",
            *_reading(c, f"{c}.*.*.*.*.{{me}}"),
            "_INBOX_{me}.>",
        ),
        ("_INBOX_{me}.>",),
        subscriptions=20,
        messages_s=100,
        connections=4,
    )


def _master(c: str) -> Permit:
    s = stream_name(c)
    return Permit(
        Role.MASTER,
        Space.KERNEL,
        "leads or stands by; makes the stream if there is none, and can change nothing that is in it",
        (
            f"{c}.master.main.>",
            f"{c}.client.{{me}}.>",
            "$JS.API.INFO",
            f"$JS.API.STREAM.CREATE.{s}",
            f"$JS.API.STREAM.INFO.{s}",
            f"$JS.API.STREAM.MSG.GET.{s}",
            f"$JS.API.CONSUMER.CREATE.{s}.>",
            f"$JS.API.CONSUMER.DELETE.{s}.*",
            f"$JS.FC.{s}.>",
            f"ping.{c}.>",
            *(f"{word}.{c}.master.main.>" for word in ("ask", "at")),
            f"roll.{c}.master.main",
            "_INBOX_{me}.>",
        ),
        (
            f"ping.{c}.master.main",
            *(f"{word}.{c}.master.main.>" for word in ("ask", "at")),
            f"roll.{c}.master.main",
            "_INBOX_{me}.>",
        ),
        subscriptions=-1,
        messages_s=0,
        connections=0,
    )


def _clients(c: str) -> Iterator[Permit]:
    looking = (
        *_reading(c, ">"),
        f"log.{c}.get",
        *(f"{word}.{c}.>" for word in ("ask", "at", "ping", "roll")),
        "_INBOX_{me}.>",
    )
    hidden = (f"ask.{c}.master.main.secrets",)
    inbox = ("_INBOX_{me}.>",)
    yield Permit(
        Role.AUDITOR,
        Space.USER,
        "reads everything, asks masters about their stores, says nothing",
        (*_reading(c, ">"), f"log.{c}.get", f"roll.{c}.master.main", f"at.{c}.master.main.>", "_INBOX_{me}.>"),
        inbox,
    )
    yield Permit(Role.VIEWER, Space.USER, "reads and asks everything, changes nothing", looking, inbox, hidden)
    acting = tuple(f"{c}.client.{{me}}.{noun}.*.*" for noun in OPERATED)
    yield Permit(Role.OPERATOR, Space.USER, "a viewer who runs apps and jobs", (*looking, *acting), inbox, hidden)
    everything = f"{c}.client.{{me}}.>"
    yield Permit(
        Role.ADMIN,
        Space.USER,
        "an operator who also gives and takes access, and keeps secrets",
        (*looking, everything),
        inbox,
        hidden,
    )
    yield Permit(
        Role.GATEWAY,
        Space.USER,
        "speaks HTTP with people, and carries who they are",
        (*looking, *acting),
        (*inbox, roll(c, GATEWAYS)),
        hidden,
        messages_s=20_000,
    )


GATEWAYS = Author(Kind.CLIENT, "gateway")
"""Where every gateway answers a roll call: it has no log, and nobody else knows that it is there."""
OPERATED = (
    *("scheduler", "app", "apps", "pod", "group", "scale", "restart", "removal", "rollback", "cancel", "continue"),
    *("kill", "kills", "reset", "job", "run", "stop", "schedule", "schedule-removal", "switch", "resignation"),
)
"""What operators ask schedulers about: the nouns of their events."""


def _reading(c: str, *filters: str) -> Iterator[str]:
    """Readers of the log behind these filters, and how long the log is."""
    for each in filters:
        yield f"log.{c}.create.{{me}}_{{slot}}.{each}"
    yield f"log.{c}.next.{{me}}_{{slot}}"
    yield f"log.{c}.end.{{me}}_{{slot}}"
    yield f"log.{c}.info"


def _past(c: str, kind: str) -> Iterator[str]:
    """What the own log had before the stream was trimmed, from a master's store."""
    yield f"roll.{c}.master.main"
    yield f"at.{c}.master.main.*.page.{kind}.{{me}}"


def _own(c: str, kind: str) -> Iterator[str]:
    """Where an owner of a log is asked and pinged, and answered."""
    yield f"ask.{c}.{kind}.{{me}}.>"
    yield f"ping.{c}.{kind}.{{me}}"
    yield "_INBOX_{me}.>"


# ---- how the server is told --------------------------------------------------------------------------------------

_PLACES = {"{me}": "{{name()}}", "{slot}": "{{account-tag(slot)}}", "{agent}": "{{tag(agent)}}"}
SLOT_TAGS = [f"slot:{number}" for number in range(slots)]


def template(permit: Permit) -> dict[str, Any]:
    """A permit as the template of a scoped signing key. (NATS JWT v2: UserPermissionLimits)"""
    publish: dict[str, list[str]] = {"allow": [_templated(each) for each in _with_inbox(permit.publish)]}
    if permit.never:
        publish["deny"] = [_templated(each) for each in permit.never]
    return {
        "pub": publish,
        "sub": {"allow": [_templated(each) for each in permit.subscribe]},
        "resp": {"max": _answers_max, "ttl": _answer_s * 1_000_000_000},
        "subs": permit.subscriptions,
        "data": -1,
        "payload": -1 if permit.space is Space.KERNEL else payload_max,
    }


def _with_inbox(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Everybody may speak to itself: that is how a link is tried."""
    own = "_INBOX_{me}.>"
    return patterns if own in patterns or ">" in patterns else (*patterns, own)


def _templated(pattern: str) -> str:
    for place, known in _PLACES.items():
        pattern = pattern.replace(place, known)
    return pattern


class Crossing(NamedTuple):
    """A service of one account that the other imports."""

    subject: str
    """In the account that serves it."""
    local: str
    """In the account that imports it."""
    many: bool = False
    """Whether one question may have many answers."""


def crossings(cluster: str) -> Mapping[Space, list[Crossing]]:
    """The services that each account exports to the other."""
    c, s = cluster, stream_name(cluster)
    said = [Crossing(f"{c}.{kind}.>", f"{c}.{kind}.>") for kind in ("agent", "framework", "executor", "client")]
    asked = [f"{word}.{c}.master.>" for word in ("ask", "at", "ping", "roll")]
    kernel = [
        *said,
        *(Crossing(each, each, many=True) for each in asked),
        Crossing(f"$JS.API.CONSUMER.CREATE.{s}.>", f"log.{c}.create.>"),
        Crossing(f"$JS.API.CONSUMER.MSG.NEXT.{s}.*", f"log.{c}.next.*", many=True),
        Crossing(f"$JS.API.CONSUMER.DELETE.{s}.*", f"log.{c}.end.*"),
        Crossing(f"$JS.API.STREAM.INFO.{s}", f"log.{c}.info"),
        Crossing(f"$JS.API.STREAM.MSG.GET.{s}", f"log.{c}.get"),
    ]
    user = [Crossing(f"ping.{c}.{kind}.*", f"ping.{c}.{kind}.*") for kind in ("agent", "framework")]
    return {Space.KERNEL: kernel, Space.USER: user}
