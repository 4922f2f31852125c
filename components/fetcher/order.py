"""What a fetcher is told, and what it says in the end.

Rule of this room: the same words on both sides of the pipe.
"""

from __future__ import annotations

import msgspec

from bus.nouns import Uri


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much the files of one task may be."""

    bytes_max: int = 4 * 1024**3
    """All of them together, packed and unpacked."""
    entries_max: int = 100_000
    """Files and directories."""
    ratio_max: int = 200
    """How many times as large an archive may become, beyond `ratio_from`. (deflate: at most 1,032 times)"""
    ratio_from: int = 64 * 1024**2
    redirects_max: int = 10
    stall_s: float = 60.0
    """Without a byte from a server. (Mesos: `--fetcher_stall_timeout`, 1 min)"""
    memory_max: int = 1024**3
    """Of the fetcher's address space beyond what it begins with: an archive may ask for a lot."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What one fetcher is to do."""

    sandbox: str
    """A directory that is there, and empty."""
    fetch: tuple[Uri, ...]
    agent: int
    """The process whose fetcher this is: it does not outlive it."""
    user: str | None = None
    """Whose the files are to be."""
    directories: tuple[str, ...] = ()
    """Where `file` may lead to."""
    limits: Limits = Limits()


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended."""

    why: str | None = None
    """What went wrong, and with which URI; None: everything is there."""
    bytes: int = 0
    entries: int = 0


class NotFetched(Exception):
    """Something cannot be had, or must not; the text says why."""
