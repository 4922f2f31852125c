"""What all documents are made of: names, numbers with their limits, and how a document may be wrong.

Rule of this room: as in `bus.documents`.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from bus.nouns import Resources
from bus.secrets import SECRET_PATTERN, name_chars_max, references_max

Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f]+\Z")]
Line = Annotated[str, Meta(min_length=1, max_length=65536, pattern=r"^[^\x00]*\Z")]
Value = Annotated[str, Meta(max_length=65536, pattern=r"^[^\x00]*\Z")]
Word = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")]
Labels = dict[Name, Annotated[str, Meta(max_length=4096)]]
Port = Annotated[int, Meta(ge=0, le=65535)]
Cpus = Annotated[float, Meta(ge=0.001, le=100_000)]
Megabytes = Annotated[float, Meta(ge=0, le=1_000_000_000)]
Seconds = Annotated[float, Meta(ge=0, le=31_536_000)]
WholeSeconds = Annotated[int, Meta(ge=0, le=31_536_000)]
Instances = Annotated[int, Meta(ge=0, le=100_000)]
Fraction = Annotated[float, Meta(ge=0, le=1)]

APP_ID = re.compile(r"/[a-z0-9]([a-z0-9.-]*[a-z0-9])?(/[a-z0-9]([a-z0-9.-]*[a-z0-9])?)*")
JOB_ID = re.compile(r"[a-z0-9]+(-+[a-z0-9]+)*(\.[a-z0-9]+(-+[a-z0-9]+)*)*")


Steps = tuple[str | int, ...]
"""The way to a value: `("healthChecks", 0, "path")`."""


class Complaint(NamedTuple):
    """One thing that is wrong with a document."""

    text: str
    """What was wrong, and what is allowed."""
    steps: Steps | None = None
    """Where; None: the document as a whole."""
    in_key: bool = False
    """The key of an entry is wrong, not its value."""

    @property
    def path(self) -> str:
        """As JSONPath has it: `$.healthChecks[0].path`."""
        return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.steps or ())

    def __str__(self) -> str:
        if self.steps is None:
            return self.text
        return f"{self.text} - at {'`key` in ' if self.in_key else ''}`{self.path}`"


class DocumentError(ValueError):
    """A document is wrong. The text is the first complaint: the path of the field, what was wrong, what is allowed."""

    def __init__(self, *complaints: Complaint) -> None:
        super().__init__(str(complaints[0]))
        self.complaints = complaints
        """All that is wrong, at least one."""


class Document(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True
):
    """Something a person wrote; the wire names are camelCase as in the originals."""


class EnvSecret(Document, frozen=True):
    """In place of a variable's value: the key under which a secret is declared."""

    secret: Name


class SecretSource(Document, frozen=True):
    """A secret that is declared: which one it is, by the name it is kept under."""

    source: Annotated[str, Meta(min_length=1, max_length=name_chars_max, pattern=SECRET_PATTERN)]


class SecretVolume(Document, frozen=True):
    """A file in the sandbox that holds a secret. (Marathon, Metronome: a volume with `secret`)"""

    container_path: str
    secret: Name


class Fetch(Document, frozen=True):
    """A file that is brought into the sandbox before the task starts. (Mesos: CommandInfo.URI)"""

    uri: Annotated[str, Meta(min_length=1, max_length=4096, pattern=r"^[^\x00-\x20]+\Z")]
    extract: bool = True
    executable: bool = False
    cache: bool = False
    dest_path: Annotated[str, Meta(min_length=1, max_length=1000)] | None = None
    checksum: Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")] | None = None
    """What the file must be, or the task fails. (not in Marathon)"""


Env = dict[Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z", max_length=256)], Value | EnvSecret]
Secrets = Annotated[dict[Name, SecretSource], Meta(max_length=references_max)]
SecretVolumes = Annotated[tuple[SecretVolume, ...], Meta(max_length=references_max)]
Fetches = Annotated[tuple[Fetch, ...], Meta(max_length=100)]
Argv = Annotated[tuple[Line, ...], Meta(min_length=1, max_length=1000)]


def resources(cpus: float, mem: float, disk: float) -> Resources:
    """Whole numbers of what a document asks for."""
    return Resources(cpu_milli=max(1, round(cpus * 1000)), mem_mb=math.ceil(mem), disk_mb=math.ceil(disk))
