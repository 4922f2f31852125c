"""The border, cell by cell: what each role may say and hear, asked of a real server and compared with its own verdict.

Who the roles are by themselves: `u-alice` an operator, `a1` an agent ... Every pattern of every role is tried by every
role, under its own name and under another's.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager

import pytest

from bus.authority import Authority
from bus.credentials import Credentials
from bus.keyring import Wanted, issued
from bus.permits import PEOPLE, Permit, Role, Space, permits, slots
from bus.server import EmbeddedServer

pytestmark = pytest.mark.timeout(120)
NAMES = {
    Role.MASTER: "m-n1",
    Role.ADMINISTRATOR: "administrator",
    Role.AGENT: "a1",
    Role.EXECUTOR: "a1-cmd",
    Role.FRAMEWORK: "marathon",
    Role.JOINER: "j-a7",
    Role.GATEWAY: "g-n1",
    **{role: f"u-{role}" for role in PEOPLE},
}
MINE, OTHER = "a1", "zz9"
"""The agent of the executor, and somebody who is nobody here."""
_VERDICT = re.compile(r"-ERR 'Permissions Violation for (Publish|Subscription) to \"([^\"]*)\"")
TABLE = permits("dc")
ORDINARY = [role for role in Role if role is not Role.ADMINISTRATOR]
OUTSIDE = [role for role in Role if TABLE[role].space is Space.USER]


# ---- one connection, by hand ----------------------------------------------------------------------------------------


class Line:
    """A socket on which everything is sent at once, and the server's complaints are read until it has taken it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._number = 0

    async def verdict(self, commands: Iterable[bytes]) -> set[tuple[str, str]]:
        """What the server refuses of some commands: publish or subscribe, and the subject."""
        self._writer.write(b"".join(commands) + b"PING\r\n")
        refused = set()
        while (line := await self._reader.readline()) != b"PONG\r\n":
            assert line, "the server hung up"
            text = line.decode()
            if line.startswith(b"-ERR"):
                found = _VERDICT.match(text)
                assert found is not None, text
                refused.add((found[1].lower(), found[2]))
            elif line.startswith((b"MSG ", b"HMSG ")):
                await self._reader.readexactly(int(text.split()[-1]) + 2)
        return refused

    async def publish(self, subjects: Iterable[str]) -> set[str]:
        """Which subjects the server lets nothing be said under."""
        said = await self.verdict(f"PUB {subject} 0\r\n\r\n".encode() for subject in subjects)
        return {subject for what, subject in said if what == "publish"}

    async def subscribe(self, subjects: Iterable[str], queue: str = "") -> set[str]:
        """Which subjects the server lets nothing be heard under; nothing of it stays."""
        commands = []
        for subject in subjects:
            self._number += 1
            commands.append(f"SUB {subject} {queue} {self._number}\r\nUNSUB {self._number}\r\n".encode())
        said = await self.verdict(commands)
        return {subject for what, subject in said if what == "subscription"}

    async def ask(self, subject: str, body: object, me: str) -> dict[str, object]:
        """What is answered as JSON to a question in this identity's inbox."""
        inbox, content = f"_INBOX_{me}.t.{self._number}", json.dumps(body).encode()
        self._number += 1
        self._writer.write(
            f"SUB {inbox} {self._number}\r\nUNSUB {self._number} 1\r\nPUB {subject} {inbox} {len(content)}\r\n".encode()
            + content
            + b"\r\n"
        )
        line = await self._reader.readline()
        assert line.startswith(b"MSG "), line
        answer = await self._reader.readexactly(int(line.split()[-1]) + 2)
        found: dict[str, object] = json.loads(answer)
        return found


@asynccontextmanager
async def line(known: Credentials) -> AsyncIterator[Line]:
    """A connection of somebody."""
    reader, writer = await asyncio.open_connection("127.0.0.1", known.port, limit=1 << 20)
    try:
        nonce = json.loads((await reader.readline()).partition(b" ")[2])["nonce"]
        sig = base64.urlsafe_b64encode(known.key.sign(nonce.encode())).rstrip(b"=").decode()
        hello = {"jwt": known.passport, "sig": sig, "verbose": False, "pedantic": False, "headers": True}
        writer.write(b"CONNECT " + json.dumps(hello).encode() + b"\r\n")
        yield Line(reader, writer)
    finally:
        writer.close()


