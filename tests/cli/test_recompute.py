"""`busbar capture` and `busbar replay`: a slice of history decides the same elsewhere; what differs is named."""

import asyncio
import json
import zlib
from collections import Counter
from hashlib import sha256

import msgspec
import pytest

from cli.captured import NotACapture, read
from components.histories import read as read_event
from eventstore.mentions import mentions_of
from eventstore.store import open_writer
from tests.cli.mouth import Mouth
from tests.eventstore.tale import twelve_steps
from tests.recorded import DATACENTER
from tests.simulation.clock import run_virtually
from tests.simulation.datacenter import Datacenter

AGAIN = "if it is meant to decide otherwise, record the example again: python -m tests.recorded"


async def stored(path, records, log=None):
    async with open_writer(path, cluster="dc", log=log) as writer:
        for start in range(0, len(records), 1000):
            await writer.append(records[start : start + 1000])
    return str(path)


@pytest.fixture(scope="module")
def records():
    """The life of a simulated datacenter, as this release decides it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.simulation.datacenter.storm_s", 600.0)
        datacenter = Datacenter(36)
        run_virtually(datacenter.run())
    return datacenter.server.records()


@pytest.fixture(scope="module")
def store(tmp_path_factory, records):
    """A master's store of it."""
    path = tmp_path_factory.mktemp("store") / "events.db"
    return asyncio.run(stored(path, records))


@pytest.fixture
def mouth():
    return Mouth()


@pytest.fixture
def hasty(monkeypatch):
    """A release with a planted change: the allocator serves agents from the last to the first."""
    from components.master import allocator, offers

    honest = allocator.allocate
    monkeypatch.setattr(offers, "allocate", lambda free, *more: honest(list(free)[::-1], *more))


def a_task(records):
    """A task of Marathon that was launched and ended."""
    told = (r for r in records if r.subject.endswith(".task.updated.marathon") and b"TASK_FAILED" in r.body)
    ended = [read_event(r) for r in told]
    return ended[0].fact.status.task


def an_app(records):
    """The app that most is said of."""
    events = [event for event in map(read_event, records) if event is not None]
    said = Counter(id_ for event in events for noun, id_ in mentions_of(event) if noun == "app")
    return said.most_common(1)[0][0]


async def test_the_recorded_example_is_decided_as_it_was(mouth):
    """What was decided in a whole datacenter's life, this release decides, too."""
    result = await mouth("replay", str(DATACENTER))
    assert result.exit_code == 0, f"{AGAIN}\n{result.output}"
    assert result.stderr.endswith("decisions made again: all the same\n")
    told = await mouth.json("replay", str(DATACENTER))
    assert told["events"] > 1000
    assert told["decisions"] > 700
    assert told["different"] == 0
    assert {log["author"].partition(".")[0] for log in told["logs"]} == {"master", "framework", "agent", "executor"}
    assert DATACENTER.stat().st_size < 400_000


async def test_a_planted_change_is_found_and_shown(mouth, hasty, store):
    """With the position, what led to it, what was said, what would be said now, and the fields that differ."""
    result = await mouth("replay", "--recorded", store, "--show", "1")
    assert result.exit_code == 1
    head = next(line for line in result.stdout.splitlines() if "another decision" in line)
    position = head.split()[0]
    shown = result.stdout[result.stdout.index(head) :].splitlines()
    assert " master.main event " in head
    assert shown[1].split()[0] in ("heard", "saw", "was")
    assert shown[2].startswith("    recorded: ")
    assert any(line.startswith("    now:      ") and "offer.made" in line for line in shown)
    assert any("data.offers[0].agent: recorded a" in line and ", now a" in line for line in shown)
    assert "decisions differ, 1 of them shown" in result.stderr
    result = await mouth("replay", "--recorded", store, "--json", "--show", "3")
    told = json.loads(result.stdout)
    assert len(told["differences"]) == min(3, told["different"]) > 0
    assert f"#{told['differences'][0]['position']}" == position


async def test_only_the_logs_that_are_named(mouth, hasty, store):
    """The change is the master's: Marathon decides as before."""
    told = await mouth.json("replay", "--recorded", store, "--author", "framework.marathon")
    assert [log["author"] for log in told["logs"]] == ["framework.marathon"]
    assert told["different"] == 0
    result = await mouth("replay", "--recorded", store, "--author", "framework.chronos")
    assert result.exit_code == 1
    assert "framework.chronos began no term in this history; those who did: agent.a1, " in result.stderr


