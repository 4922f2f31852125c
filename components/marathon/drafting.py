"""What a client's request would make of apps and pods.

Rule of this room: pure; nothing is said here, so that the same answers what would happen. (query `plan`)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from bus.documents import AppSpec, DocumentError
from bus.documents.reading import check_document
from bus.events import Fact
from bus.nouns import AppId, Refusal, TaskId
from bus.services import (
    AppRequested,
    AppsRequested,
    CancelRequested,
    GroupRequested,
    KillsRequested,
    PodRequested,
    RemovalRequested,
    RestartRequested,
    RollbackRequested,
    ScaleRequested,
)
from components.marathon.changing import RunSpec
from components.marathon.deployments import reversal
from components.marathon.groups import (
    draft_group,
    draft_group_removal,
    draft_group_rollback,
    draft_scaled_group,
    within,
)
from components.marathon.planning import Draft, Refused, above, is_within, scaled
from components.marathon.pods import largest_bytes
from components.marathon.state import App, MarathonState, instance_with
from components.marathon.tasks import largest_task_bytes
from components.referring import unknown_secret

WRITTEN = ("created", "updated", "rolled back")
"""Changes that bring documents, which are checked; of others the documents were."""
SCALED = ("scaled", "killed")
"""Changes of the number of instances, which the rules may limit."""
instances_max = 100_000
app_bytes_max = 128 * 1024
"""An app, and each of its tasks, on the bus."""


def draft_of(state: MarathonState, fact: Fact) -> Draft | None:
    """What a request would make of apps, pods and groups; None: it is no request that changes them. Raises Refused."""
    match fact:
        case AppRequested():
            draft = _app(state, fact)
        case AppsRequested():
            draft = _apps(state, fact)
        case PodRequested():
            draft = _pod(state, fact)
        case GroupRequested():
            draft = draft_group(state, fact)
        case ScaleRequested():
            draft = _scale(state, fact)
        case RestartRequested():
            draft = _restart(state, fact)
        case RemovalRequested():
            draft = _removal(state, fact)
        case RollbackRequested():
            draft = _rollback(state, fact)
        case CancelRequested(force=False):
            draft = _cancel(state, fact)
        case KillsRequested(scale=True):
            draft = _fewer(state, fact)
        case _:
            return None
    for app_id, spec in draft.targets.items():
        if spec is not None and draft.changed in WRITTEN:
            _check(state, draft, app_id, spec)
        elif spec is not None and draft.changed in SCALED:
            _check_rules(spec)
    return draft


def forced(fact: Fact) -> bool:
    """Whether deployments in the way are to be stopped for a request."""
    return bool(getattr(fact, "force", False))


# ---- apps and pods ----------------------------------------------------------------------------------------------


def _app(state: MarathonState, fact: AppRequested) -> Draft:
    known = wanted(state, fact.app.id)
    if known is not None and not fact.update:
        raise Refused(Refusal.ALREADY_EXISTS, f"an app with id {fact.app.id} already exists")
    if known is None and fact.only_existing:
        raise not_found("app", fact.app.id)
    spec = _merged(known, fact.app, fact.partial)
    return Draft(changed="updated" if known else "created", targets={spec.id: spec})


def _apps(state: MarathonState, fact: AppsRequested) -> Draft:
    targets: dict[AppId, RunSpec | None] = {}
    for wish in fact.apps:
        known = wanted(state, wish.app.id)
        if known is None and fact.only_existing:
            raise not_found("app", wish.app.id)
        if wish.app.id in targets:
            raise Refused(Refusal.INVALID, f"{wish.app.id} is there twice - at `$`")
        targets[wish.app.id] = _merged(known, wish.app, wish.partial)
    return Draft(changed="updated", targets=targets)


def _pod(state: MarathonState, fact: PodRequested) -> Draft:
    known = wanted(state, fact.pod.id)
    if known is not None and not fact.update:
        raise Refused(Refusal.ALREADY_EXISTS, f"a pod with id {fact.pod.id} already exists")
    pod = msgspec.structs.replace(fact.pod, version=None)
    return Draft(changed="updated" if known else "created", targets={pod.id: pod})


def _merged(known: App | None, app: AppSpec, partial: tuple[str, ...] | None) -> AppSpec:
    """The app with the fields that are meant; of one that is new, the others have their defaults."""
    if known is None or partial is None:
        return app
    spec = known.latest.spec
    if not isinstance(spec, AppSpec):
        raise Refused(Refusal.INVALID, f"{app.id} is a pod, and is not changed as an app - at `$.id`")
    names = dict(zip(AppSpec.__struct_encode_fields__, AppSpec.__struct_fields__, strict=True))
    unknown = next((name for name in partial if name not in names), None)
    if unknown is not None:
        raise Refused(Refusal.INVALID, f"an app has no field {unknown!r} - at `$`")
    meant: dict[str, Any] = {names[name]: getattr(app, names[name]) for name in partial if name != "id"}
    if "cmd" in partial and app.cmd is not None and "args" not in partial:
        meant["args"] = None
    if "args" in partial and app.args is not None and "cmd" not in partial:
        meant["cmd"] = None
    return msgspec.structs.replace(spec, **meant)


def _scale(state: MarathonState, fact: ScaleRequested) -> Draft:
    if fact.group is not None:
        return draft_scaled_group(state, fact.group, fact.factor)
    known = _existing(state, fact.app, fact.pod)
    if not 0 <= fact.instances <= instances_max:
        wrong = f"Expected `int` from 0 to {instances_max}, found {fact.instances} - at `$.instances`"
        raise Refused(Refusal.INVALID, wrong)
    return Draft(changed="scaled", targets={known.spec.id: scaled(known.latest.spec, fact.instances)})


def _restart(state: MarathonState, fact: RestartRequested) -> Draft:
    if fact.group is not None:
        apps = {app_id: app.latest.spec for app_id, app in within(state, fact.group).items()}
        return Draft(changed="restarted", targets=apps, restart=True, group=fact.group)
    known = _existing(state, fact.app, fact.pod)
    return Draft(changed="restarted", targets={known.spec.id: known.latest.spec}, restart=True)


def _removal(state: MarathonState, fact: RemovalRequested) -> Draft:
    if fact.group is not None:
        return draft_group_removal(state, fact.group)
    return Draft(changed="removed", targets={_existing(state, fact.app, fact.pod).spec.id: None})


def _rollback(state: MarathonState, fact: RollbackRequested) -> Draft:
    if fact.group is not None:
        return draft_group_rollback(state, fact.group, fact.to_version)
    known = _existing(state, fact.app, fact.pod)
    was = known.history.get(fact.to_version)
    if was is None:
        raise Refused(Refusal.NOT_FOUND, f"{known.spec.id} has no version {fact.to_version}")
    return Draft(changed="rolled back", targets={known.spec.id: was.spec})


def _cancel(state: MarathonState, fact: CancelRequested) -> Draft:
    if fact.deployment not in state.deployments:
        raise no_deployment(fact.deployment)
    return reversal(state, fact.deployment)


def _fewer(state: MarathonState, fact: KillsRequested) -> Draft:
    """Each app with so many instances fewer as are to be killed of it."""
    killed: dict[AppId, int] = {}
    for task in known_tasks(state, fact.tasks):
        killed[state.owners[task]] = killed.get(state.owners[task], 0) + 1
    targets: dict[AppId, RunSpec | None] = {}
    for app_id, count in killed.items():
        spec = state.apps[app_id].latest.spec
        targets[app_id] = scaled(spec, max(0, spec.instances - count))
    return Draft(changed="killed", targets=targets, one_step=True)


def known_tasks(state: MarathonState, tasks: Iterable[TaskId]) -> list[TaskId]:
    """The instances, each once, without those that are on their way out, or replaced, already. Raises Refused if one is
    none.
    """
    found = list(dict.fromkeys(instance_with(state, task) for task in tasks))
    unknown = [task for task in found if task not in state.owners]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise Refused(Refusal.NOT_FOUND, f"no instance {unknown[0]}{more}")
    return [task for task in found if _is_wanted(state, task)]


def _is_wanted(state: MarathonState, task: TaskId) -> bool:
    app = state.apps[state.owners[task]]
    return not app.removed and (task in app.waiting or task in app.launched)


# ---- what is there ----------------------------------------------------------------------------------------------


def wanted(state: MarathonState, app_id: AppId | None) -> App | None:
    """An app or a pod that is not removed."""
    app = state.apps.get(app_id) if app_id is not None else None
    return None if app is None or app.removed else app


def _existing(state: MarathonState, app_id: AppId | None, pod_id: AppId | None) -> App:
    if app_id is None and pod_id is None:
        raise Refused(Refusal.INVALID, "expected the id of an app - at `$.app`")
    known, what, name = (
        (wanted(state, app_id), "app", app_id) if app_id is not None else (wanted(state, pod_id), "pod", pod_id)
    )
    assert name is not None
    if known is None or isinstance(known.spec, AppSpec) != (what == "app"):
        raise not_found(what, name)
    return known


def not_found(what: str, name: str) -> Refused:
    """There is no such thing."""
    return Refused(Refusal.NOT_FOUND, f"{what} {name} does not exist")


def no_deployment(name: str) -> Refused:
    """It ended, or never was."""
    return Refused(Refusal.NOT_FOUND, f"deployment {name} does not exist")


# ---- what must hold ---------------------------------------------------------------------------------------------


def _check(state: MarathonState, draft: Draft, app_id: AppId, spec: RunSpec) -> None:
    """Raises Refused for what may not be."""
    known = wanted(state, app_id)
    _check_rules(spec)
    wrong = _unknown_secret(state, spec) or _too_large(spec) or _another_kind(known, spec)
    wrong = wrong or (_in_the_way(state, draft, app_id) if known is None else None)
    if wrong is not None:
        raise Refused(Refusal.INVALID, wrong)


def _check_rules(spec: RunSpec) -> None:
    try:
        check_document(spec)
    except DocumentError as error:
        raise Refused(Refusal.INVALID, str(error)) from None


def _unknown_secret(state: MarathonState, spec: RunSpec) -> str | None:
    return unknown_secret(spec, state.secrets, "$")


def _too_large(spec: RunSpec) -> str | None:
    size = len(msgspec.msgpack.encode(spec))
    size = max(size, largest_task_bytes(spec) if isinstance(spec, AppSpec) else largest_bytes(spec))
    if size <= app_bytes_max:
        return None
    what = "app" if isinstance(spec, AppSpec) else "pod"
    return f"the {what} makes messages of {size} bytes, at most {app_bytes_max} are allowed - at `$`"


def _another_kind(known: App | None, spec: RunSpec) -> str | None:
    if known is None or isinstance(known.spec, AppSpec) == isinstance(spec, AppSpec):
        return None
    kinds = ("a pod", "an app") if isinstance(spec, AppSpec) else ("an app", "a pod")
    return f"{spec.id} is {kinds[0]}, and does not become {kinds[1]} - at `$.id`"


def _in_the_way(state: MarathonState, draft: Draft, app_id: AppId) -> str | None:
    """A group and an app cannot have the same id. (Marathon: `Group.scala`)"""
    for other in above(app_id):
        if _will_be(state, draft.targets, other):
            return f"{other} is an app, and cannot be the group of {app_id} - at `$.id`"
    group = app_id in state.groups and draft.groups.get(app_id, state.groups[app_id]) is not None
    inside = any(is_within(other, app_id) for other in (*state.apps, *draft.targets) if wanted(state, other))
    if group or inside:
        return f"{app_id} is a group, and cannot be an app - at `$.id`"
    return None


def _will_be(state: MarathonState, targets: Mapping[AppId, RunSpec | None], app_id: AppId) -> bool:
    return targets[app_id] is not None if app_id in targets else wanted(state, app_id) is not None
