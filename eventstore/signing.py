"""Who vouches for a history: one Ed25519 key per cluster, and the text of a checkpoint that it signs.

DATA/cluster.key holds the seed (hex), for its owner's eyes; DATA/cluster.pub the public key, for everybody's.
Rule of this room: what is signed is one canonical text, made here for the one who signs and the one who checks.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from nacl.exceptions import BadSignatureError
from nacl.public import PrivateKey
from nacl.signing import SigningKey, VerifyKey

from bus.vouching import CheckpointMade

seed_bytes = 32
key_bytes_max = 1024
"""More than any key file holds."""


class KeyRefused(Exception):
    """The file is not a key, or not one that can be trusted to be secret; the text says what to do."""


class Signer:
    """A cluster's secret key."""

    def __init__(self, seed: bytes) -> None:
        self._key = SigningKey(seed)

    @classmethod
    def load(cls, path: str | Path) -> Signer:
        """The key in a file that only its owner may read. Raises KeyRefused."""
        return cls(_read(Path(path), secret=True))

    @property
    def public(self) -> str:
        """The public key, hex."""
        return self._key.verify_key.encode().hex()

    @property
    def curve(self) -> PrivateKey:
        """The same key as one that opens what was sealed to it. (X25519)"""
        return self._key.to_curve25519_private_key()

    def sign(self, message: bytes) -> str:
        """The signature of a message, hex."""
        return self._key.sign(message).signature.hex()


def new_key(path: str | Path) -> Signer:
    """A new key: its seed in a new file `path` (0600), its public half beside it in `<name>.pub` (0644).

    Raises KeyRefused if there is a key already: a cluster keeps its key for life.
    """
    path = Path(path)
    seed = os.urandom(seed_bytes)
    signer = Signer(seed)
    _write_new(path, seed.hex(), 0o600)
    beside = public_file(path)
    beside.unlink(missing_ok=True)  # of a key that is gone: what it signed is checked with the key it carries
    _write_new(beside, signer.public, 0o644)
    return signer


def public_file(path: Path) -> Path:
    """Where the public half of a key lies: DATA/cluster.key has DATA/cluster.pub."""
    return path.with_suffix(".pub")


def read_public(path: str | Path) -> str:
    """The public key in a file, hex. Raises KeyRefused."""
    return _read(Path(path), secret=False).hex()


def verified(public: str, message: bytes, signature: str) -> bool:
    """Whether the owner of a public key (hex) signed the message."""
    try:
        VerifyKey(bytes.fromhex(public)).verify(message, bytes.fromhex(signature))
    except (BadSignatureError, ValueError, TypeError):  # no signature, or nothing that could be one
        return False
    return True


def checkpoint_text(cluster: str, fact: CheckpointMade) -> bytes:
    """What is signed of a checkpoint: everything it states, and of which cluster."""
    return (
        f"busbar checkpoint 1\ncluster {cluster}\nupto {fact.upto}\nchain {fact.chain}\n"
        f"folded_n {fact.folded_n}\nstate_hash {fact.state_hash}\n"
    ).encode()


def _write_new(path: Path, text: str, mode: int) -> None:
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        raise KeyRefused(f"{path} exists: a cluster keeps its key for life") from None
    with os.fdopen(file, "w") as out:
        os.fchmod(file, mode)  # whatever the umask is
        out.write(text + "\n")
        out.flush()
        os.fsync(file)


def _read(path: Path, *, secret: bool) -> bytes:
    try:
        with path.open("rb") as file:
            mode, text = os.fstat(file.fileno()).st_mode, file.read(key_bytes_max)
    except OSError as error:
        raise KeyRefused(f"{path}: {error.strerror}") from None
    if secret and stat.S_IMODE(mode) & 0o077:
        raise KeyRefused(f"{path} can be read by others (mode {stat.S_IMODE(mode):04o}): chmod 600 {path}")
    try:
        found = bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        found = b""
    if len(found) != seed_bytes:
        raise KeyRefused(f"{path} is not a key: expected {2 * seed_bytes} hexadecimal digits")
    return found
