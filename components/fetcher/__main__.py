"""One fetcher: read the order, become the task's user, fetch, say how it went.

Rule of this room: as in `components.fetcher`.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
import signal
import sys

import httpx
import msgspec

from bus.artifacts import artifact_invalid, artifact_name
from components.fetcher.download import client, download
from components.fetcher.order import NotFetched, Order, Verdict
from components.fetcher.place import Place
from components.fetcher.unpack import is_archive, unpack

_SET_DEATH_SIGNAL, _NO_NEW_PRIVS = 1, 38


def main() -> None:
    """Do what standard input says, and write the verdict to standard output."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    http = client(order.limits)  # with the certificates of this machine, which the task's user may not be able to read
    try:
        _become(order.user)
        _limit(order)
        _die_with(order.agent)
        verdict = fetch(order, http)
    except (NotFetched, OSError, LookupError) as error:
        verdict = Verdict(why=str(error))
    sys.stdout.buffer.write(msgspec.json.encode(verdict))


def fetch(order: Order, http: httpx.Client) -> Verdict:
    """Fetch everything, one after the other. The verdict names the URI that could not be had."""
    place = Place(order.sandbox, order.limits)
    for uri in order.fetch:
        try:
            wrong = artifact_invalid(uri)
            if wrong is not None:
                raise NotFetched(wrong[1])
            path = artifact_name(uri)
            download(http, uri, path, place, order.directories)
            if uri.extract and not uri.executable and is_archive(path):
                unpack(path, place)
        except (NotFetched, OSError) as error:
            return Verdict(why=f"{uri.uri} was not fetched: {error}", bytes=place.bytes, entries=place.entries)
    return Verdict(bytes=place.bytes, entries=place.entries)


def _become(user: str | None) -> None:
    """Have the ids of a user, as the task will."""
    if user is None:
        return
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise LookupError(f"user {user!r} does not exist on this host") from None
    if entry.pw_uid == os.geteuid():
        return
    if os.geteuid() != 0:
        raise PermissionError(f"cannot fetch as user {user!r}: the agent does not run as root")
    os.setgroups(os.getgrouplist(user, entry.pw_gid))
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def _limit(order: Order) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (order.limits.bytes_max, order.limits.bytes_max))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with open("/proc/self/statm") as pages:
        has = int(pages.read().split()[0]) * resource.getpagesize()
    most = has + order.limits.memory_max
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _die_with(agent: int) -> None:
    """End when the agent ends, however that is; and gain nothing by executing anything. (prctl(2))"""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0) != 0 or os.getppid() != agent:
        raise ProcessLookupError("the agent is gone")


if __name__ == "__main__":
    main()
