"""The keys of a data directory: founded once, kept, and moved with the bus."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from bus.binary import ServerTrouble
from bus.credentials import read_credentials
from bus.keyring import AUTHORITY, FOUNDERS, ISSUER, PERSON, Founder, Keyring, Wanted
from bus.nkey import For, check_public, claims_of
from bus.permits import Role

URLS = ["nats://127.0.0.1:1", "nats://127.0.0.1:2", "nats://127.0.0.1:3"]
ALL = [
    Wanted("master.json", Role.MASTER, "m-n1"),
    Wanted("master-n2.json", Role.MASTER, "m-n2"),
    Wanted("marathon.json", Role.FRAMEWORK, "marathon"),
    Wanted("a1.json", Role.AGENT, "a1"),
    Wanted("a1-cmd.json", Role.EXECUTOR, "a1-cmd", "a1"),
    Wanted(PERSON, Role.ADMIN, "u-alice"),
]
SEED = re.compile(r"S[OAU][A-Z2-7]{56}")


def files(data: Path) -> dict[str, bytes]:
    return {str(file.relative_to(data)): file.read_bytes() for file in data.rglob("*.json")}


def test_everybody_who_is_wanted_has_a_file_of_their_own(tmp_path: Path) -> None:
    """Their own key, who they are, where the bus is; for their owner alone."""
    Keyring(tmp_path, "dc").keep(ALL, URLS)
    assert set(files(tmp_path)) == {
        PERSON,
        *(f"keys/{each.file}" for each in ALL if each.file != PERSON),
        *(f"keys/{name}" for name in (AUTHORITY, ISSUER, FOUNDERS)),
    }
    seeds = set()
    for wanted in ALL:
        file = tmp_path / (wanted.file if wanted.file == PERSON else f"keys/{wanted.file}")
        known = read_credentials(file)
        assert (known.name, known.role, known.cluster, known.replicas) == (wanted.name, wanted.role, "dc", 3)
        assert claims_of(known.passport)["sub"] == known.key.public
        seeds.add(known.seed)
    assert len(seeds) == len(ALL)
    assert {stat.S_IMODE((tmp_path / file).stat().st_mode) for file in files(tmp_path)} == {0o600}
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_nothing_is_made_anew(tmp_path: Path) -> None:
    """Kept again, by another run: not a byte is other; who is new is added."""
    Keyring(tmp_path, "dc").keep(ALL[:4], URLS)
    before = files(tmp_path)
    Keyring(tmp_path, "dc").keep(ALL[:4], URLS)
    assert files(tmp_path) == before
    Keyring(tmp_path, "dc").keep(ALL, URLS)
    after = files(tmp_path)
    assert {name: after[name] for name in before if FOUNDERS not in name} == {
        name: content for name, content in before.items() if FOUNDERS not in name
    }


def test_who_is_not_wanted_any_more_keeps_the_key(tmp_path: Path) -> None:
    """A smaller plan throws nobody out: that is for who revokes."""
    Keyring(tmp_path, "dc").keep(ALL, URLS)
    before = files(tmp_path)
    Keyring(tmp_path, "dc").keep(ALL[:1], URLS)
    assert files(tmp_path) == before


def test_when_the_bus_moves_every_file_says_so_and_no_key_changes(tmp_path: Path) -> None:
    """Also from one address to three."""
    keyring = Keyring(tmp_path, "dc")
    keyring.keep(ALL, URLS[:1])
    before = {file: read_credentials(tmp_path / file) for file in ("keys/a1.json", PERSON)}
    keyring.move(URLS)
    for file, known in before.items():
        moved = read_credentials(tmp_path / file)
        assert (moved.url, moved.replicas) == (",".join(URLS), 3)
        assert (moved.seed, moved.passport) == (known.seed, known.passport)
    unmoved = files(tmp_path)
    keyring.move(URLS)
    assert files(tmp_path) == unmoved


@pytest.mark.parametrize(
    ("file", "first"), [("master", 0), ("master-n2", 1), ("marathon-n3", 2), ("master-n4", 0), ("a-n", 0), ("a-nx", 0)]
)
def test_a_nodes_own_server_comes_first(tmp_path: Path, file: str, first: int) -> None:
    """Each begins with another; of no node, or one that is not there, with the first."""
    Keyring(tmp_path, "dc").keep([Wanted(f"{file}.json", Role.FRAMEWORK, "marathon")], URLS)
    urls = read_credentials(tmp_path / "keys" / f"{file}.json").urls
    assert urls[0] == URLS[first]
    assert sorted(urls) == URLS


def test_the_founders_are_known_without_what_is_secret(tmp_path: Path) -> None:
    """Masters read the file: names, roles, public halves, and no seed."""
    keyring = Keyring(tmp_path, "dc")
    keyring.keep(ALL, URLS)
    told = {(each.name, each.role, each.agent) for each in keyring.founders()}
    assert told == {(each.name, each.role, each.agent) for each in ALL}
    for founder in keyring.founders():
        assert isinstance(founder, Founder)
        assert check_public(founder.public, For.USER)
    written = (tmp_path / "keys" / FOUNDERS).read_text()
    assert not SEED.search(written)
    assert SEED.search((tmp_path / "keys" / AUTHORITY).read_text())


def test_what_masters_hold_opens_no_masters_door(tmp_path: Path) -> None:
    """The issuer's file has the seeds of the roles they may grant, and neither the accounts' nor the operator's."""
    keyring = Keyring(tmp_path, "dc")
    keyring.keep(ALL, URLS)
    authority, written = keyring.authority, (tmp_path / "keys" / ISSUER).read_text()
    hidden = [authority.operator, authority.system, *authority.accounts.values()]
    hidden += [authority.roles[Role.MASTER], authority.roles[Role.ADMINISTRATOR]]
    assert not [seed for seed in hidden if seed in written]
    assert authority.roles[Role.AGENT] in written


def test_keys_of_another_cluster_are_refused(tmp_path: Path) -> None:
    """A directory is of one cluster."""
    Keyring(tmp_path, "east").keep(ALL[:1], URLS)
    with pytest.raises(ServerTrouble, match="belongs to cluster 'east', not 'west'"):
        Keyring(tmp_path, "west").keep(ALL, URLS)


@pytest.mark.parametrize("file", [AUTHORITY, "master.json"])
def test_keys_that_others_can_read_are_refused_with_what_to_do(tmp_path: Path, file: str) -> None:
    """They are not made over."""
    Keyring(tmp_path, "dc").keep(ALL[:1], URLS)
    path = tmp_path / "keys" / file
    before = path.read_bytes()
    path.chmod(0o640)
    with pytest.raises(ServerTrouble, match=re.escape(f"can be read by others (mode 0640): chmod 600 {path}")):
        Keyring(tmp_path, "dc").keep(ALL, URLS)
    assert path.read_bytes() == before


def test_damaged_keys_are_said_so_and_not_repeated(tmp_path: Path) -> None:
    """They may be most of a seed."""
    Keyring(tmp_path, "dc").keep(ALL[:1], URLS)
    file = tmp_path / "keys" / AUTHORITY
    content = file.read_text()
    file.write_text(content[: len(content) // 2])
    with pytest.raises(ServerTrouble, match="does not hold the keys of a cluster: restore it from a copy") as refused:
        Keyring(tmp_path, "dc").keep(ALL, URLS)
    assert not SEED.search(str(refused.value))
