"""Tables for people, text for pipes, JSON for programs, errors with a way on."""

import json

import click
import pytest
from click.testing import CliRunner

from bus.nouns import Now, Resources, second
from bus.queries import OfferRow
from cli.output import Failure, Fields, NoCluster, Output, Table, complain, cpus, date, span, time_of_day, visible

TABLE = Table(("id", "state"), [["a1", "ACTIVE"], ["agent-22", ""]])


def test_a_table_in_a_pipe_is_aligned_text_with_upper_case_headings(capsys):
    """Columns are padded to the widest cell, an empty cell is a dash, no line ends in blanks."""
    Output().show([], TABLE)
    assert capsys.readouterr().out == "ID        STATE\na1        ACTIVE\nagent-22  -\n"


def test_an_empty_table_says_what_there_is_not(capsys):
    """Nothing to list is a sentence, not an empty heading."""
    Output().show([], Table(("id",), [], empty="no task runs"))
    assert capsys.readouterr().out == "no task runs\n"


def test_fields_are_one_a_line(capsys):
    """Names are padded, an empty value is a dash."""
    Output().show({}, Fields([("id", "a1"), ("attributes", "")]))
    assert capsys.readouterr().out == "id          a1\nattributes  -\n"


def test_programs_get_the_content_and_nothing_for_people(capsys):
    """With JSON the parts and notes for people are left out."""
    row = OfferRow(
        offer="o-1-0",
        framework="marathon",
        agent="a1",
        resources=Resources(cpu_milli=500, ports=((1, 2),)),
        made_at=Now(1),
        expires_at=Now(2),
    )
    out = Output(as_json=True)
    out.note("for people")
    out.show([row], TABLE)
    captured = capsys.readouterr()
    assert json.loads(captured.out)[0]["resources"] == {"cpu_milli": 500, "ports": [[1, 2]]}
    assert captured.err == ""


def test_control_characters_are_shown_not_obeyed(capsys):
    """A name or message from somebody else cannot move the cursor or colour the terminal."""
    Output().show({}, Table(("name",), [["\x1b[31mred\x07"]]))
    assert "\x1b" not in capsys.readouterr().out
    assert visible("a\x1bb") == "a\\x1bb"


def test_a_failure_goes_to_stderr_with_what_to_do_next(capsys):
    """`error:` and `next:`, and nothing on stdout."""
    complain(Failure("not_found: there is no app /web", next_="busbar app list"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: not_found: there is no app /web\nnext:  busbar app list\n"


def test_each_kind_of_failure_has_its_exit_code():
    """1 refused or failed, 2 usage, 3 no cluster."""
    assert (Failure("").exit_code, click.UsageError("").exit_code, NoCluster("").exit_code) == (1, 2, 3)


def test_a_table_at_a_terminal_holds_the_same_cells(monkeypatch):
    """The drawn table loses nothing of what the plain one says."""
    monkeypatch.setattr("cli.output.is_terminal", lambda _stream: True)

    @click.command()
    def show() -> None:
        Output().show([], TABLE)

    drawn = CliRunner().invoke(show).output
    assert all(word in drawn for word in ("ID", "STATE", "a1", "ACTIVE", "agent-22"))


def test_times_are_in_the_readers_zone(monkeypatch):
    """A moment is shown as the clock on the reader's wall has it."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    import time

    time.tzset()
    at = Now(1_800_000_000 * second + 123_456)
    try:
        assert (date(at), time_of_day(at)) == ("2027-01-15 17:00:00", "17:00:00.123")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_lengths_of_time_are_in_the_unit_that_suits_them():
    """Milliseconds to days, three digits."""
    lengths = [None, 1_234, 2_500_000, 90 * second, 5400 * second, 36 * 3600 * second]
    assert [span(us) for us in lengths] == ["", "1.23 ms", "2.5 s", "1.5 min", "1.5 h", "1.5 d"]


def test_cpus_are_written_as_people_write_them():
    """No trailing zeros."""
    assert [cpus(Resources(cpu_milli=milli)) for milli in (0, 100, 2000)] == ["0", "0.1", "2"]


@pytest.mark.parametrize("at", [2**62, 2**64 - 1, -(2**63)])
def test_a_time_no_clock_can_show_is_shown_as_its_number(at):
    """A client writes its own time, and `events tail` must not end at it."""
    assert date(Now(at)) == time_of_day(Now(at)) == f"{at} us"
