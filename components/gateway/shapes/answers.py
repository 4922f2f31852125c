"""Answers that are the same everywhere, as types: for the description of the API.

Rule of this room: as in `components.gateway.shapes`.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Message(msgspec.Struct):
    """An error, in words."""

    message: str


class Detail(msgspec.Struct):
    """What is wrong with one field."""

    path: str
    errors: list[str]


class Invalid(msgspec.Struct):
    """Everything that is wrong with a document."""

    message: str
    details: list[Detail]


class Deployed(msgspec.Struct, rename="camel"):
    """A change was accepted, and goes on."""

    version: str
    deployment_id: str


class Apps(msgspec.Struct):
    """Apps."""

    apps: list[dict[str, Any]]


class Tasks(msgspec.Struct):
    """Tasks."""

    tasks: list[dict[str, Any]]


class Versions(msgspec.Struct):
    """Versions, newest first."""

    versions: list[str]


class TaskIds(msgspec.Struct):
    """Which tasks."""

    ids: list[str]


class Leader(msgspec.Struct):
    """Where the API is."""

    leader: str
