"""Where what belongs to a task lies on its machine: its secrets in memory, one directory for each task.

    /dev/shm/busbar-<hash of the agent's work directory>/<name of the sandbox>/env/NAME     for its environment
                                                                             /files/NAME   for its files

    <work>/sandboxes/<name of the sandbox>          a task's own
    <work>/sandboxes/@<name>/NAME                   a directory that the tasks of a group share

Rule of this room: agent and executor find the same place without being told; nothing here touches it.
"""

from __future__ import annotations

import re
from hashlib import sha256

from bus.nouns import TaskGroupId, TaskId

SHARED_MEMORY = "/dev/shm"
ENV, FILES = "env", "files"
GROUP = "@"
"""What the name of a group's directory begins with: no sandbox's does."""
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")


def sandbox_name(id_: TaskId | TaskGroupId) -> str:
    """The directory name of a task's sandbox: the id itself if it is plain, else its hash.

    Ids come from outside. No two share a name, and none leads out of the directory: a plain name begins with a letter
    or digit and holds no slash, a hash begins with `_`.
    """
    if _PLAIN.fullmatch(id_):
        return id_
    return "_" + sha256(id_.encode()).hexdigest()


def group_name(group: TaskGroupId) -> str:
    """The name of the directory whose directories the tasks of a group share."""
    return GROUP + sandbox_name(group)


def shared_by(sandbox: str, group: TaskGroupId) -> str:
    """Where the volumes of a group lie that a task with this sandbox is in."""
    return f"{sandbox.rpartition('/')[0]}/{group_name(group)}"


def secrets_of(work: str) -> str:
    """Where the secrets of an agent's tasks lie."""
    return f"{SHARED_MEMORY}/busbar-{sha256(work.encode()).hexdigest()[:16]}"


def secrets_for(sandbox: str) -> str:
    """Where the secrets of one task lie; its sandbox is `<work>/sandboxes/<name>`."""
    work, _, name = sandbox.rpartition("/sandboxes/")
    return f"{secrets_of(work)}/{name}"


def file_name(secret: str) -> str:
    """A secret's name as the name of a file: no two share one."""
    return secret.replace("/", "+")
