"""The house keeps its plan: arrows point down, minds are pure, no component knows another, only the mouth prints."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("bus", "eventstore", "components", "cli")
"""From the bottom to the top: a room may import those before it."""
COMPONENTS = ("master", "agent", "executor", "marathon", "metronome", "gateway")
SHELL = {"hands.py", "attach.py", "launcher", "processes.py", "sandbox.py", "standing.py", "watching.py", "gate.py"}
SHELL |= {"attempts.py", "mounts.py", "traffic.py"}
SHELL |= {"machine.py", "fetching.py", "shelf.py", "checking.py", "artifacts.py"}
SHELL |= {"web"}
"""In a component, the files and folders that may touch the world."""
PURE_ELSEWHERE = (
    "bus/nouns.py",
    *(
        f"bus/documents/{name}.py"
        for name in (
            "app",
            "base",
            "check",
            "complaints",
            "constraints",
            "group",
            "ids",
            "job",
            "older",
            "pod",
            "reading",
        )
    ),
    *(
        f"bus/documents/{name}.py"
        for name in ("app_rules", "group_rules", "job_rules", "pod_rules", "rules", "secrets")
    ),
    "bus/artifacts.py",
    "bus/subjects.py",
    "bus/plans.py",
    "bus/events.py",
    "bus/instances.py",
    "bus/deployments.py",
    "bus/services.py",
    "bus/access.py",
    "bus/patterns.py",
    "bus/permits.py",
    "bus/vouching.py",
    "bus/secrets.py",
    "bus/codec.py",
    "bus/app_rows.py",
    "bus/queries.py",
    "bus/waiting_rows.py",
    "eventstore/chain.py",
    "eventstore/mentions.py",
    "eventstore/selection.py",
    "eventstore/story.py",
    "eventstore/trace.py",
    "components/again.py",
    "components/answering.py",
    "components/constraints.py",
    "components/differing.py",
    "components/explaining.py",
    "components/histories.py",
    "components/mind.py",
    "components/matching.py",
    "components/places.py",
    "components/recomputing.py",
    "components/referring.py",
)
BANNED = {
    "aiosqlite",
    "asyncio",
    "concurrent",
    "io",
    "multiprocessing",
    "nats",
    "os",
    "pathlib",
    "random",
    "secrets",
    "signal",
    "socket",
    "sqlite3",
    "subprocess",
    "threading",
    "time",
    "uuid",
}


@cache
def parsed(path: Path) -> ast.Module:
    """A file, read once: hundreds of tests look at it."""
    return ast.parse(path.read_text())


def sources(*rooms: str) -> list[Path]:
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or ""


def pure_files() -> list[Path]:
    minds = [path for name in COMPONENTS for path in sources(f"components/{name}") if not SHELL & set(path.parts)]
    return [path for path in minds if path.name != "__init__.py"] + [ROOT / name for name in PURE_ELSEWHERE]


def name_of(path: object) -> str:
    return str(Path(str(path)).relative_to(ROOT))


@pytest.mark.parametrize("path", sources(*ROOMS), ids=name_of)
def test_arrows_point_down(path: Path) -> None:
    """cli → components → eventstore → bus, and no component imports another."""
    parts = path.relative_to(ROOT).parts
    allowed = ROOMS[: ROOMS.index(parts[0]) + 1]
    for module in imports(path):
        top, _, rest = module.partition(".")
        if top in (*ROOMS, "tests"):
            assert top in allowed, f"{module} is above {parts[0]}"
        if parts[0] == "components" and top == "components" and rest.split(".")[0] in COMPONENTS:
            assert rest.split(".")[0] == parts[1], f"{parts[1]} imports {module}"


@pytest.mark.parametrize("path", pure_files(), ids=name_of)
def test_minds_know_no_clock_no_chance_no_world(path: Path) -> None:
    """What decides and folds imports nothing impure, awaits nothing, reads no clock."""
    for module in imports(path):
        assert module.partition(".")[0] not in BANNED, f"imports {module}"
    for node in ast.walk(parsed(path)):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await), f"line {node.lineno} waits"
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("now", "utcnow", "today") or not _is_clock(node), f"line {node.lineno}: a clock"
        if isinstance(node, ast.Name):
            assert node.id not in ("print", "open", "input"), f"line {node.lineno}: {node.id}"


def _is_clock(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("datetime", "date")


@cache
def set_fields() -> set[str]:
    """The names of fields that are declared as sets anywhere in the pure rooms."""
    found = set()
    for path in pure_files():
        for node in ast.walk(parsed(path)):
            named = isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
            if named and ast.unparse(node.annotation).startswith(("set[", "frozenset[")):
                found.add(node.target.id)
    return found


@pytest.mark.parametrize("path", pure_files(), ids=name_of)
def test_minds_never_iterate_over_a_bare_set(path: Path) -> None:
    """The order of a set differs from run to run; what decides must say its order."""
    fields = set_fields()
    for node in ast.walk(parsed(path)):
        loops = [node.iter] if isinstance(node, ast.For | ast.comprehension) else []
        for loop in loops:
            bare = isinstance(loop, ast.Set | ast.SetComp) or (isinstance(loop, ast.Attribute) and loop.attr in fields)
            made = (
                isinstance(loop, ast.Call) and isinstance(loop.func, ast.Name) and loop.func.id in ("set", "frozenset")
            )
            assert not bare, f"line {loop.lineno}: {ast.unparse(loop)}"
            assert not made, f"line {loop.lineno}: {ast.unparse(loop)}"


def test_only_the_mouth_prints() -> None:
    """Components log; they do not print."""
    for path in sources("bus", "eventstore", "components"):
        names = {node.id for node in ast.walk(parsed(path)) if isinstance(node, ast.Name)}
        assert "print" not in names, name_of(path)


def test_nobody_mocks() -> None:
    """Tests use the memory bus, a virtual clock and real processes."""
    for path in sources("tests"):
        assert not any("mock" in module for module in imports(path)), name_of(path)


def test_no_file_holds_two_rooms() -> None:
    """A file of more than 500 lines has outgrown its room."""
    for path in sources(*ROOMS, "tests"):
        assert len(path.read_text().splitlines()) <= 500, name_of(path)
