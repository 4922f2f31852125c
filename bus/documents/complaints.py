"""What is wrong with the shape of a document, in words a person can act on: the field, what is wrong, what is allowed.

msgspec finds what is wrong and stops there; it names a wrong value's rule, but not the fields there are, nor the key
of an entry. So each wrong value is replaced by one that passes, until none is left.
Rule of this room: shapes only. Rules that span fields are elsewhere.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from functools import lru_cache
from math import isinf
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import inspect

from bus.documents.base import Complaint, Steps
from bus.secrets import NAME_RULE, SECRET_PATTERN

T = TypeVar("T", bound=msgspec.Struct)

RULES = {
    SECRET_PATTERN: NAME_RULE,
    r"^[^\x00-\x1f]+\Z": "text without control characters",
    r"^[^\x00]*\Z": "text without NUL characters",
    r"^[^\x00-\x20]+\Z": "text without spaces and control characters",
    r"^/[^\x00-\x20]*\Z": "a path that begins with /, without spaces and control characters",
    r"^sha256:[0-9a-f]{64}\Z": "sha256: and 64 characters of [0-9a-f]",
    r"^[A-Za-z_][A-Za-z0-9_]*\Z": "letters, digits and _, no digit in front",
    r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z": "[a-z0-9-], 1 to 63 characters, no dash at an end",
}
"""What each pattern of the documents asks for."""
shown_chars_max = 60
"""Of a wrong value."""
complaints_max = 50
"""Of one document; what is wrong beyond them is found when they are mended."""
_PLACE = re.compile(r"(?P<what>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`)?", re.DOTALL)
_STEP = re.compile(r"\.(\w+)|\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_MISMATCH = re.compile(r"Expected `str` matching regex '.*'", re.DOTALL)
_CHOICE = re.compile(r"Invalid enum value .*", re.DOTALL)


class Shaped(NamedTuple):
    """A document as far as it could be made out."""

    document: Any
    """None if there is no telling what it should be."""
    complaints: tuple[Complaint, ...]
    spoiled: tuple[Steps, ...] = ()
    """Where something was put in place of what was written: no use to look there for more."""


def shaped(raw: Any, shape: type[msgspec.Struct]) -> Shaped:
    """A document of parsed JSON, which is changed, and all that is wrong with its shape."""
    complaints: list[Complaint] = []
    spoiled: list[Steps] = []
    while len(complaints) < complaints_max:
        try:
            return Shaped(msgspec.convert(raw, shape), tuple(complaints), tuple(spoiled))
        except msgspec.ValidationError as error:
            found = _Found(str(error), raw, shape)
            complaints.append(found.complaint)
            spoiled.append(found.spoiled)
            if not found.mend():
                break
    return Shaped(None, tuple(complaints), tuple(spoiled))


class _Found:
    """What msgspec stopped at."""

    def __init__(self, error: str, raw: Any, shape: type[msgspec.Struct]) -> None:
        place = _PLACE.fullmatch(error)
        assert place is not None, "every text matches it"
        self.what = place["what"]
        self.name = ""
        """Of the field that is unknown or missing."""
        self.way = _way(raw, type_of(shape), place["path"] or "")
        """The values and types on the way, the document first."""
        steps: Steps = tuple(each.step for each in self.way[1:])
        value, type_ = self.way[-1].value, self.way[-1].type
        for pattern in (_UNKNOWN, _MISSING):
            named = pattern.fullmatch(self.what)
            self.name = named[1] if named else self.name
        self.in_key = place["key"] is not None and isinstance(type_, inspect.DictType)
        self.key = ""
        if self.in_key:
            assert isinstance(type_, inspect.DictType)
            self.key = next((key for key in value if not _fits(key, type_.key_type)), "")
            value, type_ = self.key, plain(type_.key_type, self.key)
        self.spoiled: Steps = (*steps, self.name) if self.name else steps
        whole = not steps and not _UNKNOWN.fullmatch(self.what)
        self.complaint = Complaint(_words(self.what, value, type_), None if whole else steps, self.in_key)

    def mend(self) -> bool:
        """Put in place of what is wrong something that passes; whether that can be done."""
        here = self.way[-1]
        if self.in_key:
            del here.value[self.key]
        elif _UNKNOWN.fullmatch(self.what):
            del here.value[self.name]
        elif self.name:
            here.value[self.name] = stand_in(_field(here.type, self.name).type)
        elif len(self.way) == 1:
            return False
        else:
            self._replace(self.way[-2], here.step)
        return True

    def _replace(self, owner: _Place, step: str | int) -> None:
        if isinstance(owner.type, inspect.VarTupleType):
            owner.value[step] = stand_in(owner.type.item_type)
        elif isinstance(owner.type, inspect.StructType) and _field(owner.type, str(step)).required:
            owner.value[step] = stand_in(_field(owner.type, str(step)).type)
        else:
            del owner.value[step]


class _Place(NamedTuple):
    value: Any
    type: inspect.Type
    step: str | int


@lru_cache(maxsize=100)
def type_of(shape: type) -> inspect.Type:
    """What msgspec knows of a type."""
    return inspect.type_info(shape)


def _field(type_: inspect.Type, name: str) -> inspect.Field:
    assert isinstance(type_, inspect.StructType), f"{type_} has no fields"
    return next(field for field in type_.fields if field.encode_name == name)


def stand_in(type_: inspect.Type) -> Any:
    """The least value that passes."""
    type_ = plain(type_, {})
    match type_:
        case inspect.StructType(fields=fields):
            return {field.encode_name: stand_in(field.type) for field in fields if field.required}
        case inspect.VarTupleType(item_type=item, min_length=least):
            return [stand_in(item) for _ in range(least or 0)]
        case inspect.DictType():
            return {}
        case inspect.LiteralType(values=values):
            return values[0]
        case inspect.BoolType():
            return False
        case inspect.IntType(ge=least) | inspect.FloatType(ge=least):
            return least or 0
    return "a"


def _words(what: str, value: Any, type_: inspect.Type) -> str:
    unknown = _UNKNOWN.fullmatch(what)
    if unknown and isinstance(type_, inspect.StructType):
        return f"{what}{_meant(unknown[1], [field.encode_name for field in type_.fields])}"
    if isinstance(value, float) and isinf(value):
        return "Number out of range"
    if _MISMATCH.fullmatch(what) and isinstance(type_, inspect.StrType):
        return f"{short(value)} is not allowed, expected {RULES[type_.pattern or '']}"
    if _CHOICE.fullmatch(what) and isinstance(type_, inspect.LiteralType):
        return f"{what}, expected one of {', '.join(map(str, type_.values))}"
    return what


def short(value: Any) -> str:
    """A value as it is told to a person."""
    told = repr(value)
    return told if len(told) <= shown_chars_max else f"{told[:shown_chars_max]}..."


def _meant(name: str, known: Sequence[str]) -> str:
    """What a field may have been meant to be, and all it could be."""
    close = difflib.get_close_matches(name, known, 1)
    meant = f" (did you mean `{close[0]}`?)" if close else ""
    return f"{meant}, expected one of {', '.join(known)}"


def _way(value: Any, type_: inspect.Type, path: str) -> list[_Place]:
    """What lies on a path; with the keys that msgspec leaves out."""
    type_ = plain(type_, value)
    way = [_Place(value, type_, "$")]
    for name, index in _STEP.findall(path):
        step: str | int
        match type_:
            case inspect.StructType():
                step, type_ = name, _field(type_, name).type
            case inspect.DictType(value_type=inner):
                step = next((key for key in value if not _fits(value[key], inner)), next(iter(value)))
                type_ = inner
            case inspect.VarTupleType(item_type=type_):
                step = int(index)
            case _:
                raise AssertionError(f"{path}: {type_} has no parts")
        value = value[step]
        type_ = plain(type_, value)
        way.append(_Place(value, type_, step))
    return way


def plain(type_: inspect.Type, value: Any) -> inspect.Type:
    """A type without its `| None` and its notes; of text or an object, what the value looks like."""
    if isinstance(type_, inspect.UnionType):
        types = [plain(each, value) for each in type_.types if not isinstance(each, inspect.NoneType)]
        fitting = [each for each in types if isinstance(each, inspect.StructType) == isinstance(value, dict)]
        type_ = (fitting or types)[0]
    return plain(type_.type, value) if isinstance(type_, inspect.Metadata) else type_


def _fits(value: Any, type_: inspect.Type) -> bool:
    """Whether an entry is as its type wants it: text, or an object; the documents hold no others."""
    type_ = plain(type_, value)
    if isinstance(type_, inspect.StructType):
        return _converts(value, type_.cls)
    assert isinstance(type_, inspect.StrType), f"{type_} is not text"
    return (
        isinstance(value, str)
        and (type_.min_length or 0) <= len(value) <= (type_.max_length or len(value))
        and re.search(type_.pattern or "", value) is not None
    )


def _converts(value: Any, shape: type) -> bool:
    try:
        msgspec.convert(value, shape)
    except msgspec.ValidationError:
        return False
    return True
