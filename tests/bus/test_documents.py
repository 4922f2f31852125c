"""What people write: accepted as the originals accept it, refused with the path, what was wrong, what is allowed."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.documents import AppSpec, DocumentError, JobRunSpec, JobSpec, PortDefinition
from bus.documents.reading import check_document, parse_document
from bus.nouns import Resources
from tests.bus import drawn, shapes

APP: dict[str, Any] = {"id": "/web", "cmd": "sleep 1"}
RUN: dict[str, Any] = {"cpus": 1, "mem": 64, "disk": 0, "cmd": "true"}
JOB: dict[str, Any] = {"id": "etl.daily", "run": RUN}
CRON = {"cron": "* * * * *"}
NAME = "is not allowed, expected [a-z0-9-], 1 to 63 characters, no dash at an end"
LINE = "is not allowed, expected text without NUL characters"
ENV_NAME = "is not allowed, expected letters, digits and _, no digit in front"
LABEL = "is not allowed, expected text without control characters"
RUN_FIELDS = ", ".join(field.encode_name for field in msgspec.structs.fields(JobRunSpec))
APP_FIELDS = ", ".join(field.encode_name for field in msgspec.structs.fields(AppSpec))


def refusal(document: object, shape: type[AppSpec] | type[JobSpec]) -> str:
    """Why a document is refused."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(DocumentError) as refused:
        parse_document(text, shape)
    return str(refused.value)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"id": "/Web"}, "'/Web' is not an app id: expected /a/b, parts of [a-z0-9.-] - at `$.id`"),
        ({"id": "/a//b"}, "'/a//b' is not an app id: expected /a/b, parts of [a-z0-9.-] - at `$.id`"),
        ({"id": "/a/../b"}, "'/a/../b' is not an app id: expected /a/b, parts of [a-z0-9.-] - at `$.id`"),
        ({"id": "/a\n"}, "'/a\\n' is not an app id: expected /a/b, parts of [a-z0-9.-] - at `$.id`"),
        ({"id": ""}, "'' is not an app id: expected /a/b, parts of [a-z0-9.-] - at `$.id`"),
        ({"id": 7}, "Expected `str`, got `int` - at `$.id`"),
        ({"cmd": ""}, "Expected `str` of length >= 1 - at `$.cmd`"),
        ({"cmd": "a\0b"}, f"'a\\x00b' {LINE} - at `$.cmd`"),
        ({"cmd": "x" * 65537}, "Expected `str` of length <= 65536 - at `$.cmd`"),
        ({"args": ["a"]}, "expected exactly one of cmd and args, found both - at `$.cmd`"),
        ({"cmd": None}, "expected exactly one of cmd and args, found neither - at `$.cmd`"),
        ({"cmd": None, "args": []}, "Expected `array` of length >= 1 - at `$.args`"),
        ({"cmd": None, "args": ["a", ""]}, "Expected `str` of length >= 1 - at `$.args[1]`"),
        ({"cmd": None, "args": ["a"] * 1001}, "Expected `array` of length <= 1000 - at `$.args`"),
        ({"cpus": 0}, "Expected `float` >= 0.001 - at `$.cpus`"),
        ({"cpus": 100_001}, "Expected `float` <= 100000.0 - at `$.cpus`"),
        ({"cpus": "1"}, "Expected `float`, got `str` - at `$.cpus`"),
        ({"cpus": True}, "Expected `float`, got `bool` - at `$.cpus`"),
        ({"mem": -1}, "Expected `float` >= 0.0 - at `$.mem`"),
        ({"mem": 1e10}, "Expected `float` <= 1000000000.0 - at `$.mem`"),
        ({"disk": -0.5}, "Expected `float` >= 0.0 - at `$.disk`"),
        ({"instances": -1}, "Expected `int` >= 0 - at `$.instances`"),
        ({"instances": 1.5}, "Expected `int`, got `float` - at `$.instances`"),
        ({"instances": 100_001}, "Expected `int` <= 100000 - at `$.instances`"),
        ({"env": []}, "Expected `object`, got `array` - at `$.env`"),
        ({"env": {"1A": "x"}}, f"'1A' {ENV_NAME} - at `key` in `$.env`"),
        ({"env": {"A\n": "x"}}, f"'A\\n' {ENV_NAME} - at `key` in `$.env`"),
        ({"env": {"A": 1}}, "Expected `str | object`, got `int` - at `$.env.A`"),
        ({"env": {"B": "", "A": "a\0"}}, f"'a\\x00' {LINE} - at `$.env.A`"),
        ({"labels": {"": "x"}}, "Expected `str` of length >= 1 - at `key` in `$.labels`"),
        ({"labels": {"a\n": "x"}}, f"'a\\n' {LABEL} - at `key` in `$.labels`"),
        ({"labels": {"a": "x" * 4097}}, "Expected `str` of length <= 4096 - at `$.labels.a`"),
        ({"ports": [65536]}, "Expected `int` <= 65535 - at `$.ports[0]`"),
        ({"ports": [-1]}, "Expected `int` >= 0 - at `$.ports[0]`"),
        ({"ports": [0] * 101}, "Expected `array` of length <= 100 - at `$.ports`"),
        ({"ports": [80, 80]}, "a port is asked for twice - at `$.ports`"),
        ({"portDefinitions": [{"port": 80}, {"port": 80}]}, "a port is asked for twice - at `$.portDefinitions`"),
        ({"ports": [1], "portDefinitions": []}, "ports and portDefinitions exclude each other - at `$.ports`"),
        ({"portDefinitions": [{"name": "Web"}]}, f"'Web' {NAME} - at `$.portDefinitions[0].name`"),
        ({"portDefinitions": [{"name": "web\n"}]}, f"'web\\n' {NAME} - at `$.portDefinitions[0].name`"),
        (
            {"portDefinitions": [{"name": "a"}, {"name": "a"}]},
            "two ports have the same name - at `$.portDefinitions`",
        ),
        (
            {"portDefinitions": [{"protocol": "sctp"}]},
            "Invalid enum value 'sctp', expected one of tcp, udp, udp,tcp - at `$.portDefinitions[0].protocol`",
        ),
        (
            {"portDefinitions": [{"prot": 1}]},
            "Object contains unknown field `prot` (did you mean `port`?), expected one of port, name, protocol, labels "
            "- at `$.portDefinitions[0]`",
        ),
        ({"backoffSeconds": -1}, "Expected `float` >= 0.0 - at `$.backoffSeconds`"),
        ({"backoffFactor": 0.5}, "Expected `float` >= 1.0 - at `$.backoffFactor`"),
        ({"maxLaunchDelaySeconds": 4e7}, "Expected `float` <= 31536000.0 - at `$.maxLaunchDelaySeconds`"),
        ({"taskKillGracePeriodSeconds": -1}, "Expected `float` >= 0.0 - at `$.taskKillGracePeriodSeconds`"),
        ({"requirePorts": 1}, "Expected `bool`, got `int` - at `$.requirePorts`"),
        ({"user": ""}, "Expected `str` of length >= 1 - at `$.user`"),
        (
            {"instancse": 1},
            f"Object contains unknown field `instancse` (did you mean `instances`?), expected one of {APP_FIELDS} "
            "- at `$`",
        ),
        ({"residency": {"taskLostBehavior": "x"}}, "no volume outlives its instance here - at `$.residency`"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)
