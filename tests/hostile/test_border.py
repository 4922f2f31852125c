"""Whoever it is says nothing under another's name and hears nothing that is not for it: the server refuses it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bus.permits import Role
from tests.hostile.stage import IDENTITIES, MADE, STOLEN, TALLY, Stage
from tests.hostile.wire import Wire, is_let_in
from tests.hostile.witness import laundered, mark
from tests.identities import identity_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

AUTHORS = ("master.main", "agent.a1", "agent.a9", "executor.a1-cmd", "executor.a9-cmd", "framework.marathon")
AUTHORS += ("framework.metronome", "client.m-n1", "client.u-somebody", "client.t-thief2")
TYPES = ("leader.elected", "task.reported", "app.requested")
ADDRESSEES = ("main", "a1", "marathon", "_")
NAMES = {**STOLEN, **{identity: name for identity, (_, name) in MADE.items()}}
LOGS = {"agent": "agent.a1", "executor": "executor.a1-cmd", "framework": "framework.metronome"}
LOGS |= {identity: f"client.{name}" for identity, (_, name) in MADE.items()}
ACCEPTED = {
    "agent": ("hostile.tried.main", "hostile.tried._", "hostile.tried.a9"),
    "executor": ("hostile.tried.a1", "hostile.tried._"),
    "framework": ("hostile.tried.main", "hostile.tried.a1"),
    "viewer": (),
    "operator": ("app.requested.marathon", "kill.requested.main"),
    "admin": ("app.requested.marathon", "token.requested.main", "hostile.tried._"),
    "auditor": (),
    "gateway": ("job.requested.metronome",),
    "joiner": ("identity.requested.main",),
}
"""What each may say on its own log, of what is tried here."""
NOT_ON_OWN = {
    "executor": ("hostile.tried.main", "hostile.tried.a9", "hostile.tried.marathon", "a.b.c.a1", "tried.a1"),
    "viewer": ("app.requested.marathon", "hostile.tried._"),
    "operator": ("token.requested.main", "identity.withdrawn.main", "attempt.refused._", "app.requested", "app.a.b.c"),
    "auditor": ("app.requested.marathon", "hostile.tried._"),
    "gateway": ("token.requested.main", "identity.withdrawn.main", "identity.requested.main"),
    "joiner": ("identity.requested.marathon", "token.requested.main", "app.requested.marathon", "identity.requested._"),
}
"""What each may not even say there."""
KERNEL = ("$JS.API.INFO", "$JS.API.STREAM.INFO.LOG-DC", "$JS.API.STREAM.DELETE.LOG-DC", "$JS.API.STREAM.MSG.GET.LOG-DC")
KERNEL += (
    "$JS.API.CONSUMER.CREATE.LOG-DC.x.dc.>",
    "$JS.API.DIRECT.GET.LOG-DC",
    "$JS.ACK.LOG-DC.x.1.1.1.1.1",
    "$JS.FC.x",
)
KERNEL += ("$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.REQ.USER.INFO", "$SYS.REQ.CLAIMS.UPDATE")
KERNEL += ("_R_.x", "_GR_.x.y", "dc.x", "log.dc.x", "x", "ask.other.master.main.agents", "ping.other.master.main")
NOT_HEARD = (
    ">",
    "*",
    "dc.>",
    "*.>",
    "dc.*.*.*.*.marathon",
    "dc.master.main.>",
    "dc.agent.a9.>",
    "log.dc.>",
    "log.dc.get",
)
NOT_HEARD += ("_INBOX.>", "_INBOX_*.>", "_INBOX_m-n1.>", "_INBOX_marathon.x", "_INBOX_a9.>", "_R_.>", "_GR_.>", "$JS.>")
NOT_HEARD += ("$SYS.>", "$SYS.ACCOUNT.*.CONNECT", "$JS.API.>", "$JS.EVENT.>", "$JS.API.CONSUMER.MSG.NEXT.>", "ask.>")
NOT_HEARD += ("ask.dc.master.main.>", "ask.dc.agent.a9.>", "ping.dc.>", "ping.dc.master.main", "roll.dc.master.main")
READS_ALL = ("viewer", "operator", "admin", "auditor", "gateway")
ASKS_ALL = ("viewer", "operator", "admin", "gateway")


def forbidden(identity: str) -> Iterator[str]:
    """What an identity may not publish."""
    own = LOGS[identity]
    for author in AUTHORS:
        if author != own:
            yield from (f"dc.{author}.{type_}.{to}" for type_ in TYPES for to in ADDRESSEES)
    yield from (f"dc.{own}.{rest}" for rest in NOT_ON_OWN.get(identity, ()))
    yield from KERNEL
    yield from _others_readers(identity)
    if identity not in ASKS_ALL:
        yield from ("ask.dc.master.main.agents", "ask.dc.framework.marathon.apps", "ask.dc.agent.a9.log")
    if identity not in READS_ALL:
        yield "log.dc.get"
        yield from (f"at.dc.master.main.n1.page{of}" for of in ("", ".agent.a9", ".framework.marathon", ".master.main"))
    if identity != "agent":
        yield "ask.dc.master.main.secrets"
    if identity != "joiner" and identity not in ASKS_ALL:
        yield "ask.dc.master.main.passport"


def _others_readers(identity: str) -> Iterator[str]:
    """Readers under the names of others, or that hear what is for others."""
    me = NAMES[identity]
    for name in (f"{me}_32", f"{me}_x", me, f"{me}x_0", "marathon_0", "a9_0", "u-witness_0", "m-n1_0"):
        yield f"log.dc.create.{name}.dc.*.*.*.*.{me}"
        yield f"log.dc.next.{name}"
        yield f"log.dc.end.{name}"
    if identity not in READS_ALL:
        for filter_ in (">", "dc.>", "dc.*.*.*.*.*", "dc.*.*.*.*.marathon", "dc.master.main.>", "dc.agent.a9.>"):
            yield f"log.dc.create.{me}_0.{filter_}"
        yield f"log.dc.create.{me}_0"


@pytest.mark.parametrize("identity", IDENTITIES)
def test_nobody_speaks_as_somebody_else(besieged: Stage, identity: str) -> None:
    """Others' logs, others' readers, the server's own subjects: each is refused, and none is in the stream."""
    tried = list(forbidden(identity))
    with besieged.attacked() as new, Wire(besieged.credentials(identity)) as wire:
        for subject in tried:
            wire.publish(subject, mark(wire.name))
        refused = wire.flush()
    TALLY[identity] += len(tried)
    assert [subject for subject in tried if not any(f'"{subject}"' in error for error in refused)] == []
    assert not any(wire.name.encode() in each.body for each in new if each.body.startswith(b"hostile"))


