"""The gate: what a master does to the server of the bus beside it, so that who is revoked is out, at once.

It keeps the server's `accounts.conf` as the log says who is revoked, whether this master leads or stands by, and has
the server read it again: connections under a revoked key are closed within milliseconds, none comes in any more. It
reads what the server says of attempts that it refused, and looks who says too much; what it finds it says on the bus,
as the client `m-<node>`.

    DIR/  accounts.conf  nats-server.conf  nats-server.pid  nats-server_<pid>.ports  nats-server.log

Rule of this room: it may only take away. Nobody is let in by it: that is in the passport.
(nats-server: SIGHUP reads the configuration again; reload.go reloadAuthorization)
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bus import codec, logs
from bus.access import (
    AttemptRefused,
    IdentityGranted,
    IdentityResumed,
    IdentityRevoked,
    IdentitySuspended,
    TokenIssued,
)
from bus.authority import Issuer
from bus.configuration import ACCOUNTS, PID
from bus.daemon import write_secret
from bus.events import Event, Fact
from bus.nouns import Now, RequestId, second
from bus.permits import Role, permits
from bus.port import Bus, Message, OutcomeUnknown
from bus.subjects import Author, Kind
from components.master.attempts import Attempt, Attempts
from components.master.identities import revoked
from components.master.state import MasterState
from components.master.traffic import Traffic, Usage
from components.mind import Clock

log = logs.get_logger()

look_s = 1.0
"""Between two looks at what the server says."""
suspended_first_s, suspended_max_s = 10.0, 300.0
"""How long somebody is kept out for saying too much; twice as long each time within an hour."""
forgiven_s = 3600.0
looks_max = 3
"""Looks in a row at which somebody says more than its role may, until it is suspended; of ten times as much, one."""
much = 10
unsaid_max = 1000
"""Words that wait for a bus that takes none; beyond them the oldest are lost."""


@dataclass(slots=True)
class _Offence:
    """One who said too much."""

    looks: int = 0
    times: int = 0
    until: Now | None = None
    """While it is suspended."""
    last: Now | None = None


class Gate:
    """The server in one directory, kept as the log says."""

    def __init__(self, directory: Path, issuer: Issuer, bus: Bus, clock: Clock) -> None:
        self.directory, self.issuer, self.bus, self.clock = directory, issuer, bus, clock
        self.me = Author(Kind.CLIENT, bus.me)
        self.revoked: dict[str, int] = {}
        """Since when (Unix seconds) keys let nobody in."""
        self.names: dict[str, tuple[str, Role]] = {}
        self._permits = permits(issuer.cluster)
        self._offences: dict[str, _Offence] = {}
        self._attempts = Attempts(directory / "nats-server.log")
        self._traffic = Traffic(directory)
        self._changed = asyncio.Event()
        self._unsaid: deque[Message] = deque(maxlen=unsaid_max)
        self._said = 0

    # ---- what the log says ----------------------------------------------------------------------------------------

    def show(self, state: MasterState) -> None:
        """As it is folded from the log."""
        self.names = {one.public: (one.name, one.role) for one in state.identities.values()}
        self.names |= {token.public: (token.id, Role.JOINER) for token in state.tokens.values()}
        keys = {public: _seconds(at) for public, at in revoked(state).items()}
        if keys != self.revoked:
            self.revoked = keys
            self._changed.set()

    def told(self, event: Event) -> None:
        """An event of this master's own is in the log."""
        match event.fact:
            case TokenIssued() as fact:
                self.names[fact.token] = fact.id, Role.JOINER
            case IdentityGranted() as fact:
                self.names[fact.public] = fact.name, fact.role
            case IdentityRevoked() as fact:
                self.revoked |= {public: _seconds(event.at) for public in fact.publics}
                self._changed.set()

    # ---- what it does ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the server so, for ever."""
        self._changed.set()
        while True:
            if self._changed.is_set():
                self._changed.clear()
                await asyncio.to_thread(self._apply)
            with suppress(TimeoutError):
                async with asyncio.timeout(look_s):
                    await self._changed.wait()
                    continue
            await self._look()

    def _apply(self) -> None:
        """Write who is kept out, and have the server read it, if that is not what it has read."""
        text = self.issuer.accounts_text(self.revoked | self._suspended()).encode()
        file = self.directory / ACCOUNTS
        try:
            if not file.exists() or file.read_bytes() != text:
                write_secret(file, text)
                log.info("the server reads who is kept out", keys=len(self.revoked), reloaded=reload(self.directory))
        except OSError as error:
            log.error("who is revoked is not kept out of the server", why=f"{error.filename}: {error.strerror}")

    def _suspended(self) -> dict[str, int]:
        return {public: _seconds(one.last) for public, one in self._offences.items() if one.until and one.last}

    async def _look(self) -> None:
        """Who says too much is kept out before it is said: on a bus that it fills nothing is said soon."""
        judged = [*self._resumed(), *self._judged(await self._traffic.look())]
        if judged:
            await asyncio.to_thread(self._apply)
        tried = [self._as_fact(attempt) for attempt in self._attempts.news(self.clock())]
        self._unsaid += map(self._message, [*judged, *tried])
        with suppress(TimeoutError):
            async with asyncio.timeout(look_s):  # who is revoked meanwhile must not wait longer
                await self._say()

    def _as_fact(self, attempt: Attempt) -> AttemptRefused:
        name, _ = self.names.get(attempt.public, ("", None))
        return AttemptRefused(
            what=attempt.what,
            subject=attempt.subject[:200],
            name=name,
            public=attempt.public,
            count=attempt.times,
            source=attempt.source,
        )

    # ---- who says too much ----------------------------------------------------------------------------------------

    def _judged(self, usages: Mapping[str, Usage]) -> list[Fact]:
        """Suspend who is over its role's bounds, and has been for some looks."""
        found: list[Fact] = []
        for public, usage in usages.items():
            name, role = self.names.get(public, ("", None))
            if role is None:
                continue
            why, times_over = self._over(usage, role)
            offence = self._offences.setdefault(public, _Offence()) if why else self._offences.get(public)
            if offence is None:
                continue
            offence.looks = offence.looks + 1 if why else 0
            if why and not offence.until and (offence.looks >= looks_max or times_over >= much):
                found.append(self._suspend(name, public, why, offence))
        return found

    def _over(self, usage: Usage, role: Role) -> tuple[str, float]:
        permit = self._permits[role]
        if permit.messages_s and usage.messages_s > permit.messages_s:
            why = f"{usage.messages_s:.0f} messages a second, and {permit.messages_s} are allowed to a {role}"
            return why, usage.messages_s / permit.messages_s
        if permit.connections and usage.connections > permit.connections:
            why = f"{usage.connections} connections, and {permit.connections} are allowed to a {role}"
            return why, float(much)
        return "", 0.0

    def _suspend(self, name: str, public: str, why: str, offence: _Offence) -> IdentitySuspended:
        now = self.clock()
        if offence.last is not None and now - offence.last > forgiven_s * second:
            offence.times = 0
        wait_s = min(suspended_first_s * 2**offence.times, suspended_max_s)
        offence.times, offence.looks, offence.last = offence.times + 1, 0, now
        offence.until = Now(now + round(wait_s * second))
        log.warning("suspended", name=name, why=why, for_s=wait_s)
        return IdentitySuspended(name=name, public=public, why=why, until=offence.until)

    def _resumed(self) -> list[Fact]:
        found: list[Fact] = []
        for public, offence in self._offences.items():
            if offence.until and self.clock() >= offence.until:
                offence.until = None
                found.append(IdentityResumed(name=self.names.get(public, ("",))[0], public=public))
        return found

    # ---- what it says ---------------------------------------------------------------------------------------------

    def _message(self, fact: Fact) -> Message:
        self._said += 1
        at = self.clock()
        event = Event(by=self.me, to="_", fact=fact, at=at, request=RequestId(f"{self.me.id}-{at}-{self._said}"))
        return Message(codec.subject(self.bus.cluster, event), codec.encode(event), event.request)

    async def _say(self) -> None:
        """What is to be said, on the bus, each once: what has an unknown outcome is said again at the next look."""
        while self._unsaid:
            try:
                await self.bus.append([self._unsaid[0]], None)
            except OutcomeUnknown as error:
                log.warning("not told yet", messages=len(self._unsaid), why=str(error))
                return
            self._unsaid.popleft()


def _seconds(at: Now) -> int:
    """The Unix second a moment is in, from whose end on passports count again."""
    return at // second


def reload(directory: Path) -> bool:
    """Have the server of a directory read its configuration again; whether there was one.

    The pid in its file may be anybody's by now: the process is held, then looked at, then told.
    """
    try:
        handle = os.pidfd_open(int((directory / PID).read_text()))
    except (OSError, ValueError):
        return False
    try:
        pid = int((directory / PID).read_text())
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if not any(argument.endswith(b"nats-server.conf") for argument in argv):
            return False
        signal.pidfd_send_signal(handle, signal.SIGHUP)
        return True
    except (OSError, ValueError):
        return False
    finally:
        os.close(handle)
