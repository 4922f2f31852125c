"""`busbar hosts generate`: what is written for each host, and what stays when a host is replaced."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bus.certificates import is_for, is_signed_by, split, valid_until
from bus.credentials import Credentials, read_credentials
from bus.keyring import read_founders
from cli.datacenter import SCHEDULERS
from cli.main import busbar
from cli.session import client_id, user_name

HOSTS = ("--masters", "h1,h2,h3", "--agents", "h3,h4.example")


def generate(directory: Path, *options: str) -> Result:
    return CliRunner().invoke(busbar, ["hosts", "generate", "-o", str(directory), *options])


def generated(directory: Path, *options: str) -> Any:
    result = generate(directory, *options, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def credentials(directory: Path, file: str) -> Credentials:
    return read_credentials(directory / file)


def identities(directory: Path) -> list[str]:
    """The credentials files of a fleet."""
    others = {"issuer.json", "founders.json"}
    found = [file for file in directory.glob("*/config/*.json") if file.name not in others]
    return sorted(str(file.relative_to(directory)) for file in (*found, directory / "admin.json"))


def files(directory: Path) -> dict[str, bytes]:
    return {str(each.relative_to(directory)): each.read_bytes() for each in directory.rglob("*") if each.is_file()}


def test_each_host_gets_what_it_runs_and_no_more(tmp_path: Path) -> None:
    """Masters have a server and the key, the first two the schedulers, agents only what an agent needs."""
    content = generated(tmp_path, *HOSTS)
    assert content["nodes"] == {"h1": "n1", "h2": "n2", "h3": "n3"}
    assert content["agents"] == {"h3": "h3", "h4.example": "h4-example"}
    master = {"busbar-bus.service", "busbar-master.service"}
    scheduling = {"busbar-marathon.service", "busbar-metronome.service", "busbar-gateway.service"}
    found = {host: {each.name for each in (tmp_path / host / "units").iterdir()} for host in content["nodes"]}
    assert found == {
        "h1": master | scheduling,
        "h2": master | scheduling,
        "h3": master | {"busbar-agent@.service"},
    }
    common = {"cluster.pub"}
    agent = {"agent.json", "agent-cmd.json"}
    leading = {"master.json", "issuer.json", "founders.json", "cluster.key", "server.pem", "server.key", "ca.pem"}
    scheduler = {"marathon.json", "metronome.json", "gateway.json", "gateway.users"}
    configs = {host: {each.name for each in (tmp_path / host / "config").iterdir()} for host in content["nodes"]}
    assert configs == {
        "h1": common | leading | scheduler,
        "h2": common | leading | scheduler,
        "h3": common | leading | agent,
    }
    assert {each.name for each in (tmp_path / "h4.example" / "config").iterdir()} == common | agent
    assert {each.name for each in (tmp_path / "h3" / "bus").iterdir()} == {"nats-server.conf", "accounts.conf"}
    assert not (tmp_path / "h4.example" / "bus").exists()


def test_each_process_has_an_identity_of_its_own(tmp_path: Path) -> None:
    """Named for what it is; whoever generates is an admin, and masters know all of them."""
    generated(tmp_path, *HOSTS)
    found = {file: credentials(tmp_path, file) for file in identities(tmp_path)}
    said = {file: (each.role, each.name) for file, each in found.items()}
    assert said == {
        "admin.json": ("admin", client_id(user_name())),
        "h1/config/master.json": ("master", "m-n1"),
        "h2/config/master.json": ("master", "m-n2"),
        "h3/config/master.json": ("master", "m-n3"),
        **{f"{host}/config/{name}.json": ("framework", name) for host in ("h1", "h2") for name in SCHEDULERS},
        **{f"{host}/config/gateway.json": ("gateway", f"g-{node}") for host, node in (("h1", "n1"), ("h2", "n2"))},
        "h3/config/agent.json": ("agent", "h3"),
        "h3/config/agent-cmd.json": ("executor", "h3-cmd"),
        "h4.example/config/agent.json": ("agent", "h4-example"),
        "h4.example/config/agent-cmd.json": ("executor", "h4-example-cmd"),
    }
    founders = read_founders(tmp_path / "h2" / "config" / "founders.json")
    assert {each.public for each in founders} == {each.key.public for each in found.values()}
    assert [each.agent for each in founders if each.name == "h4-example-cmd"] == ["h4-example"]


def test_no_host_has_a_key_of_another(tmp_path: Path) -> None:
    """A seed is in one file, the authority's in none but issuers', and theirs grant no master."""
    generated(tmp_path, *HOSTS)
    written = {file: content.decode() for file, content in files(tmp_path).items()}
    for file in identities(tmp_path):
        seed = credentials(tmp_path, file).seed
        assert [each for each, text in written.items() if seed in text] == [file]
    authority = json.loads(written["authority.json"])
    issuers = {f"{host}/config/issuer.json" for host in ("h1", "h2", "h3")}
    seeds = [authority[name] for name in ("operator", "system", "witness")]
    for seed in (*seeds, *authority["accounts"].values(), *authority["roles"].values()):
        assert {each for each, text in written.items() if seed in text} - issuers == {"authority.json"}
    for kept in (authority["operator"], authority["roles"]["master"], authority["roles"]["administrator"]):
        assert [each for each, text in written.items() if kept in text] == ["authority.json"]
    for host in ("h1", "h2", "h3"):
        key = written[f"{host}/config/server.key"]
        assert [each for each, text in written.items() if key in text] == [f"{host}/config/server.key"]


def test_what_is_secret_is_for_its_owner_only(tmp_path: Path) -> None:
    """Modes 0700 and 0600; nothing of it is in a unit, in the steps, or said."""
    result = generate(tmp_path / "fleet", *HOSTS)
    open_to_all = {"README.md", "cluster.pub"}
    for each in (tmp_path / "fleet").rglob("*"):
        mode = stat.S_IMODE(each.stat().st_mode)
        if each.is_dir():
            assert mode == 0o700, each
        elif each.parent.name != "units" and each.name not in open_to_all:
            assert mode == 0o600, each
    assert stat.S_IMODE((tmp_path / "fleet").stat().st_mode) == 0o700
    written = {file: content.decode() for file, content in files(tmp_path / "fleet").items()}
    public = "".join(text for file, text in written.items() if "/units/" in file) + written["README.md"]
    for secret in secrets(tmp_path / "fleet"):
        assert secret not in public
        assert secret not in result.output


def secrets(directory: Path) -> list[str]:
    """Every secret of a fleet."""
    fleet = json.loads((directory / "fleet.json").read_bytes())
    authority, trust = (json.loads((directory / file).read_bytes()) for file in ("authority.json", "ca.json"))
    seeds = [credentials(directory, file).seed for file in identities(directory)]
    certificate, key = trust["signs"]
    assert "PRIVATE" in key
    assert "PRIVATE" not in certificate
    keys = [key.splitlines()[1], (directory / "h1/config/server.key").read_text().splitlines()[1]]
    shared = [fleet["route_password"], fleet["watched"], (directory / "cluster.key").read_text().strip()]
    return [*seeds, *keys, *shared, authority["operator"], authority["witness"], *authority["roles"].values()]


def test_a_host_begins_with_its_own_server_and_knows_all(tmp_path: Path) -> None:
    """Agents begin with different ones; everybody by TLS, knowing the authority."""
    generated(tmp_path, *HOSTS, "--port", "4333")
    known = credentials(tmp_path, "h2/config/master.json")
    assert known.url == "tls://h2:4333,tls://h3:4333,tls://h1:4333"
    assert known.replicas == 3
    assert credentials(tmp_path, "h4.example/config/agent.json").url.startswith("tls://h1:4333,")
    assert credentials(tmp_path, "admin.json").url.startswith("tls://h1:4333,")
    for file in identities(tmp_path):
        assert credentials(tmp_path, file).ca == (tmp_path / "h1" / "config" / "ca.pem").read_text()


def test_a_server_shows_that_it_is_its_host(tmp_path: Path) -> None:
    """By name or by address, signed by the authority, for 825 days; its configuration names the files."""
    generated(tmp_path, "--masters", "h1,10.0.0.2,h3")
    for host in ("h1", "10.0.0.2", "h3"):
        shown = (tmp_path / host / "config" / "server.pem").read_text()
        assert is_for(shown, host)
        assert is_for(shown, "127.0.0.1")
        assert not is_for(shown, "h2")
        assert is_signed_by(shown, [(tmp_path / "h3" / "config" / "ca.pem").read_text()])
        assert 824 < (valid_until(shown) - datetime.now(UTC)).days + 1 <= 826
        config = (tmp_path / host / "bus" / "nats-server.conf").read_text()
        assert config.count('cert_file: "/etc/busbar/server.pem", key_file: "/etc/busbar/server.key"') == 2
        assert "include ./accounts.conf" in config
        unit = (tmp_path / host / "units" / "busbar-bus.service").read_text()
        assert "--config /var/lib/busbar/bus/nats-server.conf" in unit
        assert "ExecReload=/bin/kill -HUP $MAINPID" in unit
        assert "--gate /var/lib/busbar/bus" in (tmp_path / host / "units" / "busbar-master.service").read_text()


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
    config = after["h9/bus/nats-server.conf"].decode()
    assert config == before["h2/bus/nats-server.conf"].decode().replace("h2:", "h9:")
    for file in ("units/busbar-master.service", "config/server.pem", "config/server.key", "bus/accounts.conf"):
        assert after[f"h1/{file}"] == before[f"h1/{file}"]
    assert is_for(after["h9/config/server.pem"].decode(), "h9")


def test_what_left_with_a_host_is_named_for_revocation(tmp_path: Path) -> None:
    """The new host's identities have new keys. The answer says how to revoke the old ones, the steps do for ever, and
    masters know them, also if they were never there: whom they do not know they could not revoke."""
    generated(tmp_path, *HOSTS)
    old = {name: credentials(tmp_path, f"h2/config/{name}.json") for name in ("master", *SCHEDULERS, "gateway")}
    kept = {file: credentials(tmp_path, file).seed for file in identities(tmp_path) if not file.startswith("h2/")}
    replaced = ("--masters", "h1,h9,h3", "--agents", "h3,h4.example")
    content = generated(tmp_path, *replaced)
    assert {each["public"] for each in content["gone"]} == {each.key.public for each in old.values()}
    assert {each["name"] for each in content["gone"]} == {"m-n2", "g-n2", *SCHEDULERS}
    for name, before in old.items():
        now = credentials(tmp_path, f"h9/config/{name}.json")
        assert (now.name, now.role) == (before.name, before.role)
        assert now.seed != before.seed
    assert {file: credentials(tmp_path, file).seed for file in kept} == kept
    assert generated(tmp_path, *replaced)["gone"] == []
    for each in old.values():
        assert f"busbar access revoke --key {each.key.public} " in (tmp_path / "README.md").read_text()
    known = {each.public for each in read_founders(tmp_path / "h1" / "config" / "founders.json")}
    assert known >= {each.key.public for each in old.values()}


def test_what_a_host_is_no_longer_leaves_it(tmp_path: Path) -> None:
    """A master's host that runs no agent any more: those keys are gone, its others stay."""
    generated(tmp_path, *HOSTS)
    before = credentials(tmp_path, "h3/config/master.json").seed
    content = generated(tmp_path, "--masters", "h1,h2,h3", "--agents", "h4.example")
    assert {each["name"] for each in content["gone"]} == {"h3", "h3-cmd"}
    assert not (tmp_path / "h3" / "config" / "agent.json").exists()
    assert credentials(tmp_path, "h3/config/master.json").seed == before


