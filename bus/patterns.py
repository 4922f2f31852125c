r"""Regular expressions whose time is known: what they cost grows with their length times the text's, never beyond.

Python's `re` goes back and tries again, so a few characters from a stranger (`(a+)+b`) would stop a mind for ever, and
a time limit would make a decision depend on the machine. Hence a machine of its own that follows all alternatives at
once. What it knows is what people write in constraints: characters, `.`, `[a-z]`, `[^a-z]`, `\d \w \s \D \W \S`,
groups, `|`, `* + ? {m,n}` and `^ $`, and `(?i)` at the beginning; the rest (look-around, back references, possessive
repeats) is refused by name. It matches whole texts, as Marathon's LIKE does. (Thompson 1968)

Rule of this room: pure, and every size is bounded before it is built.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

pattern_chars_max = 500
program_max = 1000
"""Instructions of one pattern, repeats written out."""
depth_max = 30
"""Groups within groups."""
text_chars_max = 1024
"""Of a longer text only so much is looked at: it does not match."""

Test = Callable[[str], bool]


class PatternError(ValueError):
    """A text is no pattern we know: says what, and where."""


class Step(NamedTuple):
    """`test` takes a character and goes on to the next step; without it, all of `to` are gone to at once."""

    test: Test | None = None
    to: tuple[int, ...] = ()
    only_at: str = ""
    """`^` or `$`: goes on only at the beginning or the end."""


Program = tuple[Step, ...]
_Steps = tuple[int, ...]


class _Part(NamedTuple):
    """A piece of a pattern, in the order it is read: an instruction, or several under one head."""

    kind: str
    parts: tuple[_Part, ...] = ()
    test: Test | None = None
    least: int = 0
    most: int | None = None
    size: int = 1


def pattern_invalid(text: str) -> str | None:
    """What is wrong with a pattern; nothing if it can be used."""
    try:
        compiled(text)
    except PatternError as error:
        return str(error)
    return None


@lru_cache(maxsize=1000)
def matches(pattern: str, text: str) -> bool:
    """Whether the whole text is as the pattern says. Raises PatternError."""
    program = compiled(pattern)
    if len(text) > text_chars_max:
        return False
    here = _reach(program, [0], begins=True, ends=not text)
    known: dict[tuple[_Steps, str], _Steps] = {}
    """Where a character leads to: what repeats itself is found out once."""
    for index, char in enumerate(text, 1):
        ends = index == len(text)
        found = known.get((here, char)) if not ends else None
        if found is None:
            moved = [at + 1 for at in here if at < len(program) and _takes(program[at], char)]
            found = _reach(program, moved, begins=False, ends=ends)
            if not ends:
                known[here, char] = found
        if not found:
            return False
        here = found
    return len(program) in here


def _takes(step: Step, char: str) -> bool:
    return step.test is not None and step.test(char)


def _reach(program: Program, starts: list[int], *, begins: bool, ends: bool) -> _Steps:
    """Every step that waits for a character at a place in the text, and the end; ascending."""
    seen: dict[int, None] = {}
    waiting = []
    todo = starts
    while todo:
        at = todo.pop()
        if at in seen:
            continue
        seen[at] = None
        if at == len(program) or program[at].test is not None:
            waiting.append(at)
        elif not program[at].only_at or (begins if program[at].only_at == "^" else ends):
            todo += program[at].to
    return tuple(sorted(waiting))


@lru_cache(maxsize=1000)
def compiled(text: str) -> Program:
    """A pattern as a program, which ends behind its last step. Raises PatternError."""
    if len(text) > pattern_chars_max:
        raise PatternError(f"it has {len(text)} characters: expected at most {pattern_chars_max}")
    ignore_case = text.startswith("(?i)")
    reader = _Reader(text, 4 if ignore_case else 0, ignore_case)
    part = reader.choice(0)
    if reader.at < len(text):
        raise PatternError(f"a ) closes nothing, at character {reader.at + 1}")
    steps: list[Step] = []
    _write(part, steps)
    return tuple(steps)


def _write(part: _Part, steps: list[Step]) -> None:
    """Append a piece's steps; its end is the next step."""
    if part.kind == "char":
        steps.append(Step(test=part.test))
    elif part.kind in "^$":
        steps.append(Step(to=(len(steps) + 1,), only_at=part.kind))
    elif part.kind == "all":
        for each in part.parts:
            _write(each, steps)
    elif part.kind == "any":
        _write_choice(part.parts, steps)
    else:
        _write_repeat(part, steps)


def _write_choice(parts: tuple[_Part, ...], steps: list[Step]) -> None:
    fork = len(steps)
    steps.append(Step())
    starts, ends = [], []
    for each in parts:
        starts.append(len(steps))
        _write(each, steps)
        ends.append(len(steps))
        steps.append(Step())
    steps[fork] = Step(to=tuple(starts))
    for end in ends:
        steps[end] = Step(to=(len(steps),))


def _write_repeat(part: _Part, steps: list[Step]) -> None:
    (inner,) = part.parts
    for _ in range(part.least):
        _write(inner, steps)
    if part.most is None:
        loop = len(steps)
        steps.append(Step())
        _write(inner, steps)
        steps.append(Step(to=(loop,)))
        steps[loop] = Step(to=(loop + 1, len(steps)))
        return
    forks = []
    for _ in range(part.most - part.least):
        forks.append(len(steps))
        steps.append(Step())
        _write(inner, steps)
    for fork in forks:
        steps[fork] = Step(to=(fork + 1, len(steps)))


