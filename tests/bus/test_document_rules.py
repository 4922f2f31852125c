"""Rules that span fields: each refused with its path, all that is wrong at once, and nothing that only follows."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.documents import AppSpec, DocumentError, GroupSpec, PodSpec
from bus.documents.complaints import complaints_max
from bus.documents.group_rules import dependency_cycle
from bus.documents.reading import parse_apps, parse_document, parse_partial

APP: dict[str, Any] = {"id": "/web", "cmd": "sleep 1"}
CONTAINER: dict[str, Any] = {"name": "a", "resources": {}, "exec": {"command": {"shell": "x"}}}
POD: dict[str, Any] = {"id": "/pod", "containers": [CONTAINER]}
NO_NETWORK = "no agent gives a task a network of its own: expected host networking, and portDefinitions"
NO_IMAGES = "no agent runs images: leave it out, and fetch what the command needs"


def refusals(document: object, shape: type[Any], **how: Any) -> list[str]:
    """All that is wrong with a document."""
    with pytest.raises(DocumentError) as refused:
        parse_document(json.dumps(document).encode(), shape, **how)
    assert str(refused.value) == str(refused.value.complaints[0])
    return [str(each) for each in refused.value.complaints]


HTTP = {"protocol": "HTTP"}
COMMAND = {"protocol": "COMMAND", "command": {"value": "true"}}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"id": "/web/tasks"},
         "'/web/tasks' ends in a word that means something else: expected none of restart, tasks, versions "
         "- at `$.id`"),
        ({"healthChecks": [HTTP, COMMAND]},
         "checks of the executor (COMMAND, MESOS_HTTP, MESOS_HTTPS, MESOS_TCP) and of the scheduler do not mix - at "
         "`$.healthChecks`"),
        ({"healthChecks": [COMMAND, COMMAND]}, "the executor runs at most one check of a task - at `$.healthChecks`"),
        ({"healthChecks": [{"protocol": "COMMAND"}]}, "COMMAND needs a command - at `$.healthChecks[0].command`"),
        ({"healthChecks": [COMMAND | {"path": "/"}]}, "COMMAND takes no path - at `$.healthChecks[0].path`"),
        ({"healthChecks": [COMMAND | {"portIndex": 0}]},
         "COMMAND takes no portIndex - at `$.healthChecks[0].portIndex`"),
        ({"healthChecks": [COMMAND | HTTP]}, "HTTP takes no command - at `$.healthChecks[0].command`"),
        ({"healthChecks": [{"protocol": "TCP", "path": "/"}]}, "TCP takes no path - at `$.healthChecks[0].path`"),
        ({"healthChecks": [HTTP], "ports": []},
         "no port 0: the app has 0 ports, counted from 0; or say port - at `$.healthChecks[0].portIndex`"),
        ({"healthChecks": [HTTP | {"portIndex": 1}]},
         "no port 1: the app has 1 port, counted from 0; or say port - at `$.healthChecks[0].portIndex`"),
        ({"readinessChecks": [{}]},
         "no port is called 'http-api': no port of the app has a name - at `$.readinessChecks[0].portName`"),
        ({"readinessChecks": [{"portName": "b"}], "portDefinitions": [{"name": "a"}]},
         "no port is called 'b': expected one of a - at `$.readinessChecks[0].portName`"),
        ({"readinessChecks": [{"portName": "a", "timeoutSeconds": 30}], "portDefinitions": [{"name": "a"}]},
         "expected less than the interval of 30 s, found 30 s - at `$.readinessChecks[0].timeoutSeconds`"),
        ({"unreachableStrategy": {"inactiveAfterSeconds": 2, "expungeAfterSeconds": 1}},
         "expected at most expungeAfterSeconds, 1, found 2 - at `$.unreachableStrategy.inactiveAfterSeconds`"),
        ({"unreachableStrategy": "enabled"},
         "Invalid enum value 'enabled', expected one of disabled - at `$.unreachableStrategy`"),
        ({"labels": {"MARATHON_SINGLE_INSTANCE_APP": "true"}, "instances": 2},
         "with the label MARATHON_SINGLE_INSTANCE_APP expected at most 1, found 2 - at `$.instances`"),
        ({"labels": {"MARATHON_SINGLE_INSTANCE_APP": "true"}, "upgradeStrategy": {"minimumHealthCapacity": 0}},
         "with the label MARATHON_SINGLE_INSTANCE_APP expected 0, found 1 - at "
         "`$.upgradeStrategy.maximumOverCapacity`"),
        ({"dependencies": ["/web"]}, "'/web' depends on itself - at `$.dependencies[0]`"),
        ({"dependencies": ["/B"]},
         "'/B' is not the id of an app or group: expected /a/b, parts of [a-z0-9.-] - at `$.dependencies[0]`"),
        ({"dependencies": ["/b", "../b"]}, "'/b' is there twice - at `$.dependencies[1]`"),
        ({"networks": [{"mode": "container/bridge"}]},
         f"'container/bridge' is not built: {NO_NETWORK} - at `$.networks[0].mode`"),
        ({"networks": [{"mode": "container", "name": "n"}]},
         f"'container' is not built: {NO_NETWORK} - at `$.networks[0].mode`"),
        ({"networks": [{"name": "n"}]}, "the host's network has no name - at `$.networks[0].name`"),
        ({"networks": [{}, {}]}, "the host's network is there once - at `$.networks`"),
        ({"role": "a", "acceptedResourceRoles": ["*", "b"]},
         "'b' is not the role it has: expected * or a - at `$.acceptedResourceRoles[1]`"),
        ({"constraints": [["hostname", "UNIQUE"], ["rack", "NEAR", "x"]]},
         "operator 'NEAR': expected one of UNIQUE, CLUSTER, GROUP_BY, LIKE, UNLIKE, MAX_PER, IS - at "
         "`$.constraints[1]`"),
        ({"rollout": {"autoRollback": True}},
         "nothing makes a deployment fail: expected progressDeadlineSeconds or maxLaunchAttempts with it - at "
         "`$.rollout.autoRollback`"),
        ({"fetch": [{"uri": "ftp://h/a"}]},
         "ftp scheme: expected http://, https://, file:// - at `$.fetch[0].uri`"),
        ({"fetch": [{"uri": "http:///a"}]}, "no host in it - at `$.fetch[0].uri`"),
        ({"fetch": [{"uri": "file://h/a"}]}, "expected file:///path on the agent - at `$.fetch[0].uri`"),
        ({"fetch": [{"uri": "http://h/"}]},
         "its last part is no name for a file: the path has 0 characters: expected 1 to 1000; say destPath - at "
         "`$.fetch[0].uri`"),
        ({"fetch": [{"uri": "http://h/a%2F..%2F.."}]},
         "its last part is no name for a file: expected a path inside the sandbox: relative, no part empty, '.' or "
         "'..'; say destPath - at `$.fetch[0].uri`"),
        ({"fetch": [{"uri": "http://h/a", "destPath": "../a"}]},
         "expected a path inside the sandbox: relative, no part empty, '.' or '..' - at `$.fetch[0].destPath`"),
        ({"fetch": [{"uri": "http://h/a", "destPath": "stdout"}]},
         "stdout in the sandbox is not the task's to name - at `$.fetch[0].destPath`"),
        ({"fetch": [{"uri": "http://h/a"}, {"uri": "http://g/a"}]}, "'a' clashes with another file - at `$.fetch`"),
        ({"fetch": [{"uri": "http://h/a", "checksum": "md5:1"}]},
         "'md5:1' is not allowed, expected sha256: and 64 characters of [0-9a-f] - at `$.fetch[0].checksum`"),
    ],
    ids=lambda value: json.dumps(value)[:50] if isinstance(value, dict) else "",
)  # fmt: skip
def test_an_app_that_breaks_a_rule_is_refused(change: dict[str, Any], error: str) -> None:
    """One rule each, and nothing else is said."""
    assert refusals(APP | change, AppSpec) == [error]


def endpoint(name: str, port: int | None = 0, **more: Any) -> dict[str, Any]:
    """An endpoint on the host."""
    return {"name": name, "hostPort": port} | more


def with_container(**fields: Any) -> dict[str, Any]:
    """A pod of one container."""
    return {"containers": [CONTAINER | fields]}


def check(**fields: Any) -> dict[str, Any]:
    """A pod of one container with a check."""
    return with_container(healthCheck=fields, endpoints=[endpoint("web")])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"id": "/Pod"}, "'/Pod' is not a pod id: expected /a/b, parts of [a-z0-9.-] - at `$.id`"),
        ({"id": "/" + "a" * 55}, "the last part of a pod's id has at most 54 characters - at `$.id`"),
        ({"containers": []}, "Expected `array` of length >= 1 - at `$.containers`"),
        ({"containers": [CONTAINER, CONTAINER]}, "two containers are called 'a' - at `$.containers[1].name`"),
        (with_container(name="A"),
         "'A' is not allowed, expected [a-z0-9-], 1 to 63 characters, no dash at an end - at `$.containers[0].name`"),
        (with_container(endpoints=[endpoint("a"), endpoint("a")]),
         "two endpoints are called 'a' - at `$.containers[0].endpoints[1].name`"),
        (with_container(endpoints=[endpoint("a", 80), endpoint("b", 80)]),
         "port 80 is asked for twice - at `$.containers[0].endpoints[1].hostPort`"),
        (with_container(endpoints=[endpoint("a", None)]),
         "on the host's network a hostPort is needed, 0 for any - at `$.containers[0].endpoints[0].hostPort`"),
        (with_container(endpoints=[endpoint("a", containerPort=1)]),
         "on the host's network there is a hostPort only - at `$.containers[0].endpoints[0].containerPort`"),
        (with_container(endpoints=[endpoint("a", protocol=["tcp", "tcp"])]),
         "a protocol is there twice - at `$.containers[0].endpoints[0].protocol`"),
        (with_container(exec=None), "no agent runs images, so a container needs a command - at `$.containers[0].exec`"),
        (with_container(exec={"command": {}}),
         "expected exactly one of shell and argv - at `$.containers[0].exec.command`"),
        (with_container(exec={"command": {"shell": "x", "argv": ["y"]}}),
         "expected exactly one of shell and argv - at `$.containers[0].exec.command`"),
        (with_container(artifacts=[{"uri": "x"}]),
         "no scheme: expected http://, https://, file:// - at `$.containers[0].artifacts[0].uri`"),
        (with_container(image={"kind": "DOCKER", "id": "x"}),
         "no agent runs images: leave it out, and fetch what the command needs - at `$.containers[0].image`"),
        (check(), "expected exactly one of http, tcp and exec, found none - at `$.containers[0].healthCheck`"),
        (check(http={"endpoint": "web"}, tcp={"endpoint": "web"}),
         "expected exactly one of http, tcp and exec, found http, tcp - at `$.containers[0].healthCheck`"),
        (check(http={"endpoint": "x"}),
         "no endpoint is called 'x': expected one of web - at `$.containers[0].healthCheck.http.endpoint`"),
        (check(exec={"command": {}}),
         "expected exactly one of shell and argv - at `$.containers[0].healthCheck.exec.command`"),
        (check(tcp={"endpoint": "web"}, timeoutSeconds=60),
         "expected less than the interval of 60 s, found 60 s - at `$.containers[0].healthCheck.timeoutSeconds`"),
        (with_container(volumeMounts=[{"name": "v", "mountPath": "v"}]),
         "no volume of the pod is called 'v' - at `$.containers[0].volumeMounts[0].name`"),
        ({"volumes": [{"name": "v"}]}, "no container mounts 'v' - at `$.volumes[0]`"),
        (with_container(volumeMounts=[{"name": "v", "mountPath": "../v"}]) | {"volumes": [{"name": "v"}]},
         "expected a path inside the sandbox: relative, no part empty, '.' or '..' - at "
         "`$.containers[0].volumeMounts[0].mountPath`"),
        (with_container(environment={"PW": {"secret": "k"}}),
         "'k' is not declared in $.secrets - at `$.containers[0].environment.PW.secret`"),
        ({"networks": [{"mode": "container"}]}, f"'container' is not built: {NO_NETWORK} - at `$.networks[0].mode`"),
        ({"scheduling": {"placement": {"constraints": [{"fieldName": "rack", "operator": "LIKE"}]}}},
         "LIKE needs a regular expression - at `$.scheduling.placement.constraints[0]`"),
        ({"scheduling": {"unreachableStrategy": {"inactiveAfterSeconds": 1}}},
         "expected at most expungeAfterSeconds, 0, found 1 - at "
         "`$.scheduling.unreachableStrategy.inactiveAfterSeconds`"),
    ],
    ids=lambda value: json.dumps(value)[:50] if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_pod_that_breaks_a_rule_is_refused(change: dict[str, Any], error: str) -> None:
    """One rule each, and nothing else is said."""
    assert refusals(POD | change, PodSpec) == [error]


def app(id_: str, *needs: str, **more: Any) -> dict[str, Any]:
    """An app of a group."""
    return {"id": id_, "cmd": "x", "dependencies": list(needs)} | more


@pytest.mark.parametrize(
    ("group", "error"),
    [
        ({"id": "/G"}, "'/G' is not a group id: expected /a/b, parts of [a-z0-9.-] - at `$.id`"),
        ({"id": "/g", "apps": [app("/h/a")]},
         "'/h/a' does not lie in group /g: it is somewhere else - at `$.apps[0].id`"),
        ({"id": "/g", "apps": [app("/g/h/a")]},
         "'/g/h/a' does not lie in group /g: say an id relative to it - at `$.apps[0].id`"),
        ({"id": "/g", "groups": [{"id": "../h"}]},
         "'/h' does not lie in group /g: it is somewhere else - at `$.groups[0].id`"),
        ({"id": "/g", "groups": [{}]}, "Object missing required field `id` - at `$.groups[0]`"),
        ({"id": "/g", "apps": [app("a"), app("/g/a")]},
         "'/g/a' is already the id of another app - at `$.apps[1].id`"),
        ({"id": "/g", "groups": [{"id": "a"}], "apps": [app("a")]},
         "'/g/a' is already the id of another group - at `$.apps[0].id`"),
        ({"id": "/g", "apps": [app("a", "../b"), app("b", "../a")]},
         "depend on each other: /g/a -> /g/b -> /g/a - at `$.dependencies`"),
        ({"id": "/g", "groups": [{"id": "h", "apps": [app("a", "/g")]}]},
         "depend on each other: /g/h/a -> /g -> /g/h -> /g/h/a - at `$.dependencies`"),
        ({"id": "/g", "groups": [{"id": "h", "dependencies": ["../i"]},
                                 {"id": "i", "apps": [app("a", "/g/h")]}]},
         "depend on each other: /g/h -> /g/i -> /g/i/a -> /g/h - at `$.dependencies`"),
        ({"id": "/g", "dependencies": ["/g"]}, "'/g' depends on itself - at `$.dependencies[0]`"),
        ({"id": "/g", "scaleBy": 2, "apps": []}, "scaleBy stands alone, found it with apps - at `$.scaleBy`"),
        ({"id": "/g", "version": "v", "groups": []}, "version stands alone, found it with groups - at `$.version`"),
        ({"id": "/g", "groups": [{"id": "h", "scaleBy": 2}]},
         "scaleBy is said of a whole tree, not inside it - at `$.groups[0].scaleBy`"),
        ({"id": "/g", "pods": [POD]},
         "pods are not changed through groups: leave them out, they stay as they are - at `$.pods`"),
        ({"id": "/g", "groups": [{"id": "h", "apps": [app("a", healthChecks=[{"protocol": "COMMAND"}])]}]},
         "COMMAND needs a command - at `$.groups[0].apps[0].healthChecks[0].command`"),
        ({"id": "/g", "groups": [{"id": "h", "apps": [app("a", instances="many")]}]},
         "Expected `int`, got `str` - at `$.groups[0].apps[0].instances`"),
    ],
    ids=lambda value: json.dumps(value)[:50] if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_group_that_breaks_a_rule_is_refused(group: dict[str, Any], error: str) -> None:
    """One rule each, and nothing else is said."""
    if error.startswith("depend"):
        [said] = refusals(group, GroupSpec)
        assert set(said.split(" - at ")[0].split(": ")[1].split(" -> ")) == set(
            error.split(" - at ")[0].split(": ")[1].split(" -> ")
        ), said
    else:
        assert refusals(group, GroupSpec) == [error]


def test_everything_in_a_group_has_an_absolute_id_below_it() -> None:
    """Said relative to the group, the app, or not."""
    inner = {"id": "api", "dependencies": ["../db"], "apps": [app("v1", "../../db/main", "/other")]}
    document = {"id": "shop", "apps": [app("front", "../api")], "groups": [inner, {"id": "/shop/db"}]}
    group = parse_document(json.dumps(document).encode(), GroupSpec)
    assert group.id == "/shop"
    assert group.apps
    assert group.groups
    assert [(app.id, app.dependencies) for app in group.apps] == [("/shop/front", ("/shop/api",))]
    api, db = group.groups
    assert (api.id, api.dependencies, db.id) == ("/shop/api", ("/shop/db",), "/shop/db")
    assert api.apps
    assert (api.apps[0].id, api.apps[0].dependencies) == ("/shop/api/v1", ("/shop/db/main", "/other"))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=12))
def test_a_circle_is_found_if_there_is_one(edges: list[tuple[int, int]]) -> None:
    """Held against taking away whoever waits for nobody, until nobody is left."""
    apps = {f"/a{n}": {f"/a{to}" for of, to in edges if of == n and to != n} for n in range(8)}
    left = dict(apps)
    while free := [id_ for id_, needs in left.items() if not needs & set(left)]:
        for id_ in free:
            del left[id_]
    found = dependency_cycle({id_: sorted(needs) for id_, needs in apps.items()}, {"/": ()})
    assert bool(found) == bool(left)
    if found:
        assert found[0] == found[-1]
        assert all(to in apps[of] for of, to in pairwise(found))


def test_a_deep_tree_and_a_long_chain_are_followed() -> None:
    """Neither recursion nor time runs out; a tree that is too deep is refused."""
    chain = [app(f"a{n}", f"../a{n + 1}") for n in range(3000)]
    assert parse_document(json.dumps({"id": "/g", "apps": chain}).encode(), GroupSpec).apps
    closed = [*chain[:-1], app("a2999", "../a0")]
    assert len(refusals({"id": "/g", "apps": closed}, GroupSpec)) == 1
    deep: dict[str, Any] = {"id": "x"}
    for _ in range(60):
        deep = {"id": "x", "groups": [deep]}
    [said] = refusals(deep, GroupSpec)
    assert said.startswith("groups lie deeper than 50 - at `$.groups[0].groups[0]")


# ---- all at once -------------------------------------------------------------------------------------------------


def test_all_that_is_wrong_is_said_at_once() -> None:
    """In the shape and in what spans fields, each once, and nothing that only follows from something else."""
    document = {
        "id": "/web",
        "args": 7,
        "cpus": -1,
        "instnces": 2,
        "labels": {"": "x", "fine": 1},
        "healthChecks": [{"protocol": "GOPHER"}, {"intervalSeconds": 0}],
        "readinessChecks": [{"portName": "web"}],
        "portDefinitions": [{"port": "eighty"}],
        "secrets": {"k": {}},
        "env": {"PW": {"secret": "other"}},
        "dependencies": ["/web", "/B"],
    }
    said = refusals(document, AppSpec)
    assert {each.rsplit(" - at ", 1)[1] for each in said} == {
        "`$`",
        "`$.args`",
        "`$.cpus`",
        ["`key` in `$.labels`"][-1],
        "`$.labels.fine`",
        "`$.healthChecks[0].protocol`",
        "`$.healthChecks[1].intervalSeconds`",
        "`$.portDefinitions[0].port`",
        "`$.secrets.k`",
        "`$.dependencies[0]`",
        "`$.dependencies[1]`",
    }
    assert len(said) == 11


def test_complaints_are_bounded() -> None:
    """A document can be wrong in a thousand places; the first fifty are enough."""
    document = APP | {"portDefinitions": [{"port": "x"}] * 60, "env": {f"A{n}": n for n in range(60)}}
    assert len(refusals(document, AppSpec)) == complaints_max


def test_of_a_list_of_apps_everything_is_said_too() -> None:
    """With the place in the list."""
    with pytest.raises(DocumentError) as refused:
        parse_apps(b'[{"id":"/a","cmd":"x"},{"id":"/b"},{"id":"/c","cmd":"x","cpus":"many"}]')
    assert [each.path for each in refused.value.complaints] == ["$[1].cmd", "$[2].cpus"]
    with pytest.raises(DocumentError, match="'/a' is there twice"):
        parse_apps(b'[{"id":"/a","cmd":"x"},{"id":"a","cmd":"x"}]')
    assert [each.app.id for each in parse_apps(b'[{"id":"a","cmd":"x"}]')] == ["/a"]
    with pytest.raises(DocumentError, match="Expected `array` of apps"):
        parse_apps(b"{}")


def test_fields_that_are_to_change_are_held_against_their_shape_only() -> None:
    """Whether they go with the others is known when they are together."""
    given = parse_partial(b'{"instances": 3, "cmd": null, "ports": [80], "uris": ["http://h/a.tgz"]}', at="/web")
    assert given.fields == ("instances", "portDefinitions", "fetch")
    assert (given.app.id, given.app.instances) == ("/web", 3)
    with pytest.raises(DocumentError, match="'/other' is not /web"):
        parse_partial(b'{"id": "/other"}', at="/web")
    with pytest.raises(DocumentError, match="Expected `int`"):
        parse_partial(b'{"instances": "3"}', at="/web")


def test_what_a_document_is_about_may_be_known() -> None:
    """From the address it was sent to."""
    assert parse_document(b'{"cmd":"x"}', AppSpec, at="/a/b").id == "/a/b"
    assert parse_document(b'{"cmd":"x","id":"b"}', AppSpec, at="/a/b", under="/a").id == "/a/b"
    assert refusals({"id": "/c", "cmd": "x"}, AppSpec, at="/a") == ["'/c' is not /a, of which this is - at `$.id`"]


@pytest.mark.parametrize(
    ("check", "path", "wrong"),
    [
        ({}, "$.check", "expected one of http, tcp and exec, found none"),
        ({"tcp": {}, "exec": {"command": {"shell": "x"}}}, "$.check", "found tcp, exec"),
        ({"tcp": {"portIndex": 1}}, "$.check.tcp.portIndex", "no port 1: the app has 1 port"),
        ({"exec": {"command": {}}}, "$.check.exec.command", "expected either shell or argv"),
        ({"exec": {"command": {"shell": "x", "argv": ["x"]}}}, "$.check.exec.command", "expected either shell or argv"),
    ],
)
def test_the_check_from_which_nothing_follows_is_one_of_three(check, path, wrong):
    with pytest.raises(DocumentError) as refused:
        parse_document(json.dumps({"id": "/web", "cmd": "sleep 1", "check": check}).encode(), AppSpec)
    assert path in str(refused.value)
    assert wrong in str(refused.value)
