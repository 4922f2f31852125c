"""What may be read of a sandbox, and that nothing of it stays when it is deleted."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from bus.nouns import TaskId
from bus.queries import QueryRefused
from components.agent.sandbox import Sandboxes, piece_bytes_max
from tests.components.agent.play import told_logs

T1 = TaskId("t1")


@pytest.fixture
def sandboxes(tmp_path: Path) -> Sandboxes:
    made = Sandboxes(str(tmp_path / "work"))
    made.prepare()
    return made


@pytest.fixture
def sandbox(sandboxes: Sandboxes) -> Path:
    """The sandbox of t1, with what it wrote."""
    path = Path(sandboxes.all) / "t1"
    path.mkdir()
    (path / "stdout").write_bytes(b"0123456789")
    (path / "stderr").write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("offset", "limit", "expected"),
    [
        (0, 100, (b"0123456789", 0, 10)),
        (3, 4, (b"3456", 3, 10)),
        (-3, 100, (b"789", 7, 10)),
        (-3, 1, (b"7", 7, 10)),
        (-99, 2, (b"01", 0, 10)),
        (10, 5, (b"", 10, 10)),
        (2**63, 5, (b"", 10, 10)),
        (-(2**63), 5, (b"01234", 0, 10)),
        (2**200, 2**200, (b"", 10, 10)),
        (0, 0, (b"", 0, 10)),
    ],
)
def test_a_piece_is_what_lies_there(
    sandboxes: Sandboxes, sandbox: Path, offset: int, limit: int, expected: tuple[bytes, int, int]
):
    """From the beginning or from the end; whatever is asked for lies within the file."""
    assert sandboxes.read(T1, "stdout", offset, limit) == expected


def test_a_piece_has_a_bound(sandboxes: Sandboxes, sandbox: Path):
    """Nobody makes the agent hold a whole large file."""
    with (sandbox / "stdout").open("r+b") as file:
        file.truncate(2**40)
    piece = sandboxes.read(T1, "stdout", 2**39, 2**60)
    assert piece is not None
    assert (len(piece.data), piece.offset, piece.size) == (piece_bytes_max, 2**39, 2**40)


def test_what_is_not_there_is_none(sandboxes: Sandboxes, sandbox: Path):
    """Not launched yet, or nothing written."""
    (sandbox / "stderr").unlink()
    assert sandboxes.read(T1, "stderr", 0, 10) is None
    assert sandboxes.read(TaskId("t2"), "stdout", 0, 10) is None


def outside(tmp_path: Path) -> Path:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    return secret


def symlink(path: Path, secret: Path) -> None:
    path.symlink_to(secret)


def passwd(path: Path, secret: Path) -> None:
    path.symlink_to("/etc/passwd")


def hardlink(path: Path, secret: Path) -> None:
    os.link(secret, path)


def fifo(path: Path, secret: Path) -> None:
    os.mkfifo(path)


def directory(path: Path, secret: Path) -> None:
    path.mkdir()


def listening(path: Path, secret: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.open(path.parent, os.O_RDONLY)
        bound.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("make", [symlink, passwd, hardlink, fifo, directory, listening])
def test_only_a_plain_file_of_its_own_is_read(make: object, sandboxes: Sandboxes, sandbox: Path, tmp_path: Path):
    """A link, a second name, a pipe nobody writes to, a directory, a socket: refused, not followed, not waited for."""
    (sandbox / "stdout").unlink()
    make(sandbox / "stdout", outside(tmp_path))  # type: ignore[operator]
    with pytest.raises(QueryRefused, match="stdout of t1 is not a plain file of its own"):
        sandboxes.read(T1, "stdout", 0, 100)


def test_a_sandbox_that_became_a_link_is_not_followed(sandboxes: Sandboxes, sandbox: Path, tmp_path: Path):
    """Neither for reading nor for deleting."""
    elsewhere = tmp_path / "elsewhere"
    sandbox.rename(elsewhere)
    sandbox.symlink_to(elsewhere)
    with pytest.raises(QueryRefused, match="not a plain file"):
        sandboxes.read(T1, "stdout", 0, 100)
    with told_logs() as logs:
        sandboxes.delete([T1])
    assert [line["event"] for line in logs] == ["sandbox cannot be deleted"]
    assert (elsewhere / "stdout").exists()


@pytest.mark.parametrize("task", ["../secret", "/etc", "..", ".", "", "a/../../secret", "t1/../../../secret"])
def test_no_task_id_leads_out(task: str, sandboxes: Sandboxes, sandbox: Path, tmp_path: Path):
    """An id from outside is a name, never a path."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "stdout").write_text("secret")
    assert sandboxes.read(TaskId(task), "stdout", 0, 100) is None
    sandboxes.delete([TaskId(task)])
    assert (tmp_path / "secret" / "stdout").exists()
    assert sandbox.exists()


