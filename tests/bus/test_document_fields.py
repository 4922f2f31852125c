"""Every field of every document: with something wrong in it refused at its place, whatever else is right."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import inspect

from bus.documents import AppSpec, DocumentError, GroupSpec, JobSpec, PodSpec
from bus.documents.complaints import RULES, complaints_max, stand_in, type_of
from bus.documents.reading import parse_document

SHAPES: list[type[Any]] = [AppSpec, PodSpec, GroupSpec, JobSpec]

WHOLE: dict[type[Any], dict[str, Any]] = {
    AppSpec: {"id": "/web", "cmd": "sleep 1"}
    | {
        "user": "u",
        "cpus": 1,
        "mem": 1,
        "disk": 1,
        "gpus": 0,
        "instances": 3,
        "env": {"A": "b", "PW": {"secret": "k"}},
        "labels": {"a": "b"},
        "portDefinitions": [{"port": 80, "name": "web", "protocol": "udp,tcp", "labels": {"a": "b"}}],
        "requirePorts": True,
        "networks": [{"mode": "host", "labels": {"a": "b"}}],
        "backoffSeconds": 1,
        "backoffFactor": 2,
        "maxLaunchDelaySeconds": 3,
        "taskKillGracePeriodSeconds": 4,
        "secrets": {"k": {"source": "db/pw"}},
        "container": {"type": "MESOS", "volumes": [{"containerPath": "s", "secret": "k"}]},
        "fetch": [{"uri": "http://h/a.tgz", "extract": True, "executable": False, "cache": True, "destPath": "a",
                   "checksum": "sha256:" + "0" * 64}],
        "constraints": [["rack", "LIKE", "a"]],
        "acceptedResourceRoles": ["*"],
        "role": "r",
        "dependencies": ["/db"],
        "healthChecks": [{"protocol": "HTTP", "path": "/", "portIndex": 0, "port": 80, "gracePeriodSeconds": 1,
                          "intervalSeconds": 1, "timeoutSeconds": 1, "maxConsecutiveFailures": 1, "delaySeconds": 1,
                          "ignoreHttp1xx": True, "ipProtocol": "IPv4"}],
        "check": {"http": {"portIndex": 0, "path": "/", "scheme": "HTTP"}, "intervalSeconds": 1, "timeoutSeconds": 1,
                  "delaySeconds": 1},
        "readinessChecks": [{"name": "a", "protocol": "HTTP", "path": "/", "portName": "web", "intervalSeconds": 2,
                             "timeoutSeconds": 1, "httpStatusCodesForReady": [200], "preserveLastResponse": True}],
        "upgradeStrategy": {"minimumHealthCapacity": 0.5, "maximumOverCapacity": 0.5},
        "unreachableStrategy": {"inactiveAfterSeconds": 1, "expungeAfterSeconds": 2},
        "killSelection": "OLDEST_FIRST",
        "rollout": {"progressDeadlineSeconds": 1, "autoRollback": True, "maxLaunchAttempts": 2, "canaries": 1},
    },
    PodSpec: {
        "id": "/pod",
        "labels": {"a": "b"},
        "environment": {"A": "b"},
        "networks": [{"mode": "host"}],
        "volumes": [{"name": "v"}, {"name": "s", "secret": "k"}],
        "scaling": {"kind": "fixed", "instances": 3},
        "scheduling": {
            "backoff": {"backoff": 1, "backoffFactor": 2, "maxLaunchDelay": 3},
            "upgrade": {"minimumHealthCapacity": 0.5, "maximumOverCapacity": 0.5},
            "placement": {"constraints": [{"fieldName": "rack", "operator": "LIKE", "value": "a"}],
                          "acceptedResourceRoles": ["*"]},
            "killSelection": "OLDEST_FIRST",
            "unreachableStrategy": {"inactiveAfterSeconds": 1, "expungeAfterSeconds": 2},
            "rollout": {"progressDeadlineSeconds": 1},
        },
        "secrets": {"k": {"source": "db/pw"}},
        "user": "u",
        "role": "r",
        "executorResources": {"cpus": 1, "mem": 1, "disk": 1},
        "containers": [
            {
                "name": "a",
                "resources": {"cpus": 1, "mem": 1, "disk": 1, "gpus": 0},
                "exec": {"command": {"shell": "x"}},
                "endpoints": [{"name": "web", "hostPort": 80, "protocol": ["tcp"], "labels": {"a": "b"}}],
                "healthCheck": {"http": {"endpoint": "web", "path": "/", "scheme": "HTTP"}, "gracePeriodSeconds": 1,
                                "intervalSeconds": 2, "timeoutSeconds": 1, "maxConsecutiveFailures": 1,
                                "delaySeconds": 1},
                "volumeMounts": [{"name": "v", "mountPath": "v", "readOnly": True}, {"name": "s", "mountPath": "s"}],
                "artifacts": [{"uri": "http://h/a"}],
                "environment": {"PW": {"secret": "k"}},
                "labels": {"a": "b"},
                "user": "u",
                "lifecycle": {"killGracePeriodSeconds": 1},
            }
        ],
    },
    JobSpec: {
        "id": "a.b",
        "description": "d",
        "labels": {"a": "b"},
        "run": {"cpus": 1, "mem": 32, "disk": 0, "cmd": "x", "env": {"A": "b"}, "user": "u", "maxLaunchDelay": 1,
                "restart": {"policy": "ON_FAILURE", "activeDeadlineSeconds": 1}, "taskKillGracePeriodSeconds": 1,
                "secrets": {"k": {"source": "db/pw"}}, "volumes": [{"containerPath": "s", "secret": "k"}],
                "gpus": 0, "networks": [{"mode": "host"}], "artifacts": [{"uri": "http://h/a"}],
                "placement": {"constraints": [{"attribute": "rack", "operator": "LIKE", "value": "a"}]}},
        "schedules": [{"id": "s", "cron": "* * * * *", "timezone": "UTC", "enabled": True,
                       "concurrencyPolicy": "ALLOW", "startingDeadlineSeconds": 1, "catchUp": "none"}],
    },
}  # fmt: skip
WHOLE[GroupSpec] = {"id": "/g", "dependencies": ["/db"], "enforceRole": True,
                    "apps": [WHOLE[AppSpec] | {"id": "a"}], "groups": [{"id": "h", "apps": []}]}  # fmt: skip


def places(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a JSON value below the top."""
    for step, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield (*at, step)
        yield from places(inner, (*at, step))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_field_with_something_wrong_in_it_is_refused_at_its_place(shape: type[Any]) -> None:
    """Whatever else is right. Neither a number nor text nor a list nor null can be such an object."""
    whole = WHOLE[shape]
    assert parse_document(json.dumps(whole).encode(), shape)
    for place in places(whole):
        spoiled = copy.deepcopy(whole)
        owner = spoiled
        for step in place[:-1]:
            owner = owner[step]  # type: ignore[index]  # a way through lists and objects
        owner[place[-1]] = {"no such": ["thing"]}  # type: ignore[index]
        with pytest.raises(DocumentError) as refused:
            parse_document(json.dumps(spoiled).encode(), shape)
        found = [each.steps for each in refused.value.complaints]
        assert any(steps is not None and steps[: len(place)] == place for steps in found), (place, found)


