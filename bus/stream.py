"""The stream of a cluster as its server keeps it: made if there is none, refused if it promises less than a log needs.

Rule of this room: only the stream's leader is asked. (nats-server: a direct get may be answered by a lagging follower)
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import Any

from bus.connection import Connection
from bus.nouns import Now, Position
from bus.port import (
    BusUnreachable,
    Extent,
    NoAnswer,
    NobodyThere,
    Record,
    StreamDiverged,
    StreamUnfit,
    same_request_s,
)
from bus.replies import Send
from bus.subjects import everything

answer_s = 5.0
"""How long the server may take for one request."""
retry_pause_s = 0.25
LEADERLESS = (10008, 10009, 10118)
"""JetStream temporarily unavailable, not the leader, stream offline. (nats-server: errors.json)"""
no_quorum = "no majority of the bus's servers answers: nothing is written until one comes back"
_NOT_FOUND = 10037
_NO_STREAM = 10059
_NAME_TAKEN = 10058
_START = datetime(1970, 1, 1, tzinfo=UTC)

_KEEPS_EVERYTHING: dict[str, object] = {
    "retention": "limits",
    "storage": "file",
    "discard": "new",
    "max_age": 0,
    "max_msgs_per_subject": -1,
    "deny_delete": True,
    "deny_purge": True,
    "allow_atomic": True,
    "allow_direct": True,
    "duplicate_window": same_request_s * 1_000_000_000,
}
_ABSENT: dict[str, object] = {
    "allow_rollup_hdrs": False,
    "allow_msg_ttl": False,
    "allow_msg_counter": False,
    "sealed": False,
    "no_ack": False,
    "mirror": None,
    "sources": None,
    "subject_transform": None,
    "persist_mode": None,
}
"""What must not be set, with the value that stands for unset."""


class ApiError(Exception):
    """The server refused a request about the stream."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error.get('description')} ({error.get('err_code')})")
        self.code, self.err_code = error.get("code", 500), error.get("err_code", 0)

    @property
    def passing(self) -> bool:
        """Whether the same request may be granted in a moment."""
        return self.code >= 500 or self.code in (408, 429)


def stream_name(cluster: str) -> str:
    """What the stream of a cluster is called on its server."""
    return f"LOG-{cluster.upper()}"


