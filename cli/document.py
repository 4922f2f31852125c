"""Apps and jobs as people hand them over: a file, or `-` for standard input.

Rule of this room: a wrong document is refused here, before anything is said on the bus, with the path of the field.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, TYPE_CHECKING, TypeVar

from bus.documents import APP_ID, AppSpec, DocumentError, GroupSpec, JobSpec, PodSpec
from bus.nouns import AppId
from cli.output import Failure

if TYPE_CHECKING:
    from bus.documents.reading import Given

D = TypeVar("D", bound=AppSpec | JobSpec | PodSpec | GroupSpec)
R = TypeVar("R")
document_bytes_max = 400 * 1024
"""A document travels in one event of at most 512 KiB."""


def called(file: IO[bytes]) -> str:
    """What a person called a file: `-` is standard input."""
    name = getattr(file, "name", "<stdin>")
    return "-" if name == "<stdin>" else str(name)


def read_document(file: IO[bytes], shape: type[D]) -> D:
    """The document in a file. Raises Failure that names the fields."""
    from bus.documents.reading import parse_document  # only who hands something over pays for the import

    return _read(file, lambda text: parse_document(text, shape))


def read_partial(file: IO[bytes], app: AppId) -> Given:
    """What a file says of an app, which keeps its other fields. Raises Failure that names the fields."""
    from bus.documents.reading import parse_partial

    return _read(file, lambda text: parse_partial(text, at=app))


def _read(file: IO[bytes], parse: Callable[[bytes], R]) -> R:
    text = file.read(document_bytes_max + 1)
    if len(text) > document_bytes_max:
        raise Failure(
            f"{called(file)}: longer than {document_bytes_max} bytes", next_="let the command fetch its input"
        )
    try:
        return parse(text)
    except DocumentError as error:
        first, *others = (f"{called(file)}: {each}" for each in error.complaints)
        raise Failure(first, also=others, next_="correct the file; nothing was changed") from None


def app_id(text: str) -> AppId:
    """An app's id as people type it: the first slash may be left out. Raises Failure."""
    full = text if text.startswith("/") else f"/{text}"
    if not APP_ID.fullmatch(full):
        raise Failure(f"{text!r} is not an app id: expected /a/b, parts of [a-z0-9.-]", next_="busbar app list")
    return AppId(full)


def command_line(cmd: str | None, args: tuple[str, ...] | None) -> str:
    """What is executed, short enough for a table. (DC/OS: 30 characters)"""
    line = " ".join((cmd if cmd is not None else " ".join(args or ())).split())
    return line if len(line) <= 30 else line[:27] + "..."
