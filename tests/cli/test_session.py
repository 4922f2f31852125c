"""Finding a cluster, and saying exactly why there is none."""

import json

import click
import pytest
from click.testing import CliRunner

from bus.subjects import check_id
from cli.main import busbar
from cli.output import Failure, NoCluster
from cli.session import Where, client_id, find

HERE = {"url": "nats://127.0.0.1:4222", "name": "u-alice", "role": "viewer", "passport": "s3cret", "cluster": "dc"}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(0o600)
    return str(path)


def test_the_data_directory_of_up_is_found_where_one_stands(tmp_path, monkeypatch):
    """Without any option the cluster is the one whose `.busbar` lies here."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / ".busbar" / "credentials.json", HERE)
    assert find(Where()).passport == "s3cret"


def test_credentials_beat_the_data_directory_and_bus_beats_their_address(tmp_path):
    """What is said most plainly counts."""
    file = write(tmp_path / "c.json", HERE | {"cluster": "east"})
    found = find(Where(bus="nats://other:1", credentials=file, data=str(tmp_path)))
    assert (found.url, found.cluster, found.name) == ("nats://other:1", "east", "u-alice")


def test_no_data_directory_is_no_cluster(tmp_path):
    """Exit code 3, the missing file by name, and three ways on."""
    with pytest.raises(NoCluster) as failed:
        find(Where(data=str(tmp_path / "nowhere")))
    assert str(tmp_path / "nowhere" / "credentials.json") in failed.value.message
    assert "busbar up" in failed.value.next


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "Input data was truncated"),
        ("[]", "Expected `object`, got `array`"),
        ("{}", "missing required field `url`"),
        ('{"url": "nats://h:1", "cluster": "a.b c"}', "'a.b c' is not an id: expected [a-z0-9-]"),
        ('{"url": "nats://h:1", "cluster": ">"}', "'>' is not an id"),
        ('{"url": "nats://h:1", "token": "t"}', "unknown field `token`"),
        ('{"url": 7}', "Expected `str`, got `int` - at `$.url`"),
        ('{"url": "nats://h:1", "seed": "SUA"}', "not the seed of a key"),
    ],
)
def test_a_wrong_credentials_file_is_named_with_what_is_wrong(tmp_path, content, why):
    """The path of the field, what was found, what is allowed."""
    file = write(tmp_path / "c.json", content)
    with pytest.raises(Failure) as failed:
        find(Where(credentials=file))
    assert failed.value.message.startswith(file)
    assert why in failed.value.message


def test_a_credentials_file_that_others_can_read_is_refused_with_what_to_do(tmp_path):
    """Nothing is asked of any cluster with it."""
    file = write(tmp_path / "c.json", HERE)
    (tmp_path / "c.json").chmod(0o640)
    with pytest.raises(Failure) as failed:
        find(Where(credentials=file))
    assert failed.value.message == f"{file} holds a key and can be read by others (mode 0640)"
    assert failed.value.next == f"chmod 600 {file}"


@pytest.mark.parametrize(
    "url", ["", "localhost", "http://h:1", "nats://", "nats://h", "nats://h:99999999", "nats://h:1/x"]
)
def test_a_wrong_address_is_a_usage_error(url):
    """What an address looks like is said."""
    with pytest.raises(click.UsageError, match="nats://HOST:PORT"):
        find(Where(bus=url))


@pytest.mark.parametrize(
    ("user", "name"),
    [
        ("alice", "u-alice"),
        ("Müller.X", "u-m-ller-x"),
        ("", "u-nobody"),
        ("--", "u-nobody"),
        ("a" * 99, "u-" + "a" * 61),
    ],
)
def test_every_user_name_makes_an_id(user, name):
    """A client's id follows the grammar whatever the person is called."""
    assert client_id(user) == name == check_id(name)


def test_no_cluster_exits_with_3_and_writes_nothing(tmp_path):
    """The message is on stderr; stdout stays empty for the program that reads it."""
    result = CliRunner().invoke(busbar, ["app", "list", "--json", "--data", str(tmp_path)])
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("error: no cluster: ")


def test_the_environment_names_the_cluster_too(tmp_path):
    """BUSBAR_DATA stands for --data."""
    result = CliRunner().invoke(busbar, ["app", "list"], env={"BUSBAR_DATA": str(tmp_path / "x")})
    assert (result.exit_code, str(tmp_path / "x") in result.stderr) == (3, True)


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["app", "scale", "/web"], "Missing argument 'INSTANCES'"),
        (["app", "scale", "/web", "-1"], "No such option"),
        (["app", "scale", "/web", "many"], "'many' is not a valid integer range"),
        (["app", "scale", "/web", "100001"], "100001 is not in the range 0<=x<=100000"),
        (["app", "add", "/nowhere/web.json"], "No such file or directory"),
        (["app", "add", "x", "--timeout", "-3"], "-3"),
        (["events", "show", "zero"], "'zero' is not a valid integer range"),
        (["events", "tail", "--since", "yesterday"], "expected a number and s, m, h or d"),
        (["events", "replay", "--speed", "-1"], "-1"),
        (["events", "replay", "--store", "/nowhere.db"], "does not exist"),
        (["events", "replay", "--from", "9", "--to", "3"], "--to 3 is before --from 9"),
        (["task", "list", "--bus", "localhost"], "expected nats://HOST:PORT"),
    ],
)
def test_wrong_usage_exits_with_2_and_points_at_the_help(args, why):
    """Nothing is asked of any cluster, and the way to the help is shown."""
    result = CliRunner().invoke(busbar, args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert why in result.stderr
    assert "--help" in result.stderr
