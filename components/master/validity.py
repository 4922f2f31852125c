"""Why a registration or a launch is not valid, in words with the numbers.

Rule of this room: it judges what others wrote, so it trusts no field; it says why, others say what follows.
(Mesos: `master/validation.cpp`, `common/validation.cpp`, `common/roles.cpp`)
"""

from __future__ import annotations

import math
import re

import msgspec

from bus.artifacts import artifacts_invalid
from bus.events import AgentRegistered, FrameworkRegistered
from bus.nouns import MASTER, AgentId, FrameworkId, Resources, TaskId, TaskInfo, normal
from bus.secrets import path_invalid, references_invalid

TASK_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")
KEY = re.compile(r"(?:[0-9a-f]{64})?")
_VOLUME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")
volumes_max = 100
amount_max = 10**12
"""Of one resource on one node."""
attributes_bytes_max = 4096
task_bytes_max = 256 * 1024
"""One task's description: half an event, so that everybody on its way can add to it."""
role_length_max = 255
zone_length_max = 255
seconds_max = 10 * 365 * 24 * 3600
BUILT_IN = frozenset({"marathon", "metronome"})
"""Ids of frameworks that no agent may take, even before they register."""


def reserved(name: str) -> bool:
    """Whether an id is somebody else's by its form: the master's, a person's, or a master's that stands by."""
    return name == MASTER or name.startswith(("u-", "m-"))


def malformed(resources: Resources) -> str | None:
    """What is wrong with an amount in itself."""
    for name, amount in (("cpus", resources.cpu_milli), ("mem", resources.mem_mb), ("disk", resources.disk_mb)):
        if not 0 <= amount <= amount_max:
            return f"{name} is {amount}: expected 0 to {amount_max}"
    if resources.ports != normal(resources.ports) or any(
        not 1 <= low <= high <= 65535 for low, high in resources.ports
    ):
        return "ports: expected ascending, disjoint ranges between 1 and 65535"
    return None


def agent_invalid(fact: AgentRegistered) -> str | None:
    """What is wrong with what an agent says about itself."""
    wrong = malformed(fact.resources)
    if wrong is not None:
        return wrong
    if fact.resources.empty:
        return "it has no resources: expected some of cpus, mem, disk, ports"
    if not 1 <= len(fact.hostname) <= 255:
        return f"its hostname has {len(fact.hostname)} characters: expected 1 to 255"
    size = len(msgspec.msgpack.encode(fact.attributes))
    if size > attributes_bytes_max:
        return f"its attributes are {size} bytes: expected at most {attributes_bytes_max}"
    if not KEY.fullmatch(fact.key):
        return "its public key is not a key: expected 64 hexadecimal digits"
    if max(len(fact.region), len(fact.zone)) > zone_length_max:
        return f"its region and zone have {len(fact.region)} and {len(fact.zone)} characters: expected at most 255"
    return role_invalid(fact.role)


def framework_invalid(fact: FrameworkRegistered) -> str | None:
    """What is wrong with what a framework says about itself."""
    wrong = role_invalid(fact.role)
    if wrong is not None:
        return wrong
    if not 1 <= len(fact.name) <= 255:
        return f"its name has {len(fact.name)} characters: expected 1 to 255"
    return not_seconds("failover_timeout_s", fact.failover_timeout_s)


def role_invalid(role: str) -> str | None:
    r"""What is wrong with a role: `*`, or parts between slashes, none empty, `.`, `..`, `*`, or beginning with a dash.

    (Mesos: `roles::validate`; neither whitespace nor backspace)
    """
    if role == "*":
        return None
    if not 1 <= len(role) <= role_length_max:
        return f"the role has {len(role)} characters: expected 1 to {role_length_max}"
    for part in role.split("/"):
        if part in ("", ".", "..", "*"):
            return f"the role {role!r} has the part {part!r}: expected none empty, '.', '..' or '*'"
        if part.startswith("-"):
            return f"the role {role!r} has the part {part!r}: expected none to begin with '-'"
        if re.search(r"[\s\x00-\x1f\x7f]", part):
            return f"the role {role!r} holds whitespace or a control character"
    return None


def launch_invalid(
    info: TaskInfo, *, framework: FrameworkId, agent: AgentId, left: Resources, known: bool
) -> str | None:
    """Why a task cannot be launched on what is left of the accepted offers."""
    return (
        task_id_invalid(info.task)
        or (f"Task has duplicate ID: {info.task}" if known else None)
        or _parties(info, framework, agent)
        or _amount(info.resources)
        or _command(info)
        or references_invalid(info)
        or artifacts_invalid(info)
        or _volumes(info)
        or not_seconds("kill_grace_s", info.kill_grace_s)
        or (not_seconds("max_completion_s", info.max_completion_s) if info.max_completion_s is not None else None)
        or _size(info)
        or _more_than_offered(taken_by(info), left)
    )


def taken_by(info: TaskInfo) -> Resources:
    """What the launch of a task takes: the first of a group's takes what their executor does, too."""
    if info.group is None or info.group.index:
        return info.resources
    return info.resources + info.group.executor


def task_id_invalid(task: TaskId) -> str | None:
    """What is wrong with a task's id: 1 to 255 of [A-Za-z0-9._-], the first not a dot."""
    if TASK_ID.fullmatch(task):
        return None
    return f"Task ID {task[:300]!r} is invalid: expected 1 to 255 of [A-Za-z0-9._-], not beginning with '.'"


def _parties(info: TaskInfo, framework: FrameworkId, agent: AgentId) -> str | None:
    if info.framework != framework:
        return f"Task uses framework {info.framework} while framework {framework} is expected"
    if info.agent != agent:
        return f"Task uses invalid agent {info.agent} while agent {agent} is expected"
    return None


def _amount(resources: Resources) -> str | None:
    wrong = malformed(resources)
    if wrong is not None:
        return f"Task uses invalid resources: {wrong}"
    return "Task uses no resources" if resources.empty else None


def _command(info: TaskInfo) -> str | None:
    shell, argv = bool(info.command.shell), bool(info.command.argv)
    if shell != argv:
        return None
    return f"Task should have exactly one of shell and argv, found {'both' if shell else 'neither'}"


def _volumes(info: TaskInfo) -> str | None:
    if info.volumes and info.group is None:
        return "Task shares volumes, but is in no group"
    if len(info.volumes) > volumes_max:
        return f"Task shares {len(info.volumes)} volumes: expected at most {volumes_max}"
    for volume in info.volumes:
        wrong = (
            None if _VOLUME.fullmatch(volume.name) else "expected a name of 1 to 255 of [A-Za-z0-9._-], no dot first"
        )
        wrong = wrong or path_invalid(volume.path.removeprefix("/"))
        if wrong is not None:
            return f"Task shares a volume wrongly: {volume.name[:300]!r} at {volume.path[:300]!r}: {wrong}"
    if len({volume.path.removeprefix("/") for volume in info.volumes}) < len(info.volumes):
        return "Task shares two volumes at one path"
    return None


def _size(info: TaskInfo) -> str | None:
    size = len(msgspec.msgpack.encode(info))
    return None if size <= task_bytes_max else f"Task is {size} bytes: expected at most {task_bytes_max}"


def _more_than_offered(resources: Resources, left: Resources) -> str | None:
    if left.covers(resources):
        return None
    return f"Total resources {resources} required by task is more than available {left}"


def not_seconds(name: str, value: float) -> str | None:
    """What is wrong with a number of seconds."""
    if math.isfinite(value) and 0 <= value <= seconds_max:
        return None
    return f"{name} is {value}: expected 0 to {seconds_max} seconds"
