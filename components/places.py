"""Where a task's secrets lie on its machine: in memory, one directory for each task, named by its sandbox.

    /dev/shm/busbar-<hash of the agent's work directory>/<name of the sandbox>/env/NAME     for its environment
                                                                             /files/NAME   for its files

Rule of this room: agent and executor find the same place without being told; nothing here touches it.
"""

from __future__ import annotations

from hashlib import sha256

SHARED_MEMORY = "/dev/shm"
ENV, FILES = "env", "files"


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
