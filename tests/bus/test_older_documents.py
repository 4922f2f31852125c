"""What clients of Marathon have sent over the years: taken where it can be honoured, refused by name where not."""

from __future__ import annotations

import collections
import collections.abc
import json
from typing import Any

import msgspec
import pytest
from marathon.models import MarathonApp, MarathonConstraint, MarathonGroup, MarathonHealthCheck
from marathon.models.app import MarathonUpgradeStrategy, PortDefinition, ReadinessCheck
from marathon.models.container import MarathonContainer, MarathonContainerVolume

from bus.documents import AppSpec, DocumentError, GroupSpec
from bus.documents.reading import parse_document

APP: dict[str, Any] = {"id": "/web", "cmd": "sleep 1"}
NO_IMAGES = "no agent runs images: leave it out, and fetch what the command needs"
NO_NETWORKS = "no agent gives a task a network of its own: expected host networking, and portDefinitions"
NO_VOLUMES = "no agent mounts a volume into a task: expected a volume with `secret`"


@pytest.fixture(autouse=True)
def python_as_the_client_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client was last published for Python 3.9, which had this name."""
    monkeypatch.setattr(collections, "Iterable", collections.abc.Iterable, raising=False)


def read(**fields: Any) -> AppSpec:
    """An app with some fields."""
    return parse_document(json.dumps(APP | fields).encode(), AppSpec)


@pytest.mark.parametrize(
    ("older", "today"),
    [
        ({"id": "web"}, {}),
        ({"ports": [0, 80]}, {"portDefinitions": [{"port": 0}, {"port": 80}]}),
        ({"ports": []}, {"portDefinitions": []}),
        ({"ports": [80], "portDefinitions": [{"port": 80, "name": "a"}]},
         {"portDefinitions": [{"port": 80, "name": "a"}]}),
        ({"uris": ["http://h/a.tgz", "http://h/b"]},
         {"fetch": [{"uri": "http://h/a.tgz"}, {"uri": "http://h/b", "extract": False}]}),
        ({"uris": []}, {}),
        ({"executor": "", "storeUrls": [], "residency": None, "ipAddress": None, "taskRateLimit": None}, {}),
        ({"executor": "//cmd", "tty": False}, {}),
        ({"version": "2020-01-01T00:00:00.000Z", "versionInfo": {"lastScalingAt": "x"}, "tasks": [1], "tasksRunning": 3,
          "deployments": [{"id": "x"}], "lastTaskFailure": {"host": "h"}, "tasksStats": {}, "tasksHealthy": 0}, {}),
        ({"container": {"type": "DOCKER", "docker": {"forcePullImage": False, "privileged": False}, "volumes": []}},
         {}),
        ({"container": {"type": "DOCKER", "docker": {"network": "HOST", "image": None, "portMappings": []}}}, {}),
        ({"container": None, "upgradeStrategy": None, "cpus": None, "env": None, "labels": None}, {}),
        ({"healthChecks": [{"command": None, "path": None, "portIndex": None, "protocol": "TCP"}]},
         {"healthChecks": [{"protocol": "TCP"}]}),
        ({"labels": {"MARATHON_SINGLE_INSTANCE_APP": "true"}},
         {"labels": {"MARATHON_SINGLE_INSTANCE_APP": "true"},
          "upgradeStrategy": {"minimumHealthCapacity": 0, "maximumOverCapacity": 0}}),
    ],
    ids=lambda value: json.dumps(value)[:40],
)  # fmt: skip
def test_older_forms_are_taken_and_never_written(older: dict[str, Any], today: dict[str, Any]) -> None:
    """Each is read as what it means today."""
    found = read(**older)
    assert found == read(**today)
    written = msgspec.json.decode(msgspec.json.encode(found))
    assert set(written) <= set(APP) | set(today)


@pytest.mark.parametrize(
    ("older", "error"),
    [
        ({"uris": ["x"], "fetch": [{"uri": "http://h/a"}]}, "uris and fetch exclude each other - at `$.uris`"),
        ({"uris": "x"}, "Expected `array`, found 'x' - at `$.uris`"),
        ({"uris": ["http://h/a", 7]}, "Expected `str`, got `int` - at `$.uris[1]`"),
        ({"uris": ["ftp://h/a"]}, "ftp scheme: expected http://, https://, file:// - at `$.uris[0]`"),
        ({"executor": "/my/own"}, "no executor but //cmd - at `$.executor`"),
        ({"ipAddress": {"groups": []}}, f"{NO_NETWORKS} - at `$.ipAddress`"),
        ({"tty": True}, "no task has a terminal - at `$.tty`"),
        ({"container": {"docker": {"image": "nginx"}}}, f"{NO_IMAGES} - at `$.container.docker.image`"),
        ({"container": {"docker": {"privileged": True}}}, f"{NO_IMAGES} - at `$.container.docker.privileged`"),
        ({"container": {"docker": "nginx"}}, f"{NO_IMAGES} - at `$.container.docker`"),
        ({"container": {"docker": {"network": "BRIDGE"}}}, f"{NO_NETWORKS} - at `$.container.docker.network`"),
        ({"container": {"docker": {"portMappings": [{"containerPort": 80}]}}},
         f"{NO_NETWORKS} - at `$.container.docker.portMappings`"),
        ({"container": {"portMappings": [{"containerPort": 80}]}}, f"{NO_NETWORKS} - at `$.container.portMappings`"),
        ({"container": {"appc": {"image": "x"}}}, f"{NO_IMAGES} - at `$.container.appc`"),
        ({"container": {"volumes": [{"containerPath": "a", "hostPath": "/a", "mode": "RO"}]}},
         f"{NO_VOLUMES} - at `$.container.volumes[0].hostPath`"),
        ({"container": {"volumes": [{"containerPath": "a", "persistent": {"size": 1}}]}},
         f"{NO_VOLUMES} - at `$.container.volumes[0].persistent`"),
        ({"resourceLimits": {"cpus": 1}}, "a task has what it asks for: expected cpus and mem - at `$.resourceLimits`"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_by_name(older: dict[str, Any], error: str) -> None:
    """With the path the person wrote, and nothing else."""
    with pytest.raises(DocumentError) as refused:
        read(**older)
    assert [str(each) for each in refused.value.complaints] == [error]


@pytest.mark.parametrize("minimal", [True, False])
def test_what_the_client_from_pypi_sends_is_taken(minimal: bool) -> None:
    """With everything it leaves empty as null, [] and {}, and without."""
    app = MarathonApp(
        id="/web",
        cmd="sleep 1",
        cpus=0.5,
        constraints=[MarathonConstraint("hostname", "UNIQUE")],
        container=MarathonContainer(docker=None),
        health_checks=[MarathonHealthCheck(protocol="COMMAND", command="true", ignore_http1xx=False)],
        port_definitions=[PortDefinition(port=0, protocol="tcp", name="http-api")],
        readiness_checks=[ReadinessCheck(path="/")],
        upgrade_strategy=MarathonUpgradeStrategy(minimum_health_capacity=0.5),
        secrets={"pw": {"source": "db/pw"}},
    )
    found = parse_document(app.to_json(minimal=minimal).encode(), AppSpec)
    assert (found.cpus, found.constraints, found.container) == (0.5, (("hostname", "UNIQUE"),), None)
    assert found.health_checks[0].command
    assert found.upgrade_strategy.minimum_health_capacity == 0.5
    assert found.upgrade_strategy.maximum_over_capacity == 1.0


@pytest.mark.parametrize("minimal", [True, False])
def test_the_clients_emptiest_app_and_group_are_taken(minimal: bool) -> None:
    """All at its defaults."""
    app = MarathonApp(id="/g/web", cmd="sleep 1")
    wanted = parse_document(app.to_json(minimal=minimal).encode(), AppSpec).wanted_ports
    assert wanted == (read().wanted_ports if minimal else ())  # it says [], so there are none
    group = MarathonGroup(id="/g", apps=[app])
    found = parse_document(group.to_json(minimal=minimal).encode(), GroupSpec)
    assert found.apps
    assert found.apps[0].id == "/g/web"


def test_a_volume_of_the_client_is_refused() -> None:
    """It says one it has not got as null."""
    volume = MarathonContainerVolume(container_path="a", host_path="/a")
    app = MarathonApp(id="/web", cmd="x", container=MarathonContainer(volumes=[volume]))
    with pytest.raises(DocumentError, match="no agent mounts a volume into a task"):
        parse_document(app.to_json(minimal=False).encode(), AppSpec)
