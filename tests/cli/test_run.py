"""`busbar run`: options in, one frozen config out; what is wrong is said before anything is started."""

import json
import subprocess
import sys
from itertools import pairwise

import pytest
from click.testing import CliRunner

from bus import logs
from cli.main import busbar
from cli.run import attributes_of, executor_argv
from cli.wiring import Place
from components.places import secrets_of


def credentials(tmp_path, url="nats://127.0.0.1:1"):
    file = tmp_path / "busbar.json"
    file.write_text(json.dumps({"url": url, "name": "marathon", "passport": "p"}))
    file.chmod(0o600)
    return str(file)


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("master", "--ping-interval-s", "0"), "ping_interval_s is 0.0: expected at least 0.001"),
        (("master", "--pings-missed-max", "0"), "pings_missed_max is 0: expected at least 1"),
        (("master", "--weight", "web"), "--weight 'web': expected ROLE=NUMBER"),
        (("master", "--weight", "web=-1"), "the weight of 'web' is -1.0"),
        (("master", "--agent-removal-rate-limit", "1"), "'1': expected NUMBER/DURATION, e.g. 1/10mins"),
        (("master", "--recovery-agent-removal-limit", "101"), "is 101.0: expected 0 to 100"),
        (("agent", "--id", "A1"), "'A1' is not an id: expected [a-z0-9-]"),
        (("agent", "--id", "a1", "--resources", "cpus:many"), "'cpus:many': expected a number"),
        (("agent", "--id", "a1", "--attributes", "rack"), "'rack': expected NAME:VALUE"),
        (("agent", "--id", "a1", "--hide", "/"), "--hide /: expected a directory that tasks can do without"),
        (("agent",), "Missing option '--id'"),
        (("executor", "--agent", "-", "--work", "."), "'-' is not an id"),
        (("marathon", "--id", "x.y"), "'x.y' is not an id"),
        (("metronome", "--id", ""), "'' is not an id"),
    ],
)
def test_a_wrong_setting_is_a_usage_error_that_says_what_is_allowed(tmp_path, args, why):
    """Exit code 2, before any connection."""
    result = CliRunner().invoke(busbar, ["run", *args, "--credentials", credentials(tmp_path)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert why in result.stderr


def test_without_a_bus_nothing_is_run():
    """Exit code 2: a component does not guess its cluster."""
    result = CliRunner().invoke(busbar, ["run", "marathon"], env={"BUSBAR_BUS": "", "BUSBAR_CREDENTIALS": ""})
    assert result.exit_code == 2
    assert "expected --bus URL or --credentials FILE" in result.stderr


def test_an_executor_gets_its_secrets_by_file(tmp_path):
    """The command line names the file beside its agent's, and holds no secret."""
    files = {"store": "/d/a1/agent.db", "pid_file": "/d/run/a1.json"}
    place = Place(bus=None, credentials_file=credentials(tmp_path), node="n1", **files)
    argv = executor_argv(place, "a1", tmp_path)
    assert list(argv[argv.index("--agent") :][:2]) == ["--agent", "a1"]
    assert argv[argv.index("--pid-file") + 1] == "/d/run/a1-cmd.json"
    assert argv[argv.index("--store") + 1] == "/d/a1/agent.executor.db"
    assert argv[argv.index("--credentials") + 1] == str(tmp_path / "busbar-cmd.json")
    assert "p" not in argv


def test_an_agent_has_its_executor_hide_what_it_keeps(tmp_path):
    """Its directory, secrets, its credentials and its executor's, both stores, and what is asked for."""
    place = Place(bus=None, credentials_file="/etc/busbar/a1.json", node="n1", store="/d/a1.db", pid_file=None)
    argv = executor_argv(place, "a1", tmp_path, ("/etc/busbar",))
    hidden = {path for option, path in pairwise(argv) if option == "--hide"}
    stores = {f"/d/a1{name}.db{suffix}" for name in ("", ".executor") for suffix in ("", "-wal", "-shm")}
    mine = {str(tmp_path), secrets_of(str(tmp_path)), "/etc/busbar/a1.json", "/etc/busbar/a1-cmd.json"}
    assert hidden == {*mine, *stores, "/etc/busbar"}
    assert "--unconfined" not in argv


def test_an_unconfined_agent_has_its_executor_hide_nothing(tmp_path):
    """Said once on each command line that starts it, and to whoever looks at the node."""
    place = Place(bus=None, credentials_file=credentials(tmp_path), node="n1", store=None, pid_file=None)
    argv = executor_argv(place, "a1", tmp_path, ("/etc/busbar",), unconfined=True)
    assert "--unconfined" in argv
    assert "--hide" not in argv
    assert attributes_of("rack:r1", unconfined=True) == {"rack": "r1", "unconfined": "true"}
    assert attributes_of("rack:r1", unconfined=False) == {"rack": "r1"}


@pytest.mark.e2e
@pytest.mark.timeout(60)
def test_a_component_without_its_bus_says_so_in_one_line_of_json_and_ends(tmp_path):
    """Exit code 1, no traceback; it wrote down who it was."""
    argv = [sys.executable, "-m", "cli.main", "run", "marathon", "--credentials", credentials(tmp_path)]
    ended = subprocess.run([*argv, "--pid-file", str(tmp_path / "m.json")], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    line = json.loads(ended.stderr.splitlines()[0])
    assert (line["event"], line["level"], line["by"]) == ("cannot go on", "error", "framework.marathon")
    assert "nats://127.0.0.1:1" in line["why"]
    assert "Traceback" not in ended.stderr
    assert json.loads((tmp_path / "m.json").read_text())["role"] == "framework"


def test_logs_are_json_for_programs_and_lines_for_people(capsys):
    """No values of local variables: they may be secrets."""

    def fail():
        password = "s3cret"
        raise ValueError(len(password))

    for as_json in (True, False):
        logs.configure(as_json, "info")
        log = logs.get_logger()
        log.debug("too little")
        try:
            fail()
        except ValueError:
            log.exception("crashed", by="me")
        said = capsys.readouterr().err
        assert "too little" not in said
        assert "s3cret" not in said
        assert "ValueError" in said
        if as_json:
            assert json.loads(said)["event"] == "crashed"
