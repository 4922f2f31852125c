"""What a server says of attempts that it refused, as it says it, and however much of it there is."""

from __future__ import annotations

from bus.nouns import Now, second
from components.master import attempts
from components.master.attempts import Attempt, Attempts

KEY = "UC4CQGQTFI3HFQ6VLFDICOTG57LMWLKVTV54LGVJSJN6EBQ363OQAWVN"
WHO = f'"v2.16.0:python3:agent.a1" - "AAVDXSNT7HQYOLF73AAYNT7XIE4BW254NKU3RKKZWVK2TZQGGYDKJMYI/USER/jwt:{KEY}"'
NOW = Now(1_800_000_000 * second)


def said(cid, rest):
    return f"[16306] 2026/11/30 03:31:27.163274 [ERR] 127.0.0.1:42662 - cid:{cid} - {rest}\n"


def publish(subject, cid=9):
    return said(cid, f'{WHO} - Publish Violation - Subject "{subject}"')


SUBSCRIBE = said(9, f'{WHO} - Subscription Violation - Subject "dc.>", SID 3')
CONNECT = said(17, "authentication error")
OTHERS = "[16306] 2026/11/30 03:31:27.1 [INF] Reloaded server configuration\n[1] 2026 [ERR] 1.2.3.4:5 - rid:3 - what\n"


def looking(tmp_path, text=""):
    file = tmp_path / "nats-server.log"
    file.write_text("of before\n")
    found = Attempts(file)
    with file.open("a") as log:
        log.write(text)
    return found, file


def test_each_kind_of_refusal_is_understood(tmp_path):
    found, _ = looking(tmp_path, publish("dc.master.main.x.y.a1") + OTHERS + SUBSCRIBE + CONNECT)
    assert sorted(found.news(NOW)) == [
        Attempt("connect", "", "", "127.0.0.1", 1),
        Attempt("publish", "dc.master.main.x.y.a1", KEY, "127.0.0.1", 1),
        Attempt("subscribe", "dc.>", KEY, "127.0.0.1", 1),
    ]
    assert found.news(NOW) == []


def test_what_was_there_before_is_old(tmp_path):
    file = tmp_path / "nats-server.log"
    file.write_text(publish("a.b"))
    assert Attempts(file).news(NOW) == []


def test_the_same_attempt_is_told_once_a_minute_with_its_count(tmp_path):
    found, file = looking(tmp_path, publish("a.b") * 3)
    assert [each.times for each in found.news(NOW)] == [3]
    with file.open("a") as log:
        log.write(publish("a.b") * 5)
    assert found.news(Now(NOW + 59 * second)) == []
    assert [each.times for each in found.news(Now(NOW + 60 * second))] == [5]


def test_a_flood_of_different_attempts_is_bounded(tmp_path):
    """At one look a few are told; what does not fit into memory is counted together."""
    lines = "".join(publish(f"a.b{number}") for number in range(attempts.kinds_max + 500))
    found, _ = looking(tmp_path, lines)
    assert len(found.news(NOW)) == attempts.told_at_once_max
    assert len(found._counts) <= attempts.kinds_max + 1
    rest = [each for _ in range(100) for each in found.news(NOW)]
    assert [each.times for each in rest if each.what == "others"] == [
        len(lines.splitlines()) - attempts.kinds_of_one_max
    ]


def test_what_one_tries_is_told_whatever_another_tries(tmp_path):
    """A thousand subjects of a thief, and then one of somebody else: that one is among the first that are told."""
    other = "U" + "B" * 55
    lines = "".join(publish(f"dc.x.{number}") for number in range(1000)) + publish("dc.y").replace(KEY, other)
    found, _ = looking(tmp_path, lines)
    told = found.news(NOW)
    assert len(told) == attempts.told_at_once_max
    assert ("publish", "dc.y", other) in [(each.what, each.subject, each.public) for each in told]
    while more := found.news(NOW):
        told += more
    thiefs = [each for each in told if each.public == KEY]
    assert len(thiefs) == attempts.kinds_of_one_max + 1
    assert sum(each.times for each in thiefs) == 1000
    assert thiefs[-1].what == "others"


def test_a_line_that_is_not_whole_waits_for_its_end(tmp_path):
    line = publish("a.b")
    found, file = looking(tmp_path, line[:40])
    assert found.news(NOW) == []
    with file.open("a") as log:
        log.write(line[40:])
    assert [each.subject for each in found.news(NOW)] == ["a.b"]


def test_a_new_log_begins_at_its_beginning(tmp_path):
    """The server sets a log aside that has grown long."""
    found, file = looking(tmp_path, publish("a.b"))
    found.news(NOW)
    file.write_text(publish("c.d"))
    assert [each.subject for each in found.news(NOW)] == ["c.d"]


def test_a_log_that_is_gone_says_nothing(tmp_path):
    found, file = looking(tmp_path, publish("a.b"))
    file.unlink()
    assert found.news(NOW) == []


def test_whatever_is_in_the_log_it_is_read(tmp_path):
    """A subject is the attacker's: quotes, control characters, bytes that are no UTF-8."""
    found, file = looking(tmp_path)
    with file.open("ab") as log:
        log.write(publish('a"b').encode() + b"\xff\xfe [ERR] \x00\n" + publish("x" * 5000).encode())
    assert {each.what for each in found.news(NOW)} == {"publish"}
