"""What the master answers about secrets: `sealing`, `vault`, `secrets`.

A value leaves the master only sealed again, to the agent on which a live task refers to it: whoever else asks, or
listens, has nothing of it. Opening and sealing are the shell's: `HandOn`, given where the component is made.

Rule of this room: it looks, and changes nothing; what it cannot hand on it says why, by name.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from bus.nouns import Now, TaskId
from bus.queries import QueryRefused
from bus.secrets import NotOpened, SecretAnswer, SecretQuestion, SecretRow, names_of, sealed_size
from components.master.config import MasterConfig
from components.master.state import MasterState

HandOn = Callable[[str, str, TaskId, str], str]
"""Seals a kept secret (name, sealed) again, for a task and the owner of a key. Raises NotOpened."""


def sealing(config: MasterConfig, _state: MasterState, _question: bytes, _now: Now) -> str:
    """The public key to which a new value is sealed."""
    if not config.public:
        raise QueryRefused("this cluster's master has no key, so it can keep no secret: busbar run master --key FILE")
    return config.public


def vault(config: MasterConfig, state: MasterState, _question: bytes, _now: Now) -> list[SecretRow]:
    """Every secret, without its value."""
    return [
        SecretRow(
            name=name,
            since=secret.since,
            by=secret.by,
            version=secret.number,
            size=sealed_size(name, secret.sealed),
            lost=secret.key != config.public,
        )
        for name, secret in sorted(state.secrets.items())
    ]


def handed_on(
    config: MasterConfig, hand_on: HandOn | None, state: MasterState, question: bytes, _now: Now
) -> SecretAnswer:
    """A secret for one task, sealed to its agent. Raises msgspec.DecodeError."""
    asked = msgspec.msgpack.decode(question, type=SecretQuestion)
    why = _withheld(config, state, asked)
    if why is not None:
        return SecretAnswer(withheld=why)
    if hand_on is None:
        raise QueryRefused("this master has no key to open secrets with")
    try:
        sealed = hand_on(asked.name, state.secrets[asked.name].sealed, asked.task, state.agents[asked.agent].key)
    except NotOpened as error:
        return SecretAnswer(withheld=f"{error}: set it again")
    return SecretAnswer(sealed=sealed)


def _withheld(config: MasterConfig, state: MasterState, asked: SecretQuestion) -> str | None:
    """Why a secret is not handed on. Of tasks that are not the asker's nothing is said."""
    task, agent = state.tasks.get(asked.task), state.agents.get(asked.agent)
    if agent is None or task is None or not task.holds or task.info.agent != asked.agent:
        return "no such task of this agent is live"
    if asked.name not in names_of(task.info):
        return "the task does not refer to it"
    if not agent.key:
        return "the agent registered without a public key"
    secret = state.secrets.get(asked.name)
    if secret is None:
        return "it does not exist any more"
    if secret.key != config.public:
        return "it is sealed to another key than the cluster's: set it again"
    return None
