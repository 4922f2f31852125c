"""Secrets are spoken of by name: names, paths and references are exact, and no refusal says a value again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.documents import AppSpec, DocumentError, JobSpec, plain_env, secret_env, secret_files
from bus.documents.reading import parse_document
from bus.nouns import AgentId, Command, FrameworkId, Resources, TaskId, TaskInfo
from bus.secrets import name_invalid, names_of, path_invalid, paths_clash, references_invalid

RULE = "parts of [a-z0-9._-] between slashes, each beginning and ending with a letter or digit"
INSIDE = "expected a path inside the sandbox: relative, no part empty, '.' or '..'"
DECLARED = {"pw": {"source": "db/password"}}


def app(**fields: Any) -> AppSpec:
    return parse_document(json.dumps({"id": "/web", "cmd": "sleep 1", **fields}).encode(), AppSpec)


def job(**run: Any) -> JobSpec:
    whole = {"cpus": 1, "mem": 64, "disk": 0, "cmd": "true", **run}
    return parse_document(json.dumps({"id": "etl", "run": whole}).encode(), JobSpec)


def volumes(*paths: str) -> dict[str, Any]:
    return {"volumes": [{"containerPath": path, "secret": "pw"} for path in paths]}


# ---- names and paths ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "0", "db/password", "team-a/web.tls/key_1", "a" * 253])
def test_a_name_is_parts_between_slashes(name: str) -> None:
    """Lower case, digits, and what joins them."""
    assert name_invalid(name) is None


@pytest.mark.parametrize(
    "name", ["A", "a b", "/a", "a/", "a//b", "a/../b", ".a", "a.", "-", "a\n", "ä", "pa$$word", "a\0"]
)
def test_a_wrong_name_is_refused_and_not_said_again(name: str) -> None:
    """Whoever typed the value in its place finds it in no log."""
    wrong = name_invalid(name)
    assert wrong == f"that is not the name of a secret: expected {RULE}"


@pytest.mark.parametrize("name", ["", "a" * 254])
def test_a_name_has_a_length(name: str) -> None:
    """A file name holds it."""
    assert name_invalid(name) == f"the name of a secret has {len(name)} characters: expected 1 to 253"


@pytest.mark.parametrize("path", ["key", "tls/key.pem", "a b/ä", "..a/b", "stdout2", "x" * 255])
def test_a_file_of_a_secret_is_anywhere_inside_the_sandbox(path: str) -> None:
    """Under any name a file can have."""
    assert path_invalid(path) is None


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("", "the path has 0 characters: expected 1 to 1000"),
        ("x" * 1001, "the path has 1001 characters: expected 1 to 1000"),
        ("/etc/shadow", INSIDE),
        ("../other/key", INSIDE),
        ("a/../../b", INSIDE),
        ("a//b", INSIDE),
        ("a/./b", INSIDE),
        ("a/", INSIDE),
        ("a\0b", "expected parts of at most 255 bytes, without control characters"),
        ("ä" * 128, "expected parts of at most 255 bytes, without control characters"),
        (".busbar/launch", ".busbar in the sandbox is not the task's to name"),
        ("stdout", "stdout in the sandbox is not the task's to name"),
    ],
)
def test_a_file_of_a_secret_is_nowhere_else(path: str, error: str) -> None:
    """Neither outside the sandbox nor in the launcher's way."""
    assert path_invalid(path) == error


@given(st.lists(st.sampled_from(["a", "a/b", "a/b/c", "b", "ab", "b/a"]), max_size=4))
def test_files_clash_if_one_is_the_others_directory(paths: list[str]) -> None:
    """Or the same one twice."""
    twice = len(set(paths)) < len(paths)
    inside = any(one != other and other.startswith(f"{one}/") for one in paths for other in paths)
    assert (paths_clash(paths) is not None) == (twice or inside)


# ---- documents ---------------------------------------------------------------------------------------------------


def test_an_app_refers_to_secrets_in_marathons_form() -> None:
    """Declared once under a key, used in variables and files."""
    spec = app(
        env={"PLAIN": "x", "PW": {"secret": "pw"}}, secrets=DECLARED, container=volumes("conf/pw") | {"type": "MESOS"}
    )
    assert plain_env(spec) == {"PLAIN": "x"}
    assert secret_env(spec) == {"PW": "db/password"}
    assert secret_files(spec) == {"conf/pw": "db/password"}


