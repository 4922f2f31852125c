"""What a cluster's stream must be like so that a log can rest on it, and how it is made.

Rule of this room: words and comparisons; the server is asked elsewhere.
(nats-server 2.15: stream.go StreamConfig, errors.json)
"""

from __future__ import annotations

from typing import Any

from bus.nouns import Position
from bus.port import StreamUnfit, TrimUnfinished, same_request_s
from bus.subjects import everything

room_default = 16 * 1024**3
"""Bytes a stream may hold if nobody says otherwise, and the server has them."""
room_min = 16 * 1024**2
"""What a server must grant at least."""
frozen_bytes = 1
"""`max_msg_size` of a stream that is being trimmed: no event is that small, so nothing is appended."""

_TRIMMED_TO = "busbar.trimmed-to"
_TOO_LARGE = (10047, 10002, 10122)
"""Insufficient storage, account resources exceeded, stream max bytes exceeded."""
_NO_PEERS = 10005

_KEEPS_EVERYTHING: dict[str, object] = {
    "retention": "limits",
    "storage": "file",
    "discard": "new",
    "max_age": 0,
    "max_msgs": -1,
    "max_msgs_per_subject": -1,
    "max_msg_size": -1,
    "deny_delete": True,
    "deny_purge": True,
    "allow_atomic": True,
    "allow_direct": True,
    "duplicate_window": same_request_s * 1_000_000_000,
}
_ABSENT: dict[str, object] = {
    "allow_rollup_hdrs": False,
    "allow_msg_ttl": False,
    "allow_msg_counter": False,
    "sealed": False,
    "no_ack": False,
    "mirror": None,
    "sources": None,
    "subject_transform": None,
    "persist_mode": None,
}
"""What must not be set, with the value that stands for unset."""


def stream_name(cluster: str) -> str:
    """What the stream of a cluster is called on its server."""
    return f"LOG-{cluster.upper()}"


def to_make(cluster: str, replicas: int, room: int) -> dict[str, object]:
    """The configuration of a new stream."""
    mine = {
        "name": stream_name(cluster),
        "subjects": [everything(cluster)],
        "num_replicas": replicas,
        "max_bytes": room,
    }
    return mine | _KEEPS_EVERYTHING


def rooms(room: int | None) -> list[int]:
    """The bounds to ask a server for, one after the other, until it grants one.

    The one wished for; else 16 GiB, or if the server has less, the first of 8, 4, 2 ... GiB that it has: at least half
    of what it could grant.
    """
    if room is not None:
        return [room]
    return [room_default >> halved for halved in range(20) if room_default >> halved >= room_min]


def is_too_large(err_code: int, text: str) -> bool:
    """Whether a server that refuses a stream would make a smaller one."""
    return err_code in _TOO_LARGE or (err_code == _NO_PEERS and "insufficient storage" in text)


def is_without_peers(err_code: int) -> bool:
    """Whether a cluster that refuses a stream may make it once more of its servers have come."""
    return err_code == _NO_PEERS


def is_led(found: dict[str, Any]) -> bool:
    """Whether what a server says of a stream comes with a leader: one that is cut off answers from its own copy."""
    cluster = found.get("cluster") or {}
    return bool(cluster.get("leader")) and (found["config"]["num_replicas"] == 1 or bool(cluster.get("raft_group")))


def is_frozen(config: dict[str, Any]) -> bool:
    """Whether a stream is being trimmed, or was when who did it died."""
    return config.get("max_msg_size") == frozen_bytes


def trimmed_to(config: dict[str, Any]) -> Position:
    """The position that the stream begins at, at the latest: what its trims recorded, or 1."""
    recorded = (config.get("metadata") or {}).get(_TRIMMED_TO, "1")
    return max(Position(int(recorded)), Position(config.get("first_seq") or 1))


def record_trim(config: dict[str, Any], first: Position) -> dict[str, Any]:
    """A stream's configuration that says how far it may be trimmed: whatever else is missing in front is damage."""
    furthest = max(first, trimmed_to(config))
    return config | {"metadata": (config.get("metadata") or {}) | {_TRIMMED_TO: str(furthest)}}


def frozen(config: dict[str, Any]) -> dict[str, object]:
    """A stream's configuration, so that it takes nothing."""
    return config | {"max_msg_size": frozen_bytes}


def cut_to(config: dict[str, Any], messages: int) -> dict[str, object]:
    """A stream's configuration, so that it takes nothing and keeps its newest messages only."""
    return frozen(config) | {"max_msgs": messages, "discard": "old"}


def thawed(config: dict[str, Any]) -> dict[str, object]:
    """A stream's configuration as it was before the trim."""
    return config | {name: _KEEPS_EVERYTHING[name] for name in ("max_msg_size", "max_msgs", "discard")}


def check_fit(cluster: str, config: dict[str, Any]) -> None:
    """Raises StreamUnfit, naming each property that is not as a log needs it, or TrimUnfinished.

    How many servers keep it and how many bytes it may hold are free.
    """
    name = stream_name(cluster)
    if is_frozen(config):
        raise TrimUnfinished(
            f"stream {name}: trimming it was begun and not finished, it takes nothing until that is done: trim it again"
        )
    wanted = {"subjects": [everything(cluster)]} | _KEEPS_EVERYTHING | _ABSENT
    found = {name: config.get(name, _ABSENT.get(name, False)) for name in wanted}
    wrong = [f"{key} is {found[key]!r}, must be {value!r}" for key, value in wanted.items() if found[key] != value]
    if wrong:
        raise StreamUnfit(f"stream {name}: {'; '.join(wrong)}")
