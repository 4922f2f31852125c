"""Who is let in to the bus of a fleet: the cluster's keys in its directory, and a key for each process of each host.

    DIR/authority.json               every seed of the cluster: stays here
    DIR/admin.json                   credentials of the person who generates
    DIR/HOST/config/NAME.json        credentials of one process; nowhere else

Rule of this room: what exists is never made anew; a key is on the host that it is for, and here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from bus.authority import Authority, read_authority, write_keys
from bus.credentials import Credentials, CredentialsRefused, read_credentials
from bus.keyring import AUTHORITY, Founder, Wanted, founder_of, issued
from bus.permits import Role
from cli.fleet import Fleet, Gone
from cli.output import Failure
from cli.session import client_id, user_name

ADMIN = "admin.json"
_CREDENTIALS = "*/config/*.json"
_OTHERS = {"issuer.json", "founders.json"}


class Bearer(NamedTuple):
    """Credentials that are in a file, relative to the fleet's directory."""

    file: str
    known: Credentials

    @property
    def host(self) -> str:
        return self.file.partition("/")[0]


def authority_of(directory: Path, cluster: str, *, new: bool) -> Authority:
    """The keys of a fleet's cluster, founded now if the fleet is new. Raises Failure."""
    file = directory / AUTHORITY
    try:
        known = read_authority(file)
    except CredentialsRefused as refused:
        raise Failure(str(refused), next_=refused.fix) from None
    if known is None and not new:
        raise Failure(f"{file} is not there: without it nobody can be let in", next_="restore it from a copy")
    known = known or Authority.found(cluster)
    if known.cluster != cluster:
        raise Failure(f"{file} has the keys of cluster {known.cluster!r}, not {cluster!r}")
    return known


def keep_authority(directory: Path, authority: Authority) -> None:
    """Written once."""
    if not (directory / AUTHORITY).exists():
        write_keys(directory / AUTHORITY, authority)


def bearers(directory: Path) -> dict[str, Bearer]:
    """Everybody whose credentials are in a fleet's directory, by file. Raises Failure."""
    files = [file for file in sorted(directory.glob(_CREDENTIALS)) if file.name not in _OTHERS]
    names = [str(file.relative_to(directory)) for file in files]
    if (directory / ADMIN).exists():
        names.append(ADMIN)
    return {name: Bearer(name, _read(directory / name)) for name in names}


def _read(file: Path) -> Credentials:
    try:
        return read_credentials(file)
    except CredentialsRefused as refused:
        raise Failure(str(refused), next_=refused.fix) from None


def everybody(fleet: Fleet, authority: Authority, before: Mapping[str, Bearer], authorities: str) -> dict[str, Bearer]:
    """All who speak on the bus of a fleet: each with the key it has, or a new one."""
    return {
        file: Bearer(file, _credentials(authority, wanted, where, before.get(file)))
        for file, wanted, where in _wanted(fleet, authorities)
    }


def _wanted(fleet: Fleet, authorities: str) -> Iterator[tuple[str, Wanted, Credentials]]:
    common = Credentials(url=fleet.url(), cluster=fleet.cluster, replicas=len(fleet.masters), ca=authorities)
    for host in fleet.hosts:
        where = msgspec.structs.replace(common, url=fleet.url(host))
        for wanted in fleet.wanted(host):
            yield f"{host}/config/{wanted.file}", wanted, where
    yield ADMIN, Wanted(ADMIN, Role.ADMIN, client_id(user_name())), common


def _credentials(authority: Authority, wanted: Wanted, where: Credentials, before: Bearer | None) -> Credentials:
    known = before.known if before is not None else None
    if known is None or not (known.role == wanted.role and (known.name == wanted.name or wanted.file == ADMIN)):
        return issued(authority, wanted, where)
    return msgspec.structs.replace(known, url=where.url, replicas=where.replicas, ca=where.ca)


def gone(before: Mapping[str, Bearer], now: Mapping[str, Bearer]) -> tuple[Gone, ...]:
    """Who was there before, and is no more."""
    here = {bearer.known.key.public for bearer in now.values()}
    left = [bearer for bearer in before.values() if bearer.known.key.public not in here]
    return tuple(
        Gone(name=was.name, role=was.role, host=each.host, public=was.public, agent=was.agent)
        for each, was in ((each, founder_of(each.known)) for each in left)
    )


def founders_text(fleet: Fleet, now: Iterable[Bearer]) -> bytes:
    """Who is or was there, for masters to know: they can revoke only whom they know. Public halves."""
    left = [Founder(name=one.name, role=one.role, public=one.public, agent=one.agent) for one in fleet.gone]
    found = sorted([*left, *(founder_of(each.known) for each in now)], key=lambda one: one.public)
    return msgspec.json.format(msgspec.json.encode(found)) + b"\n"