def test_a_wrong_app_is_refused(change: dict[str, Any], error: str) -> None:
    """One rule each."""
    assert refusal(APP | change, AppSpec) == error


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"id": "/etl"}, "'/etl' is not a job id: expected a.b, parts of [a-z0-9-] - at `$.id`"),
        ({"id": "a..b"}, "'a..b' is not a job id: expected a.b, parts of [a-z0-9-] - at `$.id`"),
        ({"id": "a_b"}, "'a_b' is not a job id: expected a.b, parts of [a-z0-9-] - at `$.id`"),
        ({"id": "-a"}, "'-a' is not a job id: expected a.b, parts of [a-z0-9-] - at `$.id`"),
        ({"id": "a\n"}, "'a\\n' is not a job id: expected a.b, parts of [a-z0-9-] - at `$.id`"),
        ({"run": None}, "Expected `object`, got `null` - at `$.run`"),
        ({"run": {}}, "Object missing required field `cpus` - at `$.run`"),
        ({"run": RUN | {"cpus": 0.001}}, "Expected `float` >= 0.01 - at `$.run.cpus`"),
        ({"run": RUN | {"mem": 31}}, "Expected `float` >= 32.0 - at `$.run.mem`"),
        ({"run": RUN | {"disk": -1}}, "Expected `float` >= 0.0 - at `$.run.disk`"),
        ({"run": RUN | {"args": ["a"]}}, "expected exactly one of cmd and args, found both - at `$.run.cmd`"),
        ({"run": RUN | {"cmd": None}}, "expected exactly one of cmd and args, found neither - at `$.run.cmd`"),
        (
            {"run": RUN | {"image": {}}},
            f"Object contains unknown field `image`, expected one of {RUN_FIELDS} - at `$.run`",
        ),
        ({"run": RUN | {"maxLaunchDelay": 0}}, "Expected `int` >= 1 - at `$.run.maxLaunchDelay`"),
        (
            {"run": RUN | {"taskKillGracePeriodSeconds": -1}},
            "Expected `float` >= 0.0 - at `$.run.taskKillGracePeriodSeconds`",
        ),
        (
            {"run": RUN | {"restart": {"policy": "ALWAYS"}}},
            "Invalid enum value 'ALWAYS', expected one of NEVER, ON_FAILURE - at `$.run.restart.policy`",
        ),
        (
            {"run": RUN | {"restart": {"activeDeadlineSeconds": 0}}},
            "Expected `int` >= 1 - at `$.run.restart.activeDeadlineSeconds`",
        ),
        ({"schedules": [{}]}, "Object missing required field `cron` - at `$.schedules[0]`"),
        ({"schedules": [CRON | {"id": "A"}]}, f"'A' {NAME} - at `$.schedules[0].id`"),
        ({"schedules": [CRON | {"timezone": ""}]}, "Expected `str` of length >= 1 - at `$.schedules[0].timezone`"),
        ({"schedules": [CRON | {"enabled": "no"}]}, "Expected `bool`, got `str` - at `$.schedules[0].enabled`"),
        (
            {"schedules": [CRON | {"concurrencyPolicy": "MAYBE"}]},
            "Invalid enum value 'MAYBE', expected one of ALLOW, FORBID - at `$.schedules[0].concurrencyPolicy`",
        ),
        (
            {"schedules": [CRON | {"startingDeadlineSeconds": 0}]},
            "Expected `int` >= 1 - at `$.schedules[0].startingDeadlineSeconds`",
        ),
        ({"schedules": [CRON] * 33}, "Expected `array` of length <= 32 - at `$.schedules`"),
        ({"schedules": [CRON, CRON]}, "'default' is the id of 2 schedules - at `$.schedules[0].id`"),
        (
            {"schedules": [CRON | {"catchUp": "all", "concurrencyPolicy": "FORBID"}]},
            "runs that are caught up begin beside each other, which FORBID forbids: expected none or latest"
            " - at `$.schedules[0].catchUp`",
        ),
        (
            {"schedules": [CRON], "dependencies": [{"id": "a"}]},
            "a job has dependencies or schedules, not both - at `$.dependencies`",
        ),
        ({"dependencies": [{"id": "etl.daily"}]}, "etl.daily cannot depend on itself - at `$.dependencies[0].id`"),
        ({"dependencies": [{"id": "a"}, {"id": "a"}]}, "a is named 2 times - at `$.dependencies[0].id`"),
        (
            {"run": RUN | {"docker": {"image": "busybox"}}},
            "no container platform runs images here: say cmd or args without an image - at `$.run.docker`",
        ),
        (
            {"run": RUN | {"ucr": {"image": {"id": "busybox"}}}},
            "no container platform runs images here: say cmd or args without an image - at `$.run.ucr`",
        ),
        ({"run": RUN | {"gpus": 2}}, "no node offers GPUs here: 2 would be waited for for ever - at `$.run.gpus`"),
        (
            {"run": RUN | {"networks": [{"mode": "host"}, {"mode": "container"}]}},
            "'container' is not possible here: runs are on the host network - at `$.run.networks[1].mode`",
        ),
        (
            {"run": RUN | {"volumes": [{"containerPath": "/data", "hostPath": "/srv", "mode": "RW"}]}},
            "expected a volume with a secret: a directory of the host cannot be mounted here: a run finds it under its"
            " own path - at `$.run.volumes[0]`",
        ),
        (
            {"run": RUN | {"placement": {"constraints": [{"attribute": "zone", "operator": "LIKE"}]}}},
            "LIKE needs a value - at `$.run.placement.constraints[0].value`",
        ),
        ({"description": "x" * 2049}, "Expected `str` of length <= 2048 - at `$.description`"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)
