"""Archives of strangers: what is in order is unpacked as it is, else all of it is refused, and nothing gets out."""

from __future__ import annotations

import os
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.nouns import Uri
from components.fetcher.order import Limits, NotFetched
from components.fetcher.place import Place
from components.fetcher.unpack import unpack
from tests.components.fetcher.house import LINK, fetched, files, member, tar, zipped

A, B = (member("a/x"), b"one"), (member("./b", mode=0o4755), b"two")


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    (tmp_path / "sandboxes/t1").mkdir(parents=True)
    return tmp_path / "sandboxes/t1"


def unpacked(sandbox: Path, name: str, content: bytes, **limits: int) -> str | None:
    """What is wrong with an archive that lies in a sandbox."""
    (sandbox / name).write_bytes(content)
    try:
        unpack(name, Place(str(sandbox), Limits(**limits)))  # type: ignore[arg-type]  # whole numbers all
    except NotFetched as error:
        return str(error).removeprefix(f"{name} cannot be unpacked: ")
    finally:
        (sandbox / name).unlink()
    return None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tar", tar(A, B)),
        ("a.tgz", tar(A, B, kind="gz")),
        ("a.tar.gz", tar(A, B, kind="gz")),
        ("a.tar.bz2", tar(A, B, kind="bz2")),
        ("a.tbz2", tar(A, B, kind="bz2")),
        ("a.tar.xz", tar(A, B, kind="xz")),
        ("a.txz", tar(A, B, kind="xz")),
        ("a.zip", zipped(("a/", b"", 0o755), ("a/x", b"one", 0o644), ("b", b"two", 0o4755))),
        ("a.zip", zipped(("a/x", b"one", 0), ("b", b"two", 0o755), how=zipfile.ZIP_STORED)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_archive_in_order_is_unpacked(sandbox: Path, name: str, content: bytes) -> None:
    """Whatever it is packed with; what may be executed may be executed, and by nobody as somebody else."""
    assert unpacked(sandbox, name, content) is None
    assert files(sandbox) == {"a/x": b"one", "b": b"two"}
    assert (sandbox / "b").stat().st_mode & 0o7777 == 0o755


def pax_of(size: int) -> bytes:
    """A tar whose first header announces so many bytes of further headers, all of them there, well packed."""
    head = member("x", tarfile.XHDTYPE, size)
    return head.tobuf(tarfile.USTAR_FORMAT) + b"\0" * size


def rewritten(content: bytes, old: bytes, new: bytes) -> bytes:
    assert old in content
    return content.replace(old, new)


def sparse() -> bytes:
    """A file of a terabyte, all of it holes. (GNU tar)"""
    head = member("x", tarfile.GNUTYPE_SPARSE, 0)
    block = bytearray(head.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"%011o\0%011o\0" % (0, 0)
    block[483:495] = b"%011o\0" % (8**11 - 1)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + b"\0" * 1024


OUT = "expected a path inside the sandbox: relative, no part empty, '.' or '..'"
HOSTILE = {
    "up.tar": (tar((member("../evil"), b"x")), f"'../evil': {OUT}"),
    "up-and-down.tar": (tar((member("a/../../evil"), b"x")), f"'a/../../evil': {OUT}"),
    "absolute.tar": (tar((member("/tmp/busbar-evil"), b"x")), f"'/tmp/busbar-evil': {OUT}"),
    "empty-part.tar": (tar((member("a//b"), b"x")), f"'a//b': {OUT}"),
    "directory-up.tar": (tar((member("../evil", tarfile.DIRTYPE), b"")), f"'../evil': {OUT}"),
    "nameless.tar": (tar((member("."), b"x")), "'': the path has 0 characters: expected 1 to 1000"),
    "record.tar": (tar((member(".busbar/exit"), b"0")),
                   "'.busbar/exit': .busbar in the sandbox is not the task's to name"),
    "output.tar": (tar((member("./stdout"), b"x")), "'stdout': stdout in the sandbox is not the task's to name"),
    "bell.tar": (tar((member("a\x07"), b"x")),
                 "'a\\x07': expected parts of at most 255 bytes, without control characters"),
    "long.tar": (tar((member("a" * 256), b"x")),
                 f"{'a' * 200!r}: expected parts of at most 255 bytes, without control characters"),
    "deep.tar": (tar((member("a/" * 501 + "b"), b"x")),
                 f"{'a/' * 100!r}: the path has 1003 characters: expected 1 to 1000"),
    "symlink.tar": (tar((member("a", tarfile.SYMTYPE, linkname="/etc"), b""), (member("a/passwd"), b"x")),
                    "'a' is neither a plain file nor a directory"),
    "hardlink.tar": (tar((member("a", tarfile.LNKTYPE, linkname="/etc/passwd"), b"")),
                     "'a' is neither a plain file nor a directory"),
    "fifo.tar": (tar((member("a", tarfile.FIFOTYPE), b"")), "'a' is neither a plain file nor a directory"),
    "character-device.tar": (tar((member("a", tarfile.CHRTYPE, devmajor=1, devminor=3), b"")),
                             "'a' is neither a plain file nor a directory"),
    "block-device.tar": (tar((member("a", tarfile.BLKTYPE, devmajor=8), b"")),
                         "'a' is neither a plain file nor a directory"),
    "sparse.tar": (sparse(), "'x' is neither a plain file nor a directory"),
    "twice.tar": (tar((member("a"), b"1"), (member("a"), b"2")), "'a' is there already"),
    "file-then-directory.tar": (tar((member("a"), b"1"), (member("a/b"), b"2")),
                                "'a' is there already, and is no directory"),
    "itself.tar": (tar((member("itself.tar"), b"x")), "'itself.tar' is there already"),
    "short.tar": (tar((member("a"), b"x" * 2000))[:1024], "ReadError: unexpected end of data"),
    "no.tar": (b"hello", "ReadError: truncated header"),
    "empty.tar": (b"", "ReadError: empty file"),
    "no.tgz": (b"hello", "BadGzipFile: Not a gzipped file (b'he')"),
    "cut.tgz": (tar(A, kind="gz")[:-20], "EOFError: Compressed file ended before the end-of-stream marker was reached"),
    "no.txz": (b"hello", "LZMAError: Input format not supported by decoder"),
    "no.tbz2": (b"hello", "OSError: Invalid data stream"),
    "no.zip": (b"hello", "BadZipFile: File is not a zip file"),
    "bomb.tgz": (tar((member("a"), b"\0" * 3_000_000), kind="gz"), "it becomes more than 20 times as large"),
    "bomb.txz": (tar((member("a"), b"\0" * 3_000_000), kind="xz"), "it becomes more than 20 times as large"),
    "bomb.tbz2": (tar((member("a"), b"\0" * 3_000_000), kind="bz2"), "it becomes more than 20 times as large"),
    "bomb.zip": (zipped(("a", b"\0" * 3_000_000, 0o644)), "it becomes more than 20 times as large"),
    "headers.tgz": (zlib.compress(pax_of(5_000_000), wbits=31), "it becomes more than 20 times as large"),
    "many.tar": (tar(*((member(f"f{n}"), b"") for n in range(201))), "an archive of more than 200 entries"),
    "directories.tar": (tar((member("/".join("a" * 201)), b"")), "more than 200 files and directories"),
    "large.tar": (tar((member("a"), b"x" * 4_100_000)), "it becomes more than 4000000 bytes"),
    "up.zip": (zipped(("../evil", b"x", 0o644)), f"'../evil': {OUT}"),
    "absolute.zip": (zipped(("/tmp/busbar-evil", b"x", 0o644)), f"'/tmp/busbar-evil': {OUT}"),
    "symlink.zip": (zipped(("a", b"/etc", LINK)), "'a' is neither a plain file nor a directory"),
    "fifo.zip": (zipped(("a", b"", 0o010644)), "'a' is neither a plain file nor a directory"),
    "device.zip": (zipped(("a", b"", 0o020644)), "'a' is neither a plain file nor a directory"),
    "twice.zip": (zipped(("a", b"1", 0o644), ("b", b"2", 0o644)).replace(b"b", b"a"), "'a' is there already"),
    "damaged.zip": (rewritten(zipped(("a", b"hello", 0o644), how=zipfile.ZIP_STORED), b"hello", b"jello"),
                    "BadZipFile: Bad CRC-32 for file 'a'"),
}  # fmt: skip
"""Under what name, what it is, and why it is refused."""


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused(sandbox: Path, name: str) -> None:
    """The first thing that is not in order ends it; beside and above the sandbox nothing has changed."""
    content, why = HOSTILE[name]
    (sandbox.parent / "t2").mkdir()
    limits = {"ratio_max": 20, "ratio_from": 1_000_000, "entries_max": 200, "bytes_max": 4_000_000}
    assert unpacked(sandbox, name, content, **limits) == why
    assert sorted(path.name for path in sandbox.parent.iterdir()) == ["t1", "t2"]
    assert list((sandbox.parent / "t2").iterdir()) == []
    assert not Path("/tmp/busbar-evil").exists()
    assert not any(path.is_symlink() or path.is_fifo() for path in sandbox.rglob("*"))


def test_a_link_that_is_there_is_not_followed(sandbox: Path, tmp_path: Path) -> None:
    """Whoever put it there: neither as a directory on the way, nor as the file itself."""
    outside = tmp_path / "outside"
    outside.mkdir()
    os.symlink(outside, sandbox / "a")
    os.symlink(outside / "file", sandbox / "b")
    assert unpacked(sandbox, "x.tar", tar((member("a/x"), b"1"))) == "'a' is there already, and is no directory"
    assert unpacked(sandbox, "x.tar", tar((member("b"), b"1"))) == "'b' is there already"
    assert list(outside.iterdir()) == []


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(HOSTILE)), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=20))
def test_a_damaged_archive_is_refused_or_unpacked_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, name: str, changes: list[tuple[int, int]]
) -> None:
    """Any bytes of any of them may be any others."""
    sandbox = tmp_path_factory.mktemp("sandboxes") / "t1"
    sandbox.mkdir()
    content = bytearray(HOSTILE[name][0])
    for at, byte in changes:
        if content:
            content[at % len(content)] = byte
    unpacked(sandbox, name, bytes(content), ratio_from=100_000, entries_max=50, bytes_max=1_000_000)
    assert [path.name for path in sandbox.parent.iterdir()] == ["t1"]
    assert not any(path.is_symlink() or path.is_fifo() for path in sandbox.rglob("*"))
    assert sum(len(data) for data in files(sandbox).values()) <= 1_000_000


def test_only_what_is_named_like_an_archive_is_unpacked(sandbox: Path, tmp_path: Path) -> None:
    """And only if that is wanted, and it is not a program."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("a.tar", "b.bin", "c.tar", "d.tar"):
        (source / name).write_bytes(tar((member(f"from-{name}"), b"x")))
    verdict = fetched(
        sandbox,
        Uri(uri=f"file://{source}/a.tar"),
        Uri(uri=f"file://{source}/b.bin"),
        Uri(uri=f"file://{source}/c.tar", extract=False),
        Uri(uri=f"file://{source}/d.tar", executable=True),
        directories=(str(source),),
    )
    assert verdict.why is None
    assert set(files(sandbox)) == {"a.tar", "b.bin", "c.tar", "d.tar", "from-a.tar"}
    assert os.access(sandbox / "d.tar", os.X_OK)
    assert not os.access(sandbox / "c.tar", os.X_OK)
