"""Documents as clients of Marathon have sent them over the years, made into what they are today.

Fields that were renamed are renamed, what Marathon only ever says is left out, and what cannot be honoured is refused
by name; nothing of it is ever written again.
Rule of this room: it works on parsed JSON of any shape, and touches only what it knows. (Marathon:
`AppNormalization.scala`, `NetworkTranslation`)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import inspect

from bus.documents.base import Complaint, Steps
from bus.documents.complaints import plain, short
from bus.documents.ids import resolved

Raw = dict[str, Any]

SAID_ONLY = (
    "version",
    "versionInfo",
    "tasks",
    "tasksStaged",
    "tasksRunning",
    "tasksHealthy",
    "tasksUnhealthy",
    "deployments",
    "lastTaskFailure",
    "taskStats",
    "tasksStats",
    "readinessCheckResults",
)
"""Of an app: what Marathon says and is sent back by whoever changes what it said."""
NO_IMAGES = "no agent runs images: leave it out, and fetch what the command needs"
NO_NETWORKS = "no agent gives a task a network of its own: expected host networking, and portDefinitions"
NOT_BUILT = {
    "ipAddress": NO_NETWORKS,
    "residency": "no volume outlives its instance here",
    "storeUrls": "nothing is stored for an app: expected fetch",
    "taskRateLimit": "expected backoffSeconds and maxLaunchDelaySeconds",
    "tty": "no task has a terminal",
    "executorResources": "the executor of an app takes nothing of its own",
    "resourceLimits": "a task has what it asks for: expected cpus and mem",
}
"""Fields of Marathon's apps that say something we cannot do. Empty they say nothing."""
ARCHIVES = (".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".zip")
"""What `uris` unpacks. (Marathon: `FetchUri.isExtract`)"""


def without_nulls(raw: Any, type_: inspect.Type) -> None:
    """Leave out the fields that are null: they are not given. A required one stays and is refused."""
    type_ = plain(type_, raw)
    match type_:
        case inspect.StructType(fields=fields) if isinstance(raw, dict):
            known = {field.encode_name: field for field in fields}
            for name in [name for name, value in raw.items() if value is None]:
                if name not in known or not known[name].required:
                    del raw[name]
            for name, field in known.items():
                if name in raw:
                    without_nulls(raw[name], field.type)
        case inspect.DictType(value_type=inner) if isinstance(raw, dict):
            for value in raw.values():
                without_nulls(value, inner)
        case inspect.VarTupleType(item_type=inner) if isinstance(raw, list):
            for value in raw:
                without_nulls(value, inner)


class Older:
    """What was changed in a document, and what could not be."""

    def __init__(self) -> None:
        self.complaints: list[Complaint] = []
        self._moved: dict[Steps, Callable[[Steps], Steps]] = {}

    def app(self, raw: Any, at: Steps, base: str) -> None:
        """An app that is said in group `base`."""
        if not isinstance(raw, dict):
            return
        for name in SAID_ONLY:
            raw.pop(name, None)
        for name, why in NOT_BUILT.items():
            self._refuse(raw, name, at, why)
        if raw.pop("executor", "") not in ("", "//cmd"):
            self.complaints.append(Complaint("no executor but //cmd", (*at, "executor")))
        resolve_id(raw, base)
        self._uris(raw, at)
        self._container(raw, at)
        self._single_instance(raw)

    def pod(self, raw: Raw) -> None:
        """A pod."""
        raw.pop("version", None)  # (what Marathon says, never what it is told)
        for index, container in _each(raw, "containers"):
            if isinstance(container, dict):
                self._refuse(container, "image", ("containers", index), NO_IMAGES)

    def group(self, raw: Any, at: Steps, base: str, depth: int = 0) -> None:
        """A group that is said in group `base`, and everything in it."""
        if not isinstance(raw, dict):
            return
        if depth > group_depth_max:
            self.complaints.append(Complaint(f"groups lie deeper than {group_depth_max}", at))
            raw.clear()
            return
        self._refuse(raw, "pods", at, "pods are not changed through groups: leave them out, they stay as they are")
        resolve_id(raw, base)
        id_ = raw.get("id")
        inside = id_ if isinstance(id_, str) else base
        for index, app in _each(raw, "apps"):
            self.app(app, (*at, "apps", index), inside)
        for index, group in _each(raw, "groups"):
            if isinstance(group, dict):
                group.pop("version", None)  # (what Marathon says of it)
            if isinstance(group, dict) and group.get("id") is None:
                self.complaints.append(Complaint("Object missing required field `id`", (*at, "groups", index)))
                group["id"] = f"{inside.rstrip('/')}/a-{index}"
            self.group(group, (*at, "groups", index), inside, depth + 1)

    def told(self, complaint: Complaint) -> Complaint:
        """A complaint with the place as the person wrote it."""
        steps = complaint.steps or ()
        for length in range(len(steps), 0, -1):
            if steps[:length] in self._moved:
                return complaint._replace(steps=self._moved[steps[:length]](steps))
        return complaint

    def _refuse(self, raw: Raw, name: str, at: Steps, why: str) -> None:
        if raw.pop(name, None) not in (None, False, [], {}, 0):
            self.complaints.append(Complaint(why, (*at, name)))

    def _uris(self, raw: Raw, at: Steps) -> None:
        uris = raw.get("uris")
        if uris is None or uris == []:
            raw.pop("uris", None)
            return
        if raw.get("fetch"):
            self.complaints.append(Complaint("uris and fetch exclude each other", (*at, "uris")))
        elif not isinstance(uris, list):
            self.complaints.append(Complaint(f"Expected `array`, found {short(uris)}", (*at, "uris")))
        else:
            raw["fetch"] = [{"uri": uri, "extract": str(uri).endswith(ARCHIVES)} for uri in uris]
            length = len(at) + 1
            self._moved[(*at, "fetch")] = lambda steps: (*at, "uris", *steps[length : length + 1])
        del raw["uris"]

    def _container(self, raw: Raw, at: Steps) -> None:
        container = raw.get("container")
        if not isinstance(container, dict):
            return
        at = (*at, "container")
        docker = container.pop("docker", None)
        if isinstance(docker, dict):
            self._docker(docker, (*at, "docker"))
        elif docker is not None:
            self.complaints.append(Complaint(NO_IMAGES, (*at, "docker")))
        says_docker = container.get("type") == "DOCKER"  # (the PyPI client says so of every container)
        if says_docker:
            del container["type"]
        for name, why in (("portMappings", NO_NETWORKS), ("appc", NO_IMAGES), ("linuxInfo", "not built")):
            self._refuse(container, name, at, why)
        volumes = container.get("volumes")
        for index, volume in enumerate(volumes if isinstance(volumes, list) else ()):
            for name in ("hostPath", "persistent", "external"):
                if isinstance(volume, dict) and volume.get(name) is not None:
                    why = "no agent mounts a volume into a task: expected a volume with `secret`"
                    self.complaints.append(Complaint(why, (*at, "volumes", index, name)))
                    volume.clear()
                    volume |= {"containerPath": f"a-{index}", "secret": "a"}
        if says_docker and not any(value not in (None, [], {}) for value in container.values()):
            del raw["container"]

    def _docker(self, docker: Raw, at: Steps) -> None:
        if docker.pop("network", None) not in (None, "HOST"):
            self.complaints.append(Complaint(NO_NETWORKS, (*at, "network")))
        self._refuse(docker, "portMappings", at, NO_NETWORKS)
        for name in docker:
            if docker[name] not in (None, False, [], {}, ""):
                self.complaints.append(Complaint(NO_IMAGES, (*at, name)))

    def _single_instance(self, raw: Raw) -> None:
        labels = raw.get("labels")
        if isinstance(labels, dict) and labels.get(SINGLE_INSTANCE) == "true" and raw.get("upgradeStrategy") is None:
            raw["upgradeStrategy"] = {"minimumHealthCapacity": 0.0, "maximumOverCapacity": 0.0}


SINGLE_INSTANCE = "MARATHON_SINGLE_INSTANCE_APP"
"""The label of an app that must never run twice. (Marathon: LabelSingleInstanceApp)"""
group_depth_max = 50


def _each(raw: Raw, name: str) -> Iterator[tuple[int, Any]]:
    found = raw.get(name)
    yield from enumerate(found if isinstance(found, list) else ())


def resolve_id(raw: Raw, base: str) -> None:
    """Make an id absolute; and what it depends on, which is said relative to the id."""
    id_ = raw.get("id")
    if isinstance(id_, str):
        raw["id"] = id_ = resolved(id_, base)
    needs = raw.get("dependencies")
    if isinstance(needs, list):
        inside = id_ if isinstance(id_, str) else base
        raw["dependencies"] = [resolved(each, inside) if isinstance(each, str) else each for each in needs]
