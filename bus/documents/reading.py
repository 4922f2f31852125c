"""How a document is read: its syntax, its shape, and the rules that span fields.

Rule of this room: as in `bus.documents`; what is wrong is said with its path.
"""

from __future__ import annotations

import json
from typing import TypeVar

import msgspec

from bus.complaints import complaint
from bus.documents.app import AppSpec, PortDefinition
from bus.documents.base import APP_ID, JOB_ID, DocumentError, EnvSecret
from bus.documents.job import JobSpec, wrong_in_job
from bus.documents.secrets import Confiding
from bus.secrets import path_invalid, paths_clash

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
        for path, wrong in wrong_in_job(document):
            raise DocumentError(f"{wrong} - at `{path}`")
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
