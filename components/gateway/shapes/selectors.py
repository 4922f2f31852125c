"""Which apps a list holds: by command, by a part of the id, by labels.

Rule of this room: as in `components.gateway.shapes`. (Marathon: `LabelSelectorParsers.scala`, `AppsResource.search`)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Chosen = Callable[[Mapping[str, str]], bool]
_NAME = r"[A-Za-z0-9._/-]+"
_TERM = re.compile(
    rf"\s*(?:(?P<not>!)?\s*(?P<has>{_NAME})|(?P<key>{_NAME})\s*(?P<op>==|!=|=)\s*(?P<value>{_NAME})"
    rf"|(?P<in_key>{_NAME})\s+(?P<word>in|notin)\s*\((?P<values>[^()]*)\))\s*"
)
selector_chars_max = 4096


class SelectorError(ValueError):
    """A selector of labels that is none."""


def label_selector(text: str) -> Chosen:
    """`a, !b, c==d, e!=f, g in (h, i), j notin (k)`: all must hold. Raises SelectorError."""
    if len(text) > selector_chars_max:
        raise SelectorError(f"a selector of {len(text)} characters, at most {selector_chars_max} are allowed")
    terms = [_term(part) for part in _parts(text)]
    return lambda labels: all(term(labels) for term in terms)


def _parts(text: str) -> list[str]:
    """The text between commas that are in no brackets."""
    parts, depth = [""], 0
    for char in text:
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def _term(text: str) -> Chosen:
    found = _TERM.fullmatch(text)
    if found is None:
        raise SelectorError(f"Parse error in {text.strip()!r}: expected a, !a, a==b, a!=b, a in (b, c) or a notin (b)")
    if found["has"]:
        key, without = found["has"], bool(found["not"])
        return lambda labels: (key in labels) != without
    if found["key"]:
        key, value, same = found["key"], found["value"], found["op"] != "!="
        return lambda labels: (labels.get(key) == value) if same else (key in labels and labels[key] != value)
    key, among = found["in_key"], found["word"] == "in"
    values = {each.strip() for each in found["values"].split(",")}
    return lambda labels: key in labels and (labels[key] in values) == among
