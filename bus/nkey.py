"""Keys, and what they sign: Ed25519 keys as NATS writes them, and NATS' own form of JSON web tokens.

Rule of this room: a seed is the secret half; it is shown by no repr, and stands in no error.
(nats-io/nkeys: the first letter of a key tells what it is for; NATS JWT v2)
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from enum import Enum
from hashlib import sha256
from typing import Any

import nkeys
from nacl.signing import SigningKey


class KeyRefused(ValueError):
    """A text that is no key of the kind that is needed."""


class For(Enum):
    """What a key is for."""

    OPERATOR = nkeys.PREFIX_BYTE_OPERATOR
    ACCOUNT = nkeys.PREFIX_BYTE_ACCOUNT
    USER = nkeys.PREFIX_BYTE_USER


_LETTERS = {For.OPERATOR: "O", For.ACCOUNT: "A", For.USER: "U"}


class Key:
    """A key pair."""

    def __init__(self, seed: str) -> None:
        """Raises KeyRefused if this is no seed."""
        try:
            prefix, raw = nkeys.decode_seed(bytearray(seed.encode("ascii")))
            self.purpose = For(prefix)
            self._signing = SigningKey(bytes(raw))
            checked = nkeys.encode_seed(bytes(raw), prefix).decode()
        except (ValueError, nkeys.NkeysError, TypeError):
            raise KeyRefused("not the seed of a key") from None
        if checked != seed:
            raise KeyRefused("not the seed of a key: its checksum is wrong")
        self.seed = seed
        self.public = _public(self.purpose, bytes(self._signing.verify_key))

    @classmethod
    def new(cls, purpose: For) -> Key:
        """A new one, by chance."""
        return cls(nkeys.encode_seed(secrets.token_bytes(32), purpose.value).decode())

    def sign(self, text: bytes) -> bytes:
        """The signature: 64 bytes, for the same text always the same."""
        return self._signing.sign(text).signature

    def __repr__(self) -> str:
        return f"Key({self.public})"


def _public(purpose: For, raw: bytes) -> str:
    body = bytes([purpose.value]) + raw
    return base64.b32encode(body + bytes(nkeys.crc16_checksum(bytearray(body)))).rstrip(b"=").decode()


def check_public(text: str, purpose: For) -> str:
    """`text`, if it is the public half of a key for this purpose. Raises KeyRefused."""
    try:
        body = base64.b32decode(text + "=" * (-len(text) % 8))
    except ValueError:
        body = b""
    if len(body) != 35 or _public(purpose, body[1:33]) != text:
        letter = _LETTERS[purpose]
        raise KeyRefused(f"{text[:60]!r} is not the public half of a key: expected {letter} and 55 more letters")
    return text


def signed(claims: Mapping[str, Any], by: Key) -> str:
    """A token that says these claims, signed: the same claims always give the same token. (NATS JWT v2)"""
    known = {**claims, "iss": by.public}
    digest = sha256(_json(known)).digest()
    known["jti"] = base64.b32encode(digest).rstrip(b"=").decode()
    head = _base64(_json({"typ": "JWT", "alg": "ed25519-nkey"}))
    text = f"{head}.{_base64(_json(known))}"
    return f"{text}.{_base64(by.sign(text.encode()))}"


def claims_of(token: str) -> dict[str, Any]:
    """What a token says, whoever signed it. Raises KeyRefused."""
    try:
        _head, body, _signature = token.split(".")
        found = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (ValueError, RecursionError):
        raise KeyRefused("not a token") from None
    if not isinstance(found, dict):
        raise KeyRefused("not a token")
    return found


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