async def test_a_whole_store_is_decided_again_with_its_progress(mouth, store, records):
    """Log by log."""
    result = await mouth("replay", "--recorded", store)
    assert result.exit_code == 0, result.output
    assert f"{len(records)}/{len(records)}" in result.stderr
    table = [line.split() for line in result.stdout.splitlines()]
    assert {"framework.marathon", "framework.metronome", "master.main", "agent.a1"} <= {row[0] for row in table}


async def test_what_happened_to_a_task_decides_the_same_on_a_laptop(mouth, store, records, tmp_path):
    """The logs of those involved and all they heard; its story line by line, each decision checked."""
    task, file = a_task(records), tmp_path / "task.capture"
    told = await mouth.json("capture", "--task", task, "--store", store, "-o", str(file))
    assert {"framework.marathon", "master.main"} < set(told["logs"])
    assert len(told["logs"]) == 4
    result = await mouth("replay", str(file))
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if line.startswith("same ")]
    decided = (r for r in records if r.position <= told["last"] and not r.subject.startswith("dc.client."))
    story = [r for r in decided if (e := read_event(r)) and ("task", task) in mentions_of(e)]
    assert [line.split()[1] for line in lines] == [f"#{record.position}" for record in story]


async def test_what_happened_to_an_app_and_an_agent(mouth, store, records, tmp_path):
    """Other things are captured alike."""
    for noun, id_ in (("app", an_app(records)), ("agent", "a2")):
        file = tmp_path / f"{noun}.capture"
        assert (await mouth("capture", f"--{noun}", id_, "--store", store, "-o", str(file))).exit_code == 0
        result = await mouth("replay", str(file))
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith(f"{noun} {id_} in dc, ")


async def test_everything_between_two_moments(mouth, store, tmp_path):
    """What is needed to decide it is in the file, what came after is not."""
    file = tmp_path / "part.capture"
    told = await mouth.json("capture", "--from", "100", "--to", "300", "--store", store, "-o", str(file))
    assert (told["first"], told["last"]) == (100, told["events"])
    assert 300 <= told["last"] < 320
    again = await mouth.json("replay", str(file))
    assert again["different"] == 0
    assert again["decisions"] > 100


async def test_of_a_long_history_only_the_end_is_captured(mouth, store, tmp_path, monkeypatch, hasty):
    """The logs go on from what their authors remembered; a change is found there as in the whole."""
    monkeypatch.setattr("cli.capture.whole_max", 100)
    part, whole = tmp_path / "part.capture", tmp_path / "whole.capture"
    told = await mouth.json("capture", "--from", "900", "--store", store, "-o", str(part))
    more = await mouth.json("capture", "--from", "900", "--store", store, "-o", str(whole), "--whole")
    assert told["events"] <= more["events"] - 700
    found = [
        json.loads((await mouth("replay", str(file), "--json", "--show", "9999")).stdout) for file in (part, whole)
    ]
    assert 50 < found[0]["decisions"] < found[1]["decisions"]
    late = [each["position"] for each in found[1]["differences"] if each["position"] > 900]
    assert [each["position"] for each in found[0]["differences"] if each["position"] > 900] == late
    assert late


async def test_the_end_of_a_long_history_decides_the_same(mouth, store, tmp_path, monkeypatch):
    """Wherever it is cut: also in the middle of a decision, and before an author's first term."""
    monkeypatch.setattr("cli.capture.whole_max", 0)
    for first in (2, 3, 5, 8, 13, 250, 251, 252, 253, 600, 900):
        file = tmp_path / f"{first}.capture"
        await mouth.json("capture", "--from", str(first), "--store", store, "-o", str(file))
        result = await mouth("replay", str(file))
        assert result.exit_code == 0, result.output


async def test_a_state_of_other_code_is_refused(mouth, store, tmp_path, monkeypatch):
    """What remembers otherwise may decide otherwise for that alone; the whole history tells."""
    monkeypatch.setattr("cli.capture.whole_max", 100)
    file = tmp_path / "part.capture"
    await mouth.json("capture", "--from", "500", "--store", store, "-o", str(file))
    from components import snapshots

    monkeypatch.setattr(snapshots, "version_of", lambda component: "f" * 64)
    result = await mouth("replay", str(file))
    assert result.exit_code == 1
    assert "cannot go on from its state: the state of agent.a1 was folded by other code" in result.stderr
    assert "busbar capture --whole" in result.stderr


