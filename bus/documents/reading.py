"""How a document is read: its syntax, its older forms, its shape, and the rules that span fields.

Rule of this room: as in `bus.documents`; all that is wrong is said at once, each with its path.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from bus.documents.app import AppSpec
from bus.documents.app_rules import APP_RULES
from bus.documents.base import Complaint, DocumentError, Steps
from bus.documents.complaints import complaints_max, shaped, short, type_of
from bus.documents.group import GroupSpec
from bus.documents.group_rules import group_broken
from bus.documents.ids import ROOT, resolved
from bus.documents.job import JobSpec
from bus.documents.job_rules import JOB_RULES
from bus.documents.older import Older, resolve_id, without_nulls
from bus.documents.pod import PodSpec
from bus.documents.pod_rules import POD_RULES
from bus.documents.rules import broken

Spec = AppSpec | PodSpec | GroupSpec | JobSpec
D = TypeVar("D", bound=AppSpec | PodSpec | GroupSpec | JobSpec)
documents_max = 1000
"""Of one list."""


class Given(NamedTuple):
    """An app that was not written whole."""

    app: AppSpec
    fields: tuple[str, ...]
    """The wire names of the fields that are given, without the id; the others of `app` are not meant."""


def parse_document(text: bytes, shape: type[D], *, under: str = ROOT, at: str | None = None) -> D:
    """The document in `text` (JSON, UTF-8). Ids are relative to group `under`, and absolute from then on.

    With `at` it is known what the document is about: it may leave out its id, and may have no other one.
    Raises DocumentError, e.g. ``Expected `int` >= 0 - at `$.instances` ``.
    """
    return _read(_parsed(text), shape, under=under, at=at)[0]


def parse_partial(text: bytes, *, at: str) -> Given:
    """The fields of app `at` that are to change. The rules that span fields are for what comes of it."""
    return Given(*_read(_parsed(text), AppSpec, at=at, whole=False))


def parse_apps(text: bytes, *, partial: bool = False) -> tuple[Given, ...]:
    """Several apps in one array; each has its id."""
    raw = _parsed(text)
    if not isinstance(raw, list):
        raise DocumentError(Complaint("Expected `array` of apps"))
    if len(raw) > documents_max:
        raise DocumentError(Complaint(f"Expected `array` of length <= {documents_max}"))
    found: list[Given] = []
    complaints: list[Complaint] = []
    for index, each in enumerate(raw):
        try:
            found.append(Given(*_read(each, AppSpec, whole=not partial)))
        except DocumentError as error:
            complaints += (one._replace(steps=(index, *(one.steps or ()))) for one in error.complaints)
    for index in _again(given.app.id for given in found):
        complaints.append(Complaint(f"{found[index].app.id!r} is there twice", ()))
    _raise(complaints)
    return tuple(found)


def check_document(document: Spec) -> None:
    """The rules that span fields. Raises DocumentError with all that are broken."""
    _raise(_broken(document, ()))


def merged(app: AppSpec, given: Given) -> AppSpec:
    """An app in which some fields are what was given. It is not checked."""
    names = {name for name, wire in _wire(AppSpec) if wire in given.fields}
    return replace(app, **{name: getattr(given.app, name) for name in names})


def _read(
    raw: Any, shape: type[D], *, under: str = ROOT, at: str | None = None, whole: bool = True
) -> tuple[D, tuple[str, ...]]:
    """A document, and which of its fields are given."""
    older = Older()
    try:
        _prepare(raw, shape, under, at, older)
        found = shaped(raw, shape)
    except RecursionError:
        raise _too_deep() from None
    complaints = [*older.complaints, *found.complaints]
    spoiled = [each.steps or () for each in older.complaints] + list(found.spoiled)
    if found.document is None:
        raise DocumentError(*map(older.told, complaints))
    if whole:
        complaints += _broken(found.document, spoiled)
    _raise(map(older.told, complaints))
    document: D = found.document
    given = ["portDefinitions" if name == "ports" else name for name in raw if name != "id"]
    return _today(document), tuple(dict.fromkeys(given))


def _prepare(raw: Any, shape: type, under: str, at: str | None, older: Older) -> None:
    """Make of an older form today's, and of relative ids absolute ones."""
    without_nulls(raw, type_of(shape))
    if not isinstance(raw, dict):
        return
    if at is not None:
        _settle_id(raw, at, under, older)
    if issubclass(shape, AppSpec):
        older.app(raw, (), under)
    elif issubclass(shape, GroupSpec):
        older.group(raw, (), under)
    elif issubclass(shape, PodSpec):
        resolve_id(raw, under)
        older.pod(raw)


