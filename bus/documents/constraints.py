"""Placement constraints as people write them: which fields, which operators, which values.

Rule of this room: as in `bus.documents`; the words follow Marathon's. (Marathon: `docs/constraints.md`,
`ConstraintsValidation`; Metronome: `placement.constraints`)
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

from bus.patterns import pattern_invalid

UNIQUE, CLUSTER, GROUP_BY, LIKE, UNLIKE, MAX_PER, IS = OPERATORS = (
    "UNIQUE",
    "CLUSTER",
    "GROUP_BY",
    "LIKE",
    "UNLIKE",
    "MAX_PER",
    "IS",
)
SPREADING = frozenset({UNIQUE, CLUSTER, GROUP_BY, MAX_PER})
"""Those that look at where the other instances are."""
HOSTNAMES = frozenset({"hostname", "@hostname"})
REGION, ZONE = "@region", "@zone"
field_chars_max = 255
value_chars_max = 4096
number_max = 100_000
_THOUSANDTH = Decimal("0.001")


def constraint_invalid(field: str, operator: str, value: str | None) -> str | None:
    """What is wrong with a constraint; nothing if it can be used."""
    if not 1 <= len(field) <= field_chars_max:
        return f"a field of {len(field)} characters: expected 1 to {field_chars_max}"
    if field.startswith("@") and field not in HOSTNAMES | {REGION, ZONE}:
        return f"field {field!r}: of those with @ there are @hostname, @region and @zone"
    if value is not None and len(value) > value_chars_max:
        return f"a value of {len(value)} characters: expected at most {value_chars_max}"
    if operator == UNIQUE:
        return None if value is None else f"UNIQUE takes no value, found {value!r}"
    if operator in (LIKE, UNLIKE):
        return _pattern_invalid(operator, value)
    if operator in (MAX_PER, GROUP_BY):
        return _number_invalid(operator, value)
    if operator == IS:
        return None if value else "IS needs a value"
    if operator != CLUSTER:
        return f"operator {operator!r}: expected one of {', '.join(OPERATORS)}"
    return None


def _pattern_invalid(operator: str, value: str | None) -> str | None:
    if not value:
        return f"{operator} needs a regular expression"
    wrong = pattern_invalid(value)
    return None if wrong is None else f"{value[:100]!r} is not a regular expression we can use: {wrong}"


def _number_invalid(operator: str, value: str | None) -> str | None:
    if value is None:
        return "MAX_PER needs a number" if operator == MAX_PER else None
    least = 1 if operator == MAX_PER else 0
    if not (value.isascii() and value.isdigit() and least <= int(value[:10]) <= number_max and len(value) <= 10):
        return f"{operator} takes a whole number from {least} to {number_max}, found {value[:100]!r}"
    return None


def same_value(one: str, other: str) -> bool:
    """Whether two values are the same for IS: the same text, or the same number to three decimals, half to even.

    (Mesos: scalars have three decimals)
    """
    if one == other:
        return True
    left, right = _scalar(one), _scalar(other)
    return left is not None and left == right


def _scalar(text: str) -> Decimal | None:
    if not (1 <= len(text) <= 30 and set(text) <= set("0123456789.-")):
        return None
    try:
        return Decimal(text).quantize(_THOUSANDTH, rounding=ROUND_HALF_EVEN)
    except InvalidOperation:
        return None
