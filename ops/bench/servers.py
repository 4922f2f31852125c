"""Servers of the bus as `busbar up` starts them, and the same with another `sync_interval`, which it never does.

Rule of this room: one line of the generated configuration is another; nothing else is.
"""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from bus.binary import find_binary
from bus.credentials import Credentials
from bus.ensemble import Ensemble
from bus.keyring import Keyring
from bus.server import EmbeddedServer
from ops.bench.site import DEFAULT, usage_of

_SETTING = "sync_interval: {}"


class Servers(NamedTuple):
    """Servers that run."""

    keyring: Keyring
    urls: Sequence[str]
    pids: Sequence[int]

    @property
    def administrator(self) -> Credentials:
        """Credentials that open everything."""
        return self.keyring.administrator(self.urls)

    def cpu_s(self) -> float:
        """CPU seconds of all of them so far."""
        found = [usage_of(pid) for pid in self.pids]
        assert None not in found, f"a server of {self.pids} ended: what it took is not known"
        return sum(usage.cpu_s for usage in found if usage is not None)


@asynccontextmanager
async def servers(data: Path, count: int, sync: str = DEFAULT) -> AsyncIterator[Servers]:
    """So many servers of one stream, until the end of the block."""
    data.mkdir(parents=True, exist_ok=True)
    given = EmbeddedServer(data) if count == 1 else Ensemble(data, count=count)
    await given.start()
    try:
        if sync == DEFAULT:
            pids = [given.pid] if isinstance(given, EmbeddedServer) else [member.pid for member in given.members]
            yield Servers(given.keyring, given.urls, [pid for pid in pids if pid is not None])
            return
    finally:
        await given.stop()
    started = [_start(config, sync) for config in sorted(data.glob("bus*/nats-server.conf"))]
    try:
        yield Servers(given.keyring, given.urls, [process.pid for process in started])
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


def relaxed(text: str, sync: str) -> str:
    """A generated configuration with another `sync_interval`."""
    assert _SETTING.format(DEFAULT) in text, f"a configuration says nothing of {DEFAULT}:\n{text}"
    return text.replace(_SETTING.format(DEFAULT), _SETTING.format(sync))


def _start(config: Path, sync: str) -> subprocess.Popen[bytes]:
    config.write_text(relaxed(config.read_text(), sync))
    return subprocess.Popen(
        [find_binary(), "--config", config],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
