"""How a file comes from where its URI says into the sandbox: http and https, or a directory of this machine.

Rule of this room: certificates are verified, a secure way does not go on by an insecure one, and a server is believed
nothing: what it says of its length is at most too little.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from urllib.parse import unquote, urlsplit

import httpx

from bus.artifacts import uri_invalid
from bus.nouns import Uri
from components.fetcher.order import Limits, NotFetched
from components.fetcher.place import Place

_piece = 256 * 1024
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MOVED = (301, 302, 303, 307, 308)


def client(limits: Limits) -> httpx.Client:
    """A client that follows nothing by itself and accepts what is sent as it is. Proxies are the environment's."""
    return httpx.Client(
        timeout=limits.stall_s, follow_redirects=False, headers={"accept": "*/*", "accept-encoding": "identity"}
    )


def download(http: httpx.Client, uri: Uri, path: str, place: Place, directories: Iterable[str]) -> None:
    """Bring one file into the sandbox. Raises NotFetched, OSError."""
    found = sha256()
    opened = _opened(uri.uri, directories) if uri.uri.startswith("file:") else _asked(http, uri.uri, place)
    with opened as pieces, place.new(path, 0o755 if uri.executable else 0o644) as file:
        for piece in pieces:
            found.update(piece)
            place.write(file, piece)
    if uri.checksum not in (None, f"sha256:{found.hexdigest()}"):
        raise NotFetched(f"it is sha256:{found.hexdigest()}, expected {uri.checksum}")


@contextmanager
def _asked(http: httpx.Client, uri: str, place: Place) -> Iterator[Iterator[bytes]]:
    """What a server answers with in the end. Raises NotFetched."""
    limits = place.limits
    try:
        for _ in range(limits.redirects_max + 1):
            with http.stream("GET", uri) as answer:
                if answer.status_code in _MOVED:
                    uri = _moved(answer, uri)
                    continue
                if answer.status_code != httpx.codes.OK:
                    raise NotFetched(f"the server answers {answer.status_code} {answer.reason_phrase[:100]}".rstrip())
                length = answer.headers.get("content-length", "0")
                if length.isdigit() and int(length) + place.bytes > limits.bytes_max:
                    raise NotFetched(f"it has {length} bytes, more than the {limits.bytes_max} of all of the task's")
                yield answer.iter_raw(_piece)
                return
        raise NotFetched(f"more than {limits.redirects_max} redirects")
    except httpx.TimeoutException:
        raise NotFetched(f"nothing came for {limits.stall_s:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        raise NotFetched(f"{type(error).__name__}: {error}"[:500]) from None


def _moved(answer: httpx.Response, uri: str) -> str:
    to = str(httpx.URL(uri).join(answer.headers.get("location", "")))
    if uri_invalid(to) is not None or not to.startswith(("http:", "https:")):
        raise NotFetched(f"redirected to {to[:200]!r}: expected http:// or https://")
    if uri.startswith("https:") and not to.startswith("https:"):
        raise NotFetched(f"redirected from https to {to[:200]!r}")
    return to


@contextmanager
def _opened(uri: str, directories: Iterable[str]) -> Iterator[Iterator[bytes]]:
    """A plain file in one of the directories that may be fetched from, links resolved. Raises NotFetched, OSError."""
    path = os.path.realpath(unquote(urlsplit(uri).path))
    allowed = [os.path.realpath(each) for each in directories]
    if not any(path.startswith(f"{each.rstrip('/')}/") for each in allowed):
        raise NotFetched("it lies in no directory that this agent fetches from (busbar run agent --fetch-from)")
    file = os.open(path, _FILE)
    try:
        if os.path.realpath(f"/proc/self/fd/{file}") != path or not stat.S_ISREG(os.fstat(file).st_mode):
            raise NotFetched("it is not a plain file")
        yield iter(lambda: os.read(file, _piece), b"")
    finally:
        os.close(file)
