"""Hypothesis strategies for msgspec types, read from the types themselves, constraints included."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def of(type_: object) -> st.SearchStrategy[Any]:
    """Any value of a type."""
    return _of(inspect.type_info(type_))


def _of(info: inspect.Type) -> st.SearchStrategy[Any]:
    match info:
        case inspect.StructType():
            return _struct(info)
        case inspect.UnionType():
            return st.one_of([_of(one) for one in info.types])
        case inspect.VarTupleType():
            most = min(info.max_length or 3, 3)
            return st.lists(_of(info.item_type), min_size=info.min_length or 0, max_size=most).map(tuple)
        case inspect.TupleType():
            return st.tuples(*map(_of, info.item_types))
        case inspect.DictType():
            return st.dictionaries(_of(info.key_type), _of(info.value_type), max_size=3)
        case inspect.EnumType():
            return st.sampled_from(list(info.cls))
        case inspect.LiteralType():
            return st.sampled_from(info.values)
        case _:
            return _scalar(info)


def _scalar(info: inspect.Type) -> st.SearchStrategy[Any]:
    match info:
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType():
            return st.integers(-(2**63) if info.ge is None else info.ge, 2**63 - 1 if info.le is None else info.le)
        case inspect.FloatType():
            return st.floats(info.ge, info.le, allow_nan=False, allow_infinity=False)
        case inspect.StrType():
            return _str(info)
        case inspect.BytesType():
            return st.binary(max_size=20)
    raise AssertionError(f"no strategy for {info}")


def _str(info: inspect.StrType) -> st.SearchStrategy[str]:
    text = st.from_regex(info.pattern, fullmatch=True) if info.pattern else TEXT
    low, high = info.min_length or 0, info.max_length or sys.maxsize
    return text.filter(lambda found: low <= len(found) <= high and not _surrogate(found)).map(_read)


def _read(text: str) -> str:
    """The text as a decoder has it: of one letter there is one object, so that a default is known again as such."""
    return chr(ord(text)) if len(text) == 1 else text


def _surrogate(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)


_STRUCTS: dict[type, st.SearchStrategy[Any]] = {}


def _struct(info: inspect.StructType) -> st.SearchStrategy[Any]:
    """Of each class one, made when it is drawn from: a group holds groups."""
    return _STRUCTS.setdefault(info.cls, st.deferred(lambda: _filled(info)))


def _filled(info: inspect.StructType) -> st.SearchStrategy[Any]:
    required = {field.name: _of(field.type) for field in info.fields if field.required}
    optional = {field.name: _of(field.type) for field in info.fields if not field.required}
    return st.fixed_dictionaries(required, optional=optional).map(lambda fields: info.cls(**fields))


def fields(cls: type[msgspec.Struct]) -> list[str]:
    """The wire names of a struct's fields."""
    return list(cls.__struct_encode_fields__)
