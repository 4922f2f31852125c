"""`busbar access` against a real master on a bus in memory."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial

import pytest

from bus.authority import Authority
from bus.keyring import Founder
from bus.memory import MemoryBus
from bus.nkey import For, Key, claims_of
from bus.permits import Role, permits
from bus.subjects import CLUSTER
from cli.access import PREFIX, Invitation, read_token
from cli.output import Failure
from cli.session import wall_clock
from components.master import MasterConfig, component
from components.master.hands import MasterHands
from components.runtime import live
from tests.cli.mouth import ELSEWHERE, ME, Mouth

AUTHORITY = Authority.found(CLUSTER)


@asynccontextmanager
async def master(mouth, admin=ME):
    """A master that knows one admin and itself."""
    config = MasterConfig(issue=AUTHORITY.issuer().passport)
    founders = [
        Founder(name=admin, role=Role.ADMIN, public=Key.new(For.USER).public),
        Founder(name="m-n1", role=Role.MASTER, public=Key.new(For.USER).public),
    ]
    bus, stop, ready = MemoryBus(mouth.server), asyncio.Event(), asyncio.Event()
    mind = component(config, partial(MasterHands, config, bus, None, founders=founders))
    life = asyncio.create_task(
        live(mind, bus, node="n1", instance="i", store=None, stop=stop, ready=ready.set, clock=wall_clock)
    )
    await asyncio.wait_for(ready.wait(), 10)
    while len([event for event in mouth.said("master") if event.type == "identity.granted"]) < len(founders):
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        stop.set()
        await life
        await bus.close()


async def test_a_token_opens_the_bus_for_one_purpose_and_holds_its_own_key():
    """Printed alone, so that it can be passed on; what it says of its bearer is signed."""
    mouth = Mouth()
    async with master(mouth):
        result = await mouth("access", "token", "create", "--client", "bob", "--role", "operator", "--ttl", "10m")
        assert result.exit_code == 0, result.output
        invitation = read_token(result.stdout)
        [row] = await mouth.json("access", "token", "list")
    assert (invitation.name, invitation.role, invitation.bearer.url) == ("u-bob", Role.OPERATOR, ELSEWHERE.url)
    claims = claims_of(invitation.bearer.passport)
    assert (claims["name"], claims["sub"]) == (invitation.bearer.name, invitation.bearer.key.public)
    assert (row["id"], row["name"], row["by"]) == (invitation.bearer.name, "u-bob", ME)
    assert invitation.bearer.seed != ELSEWHERE.seed
    said = "".join(str(event) for event in mouth.said() + mouth.said("master"))
    assert invitation.bearer.seed not in said, "a key's secret half is on the bus"


async def test_who_is_let_in_is_listed_and_who_was():
    mouth = Mouth()
    async with master(mouth):
        rows = await mouth.json("access", "list")
        table = await mouth("access", "list")
    assert {(row["name"], row["role"]) for row in rows} == {(ME, "admin"), ("m-n1", "master")}
    assert "founder" in table.output
    assert rows[0]["public"] not in table.output, "a table has the beginning of a key"


async def test_the_last_admin_is_not_revoked_and_is_told_what_to_do():
    mouth = Mouth()
    async with master(mouth):
        result = await mouth("access", "revoke", ME)
        rows = await mouth.json("access", "list")
    assert result.exit_code == 1
    assert f"last_one: {ME} is the last admin" in result.output
    assert "next:  busbar access token create" in result.output
    assert all("revoked_at" not in row for row in rows)


async def test_who_is_no_admin_changes_nothing():
    """Where the bus lets it speak at all, the master says no."""
    mouth = Mouth()
    async with master(mouth, admin="u-somebody-else"):
        for args in (["token", "create", "--agent", "a9"], ["revoke", "u-somebody-else"]):
            result = await mouth("access", *args)
            assert result.exit_code == 1
            assert f"forbidden: {ME} is no admin here" in result.output
        assert await mouth.json("access", "token", "list") == []


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["token", "create"], "name one of --agent, --framework, --client and --gateway"),
        (["token", "create", "--agent", "a", "--client", "b"], "name one of --agent"),
        (["token", "create", "--agent", "a", "--role", "admin"], "--role goes with --client, not with --agent"),
        (["token", "create", "--client", "b", "--role", "king"], "'king' is not one of 'viewer', 'operator'"),
        (["token", "create", "--client", "b", "--role", "agent"], "'agent' is not one of"),
        (["token", "create", "--agent", "a", "--ttl", "soon"], "--ttl 'soon' is not a length of time"),
        (["revoke"], "name somebody, or one key with --key PUBLIC"),
        (["revoke", "u-bob", "--key", "U"], "name somebody, or one key"),
        (["table", "--role", "king"], "'king' is not one of"),
        (["join"], "Missing option '-o'"),
    ],
)
async def test_what_cannot_be_meant_is_wrong_usage(args, why):
    """Exit code 2, and nobody was asked anything."""
    mouth = Mouth()
    result = await mouth("access", *args)
    assert result.exit_code == 2, result.output
    assert why in result.output
    assert mouth.said() == []


@pytest.mark.parametrize("args", [["--agent", "u-bob"], ["--client", "A"], ["--agent", "a.b"], ["--agent", "main"]])
async def test_a_name_that_nobody_of_a_kind_may_have_is_refused(args):
    mouth = Mouth()
    async with master(mouth):
        result = await mouth("access", "token", "create", *args)
    assert result.exit_code == 1
    assert "error: invalid: " in result.output


def test_the_table_says_each_pattern_of_each_role():
    """What is printed is what the servers are told."""
    mouth = Mouth()
    content = asyncio.run(mouth.json("access", "table"))
    assert [row["role"] for row in content] == [role.value for role in permits(CLUSTER)]
    for row in content:
        permit = permits(CLUSTER)[Role(row["role"])]
        assert (tuple(row["publish"]), tuple(row["subscribe"])) == (permit.publish, permit.subscribe)
    people = asyncio.run(mouth("access", "table", "--role", "executor")).output
    assert "dc.executor.{me}.*.*.{agent}" in people
    assert "framework" not in people


# ---- tokens as text ----------------------------------------------------------------------------------------------

TOKEN = Invitation(bearer=ELSEWHERE, name="u-bob", role=Role.VIEWER).text


def test_a_token_survives_being_passed_on():
    """With the end of line that a shell adds."""
    assert read_token(f"  {TOKEN}\n") == Invitation(bearer=ELSEWHERE, name="u-bob", role=Role.VIEWER)


@pytest.mark.parametrize(
    "text",
    ["", "x", PREFIX, TOKEN[:-9], TOKEN[len(PREFIX) :], f"{PREFIX}{'A' * 40}", f"{TOKEN}\n{TOKEN}", "busbar-join-é"],
)
def test_what_is_no_token_is_said_to_be_none_and_not_repeated(text):
    """It may be most of a real one."""
    with pytest.raises(Failure) as refused:
        read_token(text)
    assert refused.value.message == "this is not a join token, or not all of it"


def test_joining_writes_over_nothing(tmp_path):
    """A file that is there may be somebody's only key."""
    file = tmp_path / "bob.json"
    file.write_text("mine")
    result = asyncio.run(Mouth()("access", "join", "-o", str(file), input=TOKEN))
    assert result.exit_code == 1
    assert "exists already, and a key is never written over" in result.output
    assert file.read_text() == "mine"
    result = asyncio.run(Mouth()("access", "join", "-o", str(tmp_path / "no" / "bob.json"), input=TOKEN))
    assert "is not a directory" in result.output
