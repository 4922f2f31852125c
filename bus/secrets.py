"""Secrets as they are spoken of: by name. What the bus carries of a value is sealed.

Rule of this room: as in `bus.events`; a value is never in it, nor in a name, a path or a message.
"""

from __future__ import annotations

import base64
import binascii
import re

from bus.events import Fact, fact
from bus.nouns import AgentId, Noun, Now, TaskId, TaskInfo

SECRET_PATTERN = r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?)*\Z"
NAME_RULE = "parts of [a-z0-9._-] between slashes, each beginning and ending with a letter or digit"
name_chars_max = 253
value_bytes_max = 64 * 1024
"""Of one value; so much fits into an environment, too. (Linux: MAX_ARG_STRLEN is 128 KiB)"""
references_max = 100
"""Secrets that one app, job or task refers to."""
path_chars_max = 1000
box_bytes = 48
"""What a sealed box adds. (libsodium: crypto_box_SEALBYTES)"""
_OWN = (".busbar", "stdout", "stderr")
"""What the launcher puts into a sandbox."""
_NAME = re.compile(SECRET_PATTERN)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")


def name_invalid(name: str) -> str | None:
    """What is wrong with a secret's name. Whoever mistook the value for it is not told it again."""
    if not 1 <= len(name) <= name_chars_max:
        return f"the name of a secret has {len(name)} characters: expected 1 to {name_chars_max}"
    if not _NAME.match(name):
        return f"that is not the name of a secret: expected {NAME_RULE}"
    return None


def path_invalid(path: str) -> str | None:
    """Why a secret cannot be a file at this path of a sandbox."""
    parts = path.split("/")
    if not 1 <= len(path) <= path_chars_max:
        return f"the path has {len(path)} characters: expected 1 to {path_chars_max}"
    if path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        return "expected a path inside the sandbox: relative, no part empty, '.' or '..'"
    if any(len(part.encode("utf-8", "replace")) > 255 or re.search(r"[\x00-\x1f\x7f]", part) for part in parts):
        return "expected parts of at most 255 bytes, without control characters"
    if parts[0] in _OWN:
        return f"{parts[0]} in the sandbox is not the task's to name"
    return None


def paths_clash(paths: list[str]) -> str | None:
    """Which of several files cannot be beside the others: it is there twice, or would be their directory."""
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            return path
        seen.add(path)
    for path in paths:
        parts = path.split("/")
        if any("/".join(parts[:depth]) in seen for depth in range(1, len(parts))):
            return path
    return None


def references_invalid(info: TaskInfo) -> str | None:
    """What is wrong with how a task refers to secrets."""
    env, files = info.command.secret_env, info.command.secret_files
    if len(env) + len(files) > references_max:
        return f"Task refers to {len(env) + len(files)} secrets: expected at most {references_max}"
    if any(not _VARIABLE.fullmatch(variable) for variable in env):
        return "Task has a secret in a variable that is none: expected letters, digits and _, no digit in front"
    wrong = [name_invalid(name) for name in (*env.values(), *files.values())]
    wrong += [path_invalid(path) for path in files]
    clash = paths_clash(list(files))
    if clash is not None:
        wrong.append("two files clash")
    found = next((why for why in wrong if why is not None), None)
    return None if found is None else f"Task refers to a secret wrongly: {found}"


def names_of(info: TaskInfo) -> list[str]:
    """The secrets a task refers to, each once, by name."""
    return sorted({*info.command.secret_env.values(), *info.command.secret_files.values()})


# ---- what is sealed ----------------------------------------------------------------------------------------------


class NotOpened(Exception):
    """A sealed value cannot be opened, or is not what it is said to be; the text says why."""


def kept_as(name: str) -> bytes:
    """What is sealed in front of a value: so that it cannot be taken for another's."""
    return f"busbar secret 1\0{name}\0".encode()


def handed_on_as(task: TaskId, name: str) -> bytes:
    """The same, where it is sealed for one task."""
    return f"busbar secret of a task 1\0{task}\0{name}\0".encode()


def sealed_size(name: str, sealed: str) -> int:
    """How large the value in a box is; 0 if there can be none."""
    try:
        box = base64.b64decode(sealed, validate=True)
    except binascii.Error:
        return 0
    return max(0, len(box) - box_bytes - len(kept_as(name)))


# ---- what is said about them -------------------------------------------------------------------------------------


@fact("secret.given", said="client, to the master")
class SecretGiven(Fact, frozen=True):
    """A secret shall have this value from now on."""

    name: str
    sealed: str
    """The value, bound to the name and sealed to the cluster's key. (base64; `components.sealing`)"""
    key: str
    """Which key that is: its public half (Ed25519, hex)."""


@fact("secret.withdrawn", said="client, to the master")
class SecretWithdrawn(Fact, frozen=True):
    """A secret shall be no more."""

    name: str


@fact("secret.kept", said="master, to the client")
class SecretKept(Fact, frozen=True):
    """A secret has this value; tasks launched from now on get it."""

    name: str
    sealed: str
    """As it was given."""
    key: str
    number: int = 1
    """Which of its values this is."""


@fact("secret.removed", said="master, to the client")
class SecretRemoved(Fact, frozen=True):
    """A secret is no more; what it was sealed as stays in the log."""

    name: str


@fact("secret.named", said="master, to each framework; then the framework, to nobody")
class SecretsNamed(Fact, frozen=True):
    """Which secrets there are now, by name: what a framework is told beside its admission, and what it noted of it."""

    names: tuple[str, ...] = ()
    """New ones; all of them if `whole`."""
    gone: tuple[str, ...] = ()
    whole: bool = False


@fact("secret.awaited", said="agent, to nobody")
class SecretsAwaited(Fact, frozen=True):
    """A task is launched here that refers to secrets: the agent gets them before it hands the task on."""

    task: TaskInfo


# ---- asked of the master: `sealing`, `vault`, `secrets` --------------------------------------------------------------


class SecretRow(Noun, frozen=True):
    """A secret as the master keeps it: never its value. Query `vault`."""

    name: str
    since: Now
    """When it got its value."""
    by: str
    """Who set it."""
    version: int
    size: int
    """Of the value, in bytes."""
    lost: bool = False
    """It is sealed to another key than the cluster's: nobody here can open it."""


class SecretQuestion(Noun, frozen=True):
    """What an agent asks for a task of its own: query `secrets`."""

    task: TaskId
    agent: AgentId
    name: str


class SecretAnswer(Noun, frozen=True):
    """A secret for one task, of use to its agent alone; or why it is withheld."""

    sealed: str = ""
    """The value, bound to task and name and sealed to the agent's key."""
    withheld: str = ""
