"""A checkpoint proves a store: whole up to there, the same, of this cluster, under the right key; else nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bus.nouns import NOBODY, Now, Position
from bus.subjects import Author, Kind
from bus.vouching import CheckpointMade
from eventstore.checkpoints import CheckpointRefused, Kept, newest_checkpoint, prove, read_checkpoint, stated
from eventstore.signing import Signer, checkpoint_text
from eventstore.store import open_reader
from tests.eventstore.damage import change, make_store
from tests.eventstore.tale import MASTER, Tale, started, twelve_steps

SIGNER, STRANGER = Signer(b"1" * 32), Signer(b"2" * 32)


async def signed(path: Path, upto: int, signer: Signer = SIGNER, cluster: str = "dc") -> CheckpointMade:
    """A checkpoint of what a store has at a position."""
    async with open_reader(path) as reader:
        chain = await reader.chain_at(upto)
    fact = CheckpointMade(upto=Position(upto), chain=chain or "", folded_n=3, state_hash="ab" * 32, key=signer.public)
    return msgspec.structs.replace(fact, signature=signer.sign(checkpoint_text(cluster, fact)))


def kept(fact: CheckpointMade, cluster: str = "dc") -> Kept:
    return Kept(cluster=cluster, position=Position(99), at=Now(0), checkpoint=fact)


@pytest.fixture
async def store(tmp_path: Path) -> Path:
    tale, _ = twelve_steps()
    return await make_store(tmp_path / "events.db", tale.records)


async def test_a_store_that_goes_on_behind_its_checkpoint_is_proved(store: Path) -> None:
    for upto in (1, 7, 18):
        assert prove(store, kept(await signed(store, upto)), SIGNER.public, "kept.json") is None


async def test_newest_events_that_were_cut_off_show_by_a_checkpoint_alone(store: Path, tmp_path: Path) -> None:
    """The shorter store verifies: nothing in it is wrong. The checkpoint kept elsewhere knows that there was more."""
    tale, _ = twelve_steps()
    shorter = await make_store(tmp_path / "shorter.db", tale.records[:12])
    finding = prove(shorter, kept(await signed(store, 18)), SIGNER.public, "kept.json")
    assert finding is not None
    assert str(finding) == (
        "position 13: was cut off with all that followed: the store ends at 12, kept.json was signed for 18"
    )


async def test_a_history_rewritten_with_right_hashes_shows(store: Path, tmp_path: Path) -> None:
    other = Tale()
    for epoch in range(1, 20):
        other.say(MASTER, NOBODY, started(epoch))
    rewritten = await make_store(tmp_path / "rewritten.db", other.records)
    finding = prove(rewritten, kept(await signed(store, 18)), SIGNER.public, "kept.json")
    assert finding is not None
    assert (finding.position, "is another history" in finding.wrong) == (18, True)


async def test_what_proves_nothing_is_refused(store: Path) -> None:
    """A wrong key, a changed statement, another cluster: each is said exactly."""
    with pytest.raises(CheckpointRefused, match=f"is signed with key {STRANGER.public}, the cluster's is"):
        prove(store, kept(await signed(store, 7, STRANGER)), SIGNER.public, "kept.json")
    changed = msgspec.structs.replace(await signed(store, 7), upto=Position(6))
    with pytest.raises(CheckpointRefused, match="has a wrong signature: it was changed, or made by somebody else"):
        prove(store, kept(changed), SIGNER.public, "kept.json")
    posing = msgspec.structs.replace(await signed(store, 7, STRANGER), key=SIGNER.public)
    with pytest.raises(CheckpointRefused, match="wrong signature"):
        prove(store, kept(posing), SIGNER.public, "kept.json")
    with pytest.raises(CheckpointRefused, match="is of cluster 'dd'"):
        prove(store, kept(await signed(store, 7, cluster="dd"), "dd"), SIGNER.public, "kept.json")
    unsigned = msgspec.structs.replace(await signed(store, 7), key="", signature="")
    with pytest.raises(CheckpointRefused, match=r"is signed with key \(none\)"):
        prove(store, kept(unsigned), SIGNER.public, "kept.json")


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'{"cluster": 1}', b'{"cluster":"dc","position":1}'])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "kept.json").write_bytes(content)
    with pytest.raises(CheckpointRefused, match="is not a checkpoint"):
        read_checkpoint(tmp_path / "kept.json")
    with pytest.raises(CheckpointRefused, match="No such file"):
        read_checkpoint(tmp_path / "none.json")


async def test_the_checkpoints_in_a_store_are_held_against_it(store: Path, tmp_path: Path) -> None:
    """Those under the trusted key count; the first one whose hash the store does not have is a finding."""
    tale, _ = twelve_steps()
    tale.say(MASTER, NOBODY, await signed(store, 10))
    tale.say(MASTER, NOBODY, await signed(store, 18, STRANGER))
    newest = await signed(store, 18)
    tale.say(MASTER, NOBODY, newest)
    path = await make_store(tmp_path / "with.db", tale.records)
    assert stated(path, SIGNER.public) == (2, None)
    found = newest_checkpoint(path)
    assert found is not None
    assert (found.checkpoint, found.cluster) == (newest, "dc")
    (tmp_path / "kept.json").write_bytes(msgspec.json.encode(found))
    assert read_checkpoint(tmp_path / "kept.json") == found
    change(path, "UPDATE event SET chain = zeroblob(32) WHERE position = 18")
    agree, finding = stated(path, SIGNER.public)
    assert (agree, finding is not None and finding.position) == (1, 18)


async def test_a_checkpoint_that_is_nobodys_event_counts_for_nothing(store: Path, tmp_path: Path) -> None:
    tale, _ = twelve_steps()
    tale.say(Author(Kind.MASTER, "main"), NOBODY, await signed(store, 10))
    tale.put(tale.records[-1].subject, tale.records[-1].body)
    path = await make_store(tmp_path / "with.db", tale.records)
    assert stated(path, SIGNER.public) == (1, None)
    assert newest_checkpoint(store) is None
