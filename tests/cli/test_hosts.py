"""`busbar hosts generate`: what is written for each host, and what stays when a host is replaced."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.main import busbar

HOSTS = ("--masters", "h1,h2,h3", "--agents", "h3,h4.example")


def generate(directory: Path, *options: str) -> Result:
    return CliRunner().invoke(busbar, ["hosts", "generate", "-o", str(directory), *options])


def generated(directory: Path, *options: str) -> Any:
    result = generate(directory, *options, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def credentials(directory: Path, host: str) -> Any:
    return json.loads((directory / host / "config" / "credentials.json").read_bytes())


def files(directory: Path) -> dict[str, bytes]:
    return {str(each.relative_to(directory)): each.read_bytes() for each in directory.rglob("*") if each.is_file()}


def test_each_host_gets_what_it_runs_and_no_more(tmp_path: Path) -> None:
    """Masters have a server and the key, the first two the schedulers, agents only what an agent needs."""
    content = generated(tmp_path, *HOSTS)
    assert content["nodes"] == {"h1": "n1", "h2": "n2", "h3": "n3"}
    assert content["agents"] == {"h3": "h3", "h4.example": "h4-example"}
    master = {"busbar-bus.service", "busbar-master.service"}
    scheduling = {"busbar-marathon.service", "busbar-metronome.service"}
    found = {host: {each.name for each in (tmp_path / host / "units").iterdir()} for host in content["nodes"]}
    assert found == {
        "h1": master | scheduling,
        "h2": master | scheduling,
        "h3": master | {"busbar-agent@.service"},
    }
    assert {each.name for each in (tmp_path / "h4.example" / "config").iterdir()} == {"credentials.json", "cluster.pub"}


def test_what_is_secret_is_for_its_owner_only(tmp_path: Path) -> None:
    """Passwords and the key: mode 0600, and in no unit, for units are for everybody to read."""
    generated(tmp_path, *HOSTS)
    fleet = json.loads((tmp_path / "fleet.json").read_bytes())
    secrets = [fleet["password"], fleet["route_password"], (tmp_path / "cluster.key").read_text().strip()]
    for each in tmp_path.rglob("*"):
        if each.is_file() and any(secret in each.read_text() for secret in secrets):
            assert stat.S_IMODE(each.stat().st_mode) == 0o600, each
            assert each.parent.name != "units"


def test_a_host_begins_with_its_own_server_and_knows_all(tmp_path: Path) -> None:
    """Agents begin with different ones."""
    generated(tmp_path, *HOSTS, "--port", "4333")
    assert credentials(tmp_path, "h2")["url"] == "nats://h2:4333,nats://h3:4333,nats://h1:4333"
    assert credentials(tmp_path, "h2")["replicas"] == 3
    assert credentials(tmp_path, "h4.example")["url"].startswith("nats://h1:4333,")


def test_written_again_nothing_changes(tmp_path: Path) -> None:
    """Every secret is kept."""
    generated(tmp_path, *HOSTS)
    before = files(tmp_path)
    generated(tmp_path, *HOSTS)
    assert files(tmp_path) == before


def test_a_new_host_takes_the_place_of_the_lost_one(tmp_path: Path) -> None:
    """The node's name outlives its machine; the others' server and secrets are the same, the lost host's are gone."""
    generated(tmp_path, *HOSTS)
    before = files(tmp_path)
    content = generated(tmp_path, "--masters", "h1,h9,h3", "--agents", "h3,h4.example")
    assert content["nodes"] == {"h1": "n1", "h9": "n2", "h3": "n3"}
    assert not (tmp_path / "h2").exists()
    after = files(tmp_path)
    assert after["h9/config/cluster.key"] == before["h2/config/cluster.key"]
    config = after["h9/config/nats-server.conf"].decode()
    assert config == before["h2/config/nats-server.conf"].decode().replace("h2:", "h9:")
    assert after["h1/units/busbar-master.service"] == before["h1/units/busbar-master.service"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--masters", "h1,h2"), "--masters names 2 hosts: expected 1, 3 or 5"),
        (("--masters", "h1,h1,h2"), "--masters: a host is named twice"),
        (("--masters", "h1,h2,h3_"), "'h3_' is not the name or IPv4 address of a host"),
        (("--masters", "h1,../x,h3"), "'../x' is not the name or IPv4 address of a host"),
        (("--masters", "h1", "--agents", "a.b,a-b"), "a.b and the agent of a-b would both be called a-b"),
        (("--masters", "h1", "--agents", "marathon"), "the scheduler marathon and the agent of marathon would"),
        (("--masters", "h1", "--cluster", "The One"), "--cluster: 'The One' is not an id"),
        (("--masters", "h1", "--data", "/var/my data"), "'/var/my data' cannot be written into a unit"),
        (("--masters", "h1", "--data", "data"), "'data' cannot be written into a unit"),
    ],
)
def test_what_cannot_be_a_fleet_is_refused_and_nothing_is_written(
    tmp_path: Path, options: tuple[str, ...], why: str
) -> None:
    """Exit code 2, and which part."""
    result = generate(tmp_path / "fleet", *options)
    assert (result.exit_code, why in result.stderr) == (2, True), result.stderr
    assert not (tmp_path / "fleet").exists()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--masters", "h1"), "--masters names 1 hosts, and the datacenter has 3 master nodes"),
        ((*HOSTS, "--route-port", "7222"), "--route-port 7222: this datacenter was generated with 6222"),
        ((*HOSTS, "--cluster", "west"), "--cluster west: this datacenter was generated with dc"),
    ],
)
def test_what_cannot_change_is_refused_and_nothing_is_written(
    tmp_path: Path, options: tuple[str, ...], why: str
) -> None:
    """What runs already would not be found again."""
    generated(tmp_path, *HOSTS)
    before = files(tmp_path)
    result = generate(tmp_path, *options)
    assert (result.exit_code, why in result.stderr) == (2, True), result.stderr
    assert files(tmp_path) == before


def test_a_damaged_fleet_is_said_so(tmp_path: Path) -> None:
    """No other secrets over those that hosts use."""
    (tmp_path / "fleet.json").write_text("{")
    result = generate(tmp_path, *HOSTS)
    assert result.exit_code == 1
    assert f"{tmp_path}/fleet.json does not describe a fleet" in result.stderr
