"""What an instance finds when it starts."""

from __future__ import annotations

from bus.documents import PortDefinition
from bus.nouns import AppId, Command, TaskInfo
from components.marathon.tasks import environment
from tests.components.marathon.play import MARATHON, Play, launches, spec


def launched(**fields: object) -> TaskInfo:
    play = Play()
    play.add("/shop/web", **fields)
    (task,) = launches(play.make())
    return task


def test_a_task_carries_what_its_app_says():
    task = launched(labels={"tier": "1"}, user="nobody", task_kill_grace_period_seconds=9, mem=100.5)
    assert (task.name, task.framework, task.app, task.trace) == ("web.shop", MARATHON, AppId("/shop/web"), "t1")
    assert (task.labels, task.command.user, task.kill_grace_s) == ({"tier": "1"}, "nobody", 9.0)
    assert (task.resources.cpu_milli, task.resources.mem_mb, task.resources.ports) == (1000, 101, ((31000, 31000),))
    assert (task.hostname, task.ports) == ("a1.example", (31000,))


def test_a_command_is_a_line_or_a_vector():
    assert launched(cmd="echo $PORT").command.shell == "echo $PORT"
    assert launched(cmd=None, args=("echo", "hi")).command == Command(
        argv=("echo", "hi"), env=launched(cmd=None, args=("echo", "hi")).command.env
    )


def test_the_grace_of_a_kill_is_three_seconds_unless_said():
    """Mesos: executor.cpp."""
    assert launched().kill_grace_s == 3.0


def test_the_environment_tells_host_ports_and_app():
    """Marathon: docs/task-environment-vars.md."""
    ports = (PortDefinition(name="http"), PortDefinition(name="http-admin"), PortDefinition())
    web = spec("/shop/web", port_definitions=ports, cpus=0.5, mem=64, labels={"team-x": "blue", "tier": "1"})
    assert environment(web, "2027-01-15T08:00:00.000Z", "h1", (31005, 31001, 31002)) == {
        "MARATHON_APP_ID": "/shop/web",
        "MARATHON_APP_VERSION": "2027-01-15T08:00:00.000Z",
        "MARATHON_APP_RESOURCE_CPUS": "0.5",
        "MARATHON_APP_RESOURCE_MEM": "64.0",
        "MARATHON_APP_RESOURCE_DISK": "0.0",
        "MARATHON_APP_RESOURCE_GPUS": "0",
        "MARATHON_APP_LABELS": "TEAM_X TIER",
        "MARATHON_APP_LABEL_TEAM_X": "blue",
        "MARATHON_APP_LABEL_TIER": "1",
        "HOST": "h1",
        "PORT": "31005",
        "PORT0": "31005",
        "PORT1": "31001",
        "PORT2": "31002",
        "PORTS": "31005,31001,31002",
        "PORT_HTTP": "31005",
        "PORT_HTTP_ADMIN": "31001",
    }


def test_an_app_without_ports_has_none_in_its_environment():
    assert [name for name in environment(spec(ports=()), "v", "h1", ()) if name.startswith("PORT")] == []


def test_what_the_app_says_wins():
    found = environment(spec(env={"PORT": "80", "HOST": "me", "A": "b"}), "v", "h1", (31000,))
    assert (found["PORT"], found["HOST"], found["A"], found["PORT0"]) == ("80", "me", "b", "31000")


def test_labels_too_long_for_a_variable_are_left_out():
    """Marathon: 512 characters."""
    found = environment(spec(labels={"short": "x" * 511, "long": "x" * 512}), "v", "h1", (1,))
    assert found["MARATHON_APP_LABELS"] == "SHORT"
    assert "MARATHON_APP_LABEL_LONG" not in found