@pytest.mark.parametrize(
    ("args", "code", "why"),
    [
        ([], 2, "name what to capture: --task, --app, --agent, or --from and --to"),
        (["--task", "x", "--app", "/y"], 2, "--task, --app and --agent exclude each other"),
        (["--task", "nobody-at-all"], 1, "no event of task nobody-at-all is between 1 and "),
        (["--from", "300", "--to", "200"], 2, "--from is behind --to: 300 is behind 200"),
        (["--to", "999999"], 2, "there is no event 999999 yet; the last one is "),
        (["--from", "soon"], 2, "soon"),
    ],
)
async def test_what_cannot_be_captured_is_refused_exactly(mouth, store, tmp_path, args, code, why):
    """And no file is written."""
    file = tmp_path / "x.capture"
    result = await mouth("capture", *args, "--store", store, "-o", str(file))
    assert result.exit_code == code, result.output
    assert why in result.stderr
    assert not file.exists()


async def test_a_capture_that_cannot_be_written_is_refused(mouth, store, tmp_path):
    """With the system's reason."""
    result = await mouth("capture", "--agent", "a1", "--store", store, "-o", str(tmp_path / "no" / "x.capture"))
    assert result.exit_code == 1
    assert "No such file or directory" in result.stderr


async def test_a_store_of_one_log_lacks_what_was_heard(mouth, records, tmp_path):
    """It cannot be decided again, nor captured."""
    from cli.session import MARATHON

    own = [record for record in records if record.subject.startswith(f"dc.{MARATHON}.")]
    store = await stored(tmp_path / "marathon.db", own, log=MARATHON)
    for args in (
        ["replay", "--recorded", store],
        ["capture", "--app", "/a", "--store", store, "-o", str(tmp_path / "x")],
    ):
        result = await mouth(*args)
        assert result.exit_code == 1
        assert "is a copy of the log of framework.marathon, not of the whole stream" in result.stderr


async def test_a_history_of_an_older_release_cannot_be_decided_again(mouth, tmp_path):
    """Its terms do not say what their authors were set up with."""
    tale, _ = twelve_steps()
    store = await stored(tmp_path / "old.db", tale.records)
    result = await mouth("replay", "--recorded", store)
    assert result.exit_code == 1
    assert "nothing could be decided again" in result.stderr
    assert "master.main: no term of it says what it was set up with: an older release wrote it" in result.stdout


async def test_one_thing_is_replayed(mouth, store):
    """A capture or a store."""
    for args in ([], [str(DATACENTER), "--recorded", store]):
        result = await mouth("replay", *args)
        assert result.exit_code == 2
        assert "name a capture, or a store with --recorded: one of the two" in result.stderr


def changed(head=None, content=None):
    whole = DATACENTER.read_bytes()
    line, _, rest = whole.partition(b"\n")
    return (line if head is None else head) + b"\n" + (rest if content is None else content)


def sealed(packed):
    content = zlib.compress(packed)
    return f"busbar capture 1 {len(content)} {sha256(content).hexdigest()}\n".encode() + content


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is not a capture: it does not begin with `busbar capture`"),
        (b"\x00" * 1000, "is not a capture: it does not begin with `busbar capture`"),
        (changed(head=b"busbar capture 2 9 " + b"0" * 64), "was written by a newer release: its form is 2"),
        (DATACENTER.read_bytes()[:-100], "is cut off: "),
        (DATACENTER.read_bytes() + b"x", "is damaged: its bytes are not those that were written"),
        (DATACENTER.read_bytes()[:-1] + b"\x00", "is damaged: its bytes are not those that were written"),
        (sealed(msgspec.msgpack.encode({"cluster": 3})), "holds something else: Expected `str`, got `int`"),
        (sealed(b"\xc1"), "holds something else: "),
    ],
)
async def test_a_file_that_is_no_whole_capture_is_refused_exactly(mouth, tmp_path, content, why):
    """Nothing of it is used."""
    file = tmp_path / "bad.capture"
    file.write_bytes(content)
    with pytest.raises(NotACapture, match=r"bad\.capture"):
        read(file)
    result = await mouth("replay", str(file))
    assert result.exit_code == 1
    assert why in result.stderr
    assert result.stdout == ""
