"""The stream of a cluster as its servers keep it: made if there is none, refused if it promises less than a log needs.

Rule of this room: only the stream's leader is believed. (nats-server: a direct get may be answered by a lagging
follower, and STREAM.INFO by any member while there is no leader: jetstream_api.go jsStreamInfoRequest)
"""

from __future__ import annotations

import asyncio
import json
import secrets
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from bus import fitness
from bus.connection import Connection
from bus.nouns import Now, Position
from bus.permits import PEOPLE, Role, slots
from bus.port import (
    BusClosed,
    BusUnreachable,
    ClusterRow,
    Extent,
    NoAnswer,
    NobodyThere,
    NoMajority,
    NotPermitted,
    Record,
    Remains,
    StreamDiverged,
    StreamUnfit,
    TrimUnfinished,
)
from bus.replies import Send
from bus.subjects import everything

answer_s = 5.0
"""How long a request about the stream is tried."""
repeat_s = 0.5
"""For the first answer; twice as long for each further one."""
retry_pause_s = 0.25
patience_s = 3.0
"""How long one of several servers may take to know the stream, before the next is asked."""
behind_s = 12.0
"""How long one of several servers may know less than another did: a leader that was cut off or stopped believes in
itself for that long. (nats-server: raft.go lostQuorumInterval 10 s)"""
LEADERLESS = (10008, 10009, 10118)
"""JetStream temporarily unavailable, not the leader, stream offline. (nats-server: errors.json)"""
no_quorum = "no majority of the bus's servers answers: nothing is written until one comes back"
_NOT_FOUND = 10037
_NO_STREAM = 10059
_NAME_TAKEN = 10058
_NOT_CLUSTERED = 10074
_CONSUMER_EXISTS = 10148
_LOCAL = {
    "STREAM.INFO": "info",
    "STREAM.MSG.GET": "get",
    "CONSUMER.CREATE": "create",
    "CONSUMER.DELETE": "end",
    "CONSUMER.MSG.NEXT": "next",
}
_READS_ANY = frozenset({*PEOPLE, Role.GATEWAY})
_START = datetime(1970, 1, 1, tzinfo=UTC)


