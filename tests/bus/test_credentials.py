"""Credentials files: one for each identity, its owner's alone, and what is said of one that is not."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest

from bus.authority import Authority
from bus.credentials import EXPECTED, Credentials, CredentialsRefused, read_credentials, write_credentials
from bus.keyring import Wanted, issued
from bus.nkey import For, Key
from bus.permits import Role

ALICE = issued(Authority.found("dc"), Wanted("", Role.OPERATOR, "u-alice"), Credentials(url="nats://h:1,nats://i:2"))


def refusal(file: Path) -> CredentialsRefused:
    with pytest.raises(CredentialsRefused) as refused:
        read_credentials(file)
    return refused.value


def test_what_is_written_is_read_again_by_its_owner_alone(tmp_path: Path) -> None:
    """Mode 0600 from the first byte, also over a file that was another's to read."""
    file = tmp_path / "alice.json"
    file.write_text("before")
    file.chmod(0o644)
    write_credentials(file, ALICE)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_credentials(file) == ALICE
    assert (ALICE.urls, ALICE.port, ALICE.key.public) == (["nats://h:1", "nats://i:2"], 1, Key(ALICE.seed).public)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o610, 0o644, 0o666, 0o777])
def test_a_file_that_others_can_read_is_refused_with_what_to_do(tmp_path: Path, mode: int) -> None:
    """Group or all, to read or to write: the very command that mends it."""
    file = tmp_path / "alice.json"
    write_credentials(file, ALICE)
    file.chmod(mode)
    refused = refusal(file)
    assert str(refused) == f"{file} holds a key and can be read by others (mode {mode:04o})"
    assert refused.fix == f"chmod 600 {file}"
    file.chmod(0o400)
    assert read_credentials(file) == ALICE


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    """Whoever put it there knows the key, and would know what is done with it."""
    file = tmp_path / "alice.json"
    write_credentials(file, ALICE)
    os.chown(file, 12345, -1)
    refused = refusal(file)
    assert str(refused) == f"{file} holds a key and belongs to another user"
    assert refused.fix == f"chown $(id -un) {file}"


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"\xff\xfe", b"{", b"[]", b"{}", b'{"url": 5}', b'{"url": "x", "a": 1}']
)
def test_garbage_is_named_with_what_is_expected(tmp_path: Path, content: bytes) -> None:
    """The form of a file that is right."""
    file = tmp_path / "alice.json"
    file.write_bytes(content)
    file.chmod(0o600)
    refused = refusal(file)
    assert str(refused).startswith(f"{file} is not a credentials file: ")
    assert refused.fix == f"expected {EXPECTED}"


def test_a_damaged_seed_is_named_and_not_repeated(tmp_path: Path) -> None:
    """The file is somebody's key, most of it is still right."""
    file = tmp_path / "alice.json"
    damaged = ALICE.seed[:-1] + ("A" if ALICE.seed[-1] != "A" else "B")
    write_credentials(file, msgspec.structs.replace(ALICE, seed=damaged))
    refused = refusal(file)
    assert "not the seed of a key: its checksum is wrong" in str(refused)
    assert damaged[:20] not in str(refused)


def test_a_wrong_cluster_is_named(tmp_path: Path) -> None:
    """It becomes part of every subject."""
    file = tmp_path / "alice.json"
    write_credentials(file, msgspec.structs.replace(ALICE, cluster="a.>"))
    assert "'a.>' is not an id" in str(refusal(file))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """And a directory in its place."""
    refused = refusal(tmp_path / "none.json")
    assert str(refused) == f"{tmp_path}/none.json: No such file or directory"
    assert refused.fix == "name the credentials file with --credentials FILE"
    (tmp_path / "directory").mkdir(mode=0o700)
    assert str(refusal(tmp_path / "directory")) == f"{tmp_path}/directory: Is a directory"


def test_no_text_of_credentials_shows_a_secret() -> None:
    """A log of them, a traceback with them."""
    text = f"{ALICE!r} {ALICE} {[ALICE]}"
    assert "u-alice (operator) at nats://h:1,nats://i:2" in text
    assert ALICE.seed not in text
    assert ALICE.passport not in text
    assert Key.new(For.USER).seed not in text
