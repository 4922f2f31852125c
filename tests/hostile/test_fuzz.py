"""Whatever bytes come, each decoder says one of the errors it names, and says it soon."""

from __future__ import annotations

import base64
import math
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgpack
import msgspec
import pytest

from bus import codec, queries
from bus.authority import Authority
from bus.credentials import Credentials, CredentialsRefused, credentials_text, read_credentials
from bus.documents import AppSpec, DocumentError, JobSpec
from bus.documents.reading import parse_document
from bus.jetstream import _landed
from bus.keyring import Wanted, issued
from bus.nkey import For, Key, KeyRefused, check_public, claims_of
from bus.nouns import Now
from bus.permits import Role
from bus.port import Fenced, OutcomeUnknown, StreamFull
from bus.queries import QueryRefused
from bus.replies import Awaited, Parcel, Replies
from bus.subjects import SubjectError, parse_subject
from cli import captured
from cli.access import Invitation, read_token
from cli.fleet import read_fleet
from cli.minds import mind_of
from cli.output import Failure
from components.executor.launcher.loop import Loop
from components.executor.launcher.wire import Connection
from components.master.attempts import Attempts
from components.runtime import _NOT_ANSWERED as NOT_ANSWERED
from tests.hostile.mutants import mutants
from tests.hostile.stage import TALLY
from tests.recorded import DATACENTER

pytestmark = pytest.mark.timeout(120)
SEED = 20261130
decode_s_max = 10.0
"""Of this process' own time: far from what a decoder takes, near to what one that explodes would."""
"""For one message; the largest are 700 kB. Generous: the machine is shared."""
EVENTS = captured.read(DATACENTER).records
BODIES = [body for _, _, body in EVENTS]
SUBJECTS = [subject for _, subject, _ in EVENTS]
APP = b'{"id":"/a/b","cmd":"sleep 1","cpus":0.1,"mem":32,"instances":2,"env":{"A":"b"},"ports":[0]}'
JOB = b'{"id":"j","run":{"cmd":"true","cpus":0.1,"mem":32,"disk":0},"schedules":[{"cron":"* * * * *"}]}'


def survive(
    name: str, take: Callable[[bytes], object], seeds: Sequence[bytes], count: int, *named: type[Exception]
) -> None:
    """Each mutant is taken, or refused with one of the errors named, and none takes long."""
    took = refused = 0
    for body in mutants(seeds, count, SEED):
        began = time.process_time()
        try:
            take(body)
            took += 1
        except named:
            refused += 1
        except BaseException as error:
            raise AssertionError(f"{name}: {error!r} for {body[:200]!r} ({len(body)} bytes)") from error
        assert time.process_time() - began < decode_s_max, f"{name}: {body[:200]!r} ({len(body)} bytes) takes too long"
    TALLY["fuzz"] += took + refused


def test_events() -> None:
    """Bodies under their subject, and under another's."""
    turn = iter(range(10**9))

    def take(body: bytes) -> object:
        return codec.decode(SUBJECTS[next(turn) % len(SUBJECTS)], body, 1)

    survive("decode", take, BODIES, 20_000, codec.Foreign, codec.Unreadable)


def test_events_under_the_subject_they_say() -> None:
    """As one who may write a log would say them: what is in them is read, too."""

    def take(body: bytes) -> object:
        try:
            says = msgpack.unpackb(body, strict_map_key=False)
            subject = f"dc.{says['by']}.{says['type']}.{says['to']}"
        except Exception:  # whatever it is, it says nothing
            subject = SUBJECTS[0]
        return codec.decode(subject, body, 1)

    survive("decode", take, BODIES, 30_000, codec.Foreign, codec.Unreadable)


QUESTIONS: list[object] = [
    "x",
    1,
    {"app": "/a"},
    {"task": "t"},
    {"job": "j"},
    {"prefix": "x", "after": "a", "limit": 5},
]
QUESTIONS += [{"noun": "task", "id": "x", "after": 0, "limit": 10}, {"task": "t", "file": "stdout", "offset": 0}]
QUESTIONS += [{"after": 1, "limit": 2, "author": "agent.a1"}, {"positions": [1, 2]}, {"job": "j", "ended": True}]
SEEDS = [msgpack.packb(question) for question in QUESTIONS]


@pytest.mark.parametrize("name", ["master", "marathon", "metronome", "agent", "executor"])
def test_questions(name: str) -> None:
    """Every query of a component, asked with garbage, answers or refuses in words."""
    ids = {"agent": '"id":"a1","hostname":"h","work":"/w"', "executor": '"agent":"a1","work":"/w"'}
    component = mind_of(f'{{"{name}":{{{ids.get(name, "")}}}}}')
    state = component.start()
    assert component.queries or name == "executor"
    for query, answer in component.queries.items():
        survive(f"{name}.{query}", lambda body, answer=answer: answer(state, body, Now(1)), SEEDS, 2_000, *NOT_ANSWERED)


SHAPES = [shape for shape in vars(queries).values() if isinstance(shape, type) and issubclass(shape, msgspec.Struct)]


