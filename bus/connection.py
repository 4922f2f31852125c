"""One client connection of nats-py, with its traps closed.

Rule of this room: nothing waits for ever, nothing is kept back while the link is down, nothing is lost without a word.
(nats-py 2.16: a request outlives its connection until its timeout, a server error closes the client for good, a
callback that raises ends its read loop, closing waits for bytes the server never takes.)
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from bus.client import TolerantClient
from bus.credentials import Credentials
from bus.fitness import is_led
from bus.nkey import Key
from bus.permits import Role
from bus.port import BusClosed, BusUnreachable, NoAnswer, NobodyThere, NotPermitted
from bus.replies import Parcel, Replies, Send, cut
from bus.slim import ConnectionClosedError, Error, OutboundBufferLimitError
from bus.trust import distrust
from bus.wire import Take

reconnect_pause_s = 0.25
ping_interval_s = 5
pings_unanswered_max = 2
handshake_s = 2
"""For one try to connect."""
watch_pause_s = 2.0
watch_answer_s = 4.0
watch_misses_max = 3
"""Echoes missed in a row before the socket is torn down: with a single server there is no other place to go."""
watch_misses_of_several_max = 1
led_look_s = 6.0
"""Between two questions to one of several servers whether they have a leader."""
leaderless_max = 2
"""Such questions in a row without a leader before another server is tried. (nats-server: an election takes 4 to 9 s)"""
farewell_s = 2.0
"""For closing in good order."""
_VIOLATION = re.compile(r"permissions violation for (?P<what>publish|subscription) to \"(?P<subject>[^\"]*)\"", re.I)
_DONE = {"publish": "say", "subscription": "hear"}


class Connection:
    """A client that reconnects for ever, and says so when it is closed for good.

    The credentials name one server or several: the first is preferred at the start, all serve afterwards.
    """

    def __init__(self, known: Credentials, on_lost: Callable[[str], None] | None) -> None:
        self.known, self.url, self.on_lost = known, known.url, on_lost
        self.in_kernel = known.role in ("", Role.MASTER, Role.ADMINISTRATOR)
        """Whether it is in the account of the stream. (`bus.permits`)"""
        self._servers = [part.strip() for part in known.urls]
        self.links = 0
        """How many times a link to the server was made."""
        self.watchers: dict[asyncio.Event, None] = {}
        """Set whenever the link comes, goes, or ends for good."""
        self._client = TolerantClient()
        self._inbox = (
            f"_INBOX_{known.name}.{secrets.token_hex(11)}" if known.name else f"_INBOX.{secrets.token_hex(11)}"
        )
        self._replies = Replies(self._inbox)
        self._up = False
        self._why = ""
        self._distrusted: set[str] = set()
        """Servers that could not be trusted since the last link."""
        self._closed: BusClosed | None = None
        self._watching: list[asyncio.Task[None]] = []

    # ---- opening and closing --------------------------------------------------------------------------------------

    async def open(self, *, name: str, connect_s: float) -> None:
        """Connect. Raises BusUnreachable."""
        for server in self._servers:
            _check_url(server)
        try:
            async with asyncio.timeout(connect_s):
                while not await self._try_to_open(name):
                    await asyncio.sleep(reconnect_pause_s)
        except TimeoutError:
            raise BusUnreachable(
                f"no NATS server answers at {self.url} within {connect_s:g} s ({self._why or 'silence'}): "
                "check the address, and that the server runs"
            ) from None
        self._client.options["allow_reconnect"] = True  # off until here: a first refusal must end the attempt
        self._up, self.links = True, 1
        await self.subscribe(f"{self._inbox}.*", self._replies.take)
        watches = [self._watch(), self._watch_leader()] if len(self._servers) > 1 else [self._watch()]
        self._watching = [asyncio.create_task(watch) for watch in watches]

    async def _try_to_open(self, name: str) -> bool:
        self._client = TolerantClient()
        try:
            await self._client.connect(
                list(self._servers),
                dont_randomize=True,
                name=name,
                tls=self.known.tls(),
                **identity(self.known),
                allow_reconnect=False,
                max_reconnect_attempts=-1,
                reconnect_time_wait=reconnect_pause_s,
                connect_timeout=handshake_s,
                ping_interval=ping_interval_s,
                max_outstanding_pings=pings_unanswered_max,
                pending_size=-1,
                error_cb=self._on_error,
                disconnected_cb=self._on_disconnected,
                reconnected_cb=self._on_reconnected,
                closed_cb=self._on_closed,
            )
        except asyncio.CancelledError:
            self._abort()
            raise
        except (Error, OSError, TimeoutError) as error:
            self._abort()
            if _is_refusal(error):
                raise BusUnreachable(f"{self.server} refused the credentials of {self._who()}") from None
            if self._trusts_none():
                raise BusUnreachable(self._why) from None
            self._why = self._why or str(error) or type(error).__name__
            self._servers.append(self._servers.pop(0))  # one that takes the call and says nothing must not come first
            return False
        return True

    def _who(self) -> str:
        return f"{self.known.name} ({self.known.role}): revoked, or of another cluster" if self.known.name else "nobody"

    @property
    def server(self) -> str:
        """The address of the server that the link is to, was to, or is being tried."""
        current = self._client._current_server
        return current.uri.geturl() if current is not None else self.url

    async def close(self) -> None:
        """Leave in good order, or without if the server does not listen."""
        self.end("closed", None)
        for watch in self._watching:
            watch.cancel()
        try:
            async with asyncio.timeout(farewell_s):
                await self._client.close()
        except (TimeoutError, OSError):  # the peer takes nothing more, or is gone
            self._abort()
        reconnecting = self._client._reconnection_task
        while reconnecting is not None and not reconnecting.done():  # a cancel that meets a refused connect is lost
            reconnecting.cancel()
            await asyncio.wait({reconnecting}, timeout=reconnect_pause_s / 2)

    def end(self, why: str, cause: BaseException | None) -> None:
        """From now on every call, also those that wait, raises BusClosed."""
        if self._closed is not None:
            return
        self._closed = BusClosed(why)
        self._closed.__cause__ = cause
        self._replies.fail(self._closed)
        self._tell_watchers()

    def check(self) -> None:
        """Raises BusClosed if the connection is closed for good."""
        if self._closed is not None:
            raise BusClosed(str(self._closed)) from self._closed.__cause__

    # ---- what nats-py tells: these must never raise ---------------------------------------------------------------

    async def _on_error(self, error: Exception) -> None:
        self._why = str(error) or type(error).__name__
        self._judge(error)
        if self.links and self._closed is None and _is_refusal(error):
            self.end(f"{self.server} refuses the credentials of {self._who()}", error)
            self._tell_owner(str(self._closed))
        violation = _VIOLATION.search(self._why)
        if violation is not None:
            self._not_permitted(violation["what"], violation["subject"])

    def _judge(self, error: Exception) -> None:
        """Whoever meets none but servers it cannot trust ends: started again, it has the newest credentials."""
        why = distrust(error, has_ca=bool(self.known.ca))
        if not why:
            return
        self._why = f"{self.server} {why}"
        self._distrusted.add(self.server)
        if self.links and self._closed is None and self._trusts_none():
            self.end(self._why, error)
            self._tell_owner(self._why)

    def _trusts_none(self) -> bool:
        return len(self._distrusted) >= len(self._servers)

    def _not_permitted(self, what: str, subject: str) -> None:
        """Who waits for an answer under a subject waits in vain; who may not hear what it serves is not what it is."""
        error = NotPermitted(f"{self.known.name} ({self.known.role}) may not {_DONE[what]} {subject}")
        self._replies.refuse(subject, error)
        if what == "subscription":
            self.end(str(error), error)
            self._tell_owner(str(error))

    async def _on_disconnected(self) -> None:
        if not self._up:
            return
        self._up = False
        self._replies.fail(NoAnswer(f"the connection to {self.server} was lost"))
        self._tell_watchers()
        if self._closed is None:
            self._tell_owner(f"the connection to {self.server} was lost: {self._why or 'closed by the server'}")

    async def _on_reconnected(self) -> None:
        self._up = True
        self._why = ""
        self._distrusted.clear()
        self.links += 1
        self._tell_watchers()

    async def _on_closed(self) -> None:
        if self.links and self._closed is None:
            self._end_for_good()

    def _end_for_good(self) -> None:
        error = self._client.last_error
        self.end(f"the connection to {self.url} is closed for good: {error or self._why}", error)
        self._tell_owner(str(self._closed))

    def _tell_owner(self, text: str) -> None:
        if self.on_lost is None:
            return
        try:
            self.on_lost(text)
        except Exception as error:  # nats-py would stop reading, with the connection up
            self.end(f"on_lost failed: {error!r}", error)

    def _tell_watchers(self) -> None:
        for event in self.watchers:
            event.set()

    # ---- sending and asking ---------------------------------------------------------------------------------------

    async def send(self, *sends: Send, reply: str = "") -> None:
        """Publish; the last one with the reply subject. Raises NoAnswer if the link is down, BusClosed."""
        self._say(sends, reply)

    def _say(self, sends: Sequence[Send], reply: str) -> None:
        self.check()
        try:
            self._client.say(sends, reply)
        except OutboundBufferLimitError:
            raise NoAnswer(f"no connection to {self.url}") from None
        except ConnectionClosedError:  # before nats-py tells of it
            self._end_for_good()
            self.check()

    async def ask(self, *sends: Send, timeout_s: float) -> Parcel:
        """Publish and wait for the answer to the last message.

        Raises NobodyThere, NoAnswer, NotPermitted, BusClosed.
        """
        try:
            parcel = await self._replies.expect(sends, lambda reply: self._say(sends, reply), timeout_s)
        except TimeoutError:
            raise NoAnswer(f"{sends[-1].subject}: no answer within {timeout_s:g} s") from None
        if parcel.headers.get("Status") == "503":
            raise NobodyThere(f"{sends[-1].subject} is served by nobody")
        return parcel

    async def ask_all(self, send: Send, *, wait_s: float, expected: int | None = None) -> list[Parcel]:
        """Publish and gather the answers that come within a time, or `expected` ones and those just behind them.

        Raises NoAnswer if the link is down, BusClosed.
        """
        with self._replies.gather(expected) as (reply, answers, over):
            await self.send(send, reply=reply)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await over
            self.check()
            return list(answers)

    async def answer(self, reply: str, body: bytes) -> None:
        """Send an answer to one who asked. Raises NoAnswer, BusClosed."""
        for piece in cut(reply, body):
            await self.send(piece)

    async def echo(self, *, timeout_s: float) -> None:
        """Return once the server has taken everything sent before. Raises NoAnswer, BusClosed."""
        try:
            await self._replies.expect((), lambda reply: self._say([Send(reply, b"")], ""), timeout_s)
        except TimeoutError:
            raise NoAnswer(f"{self.server}: no echo within {timeout_s:g} s") from None

    # ---- hearing --------------------------------------------------------------------------------------------------

    def new_inbox(self) -> str:
        """A subject of this connection's own."""
        return f"{self._inbox}_{secrets.token_hex(8)}"

    async def subscribe(self, subject: str, take: Take) -> Callable[[], Awaitable[None]]:
        """Take what is published under a subject as it comes, also after reconnects; returns what ends it."""
        self.check()

        def taken(parcel: Parcel) -> None:
            try:
                take(parcel)
            except Exception as error:  # nats-py would stop reading, with the connection up
                self.end(f"what came under {subject} was not taken: {error!r}", error)

        subscription = await self._client.hear(subject, taken)

        async def unsubscribe() -> None:
            with suppress(Error):  # the connection is closed, and the subscription with it
                await subscription.unsubscribe()

        return unsubscribe

    async def connected(self) -> None:
        """Wait until there is a link. Raises BusClosed."""
        changed = asyncio.Event()
        self.watchers[changed] = None
        try:
            while True:
                self.check()
                if self._up and self._client.is_connected:
                    return
                changed.clear()
                with suppress(TimeoutError):  # nats-py has left the state, and tells in a moment
                    async with asyncio.timeout(reconnect_pause_s):
                        await changed.wait()
        finally:
            del self.watchers[changed]

    # ---- the watch ------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Tear the socket down if the link is said to be up and echoes nothing: then nats-py notices, too."""
        misses, misses_max = 0, watch_misses_max if len(self._servers) == 1 else watch_misses_of_several_max
        while self._closed is None:
            await asyncio.sleep(watch_pause_s)
            try:
                await self.echo(timeout_s=watch_answer_s)
            except NoAnswer:
                misses = misses + 1 if self._up else 0
            except BusClosed:
                return
            else:
                misses = 0
            if misses >= misses_max:
                misses = 0
                self._abort()

    async def _watch_leader(self) -> None:
        """Leave one of several servers that has no leader for long: it is cut off from the others, who have one."""
        leaderless = 0
        while self._closed is None:
            await asyncio.sleep(led_look_s)
            with suppress(BusClosed):
                leaderless = leaderless + 1 if self._up and not await self._is_led() else 0
            if leaderless >= leaderless_max:
                leaderless = 0
                self.leave()

    async def _is_led(self) -> bool:
        """Whether somebody leads the servers that this link reaches, or the stream where only that can be asked.

        (nats-server: jsAccountInfoRequest, jsStreamInfoRequest)
        """
        where = "$JS.API.INFO" if self.in_kernel else f"log.{self.known.cluster}.info"
        try:
            answer = await self.ask(Send(where, b""), timeout_s=watch_answer_s)
        except (NobodyThere, NoAnswer):
            return False
        found = json.loads(answer.body)
        return "error" not in found and (self.in_kernel or is_led(found))

    def leave(self) -> None:
        """Go to the next server, if there are several."""
        if len(self._servers) > 1:
            self._tell_owner(f"{self.server} has no majority of the servers with it: another is tried")
            self._abort()

    def _abort(self) -> None:
        # nats-py waits in close() until the peer has taken every byte, which a dead peer never does
        link = self._client._transport
        writer = link._io_writer if link is not None else None
        if writer is not None:
            writer.transport.abort()


def identity(known: Credentials) -> dict[str, Any]:
    """How a client of nats-py shows who it is: the passport, and the server's nonce signed."""
    if not known.seed:
        return {}
    key, passport = Key(known.seed), known.passport.encode()
    return {
        "user_jwt_cb": lambda: passport,
        "signature_cb": lambda nonce: base64.b64encode(key.sign(nonce.encode())),
    }


def _is_refusal(error: Exception) -> bool:
    text = str(error).lower()
    return "authorization violation" in text or "authentication revoked" in text or "authentication expired" in text


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("nats", "tls") and parts.hostname and parts.port
    except ValueError:
        fits = False
    if not fits:
        raise BusUnreachable(f"{url!r} is not the address of a bus: expected nats://HOST:PORT")
    if "@" in parts.netloc:
        raise BusUnreachable("credentials do not belong into the address of the bus: it is logged")