class Stream:
    """One cluster's stream, seen over one connection."""

    def __init__(self, link: Connection, cluster: str) -> None:
        self.link, self.cluster, self.name = link, cluster, stream_name(cluster)
        self._created = ""

    async def ensure(self, within_s: float, *, make: bool = True) -> None:
        """The stream exists, made here if it may be, and is fit. Raises StreamUnfit, BusUnreachable."""
        why = "silence"
        try:
            async with asyncio.timeout(within_s):
                while True:
                    try:
                        self._accept(await self._find_or_make(make))
                        return
                    except NoAnswer as error:
                        why = str(error)
                    await asyncio.sleep(retry_pause_s)
        except TimeoutError:
            raise BusUnreachable(
                f"{self.link.url} keeps no stream within {within_s:g} s ({why}): "
                "is JetStream enabled there, and the cluster's name right?"
            ) from None

    async def _find_or_make(self, make: bool) -> dict[str, Any]:
        wanted = {"name": self.name, "subjects": [everything(self.cluster)], "num_replicas": 1} | _KEEPS_EVERYTHING
        try:
            try:
                return await self._call(f"STREAM.INFO.{self.name}")
            except ApiError as error:
                if error.err_code != _NO_STREAM:
                    raise
                if not make:
                    raise NoAnswer(f"there is no {self.name}") from None
            return await self._call(f"STREAM.CREATE.{self.name}", wanted)
        except ApiError as error:
            if error.passing or error.err_code == _NAME_TAKEN:  # another was faster: look again
                raise NoAnswer(str(error)) from None
            raise StreamUnfit(f"stream {self.name}: {error}") from None

    def _accept(self, found: dict[str, Any]) -> None:
        config = found["config"]
        wanted = {"subjects": [everything(self.cluster)]} | _KEEPS_EVERYTHING | _ABSENT
        is_ = {name: config.get(name, _ABSENT.get(name, False)) for name in wanted}
        wrong = [f"{name} is {is_[name]!r}, must be {value!r}" for name, value in wanted.items() if is_[name] != value]
        if wrong:
            raise StreamUnfit(f"stream {self.name}: {'; '.join(wrong)}")
        self._created = found["created"]

    async def ask(self, what: str, body: dict[str, object] | None = None) -> dict[str, Any]:
        """One request about the stream. Raises NoAnswer, StreamDiverged, StreamUnfit, BusClosed, or ApiError 404."""
        try:
            return await self._call(what, body)
        except ApiError as error:
            if error.err_code == _NO_STREAM:
                raise StreamDiverged(f"stream {self.name} is gone") from None
            if error.err_code in LEADERLESS:
                raise NoAnswer(f"{no_quorum} ({error})") from None
            if error.passing:
                raise NoAnswer(str(error)) from None
            if error.code == 404:
                raise
            raise StreamUnfit(f"stream {self.name}: {what}: {error}") from None

    async def _call(self, what: str, body: dict[str, object] | None = None) -> dict[str, Any]:
        question = json.dumps(body).encode() if body is not None else b""
        try:
            async with asyncio.timeout(answer_s):
                await self.link.connected()
                answer = await self.link.ask(Send(f"$JS.API.{what}", question), timeout_s=answer_s)
        except TimeoutError:
            raise NoAnswer(f"{what}: no answer within {answer_s:g} s") from None
        except NobodyThere:
            raise NoAnswer(f"{what}: JetStream does not answer: {no_quorum}") from None
        found: dict[str, Any] = json.loads(answer.body)
        if "error" in found:
            raise ApiError(found["error"])
        return found

    async def extent(self) -> Extent:
        """Where the stream begins and ends. Raises StreamDiverged if positions are missing."""
        found = await self._info()
        state = found["state"]
        first = state["first_seq"] if state["messages"] else state["last_seq"] + 1
        room = max(0, found["config"]["max_bytes"])
        return Extent(Position(first), Position(state["last_seq"]), state["bytes"], room)

    async def _info(self) -> dict[str, Any]:
        """What the leader knows of the stream, if nothing is missing in it. Raises StreamDiverged."""
        found = await self.ask(f"STREAM.INFO.{self.name}")
        if found["created"] != self._created:
            raise StreamDiverged(f"stream {self.name} was made anew at {found['created']}")
        state = found["state"]
        messages, first, last = state["messages"], state["first_seq"], state["last_seq"]
        if messages and messages != last - first + 1:
            raise StreamDiverged(f"stream {self.name}: {messages} messages at positions {first} to {last}")
        return found

    async def end(self) -> Position:
        """The position of the newest message. Raises StreamDiverged if positions are missing."""
        return (await self.extent()).last

    async def trim(self, first: Position) -> None:
        """Drop the messages before `first`. Raises ValueError for a position behind the last."""
        found = await self._info()
        state, config = found["state"], found["config"]
        if first > state["last_seq"]:
            raise ValueError(f"the stream ends at position {state['last_seq']}, it cannot begin at {first}")
        kept = state["last_seq"] - first + 1 + 1000
        if state["messages"] > kept:
            await self.ask(f"STREAM.UPDATE.{self.name}", config | {"max_msgs": kept, "discard": "old"})
            await self.ask(f"STREAM.UPDATE.{self.name}", config)

    async def newest(self, log: str) -> Record | None:
        """The last message under `log`."""
        return await self._get({"last_by_subj": log})

    async def first_since(self, at: Now) -> Position:
        """The position of the first message stored at or after a time; behind the last if there is none."""
        end = await self.end()
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