def _settle_id(raw: dict[str, Any], at: str, under: str, older: Older) -> None:
    written = raw.get("id", at)
    if isinstance(written, str) and resolved(written, under) != at:
        older.complaints.append(Complaint(f"{short(written)} is not {at}, of which this is", ("id",)))
    raw["id"] = at


def _today(document: Any) -> Any:
    """Ports in the form they are kept in."""
    if isinstance(document, AppSpec) and document.ports is not None:
        return replace(document, ports=None, port_definitions=document.port_definitions or document.wanted_ports)
    if isinstance(document, GroupSpec):
        inside = {name: getattr(document, name) for name in ("apps", "groups")}
        given = {name: tuple(map(_today, found)) for name, found in inside.items() if found is not None}
        return replace(document, **given)
    return document


def _broken(document: Spec, spoiled: Iterable[Steps]) -> Iterator[Complaint]:
    if isinstance(document, AppSpec):
        return broken(APP_RULES, document, spoiled=spoiled)
    if isinstance(document, PodSpec):
        return broken(POD_RULES, document, spoiled=spoiled)
    if isinstance(document, GroupSpec):
        return group_broken(document, spoiled)
    return broken(JOB_RULES, document, spoiled=spoiled)


def _raise(complaints: Iterable[Complaint]) -> None:
    found = tuple(complaints)[:complaints_max]
    if found:
        raise DocumentError(*found)


def _again(ids: Iterable[str]) -> list[int]:
    seen: dict[str, int] = {}
    return [index for index, id_ in enumerate(ids) if seen.setdefault(id_, index) != index]


def _wire(shape: type[msgspec.Struct]) -> list[tuple[str, str]]:
    return [(field.name, field.encode_name) for field in msgspec.structs.fields(shape)]


# ---- what is no JSON ---------------------------------------------------------------------------------------------


def _parsed(text: bytes) -> Any:
    """What is in a JSON text. Raises DocumentError for what is none, whatever its shape should be."""
    if not text.strip():
        raise DocumentError(Complaint("it is empty, expected a JSON object"))
    try:
        raw = json.loads(text.decode(), object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise DocumentError(
            Complaint(f"not UTF-8: {error.reason} 0x{text[error.start]:02x} (byte {error.start})")
        ) from None
    except RecursionError:
        raise _too_deep() from None
    except json.JSONDecodeError as error:
        raise DocumentError(Complaint(_wrong_syntax(text) or str(error))) from None
    except DocumentError:
        raise
    except ValueError:  # (sys.set_int_max_str_digits)
        raise DocumentError(Complaint("a number has too many digits")) from None
    wrong = _wrong_syntax(text)  # (Python takes NaN, and half of a character)
    if wrong:
        raise DocumentError(Complaint(wrong))
    return raw


def _too_deep() -> DocumentError:
    return DocumentError(Complaint("nested too deeply"))


def _wrong_syntax(text: bytes) -> str:
    """What msgspec says of a text that is no JSON: with the place."""
    try:
        msgspec.json.decode(text)
    except msgspec.ValidationError:
        return ""  # it is JSON; a number that is too large is said with its field
    except msgspec.DecodeError as error:
        return str(error)
    return ""


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object; JSON leaves open which one counts if a key is there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        again = next(name for name in names if names.count(name) > 1)
        raise DocumentError(Complaint(f"the field `{again}` is written twice in one object"))
    return found