def somebody(server: EmbeddedServer, role: Role, name: str = "") -> Credentials:
    return issued(
        server.keyring.authority,
        Wanted("", role, name or NAMES[role], MINE if role is Role.EXECUTOR else ""),
        Credentials(url=server.urls[0]),
    )


# ---- the table, read by other rules than the server's ---------------------------------------------------------------


def covers(pattern: str, subject: str) -> bool:
    """Whether everything under a subject, which may be a pattern itself, is under a pattern."""
    wanted, given = pattern.split("."), subject.split(".")
    for index, token in enumerate(wanted):
        if token == ">":
            return len(given) > index
        if index >= len(given) or (token == "*" and given[index] == ">"):
            return False
        if token not in ("*", given[index]):
            return False
    return len(wanted) == len(given)


def filled(pattern: str, me: str, agent: str) -> list[str]:
    """A pattern of the table with names in it; one for each of the slots."""
    pattern = pattern.replace("{me}", me).replace("{agent}", agent)
    return [pattern.replace("{slot}", str(slot)) for slot in range(slots)] if "{slot}" in pattern else [pattern]


def allowed(permit: Permit, patterns: Iterable[str]) -> list[str]:
    """What a role may, under its own name."""
    own = f"_INBOX_{NAMES[permit.role]}.>"
    return [own, *(each for pattern in patterns for each in filled(pattern, NAMES[permit.role], MINE))]


def may_publish(permit: Permit, subject: str) -> bool:
    yes = any(covers(pattern, subject) for pattern in allowed(permit, permit.publish))
    return yes and not any(covers(pattern, subject) for pattern in permit.never)


def may_subscribe(permit: Permit, subject: str) -> bool:
    return any(covers(pattern, subject) for pattern in allowed(permit, permit.subscribe))


def instances(pattern: str) -> Iterator[str]:
    """Subjects under a pattern: the shortest, and one with more in the end."""
    plain = pattern.replace("*", "x")
    yield plain.replace(">", "x")
    if plain.endswith(">"):
        yield plain.replace(">", "x.y.z")


def patterns() -> list[str]:
    """Every pattern of every role, under every role's name and another's."""
    found: dict[str, None] = {}
    for permit in TABLE.values():
        for pattern in (*permit.publish, *permit.subscribe, *permit.never):
            for me in (*NAMES.values(), OTHER):
                for agent in (MINE, OTHER):
                    several = filled(pattern, me, agent)
                    found.update(dict.fromkeys([several[0], several[-1]]))
    return [pattern for pattern in found if pattern != ">"]


STRANGE = (
    "$JS.API.INFO",
    "$JS.API.STREAM.DELETE.LOG-DC",
    "$JS.API.STREAM.PURGE.LOG-DC",
    "$JS.API.STREAM.UPDATE.LOG-DC",
    "$JS.API.STREAM.SNAPSHOT.LOG-DC",
    "$JS.API.STREAM.RESTORE.LOG-DC",
    "$JS.API.STREAM.MSG.DELETE.LOG-DC",
    "$JS.API.STREAM.LEADER.STEPDOWN.LOG-DC",
    "$JS.API.STREAM.CREATE.OTHER",
    "$JS.API.CONSUMER.CREATE.LOG-DC",
    "$JS.API.CONSUMER.DURABLE.CREATE.LOG-DC.x",
    "$JS.API.CONSUMER.LIST.LOG-DC",
    "$JS.API.CONSUMER.NAMES.LOG-DC",
    "$JS.API.CONSUMER.INFO.LOG-DC.x",
    "$JS.API.CONSUMER.MSG.NEXT.LOG-DC.x",
    "$JS.API.DIRECT.GET.LOG-DC",
    "$JS.API.META.LEADER.STEPDOWN",
    "$JS.ACK.LOG-DC.x.1.1.1.1.1",
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.ACCOUNT.PING.CONNZ",
    "$SYS.REQ.USER.INFO",
    "$SYS.REQ.CLAIMS.UPDATE",
    "_INBOX.x",
    "_INBOX_.x",
    "_R_.x",
    "dc",
    "other.master.main.a.b._",
    "log.other.info",
    "ask.other.master.main.x",
)
WIDE = (">", "*.>", "$SYS.>", "$JS.>", "$JS.API.>", "dc.>", "dc.*.*.*.*.*", "ask.>", "log.>", "ping.>", "_INBOX.>", "*")


