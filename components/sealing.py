"""How a secret is sealed: to the cluster's key for the log, to one agent's key for one task.

    who sets it ── sealed to the cluster, bound to its name ──► master
                   master ── sealed to an agent, bound to a task and the name ──► agent

A sealed box can be opened by the owner of a key pair alone, and says nothing of who made it. (libsodium:
crypto_box_seal; X25519, XSalsa20, Poly1305) The cluster's pair is made of the key that signs its checkpoints.

Rule of this room: a value is in no message, whatever goes wrong with it.
"""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from nacl.signing import VerifyKey

from bus.nouns import TaskId
from bus.secrets import NotOpened, handed_on_as, kept_as, value_bytes_max
from eventstore.signing import Signer

key_bytes = 32
_BROKEN = (CryptoError, ValueError, TypeError, RuntimeError)
"""What nacl raises for a key or a box that is none."""


class SealRefused(Exception):
    """A value cannot be sealed, or a key file not be used; the text says why and what to do."""


def seal(public: str, name: str, value: bytes) -> str:
    """A value for a cluster's master alone, by its public key (Ed25519, hex). Raises SealRefused."""
    if not 1 <= len(value) <= value_bytes_max:
        raise SealRefused(f"the value has {len(value)} bytes: expected 1 to {value_bytes_max}")
    try:
        to = VerifyKey(bytes.fromhex(public)).to_curve25519_public_key()
    except _BROKEN:
        raise SealRefused("the cluster's public key is not a key") from None
    return _sealed(to, kept_as(name), value)


class Vault:
    """What opens a cluster's secrets: its key. It only ever hands them on sealed to somebody else."""

    def __init__(self, signer: Signer) -> None:
        self._key = signer.curve

    def hand_on(self, name: str, sealed: str, task: TaskId, to: str) -> str:
        """A kept secret, for one task and the owner of a key (X25519, hex) alone. Raises NotOpened."""
        value = _opened(self._key, kept_as(name), sealed)
        try:
            return _sealed(PublicKey(bytes.fromhex(to)), handed_on_as(task, name), value)
        except _BROKEN:
            raise NotOpened("the agent's public key is not a key") from None


class AgentKey:
    """An agent's key pair: what is sealed to it can be opened on its machine alone."""

    def __init__(self, seed: bytes) -> None:
        self._key = PrivateKey(seed)

    @classmethod
    def of(cls, path: Path) -> AgentKey:
        """The key in a file that only its owner can read, made with the file if there is none. Raises SealRefused."""
        try:
            if not path.exists():
                _make(path)
            return cls(_read(path))
        except OSError as error:
            raise SealRefused(f"{path}: {error.strerror}") from None

    @property
    def public(self) -> str:
        """The public half, hex."""
        return bytes(self._key.public_key).hex()

    def open(self, task: TaskId, name: str, sealed: str) -> bytes:
        """The value of a secret that was handed on for a task. Raises NotOpened."""
        return _opened(self._key, handed_on_as(task, name), sealed)


# ---- boxes -------------------------------------------------------------------------------------------------------


def _sealed(to: PublicKey, bound: bytes, value: bytes) -> str:
    return base64.b64encode(SealedBox(to).encrypt(bound + value)).decode()


def _opened(key: PrivateKey, bound: bytes, sealed: str) -> bytes:
    try:
        text = SealedBox(key).decrypt(base64.b64decode(sealed, validate=True))
    except _BROKEN:
        raise NotOpened("what it is sealed as cannot be opened with this key") from None
    if not text.startswith(bound):
        raise NotOpened("what it is sealed as belongs to another")
    return text[len(bound) :]


# ---- files -------------------------------------------------------------------------------------------------------


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)  # of a process that ended before it was whole
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "w") as out:
        out.write(os.urandom(key_bytes).hex() + "\n")
        out.flush()
        os.fsync(file)
    fresh.rename(path)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        mode, text = os.fstat(file.fileno()).st_mode, file.read(1024)
    if stat.S_IMODE(mode) & 0o077:
        raise SealRefused(f"{path} can be read by others (mode {stat.S_IMODE(mode):04o}): chmod 600 {path}")
    try:
        found = bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        found = b""
    if len(found) != key_bytes:
        raise SealRefused(f"{path} is not a key: remove it, and another is made")
    return found
