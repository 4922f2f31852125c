"""What a server of the bus says in its log about attempts that it refused.

Rule of this room: whoever is refused can write there as much as it likes, so all is counted and bounded: the same
attempt is told once and then each minute with its count.
(nats-server: client.go pubPermissionViolation, subPermissionViolation, authViolation)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from bus.nouns import Now, second

read_bytes_max = 1024 * 1024
"""Of the log, at one look; a server that says more is not read to the end."""
kinds_max = 1000
"""Different attempts that are remembered; beyond them all are one."""
kinds_of_one_max = 50
"""Of one identity, likewise: what others try is told, whatever one tries."""
told_at_once_max = 20
again_s = 60
_LINE = re.compile(r"\[ERR\] (?P<source>[0-9a-fA-F.:\[\]]+) - (?:\w+ - )?cid:\d+ - (?P<rest>.*)")
_VIOLATION = re.compile(r'(?P<what>Publish|Subscription) Violation - (?:.*?)Subject "(?P<subject>[^"]*)"')
_WHO = re.compile(r"(?:jwt|nkey):(?P<public>U[A-Z2-7]{55})", re.I)
_WHAT = {"Publish": "publish", "Subscription": "subscribe"}


class Attempt(NamedTuple):
    """Something somebody tried and might not."""

    what: str
    subject: str
    public: str
    source: str
    times: int


class _Key(NamedTuple):
    what: str
    subject: str
    public: str


class Attempts:
    """The log of one server, read as it grows."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._read = self._size()
        self._counts: dict[_Key, int] = {}
        self._kinds: Counter[str] = Counter()
        self._sources: dict[_Key, str] = {}
        self._told: dict[_Key, Now] = {}

    def _size(self) -> int:
        with suppress(OSError):
            return self.file.stat().st_size
        return 0

    def news(self, now: Now) -> list[Attempt]:
        """What was tried since the last look, and not told within a minute."""
        for line in self._lines():
            self._note(line)
        due = [key for key in self._counts if now - self._told.get(key, Now(0)) >= again_s * second]
        return [self._tell(key, now) for key in _in_turn(due)[:told_at_once_max]]

    def _tell(self, key: _Key, now: Now) -> Attempt:
        self._told[key] = now
        self._kinds[key.public] -= 1
        if not self._kinds[key.public]:
            del self._kinds[key.public]
        while len(self._told) > kinds_max:
            del self._told[next(iter(self._told))]
        return Attempt(key.what, key.subject, key.public, self._sources.pop(key, ""), self._counts.pop(key))

    def _lines(self) -> list[str]:
        size = self._size()
        begin = self._read if self._read <= size else 0  # a new log begins at its beginning
        try:
            with self.file.open("rb") as log:
                log.seek(begin)
                found = log.read(read_bytes_max)
        except OSError:
            return []
        whole = found.rfind(b"\n") + 1
        self._read = size if len(found) == read_bytes_max else begin + whole
        return found[:whole].decode(errors="replace").splitlines()

    def _bounded(self, key: _Key) -> _Key:
        if self._kinds[key.public] >= kinds_of_one_max:
            key = _Key("others", "", key.public)
        return key if len(self._counts) < kinds_max else _Key("others", "", "")

    def _note(self, line: str) -> None:
        found = _LINE.search(line)
        if found is None:
            return
        rest = found["rest"]
        key = _key(rest)
        if key is None:
            return
        if key not in self._counts:
            key = self._bounded(key)
        if key not in self._counts:
            self._kinds[key.public] += 1
        self._counts[key] = self._counts.get(key, 0) + 1
        self._sources[key] = found["source"].rpartition(":")[0]


def _in_turn(keys: Iterable[_Key]) -> list[_Key]:
    """One of each identity, then a second of each, and so on: nobody hides behind another's many."""
    before: Counter[str] = Counter()
    placed: list[tuple[int, _Key]] = []
    for key in keys:
        placed.append((before[key.public], key))
        before[key.public] += 1
    return [key for _, key in sorted(placed, key=lambda each: each[0])]


def _key(rest: str) -> _Key | None:
    """What a line is about, after its source."""
    who = _WHO.search(rest)
    public = who["public"].upper() if who else ""
    violation = _VIOLATION.search(rest)
    if violation is not None:
        return _Key(_WHAT[violation["what"]], violation["subject"], public)
    text = rest.rpartition(" - ")[2] if " - " in rest else rest
    if "authentication" in text.lower() or "authorization" in text.lower():
        return _Key("connect", "", public)
    if "exceeded" in text.lower() or "revoked" in text.lower():
        return _Key(text[:80].lower(), "", public)
    return None