def test_new_certificates_are_made_when_asked_for(tmp_path: Path) -> None:
    """New keys, the same authority; nothing else changes."""
    generated(tmp_path, *HOSTS)
    before = files(tmp_path)
    generated(tmp_path, *HOSTS, "--rotate-tls")
    after = files(tmp_path)
    changed = {file for file in after if after[file] != before[file]}
    servers = {f"{host}/config/server.{end}" for host in ("h1", "h2", "h3") for end in ("pem", "key")}
    assert changed - {"README.md"} == servers


def test_an_authority_is_trusted_a_round_before_it_signs_and_one_after_it_signed(tmp_path: Path) -> None:
    """--rotate-ca, --rotate-tls, --rotate-tls: what is shown is always trusted by the credentials of the round before
    and after."""
    generated(tmp_path, *HOSTS)
    rounds = [trust(tmp_path)]
    for option in ("--rotate-ca", "--rotate-tls", "--rotate-tls"):
        generated(tmp_path, *HOSTS, option)
        rounds.append(trust(tmp_path))
    [old] = rounds[0][1]
    [new] = rounds[3][1]
    assert [trusted for _, trusted in rounds] == [[old], [new, old], [new, old], [new]]
    assert [is_signed_by(shown, [old]) for shown, _ in rounds] == [True, True, False, False]
    assert rounds[0][0] == rounds[1][0], "a new authority alone makes no certificate"