def test_a_wrong_job_is_refused(change: dict[str, Any], error: str) -> None:
    """One rule each."""
    assert refusal(JOB | change, JobSpec) == error


@pytest.mark.parametrize("missing", ["cpus", "mem", "disk"])
def test_a_run_must_say_what_it_takes(missing: str) -> None:
    """Metronome has no defaults for them."""
    run = {name: value for name, value in RUN.items() if name != missing}
    assert refusal(JOB | {"run": run}, JobSpec) == f"Object missing required field `{missing}` - at `$.run`"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"", "it is empty, expected a JSON object"),
        (b" \n", "it is empty, expected a JSON object"),
        (b'{"id":"/a","id":"/b"}', "the field `id` is written twice in one object"),
        (b'{"id":"/\xe4"}', "not UTF-8: invalid continuation byte 0xe4 (byte 8)"),
        (b'{"id":"/a","cmd":"\\ud800"}', "Input data was truncated"),
        (b"{", "Input data was truncated"),
        (b"[]", "Expected `object`, got `array`"),
        (b"null", "Expected `object`, got `null`"),
        (b"{}", "Object missing required field `id`"),
        (b"\xff", "not UTF-8: invalid start byte 0xff (byte 0)"),
        (b"\xef\xbb\xbf{}", "JSON is malformed: invalid character (byte 0)"),
        (b'{"id":"/a","cmd":"x"} x', "JSON is malformed: trailing characters (byte 23)"),
        (b'{"id":"/a","cmd":"x","cpus":NaN}', "JSON is malformed: invalid character (byte 28)"),
        (b'{"id":"/a","cmd":"x","cpus":1e999}', "Number out of range - at `$.cpus`"),
        (b"[" * 100_000, "nested too deeply"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_what_is_no_document_is_refused(text: bytes, error: str) -> None:
    """Not JSON, not an object, not a number, not an end."""
    assert refusal(text, AppSpec) == error


@given(st.binary(max_size=100))
def test_garbage_is_refused(text: bytes) -> None:
    """No bytes lead to another error."""
    refusal(text, AppSpec)
    refusal(text, JobSpec)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(), lambda inner: st.lists(inner), max_leaves=4
    ),
    st.sampled_from(shapes.fields(AppSpec)),
)
def test_a_field_with_anything_in_it_is_accepted_or_refused(value: object, field: str) -> None:
    """Never another error."""
    try:
        parse_document(json.dumps(APP | {field: value}).encode(), AppSpec)
    except DocumentError:
        return


