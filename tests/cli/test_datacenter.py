"""Which processes make a datacenter, and how a machine is split between agents."""

import errno
import os
import socket

import pytest

from bus.nouns import Resources, parse_resources, total
from cli.datacenter import Plan, Shape, as_flag, free_ports, members, split
from cli.hold import disk, sole
from cli.output import Failure

WHOLE = parse_resources("cpus:5;mem:1000;disk:300;ports:[31000-31010,32000-32000]")


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_a_machine_is_split_evenly_and_no_port_is_given_twice(parts):
    """Equal amounts; what cannot be split evenly stays with the machine."""
    shares = split(WHOLE, parts)
    assert len({(share.cpu_milli, share.mem_mb, share.disk_mb, share.port_count) for share in shares}) == 1
    together = total(shares)
    assert WHOLE.covers(together)
    assert together.port_count == parts * shares[0].port_count


def test_the_flag_of_resources_says_the_same_again():
    """Text and back."""
    assert parse_resources(as_flag(WHOLE)) == WHOLE
    assert parse_resources(as_flag(Resources(cpu_milli=250, mem_mb=1))) == Resources(cpu_milli=250, mem_mb=1)


def test_ports_somebody_listens_on_are_not_shared_out():
    """Found as the kernel lists them."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert free_ports(((port, port),)) == ()
    assert free_ports(((port, port),)) == ((port, port),)


def test_every_component_gets_its_credentials_by_file(tmp_path):
    """Each its own; names and options on the command line, secrets never."""
    plan = Plan(data=tmp_path, agents=2, resources=WHOLE)
    made = members(plan)
    assert [member.name for member in made] == ["master", "a1", "a2", "marathon", "metronome"]
    for member in made:
        assert str(tmp_path / "keys" / f"{member.name}.json") in member.argv
        assert str(tmp_path / "run" / f"{member.name}.json") in member.argv


def test_several_masters_are_nodes_of_their_own(tmp_path):
    """A master on each, schedulers with one standby; node n1 has the old names, every process its own credentials."""
    made = {member.name: member.argv for member in members(Plan(data=tmp_path, agents=1, resources=WHOLE, masters=3))}
    schedulers = ["marathon", "marathon-n2", "metronome", "metronome-n2"]
    assert list(made) == ["master", "master-n2", "master-n3", "a1", *schedulers]
    for name, node in (("master", "n1"), ("master-n3", "n3"), ("marathon-n2", "n2")):
        assert made[name][made[name].index("--node") + 1] == node
        assert str(tmp_path / "keys" / f"{name}.json") in made[name]
        assert str(tmp_path / name / "events.db") in made[name]
    assert "--node" not in made["a1"]
    alone = {member.name: member.argv for member in members(Plan(data=tmp_path, agents=1, resources=WHOLE))}
    assert "--node" not in alone["master"]


def test_everybody_who_founds_a_datacenter_is_somebody_of_their_own(tmp_path):
    """A file for each process, its executor and the person; instances of a scheduler are one identity."""
    plan = Plan(data=tmp_path, agents=2, resources=WHOLE, masters=3)
    wanted = {each.file: (each.role, each.name, each.agent) for each in plan.wanted("u-alice")}
    assert wanted == {
        "master.json": ("master", "m-n1", ""),
        "master-n2.json": ("master", "m-n2", ""),
        "master-n3.json": ("master", "m-n3", ""),
        **{f"{name}{node}.json": ("framework", name, "") for name in ("marathon", "metronome") for node in ("", "-n2")},
        **{f"a{number}.json": ("agent", f"a{number}", "") for number in (1, 2)},
        **{f"a{number}-cmd.json": ("executor", f"a{number}-cmd", f"a{number}") for number in (1, 2)},
        "credentials.json": ("admin", "u-alice", ""),
    }
    asked = {member.argv[member.argv.index("--credentials") + 1] for member in members(plan)}
    assert asked == {str(tmp_path / "keys" / file) for file in wanted if "-cmd" not in file and "creden" not in file}


def test_a_shape_of_before_there_were_several_masters_has_one(tmp_path):
    """What an earlier release wrote is read as it was meant."""
    (tmp_path / "shape.json").write_bytes(b'{"agents": 2, "resources": "cpus:1"}')
    assert Shape.read(tmp_path) == Shape(agents=2, resources="cpus:1", masters=1)


def test_a_datacenter_remembers_its_shape(tmp_path):
    """What an agent's tasks hold must be there when it comes back."""
    assert Shape.read(tmp_path) is None
    Shape(agents=3, resources="cpus:1").write(tmp_path)
    assert Shape.read(tmp_path) == Shape(agents=3, resources="cpus:1")


@pytest.mark.parametrize(
    "text",
    [b"{", b"\xff", b'{"agents": 0, "resources": "cpus:1"}', b'{"agents": 2, "resources": "gpus:1"}', b"[]"],
)
def test_a_damaged_shape_is_said_so(tmp_path, text):
    """No traceback, and nothing is shared out another way unasked."""
    (tmp_path / "shape.json").write_bytes(text)
    with pytest.raises(Failure, match="does not say how the datacenter was shared out"):
        Shape.read(tmp_path)


def test_only_one_holds_a_data_directory(tmp_path):
    """The second is refused with the process that holds it, and changes nothing."""
    with sole(tmp_path / "data"):
        with pytest.raises(Failure) as refused, sole(tmp_path / "data"):
            pass
        before = (tmp_path / "data" / "lock").read_text()
        assert f"runs on {tmp_path / 'data'} already: process {before.strip()} holds it" in refused.value.message
        assert "busbar down --data" in refused.value.next
    with sole(tmp_path / "data"):
        pass


@pytest.mark.parametrize(
    ("number", "message", "way_on"),
    [
        (errno.ENOSPC, "/d/x: No space left on device", "free space on the disk, then start again"),
        (errno.EACCES, "/d/x: Permission denied", "name another directory with --data DIR"),
        (errno.EROFS, "/d/x: Read-only file system", "name another directory with --data DIR"),
    ],
)
def test_what_the_disk_refuses_is_said_exactly(tmp_path, number, message, way_on):
    """The path, the reason, what to do."""
    with pytest.raises(Failure) as failed, disk(tmp_path):
        raise OSError(number, os.strerror(number), "/d/x")
    assert (failed.value.message, failed.value.next) == (message, way_on)


def test_the_last_agents_are_in_the_public_zone(tmp_path):
    plan = Plan(data=tmp_path, agents=3, resources=Resources(cpu_milli=3000, mem_mb=300), public_agents=1)
    public = [member.name for member in members(plan) if "slave_public" in member.argv]
    assert public == plan.public_ids == ["a3"]
    assert "public_ip:true" in next(member for member in members(plan) if member.name == "a3").argv
    assert Plan(data=tmp_path, agents=3, resources=Resources()).public_ids == []
