"""`busbar store`, as people type it: on files, on data directories of real nats-servers, on what is damaged."""

from __future__ import annotations

import asyncio
import csv
import json
from io import StringIO
from pathlib import Path

import msgspec
import pytest

from bus.nouns import NOBODY, Position
from bus.vouching import CheckpointMade
from eventstore.signing import Signer, checkpoint_text, new_key
from eventstore.store import open_reader
from eventstore.verify import verify
from tests.cli.shop import ok, refused, run
from tests.eventstore.damage import change, disk_of, flip, make_store
from tests.eventstore.tale import A1, MASTER, Tale, started, twelve_steps

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    (path / "master").mkdir(parents=True)
    return path


@pytest.fixture
async def store(data: Path) -> Path:
    """The master's store of a data directory: a cluster's first task."""
    tale, _ = twelve_steps()
    return await make_store(data / "master" / "events.db", tale.records)


async def checkpoint(path: Path, upto: int, signer: Signer) -> CheckpointMade:
    async with open_reader(path) as reader:
        chain = await reader.chain_at(upto)
    fact = CheckpointMade(upto=Position(upto), chain=chain or "", folded_n=3, state_hash="ab" * 32, key=signer.public)
    return msgspec.structs.replace(fact, signature=signer.sign(checkpoint_text("dc", fact)))


# ---- verify ----------------------------------------------------------------------------------------------------------


async def test_verify_says_what_a_good_store_holds(data: Path, store: Path) -> None:
    """The master's store of the data directory, unless another file is named."""
    assert "every event is what was said" in ok("verify", "--data", data)
    found = json.loads(ok("verify", store, "--json"))
    assert (found["good"], found["events"], found["finding"]) == (True, 19, None)


async def test_verify_names_the_first_bad_event_and_the_command_that_repairs(data: Path, store: Path) -> None:
    tale, _ = twelve_steps()
    flip(store, tale.records[6].body, offset=60)
    assert refused("verify", "--data", data).splitlines() == [
        f"error: {store}: position 7: is not what was stored there: its running hash is "
        + json.loads(run("verify", store, "--json").stdout)["finding"]["wrong"].split("hash is ")[1]
        + " (framework.marathon deployment.started to _, its event 3)",
        f"next:  busbar store repair --data {data}",
    ]
    found = json.loads(run("verify", store, "--json").stdout)
    assert (found["good"], found["finding"]["position"]) == (False, 7)


def test_verify_of_what_is_not_there_says_so(tmp_path: Path) -> None:
    assert "there is no store at" in refused("verify", "--data", tmp_path)
    assert "there is no such store" in refused("verify", tmp_path / "none.db")


async def test_a_newer_store_is_refused_by_every_command(store: Path, tmp_path: Path) -> None:
    change(store, "UPDATE header SET format = 9")
    for command in (
        ["verify", store],
        ["stats", store],
        ["backup", tmp_path / "copy.db", "--from", store],
        ["export", store],
        ["sql", "select 1", "--store", store],
        ["diff", store, store],
        ["checkpoint", store],
        ["restore", store, "--data", tmp_path / "new"],
    ):
        assert "has format 9, this release reads up to 1: use a newer release" in refused(*command)
    assert not (tmp_path / "new").exists()


async def test_a_checkpoint_kept_elsewhere_shows_that_the_newest_events_were_cut_off(
    data: Path, tmp_path: Path
) -> None:
    """A shorter store verifies by itself: only who knew more can tell. The key is the cluster's, in its directory."""
    tale, _ = twelve_steps()
    signer = new_key(data / "cluster.key")
    whole = await make_store(tmp_path / "whole.db", tale.records)
    tale.say(MASTER, NOBODY, await checkpoint(whole, 19, signer))
    path = await make_store(data / "master" / "events.db", tale.records)
    kept = tmp_path / "kept.json"
    ok("checkpoint", path, "-o", kept)
    assert json.loads(ok("checkpoint", path, "--json")) == json.loads(kept.read_text())
    found = json.loads(ok("verify", path, "--checkpoint", kept, "--json"))
    assert (found["signed_checkpoints"], found["proved_by"]) == (1, [str(kept)])
    shorter = await make_store(tmp_path / "shorter.db", tale.records[:15])
    ok("verify", shorter)
    said = refused("verify", shorter, "--checkpoint", kept, "--key", data / "cluster.pub")
    assert f"position 16: was cut off with all that followed: the store ends at 15, {kept} was signed for 19" in said