@pytest.mark.parametrize("identity", IDENTITIES)
def test_everybody_says_its_own(besieged: Stage, identity: str) -> None:
    """The refusals are not for everything: what a role is for is in the stream. Garbage there disturbs nobody."""
    tried = [f"dc.{LOGS[identity]}.{rest}" for rest in ACCEPTED[identity]]
    with besieged.attacked() as new, Wire(besieged.credentials(identity)) as wire:
        answers = [wire.ask(subject, mark(wire.name)) for subject in tried]
        assert wire.errors == []
    assert all(answer is not None and b'"seq"' in answer.body for answer in answers)
    assert {each.subject for each in new if each.body == mark(NAMES[identity])} == set(tried)


@pytest.mark.parametrize("identity", IDENTITIES)
def test_nobody_hears_what_is_for_others(besieged: Stage, identity: str) -> None:
    """Wildcards, others' inboxes, questions to others, what servers say to one another. The own inbox is heard."""
    with Wire(besieged.credentials(identity)) as wire:
        for subject in NOT_HEARD:
            wire.subscribe(subject)
        wire.subscribe(f"_INBOX_{wire.name}.>")
        refused = wire.flush()
    TALLY[identity] += len(NOT_HEARD)
    assert [subject for subject in NOT_HEARD if not any(f'"{subject}"' in error for error in refused)] == []
    assert len(refused) == len(NOT_HEARD)


def test_nobody_comes_in_who_is_nobody_here(besieged: Stage) -> None:
    """No passport, a password, a passport of another cluster, another's passport, one with another name in it."""
    known, other = besieged.credentials("admin"), besieged.credentials("viewer")
    head, body, signature = known.passport.split(".")
    forged = f"{head}.{other.passport.split('.')[1]}.{signature}"
    logins = [{"user": "u"}, {"user": "busbar", "pass": "busbar"}, {"auth_token": "x"}, {"nkey": known.key.public}]
    logins += [{"jwt": known.passport}, {"jwt": known.passport, "sig": "x"}, {"jwt": "x.y.z", "sig": "x"}, {"jwt": ""}]
    strangers = [besieged.foreigner(role, f"u-{role}") for role in Role]
    assert is_let_in(known)
    assert [login for login in logins if is_let_in(known, **login)] == []
    assert [each for each in strangers if is_let_in(each)] == []
    assert not is_let_in(other.__class__(url=known.url, passport=known.passport, seed=other.seed))
    assert not is_let_in(known.__class__(url=known.url, passport=forged, seed=known.seed))
    assert not is_let_in(known.__class__(url=known.url, passport=f"{head}.{body}.", seed=known.seed))
    TALLY["nobody"] += len(logins) + len(strangers) + 3


def test_the_witness_tells_a_lie(besieged: Stage) -> None:
    """The administrator may say anything: on others' logs the witness finds it, so it would find what is laundered."""
    before = besieged.witness.read()
    (said,) = [each for each in before if each.subject.startswith("dc.agent.a1.agent.registered.")][:1]
    lies = {
        "dc.agent.a1.task.reported.main": mark("u-thief"),
        "dc.framework.marathon.app.updated.main": b'{"stream":"LOG-DC","seq":1}',
        said.subject: said.body,
        "dc.client.u-somebody.app.requested.marathon": b"x",
    }
    with Wire(identity_of(besieged.data, Role.ADMINISTRATOR, "")) as wire:
        for subject, body in lies.items():
            wire.ask(subject, body)
    found = laundered(before, besieged.witness.read()[len(before) :])
    assert sorted(each.partition(": ")[0].split()[1] for each in found) == sorted(lies)
    besieged.settle()
    besieged.check_alive()
