"""Who may speak through a gateway: everybody who reaches it, or the people in a file.

    alice:SECRET              changes what she likes
    bob:SECRET:viewer         only looks

`Authorization: token=SECRET` or Basic with name and secret; the name becomes the `actor` of what is asked for. One
line is what `curl -u` takes.

Rule of this room: the file is private (0600), and read again when it changes; a secret is compared in constant time.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request

from components.gateway.config import is_loopback
from components.gateway.web.call import HttpError

ANYBODY = "anonymous"
_LINE = re.compile(
    r"(?P<name>[A-Za-z0-9._@-]{1,64}):(?P<secret>[A-Za-z0-9._~+/=-]{16,256})(?::(?P<role>viewer|operator))?"
)
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="busbar"'}


class UsersRefused(Exception):
    """The file of people cannot be used; the text says why."""


class Person(NamedTuple):
    """Somebody who speaks HTTP."""

    name: str
    changes: bool
    """Whether they may ask for changes."""


class People:
    """The people of one gateway."""

    def __init__(self, file: str | None) -> None:
        self._file = Path(file) if file is not None else None
        self._read: tuple[float, Mapping[str, Person]] | None = None
        if self._file is not None:
            self._known()

    def who(self, request: Request) -> Person:
        """Who makes a request. Raises HttpError: 401, 403."""
        if self._file is None:
            check_near(request)
            return Person(ANYBODY, changes=True)
        given = request.headers.get("authorization", "")
        for secret, person in self._known().items():
            if any(hmac.compare_digest(given.encode(), form.encode()) for form in _forms(person.name, secret)):
                return person
        raise HttpError(401, "Invalid username or password.", _CHALLENGE)

    def _known(self) -> Mapping[str, Person]:
        """By secret. Raises UsersRefused."""
        assert self._file is not None, "there is a file"
        try:
            about = self._file.stat()
            if self._read is None or self._read[0] != about.st_mtime_ns:
                self._read = about.st_mtime_ns, read_people(self._file)
        except OSError as error:
            raise UsersRefused(f"{self._file}: {error.strerror}") from None
        return self._read[1]


def _forms(name: str, secret: str) -> tuple[str, str]:
    """How a secret is shown. (PyPI marathon: `token=`, or Basic)"""
    return f"token={secret}", "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


def read_people(file: Path) -> dict[str, Person]:
    """The people in a file, by secret. Raises UsersRefused, OSError."""
    about = file.stat()
    if about.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or about.st_uid not in (os.geteuid(), 0):
        raise UsersRefused(f"{file} can be read by others: chmod 600 {file}")
    found: dict[str, Person] = {}
    for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = _LINE.fullmatch(line.strip())
        if parts is None:
            raise UsersRefused(
                f"{file}, line {number}: expected name:secret or name:secret:viewer, secret of 16 to 256 characters"
            )
        found[parts["secret"]] = Person(parts["name"], changes=parts["role"] != "viewer")
    if not found:
        raise UsersRefused(f"{file} names nobody")
    return found


def check_near(request: Request) -> None:
    """Where no secret is asked for: nothing that a web page elsewhere has made a browser send. Raises HttpError.

    A page can have a name of its own point here (the Host header tells), or send without being let read the answer
    (the Origin header tells).
    """
    host = request.headers.get("host", "").rpartition("@")[2]
    name = host.rpartition(":")[0] if re.search(r":\d+\Z", host) else host
    origin = request.headers.get("origin")
    if not is_loopback(name) or (origin is not None and origin.partition("://")[2] != host):
        raise HttpError(403, f"{origin or host} is not this machine: a gateway without --users answers only its own")
