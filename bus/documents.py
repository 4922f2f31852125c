"""What people write: apps in Marathon's shape, jobs in Metronome's.

Rule of this room: the fields, defaults and limits are the originals', and a wrong document is refused with
the path of the field. (Marathon: `docs/rest-api/public/api/v2/types`; Metronome: `api/v1/schema`)
"""

from __future__ import annotations

import json
import math
import re
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from bus.complaints import complaint
from bus.nouns import AppId, JobId, Resources
from bus.secrets import SECRET_PATTERN, name_chars_max, path_invalid, paths_clash, references_max

_Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f]+\Z")]
_Line = Annotated[str, Meta(min_length=1, max_length=65536, pattern=r"^[^\x00]*\Z")]
_Value = Annotated[str, Meta(max_length=65536, pattern=r"^[^\x00]*\Z")]
_Labels = dict[_Name, Annotated[str, Meta(max_length=4096)]]
_Port = Annotated[int, Meta(ge=0, le=65535)]
_Cpus = Annotated[float, Meta(ge=0.001, le=100_000)]
_Megabytes = Annotated[float, Meta(ge=0, le=1_000_000_000)]
_Seconds = Annotated[float, Meta(ge=0, le=31_536_000)]

APP_ID = re.compile(r"/[a-z0-9]([a-z0-9.-]*[a-z0-9])?(/[a-z0-9]([a-z0-9.-]*[a-z0-9])?)*")
JOB_ID = re.compile(r"[a-z0-9]+(-+[a-z0-9]+)*(\.[a-z0-9]+(-+[a-z0-9]+)*)*")


class DocumentError(ValueError):
    """A document is wrong: the text names the field's path, what was wrong, and what is allowed."""


class Document(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True
):
    """Something a person wrote; the wire names are camelCase as in the originals."""


class EnvSecret(Document, frozen=True):
    """In place of a variable's value: the key under which a secret is declared."""

    secret: _Name


class SecretSource(Document, frozen=True):
    """A secret that is declared: which one it is, by the name it is kept under."""

    source: Annotated[str, Meta(min_length=1, max_length=name_chars_max, pattern=SECRET_PATTERN)]


class SecretVolume(Document, frozen=True):
    """A file in the sandbox that holds a secret. (Marathon, Metronome: a volume with `secret`)"""

    container_path: str
    secret: _Name