@pytest.mark.parametrize("shape", SHAPES)
def test_all_fields_are_in_the_documents_of_the_test_above(shape: type[Any]) -> None:
    """So that none is forgotten, except those of which there is another form."""
    other_forms = {AppSpec: {"args", "ports"}, GroupSpec: {"version", "scaleBy"}, PodSpec: {"version"}}
    left = {field.encode_name for field in msgspec.structs.fields(shape)} - set(WHOLE[shape])
    assert left == other_forms.get(shape, {"dependencies"})


def parts(type_: inspect.Type, seen: set[type]) -> Iterator[inspect.Type]:
    """A type and all it is made of."""
    yield type_
    match type_:
        case inspect.StructType(cls=cls, fields=fields) if cls not in seen:
            seen.add(cls)
            for field in fields:
                yield from parts(field.type, seen)
        case inspect.UnionType(types=types):
            for each in types:
                yield from parts(each, seen)
        case inspect.Metadata(type=inner) | inspect.VarTupleType(item_type=inner):
            yield from parts(inner, seen)
        case inspect.DictType(key_type=key, value_type=inner):
            yield from parts(key, seen)
            yield from parts(inner, seen)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_part_has_words_and_a_stand_in(shape: type[Any]) -> None:
    """For each pattern what it asks for; for each shape and item of a list something that passes."""
    for type_ in parts(type_of(shape), set()):
        if isinstance(type_, inspect.StrType) and type_.pattern:
            assert type_.pattern in RULES
        if isinstance(type_, inspect.StructType):
            msgspec.convert(stand_in(type_), type_.cls)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_however_much_is_wrong_it_is_refused_and_nothing_else(data: st.DataObject) -> None:
    """Any places of a whole document hold anything."""
    shape = data.draw(st.sampled_from(SHAPES))
    document = copy.deepcopy(WHOLE[shape])
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
        max_leaves=4,
    )
    for place in data.draw(st.lists(st.sampled_from(list(places(document))), max_size=8)):
        owner: Any = document
        try:
            for step in place[:-1]:
                owner = owner[step]
            owner[place[-1]] = data.draw(anything)
        except (TypeError, KeyError, IndexError):
            continue
    text = json.dumps(document).encode()
    try:
        parse_document(text, shape)
    except DocumentError as error:
        refused = error
    else:
        return
    assert 1 <= len(refused.complaints) <= complaints_max