def test_a_job_refers_to_secrets_in_metronomes_form() -> None:
    """The same, with volumes beside the command."""
    run = job(env={"PW": {"secret": "pw"}}, secrets=DECLARED, **volumes("pw")).run
    assert (secret_env(run), secret_files(run)) == ({"PW": "db/password"}, {"pw": "db/password"})


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"env": {"PW": {"secret": "pw"}}}, "'pw' is not declared in $.secrets - at `$.env.PW.secret`"),
        ({"env": {"PW": {"secret": ""}}}, "Expected `str` of length >= 1 - at `$.env.PW.secret`"),
        ({"env": {"PW": {"secret": 1}}}, "Expected `str`, got `int` - at `$.env.PW.secret`"),
        ({"env": {"PW": {}}}, "Object missing required field `secret` - at `$.env.PW`"),
        ({"env": {"PW": []}}, "Expected `str | object`, got `array` - at `$.env.PW`"),
        (
            {"env": {"PW": {"secrets": "a"}}},
            "Object contains unknown field `secrets` (did you mean `secret`?), expected one of secret - at `$.env.PW`",
        ),
        ({"secrets": {"pw": "db"}}, "Expected `object`, got `str` - at `$.secrets.pw`"),
        ({"secrets": {"pw": {}}}, "Object missing required field `source` - at `$.secrets.pw`"),
        (
            {"secrets": {"ok": {"source": "a"}, "pw": {"source": "A b"}}},
            f"'A b' is not allowed, expected {RULE} - at `$.secrets.pw.source`",
        ),
        (
            {"container": volumes("pw")},
            "'pw' is not declared in $.secrets - at `$.container.volumes[0].secret`",
        ),
        (
            {"secrets": DECLARED, "container": volumes("a", "../b")},
            f"{INSIDE} - at `$.container.volumes[1].containerPath`",
        ),
        (
            {"secrets": DECLARED, "container": volumes("a", "a/b")},
            "'a/b' clashes with another file - at `$.container.volumes`",
        ),
        (
            {"container": {"type": "RKT"}},
            "Invalid enum value 'RKT', expected one of MESOS - at `$.container.type`",
        ),
        (
            {"secrets": {f"k{number}": {"source": "a"} for number in range(101)}},
            "Expected `object` of length <= 100 - at `$.secrets`",
        ),
    ],
)
def test_a_wrong_reference_of_an_app_is_refused_with_its_path(fields: dict[str, Any], error: str) -> None:
    """One rule each."""
    with pytest.raises(DocumentError) as refused:
        app(**fields)
    assert str(refused.value) == error


def test_a_jobs_secrets_are_all_used_and_all_declared() -> None:
    """(Metronome: each must be used and each use declared; Marathon takes one that is not used)"""
    for run, error in (
        ({"env": {"PW": {"secret": "pw"}}}, "'pw' is not declared in $.run.secrets - at `$.run.env.PW.secret`"),
        ({"secrets": DECLARED}, "'pw' is declared and not used - at `$.run.secrets.pw`"),
    ):
        with pytest.raises(DocumentError) as refused:
            job(**run)
        assert str(refused.value) == error
    assert app(secrets=DECLARED).secrets


# ---- tasks -------------------------------------------------------------------------------------------------------


def info(**command: Any) -> TaskInfo:
    return TaskInfo(
        task=TaskId("t"),
        name="t",
        agent=AgentId("a1"),
        framework=FrameworkId("f"),
        resources=Resources(cpu_milli=1),
        command=Command(shell="true", **command),
    )


def test_a_task_refers_to_each_secret_once() -> None:
    """However often it uses it."""
    task = info(secret_env={"A": "b", "B": "a"}, secret_files={"x": "b"})
    assert names_of(task) == ["a", "b"]
    assert references_invalid(task) is None


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ({"secret_env": {"A=B": "a"}}, "a secret in a variable that is none"),
        ({"secret_env": {"A": "../a"}}, "that is not the name of a secret"),
        ({"secret_files": {"../a": "a"}}, "inside the sandbox"),
        ({"secret_files": {"a": "a", "a/b": "a"}}, "two files clash"),
        ({"secret_env": {f"A{number}": "a" for number in range(101)}}, "101 secrets: expected at most 100"),
    ],
)
def test_no_framework_is_trusted_with_what_its_tasks_refer_to(command: dict[str, Any], error: str) -> None:
    """The master looks at every reference."""
    assert error in (references_invalid(info(**command)) or "")