_Env = dict[Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z", max_length=256)], _Value | EnvSecret]
_Secrets = Annotated[dict[_Name, SecretSource], Meta(max_length=references_max)]
_Volumes = Annotated[tuple[SecretVolume, ...], Meta(max_length=references_max)]


class Container(Document, frozen=True):
    """Where an app's instances run: on the host, beside files that hold secrets."""

    type: Literal["MESOS"] = "MESOS"
    volumes: _Volumes = ()


class PortDefinition(Document, frozen=True):
    """A port an app wants on its host; 0 asks for any free one."""

    port: _Port = 0
    name: Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")] | None = None
    protocol: Literal["tcp", "udp", "udp,tcp"] = "tcp"
    labels: _Labels = {}


class AppSpec(Document, frozen=True):
    """A service to keep running: N instances of one command."""

    id: AppId
    cmd: _Line | None = None
    args: Annotated[tuple[_Line, ...], Meta(min_length=1, max_length=1000)] | None = None
    cpus: _Cpus = 1.0
    mem: _Megabytes = 128.0
    disk: _Megabytes = 0.0
    instances: Annotated[int, Meta(ge=0, le=100_000)] = 1
    env: _Env = {}
    labels: _Labels = {}
    ports: Annotated[tuple[_Port, ...], Meta(max_length=100)] | None = None
    port_definitions: Annotated[tuple[PortDefinition, ...], Meta(max_length=100)] | None = None
    require_ports: bool = False
    backoff_seconds: _Seconds = 1.0
    backoff_factor: Annotated[float, Meta(ge=1, le=100)] = 1.15
    max_launch_delay_seconds: _Seconds = 300.0
    task_kill_grace_period_seconds: _Seconds | None = None
    user: _Name | None = None
    secrets: _Secrets = {}
    container: Container | None = None

    @property
    def resources(self) -> Resources:
        """What one instance takes, ports aside."""
        return _resources(self.cpus, self.mem, self.disk)

    @property
    def secret_volumes(self) -> tuple[SecretVolume, ...]:
        """The files of an instance that hold secrets."""
        return self.container.volumes if self.container is not None else ()

    @property
    def wanted_ports(self) -> tuple[PortDefinition, ...]:
        """The ports one instance wants; `[0]` unless said otherwise, as Marathon has it."""
        if self.port_definitions is not None:
            return self.port_definitions
        return tuple(PortDefinition(port=port) for port in (self.ports if self.ports is not None else (0,)))


class Restart(Document, frozen=True):
    """What a job's run does when its task fails."""

    policy: Literal["NEVER", "ON_FAILURE"] = "NEVER"
    active_deadline_seconds: Annotated[int, Meta(ge=1, le=31_536_000)] | None = None


class JobRunSpec(Document, frozen=True):
    """How one run of a job executes. (Metronome requires cpus, mem and disk)"""

    cpus: Annotated[float, Meta(ge=0.01, le=100_000)]
    mem: Annotated[float, Meta(ge=32, le=1_000_000_000)]
    disk: _Megabytes
    cmd: _Line | None = None
    args: Annotated[tuple[_Line, ...], Meta(min_length=1, max_length=1000)] | None = None
    env: _Env = {}
    user: _Name | None = None
    restart: Restart = Restart()
    max_launch_delay: Annotated[int, Meta(ge=1, le=31_536_000)] = 3600
    task_kill_grace_period_seconds: _Seconds | None = None
    secrets: _Secrets = {}
    volumes: _Volumes = ()

    @property
    def resources(self) -> Resources:
        """What one run takes."""
        return _resources(self.cpus, self.mem, self.disk)

    @property
    def secret_volumes(self) -> tuple[SecretVolume, ...]:
        """The files of a run that hold secrets."""
        return self.volumes


class Schedule(Document, frozen=True):
    """When a job runs by itself: five cron fields in an IANA time zone."""

    cron: Annotated[str, Meta(max_length=255)]
    id: Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")] = "default"
    timezone: Annotated[str, Meta(min_length=1, max_length=64)] = "UTC"
    enabled: bool = True
    concurrency_policy: Literal["ALLOW", "FORBID"] = "ALLOW"
    starting_deadline_seconds: Annotated[int, Meta(ge=1, le=31_536_000)] = 900


class JobSpec(Document, frozen=True):
    """A computation that ends: run now, or on a schedule."""

    id: JobId
    run: JobRunSpec
    description: Annotated[str, Meta(max_length=2048)] = ""
    labels: _Labels = {}
    schedules: Annotated[tuple[Schedule, ...], Meta(max_length=1)] = ()


Confiding = AppSpec | JobRunSpec
"""What may refer to secrets, once its document was checked."""


def plain_env(spec: Confiding) -> dict[str, str]:
    """The variables whose values are written in the document."""
    return {variable: value for variable, value in spec.env.items() if isinstance(value, str)}


def secret_env(spec: Confiding) -> dict[str, str]:
    """The variables that hold a secret, and its name."""
    held = {variable: value.secret for variable, value in spec.env.items() if isinstance(value, EnvSecret)}
    return {variable: spec.secrets[key].source for variable, key in held.items()}


def secret_files(spec: Confiding) -> dict[str, str]:
    """The paths in the sandbox at which a secret can be read, and its name."""
    return {volume.container_path: spec.secrets[volume.secret].source for volume in spec.secret_volumes}


def _resources(cpus: float, mem: float, disk: float) -> Resources:
    return Resources(cpu_milli=max(1, round(cpus * 1000)), mem_mb=math.ceil(mem), disk_mb=math.ceil(disk))


D = TypeVar("D", AppSpec, JobSpec)


def parse_document(text: bytes, shape: type[D]) -> D:
    """The document in `text` (JSON, UTF-8).

    Raises DocumentError, e.g. ``Expected `int` >= 0 - at `$.instances` ``.
    """
    _check_text(text)
    try:
        document = msgspec.json.decode(text, type=shape)
    except msgspec.ValidationError as error:
        raise DocumentError(complaint(str(error), text, shape)) from None
    except msgspec.DecodeError as error:
        raise DocumentError(str(error)) from None
    check_document(document)
    return document


def _check_text(text: bytes) -> None:
    """Raises DocumentError for what is no JSON document, whatever its shape should be."""
    if not text.strip():
        raise DocumentError("it is empty, expected a JSON object")
    try:
        json.loads(text.decode(), object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise DocumentError(f"not UTF-8: {error.reason} 0x{text[error.start]:02x} (byte {error.start})") from None
    except RecursionError:
        raise DocumentError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise DocumentError(_wrong_syntax(text) or str(error)) from None
    except DocumentError:
        raise
    except ValueError:  # (sys.set_int_max_str_digits)
        raise DocumentError("a number has too many digits") from None


def _wrong_syntax(text: bytes) -> str:
    """What msgspec says of a text that is no JSON: with the place."""
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        return str(error)
    return ""


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object; JSON leaves open which one counts if a key is there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DocumentError(f"the field `{twice}` is written twice in one object")
    return found


def check_document(document: AppSpec | JobSpec) -> None:
    """The rules that span fields. Raises DocumentError with the path."""
    if isinstance(document, AppSpec):
        if not APP_ID.fullmatch(document.id) or len(document.id) > 255:
            raise DocumentError(f"{document.id!r} is not an app id: expected /a/b, parts of [a-z0-9.-] - at `$.id`")
        _check_command(document.cmd, document.args, "$")
        if document.ports is not None and document.port_definitions is not None:
            raise DocumentError("ports and portDefinitions exclude each other - at `$.ports`")
        _check_ports(document.wanted_ports, "$.ports" if document.ports is not None else "$.portDefinitions")
        _check_secrets(document, "$", "$.container.volumes")
    else:
        if not JOB_ID.fullmatch(document.id) or len(document.id) > 255:
            raise DocumentError(f"{document.id!r} is not a job id: expected a.b, parts of [a-z0-9-] - at `$.id`")
        _check_command(document.run.cmd, document.run.args, "$.run")
        used = _check_secrets(document.run, "$.run", "$.run.volumes")
        for key in document.run.secrets:
            if key not in used:  # (Metronome; Marathon takes it)
                raise DocumentError(f"{key!r} is declared and not used - at `$.run.secrets.{key}`")


def _check_command(cmd: str | None, args: tuple[str, ...] | None, path: str) -> None:
    if (cmd is None) == (args is None):
        found = "neither" if cmd is None else "both"
        raise DocumentError(f"expected exactly one of cmd and args, found {found} - at `{path}.cmd`")


def _check_ports(ports: tuple[PortDefinition, ...], path: str) -> None:
    fixed = [port.port for port in ports if port.port]
    names = [port.name for port in ports if port.name]
    if len(set(fixed)) < len(fixed):
        raise DocumentError(f"a port is asked for twice - at `{path}`")
    if len(set(names)) < len(names):
        raise DocumentError(f"two ports have the same name - at `{path}`")


def _check_secrets(spec: Confiding, path: str, volumes: str) -> set[str]:
    """The keys that are used: each must be declared, and each file must be one of its own."""
    used = {f"{path}.env.{name}": each.secret for name, each in spec.env.items() if isinstance(each, EnvSecret)}
    used |= {f"{volumes}[{index}]": volume.secret for index, volume in enumerate(spec.secret_volumes)}
    for place, key in used.items():
        if key not in spec.secrets:
            raise DocumentError(f"{key!r} is not declared in {path}.secrets - at `{place}.secret`")
    for index, volume in enumerate(spec.secret_volumes):
        wrong = path_invalid(volume.container_path)
        if wrong is not None:
            raise DocumentError(f"{wrong} - at `{volumes}[{index}].containerPath`")
    clash = paths_clash([volume.container_path for volume in spec.secret_volumes])
    if clash is not None:
        raise DocumentError(f"{clash!r} clashes with another file - at `{volumes}`")
    return set(used.values())
