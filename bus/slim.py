"""nats-py without the parts of it that nobody here calls.

Its client imports its JetStream objects, its object store and the reader of package metadata: 35 ms and 3 MB in each
process of a datacenter and in each command, for what `bus` says in its own words. (nats-py 2.16: `aio/client.py`)
Rule of this room: nobody else imports nats; what stands in for a part holds what the client reads of it and no more, so
that a call of anything else fails with its name.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from types import ModuleType, SimpleNamespace
from typing import Any

RELEASE = "2.16.0"
"""Of nats-py, as it tells servers; as pinned in `pyproject.toml`."""


class Header(StrEnum):
    """Headers by which a server tells how a request went. (nats-py: `js/api.py`)"""

    STATUS = "Status"
    DESCRIPTION = "Description"
    CONSUMER_STALLED = "Nats-Consumer-Stalled"


def _client() -> Any:
    """The class of nats-py's client, loaded while those parts seem to be loaded already, or not installed."""
    jetstream = ModuleType("nats.js")
    jetstream.__dict__["api"] = SimpleNamespace(Header=Header)
    absent: dict[str, Any] = {"nats.js": jetstream, "importlib.metadata": None}
    before = {name: sys.modules[name] for name in absent if name in sys.modules}
    sys.modules |= absent
    try:
        import nats
        from nats.aio import client
    finally:
        for name in absent:
            del sys.modules[name]
        sys.modules |= before  # whoever needs the whole of them still gets it
    nats.js = before.get("nats.js", jetstream)
    client.__version__ = RELEASE
    return client.Client


Client = _client()

from nats.errors import BadHeaderError as BadHeaderError  # noqa: E402  # it is loaded now, and slim
from nats.errors import BadSubjectError as BadSubjectError  # noqa: E402
from nats.errors import ConnectionClosedError as ConnectionClosedError  # noqa: E402
from nats.errors import Error as Error  # noqa: E402
from nats.errors import MaxPayloadError as MaxPayloadError  # noqa: E402
from nats.errors import OutboundBufferLimitError as OutboundBufferLimitError  # noqa: E402
from nats.errors import ProtocolError as ProtocolError  # noqa: E402
from nats.protocol.parser import AWAITING_CONTROL_LINE as AWAITING_CONTROL_LINE  # noqa: E402
from nats.protocol.parser import Parser as Parser  # noqa: E402
