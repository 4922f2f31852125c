"""Bugs that are planted to see that the simulation finds them; none of them is in what is shipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bus.events import Event
from bus.nouns import Position
from bus.port import Bus, Fence, Message, OutcomeUnknown, Record
from components.component import Component, Hands, State
from components.mind import Decided, Mind
from components.runtime import _Life
from tests.simulation.server import FragileServer


class Plant:
    """What a planted bug puts between a component, its bus and the loop: nothing."""

    server: type[FragileServer] = FragileServer

    def bus(self, bus: Bus) -> Bus:
        """The connection of a process."""
        return bus

    def component(self, component: Component[Any]) -> Component[Any]:
        """The component of a process."""
        return component


class _UnfencedServer(FragileServer):
    def append(self, messages: Sequence[Message], fence: Fence | None) -> Position:
        return super().append(messages, fence and Fence(fence.log, self.newest(fence.log)))


class NoFence(Plant):
    """The bus takes every append, whoever owns the log by now."""

    server = _UnfencedServer


class HeardForgotten(Plant):
    """How far the inbox is heard is not remembered: after each start it is heard from the beginning."""

    def component(self, component: Component[Any]) -> Component[Any]:
        def start() -> State:
            state: State = component.start()
            state.__class__ = _forgetful(type(state))
            return state

        return replace(component, start=start)


def _forgetful(cls: type[State]) -> type[State]:
    def nothing(_state: State, _heard: Position) -> None:
        """Not remembered."""

    return type(cls.__name__, (cls,), {"__slots__": (), "heard": property(lambda _: Position(0), nothing)})


class HandsFirst(Plant):
    """The hands act on what is decided before it is in the log."""

    def component(self, component: Component[Any]) -> Component[Any]:
        make = component.hands
        if make is None:
            return component
        acting: list[Hands[Any]] = []

        def hands() -> Hands[Any]:
            acting.append(make())
            return acting[-1]

        def fold(state: State, event: Event) -> None:
            component.fold(state, event)
            for each in acting:
                each.act(event)

        return replace(component, hands=hands, fold=fold)


class BlindRetry(Plant):
    """An append without an answer is sent again, behind whatever is the newest by then."""

    def bus(self, bus: Bus) -> Bus:
        return _Blind(bus)


class _Blind:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    async def append(self, messages: Sequence[Message], fence: Fence | None) -> Position:
        try:
            return await self._bus.append(messages, fence)
        except OutcomeUnknown:
            newest = await self._bus.last(fence.log) if fence else None
            return await self._bus.append(
                messages, fence and Fence(fence.log, newest.position if newest else fence.last)
            )


async def never_yield(_life: _Life[Any]) -> None:
    """A leader that was stopped for long goes on leading."""


def begin_at_once(mind: Mind[Any], node: str, instance: str) -> Decided:
    """A term is folded as soon as it is wished for."""
    decided = _begin(mind, node, instance)
    [message] = decided.messages
    mind.remember(Record(Position(0), message.subject, message.body))
    return decided


_begin = Mind.begin
