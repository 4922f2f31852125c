"""Values that must turn up nowhere, in every form in which they could, and where Busbar could have written them."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from secrets import token_hex
from threading import Event, Thread


def canary() -> str:
    """A value that nobody else ever wrote."""
    return f"canary-{token_hex(20)}"


def forms(value: str) -> dict[str, bytes]:
    """A value as it could be written: as it is, as hex, or as base64 in the middle of something longer."""
    raw = value.encode()
    found = {"raw": raw, "hex": raw.hex().encode(), "HEX": raw.hex().upper().encode(), "backwards": raw[::-1]}
    for shift in range(3):
        whole = base64.b64encode(b"x" * shift + raw)
        found[f"base64 at {shift}"] = whole[4 if shift else 0 : -4]
    return found


def found_in(text: bytes, values: Iterable[str]) -> list[str]:
    """Which values a text holds, and in which form."""
    return [f"{value} {name}" for value in values for name, form in forms(value).items() if form in text]


def found_under(directory: Path, values: list[str]) -> list[str]:
    """Which values lie in the files of a directory, or in their names. Links are not followed."""
    return [f"{path}: {hit}" for path, text in _files(directory) for hit in found_in(text, values)]


def _files(directory: Path) -> Iterator[tuple[Path, bytes]]:
    for where, _, names in os.walk(directory):
        for name in names:
            path = Path(where) / name
            yield path, str(path).encode() + (path.read_bytes() if path.is_file() and not path.is_symlink() else b"")


class Lookout:
    """Reads every command line on this machine, and the environment of whoever is no task, again and again."""

    def __init__(self, values: list[str]) -> None:
        self.values, self.hits, self.looks = values, set[str](), 0
        self._stop = Event()
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Lookout:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.01):  # between two looks
            self.looks += 1
            for process in Path("/proc").glob("[0-9]*"):
                self._look(process)

    def _look(self, process: Path) -> None:
        try:
            argv, env = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            return
        task = b"MESOS_TASK_ID=" in env
        self.hits |= {f"{argv!r}: {hit}" for hit in found_in(argv if task else argv + env, self.values)}