class _Reader:
    """Reads a pattern from left to right."""

    def __init__(self, text: str, at: int, ignore_case: bool) -> None:
        self.text, self.at, self.ignore_case = text, at, ignore_case

    def choice(self, depth: int) -> _Part:
        if depth > depth_max:
            raise self.wrong(f"groups lie deeper than {depth_max}")
        parts = [self._row(depth)]
        while self._take("|"):
            parts.append(self._row(depth))
        if len(parts) == 1:
            return parts[0]
        return self._sized(_Part("any", tuple(parts), size=1 + sum(part.size + 1 for part in parts)))

    def _row(self, depth: int) -> _Part:
        parts = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            parts.append(self._repeated(self._atom(depth)))
        return self._sized(_Part("all", tuple(parts), size=sum(part.size for part in parts)))

    def _repeated(self, part: _Part) -> _Part:
        begun = self.at
        bounds = self._bounds()
        if bounds is None:
            return part
        least, most = bounds
        if most is not None and least > most:
            raise self.wrong(f"a repeat from {least} to {most}", begun)
        if self._take("+"):
            raise self.wrong("possessive repeats are not supported", self.at - 1)
        self._take("?")  # which of several ways is found first makes no difference to whether there is one
        if self.at < len(self.text) and self.text[self.at] in "*+?{":
            raise self.wrong("a repeat of a repeat: put the first in a group")
        size = part.size * least + (part.size + 2 if most is None else (part.size + 1) * (most - least))
        return self._sized(_Part("repeat", (part,), least=least, most=most, size=size))

    def _bounds(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return bounds
        if not self._take("{"):
            return None
        end = self.text.find("}", self.at)
        least, comma, most = self.text[self.at : max(end, self.at)].partition(",")
        if not (_is_count(least) and (not most or _is_count(most))):
            raise self.wrong("expected {m}, {m,} or {m,n} with numbers below 1000", self.at - 1)
        self.at = end + 1
        return int(least), (int(most) if most else None) if comma else int(least)

    def _atom(self, depth: int) -> _Part:
        char = self.text[self.at]
        if char in "*+?{":
            raise self.wrong(f"{char} repeats nothing")
        self.at += 1
        if char == "(":
            return self._group(depth)
        if char in "^$":
            return _Part(char)
        if char == "[":
            return _Part("char", test=self._set())
        if char == ".":
            return _Part("char", test=lambda c: c not in "\n\r")
        if char == "\\":
            return _Part("char", test=self._escaped())
        return _Part("char", test=self._one(char))

    def _group(self, depth: int) -> _Part:
        begun = self.at - 1
        if self._take("?") and not self._take(":"):
            raise self.wrong("of (?...) only (?:...), and (?i) at the beginning, are supported", begun)
        part = self.choice(depth + 1)
        if not self._take(")"):
            raise self.wrong("a ( is never closed", begun)
        return part

    def _escaped(self) -> Test:
        if self.at >= len(self.text):
            raise self.wrong("nothing follows a backslash", self.at - 1)
        char = self.text[self.at]
        self.at += 1
        if char.lower() in _CLASSES:
            return _CLASSES[char] if char.islower() else _not(_CLASSES[char.lower()])
        if char.isalnum() and char not in "ntr":
            raise self.wrong(f"\\{char} is not supported", self.at - 2)
        return self._one({"n": "\n", "t": "\t", "r": "\r"}.get(char, char))

    def _set(self) -> Test:
        begun = self.at - 1
        negated = self._take("^")
        tests: list[Test] = []
        while not (self._peek("]") and tests):
            if self.at >= len(self.text):
                raise self.wrong("a [ is never closed", begun)
            tests.append(self._set_item())
        self.at += 1
        found: Test = lambda c: any(test(c) for test in tests)  # noqa: E731
        return _not(found) if negated else found

    def _set_item(self) -> Test:
        char = self.text[self.at]
        self.at += 1
        if char == "\\":
            return self._escaped()
        if char == "[" or (char == "&" and self._peek("&")):
            raise self.wrong(f"{char} inside [...] must be escaped", self.at - 1)
        if self._peek("-") and self.at + 1 < len(self.text) and self.text[self.at + 1] != "]":
            high = self.text[self.at + 1]
            if high in "\\[":
                raise self.wrong("a range ends in a plain character", self.at + 1)
            if high < char:
                raise self.wrong(f"the range {char}-{high} is empty", self.at - 1)
            self.at += 2
            return self._between(char, high)
        return self._one(char)

    def _one(self, char: str) -> Test:
        if self.ignore_case:
            return lambda c: c.lower() == char.lower()
        return lambda c: c == char

    def _between(self, low: str, high: str) -> Test:
        if self.ignore_case:
            return lambda c: low <= c.lower() <= high or low <= c.upper() <= high
        return lambda c: low <= c <= high

    def _take(self, char: str) -> bool:
        if not self._peek(char):
            return False
        self.at += 1
        return True

    def _peek(self, char: str) -> bool:
        return self.text[self.at : self.at + 1] == char

    def _sized(self, part: _Part) -> _Part:
        if part.size > program_max:
            raise self.wrong(f"with its repeats written out it is longer than {program_max} steps", 0)
        return part

    def wrong(self, what: str, at: int | None = None) -> PatternError:
        return PatternError(f"{what}, at character {(self.at if at is None else at) + 1}")


_CLASSES: dict[str, Test] = {
    "d": lambda c: "0" <= c <= "9",
    "w": lambda c: c == "_" or (c.isascii() and c.isalnum()),
    "s": lambda c: c in " \t\n\r\f\v",
}


def _not(test: Test) -> Test:
    return lambda c: not test(c)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 3
