"""Files that are fetched for a task: which ones can be, and what they are called in its sandbox.

Rule of this room: pure; a URI is looked at, never opened.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from bus.nouns import TaskInfo, Uri
from bus.secrets import path_invalid, paths_clash

SCHEMES = ("http", "https", "file")
"""(Mesos: also ftp, hdfs and what plugins add; not here)"""
artifacts_max = 100
"""Of one task."""
uri_chars_max = 4096


def uri_invalid(uri: str) -> str | None:
    """What is wrong with a URI; nothing if it can be fetched, whatever is there."""
    if not 1 <= len(uri) <= uri_chars_max:
        return f"a URI of {len(uri)} characters: expected 1 to {uri_chars_max}"
    if any(ord(char) <= 0x20 or ord(char) == 0x7F for char in uri):
        return "a URI has no spaces and control characters"
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError as error:
        return f"not a URI: {error}"
    if parts.scheme not in SCHEMES:
        return f"{parts.scheme or 'no'} scheme: expected {', '.join(f'{each}://' for each in SCHEMES)}"
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            return "expected file:///path on the agent"
    elif not parts.hostname:
        return "no host in it"
    return None


def artifact_name(uri: Uri) -> str:
    """Where a fetched file lies in the sandbox. (Mesos: the last part of the path, without the query)"""
    return uri.dest_path if uri.dest_path is not None else unquote(urlsplit(uri.uri).path).rsplit("/", 1)[-1]


def artifact_invalid(uri: Uri) -> tuple[str, str] | None:
    """What is wrong with a file that is to be fetched: which of its fields, and what."""
    wrong = uri_invalid(uri.uri)
    if wrong is not None:
        return "uri", wrong
    wrong = path_invalid(artifact_name(uri))
    if wrong is not None and uri.dest_path is not None:
        return "dest_path", wrong
    if wrong is not None:
        return "uri", f"its last part is no name for a file: {wrong}; say destPath"
    return None


def artifacts_clash(uris: Iterable[Uri]) -> str | None:
    """Which file cannot be beside the others."""
    return paths_clash([artifact_name(uri) for uri in uris])


def artifacts_invalid(info: TaskInfo) -> str | None:
    """What is wrong with the files a task wants."""
    wanted = info.command.fetch
    if len(wanted) > artifacts_max:
        return f"Task fetches {len(wanted)} files: expected at most {artifacts_max}"
    for uri in wanted:
        wrong = artifact_invalid(uri)
        if wrong is not None:
            return f"Task fetches {uri.uri[:200]!r}: {wrong[0]}: {wrong[1]}"
    clash = artifacts_clash(wanted)
    return None if clash is None else f"Task fetches two files to {clash[:200]!r}"
