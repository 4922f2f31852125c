"""A sealed value is opened by one key, under one name, for one task; and by nothing else."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from bus.nouns import TaskId
from bus.secrets import NotOpened, sealed_size, value_bytes_max
from components.sealing import AgentKey, SealRefused, Vault, seal
from eventstore.signing import Signer

CLUSTER, OTHER = Signer(b"c" * 32), Signer(b"o" * 32)
A1, A2 = AgentKey(b"1" * 32), AgentKey(b"2" * 32)
T1, T2 = TaskId("t1"), TaskId("t2")
VALUE = b"correct horse battery staple"


def test_a_value_goes_from_who_sets_it_to_the_one_task():
    """Through the master, sealed all the way."""
    kept = seal(CLUSTER.public, "db/pw", VALUE)
    handed = Vault(CLUSTER).hand_on("db/pw", kept, T1, A1.public)
    assert A1.open(T1, "db/pw", handed) == VALUE
    for text in (kept, handed):
        assert VALUE not in base64.b64decode(text)


def test_the_same_value_is_never_sealed_the_same_way():
    """Nobody can tell that two secrets have one value, or that one was set again."""
    assert seal(CLUSTER.public, "a", VALUE) != seal(CLUSTER.public, "a", VALUE)


def test_a_sealed_value_cannot_be_moved_to_another_name():
    """Who may set one secret cannot make it hold another's value."""
    kept = seal(CLUSTER.public, "mine", VALUE)
    for name in ("yours", "mine\0", "min", ""):
        with pytest.raises(NotOpened, match="belongs to another"):
            Vault(CLUSTER).hand_on(name, kept, T1, A1.public)


def test_what_was_handed_on_for_one_task_is_of_no_use_to_another():
    """Nor to another agent, nor under another name."""
    handed = Vault(CLUSTER).hand_on("a", seal(CLUSTER.public, "a", VALUE), T1, A1.public)
    for key, task, name in ((A2, T1, "a"), (A1, T2, "a"), (A1, T1, "b")):
        with pytest.raises(NotOpened):
            key.open(task, name, handed)


def test_another_clusters_key_opens_nothing():
    """Nor the agent's: each box has one owner."""
    kept = seal(CLUSTER.public, "a", VALUE)
    with pytest.raises(NotOpened):
        Vault(OTHER).hand_on("a", kept, T1, A1.public)
    with pytest.raises(NotOpened):
        A1.open(T1, "a", kept)


@pytest.mark.parametrize("garbage", ["", "x", "!!!!", "AAAA", base64.b64encode(b"\0" * 200).decode(), "ä", "\0" * 80])
def test_garbage_is_not_opened_and_not_said_again(garbage: str):
    """Whatever is in the log under a secret's name."""
    with pytest.raises(NotOpened) as error:
        Vault(CLUSTER).hand_on("a", garbage, T1, A1.public)
    assert str(error.value) == "what it is sealed as cannot be opened with this key"


@pytest.mark.parametrize("key", ["", "00" * 32, "zz" * 32, "00" * 31])
def test_no_value_is_sealed_to_what_is_no_key(key: str):
    """An agent that registered with nonsense gets nothing."""
    with pytest.raises(NotOpened, match="not a key"):
        Vault(CLUSTER).hand_on("a", seal(CLUSTER.public, "a", VALUE), T1, key)
    with pytest.raises(SealRefused, match="not a key"):
        seal(key, "a", VALUE)


@pytest.mark.parametrize("size", [0, value_bytes_max + 1])
def test_a_value_has_a_size(size: int):
    """The refusal says how large it was, and nothing else of it."""
    with pytest.raises(SealRefused) as refused:
        seal(CLUSTER.public, "a", b"v" * size)
    assert str(refused.value) == f"the value has {size} bytes: expected 1 to 65536"


@pytest.mark.parametrize("size", [1, 5, 65536])
def test_the_size_of_a_value_is_seen_from_outside(size: int):
    """It is all that is."""
    assert sealed_size("db/pw", seal(CLUSTER.public, "db/pw", b"v" * size)) == size
    assert sealed_size("db/pw", "garbage!") == 0


def test_the_key_that_signs_is_the_key_that_opens():
    """Its public half, as everybody has it, is enough to seal."""
    assert CLUSTER.public == SigningKey(b"c" * 32).verify_key.encode().hex()
    assert bytes(CLUSTER.curve.public_key) == bytes(SigningKey(b"c" * 32).verify_key.to_curve25519_public_key())


# ---- an agent's key ----------------------------------------------------------------------------------------------


def test_an_agents_key_is_made_once_for_its_own_eyes(tmp_path: Path):
    """The next start finds the same."""
    path = tmp_path / "work" / "agent.key"
    made = AgentKey.of(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert AgentKey.of(path).public == made.public
    assert AgentKey.of(tmp_path / "other.key").public != made.public
    assert bytes.fromhex(made.public).hex() == made.public
    assert [each.name for each in path.parent.iterdir()] == ["agent.key"]


def test_an_agents_key_that_others_can_read_is_refused(tmp_path: Path):
    """With the command that mends it."""
    path = tmp_path / "agent.key"
    AgentKey.of(path)
    path.chmod(0o640)
    with pytest.raises(SealRefused) as refused:
        AgentKey.of(path)
    assert str(refused.value) == f"{path} can be read by others (mode 0640): chmod 600 {path}"


@pytest.mark.parametrize("text", ["", "zz", "00" * 31, "00" * 33])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, text: str):
    """It is not replaced: what was sealed to it may be on its way."""
    path = tmp_path / "agent.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(SealRefused, match="is not a key: remove it, and another is made"):
        AgentKey.of(path)
