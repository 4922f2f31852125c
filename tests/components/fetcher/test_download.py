"""Files from servers that cannot be trusted, and from this machine where that is allowed."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bus.certificates import new_authority, new_server
from bus.nouns import Uri
from tests.components.fetcher.house import fetched, files, says, server

BODY = b"x" * 300_000


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    (tmp_path / "t1").mkdir()
    return tmp_path / "t1"


def why(sandbox: Path, uri: str, **limits: float) -> str:
    """Why a URI is not fetched."""
    verdict = fetched(sandbox, Uri(uri=uri), **limits)
    assert verdict.why is not None
    return verdict.why.removeprefix(f"{uri} was not fetched: ")


def test_a_file_is_fetched_under_its_name(sandbox: Path) -> None:
    """The last part of its path, or what is said; in directories of its own if wanted."""
    with server(says(BODY)) as at:
        verdict = fetched(
            sandbox,
            Uri(uri=f"{at}/a/tool%20one?x=1#y", executable=True),
            Uri(uri=f"{at}/b", dest_path="lib/sub/b.txt"),
            Uri(uri=f"{at}/c", checksum=f"sha256:{hashlib.sha256(BODY).hexdigest()}"),
        )
    assert (verdict.why, verdict.bytes, verdict.entries) == (None, 900_000, 5)
    assert files(sandbox) == {"tool one": BODY, "lib/sub/b.txt": BODY, "c": BODY}
    assert (sandbox / "tool one").stat().st_mode & 0o777 == 0o755
    assert (sandbox / "c").stat().st_mode & 0o777 == 0o644


def test_a_file_that_is_another_one_is_refused(sandbox: Path) -> None:
    """By its checksum."""
    with server(says(b"other")) as at:
        verdict = fetched(sandbox, Uri(uri=f"{at}/c", checksum="sha256:" + "0" * 64))
    found = hashlib.sha256(b"other").hexdigest()
    assert verdict.why == f"{at}/c was not fetched: it is sha256:{found}, expected sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("404 Not Found", "the server answers 404 Not Found"),
        ("500 Internal Server Error", "the server answers 500 Internal Server Error"),
        ("206 Partial Content", "the server answers 206 Partial Content"),
        ("304 Not Modified", "the server answers 304 Not Modified"),
        ("401 Unauthorized", "the server answers 401 Unauthorized"),
    ],
)
def test_only_200_is_an_answer(sandbox: Path, status: str, said: str) -> None:
    """A page that says why not is no file."""
    with server(says(b"no" if "304" not in status else b"", status)) as at:
        assert why(sandbox, f"{at}/a") == said
    assert files(sandbox) == {}


def test_a_server_that_announces_too_much_is_not_listened_to(sandbox: Path) -> None:
    """Nothing of it is written."""
    with server(says(b"", length=10**15)) as at:
        assert why(sandbox, f"{at}/a", bytes_max=1000) == (
            "it has 1000000000000000 bytes, more than the 1000 of all of the task's"
        )
    assert files(sandbox) == {}


def test_a_server_that_sends_too_much_is_cut_off(sandbox: Path) -> None:
    """In pieces without a length, for ever; what is on the disk is bounded."""

    def talk(connection: socket.socket, _path: str) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"%x\r\n%s\r\n" % (len(BODY), BODY))

    with server(talk) as at:
        said = why(sandbox, f"{at}/a", bytes_max=1_000_000)
    assert said == "more than 1000000 bytes with all that was fetched for the task"
    assert sum(map(len, files(sandbox).values())) <= 1_000_000


def test_all_files_of_a_task_are_measured_together(sandbox: Path) -> None:
    """Not each by itself."""
    with server(says(b"x" * 600)) as at:
        verdict = fetched(sandbox, Uri(uri=f"{at}/a"), Uri(uri=f"{at}/b"), bytes_max=1000)
    assert verdict.why == f"{at}/b was not fetched: it has 600 bytes, more than the 1000 of all of the task's"


def test_a_server_that_ends_early_is_found_out(sandbox: Path) -> None:
    """It announced more than it sent."""
    with server(says(b"half", length=8)) as at:
        assert "peer closed connection without sending complete message body" in why(sandbox, f"{at}/a")


def test_a_server_that_falls_silent_is_given_up(sandbox: Path) -> None:
    """At its first byte, or in the middle."""
    for begin in (b"", b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf"):

        def talk(connection: socket.socket, _path: str, begin: bytes = begin) -> None:
            connection.sendall(begin)
            connection.recv(1)  # until the other end gives up

        with server(talk) as at:
            assert why(sandbox, f"{at}/{len(begin)}", stall_s=0.05) == "nothing came for 0.05 s"


@pytest.mark.parametrize(
    "begin",
    [b"SSH-2.0-busbar\r\n\r\n", b"\0" * 100, b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 100_000],
    ids=["ssh", "zeros", "no number", "headers without end"],
)
def test_what_speaks_no_http_is_given_up(sandbox: Path, begin: bytes) -> None:
    """With what was wrong in its words."""
    with server(lambda connection, _: connection.sendall(begin)) as at:
        assert why(sandbox, f"{at}/a").startswith("RemoteProtocolError: ")


def test_redirects_are_followed_so_far_and_no_further(sandbox: Path) -> None:
    """Relative ones too; not for ever, and the name stays that of what was asked for."""

    def talk(connection: socket.socket, path: str) -> None:
        number = int(path.rsplit("/", 1)[1])
        if number == 0:
            says(b"here")(connection, path)
        says(b"", "302 Found", f"location: ../far/{number - 1}\r\n")(connection, path)

    with server(talk) as at:
        assert fetched(sandbox, Uri(uri=f"{at}/a/10")).why is None
        assert files(sandbox) == {"10": b"here"}
        assert why(sandbox, f"{at}/a/11") == "more than 10 redirects"
        assert why(sandbox, f"{at}/a/-1") == "more than 10 redirects"


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("file:///etc/passwd", ": expected http:// or https://"),
        ("ftp://h/a", "redirected to 'ftp://h/a': expected http:// or https://"),
        ("", "more than 10 redirects"),
    ],
)
def test_a_redirect_leads_to_http_only(sandbox: Path, to: str, said: str) -> None:
    """Least of all to a file of this machine."""
    with server(says(b"", "302 Found", f"location: {to}\r\n")) as at:
        assert why(sandbox, f"{at}/a").endswith(said)


def test_nobody_there(sandbox: Path) -> None:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert why(sandbox, f"http://127.0.0.1:{port}/a") == "ConnectError: [Errno 111] Connection refused"


def test_certificates_are_verified(sandbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the authorities this machine knows; from there nothing leads to a server that has none."""
    authority = new_authority("test", datetime.now(UTC))
    shown = new_server(authority, "localhost", datetime.now(UTC))
    for name, text in (("ca", authority.certificate), ("server", shown.certificate + shown.key)):
        (tmp_path / f"{name}.pem").write_text(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")

    def talk(connection: socket.socket, path: str) -> None:
        moved = path == "/moved"
        says(BODY, "302 Found" if moved else "200 OK", "location: http://127.0.0.1:1/b\r\n" * moved)(connection, path)

    with server(talk, context) as at:
        assert "certificate verify failed" in why(sandbox, f"{at}/a")
        assert files(sandbox) == {}
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert fetched(sandbox, Uri(uri=f"{at}/a")).why is None
        assert files(sandbox) == {"a": BODY}
        assert why(sandbox, f"{at}/moved") == "redirected from https to 'http://127.0.0.1:1/b'"


# ---- files of this machine ---------------------------------------------------------------------------------------


def test_a_file_of_this_machine_only_where_that_is_allowed(sandbox: Path, tmp_path: Path) -> None:
    """Whatever leads there; a link is what it leads to."""
    allowed, other = tmp_path / "allowed", tmp_path / "allowed-not"
    for directory in (allowed, other):
        directory.mkdir()
        (directory / "a").write_bytes(directory.name.encode())
    os.symlink(other / "a", allowed / "link")
    os.symlink(allowed / "a", other / "back")
    os.mkfifo(allowed / "fifo")
    nowhere = "it lies in no directory that this agent fetches from (busbar run agent --fetch-from)"
    for uri, said in {
        f"file://{allowed}/a": None,
        f"file://localhost{other}/back": None,
        f"file://{allowed}/link": nowhere,
        f"file://{other}/a": nowhere,
        f"file://{allowed}/../allowed-not/a": nowhere,
        f"file://{allowed}/%2e%2e/allowed-not/a": nowhere,
        "file:///etc/passwd": nowhere,
        "file:///proc/self/environ": nowhere,
        f"file://{allowed}/fifo": "it is not a plain file",
        f"file://{allowed}/none": f"[Errno 2] No such file or directory: '{allowed}/none'",
    }.items():
        verdict = fetched(sandbox, Uri(uri=uri), directories=(str(allowed),))
        assert verdict.why == (said and f"{uri} was not fetched: {said}")
    assert files(sandbox) == {"a": b"allowed", "back": b"allowed"}
    assert fetched(sandbox, Uri(uri=f"file://{allowed}/a", dest_path="x")).why is not None, "no directory is allowed"


def test_what_may_not_be_read_is_said_and_what_is_there_stays(sandbox: Path, tmp_path: Path) -> None:
    """A file in place of which another one would come."""
    (sandbox / "a").write_bytes(b"mine")
    (tmp_path / "s").mkdir()
    (tmp_path / "s/a").write_bytes(b"other")
    verdict = fetched(sandbox, Uri(uri=f"file://{tmp_path}/s/a"), directories=(str(tmp_path / "s"),))
    assert verdict.why == f"file://{tmp_path}/s/a was not fetched: 'a' is there already"
    assert files(sandbox) == {"a": b"mine"}
