"""What must hold of a group: where the ids lie, and that something can be started first.

(Marathon: `Group.scala`, `GroupUpdate`)
Rule of this room: as in `bus.documents`. A tree may be large: everything is linear in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from bus.documents.app_rules import APP_RULES, dependencies
from bus.documents.base import Complaint, Steps
from bus.documents.group import GroupSpec
from bus.documents.ids import ROOT, id_invalid, is_below, parent
from bus.documents.rules import broken

ALONE = ("version", "scaleBy")
"""Fields that say all there is to say."""
Place = tuple[Steps, GroupSpec]


def group_broken(group: GroupSpec, spoiled: Iterable[Steps] = ()) -> Iterator[Complaint]:
    """What a whole tree breaks."""
    spoiled = tuple(spoiled)
    groups = list(_groups(group, ()))
    for steps, each in groups:
        yield from _alone(each, steps)
        if not _any_at(spoiled, (*steps, "id"), (*steps, "dependencies")):
            yield from _own(each, steps)
        for index, app in enumerate(each.apps or ()):
            yield from broken(APP_RULES, app, (*steps, "apps", index), spoiled)
    if spoiled:
        return
    yield from _places(groups)
    cycle = dependency_cycle(*_needs(groups))
    if cycle:
        yield Complaint(f"depend on each other: {' -> '.join(cycle)}", ("dependencies",))


def _groups(group: GroupSpec, at: Steps) -> Iterator[Place]:
    yield at, group
    for index, inner in enumerate(group.groups or ()):
        yield from _groups(inner, (*at, "groups", index))


def _any_at(spoiled: tuple[Steps, ...], *places: Steps) -> bool:
    return any(steps == place[: len(steps)] or steps[: len(place)] == place for steps in spoiled for place in places)


def _alone(group: GroupSpec, at: Steps) -> Iterator[Complaint]:
    said = [name for name, found in (("version", group.version), ("scaleBy", group.scale_by)) if found is not None]
    more = [name for name in ("apps", "groups", "dependencies") if getattr(group, name) is not None]
    for name in said:
        if at:
            yield Complaint(f"{name} is said of a whole tree, not inside it", (*at, name))
        elif len(said) + len(more) > 1:
            others = ", ".join(other for other in said + more if other != name)
            yield Complaint(f"{name} stands alone, found it with {others}", (*at, name))


def _own(group: GroupSpec, at: Steps) -> Iterator[Complaint]:
    id_ = group.id or ROOT
    wrong = None if id_ == ROOT else id_invalid(id_, "a group id")
    if wrong is not None:
        yield Complaint(wrong, (*at, "id"))
    for each in dependencies(group.dependencies or (), id_):
        yield each._replace(steps=(*at, *(each.steps or ())))


def _places(groups: Sequence[Place]) -> Iterator[Complaint]:
    """Every child lies in its group, and no two things have one id."""
    seen: dict[str, str] = {}
    for steps, group in groups:
        id_ = group.id or ROOT
        children = [((*steps, "groups", index, "id"), each.id or "") for index, each in enumerate(group.groups or ())]
        apps = [((*steps, "apps", index, "id"), app.id) for index, app in enumerate(group.apps or ())]
        for place, child in (*children, *apps):
            if parent(child) != id_:
                hint = "say an id relative to it" if is_below(child, id_) else "it is somewhere else"
                yield Complaint(f"{child!r} does not lie in group {id_}: {hint}", place)
        for kind, found in (("group", children), ("app", apps)):
            for place, child in found:
                if child in seen:
                    yield Complaint(f"{child!r} is already the id of another {seen[child]}", place)
                seen.setdefault(child, kind)


def _needs(groups: Sequence[Place]) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    apps: dict[str, tuple[str, ...]] = {}
    for _, group in groups:
        apps |= {app.id: app.dependencies for app in group.apps or ()}
    return apps, {group.id or ROOT: group.dependencies or () for _, group in groups}


def dependency_cycle(apps: Mapping[str, Iterable[str]], groups: Mapping[str, Iterable[str]]) -> tuple[str, ...] | None:
    """Apps and groups none of which can be first, in a circle; nothing if there are none.

    Who depends on a group depends on everything in it, and what a group depends on, everything in it does.
    What is not there is not waited for.
    """
    return _cycle(_waits(apps, groups))


def _waits(apps: Mapping[str, Iterable[str]], groups: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """What waits for what: `>id` is that it may begin, `id` that it is up."""
    known = {*apps, *groups}
    waits: dict[str, list[str]] = {}
    for id_, needs in (*apps.items(), *groups.items()):
        above = parent(id_)
        waits.setdefault(id_, []).append(f">{id_}")
        begins = waits.setdefault(f">{id_}", [])
        begins += [need for need in needs if need in known and need != id_]
        if above in groups and above != id_:
            begins.append(f">{above}")
            waits.setdefault(above, []).append(id_)
    return waits


def _cycle(waits: dict[str, list[str]]) -> tuple[str, ...] | None:
    done: set[str] = set()
    for start in waits:
        path: dict[str, Iterator[str]] = {}
        node: str | None = start if start not in done else None
        while node is not None:
            if node in path:
                circle = list(path)[list(path).index(node) :]
                named = list(dict.fromkeys(each.lstrip(">") for each in circle))
                return (*named, named[0])
            path[node] = iter(waits[node])
            node = _next(path, done)
    return None


def _next(path: dict[str, Iterator[str]], done: set[str]) -> str | None:
    """Where to go on from the end of the path, back from what is done."""
    while path:
        last = next(reversed(path))
        for each in path[last]:
            if each not in done:
                return each
        done.add(last)
        del path[last]
    return None
