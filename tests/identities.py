"""Identities that a test gives itself: with a cluster's own keys, in memory, as whoever it needs to be."""

from __future__ import annotations

from pathlib import Path

from bus.authority import read_authority
from bus.credentials import Credentials, read_credentials
from bus.keyring import AUTHORITY, PERSON, Wanted, administrator_of, issued
from bus.permits import Role


def identity_of(data: Path, role: Role, name: str, *, agent: str = "") -> Credentials:
    """Somebody new on the bus of a data directory."""
    authority = read_authority(data / "keys" / AUTHORITY)
    assert authority is not None, f"no cluster was founded in {data}"
    where = read_credentials(data / PERSON)
    if role is Role.ADMINISTRATOR:
        return administrator_of(authority, where)
    return issued(authority, Wanted("", role, name, agent), where)
