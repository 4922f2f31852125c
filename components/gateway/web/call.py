"""One request while it is answered, and how an answer can go wrong.

Rule of this room: what a client sends is bounded while it is read, and said to be wrong before anything is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from bus.documents import DocumentError
from components.gateway.config import GatewayConfig, body_bytes_max
from components.gateway.shapes.errors import INVALID_JSON, complaint_of, invalid, wrong_document
from components.gateway.web.client import Client

if TYPE_CHECKING:
    from components.gateway.web.stream import Hub

P = TypeVar("P")
TRUE, FALSE = ("true", "1", "yes", ""), ("false", "0", "no")


class HttpError(Exception):
    """An answer that is a refusal."""

    def __init__(self, status: int, body: Mapping[str, object] | str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, body)
        self.status = status
        self.body: Mapping[str, object] = {"message": body} if isinstance(body, str) else body
        self.headers = headers or {}

    def response(self) -> Response:
        """As it is sent."""
        return answer(self.body, self.status, headers=self.headers)


def answer(content: object, status: int = 200, *, headers: Mapping[str, str] | None = None) -> Response:
    """JSON, as the originals send it."""
    return Response(msgspec.json.encode(content), status, dict(headers or {}), "application/json")


@dataclass(frozen=True, slots=True)
class Call:
    """A request, who makes it, and what it takes to answer it."""

    request: Request
    params: Mapping[str, str]
    actor: str
    client: Client
    config: GatewayConfig
    hub: Hub
    place: str
    """`host:port` under which this gateway is known."""

    @property
    def id(self) -> str:
        """The absolute id in the path."""
        return "/" + self.params["id"].strip("/")

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A yes or no behind the question mark. Raises HttpError."""
        text = self.request.query_params.get(name)
        if text is None:
            return default
        if text.lower() in TRUE:
            return True
        if text.lower() in FALSE:
            return False
        raise HttpError(400, f"{name}={text}: expected true or false")

    def all(self, name: str) -> list[str]:
        """Every value of a parameter."""
        return self.request.query_params.getlist(name)

    def one(self, name: str) -> str | None:
        """The value of a parameter."""
        return self.request.query_params.get(name)

    async def body(self) -> bytes:
        """What was sent, which must be JSON. Raises HttpError: 413, 415."""
        length = self.request.headers.get("content-length", "")
        if length.isdigit() and int(length) > body_bytes_max:
            raise HttpError(413, too_large)
        found = bytearray()
        async for piece in self.request.stream():
            found += piece
            if len(found) > body_bytes_max:
                raise HttpError(413, too_large)
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise HttpError(415, f"Content-Type {kind or 'is missing'}: expected application/json")
        return bytes(found)

    async def json(self) -> Any:
        """What was sent, of whatever shape. Raises HttpError."""
        text = await self.body()
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise not_json(str(error)) from None


too_large = f"The body is larger than {body_bytes_max} bytes"


def not_json(why: str) -> HttpError:
    """The refusal of a text that is no JSON."""
    return HttpError(400, {"message": INVALID_JSON, "details": [{"path": "/", "errors": [why]}]})


@contextmanager
def documents(*, typed: bool = True) -> Iterator[None]:
    """What is wrong with a document becomes an answer with all of it; `typed` as of `invalid`. Raises HttpError."""
    try:
        yield
    except DocumentError as error:
        raise HttpError(*wrong_document(error, typed=typed)) from None


def part(value: object, shape: type[P], *, typed: bool = True) -> P:
    """A part of a document. Raises HttpError."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise HttpError(*invalid([complaint_of(str(error))], typed=typed)) from None


def is_rollback(text: bytes) -> str | None:
    """The version that a document names and nothing else: it is to be again what it was. (Marathon)"""
    try:
        sent = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    named = {key for key, value in sent.items() if value is not None} if isinstance(sent, dict) else set()
    return str(sent["version"]) if named == {"version"} else None
