"""Who grants identities, and what a real server makes of what was granted."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import pytest

from bus.authority import Authority, Issuer, founded_s, passport, read_authority, read_issuer, write_keys
from bus.connection import Connection
from bus.credentials import Credentials, CredentialsRefused
from bus.jetstream import JetStreamBus, connect
from bus.nkey import For, Key, KeyRefused, claims_of, signed
from bus.permits import Role, Space
from bus.port import BusClosed, BusUnreachable, Fence, Message, NotPermitted
from bus.replies import Send
from bus.server import EmbeddedServer

pytestmark = pytest.mark.timeout(60)
ISSUED = [role for role in Role if role not in (Role.MASTER, Role.ADMINISTRATOR)]


def bearing(server: EmbeddedServer, role: Role, name: str, key: Key, token: str) -> Credentials:
    """The credentials of who shows this passport."""
    return Credentials(url=server.urls[0], name=name, role=role, passport=token, seed=key.seed)


async def entered(known: Credentials) -> JetStreamBus:
    return await connect(known, make_stream=False, connect_s=5)


async def says(bus: JetStreamBus, subject: str) -> None:
    """Append one message under the log of its author. Raises NotPermitted."""
    log = ".".join([*subject.split(".")[:3], ">"])
    newest = await bus.last(log)
    await bus.append([Message(subject, b"x")], Fence(log, newest.position if newest else 0))  # type: ignore[arg-type]


# ---- what an issuer can grant ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [Role.MASTER, Role.ADMINISTRATOR])
def test_an_issuer_cannot_grant_what_stands_above_it(role: Role) -> None:
    """Whoever takes over a master cannot make another, nor change the stream's past."""
    authority = Authority.found("dc")
    issuer = authority.issuer()
    with pytest.raises(KeyRefused, match=f"the role {role} is granted when a cluster is founded, not later"):
        issuer.passport(role, "m-n9", Key.new(For.USER).public, at_s=founded_s)
    held = msgspec.json.encode(issuer).decode()
    assert authority.roles[role] not in held
    assert not [seed for seed in authority.accounts.values() if seed in held]
    assert authority.operator not in held


def test_a_role_added_later_is_granted_by_the_issuer_or_named_as_not() -> None:
    """No role is forgotten."""
    assert set(Authority.found("dc").issuer().seals) == set(ISSUED)


def test_the_same_facts_are_the_same_text() -> None:
    """Every master writes the same accounts, in whatever order it learned who was revoked."""
    issuer = Authority.found("dc").issuer()
    one, two = Key.new(For.USER).public, Key.new(For.USER).public
    assert issuer.accounts_text({one: 1, two: 2}) == issuer.accounts_text({two: 2, one: 1})
    assert issuer.accounts_text({one: 1}) != issuer.accounts_text({})
    again = msgspec.json.decode(msgspec.json.encode(issuer), type=Issuer)
    assert again.accounts_text({one: 1}) == issuer.accounts_text({one: 1})


def test_keys_are_kept_in_a_file_and_read_again(tmp_path: Path) -> None:
    """Both; what was never founded is nothing, what is needed and missing is named."""
    authority = Authority.found("dc")
    write_keys(tmp_path / "authority.json", authority)
    write_keys(tmp_path / "issuer.json", authority.issuer())
    assert read_authority(tmp_path / "authority.json") == authority
    assert read_issuer(tmp_path / "issuer.json") == authority.issuer()
    assert read_authority(tmp_path / "none.json") is None
    with pytest.raises(CredentialsRefused, match=r"none\.json does not exist") as refused:
        read_issuer(tmp_path / "none.json")
    assert refused.value.fix == "name the issuer's keys with --issuer FILE"
    with pytest.raises(CredentialsRefused, match="does not hold the keys of a cluster"):
        read_authority(tmp_path / "issuer.json")


def test_no_text_of_what_servers_are_told_holds_a_seed() -> None:
    """Accounts and operator, decoded."""
    authority = Authority.found("dc")
    seeds = [authority.operator, authority.witness, authority.system]
    seeds += [*authority.accounts.values(), *authority.roles.values()]
    text = authority.operator_text() + authority.issuer().accounts_text({})
    tokens = [word for line in text.splitlines() for word in line.split() if word.count(".") == 2]
    assert len(tokens) == 1 + len(Space) + 1
    told = text + "".join(msgspec.json.encode(claims_of(token)).decode() for token in tokens)
    assert not [seed for seed in seeds if seed in told]