@settings(max_examples=100, suppress_health_check=list(HealthCheck), deadline=None)
@given(drawn.APPS | drawn.JOBS | drawn.PODS | drawn.GROUPS)
def test_an_accepted_document_is_the_same_after_writing_it_out(document: Any) -> None:
    """What `show` prints can be given to `update`."""
    check_document(document)
    assert parse_document(msgspec.json.encode(document), type(document)) == document


def test_an_app_has_marathons_defaults() -> None:
    """(Marathon: `docs/rest-api/public/api/v2/types/appContainer.raml` and others)"""
    app = parse_document(json.dumps(APP).encode(), AppSpec)
    assert (app.cpus, app.mem, app.disk, app.instances) == (1.0, 128.0, 0.0, 1)
    assert (app.backoff_seconds, app.backoff_factor, app.max_launch_delay_seconds) == (1.0, 1.15, 300.0)
    assert app.wanted_ports == (PortDefinition(port=0),)
    assert app.resources == Resources(cpu_milli=1000, mem_mb=128)


def test_a_job_has_metronomes_defaults() -> None:
    """(Metronome: `api/v1/schema/jobspec.schema.json`)"""
    job = parse_document(json.dumps(JOB | {"schedules": [CRON]}).encode(), JobSpec)
    assert (job.run.restart.policy, job.run.restart.active_deadline_seconds) == ("NEVER", None)
    assert job.run.max_launch_delay == 3600
    [schedule] = job.schedules
    assert (schedule.timezone, schedule.enabled, schedule.concurrency_policy) == ("UTC", True, "ALLOW")
    assert schedule.starting_deadline_seconds == 900


def test_eq_is_the_older_name_of_is() -> None:
    """It is taken, and shown as IS. (Metronome: `ConstraintSpec`)"""
    rule = {"attribute": "zone", "operator": "EQ", "value": "a"}
    run = RUN | {"placement": {"constraints": [rule]}}
    job = parse_document(json.dumps(JOB | {"run": run}).encode(), JobSpec)
    assert job.run.constraints == (("zone", "IS", "a"),)
    assert parse_document(msgspec.json.encode(job), JobSpec) == job
    assert b'"IS"' in msgspec.json.encode(job)


def test_ports_may_be_given_in_either_form() -> None:
    """A list of numbers, definitions with names, or none at all."""
    for given_, wanted in [
        ({"ports": [0, 8080]}, (PortDefinition(), PortDefinition(port=8080))),
        ({"ports": []}, ()),
        ({"portDefinitions": []}, ()),
        ({"portDefinitions": [{"name": "http"}]}, (PortDefinition(name="http"),)),
    ]:
        assert parse_document(json.dumps(APP | given_).encode(), AppSpec).wanted_ports == wanted


def test_what_is_asked_for_is_never_rounded_to_less() -> None:
    """A fraction of a megabyte is a megabyte."""
    app = parse_document(json.dumps(APP | {"cpus": 0.0014, "mem": 0.5, "disk": 1.2}).encode(), AppSpec)
    assert app.resources == Resources(cpu_milli=1, mem_mb=1, disk_mb=2)
