"""Keys and tokens: as NATS writes them, verified by other hands than ours, and seeds that show nowhere."""

from __future__ import annotations

import base64
import json
import string
from hashlib import sha256

import nkeys
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from bus.nkey import For, Key, KeyRefused, check_public, claims_of, signed

FIXED = nkeys.encode_seed(bytes(range(32)), nkeys.PREFIX_BYTE_ACCOUNT).decode()
"""The seed of an account, always the same."""


def raw_of(public: str) -> bytes:
    """The 32 bytes of a public key, read by hand."""
    return base64.b32decode(public + "=" * (-len(public) % 8))[1:33]


def unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verified(token: str) -> dict[str, object]:
    """The claims of a token whose signature is that of its issuer, by PyNaCl alone."""
    head, body, signature = token.split(".")
    claims: dict[str, object] = json.loads(unpadded(body))
    assert json.loads(unpadded(head)) == {"typ": "JWT", "alg": "ed25519-nkey"}
    VerifyKey(raw_of(str(claims["iss"]))).verify(f"{head}.{body}".encode(), unpadded(signature))
    return claims


@pytest.mark.parametrize(("purpose", "letter"), [(For.OPERATOR, "O"), (For.ACCOUNT, "A"), (For.USER, "U")])
def test_a_key_says_what_it_is_for(purpose: For, letter: str) -> None:
    """In its first letters, public half and seed alike; it is read again as it was."""
    key = Key.new(purpose)
    assert (key.public[0], key.seed[:2], len(key.public), len(key.seed)) == (letter, f"S{letter}", 56, 58)
    again = Key(key.seed)
    assert (again.public, again.purpose) == (key.public, purpose)
    assert check_public(key.public, purpose) == key.public


def test_another_library_reads_the_same_key() -> None:
    """nkeys, as nats-py has it: the same public half, the same signature."""
    ours, theirs = Key(FIXED), nkeys.from_seed(bytearray(FIXED.encode()))
    assert ours.public == theirs.public_key.decode()
    assert ours.sign(b"nonce") == theirs.sign(b"nonce")


def test_new_keys_are_all_different() -> None:
    """By chance."""
    assert len({Key.new(For.USER).seed for _ in range(100)}) == 100


@pytest.mark.parametrize("text", ["", "S", "SU", "SUA", "no seed", "ä" * 58, FIXED[:-1], f"{FIXED}A", FIXED.lower()])
def test_what_is_no_seed_is_refused(text: str) -> None:
    """Without repeating it: it may be most of one."""
    with pytest.raises(KeyRefused) as refused:
        Key(text)
    assert str(refused.value) in ("not the seed of a key", "not the seed of a key: its checksum is wrong")
    assert refused.value.__cause__ is None


@given(st.integers(0, 57), st.sampled_from(string.ascii_uppercase + "234567"))
def test_one_wrong_letter_of_a_seed_is_noticed(index: int, letter: str) -> None:
    """Typed by hand, or cut in a copy: its checksum is wrong."""
    changed = FIXED[:index] + letter + FIXED[index + 1 :]
    if changed == FIXED:
        assert Key(changed).seed == FIXED
        return
    with pytest.raises(KeyRefused) as refused:
        Key(changed)
    assert changed not in str(refused.value)


@given(st.integers(0, 55), st.sampled_from(string.ascii_uppercase + "234567"))
def test_one_wrong_letter_of_a_public_half_is_noticed(index: int, letter: str) -> None:
    """It is what people type when they revoke somebody."""
    public = Key(FIXED).public
    changed = public[:index] + letter + public[index + 1 :]
    if changed == public:
        assert check_public(changed, For.ACCOUNT) == public
        return
    with pytest.raises(KeyRefused, match="expected A and 55 more letters"):
        check_public(changed, For.ACCOUNT)


def test_a_key_for_something_else_is_refused() -> None:
    """A user's key where an account's is expected."""
    with pytest.raises(KeyRefused, match="expected U and 55 more letters"):
        check_public(Key(FIXED).public, For.USER)


def test_a_token_is_verified_by_other_hands() -> None:
    """What it says, who signed it, and a digest of that."""
    key = Key(FIXED)
    token = signed({"sub": "x", "nats": {"type": "user", "version": 2}}, key)
    claims = verified(token)
    assert claims == claims_of(token)
    digest = sha256(
        json.dumps({k: v for k, v in claims.items() if k != "jti"}, separators=(",", ":")).encode()
    ).digest()
    assert claims["jti"] == base64.b32encode(digest).rstrip(b"=").decode()
    assert (claims["iss"], claims["sub"]) == (key.public, "x")


def test_a_changed_token_is_noticed() -> None:
    """One letter of what it says, and the signature is another's."""
    head, body, signature = signed({"sub": "viewer"}, Key(FIXED)).split(".")
    for index in range(0, len(body), 7):
        letter = "B" if body[index] == "A" else "A"
        with pytest.raises((BadSignatureError, ValueError, KeyError, UnicodeDecodeError, AssertionError, TypeError)):
            verified(f"{head}.{body[:index]}{letter}{body[index + 1 :]}.{signature}")


def test_the_same_claims_are_the_same_bytes() -> None:
    """Every master writes the same accounts, so that servers can be compared."""
    claims = {"sub": "x", "nats": {"tags": ["a", "b"]}, "iat": 1}
    assert signed(claims, Key(FIXED)) == signed(json.loads(json.dumps(claims)), Key(FIXED))
    assert signed(claims, Key(FIXED)) != signed(claims | {"iat": 2}, Key(FIXED))


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c.d", "a.!.c", "a.W10.c", "a.bm8.c", "a.Iv8.c"])
def test_what_is_no_token_says_nothing(token: str) -> None:
    """No claims, or none that are an object."""
    with pytest.raises(KeyRefused, match=r"^not a token$"):
        claims_of(token)


def test_no_text_of_a_key_shows_its_seed() -> None:
    """A log of it, a traceback with it."""
    key = Key.new(For.USER)
    for text in (repr(key), str(key), f"{key}", repr([key]), repr({"key": key})):
        assert key.seed not in text
        assert key.public in text