@pytest.mark.parametrize("role", ORDINARY)
async def test_the_server_lets_nothing_be_said_but_what_the_table_says(server: EmbeddedServer, role: Role) -> None:
    """Every pattern of every role, by this one; the servers' own subjects, the slots beyond the last."""
    permit, me = TABLE[role], NAMES[role]
    tried = {each for pattern in patterns() for each in instances(pattern)} | set(STRANGE)
    tried |= {
        f"log.dc.next.{me}_{slots}",
        f"log.dc.create.{me}_{slots}.dc.{me}",
        f"log.dc.next.{me}",
        f"log.dc.next.{me}x_0",
    }
    async with line(somebody(server, role)) as connection:
        refused = await connection.publish(sorted(tried))
    assert refused == {subject for subject in tried if not may_publish(permit, subject)}
    assert len(tried) > 700
    assert len(refused) > 500


@pytest.mark.parametrize("role", ORDINARY)
@pytest.mark.parametrize("queue", ["", "q"])
async def test_the_server_lets_nothing_be_heard_but_what_the_table_says(
    server: EmbeddedServer, role: Role, queue: str
) -> None:
    """The same patterns, as they are and filled; in a group or alone."""
    permit = TABLE[role]
    tried = {each for pattern in patterns() for each in (pattern, *instances(pattern))} | set(STRANGE) | set(WIDE)
    async with line(somebody(server, role)) as connection:
        refused = await connection.subscribe(sorted(tried), queue)
    assert refused == {subject for subject in tried if not may_subscribe(permit, subject)}
    assert len(refused) > 900


async def test_the_administrator_may_do_everything(server: EmbeddedServer) -> None:
    """In the account of the stream: that is what the role is for."""
    async with line(server.administrator) as connection:
        assert (
            await connection.publish([*(each for each in STRANGE if "LOG-DC" not in each), "dc.master.main.a.b._"])
            == set()
        )
        assert await connection.subscribe(WIDE) == set()


# ---- the table itself, written down a second time -------------------------------------------------------------------