async def test_a_checkpoint_under_a_wrong_key_proves_nothing(data: Path, store: Path, tmp_path: Path) -> None:
    """Exactly said, and a failure: who asks for a proof and gets none must see it."""
    new_key(data / "cluster.key")
    stranger = await checkpoint(store, 19, Signer(b"s" * 32))
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps({"cluster": "dc", "position": 20, "at": 0, "checkpoint": msgspec.to_builtins(stranger)}))
    assert f"{kept} is signed with key {stranger.key}, the cluster's is" in refused(
        "verify", store, "--checkpoint", kept
    )
    assert "is not a checkpoint" in refused("verify", store, "--checkpoint", data / "cluster.pub")
    assert "is not a key" in refused("verify", store, "--checkpoint", kept, "--key", kept)
    (data / "cluster.pub").unlink()
    assert "proves nothing without the cluster's public key" in refused("verify", store, "--checkpoint", kept)


async def test_a_store_without_checkpoints_has_none_to_keep(store: Path) -> None:
    assert "has no checkpoint yet" in refused("checkpoint", store)


# ---- diff ------------------------------------------------------------------------------------------------------------


async def test_diff_finds_where_two_stores_part_and_says_which_verifies(store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    ok("backup", other, "--from", store)
    assert "both hold the same 19 positions" in ok("diff", store, other)
    change(other, "UPDATE event SET body = CAST(body || 'x' AS BLOB) WHERE position = 8")
    result = run("diff", store, other)
    assert result.exit_code == 1
    assert f"{store} verifies, the other does not: it is the one that is right" in result.stdout
    assert "error: the first difference is at position 8" in result.stderr
    found = json.loads(run("diff", store, other, "--json").stdout)
    assert (found["position"], found["right"], found["other"]["good"]) == (8, str(store), False)


async def test_diff_of_what_cannot_be_compared_is_refused(store: Path, tmp_path: Path) -> None:
    tale, _ = twelve_steps()
    log = await make_store(tmp_path / "log.db", tale.of(A1), log=A1)
    assert "is a copy of the whole stream" in refused("diff", store, log)
    assert "name two files, or one file and --peer NODE" in refused("diff", store)
    assert "name two files" in refused("diff", store, log, "--peer", "n2")


# ---- backup, stats, export -------------------------------------------------------------------------------------------


async def test_backup_is_verified_and_never_replaces(data: Path, store: Path, tmp_path: Path) -> None:
    assert "holds 19 events, verified" in ok("backup", tmp_path / "copy.db", "--data", data)
    assert verify(tmp_path / "copy.db").good
    assert "exists: a backup never replaces a file" in refused("backup", tmp_path / "copy.db", "--data", data)
    change(store, "UPDATE event SET n = 7 WHERE position = 3")
    assert "position 3: " in refused("backup", tmp_path / "damaged.db", "--data", data)
    assert not (tmp_path / "damaged.db").exists()


def test_a_backup_on_a_full_disk_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    """The disk of the backup, not that of the store."""
    tale = Tale()
    for epoch in range(1, 8000):
        tale.say(MASTER, NOBODY, started(epoch))
    path = asyncio.run(make_store(tmp_path / "events.db", tale.records))
    with disk_of(tmp_path / "disk", 1) as disk:
        said = refused("backup", disk / "copy.db", "--from", path)
        assert "the disk is full" in said
        assert list(disk.iterdir()) == []


async def test_stats_count_what_there_is(data: Path, store: Path) -> None:
    (data / "master" / "events.db.snapshots").mkdir()
    (data / "master" / "events.db.snapshots" / "x.snapshot").write_bytes(b"abc")
    found = json.loads(ok("stats", "--data", data, "--json"))
    tale, _ = twelve_steps()
    assert (found["events"], found["body_bytes"]) == (19, sum(len(record.body) for record in tale.records))
    assert sum(each["events"] for each in found["authors"]) == sum(each["events"] for each in found["types"]) == 19
    assert (found["foreign"], found["snapshots"], found["snapshot_bytes"]) == (0, 1, 3)
    assert found["mentions"] > 19
    text = ok("stats", store)
    assert "positions 1 to 19" in text
    assert "task.reported" in text


async def test_export_writes_each_event_as_show_does(store: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in ok("export", store, "--json").splitlines()]
    assert [line["position"] for line in lines] == list(range(1, 20))
    assert lines[0]["type"] == "leader.elected"
    only = ok("export", store, "--csv", "--from", 3, "--to", 15, "--type", "task.reported", "--type", "offer.made")
    rows = list(csv.DictReader(StringIO(only)))
    assert (rows[0]["position"], rows[0]["type"]) == ("3", "offer.made")
    assert {row["type"] for row in rows} == {"offer.made", "task.reported"}
    assert json.loads(rows[0]["data"])["framework"] == "marathon"
    ok("export", store, "-o", tmp_path / "all.jsonl")
    assert (tmp_path / "all.jsonl").read_text() == ok("export", store)
    assert "--to 2 is before --from 3" in refused("export", store, "--from", 3, "--to", 2)
    assert "No such file or directory" in refused("export", store, "-o", tmp_path / "no" / "where")


# ---- sql -------------------------------------------------------------------------------------------------------------


async def test_sql_answers_as_table_json_and_csv(data: Path, store: Path) -> None:
    sql = "select task, state, agent from tasks"
    assert ok("sql", sql, "--data", data).split() == ["TASK", "STATE", "AGENT", "web.1", "TASK_RUNNING", "a1"]
    assert json.loads(ok("sql", sql, "--store", store, "--json")) == [
        {"task": "web.1", "state": "TASK_RUNNING", "agent": "a1"}
    ]
    assert ok("sql", sql, "--store", store, "--csv").splitlines() == ["task,state,agent", "web.1,TASK_RUNNING,a1"]
    assert json.loads(ok("sql", "select 1 where 0", "--store", store, "--json")) == []


async def test_the_views_that_are_listed_are_those_there_are(store: Path) -> None:
    """Each column that is documented is in the view, and no other."""
    for view in json.loads(ok("sql", "--views", "--json")):
        header = ok("sql", f"select * from {view['view']}", "--store", store, "--csv").splitlines()[0]
        assert header.split(",") == [column["column"] for column in view["columns"]]
        assert all(column["means"] for column in view["columns"])


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("delete from event", "DELETE event was refused"),
        ("insert into event select * from event", "was refused"),
        ("update event set n = 1", "UPDATE event n was refused"),
        ("drop table event", "was refused"),
        ("create table x (y)", "was refused"),
        ("create temp table x (y)", "was refused"),
        ("create temp view x as select 1", "was refused"),
        ("attach 'other.db' as other", "ATTACH other.db was refused"),
        ("pragma writable_schema = on", "PRAGMA writable_schema on was refused"),
        ("pragma journal_mode = delete", "was refused"),
        ("select * from pragma_database_list", "refused"),
        ("vacuum into 'copy.db'", "refused"),
        ("begin immediate", "refused"),
        ("select load_extension('x')", "refused"),
        ("selec 1", "syntax error"),
        ("select 1; select 2", "one statement at a time"),
        ("", "expected SELECT"),
        ("/* nothing */", "expected SELECT"),
        ("select * from nowhere", "no such table: nowhere"),
        ("select zeroblob(1000000000)", "too big"),
        ("select '\ud800'", "surrogates"),
    ],
)
async def test_sql_that_is_not_reading_is_refused_and_changes_nothing(store: Path, statement: str, says: str) -> None:
    before = store.read_bytes()
    assert says in refused("sql", statement, "--store", store)
    assert store.read_bytes() == before
    assert verify(store).good
    assert not Path("copy.db").exists()


@pytest.mark.parametrize(
    "statement",
    [
        "with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) from n",
        "with recursive n(x) as (select 1 union all select x + 1 from n) select x from n",
        "select count(*) from event a, event b, event c, event d, event e, event f, event g",
    ],
)
async def test_sql_without_an_end_is_ended(store: Path, statement: str) -> None:
    said = refused("sql", statement, "--store", store, "--limit-s", 0.3, "--csv")
    assert "took longer than 0.3 s and was ended" in said


async def test_a_statement_must_be_given(store: Path) -> None:
    assert "a statement is missing" in refused("sql", "--store", store)
