"""`busbar secret` against a master on a bus in memory: what is typed leaves the process sealed, or not at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path

import click
import pytest

from bus.events import Event, Fact, RequestRefused
from bus.nouns import Now, Refusal, TaskId, second
from bus.queries import QueryRefused
from bus.secrets import SecretGiven, SecretKept, SecretRemoved, SecretRow, SecretWithdrawn
from cli import secret as room
from cli.session import THE_MASTER
from components.sealing import AgentKey, Vault
from eventstore.signing import Signer
from tests.cli.mouth import ME, START, Mouth, playing

KEY, A1 = Signer(b"k" * 32), AgentKey(b"1" * 32)
VALUE = b"correct horse\0\xff\n"
ROWS = [
    SecretRow(name="db/pw", since=START, by="alice", version=3, size=14),
    SecretRow(name="tls/key", since=Now(START + second), by="bob", version=1, size=1700, lost=True),
]


def master(refuses: str = ""):  # type: ignore[no-untyped-def]
    """The master's part."""

    def reply(event: Event) -> Iterable[Fact]:
        match event.fact:
            case SecretGiven(name=name, sealed=sealed, key=key) if not refuses:
                return [SecretKept(name=name, sealed=sealed, key=key, number=2)]
            case SecretWithdrawn(name=name) if not refuses:
                return [SecretRemoved(name=name)]
        return [RequestRefused(reason=Refusal.NOT_FOUND, message=refuses)]

    return reply


def opened(event: Event, name: str) -> bytes:
    """The value that was given."""
    assert isinstance(event.fact, SecretGiven)
    handed = Vault(KEY).hand_on(name, event.fact.sealed, TaskId("t"), A1.public)
    return A1.open(TaskId("t"), name, handed)


async def test_a_value_comes_by_standard_input_byte_for_byte():
    """It is said once, to the master, sealed to the key that the master named; nothing of it is printed."""
    mouth = Mouth()
    async with playing(mouth, THE_MASTER, {"sealing": KEY.public}, master()):
        result = await mouth("secret", "set", "db/pw", input=VALUE)
    assert (result.exit_code, result.output) == (
        0,
        "secret db/pw is kept, its value number 2: restart what is to use it\n",
    )
    (event,) = mouth.said()
    assert (event.by.id, event.to, event.type) == (ME, "main", "secret.given")
    assert opened(event, "db/pw") == VALUE
    assert not any(VALUE[:13] in record.body for record in mouth.server.records())


async def test_a_value_comes_from_a_file(tmp_path: Path):
    """And programs are told no more than its name and number."""
    (tmp_path / "v").write_bytes(VALUE)
    mouth = Mouth()
    async with playing(mouth, THE_MASTER, {"sealing": KEY.public}, master()):
        told = await mouth.json("secret", "set", "db/pw", "--file", str(tmp_path / "v"))
    assert told == {"name": "db/pw", "version": 2}
    assert opened(mouth.said()[0], "db/pw") == VALUE


async def test_at_a_terminal_it_is_asked_for_without_showing_it(monkeypatch: pytest.MonkeyPatch):
    """Twice, so that a slip of the finger is found."""
    asked = []

    def prompt(text: str, **how: object) -> str:
        asked.append((text, how))
        return "typed"

    monkeypatch.setattr(room, "is_terminal", lambda _stream: True)
    monkeypatch.setattr(click, "prompt", prompt)
    mouth = Mouth()
    async with playing(mouth, THE_MASTER, {"sealing": KEY.public}, master()):
        result = await mouth("secret", "set", "db/pw")
    assert asked == [("value", {"hide_input": True, "confirmation_prompt": True, "err": True})]
    assert "typed" not in result.output
    assert opened(mouth.said()[0], "db/pw") == b"typed"


@pytest.mark.parametrize(
    "args",
    [
        ("db/pw", "hunter2"),
        ("db/pw", "hunter2", "more"),
        ("hunter2!",),
        ("db/pw", "--value", "hunter2"),
        ("db/pw", "--value=hunter2"),
    ],
)
async def test_a_value_on_the_command_line_is_refused_and_not_said_again(args: tuple[str, ...]):
    """Nor what was taken for a name; and nothing is said on the bus."""
    mouth = Mouth()
    result = await mouth("secret", "set", *args, input=b"")
    assert result.exit_code in (1, 2)
    assert "hunter2" not in result.output + result.stderr
    assert mouth.said() == []


async def test_a_wrong_size_is_refused_before_anything_is_said():
    """With the size that is allowed, and nothing of the value."""
    mouth = Mouth()
    async with playing(mouth, THE_MASTER, {"sealing": KEY.public}, master()):
        for value, error in ((b"", "the value has 0 bytes: expected 1 to 65536"), (b"v" * 65537, "than 65536 bytes")):
            result = await mouth("secret", "set", "db/pw", input=value)
            assert result.exit_code == 1
            assert error in result.stderr
    assert mouth.said() == []


async def test_a_master_without_a_key_says_what_to_do():
    """Before a value is sealed to anything."""

    def refuse(_question: bytes) -> object:
        raise QueryRefused("this cluster's master has no key")

    mouth = Mouth()
    async with playing(mouth, THE_MASTER, {"sealing": refuse}):
        result = await mouth("secret", "set", "db/pw", input=VALUE)
    assert (result.exit_code, result.stderr) == (1, "error: this cluster's master has no key\n")


async def test_the_list_tells_everything_but_values():
    """And which nobody can open any more."""
    mouth = Mouth()
    async with playing(mouth, THE_MASTER, {"vault": ROWS}):
        result = await mouth("secret", "list")
        rows = await mouth.json("secret", "list")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["NAME", "SINCE", "SET", "BY", "VERSION", "BYTES", "STATE"]
    assert lines[1].split()[0] == "db/pw"
    assert lines[1].split()[-3:] == ["3", "14", "kept"]
    assert lines[2].endswith("LOST: sealed to another key, set it again")
    assert rows == json.loads(json.dumps(rows))
    assert [row["name"] for row in rows] == ["db/pw", "tls/key"]


async def test_a_secret_is_removed_by_name():
    """One that does not exist is refused, with the command that lists them."""
    mouth = Mouth()
    async with playing(mouth, THE_MASTER, {}, master()):
        assert await mouth.json("secret", "remove", "db/pw") == {"name": "db/pw"}
    assert [event.fact for event in mouth.said()] == [SecretWithdrawn(name="db/pw")]
    async with playing(mouth, THE_MASTER, {}, master(refuses="secret nope does not exist")):
        result = await mouth("secret", "remove", "nope")
    assert result.exit_code == 1
    assert result.stderr == "error: not_found: secret nope does not exist\nnext:  busbar secret list\n"
    assert (await mouth("secret", "remove", "No pe")).exit_code == 1


async def test_nobody_there_is_said_as_everywhere():
    """The value stays where it was."""
    result = await asyncio.wait_for(Mouth()("secret", "list"), 20)
    assert (result.exit_code, result.stderr.splitlines()[0]) == (1, "error: the master is not running")


async def test_an_agent_whose_key_others_can_read_does_not_start(tmp_path: Path):
    """It says how to mend it, before it says anything on the bus."""
    AgentKey.of(tmp_path / "agent.key")
    (tmp_path / "agent.key").chmod(0o644)
    agent = ("run", "agent", "--id", "a1", "--bus", "nats://127.0.0.1:1", "--work", str(tmp_path))
    result = await Mouth()(*agent)
    assert result.exit_code == 1
    path = tmp_path / "agent.key"
    assert result.stderr.splitlines()[0] == f"error: {path} can be read by others (mode 0644): chmod 600 {path}"
