"""What is seen over the network, of real servers."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bus.certificates import new_authority, new_server
from components.probing import ProbeFailed, connect, get, redirects_max
from tests.components.servers import free_port, ok, serving


async def test_a_port_takes_connections_or_does_not():
    async with serving() as server:
        await connect("127.0.0.1", server.port)
    with pytest.raises(ProbeFailed, match=r"refused|Connect call failed"):
        await connect("127.0.0.1", await free_port())


async def test_a_certificate_of_nobody_we_know_is_good_enough(tmp_path: Path):
    """(Mesos and Marathon do not verify)"""
    pair = new_server(new_authority("dc", datetime.now(UTC)), "elsewhere", datetime.now(UTC))
    (tmp_path / "certificate").write_text(pair.certificate)
    (tmp_path / "key").write_text(pair.key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    async with serving(context) as server:
        assert (await get(f"https://127.0.0.1:{server.port}/")).status == 200
        with pytest.raises(ProbeFailed):
            await get(f"http://127.0.0.1:{server.port}/")


@pytest.mark.parametrize("status", [200, 204, 302, 399, 404, 500, 999])
async def test_the_status_is_the_answers(status):
    async with serving() as server:
        server.reply = lambda _path: ok(status=f"{status} Words of any kind")
        answer = await get(f"http://127.0.0.1:{server.port}/a?b=c")
    assert (answer.status, server.asked) == (status, ["/a?b=c"])


async def test_redirections_are_followed_if_wanted_and_not_for_ever():
    async with serving() as server:
        server.reply = lambda path: ok(status="302 Found", body=b"") if path == "/end" else moved(path)
        url = f"http://127.0.0.1:{server.port}/0"
        assert (await get(url)).status == 301
        server.asked.clear()
        assert (await get(url, follow=True)).status == 302
        assert server.asked == ["/0", "/1", "/2", "/end"]
        server.reply = lambda path: ok(b"", "301 Moved", f"Location: {path}")
        with pytest.raises(ProbeFailed, match=f"more than {redirects_max} redirections"):
            await get(url, follow=True)


async def test_a_redirection_to_no_address_is_a_failure():
    """Whoever is looked at says where it leads."""
    async with serving() as server:
        server.reply = lambda _path: ok(b"", "301 Moved", "Location: http://[::1")
        with pytest.raises(ProbeFailed, match="redirected to 'http://"):
            await get(f"http://127.0.0.1:{server.port}/", follow=True)


def moved(path: str) -> bytes:
    number = int(path.strip("/"))
    return ok(b"", "301 Moved", f"Location: {'/end' if number == 2 else number + 1}")


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (b"", "hung up without a whole answer"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "no HTTP: 'SSH-2.0-OpenSSH_9'"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", "the head of the answer is longer than 65536 bytes"),
        (b"HTTP/1.1 twenty\r\n\r\n", "no HTTP: 'HTTP/1.1 twenty'"),
    ],
)
async def test_what_is_no_answer_says_so(reply, why):
    async with serving() as server:
        server.reply = lambda _path: reply
        with pytest.raises(ProbeFailed) as failed:
            await get(f"http://127.0.0.1:{server.port}/")
        assert str(failed.value) == why


async def test_an_interim_answer_counts_only_if_wanted():
    async with serving() as server:
        server.reply = lambda _path: b"HTTP/1.1 102 Processing\r\n\r\n" + ok(status="503 No")
        url = f"http://127.0.0.1:{server.port}/"
        assert (await get(url)).status == 503
        assert (await get(url, interim=True)).status == 102


@pytest.mark.parametrize(
    "reply",
    [
        ok(b"hello world"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nhello world",
    ],
)
async def test_a_body_is_read_as_far_as_wanted(reply):
    async with serving() as server:
        server.reply = lambda _path: reply
        url = f"http://127.0.0.1:{server.port}/"
        assert (await get(url, body_bytes_max=100)).body == b"hello world"
        assert (await get(url, body_bytes_max=7)).body == b"hello w"
        assert (await get(url)).body == b""


async def test_a_server_that_never_answers_leaves_nothing_behind():
    """Whoever asks ends the look; the connection goes with it."""
    async with serving() as server:
        server.reply = lambda _path: b"HTTP/1.1 200"
        with pytest.raises(ProbeFailed):
            await get(f"http://127.0.0.1:{server.port}/")
    listening = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await get(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http:///x", "http://[::1/", "http://h:99999/"])
async def test_an_address_that_is_none_is_a_failure(url):
    with pytest.raises(ProbeFailed):
        await get(url)