class ApiError(Exception):
    """The server refused a request about the stream."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error.get('description')} ({error.get('err_code')})")
        self.code, self.err_code = error.get("code", 500), error.get("err_code", 0)

    @property
    def passing(self) -> bool:
        """Whether the same request may be granted in a moment."""
        return (self.code >= 500 or self.code in (408, 429)) and self.err_code != _NOT_CLUSTERED


class SlotTaken(NoAnswer):
    """Another process of the same identity reads under this name."""


class Stream:
    """One cluster's stream, seen over one connection."""

    def __init__(self, link: Connection, cluster: str) -> None:
        self.link, self.cluster, self.name = link, cluster, fitness.stream_name(cluster)
        self._created = ""
        self._replicas = 1
        self._missing_since: float | None = None
        self._known: dict[str, Position] = {}
        self._slots: set[int] = set()
        self.wary = 0
        """How many messages are still asked for one by one. (`bus.pulling`)"""

    # ---- made and accepted ----------------------------------------------------------------------------------------

    async def ensure(self, within_s: float, *, make: bool = True, replicas: int = 1, room: int | None = None) -> None:
        """The stream exists, made here if it may be, and is fit. Raises StreamUnfit, BusUnreachable."""
        why: NoAnswer | TrimUnfinished = NoAnswer("silence")
        time = asyncio.get_running_loop().time
        began = time()
        try:
            async with asyncio.timeout(within_s):
                while True:
                    try:
                        self._accept(await self._find_or_make(make, replicas, room))
                        return
                    except (NoAnswer, TrimUnfinished) as error:
                        why = error
                    if time() - began >= patience_s:
                        began = time()
                        self.link.leave()  # a server that is cut off from the others takes the call all the same
                    await asyncio.sleep(retry_pause_s)
        except TimeoutError:
            if isinstance(why, TrimUnfinished):
                raise why from None
            raise BusUnreachable(
                f"{self.link.url} keeps no stream within {within_s:g} s ({why}): "
                "is JetStream enabled there, and the cluster's name right?"
            ) from None

    async def _find_or_make(self, make: bool, replicas: int, room: int | None) -> dict[str, Any]:
        try:
            try:
                found = await self._call(f"STREAM.INFO.{self.name}")
                self._check_led(found)
                return found
            except ApiError as error:
                if error.err_code != _NO_STREAM:
                    raise
                if not make:
                    raise NoAnswer(f"there is no {self.name}") from None
            return await self._make(replicas, fitness.rooms(room))
        except ApiError as error:
            if error.passing or error.err_code == _NAME_TAKEN:  # another was faster: look again
                raise NoAnswer(str(error)) from None
            raise StreamUnfit(f"stream {self.name}: {error}") from None

    async def _make(self, replicas: int, rooms: list[int]) -> dict[str, Any]:
        for room in rooms:
            try:
                return await self._call(f"STREAM.CREATE.{self.name}", fitness.to_make(self.cluster, replicas, room))
            except ApiError as error:
                if not fitness.is_too_large(error.err_code, str(error)):
                    if fitness.is_without_peers(error.err_code):  # a cluster that is still coming together
                        raise NoAnswer(str(error)) from None
                    raise
        raise StreamUnfit(f"stream {self.name}: its server has no room for {rooms[-1]} bytes")

    def _accept(self, found: dict[str, Any]) -> None:
        fitness.check_fit(self.cluster, found["config"])
        self._created, self._replicas = found["created"], found["config"]["num_replicas"]

    @property
    def alone(self) -> bool:
        """Whether a single server keeps it."""
        return self._replicas == 1

    # ---- asked ----------------------------------------------------------------------------------------------------

    async def ask(self, what: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """One request about the stream. Raises NoAnswer, StreamDiverged, StreamUnfit, BusClosed, or ApiError 404."""
        try:
            found = await self._call(what, body)
        except ApiError as error:
            if error.err_code == _NO_STREAM:
                raise self._missing() from None
            if error.err_code in LEADERLESS:
                raise NoMajority(f"{no_quorum} ({error})") from None
            if error.passing:
                raise NoAnswer(str(error)) from None
            if error.code == 404:
                raise
            raise StreamUnfit(f"stream {self.name}: {what}: {error}") from None
        self._missing_since = None
        return found

    def _missing(self) -> NoAnswer | StreamDiverged:
        """What it means that there is no stream: one of several servers may say so while it starts."""
        now = asyncio.get_running_loop().time()
        self._missing_since = self._missing_since or now
        if self._replicas == 1 or now >= self._missing_since + behind_s:
            return StreamDiverged(f"stream {self.name} is gone")
        return NoAnswer(f"a server does not know {self.name} yet")

    async def _call(self, what: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """One request; all but updates are repeated: what is asked while servers elect a leader is not answered."""
        send = Send(self.where(what), json.dumps(body).encode() if body is not None else b"")
        try:
            async with asyncio.timeout(answer_s):
                answer = await self._answered(send, answer_s if what.startswith("STREAM.UPDATE.") else repeat_s)
        except TimeoutError:
            raise NoAnswer(f"{what}: no answer within {answer_s:g} s") from None
        except NobodyThere:
            raise NoMajority(f"{what}: JetStream does not answer: {no_quorum}") from None
        found: dict[str, Any] = json.loads(answer)
        if "error" in found:
            raise ApiError(found["error"])
        return found

    def where(self, what: str) -> str:
        """The subject of a request; outside the stream's account it has one of its own. (`bus.permits`)"""
        if self.link.in_kernel:
            return f"$JS.API.{what}"
        for asked, local in _LOCAL.items():
            if what.startswith(f"{asked}.{self.name}"):
                return f"log.{self.cluster}.{local}{what.removeprefix(f'{asked}.{self.name}')}"
        raise NotPermitted(f"{self.link.known.name} ({self.link.known.role}) may not ask {what}")

    # ---- readers --------------------------------------------------------------------------------------------------

    @contextmanager
    def reader(self) -> Iterator[str]:
        """The name of a new consumer: by chance, or outside the stream's account one of the identity's own, which
        another process of the same identity may have. Raises NoAnswer."""
        if self.link.in_kernel:
            yield secrets.token_hex(8)
            return
        free = sorted(set(range(slots)) - self._slots)
        if not free:
            raise NoAnswer(f"{self.link.known.name} has {slots} readers at once, and may have no more")
        slot = secrets.choice(free)
        self._slots.add(slot)
        try:
            yield f"{self.link.known.name}_{slot}"
        finally:
            self._slots.discard(slot)

    async def make_reader(self, name: str, log: str, config: dict[str, object]) -> dict[str, Any]:
        """Make a consumer. Raises NoAnswer, SlotTaken."""
        mine: dict[str, object] = {"name": name, "filter_subject": log, "description": secrets.token_hex(8)}
        request = {"stream_name": self.name, "config": mine | config, "action": "create"}
        try:
            return await self.ask(f"CONSUMER.CREATE.{self.name}.{name}.{log}", request)
        except StreamUnfit as error:
            if f"({_CONSUMER_EXISTS})" in str(error):
                raise SlotTaken(f"{name} reads for another process") from None
            raise

    async def end_reader(self, name: str) -> None:
        """End a consumer, without waiting for the server to say so: it removes an idle one by itself."""
        with suppress(NoAnswer, BusClosed):
            await self.link.send(Send(self.where(f"CONSUMER.DELETE.{self.name}.{name}"), b""))

    async def _answered(self, send: Send, patience_s: float) -> bytes:
        while True:
            await self.link.connected()
            with suppress(NoAnswer):
                return (await self.link.ask(send, timeout_s=patience_s)).body
            patience_s *= 2

    async def info(self, more: dict[str, object] | None = None) -> dict[str, Any]:
        """What the leader says of the stream. Raises NoAnswer, StreamDiverged if another stream has its name."""
        found = await self.ask(f"STREAM.INFO.{self.name}", more)
        self._check_led(found)
        if found["created"] != self._created:
            raise StreamDiverged(f"stream {self.name} was made anew at {found['created']}")
        return found

    def _check_led(self, found: dict[str, Any]) -> None:
        if not fitness.is_led(found):
            raise NoMajority(f"stream {self.name} has no leader: {no_quorum}")

    async def servers(self) -> list[ClusterRow]:
        """Who keeps the stream, by name. Raises NoAnswer."""
        cluster = (await self.info())["cluster"]
        rows = [ClusterRow(cluster["leader"], leader=True, current=True, lag=0)]
        for peer in cluster.get("replicas", ()):
            rows.append(ClusterRow(peer["name"], leader=False, current=peer["current"], lag=peer.get("lag", 0)))
        return sorted(rows)

    # ---- read -----------------------------------------------------------------------------------------------------

    async def extent(self) -> Extent:
        """Where the stream begins and ends. Raises StreamDiverged if positions are missing."""
        return self.whole(await self.info())

    def whole(self, found: dict[str, Any]) -> Extent:
        """What the leader says the stream holds. Raises StreamDiverged if positions are missing."""
        state = found["state"]
        messages, first, last = state["messages"], state["first_seq"], state["last_seq"]
        if messages and messages != last - first + 1:
            raise StreamDiverged(f"stream {self.name}: {messages} messages at positions {first} to {last}")
        begin, latest = first if messages else last + 1, fitness.trimmed_to(found["config"])
        if begin > latest:
            raise StreamDiverged(f"stream {self.name} begins at position {begin}, it was trimmed to {latest} at most")
        room = max(0, found["config"]["max_bytes"])
        return Extent(Position(begin), Position(last), state["bytes"], room)

    async def reaching(self, position: Position) -> dict[str, Any]:
        """What the leader says of the stream, which has held this position.

        Raises StreamDiverged if it ends before it: of several servers one that knows less is given time to learn.
        """
        deadline = asyncio.get_running_loop().time() + (behind_s if self._replicas > 1 else 0)
        while True:
            found = await self.info()
            end = self.whole(found).last
            if end >= position:
                return found
            if asyncio.get_running_loop().time() >= deadline:
                raise StreamDiverged(f"the stream ends at position {end}, position {position} was in it")
            await asyncio.sleep(retry_pause_s)

    async def newest(self, log: str, look: Callable[[str], Awaitable[Record | None]]) -> Record | None:
        """The last message under `log`, as `look` finds it; older than one told before only if the stream lost that."""
        known = self._known.get(log, Position(0))
        deadline = asyncio.get_running_loop().time() + (behind_s if self._replicas > 1 else 0)
        while True:
            found = await look(log)
            end = found.position if found else Position(0)
            if end >= known or asyncio.get_running_loop().time() >= deadline:
                self._known[log] = end
                return found
            await asyncio.sleep(retry_pause_s)

    @property
    def may_get(self) -> bool:
        """Whether this identity may ask for any message; others read behind their own filters."""
        return self.link.in_kernel or self.link.known.role in _READS_ANY

    async def get_newest(self, log: str) -> Record | None:
        """The last message under `log`, as the leader has it now."""
        return await self._get({"last_by_subj": log})

    async def count(self, log: str) -> int:
        """How many messages there are under `log`, as the leader knows it."""
        found = await self.info({"subjects_filter": log})
        return sum((found["state"].get("subjects") or {}).values())

    def know(self, log: str, position: Position) -> None:
        """A message under `log` is in the stream at this position."""
        self._known[log] = max(position, self._known.get(log, Position(0)))

    async def remains(self) -> Remains:
        """What the leader says is left of the stream, whole or not."""
        found = (await self.ask(f"STREAM.INFO.{self.name}", {"deleted_details": True}))["state"]
        messages, first, last = found["messages"], found["first_seq"], found["last_seq"]
        missing = tuple(
            Position(each) for each in sorted(found.get("deleted") or ()) if first <= each <= last and messages
        )
        return Remains(Position(first if messages else last + 1), Position(last), messages, missing)

    async def at(self, position: Position) -> Record | None:
        """The message at a position."""
        return await self._get({"seq": position})

    async def first_since(self, at: Now) -> Position:
        """The position of the first message stored at or after a time; behind the last if there is none."""
        end = (await self.extent()).last
        moment = (_START + timedelta(microseconds=at)).isoformat()
        found = await self._get({"start_time": moment, "next_by_subj": everything(self.cluster)})
        return found.position if found else Position(end + 1)

    async def _get(self, which: dict[str, object]) -> Record | None:
        try:
            found = (await self.ask(f"STREAM.MSG.GET.{self.name}", which))["message"]
        except ApiError as error:
            if error.err_code == _NOT_FOUND:
                return None
            raise NoAnswer(str(error)) from None
        return Record(Position(found["seq"]), found["subject"], b64decode(found.get("data", "")))
