"""What a gateway is told when it starts.

Rule of this room: a wrong setting is refused here, before anything listens.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

ports_max = 65_535
body_bytes_max = 512 * 1024
"""Of a request: an event holds no more."""
streams_max = 4096
"""Event streams that one gateway serves at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """Where a gateway listens, and who may speak through it. Raises ValueError for what cannot be."""

    host: str = "127.0.0.1"
    port: int = 0
    """For everything; 0 asks for any free one."""
    marathon_port: int | None = None
    """For Marathon alone, as clients of old know it (8080)."""
    metronome_port: int | None = None
    """For Metronome alone (9000)."""
    users: str | None = None
    """The file with everybody who may speak; None: whoever reaches it, which must be this machine's own."""
    answer_s: float = 8.0
    """How long a request may take to be answered. (PyPI marathon: waits 10 s)"""
    silent_s: float = 30.0
    """How long a connection may ask for nothing, and how long a request may take to come in whole."""

    def __post_init__(self) -> None:
        for name, port in (("port", self.port), ("marathon", self.marathon_port), ("metronome", self.metronome_port)):
            if port is not None and not 0 <= port <= ports_max:
                raise ValueError(f"{name}: {port} is not a port, expected 0 to {ports_max}")
        fixed = [port for port in (self.port, self.marathon_port, self.metronome_port) if port]
        if len(set(fixed)) < len(fixed):
            raise ValueError(f"port {max(fixed, key=fixed.count)} is asked for twice")
        if self.users is None and not is_loopback(self.host):
            raise ValueError(f"{self.host} can be reached from elsewhere: that takes --users FILE")
        if not 0.1 <= self.answer_s <= 300:
            raise ValueError(f"answer_s: {self.answer_s:g} is not between 0.1 and 300")
        if not 0.1 <= self.silent_s <= 300:
            raise ValueError(f"silent_s: {self.silent_s:g} is not between 0.1 and 300")


def is_loopback(host: str) -> bool:
    """Whether a name or address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