def trust(directory: Path) -> tuple[str, list[str]]:
    """What a server shows, and whom everybody trusts."""
    bundles = {credentials(directory, file).ca for file in identities(directory)}
    bundles |= {(directory / host / "config" / "ca.pem").read_text() for host in ("h1", "h2", "h3")}
    [bundle] = bundles
    return (directory / "h1" / "config" / "server.pem").read_text(), split(bundle)


def test_a_new_host_in_the_midst_of_a_rotation_shows_what_everybody_trusts(tmp_path: Path) -> None:
    """The authority that comes signs nothing yet."""
    generated(tmp_path, *HOSTS)
    [old] = split((tmp_path / "h1" / "config" / "ca.pem").read_text())
    generated(tmp_path, *HOSTS, "--rotate-ca")
    generated(tmp_path, "--masters", "h1,h9,h3", "--agents", "h3,h4.example")
    assert is_signed_by((tmp_path / "h9" / "config" / "server.pem").read_text(), [old])


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
        ((*HOSTS, "--rotate-ca", "--rotate-tls"), "a new authority must be trusted everywhere before it signs"),
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


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("authority.json", None, "is not there: without it nobody can be let in"),
        ("authority.json", "{", "does not hold the keys of a cluster"),
        ("ca.json", None, "has no certificate authority any more"),
        ("ca.json", "{", "does not hold an authority"),
        ("h1/config/master.json", "{", "is not a credentials file"),
    ],
)
def test_a_fleet_without_its_keys_gets_no_others(tmp_path: Path, file: str, content: str | None, why: str) -> None:
    """Others would open nothing: the copy is to be restored. Nothing is written."""
    generated(tmp_path, *HOSTS)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(content)
    before = files(tmp_path)
    result = generate(tmp_path, *HOSTS)
    assert (result.exit_code, why in result.stderr) == (1, True), result.stderr
    assert files(tmp_path) == before
