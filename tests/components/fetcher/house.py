"""What the fetcher's tests have in common: a server on loopback that does as it is told, and archives."""

from __future__ import annotations

import io
import os
import socket
import ssl
import stat
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bus.nouns import Uri
from components.fetcher.__main__ import fetch
from components.fetcher.download import client
from components.fetcher.order import Limits, Order, Verdict

Talk = Callable[[socket.socket, str], None]
"""How a server answers on a connection, and the path it was asked for."""


@contextmanager
def server(talk: Talk, shows: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server; gives the beginning of its URIs."""
    listening = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with suppress(OSError), connection if shows is None else shows.wrap_socket(connection, True) as connection:
            asked = b""
            while b"\r\n\r\n" not in asked:
                more = connection.recv(4096)
                if not more:
                    return
                asked += more
            talk(connection, asked.split(b" ")[1].decode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http{'s' if shows else ''}://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        ended.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def says(body: bytes, status: str = "200 OK", headers: str = "", length: int | None = None) -> Talk:
    """A server that answers everything the same."""

    def talk(connection: socket.socket, _path: str) -> None:
        size = len(body) if length is None else length
        connection.sendall(f"HTTP/1.1 {status}\r\ncontent-length: {size}\r\n{headers}\r\n".encode() + body)

    return talk


def fetched(sandbox: Path, *uris: Uri, directories: tuple[str, ...] = (), **limits: Any) -> Verdict:
    """What a fetcher says, in this process, as this user."""
    bounds = Limits(**limits)
    order = Order(
        sandbox=str(sandbox), fetch=uris, agent=os.getpid(), directories=tuple(map(str, directories)), limits=bounds
    )
    return fetch(order, client(bounds))


def files(sandbox: Path) -> dict[str, bytes]:
    """Every plain file in a sandbox."""
    return {str(path.relative_to(sandbox)): path.read_bytes() for path in sandbox.rglob("*") if path.is_file()}


def member(name: str, type_: bytes = tarfile.REGTYPE, size: int = 0, **fields: Any) -> tarfile.TarInfo:
    """One entry of a tar."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode = type_, size, 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def tar(*members: tuple[tarfile.TarInfo, bytes], kind: str = "") -> bytes:
    """A tar of any members."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode=f"w:{kind}") as archive:  # type: ignore[call-overload]  # the kind is a variable
        for info, content in members:
            info.size = len(content) if info.isreg() else info.size
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return written.getvalue()


def zipped(*members: tuple[str, bytes, int], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of any members, with the mode of each."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", how) as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = mode << 16, how
            archive.writestr(info, content)
    return written.getvalue()


LINK = stat.S_IFLNK | 0o777
