"""Rules that span fields, and how they are held against a document.

Rule of this room: as in `bus.documents`; what is wrong is said with its path, and everything that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

from bus.artifacts import artifact_invalid, artifacts_clash
from bus.documents.base import Complaint, EnvSecret, Fetch, SecretVolume, Steps
from bus.documents.constraints import constraint_invalid
from bus.nouns import Uri
from bus.secrets import path_invalid, paths_clash

S = TypeVar("S")


class Rule(NamedTuple, Generic[S]):
    """What must hold between some fields of a document."""

    fields: tuple[str, ...]
    """Those it looks at, by their wire names: if one of them is no good in itself, the rule says nothing."""
    check: Callable[[S], Iterable[Complaint]]


def broken(rules: Iterable[Rule[S]], document: S, at: Steps = (), spoiled: Iterable[Steps] = ()) -> Iterator[Complaint]:
    """What a document that lies at `at` breaks of some rules."""
    below = [steps[len(at) :] for steps in spoiled if steps[: len(at)] == at]
    if () in below:
        return
    names = {steps[0] for steps in below}
    for rule in rules:
        if names.isdisjoint(rule.fields):
            yield from under(at, rule.check(document))


def under(at: Steps, complaints: Iterable[Complaint]) -> Iterator[Complaint]:
    """Complaints of a part of a document, as such of the whole."""
    for each in complaints:
        yield each._replace(steps=(*at, *(each.steps or ())))


def exactly_one(cmd: object, args: object) -> Iterator[Complaint]:
    """Of cmd and args."""
    if (cmd is None) == (args is None):
        found = "neither" if cmd is None else "both"
        yield Complaint(f"expected exactly one of cmd and args, found {found}", ("cmd",))


def twice(values: Iterable[Any]) -> list[int]:
    """The places at which something is that was there before."""
    seen: set[Any] = set()
    places = []
    for index, value in enumerate(values):
        if value in seen:
            places.append(index)
        seen.add(value)
    return places


def fetches(wanted: Iterable[Fetch], at: Steps) -> Iterator[Complaint]:
    """Files that are brought into a sandbox."""
    uris = uris_of(wanted)
    wire = {"uri": "uri", "dest_path": "destPath"}
    fine = True
    for index, uri in enumerate(uris):
        wrong = artifact_invalid(uri)
        if wrong is not None:
            fine = False
            yield Complaint(wrong[1], (*at, index, wire[wrong[0]]))
    clash = artifacts_clash(uris) if fine else None
    if clash is not None:
        yield Complaint(f"{clash!r} clashes with another file", at)


def uris_of(wanted: Iterable[Fetch]) -> tuple[Uri, ...]:
    """What a task is told to fetch."""
    return tuple(
        Uri(
            uri=each.uri,
            extract=each.extract,
            executable=each.executable,
            cache=each.cache,
            dest_path=each.dest_path,
            checksum=each.checksum,
        )
        for each in wanted
    )


def constraints(found: Iterable[tuple[str, ...]], at: Steps) -> Iterator[Complaint]:
    """Where instances may be."""
    for index, (field, operator, *value) in enumerate(found):
        wrong = constraint_invalid(field, operator, value[0] if value else None)
        if wrong is not None:
            yield Complaint(wrong, (*at, index))


def env_secrets(env: dict[str, str | EnvSecret], at: Steps) -> Iterator[tuple[Steps, str]]:
    """Where variables use secrets, and under which key."""
    for name, each in env.items():
        if isinstance(each, EnvSecret):
            yield (*at, name), each.secret


def undeclared(used: Iterable[tuple[Steps, str]], declared: Iterable[str], where: str) -> Iterator[Complaint]:
    """Uses of secrets that are not declared."""
    known = set(declared)
    for steps, key in used:
        if key not in known:
            yield Complaint(f"{key!r} is not declared in {where}", (*steps, "secret"))


def secret_paths(volumes: Iterable[SecretVolume], at: Steps) -> Iterator[Complaint]:
    """Files that hold secrets: each one of its own, inside the sandbox."""
    paths = [volume.container_path for volume in volumes]
    wrongs = [(index, wrong) for index, path in enumerate(paths) if (wrong := path_invalid(path)) is not None]
    for index, wrong in wrongs:
        yield Complaint(wrong, (*at, index, "containerPath"))
    clash = paths_clash(paths) if not wrongs else None
    if clash is not None:
        yield Complaint(f"{clash!r} clashes with another file", at)