# ---- what a server makes of it --------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ISSUED)
async def test_a_server_lets_in_who_was_granted_a_passport(server: EmbeddedServer, role: Role) -> None:
    """It was told of the role's key once, of nobody in particular."""
    key = Key.new(For.USER)
    token = server.keyring.issuer.passport(role, "u-new", key.public, at_s=int(time.time()), agent="a1")
    bus = await entered(bearing(server, role, "u-new", key, token))
    assert bus.me == "u-new"
    await bus.close()


async def test_a_passport_that_has_expired_is_refused(server: EmbeddedServer) -> None:
    """A minute ago; one that expires in an hour is good."""
    key, now = Key.new(For.USER), int(time.time())
    for until, good in ((now - 60, False), (now + 3600, True)):
        token = server.keyring.issuer.passport(Role.VIEWER, "u-late", key.public, at_s=now - 120, until_s=until)
        known = bearing(server, Role.VIEWER, "u-late", key, token)
        if good:
            await (await entered(known)).close()
            continue
        with pytest.raises(BusUnreachable, match=r"refused the credentials of u-late \(viewer\)"):
            await entered(known)


async def test_who_is_connected_when_the_passport_expires_is_thrown_out(server: EmbeddedServer) -> None:
    """The connection ends for good and says why."""
    key, now = Key.new(For.USER), int(time.time())
    token = server.keyring.issuer.passport(Role.VIEWER, "u-late", key.public, at_s=now - 1, until_s=now + 2)
    bus = await entered(bearing(server, Role.VIEWER, "u-late", key, token))
    with pytest.raises(BusClosed, match="authentication expired"):
        await anext(bus.follow("dc.>", after=0))  # type: ignore[arg-type]
    await bus.close()


async def test_who_speaks_before_nats_py_tells_of_the_end_hears_why(server: EmbeddedServer) -> None:
    """The client is closed first, and says so in a later turn: in between, the reason is told just the same."""
    key = Key.new(For.USER)
    token = server.keyring.issuer.passport(Role.VIEWER, "u-late", key.public, at_s=founded_s)
    told: list[str] = []
    connection = Connection(bearing(server, Role.VIEWER, "u-late", key, token), told.append)
    await connection.open(name="u-late", connect_s=5)
    await connection._client._process_err("'user authentication expired'")
    while not connection._client.is_closed:
        await asyncio.sleep(0)
    assert not told, "the client has told already"
    with pytest.raises(BusClosed, match="authentication expired"):
        await connection.send(Send("word", b""))
    await connection.close()
    assert len(told) == 1
    assert "authentication expired" in told[0]


async def test_a_passport_of_a_foreign_authority_is_refused(server: EmbeddedServer) -> None:
    """Of another cluster of the same name; also if it names this cluster's account."""
    foreign, key = Authority.found("dc"), Key.new(For.USER)
    account = server.keyring.issuer.accounts[Space.USER]
    for token in (
        foreign.passport(Role.ADMIN, "u-eve", key.public),
        passport(Key(foreign.roles[Role.ADMIN]), account, Role.ADMIN, "u-eve", key.public, founded_s),
        passport(key, account, Role.ADMIN, "u-eve", key.public, founded_s),
    ):
        with pytest.raises(BusUnreachable, match="refused the credentials of u-eve"):
            await entered(bearing(server, Role.ADMIN, "u-eve", key, token))


async def test_a_stolen_passport_without_its_key_is_worth_nothing(server: EmbeddedServer) -> None:
    """The server's nonce must be signed."""
    owner, thief = Key.new(For.USER), Key.new(For.USER)
    token = server.keyring.issuer.passport(Role.ADMIN, "u-alice", owner.public, at_s=founded_s)
    with pytest.raises(BusUnreachable, match="refused the credentials of u-alice"):
        await entered(bearing(server, Role.ADMIN, "u-alice", thief, token))


