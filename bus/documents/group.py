"""Groups: a tree of apps that is changed as a whole. (Marathon: `types/group.raml`, `groupUpdate.raml`)

Rule of this room: as in `bus.documents`. Ids may be relative to the group's; what is
kept has absolute ones.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from bus.documents.app import AppSpec
from bus.documents.base import Document
from bus.nouns import AppId


class GroupSpec(Document, frozen=True):
    """What a group is to be: everything in it that is not named is removed."""

    id: AppId | None = None
    apps: Annotated[tuple[AppSpec, ...], Meta(max_length=10_000)] | None = None
    groups: Annotated[tuple[GroupSpec, ...], Meta(max_length=10_000)] | None = None
    dependencies: Annotated[tuple[str, ...], Meta(max_length=1000)] | None = None
    version: str | None = None
    """Alone: the group shall be what it was at this version."""
    scale_by: Annotated[float, Meta(ge=0, le=1000)] | None = None
    """Alone: every app in it shall have so many times as many instances."""
    enforce_role: bool | None = None