def test_questions_to_the_world_and_answers() -> None:
    """Every noun of questions and answers, as itself, and as the answer of a component."""
    for shape in SHAPES:
        if shape.__name__.startswith("_"):
            continue
        read = msgspec.msgpack.Decoder(shape).decode
        survive(shape.__name__, read, SEEDS, 500, *NOT_ANSWERED)
        answers = [queries.answer_ok(question) for question in QUESTIONS]
        survive(
            "unpack",
            lambda body, shape=shape: queries.unpack(body, shape),
            answers,
            300,
            QueryRefused,
            msgspec.ValidationError,
        )
    assert QueryRefused in NOT_ANSWERED


def test_documents() -> None:
    """Apps and jobs."""
    survive("app", lambda body: parse_document(body, AppSpec), [APP], 5_000, DocumentError)
    survive("job", lambda body: parse_document(body, JobSpec), [JOB], 5_000, DocumentError)


async def test_pieces_of_answers() -> None:
    """A piece with a garbled header, out of turn, of nobody's answer: whoever waits is not disturbed."""
    replies = Replies("_INBOX_x")
    waiting = Awaited((), math.inf)
    with replies.gather() as (all_, _, _):

        def take(body: bytes) -> None:
            header = body[:80].decode(errors="replace")
            parcel = Parcel(all_, "", body, {"Busbar-Piece": header})
            waiting.take(parcel)
            replies._awaited[all_.rpartition(".")[2]].take(parcel)

        survive("pieces", take, [b"n 1 3", b"n 2 3", b"m 1 1", b"n 3 3 3", b"n one 3"], 10_000)


def test_lines_to_the_launcher() -> None:
    """What is no line of JSON is hung up on; nothing else comes of it."""

    def take(body: bytes) -> None:
        here, there = socket.socketpair()
        try:
            Connection(Loop(), here, lambda _, message: None, lambda _: None)._take(body)
        finally:
            here.close()
            there.close()

    survive("launcher", take, [b'{"do":"launch","task":"t"}', b'{"do":"kill","n":1}'], 3_000)


def test_what_the_server_says_of_attempts(tmp_path: Path) -> None:
    """A thief chooses part of the line: it is counted, or passed over."""
    attempts = Attempts(tmp_path / "none")
    line = (
        b'[7] 2026/11/30 04:00:00 [ERR] 127.0.0.1:5 - cid:8 - "v1" - Publish Violation - JWT User "U" - Subject "dc.x"'
    )
    survive("attempts", lambda body: attempts._note(body.decode(errors="replace")), [line], 10_000)


def test_keys_tokens_and_subjects() -> None:
    """Seeds, public halves, passports, join tokens, subjects: as text."""
    authority = Authority.found("dc")
    known = issued(authority, Wanted("", Role.JOINER, "t-x"), Credentials(url="nats://127.0.0.1:1"))
    token = Invitation(bearer=known, name="u-x", role=Role.VIEWER).text
    head, body, _ = known.passport.split(".")

    def text(take: Callable[[str], object]) -> Callable[[bytes], object]:
        return lambda raw: take(raw.decode(errors="surrogateescape"))

    def framed(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    survive("seed", text(Key), [known.seed.encode()], 3_000, KeyRefused)
    survive("public", text(lambda raw: check_public(raw, For.USER)), [known.key.public.encode()], 3_000, KeyRefused)
    survive("passport", text(claims_of), [known.passport.encode()], 3_000, KeyRefused)
    said = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    survive("claims", lambda raw: claims_of(f"{head}.{framed(raw)}.x"), [said], 3_000, KeyRefused)
    survive("token", text(read_token), [token.encode()], 3_000, Failure)
    content = base64.urlsafe_b64decode(token.partition("join-")[2] + "==")
    survive("invitation", lambda raw: read_token(f"busbar-join-{framed(raw)}"), [content], 3_000, Failure)
    survive("subject", text(parse_subject), [each.encode() for each in SUBJECTS], 5_000, SubjectError)


def test_files(tmp_path: Path) -> None:
    """Credentials and a fleet."""
    known = issued(Authority.found("dc"), Wanted("", Role.VIEWER, "u-x"), Credentials(url="nats://127.0.0.1:1"))
    file = tmp_path / "file"
    file.touch(mode=0o600)

    def written(read: Callable[[Path], object]) -> Callable[[bytes], object]:
        return lambda body: (file.write_bytes(body), read(file))

    survive("credentials", written(read_credentials), [credentials_text(known)], 2_000, CredentialsRefused)
    fleet = b'{"masters":["h1","h2","h3"],"agents":["h4"],"route_password":"x","watched":"y"}'
    survive("fleet", written(read_fleet), [fleet], 2_000, Failure)


def test_so_many_there_were() -> None:
    """The fuzz above is as large as it is said to be."""
    assert TALLY["fuzz"] >= 100_000


def test_answers_to_appends() -> None:
    """What says nothing plainly is unknown."""
    ok = b'{"stream":"LOG-DC","seq":7}'
    refused = b'{"stream":"LOG-DC","error":{"code":400,"err_code":10071,"description":"wrong last sequence: 4"}}'
    seeds = [ok, refused, b"[]", b"7", b'{"seq":"7"}', b"{}"]
    survive("append", _landed, seeds, 5_000, OutcomeUnknown, Fenced, StreamFull)
