"""How an archive is unpacked beside itself: plain files and directories, nothing else, and never too much.

Rule of this room: an archive is a stranger's. A name that leads out, a link, a device, a FIFO, a hole, a name that is
there twice: the whole archive is refused, and with it the task.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from typing import IO, Any

from components.fetcher.order import NotFetched
from components.fetcher.place import Place

_piece = 256 * 1024
_TAR = {
    ".tar": "",
    ".tgz": "gz",
    ".tar.gz": "gz",
    ".tbz2": "bz2",
    ".tar.bz2": "bz2",
    ".txz": "xz",
    ".tar.xz": "xz",
}
_PLAIN: dict[str, Callable[[IO[bytes]], Any]] = {
    "": lambda file: file,
    "gz": lambda file: gzip.GzipFile(fileobj=file),
    "bz2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}
_MODE = 0o755
"""What of a file's mode is kept: no set-user-id, nothing for others to write."""


def is_archive(path: str) -> bool:
    """Whether a file is unpacked, by its name. (Mesos: `fetcher.cpp` extract)"""
    return path.endswith((*_TAR, ".zip"))


def unpack(path: str, place: Place) -> None:
    """Unpack a fetched file into the sandbox. Raises NotFetched."""
    try:
        with open(place.read(path), "rb") as file:
            if path.endswith(".zip"):
                _unzip(file, place)
            else:
                _untar(file, next(_TAR[suffix] for suffix in _TAR if path.endswith(suffix)), place)
    except NotFetched as error:
        raise NotFetched(f"{path} cannot be unpacked: {error}") from None
    except MemoryError:
        raise NotFetched(f"{path} cannot be unpacked: it asks for too much memory") from None
    except Exception as error:  # what the libraries raise for damage is a long list, and no disk is for ever free
        raise NotFetched(f"{path} cannot be unpacked: {type(error).__name__}: {str(error)[:200]}") from None


class _Measured(io.RawIOBase):
    """A decompressed stream that may not become too many times as large as it was."""

    def __init__(self, stream: Any, packed: int, place: Place) -> None:
        self._stream, self._packed, self._place, self._size = stream, packed, place, 0

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._stream.read(_piece if size < 0 else size)
        self._size += len(data)
        limits = self._place.limits
        if self._size > max(limits.ratio_from, self._packed * limits.ratio_max):
            raise NotFetched(f"it becomes more than {limits.ratio_max} times as large")
        if self._size > limits.bytes_max:
            raise NotFetched(f"it becomes more than {limits.bytes_max} bytes")
        return data


def _untar(file: IO[bytes], kind: str, place: Place) -> None:
    packed = os.fstat(file.fileno()).st_size
    measured = _Measured(_PLAIN[kind](file), packed, place)
    with tarfile.open(fileobj=measured, mode="r|") as archive:
        for member in archive:
            name = _name(member.name, place)
            if member.isdir():
                if name:
                    place.directory(name)
            elif member.isreg() and not member.issparse():
                content = archive.extractfile(member)
                assert content is not None, "it is a plain file"
                _write(content, name, member.mode, member.size, place)
            else:
                raise NotFetched(f"{member.name[:200]!r} is neither a plain file nor a directory")


def _unzip(file: IO[bytes], place: Place) -> None:
    packed = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            name = _name(member.filename, place)
            mode = member.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise NotFetched(f"{member.filename[:200]!r} is neither a plain file nor a directory")
            if member.is_dir() or stat.S_ISDIR(mode):
                if name:
                    place.directory(name)
                continue
            with archive.open(member) as content:
                measured = _Measured(content, max(1, min(packed, member.compress_size)), place)
                _write(measured, name, mode or 0o644, member.file_size, place)


def _name(name: str, place: Place) -> str:
    """A member's name as a path in the sandbox; a dot in front and a slash behind are usual."""
    place.look()
    parts = name.removesuffix("/").split("/")
    while parts and parts[0] == ".":
        parts = parts[1:]
    return "/".join(parts)


def _write(content: IO[bytes] | io.RawIOBase, name: str, mode: int, size: int, place: Place) -> None:
    written = 0
    with place.new(name, (mode & _MODE) | 0o600) as file:
        while data := content.read(_piece):
            written += len(data)
            place.write(file, data)
    if written != size:
        raise NotFetched(f"{name[:200]!r} ends after {written} of {size} bytes")