def test_a_sandbox_is_deleted_with_all_that_is_in_it(sandboxes: Sandboxes, sandbox: Path, tmp_path: Path):
    """Links are removed, what they lead to stays; other sandboxes stay; deleting again is harmless."""
    secret = outside(tmp_path)
    (sandbox / "link").symlink_to(secret)
    (sandbox / "out").symlink_to(tmp_path)
    (sandbox / "a").mkdir()
    (sandbox / "a" / "b").write_text("b")
    os.mkfifo(sandbox / "a" / "pipe")
    other = Path(sandboxes.all) / "t2"
    other.mkdir()
    sandboxes.delete([T1])
    sandboxes.delete([T1])
    assert os.listdir(sandboxes.all) == ["t2"]
    assert os.listdir(sandboxes.trash) == []
    assert secret.read_text() == "secret"


def test_a_task_cannot_lock_its_sandbox():
    """Directories without any permission are deleted too, by the user who owns them."""
    with TemporaryDirectory() as parent:
        os.chmod(parent, 0o711)
        sandboxes = Sandboxes(f"{parent}/work")
        sandboxes.prepare()
        locked = Path(sandboxes.all) / "t1"
        (locked / "a" / "b").mkdir(parents=True)
        (locked / "a" / "b" / "c").write_text("c")
        for path in (locked / "a" / "b", locked / "a", locked):
            path.chmod(0)
        without_root(parent, lambda: sandboxes.delete([T1]))
        assert os.listdir(sandboxes.all) == []
        assert os.listdir(sandboxes.trash) == []


def without_root(parent: str, act: Callable[[], None]) -> None:
    """Do something to what lies in a directory without root's rights, if the tests run as root."""
    if os.getuid() != 0:
        return act()
    nobody, work = 65534, f"{parent}/work"
    inside = [f"{where}/{name}" for where, names, files in os.walk(work) for name in (*names, *files)]
    for path in (work, *inside):
        os.chown(path, nobody, nobody, follow_symlinks=False)
    child = os.fork()
    if child == 0:
        try:
            os.setresuid(nobody, nobody, nobody)
            act()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    return None


def test_no_depth_is_too_deep(sandboxes: Sandboxes, sandbox: Path):
    """3,000 directories inside one another: deleting neither recurses nor builds paths."""
    here = os.getcwd()
    os.chdir(sandbox)
    for _ in range(3000):
        os.mkdir("d")
        os.chdir("d")
    os.chdir(here)
    sandboxes.delete([T1])
    assert os.listdir(sandboxes.all) == []
    assert os.listdir(sandboxes.trash) == []


def test_what_an_earlier_process_left_in_the_trash_is_deleted(sandboxes: Sandboxes):
    """A crash in the middle of deleting loses nothing but time."""
    (Path(sandboxes.trash) / "0123" / "x").mkdir(parents=True)
    sandboxes.delete([])
    assert os.listdir(sandboxes.trash) == []


def test_what_cannot_be_deleted_is_tried_again_with_the_next(sandboxes: Sandboxes, sandbox: Path):
    """Here a file is in its place for a while."""
    elsewhere = sandbox.rename(sandbox.with_name("elsewhere"))
    sandbox.write_text("in the way")
    with told_logs() as logs:
        sandboxes.delete([T1])
    assert [line["path"] for line in logs] == [str(sandbox)]
    sandbox.unlink()
    elsewhere.rename(sandbox)
    sandboxes.delete([])
    assert os.listdir(sandboxes.all) == []


def test_a_stop_ends_deleting(sandboxes: Sandboxes, sandbox: Path):
    """A clean stop does not wait for a large sandbox; the next process goes on."""
    sandboxes.stopped = True
    sandboxes.delete([T1])
    assert os.listdir(sandboxes.all) == []
    assert len(os.listdir(sandboxes.trash)) == 1
