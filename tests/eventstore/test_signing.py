"""Keys: secret, kept for life, and what they signed is known again by everybody."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.nouns import Position
from bus.vouching import CheckpointMade
from eventstore.signing import KeyRefused, Signer, checkpoint_text, new_key, read_public, verified

FACT = CheckpointMade(upto=Position(812), chain="ab" * 32, folded_n=40, state_hash="cd" * 32)


def test_a_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    """Its public half lies beside it, under the same name."""
    path, before = tmp_path / "cluster.key", os.umask(0)
    try:
        made = new_key(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Signer.load(path).public == made.public == read_public(tmp_path / "cluster.pub")
    with pytest.raises(KeyRefused, match="keeps its key for life"):
        new_key(path)


def test_a_key_that_others_can_read_is_refused_with_how_to_mend_it(tmp_path: Path) -> None:
    path = tmp_path / "cluster.key"
    new_key(path)
    path.chmod(0o640)
    with pytest.raises(KeyRefused, match=rf"{path} can be read by others \(mode 0640\): chmod 600 {path}"):
        Signer.load(path)


@pytest.mark.parametrize("content", [b"", b"zz" * 32, b"ab" * 31, b"\xff" * 64, b"ab" * 33])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cluster.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyRefused, match="64 hexadecimal digits"):
        Signer.load(path)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyRefused, match="No such file"):
        Signer.load(tmp_path / "cluster.key")


@given(st.binary(), st.binary())
def test_a_signature_is_of_one_message_and_one_key(message: bytes, other: bytes) -> None:
    """What is signed is known again; another message, another key or another signature is not."""
    signer, stranger = Signer(b"1" * 32), Signer(b"2" * 32)
    signature = signer.sign(message)
    assert verified(signer.public, message, signature)
    assert verified(signer.public, other, signature) == (other == message)
    assert not verified(stranger.public, message, signature)
    assert not verified(signer.public, message, stranger.sign(message))


@pytest.mark.parametrize(("public", "signature"), [("", ""), ("zz", "00"), ("00" * 32, "00" * 64), ("00" * 31, "é")])
def test_what_is_no_key_or_no_signature_verifies_nothing(public: str, signature: str) -> None:
    assert not verified(public, b"text", signature)


def test_the_text_of_a_checkpoint_names_all_it_states() -> None:
    """Any other value, or another cluster, is another text; what is added by signing is not part of it."""
    text = checkpoint_text("dc", FACT)
    others = [
        msgspec.structs.replace(FACT, upto=Position(813)),
        msgspec.structs.replace(FACT, chain="ac" * 32),
        msgspec.structs.replace(FACT, folded_n=41),
        msgspec.structs.replace(FACT, state_hash="cc" * 32),
    ]
    assert len({text, checkpoint_text("dd", FACT), *(checkpoint_text("dc", other) for other in others)}) == 6
    assert checkpoint_text("dc", msgspec.structs.replace(FACT, key="k", signature="s")) == text