EVERYBODY = frozenset(OUTSIDE)
VIEWING = frozenset({Role.VIEWER, Role.OPERATOR, Role.ADMIN, Role.GATEWAY})
ACTING = frozenset({Role.OPERATOR, Role.ADMIN, Role.GATEWAY})
OWNERS = frozenset({Role.AGENT, Role.EXECUTOR, Role.FRAMEWORK})
WHO_SAYS: dict[str, frozenset[Role]] = {
    "dc.master.main.term.begun._": frozenset({Role.MASTER}),
    "dc.master.other.term.begun._": frozenset(),
    "dc.agent.{me}.task.reported.main": frozenset({Role.AGENT}),
    "dc.agent.zz9.task.reported.main": frozenset(),
    "dc.framework.{me}.app.specified.u-alice": frozenset({Role.FRAMEWORK}),
    "dc.framework.zz9.app.specified.u-alice": frozenset(),
    "dc.executor.{me}.task.reported.a1": frozenset({Role.EXECUTOR}),
    "dc.executor.{me}.task.reported.zz9": frozenset(),
    "dc.executor.{me}.task.reported.main": frozenset(),
    "dc.client.{me}.app.requested.marathon": ACTING | {Role.MASTER},
    "dc.client.{me}.kill.requested.marathon": ACTING | {Role.MASTER},
    "dc.client.{me}.identity.requested.main": frozenset({Role.ADMIN, Role.MASTER, Role.JOINER}),
    "dc.client.{me}.role.granted.main": frozenset({Role.ADMIN, Role.MASTER}),
    "dc.client.zz9.app.requested.marathon": frozenset(),
    "ask.dc.master.main.summary": VIEWING | {Role.MASTER},
    "ask.dc.master.main.secrets": frozenset({Role.AGENT, Role.MASTER}),
    "ask.dc.master.main.passport": VIEWING | {Role.MASTER, Role.JOINER},
    "ask.dc.framework.marathon.apps": VIEWING,
    "roll.dc.master.main": VIEWING | OWNERS | {Role.AUDITOR, Role.MASTER},
    "at.dc.master.main.n1.page": VIEWING | {Role.AUDITOR, Role.MASTER},
    "at.dc.master.main.n1.page.agent.{me}": VIEWING | {Role.AGENT, Role.AUDITOR, Role.MASTER},
    "at.dc.master.main.n1.page.agent.zz9": VIEWING | {Role.AUDITOR, Role.MASTER},
    "log.dc.info": EVERYBODY,
    "log.dc.get": VIEWING | {Role.AUDITOR},
    "log.dc.create.{me}_0.dc.>": VIEWING | {Role.AUDITOR},
    "log.dc.create.{me}_0.>": VIEWING | {Role.AUDITOR},
    "log.dc.create.{me}_0.dc.*.*.*.*.{me}": EVERYBODY,
    "log.dc.create.{me}_0.dc.*.*.*.*.zz9": VIEWING | {Role.AUDITOR},
    "log.dc.create.{me}_31.dc.agent.{me}.>": VIEWING | {Role.AGENT, Role.AUDITOR},
    "log.dc.create.{me}_31.dc.agent.zz9.>": VIEWING | {Role.AUDITOR},
    "log.dc.create.{me}_32.dc.>": frozenset(),
    "log.dc.create.zz9_0.dc.*.*.*.*.{me}": frozenset(),
    "log.dc.next.{me}_31": EVERYBODY,
    "log.dc.next.zz9_0": frozenset(),
    "log.dc.end.{me}_0": EVERYBODY,
    "log.dc.end.zz9_0": frozenset(),
    "$JS.API.STREAM.CREATE.LOG-DC": frozenset({Role.MASTER}),
    "$JS.API.STREAM.UPDATE.LOG-DC": frozenset(),
    "$JS.API.STREAM.DELETE.LOG-DC": frozenset(),
    "$JS.API.STREAM.PURGE.LOG-DC": frozenset(),
    "$JS.API.STREAM.MSG.DELETE.LOG-DC": frozenset(),
    "$SYS.REQ.SERVER.PING": frozenset(),
    "_INBOX_{me}.x.y": frozenset(ORDINARY),
    "_INBOX_zz9.x.y": frozenset(),
    "_R_.x": frozenset(),
}
"""Who may say it; the administrator may say all."""


async def test_who_may_say_what_is_as_it_is_meant(server: EmbeddedServer) -> None:
    """The cells that matter most, written by hand: a change of the table that was not meant shows here."""
    cells = 0
    for role in ORDINARY:
        meant = {subject.replace("{me}", NAMES[role]): role in who for subject, who in WHO_SAYS.items()}
        async with line(somebody(server, role)) as connection:
            refused = await connection.publish(meant)
        assert {subject: subject not in refused for subject in meant} == meant, role
        cells += len(meant)
    assert cells == len(WHO_SAYS) * len(ORDINARY)


# ---- what the subject does not show: the server's answers -----------------------------------------------------------


OWN_READER = "log.dc.create.a1_0.dc.agent.a1.>"


