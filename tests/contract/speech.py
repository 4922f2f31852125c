"""Authors and messages for the contract: the smallest real events."""

from __future__ import annotations

from msgspec.structs import replace

from bus import codec
from bus.events import Event
from bus.nouns import FrameworkId, Now, RequestId
from bus.port import Fence, Message
from bus.services import SchedulerLocated
from bus.subjects import Author, Kind, everything, own_log
from tests.contract.places import CLUSTER, LEADER

AGENT = Author(Kind.AGENT, "a1")
CLIENT = Author(Kind.CLIENT, "u-alice")
LEADERS = own_log(CLUSTER, LEADER)
AGENTS = own_log(CLUSTER, AGENT)
ALL = everything(CLUSTER)


def says(author: Author, words: str, *, to: str = "_", n: int = 0, prev: bytes = b"") -> Message:
    """An event of an author; `words` tell it from others."""
    located = SchedulerLocated(framework=FrameworkId("marathon"), through=words)
    event = Event(by=author, to=to, fact=located, at=Now(1), n=n, prev=prev)
    return Message(codec.subject(CLUSTER, event), codec.encode(event))


def asks(words: str, request: str) -> Message:
    """A client's event."""
    return replace(says(CLIENT, words, to="marathon"), request=RequestId(request))


def bare(author: Author, body: bytes) -> Message:
    """What an author says that is no event."""
    return Message(f"{CLUSTER}.{author}.word.said._", body)


def chain(author: Author, *words: str, n: int = 1, prev: bytes = b"") -> list[Message]:
    """Events that follow one another in their author's log."""
    messages = []
    for number, word in enumerate(words, n):
        messages.append(says(author, word, n=number, prev=prev))
        prev = codec.link(messages[-1].body)
    return messages


def needles(first: int, count: int, size: int, by: Author = LEADER) -> list[Message]:
    """Messages that can be told apart on the disk."""
    bodies = (b"needle %04d " % n + bytes(size) for n in range(first, first + count))
    return [Message(f"{CLUSTER}.{by}.a.b._", body) for body in bodies]


def fence(author: Author, last: int) -> Fence:
    """The fence of an author's log."""
    return Fence(own_log(CLUSTER, author), last)  # type: ignore[arg-type]
