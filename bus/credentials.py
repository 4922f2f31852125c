"""What opens a cluster's bus for one identity: where its servers are, its passport, and its key. One file, 0600.

Rule of this room: a file that others can read is refused, so that nobody gets used to it.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import msgspec

from bus.nkey import Key, KeyRefused
from bus.subjects import CLUSTER, SubjectError, check_id

EXPECTED = '{"url": ..., "name": ..., "role": ..., "passport": ..., "seed": ..., "cluster": ...}'


class CredentialsRefused(Exception):
    """A file that opens nothing: the text says why, `fix` what to do about it."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


class Credentials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client or a component needs to speak on the bus of a cluster."""

    url: str
    """Of several servers all, separated by commas; the first is tried first."""
    cluster: str = CLUSTER
    replicas: int = 1
    """How many servers keep the stream."""
    name: str = ""
    """As whom the bus knows the bearer."""
    role: str = ""
    passport: str = ""
    """Says name and role, signed by who may grant them; worth nothing without the seed."""
    seed: str = ""
    """The secret half of the key."""
    ca: str = ""
    """The authority that signed the servers' certificates, PEM; empty: no TLS."""

    @property
    def urls(self) -> list[str]:
        return self.url.split(",")

    @property
    def port(self) -> int:
        return int(self.urls[0].rpartition(":")[2])

    @property
    def key(self) -> Key:
        """Raises KeyRefused."""
        return Key(self.seed)

    def tls(self) -> ssl.SSLContext | None:
        """How servers are recognised. Raises ssl.SSLError."""
        return ssl.create_default_context(cadata=self.ca) if self.ca else None

    def __repr__(self) -> str:
        return f"Credentials({self.name or 'nobody'} ({self.role}) at {self.url})"


def read_credentials(file: Path) -> Credentials:
    """The credentials in a file. Raises CredentialsRefused."""
    try:
        check_private(file)
        found = msgspec.json.decode(file.read_bytes(), type=Credentials)
        check_id(found.cluster)
        if found.seed:
            Key(found.seed)
        found.tls()
    except ssl.SSLError:
        raise CredentialsRefused(f"{file}: `ca` holds no certificates", "restore it from a copy") from None
    except OSError as error:
        raise CredentialsRefused(
            f"{file}: {error.strerror}", "name the credentials file with --credentials FILE"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, SubjectError, KeyRefused) as error:
        raise CredentialsRefused(f"{file} is not a credentials file: {error}", f"expected {EXPECTED}") from None
    return found


def check_private(file: Path) -> None:
    """Raises CredentialsRefused if others can read a file, or it is not ours; OSError if it is not there."""
    found = file.stat()
    if found.st_mode & 0o077:
        raise CredentialsRefused(
            f"{file} holds a key and can be read by others (mode {found.st_mode & 0o777:04o})", f"chmod 600 {file}"
        )
    if found.st_uid not in (os.geteuid(), 0):
        raise CredentialsRefused(f"{file} holds a key and belongs to another user", f"chown $(id -un) {file}")


def write_credentials(file: Path, credentials: Credentials) -> None:
    """For the bearer alone: whoever needs it reads the file, nobody passes a key on."""
    from bus.daemon import write_secret  # only who founds or joins pays for the import

    write_secret(file, credentials_text(credentials))


def credentials_text(credentials: Credentials) -> bytes:
    """What a credentials file holds."""
    return msgspec.json.format(msgspec.json.encode(credentials)) + b"\n"