def reader(more: dict[str, object]) -> dict[str, object]:
    """The body that makes a consumer for an agent's own log, but for what is said otherwise."""
    config = {"name": "a1_0", "filter_subject": "dc.agent.a1.>", "ack_policy": "none", "num_replicas": 1}
    given = {key: value for key, value in (config | more).items() if value is not None}
    return {"stream_name": "LOG-DC", "config": given, "action": "create"}


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"filter_subject": "dc.>"}, 10131),
        ({"filter_subject": "dc.agent.zz9.>"}, 10131),
        ({"filter_subject": None}, 10131),
        ({"filter_subjects": ["dc.>"]}, 10137),
        ({"filter_subject": None, "filter_subjects": ["dc.>"]}, 10137),
        ({"filter_subject": None, "filter_subjects": ["dc.agent.a1.>", "dc.master.>"]}, 10137),
        ({"deliver_subject": "dc.master.main.task.launched.a1"}, 10081),
        ({"deliver_subject": "dc.framework.marathon.a.b._"}, 10081),
        ({"deliver_subject": "_INBOX_m-n1.>"}, 10079),
    ],
    ids=str,
)
async def test_a_reader_sees_no_more_than_its_subject_says(
    server: EmbeddedServer, more: dict[str, object], code: int
) -> None:
    """Another filter in the body than in the subject, none, several; delivery into somebody's log."""
    async with line(somebody(server, Role.AGENT)) as connection:
        answer = await connection.ask(OWN_READER, reader(more), "a1")
        error = answer["error"]
        assert isinstance(error, dict)
        assert error["err_code"] == code
        assert "error" not in await connection.ask(OWN_READER, reader({}), "a1")


async def test_a_reader_in_an_own_slot_has_the_slots_name_whatever_its_body_says(server: EmbeddedServer) -> None:
    """Another name, a durable one, one that is to live for years: there are never more than the slots."""
    bodies: list[dict[str, object]] = [{"name": "zz9_0"}, {"durable_name": "zz9_1"}, {"inactive_threshold": 10**18}]
    async with line(somebody(server, Role.AGENT)) as connection:
        for number, more in enumerate(bodies):
            await connection.ask(OWN_READER.replace("a1_0", f"a1_{number}"), reader(more), "a1")
    async with line(server.administrator) as connection:
        names = (await connection.ask("$JS.API.CONSUMER.NAMES.LOG-DC", {}, "administrator"))["consumers"]
    assert isinstance(names, list)
    assert set(names) <= {"a1_0", "a1_1", "a1_2"}


@pytest.mark.parametrize("role", OUTSIDE)
async def test_an_answer_lands_on_nobodys_log(server: EmbeddedServer, role: Role) -> None:
    """Whatever reply subject is asked for, the answer from across the border does not come there."""
    me = NAMES[role]
    forged = [
        "dc.master.main.task.launched.a1",
        f"dc.client.{me}.a.b._",
        "dc.agent.zz9.a.b._",
        "$JS.API.STREAM.DELETE.LOG-DC",
    ]
    async with line(somebody(server, role)) as connection:
        await connection.verdict(f"PUB log.dc.info {subject} 0\r\n\r\n".encode() for subject in forged)
    async with line(server.administrator) as connection:
        state = (await connection.ask("$JS.API.STREAM.INFO.LOG-DC", {}, "administrator"))["state"]
    assert isinstance(state, dict)
    assert state["last_seq"] == 0


async def test_what_was_refused_was_not_stored_and_what_was_allowed_was(server: EmbeddedServer) -> None:
    """The server's word is one thing, the stream another: after every role said everything, it holds what the table
    lets be said, of each author."""
    wanted: set[str] = set()
    for role in ORDINARY:
        tried = {each for pattern in patterns() for each in instances(pattern) if each.startswith("dc.")}
        async with line(somebody(server, role)) as connection:
            await connection.publish(sorted(tried))
        wanted |= {subject for subject in tried if may_publish(TABLE[role], subject)}
    async with line(server.administrator) as connection:
        question = {"subjects_filter": ">"}
        state = (await connection.ask("$JS.API.STREAM.INFO.LOG-DC", question, "administrator"))["state"]
    assert isinstance(state, dict)
    assert set(state["subjects"]) == wanted
    assert len(wanted) > 30


def test_every_role_has_a_name_in_these_tests_and_a_row_in_the_table() -> None:
    """A role that is added is tried, too."""
    assert set(NAMES) == set(Role) == set(TABLE) == set(Authority.found("dc").roles)
