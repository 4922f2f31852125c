"""The identities of one data directory: founded once, kept under `keys/`, told where the bus is each time it starts.

    DATA/ keys/authority.json     every seed of the cluster
    DATA/ keys/issuer.json        what its masters hold
    DATA/ keys/founders.json      who was there from the beginning: public halves
    DATA/ keys/NAME.json          credentials of one component; of node n2: NAME-n2.json
    DATA/ credentials.json        of the person who runs it

Rule of this room: what exists is never made anew; a key stays with its file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from bus.authority import Authority, Issuer, read_authority, write_keys
from bus.binary import ServerTrouble
from bus.credentials import Credentials, CredentialsRefused, read_credentials, write_credentials
from bus.daemon import write_secret
from bus.nkey import For, Key, claims_of
from bus.permits import Role

PERSON = "credentials.json"
"""Of the person who runs the datacenter: in the data directory itself, for commands to find."""
AUTHORITY, ISSUER, FOUNDERS = "authority.json", "issuer.json", "founders.json"


class Founder(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who was there from the beginning."""

    name: str
    role: Role
    public: str
    agent: str = ""
    """Of an executor: whose."""


class Wanted(NamedTuple):
    """Credentials that shall be in a file."""

    file: str
    role: Role
    name: str
    agent: str = ""


class Keyring:
    """The keys of one data directory."""

    def __init__(self, data: Path, cluster: str) -> None:
        self.cluster, self.directory = cluster, data / "keys"
        self._authority: Authority | None = None

    @property
    def authority(self) -> Authority:
        """The cluster's, founded now if it never was. Raises ServerTrouble, OSError."""
        if self._authority is None:
            self._authority = self._found()
        return self._authority

    @property
    def issuer(self) -> Issuer:
        return self.authority.issuer()

    def _found(self) -> Authority:
        file = self.directory / AUTHORITY
        try:
            known = read_authority(file)
        except CredentialsRefused as refused:
            raise ServerTrouble(f"{refused}: {refused.fix}") from None
        if known is None:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            known = Authority.found(self.cluster)
            write_keys(file, known)
        if known.cluster != self.cluster:
            raise ServerTrouble(f"{self.directory.parent} belongs to cluster {known.cluster!r}, not {self.cluster!r}")
        if not (self.directory / ISSUER).exists():
            write_keys(self.directory / ISSUER, known.issuer())
        return known

    def administrator(self, urls: Sequence[str]) -> Credentials:
        """Who may do anything to the stream: made for one task and kept in no file."""
        return administrator_of(self.authority, Credentials(url=",".join(urls), replicas=len(urls)))

    def keep(self, wanted: Iterable[Wanted], urls: Sequence[str]) -> None:
        """See that the files are there, with these addresses. Raises ServerTrouble, OSError."""
        for each in wanted:
            file = self._path(each.file)
            if not file.exists():
                write_credentials(file, self._new(each, urls))
        self.move(urls)
        founders = msgspec.json.format(msgspec.json.encode(sorted(self.founders(), key=lambda one: one.public)))
        if not self._has(FOUNDERS, founders):
            write_secret(self.directory / FOUNDERS, founders)

    def _has(self, name: str, content: bytes) -> bool:
        file = self.directory / name
        return file.exists() and file.read_bytes() == content

    def _new(self, wanted: Wanted, urls: Sequence[str]) -> Credentials:
        return issued(self.authority, wanted, Credentials(url=",".join(urls), replicas=len(urls)))

    def move(self, urls: Sequence[str]) -> None:
        """The bus is at these addresses now, each node's own first in its files."""
        for file in self._files():
            known = self._read(file)
            own_first = _own_first(file, urls)
            if known.url != own_first or known.replicas != len(urls):
                write_credentials(file, msgspec.structs.replace(known, url=own_first, replicas=len(urls)))

    def _path(self, file: str) -> Path:
        return self.directory.parent / file if file == PERSON else self.directory / file

    def _files(self) -> list[Path]:
        others = {AUTHORITY, ISSUER, FOUNDERS}
        files = [file for file in self.directory.glob("*.json") if file.name not in others]
        return sorted(file for file in (*files, self._path(PERSON)) if file.exists())

    def _read(self, file: Path) -> Credentials:
        try:
            return read_credentials(file)
        except CredentialsRefused as refused:
            raise ServerTrouble(f"{refused}: {refused.fix}") from None

    def founders(self) -> Iterator[Founder]:
        """Everybody whose credentials are here."""
        for file in self._files():
            yield founder_of(self._read(file))


def read_founders(file: Path) -> list[Founder]:
    """Raises OSError, msgspec.DecodeError."""
    return msgspec.json.decode(file.read_bytes(), type=list[Founder])


def issued(authority: Authority, wanted: Wanted, where: Credentials) -> Credentials:
    """New credentials under a new key, for the bus that `where` leads to."""
    key = Key.new(For.USER)
    return msgspec.structs.replace(
        where,
        cluster=authority.cluster,
        name=wanted.name,
        role=wanted.role,
        passport=authority.passport(wanted.role, wanted.name, key.public, agent=wanted.agent),
        seed=key.seed,
    )


def administrator_of(authority: Authority, where: Credentials) -> Credentials:
    """Who may do anything to the stream: made for one task and kept in no file."""
    return issued(authority, Wanted("", Role.ADMINISTRATOR, "administrator"), where)


def founder_of(known: Credentials) -> Founder:
    """Whose credentials these are, without what is secret."""
    tags = claims_of(known.passport)["nats"].get("tags", [])
    agent = next((tag.removeprefix("agent:") for tag in tags if tag.startswith("agent:")), "")
    return Founder(name=known.name, role=Role(known.role), public=known.key.public, agent=agent)


def _own_first(file: Path, urls: Sequence[str]) -> str:
    """Of node n2 the second server comes first."""
    _, found, number = file.stem.rpartition("-n")
    first = int(number) - 1 if found and number.isdigit() and int(number) <= len(urls) else 0
    return ",".join([urls[first], *(url for index, url in enumerate(urls) if index != first)])
