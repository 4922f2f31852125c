"""What a scheduler knows of secrets: which there are, by name; so it takes no app and no job that refers to another.

    master: framework.admitted, secret.named ─► hear_names ─► secret.named in the scheduler's own log ─► fold_names

Rule of this room: names only. Both schedulers use it, and neither asks the master.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from bus.documents import SecretSource
from bus.secrets import SecretsNamed
from components.component import Say


class Declaring(Protocol):
    """What declares the secrets it refers to: an app, a pod, a run of a job."""

    @property
    def secrets(self) -> Mapping[str, SecretSource]:
        """By key."""


Names = dict[str, None]
"""The names of all secrets, in the order they were heard."""


def hear_names(known: Names, told: SecretsNamed) -> Iterator[Say]:
    """Note what is new in what the master says; nothing if nothing is."""
    new = tuple(name for name in told.names if name not in known)
    there = set(told.names)
    gone = tuple(name for name in (known if told.whole else told.gone) if name in known and name not in there)
    if new or gone:
        yield Say(SecretsNamed(names=new, gone=gone))


def fold_names(known: Names, noted: SecretsNamed) -> None:
    """There are these, and no longer those."""
    for name in noted.gone:
        del known[name]
    known.update(dict.fromkeys(noted.names))


def unknown_secret(spec: Declaring, known: Mapping[str, None], path: str) -> str | None:
    """Which declared secret does not exist, with its path in the document."""
    for key, declared in spec.secrets.items():
        if declared.source not in known:
            return f"secret {declared.source} does not exist - at `{path}.secrets.{key}.source`"
    return None
