"""Ids of apps, pods and groups: paths, absolute or relative to where they are said.

Rule of this room: as in `bus.documents`. (Marathon: `PathId.scala`)
"""

from __future__ import annotations

from bus.documents.base import APP_ID

ROOT = "/"
RESERVED = ("restart", "tasks", "versions")
"""What an id may not end in: below it there is something else over HTTP. (Marathon: reservedKeywords)"""
id_chars_max = 255


def resolved(id_: str, base: str) -> str:
    """An id that may be relative to another: `db` in `/prod` is `/prod/db`, `../db` is `/db`."""
    if not id_ or id_.startswith("/"):
        return id_
    parts = [part for part in base.split("/") if part]
    for part in id_.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return "/" + "/".join(parts)


def is_below(id_: str, group: str) -> bool:
    """Whether an absolute id lies in a group, however deep."""
    return id_ != group and id_.startswith(group if group == ROOT else f"{group}/")


def parent(id_: str) -> str:
    """The group an absolute id lies in."""
    return id_.rsplit("/", 1)[0] or ROOT


def id_invalid(id_: str, what: str = "an app id") -> str | None:
    """What is wrong with the absolute id of an app, a pod or a group."""
    if not APP_ID.fullmatch(id_) or len(id_) > id_chars_max:
        return f"{id_!r} is not {what}: expected /a/b, parts of [a-z0-9.-]"
    if id_.rsplit("/", 1)[-1] in RESERVED:
        return f"{id_!r} ends in a word that means something else: expected none of {', '.join(RESERVED)}"
    return None