async def test_a_passport_under_one_roles_key_has_that_roles_rights(server: EmbeddedServer) -> None:
    """Whatever role it claims to be: the rights are the key's."""
    key = Key.new(For.USER)
    issuer = server.keyring.issuer
    token = passport(
        Key(issuer.seals[Role.VIEWER]), issuer.accounts[Space.USER], Role.ADMIN, "u-eve", key.public, founded_s
    )
    bus = await entered(bearing(server, Role.ADMIN, "u-eve", key, token))
    with pytest.raises(NotPermitted, match=r"may not say dc\.client\.u-eve\.role\.granted\.main"):
        await says(bus, "dc.client.u-eve.role.granted.main")
    await bus.close()


async def test_a_passport_with_rights_of_its_own_is_refused(server: EmbeddedServer) -> None:
    """Under a role's key nothing may be said of rights: a scoped key's passports have none."""
    key, issuer = Key.new(For.USER), server.keyring.issuer
    nats = {
        "type": "user",
        "version": 2,
        "issuer_account": issuer.accounts[Space.USER],
        "pub": {"allow": [">"]},
        "sub": {"allow": [">"]},
        "subs": -1,
        "data": -1,
        "payload": -1,
    }
    claims = {"sub": key.public, "name": "u-eve", "iat": founded_s, "nats": nats}
    token = signed(claims, Key(issuer.seals[Role.VIEWER]))
    with pytest.raises(BusUnreachable, match="refused the credentials of u-eve"):
        await entered(bearing(server, Role.VIEWER, "u-eve", key, token))


@pytest.mark.parametrize("role", ISSUED)
async def test_a_key_of_one_account_opens_no_other(server: EmbeddedServer, role: Role) -> None:
    """The roles that masters may grant are all outside the stream's account, whatever account a passport names."""
    key, issuer = Key.new(For.USER), server.keyring.issuer
    token = passport(Key(issuer.seals[role]), issuer.accounts[Space.KERNEL], role, "m-n1", key.public, founded_s)
    with pytest.raises(BusUnreachable, match="refused the credentials of m-n1"):
        await entered(bearing(server, Role.MASTER, "m-n1", key, token))


async def test_the_witness_key_makes_no_users(server: EmbeddedServer) -> None:
    """It signs accounts; whoever has it and a server's files could admit others, and nobody by itself."""
    key, issuer = Key.new(For.USER), server.keyring.issuer
    for space in Space:
        token = passport(Key(issuer.witness), issuer.accounts[space], Role.ADMIN, "u-eve", key.public, founded_s)
        with pytest.raises(BusUnreachable, match="refused the credentials of u-eve"):
            await entered(bearing(server, Role.ADMIN, "u-eve", key, token))


@pytest.mark.parametrize("name", ["a1", "u-a-b", "x9"])
async def test_a_name_in_a_passport_is_the_name_in_its_rights(server: EmbeddedServer, name: str) -> None:
    """What one may say begins with it, and only with it."""
    key = Key.new(For.USER)
    token = server.keyring.issuer.passport(Role.AGENT, name, key.public, at_s=founded_s)
    bus = await entered(bearing(server, Role.AGENT, name, key, token))
    await says(bus, f"dc.agent.{name}.task.reported.main")
    with pytest.raises(NotPermitted):
        await bus.append([Message(f"dc.agent.{name}x.a.b._", b"")], Fence(f"dc.agent.{name}x.>", 0))  # type: ignore[arg-type]
    await bus.close()


@pytest.mark.parametrize("name", ["*", ">", "a.b", "a1.>", "{{name()}}", "", "A1", "a_1", "a 1"])
def test_a_name_that_is_no_id_is_granted_nothing(name: str) -> None:
    """In permissions `*` would be everybody, and an executor of agent `*` would speak to all of them."""
    authority = Authority.found("dc")
    with pytest.raises(KeyRefused, match="is not an id"):
        authority.issuer().passport(Role.AGENT, name, Key.new(For.USER).public, at_s=founded_s)
    with pytest.raises(KeyRefused, match="is not an id"):
        authority.passport(Role.MASTER, name, Key.new(For.USER).public)
    if name:
        with pytest.raises(KeyRefused, match="is not an id"):
            authority.passport(Role.EXECUTOR, "a1-cmd", Key.new(For.USER).public, agent=name)
