"""What is wrong with a document, in words a person can act on: which field, what was wrong, what is allowed.

msgspec finds what is wrong; it names a wrong value's rule, but not the fields there are, nor the key of an entry.
Rule of this room: words only. Whether a document is wrong is decided elsewhere.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import inspect

from bus.secrets import NAME_RULE, SECRET_PATTERN

RULES = {
    SECRET_PATTERN: NAME_RULE,
    r"^[^\x00-\x1f]+\Z": "text without control characters",
    r"^[^\x00]*\Z": "text without NUL characters",
    r"^[A-Za-z_][A-Za-z0-9_]*\Z": "letters, digits and _, no digit in front",
    r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z": "[a-z0-9-], 1 to 63 characters, no dash at an end",
}
"""What each pattern of the documents asks for."""
shown_chars_max = 60
"""Of a wrong value."""
_PLACE = re.compile(r"(?P<what>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`)?", re.DOTALL)
_STEP = re.compile(r"\.(\w+)|\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISMATCH = re.compile(r"Expected `str` matching regex '.*'", re.DOTALL)
_CHOICE = re.compile(r"Invalid enum value .*", re.DOTALL)


def complaint(error: str, text: bytes, shape: type[msgspec.Struct]) -> str:
    """msgspec's refusal of a document, completed."""
    place = _PLACE.fullmatch(error)
    assert place is not None, "every text matches it"
    what, in_key, path = place["what"], place["key"], place["path"] or ""
    if path == "" and not _UNKNOWN.fullmatch(what):
        return error  # the document as a whole is none
    value, type_, path = _find(json.loads(text), inspect.type_info(shape), path)
    if in_key and isinstance(type_, inspect.DictType):
        value = next((key for key in value if not _fits(key, type_.key_type)), "")
        type_ = _plain(type_.key_type, value)
    return f"{_words(what, value, type_)} - at {in_key or ''}`${path}`"


def _words(what: str, value: Any, type_: inspect.Type) -> str:
    unknown = _UNKNOWN.fullmatch(what)
    if unknown and isinstance(type_, inspect.StructType):
        return f"{what}{_meant(unknown[1], [field.encode_name for field in type_.fields])}"
    if _MISMATCH.fullmatch(what) and isinstance(type_, inspect.StrType):
        return f"{_short(value)} is not allowed, expected {RULES[type_.pattern or '']}"
    if _CHOICE.fullmatch(what) and isinstance(type_, inspect.LiteralType):
        return f"{what}, expected one of {', '.join(map(str, type_.values))}"
    return what


def _short(value: Any) -> str:
    told = repr(value)
    return told if len(told) <= shown_chars_max else f"{told[:shown_chars_max]}..."


def _meant(name: str, known: Sequence[str]) -> str:
    """What a field may have been meant to be, and all it could be."""
    close = difflib.get_close_matches(name, known, 1)
    meant = f" (did you mean `{close[0]}`?)" if close else ""
    return f"{meant}, expected one of {', '.join(known)}"


def _find(value: Any, type_: inspect.Type, path: str) -> tuple[Any, inspect.Type, str]:
    """What lies at a path, its type, and the path with the keys that msgspec leaves out."""
    whole = ""
    type_ = _plain(type_, value)
    for name, index in _STEP.findall(path):
        match type_:
            case inspect.StructType(fields=fields):
                step, type_ = name, next(field.type for field in fields if field.encode_name == name)
            case inspect.DictType(value_type=inner):
                step = next((key for key in value if not _fits(value[key], inner)), next(iter(value)))
                type_ = inner
            case inspect.VarTupleType(item_type=type_):
                step = int(index)
            case _:
                raise AssertionError(f"{path}: {type_} has no parts")
        value = value[step]
        type_ = _plain(type_, value)
        whole += f"[{step}]" if isinstance(step, int) else f".{step}"
    return value, type_, whole


def _plain(type_: inspect.Type, value: Any) -> inspect.Type:
    """A type without its `| None` and its notes; of text or an object, what the value looks like."""
    if isinstance(type_, inspect.UnionType):
        types = [_plain(each, value) for each in type_.types if not isinstance(each, inspect.NoneType)]
        objects = [each for each in types if isinstance(each, inspect.StructType)]
        type_ = objects[0] if objects and isinstance(value, dict) else types[0]
    return _plain(type_.type, value) if isinstance(type_, inspect.Metadata) else type_


def _fits(value: Any, type_: inspect.Type) -> bool:
    """Whether an entry is as its type wants it: text, or an object; the documents hold no others."""
    type_ = _plain(type_, value)
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
