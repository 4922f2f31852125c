"""Messages as bytes: cut anywhere, whoever wrote them, they arrive as they were sent."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.replies import Parcel, Send
from bus.slim import BadHeaderError, BadSubjectError, ProtocolError
from bus.wire import Deliveries, headers_of, line_bytes_max, said

HEARTBEAT = b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 7\r\nNats-Last-Stream: 9\r\n\r\n"
FENCED = b"NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: 4\r\n\r\n"


class Client:
    """What nats-py's parser asks for besides messages."""

    def __init__(self) -> None:
        self.pings = 0

    async def _process_ping(self) -> None:
        self.pings += 1


class Wire:
    """Deliveries to one subscription, and what came of them."""

    def __init__(self) -> None:
        self.client, self.came = Client(), list[Parcel]()
        self.read = Deliveries(self.client, {b"3": self.came.append})

    async def parse(self, data: bytes, cuts: list[int]) -> None:
        edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
        for begin, end in pairwise(edges):
            await self.read.parse(self.read.cut(data[begin:end]))


def delivered(subject: bytes, reply: bytes, body: bytes, headers: bytes = b"", sid: bytes = b"3") -> bytes:
    """A message as nats-server sends it. (client.go msgHeader)"""
    to = subject + b" " + sid + (b" " + reply if reply else b"")
    if not headers:
        return b"MSG %b %d\r\n%b\r\n" % (to, len(body), body)
    return b"HMSG %b %d %d\r\n%b%b\r\n" % (to, len(headers), len(headers) + len(body), headers, body)


token = st.text(st.characters(blacklist_characters=" \t\r\n", blacklist_categories=["Cs"]), min_size=1, max_size=9)
message = st.tuples(token, st.just("") | token, st.binary(max_size=40), st.sampled_from([b"", HEARTBEAT, FENCED]))


@settings(deadline=None)
@given(st.lists(message | st.none(), max_size=12), st.lists(st.integers(0, 9999), max_size=12))
async def test_messages_arrive_wherever_the_stream_is_cut(messages: list[Any], cuts: list[int]) -> None:
    wire = Wire()
    parts = [
        b"PING\r\n" if each is None else delivered(each[0].encode(), each[1].encode(), each[2], each[3])
        for each in messages
    ]
    await wire.parse(b"".join(parts), cuts)
    told = [each for each in messages if each is not None]
    assert wire.came == [Parcel(to, reply, body, headers_of(head)) for to, reply, body, head in told]
    assert wire.client.pings == len(messages) - len(told)


async def test_what_nobody_takes_is_passed_over() -> None:
    wire = Wire()
    await wire.parse(delivered(b"a", b"", b"x", sid=b"4") + delivered(b"b", b"", b"y"), [])
    assert [parcel.subject for parcel in wire.came] == ["b"]


async def test_a_new_link_begins_a_new_message() -> None:
    wire = Wire()
    await wire.parse(delivered(b"a", b"", b"cut short")[:-6], [])
    wire.read.reset()
    await wire.parse(delivered(b"b", b"", b"whole"), [])
    assert [parcel.body for parcel in wire.came] == [b"whole"]


NO_LINES = (
    b"MSG a 3 x\r\n",
    b"MSG a 3 -5\r\n",
    b"MSG a 3 -15\r\n",
    b"MSG a 3 99999999999\r\n",
    b"MSG a 3 r s 1\r\nx\r\n",
    b"MSG a 3 1\r\nxy\r\n",
    b"MSG \r\n",
    b"MSG\ta 3 0\r\n",
    b"HMSG a 3 7\r\nbody",
    b"HMSG a 3 5 2\r\nbody\r\n",
    b"HMSG a 3 -1 2\r\nbody\r\n",
    b"WHAT\r\n",
    b"\r\n",
    b"-ERR\r\n",
    b"-ERR \r\n",
    b"-ERR '\xff'\r\n",
    b"INFO {\r\n",
    b"INFO \xff\r\n",
    b"x" * 5000 + b"\r\n",
    b"INFO " + b"x" * line_bytes_max,
)


@pytest.mark.parametrize("line", NO_LINES, ids=range(len(NO_LINES)))
@pytest.mark.parametrize("step", [1, 7, 10**9])
async def test_a_line_that_is_none_is_told(line: bytes, step: int) -> None:
    """Wherever it is cut, and behind it nothing is read but on a new link."""
    if len(line) > line_bytes_max:
        step = max(step, 100_000)
    wire = Wire()
    before, after = delivered(b"before", b"", b"x"), delivered(b"after", b"", b"y")
    with pytest.raises(ProtocolError):
        await wire.parse(before + line + after, [*range(0, len(line) + len(before) + len(after), step)])
    assert {parcel.subject for parcel in wire.came} <= {"before", "after"}
    wire.read.reset()
    await wire.parse(delivered(b"b", b"", b"whole"), [])
    assert wire.came[-1].body == b"whole"


async def test_a_pong_between_halves_of_messages_is_none() -> None:
    """What looks like a line inside of a message is the message's."""
    wire = Wire()
    body = b"x\r\nPING\r\nMSG a 3 1\r\ny\r\n"
    for cut in range(len(body) + 20):
        await wire.parse(delivered(b"a", b"", body), [cut])
    assert wire.client.pings == 0
    assert {parcel.body for parcel in wire.came} == {body}


def test_a_form_feed_is_part_of_a_subject_and_what_is_not_utf_8_is_shown() -> None:
    assert said(Send("a\x0cb", b"")) == b"PUB a\x0cb 0\r\n\r\n"
    assert headers_of(b"NATS/1.0\r\nX: \xff\r\nBusbar-Piece: a 1 2\r\n\r\n") == {"X": "\\xff", "Busbar-Piece": "a 1 2"}


def test_headers_of_the_server_are_read_those_of_a_stored_message_are_not() -> None:
    beat = {"Status": "100", "Description": "Idle Heartbeat", "Nats-Last-Consumer": "7", "Nats-Last-Stream": "9"}
    assert headers_of(HEARTBEAT) == beat
    assert headers_of(b"NATS/1.0 503\r\n\r\n") == {"Status": "503"}
    assert headers_of(FENCED) == {}


@pytest.mark.parametrize("headers", [None, {"Busbar-Piece": "a 1 2"}])
@pytest.mark.parametrize("reply", ["", "_INBOX.x"])
async def test_what_is_said_arrives_as_it_was_said(headers: dict[str, str] | None, reply: str) -> None:
    verb, _, rest = said(Send("a.b", b"body", headers), reply).partition(b" ")
    heard = b"HMSG" if verb == b"HPUB" else b"MSG"
    wire = Wire()
    await wire.parse(heard + b" a.b 3 " + rest.removeprefix(b"a.b "), [])
    assert wire.came == [Parcel("a.b", reply, b"body", headers or {})]


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB b 0", "a\tb"])
def test_a_subject_is_one_word(subject: str) -> None:
    with pytest.raises(BadSubjectError):
        said(Send(subject, b""))


@pytest.mark.parametrize("value", ["a\r\nNats-Rollup: all", "a\nb", "a\rb"])
def test_a_header_is_one_line(value: str) -> None:
    with pytest.raises(BadHeaderError):
        said(Send("a", b"", {"X": value}))
