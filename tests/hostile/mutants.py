"""Bytes that are almost right, and bytes that never were: drawn from a seed, so a failure can be had again."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import msgpack

NESTED = [b"\x91" * 50_000, b"\x81\xa1x" * 20_000, b"\x81\xa1x" + b"\x91" * 100_000, b"[" * 60_000, b'{"a":' * 20_000]
HUGE = [
    b"\xc6\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xdb\x7f\xff\xff\xffx",
    b"x" * 700_000,
]
ODD = [
    b"",
    b"\xc1",
    b"\x00",
    b"null",
    b"{}",
    b"[]",
    b"\x80",
    b"\xc0",
    b'"\\ud800"',
    b"\xa3\xed\xa0\x80",
    b"1e999",
    b"NaN",
]
ODD += [b"-0", b"\xef\xbb\xbf{}", b'{"a":1,"a":2}', b"\x81\xa1a\x01" * 3, b"9" * 5000, b"\xcf" + b"\xff" * 8]
FIXED = [*NESTED, *HUGE, *ODD]
VALUES: list[object] = [
    None,
    True,
    -1,
    0,
    2**63,
    2**64 - 1,
    -(2**63),
    1.5,
    float("inf"),
    float("nan"),
    "",
    "x",
    "\0",
    "a.b",
]
VALUES += [
    "../x",
    "x" * 300,
    "\ud7ff",
    "*",
    ">",
    b"",
    b"\xff",
    [],
    [[]],
    {},
    {"": 0},
    {1: 2},
    [None] * 50,
    {"x": {"y": []}},
]


def mutants(seeds: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """So many messages made from these, after those that are always worth a try."""
    dice = random.Random(seed)
    yield from FIXED
    for _ in range(count - len(FIXED)):
        body = dice.choice(seeds) if seeds else b""
        yield dice.choice(_WAYS)(dice, body)


def _bytes(dice: random.Random, body: bytes) -> bytes:
    """Some bytes are others."""
    found = bytearray(body or b"\0")
    for _ in range(dice.choice((1, 1, 2, 8))):
        found[dice.randrange(len(found))] = dice.choice((0, 0x7F, 0x80, 0xC1, 0xFF, dice.randrange(256)))
    return bytes(found)


def _cut(dice: random.Random, body: bytes) -> bytes:
    """An end, or a middle, is missing or there twice."""
    first, second = sorted((dice.randint(0, len(body)), dice.randint(0, len(body))))
    return dice.choice((body[:first], body[:first] + body[second:], body[:second] + body[first:]))


def _chance(dice: random.Random, body: bytes) -> bytes:
    """Nothing of it."""
    return dice.randbytes(dice.choice((1, 3, 20, 200)))


def _values(dice: random.Random, body: bytes) -> bytes:
    """Some value is another, or a field is gone or new. (MessagePack)"""
    try:
        tree = msgpack.unpackb(body, strict_map_key=False)
    except (ValueError, msgpack.UnpackException):
        return _bytes(dice, body)
    for _ in range(dice.choice((1, 1, 2))):
        tree = _changed(dice, tree)
    try:
        packed: bytes = msgpack.packb(tree)
    except (ValueError, TypeError, OverflowError):
        return _cut(dice, body)
    return packed


def _changed(dice: random.Random, tree: object) -> object:
    if isinstance(tree, dict) and tree and dice.random() < 0.8:
        key = dice.choice(list(tree))
        kind = dice.random()
        if kind < 0.1:
            return {name: value for name, value in tree.items() if name != key}
        if kind < 0.2:
            return tree | {dice.choice(("x", 5, "")): dice.choice(VALUES)}
        return tree | {key: _changed(dice, tree[key])}
    if isinstance(tree, list) and tree and dice.random() < 0.8:
        place = dice.randrange(len(tree))
        return [*tree[:place], _changed(dice, tree[place]), *tree[place + 1 :]]
    return dice.choice(VALUES)


_WAYS = (_bytes, _cut, _chance, _values, _values, _values)
