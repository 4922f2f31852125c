"""From what a term says its author was set up with, the component that decided so: without hands.

Rule of this room: a setting this release has no field for is passed over, one that is missing has its default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from components.component import Component

Fields = dict[str, Any]


class NotKnown(ValueError):
    """Settings of no component of this release, or that it refuses; the text says which."""


def mind_of(settings: str) -> Component[Any]:
    """The component with these recorded settings. Raises NotKnown."""
    try:
        [(name, fields)] = msgspec.json.decode(settings, type=dict[str, Fields]).items()
        return MAKERS[name](fields)
    except KeyError:
        raise NotKnown(f"{name!r} is not a component this release has: {', '.join(MAKERS)}") from None
    except ValueError as error:  # also msgspec's, and a config's own refusal
        raise NotKnown(f"settings {settings[:200]!r}: {error}") from None


def _master(fields: Fields) -> Component[Any]:
    from components.master import MasterConfig, component

    return component(msgspec.convert(fields, MasterConfig))


def _marathon(fields: Fields) -> Component[Any]:
    from components.marathon import MarathonConfig, component

    return component(msgspec.convert(fields, MarathonConfig))


def _metronome(fields: Fields) -> Component[Any]:
    from components.metronome import MetronomeConfig, component

    return component(msgspec.convert(fields, MetronomeConfig))


def _agent(fields: Fields) -> Component[Any]:
    from components.agent import AgentConfig, component

    return component(msgspec.convert(fields | {"executor_argv": ("true",)}, AgentConfig))


def _executor(fields: Fields) -> Component[Any]:
    from components.executor import ExecutorConfig, component

    return component(msgspec.convert(fields, ExecutorConfig))


MAKERS: dict[str, Callable[[Fields], Component[Any]]] = {
    "master": _master,
    "marathon": _marathon,
    "metronome": _metronome,
    "agent": _agent,
    "executor": _executor,
}
"""Every component by the name its settings have."""
