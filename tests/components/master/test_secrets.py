"""The master keeps secrets sealed, tells the frameworks their names, and hands one on to one task's agent alone."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest

from bus.events import AgentRegistered, Event, FrameworkAdmitted, RequestRefused, TaskUpdated
from bus.nouns import AgentId, Command, Now, Reason, Refusal, TaskId, TaskState, parse_resources
from bus.queries import QueryRefused, pack
from bus.secrets import (
    SecretAnswer,
    SecretGiven,
    SecretKept,
    SecretQuestion,
    SecretRemoved,
    SecretRow,
    SecretsNamed,
    SecretWithdrawn,
)
from bus.subjects import Author, Kind
from bus.vouching import AlarmCleared, AlarmRaised
from components.master import MasterConfig, component
from components.master import secrets as room
from components.master.alarms import AlarmSeen
from components.master.secrets import LOST, lost_message, sealed_chars_max
from components.sealing import AgentKey, Vault, seal
from eventstore.signing import Signer
from tests.components.driver import only, types
from tests.components.master.datacenter import BIG, Datacenter, info

KEY, OTHER = Signer(b"k" * 32), Signer(b"o" * 32)
AGENTS = {"a1": AgentKey(b"1" * 32), "a2": AgentKey(b"2" * 32)}
ALICE = Author(Kind.CLIENT, "u-alice")
CONFIG = MasterConfig(public=KEY.public)
VALUE = b"correct horse battery staple"
REFERS = Command(shell="sleep 9", secret_env={"PW": "db/pw"}, secret_files={"conf/key": "tls/key"})


class Vaults(Datacenter):
    """A master with a key, whose agents have keys, too."""

    def __init__(self, config: MasterConfig = CONFIG) -> None:
        super().__init__(config)
        self.requests = 0
        self.component = component(config, hand_on=Vault(KEY).hand_on)

    def client(self, fact: SecretGiven | SecretWithdrawn | SecretKept, by: Author = ALICE) -> list[Event]:
        """A client asks."""
        self.requests += 1
        events = self.hear(by, fact, request=f"q{self.requests}", actor="Alice") + self.settle()
        self.audit()
        return events

    def give(self, name: str, value: bytes = VALUE, key: Signer = KEY) -> list[Event]:
        return self.client(SecretGiven(name=name, sealed=seal(key.public, name, value), key=key.public))

    def withdraw(self, name: str) -> list[Event]:
        return self.client(SecretWithdrawn(name=name))

    def agent(self, agent: str, key: str | None = None) -> list[Event]:
        """An agent registers with its key."""
        public = AGENTS[agent].public if key is None else key
        return self.tell(Author(Kind.AGENT, agent), registration(agent, public))

    def rows(self) -> list[SecretRow]:
        rows = self.component.queries["vault"](self.state, b"", self.now)
        assert isinstance(rows, list)
        return rows

    def asks(self, agent: str, name: str = "db/pw", task: str = "t1") -> SecretAnswer:
        """What an agent is answered."""
        question = SecretQuestion(task=TaskId(task), agent=AgentId(agent), name=name)
        answer = self.component.queries["secrets"](self.state, pack(question), self.now)
        assert isinstance(answer, SecretAnswer)
        return answer


def registration(agent: str, key: str) -> AgentRegistered:
    return AgentRegistered(hostname=f"host-{agent}", resources=parse_resources(BIG), key=key)


def launched() -> Vaults:
    """Two secrets, two agents, and a task on a1 that refers to both secrets."""
    dc = Vaults()
    dc.give("db/pw")
    dc.give("tls/key", b"key")
    dc.enroll("marathon")
    dc.agent("a1")
    dc.agent("a2")
    dc.launch("marathon", "a1", info("t1", command=REFERS))
    return dc


def refusal(events: list[Event]) -> RequestRefused:
    assert types(events) == ["request.refused"]
    assert events[0].request is not None
    return only(events, RequestRefused)[0]


# ---- keeping -----------------------------------------------------------------------------------------------------


def test_a_secret_is_kept_as_it_was_sealed():
    """The answer is to the client, under its request; who set it and when is known."""
    dc = Vaults()
    (event,) = dc.give("db/pw")
    assert (event.type, event.to, event.request) == ("secret.kept", "u-alice", "q1")
    assert dc.rows() == [SecretRow(name="db/pw", since=dc.now, by="u-alice", version=1, size=len(VALUE))]
    assert VALUE not in msgspec.json.encode(dc.state)
    assert dc.rebuilt() == dc.hash()


def test_a_secret_that_is_set_again_has_the_new_value():
    """Its number rises; set after a removal it begins anew."""
    dc = Vaults()
    dc.give("db/pw")
    assert only(dc.give("db/pw", b"new"), SecretKept)[0].number == 2
    assert [row.size for row in dc.rows()] == [3]
    assert only(dc.withdraw("db/pw"), SecretRemoved) == [SecretRemoved(name="db/pw")]
    assert dc.rows() == []
    assert only(dc.give("db/pw"), SecretKept)[0].number == 1
    assert dc.rebuilt() == dc.hash()


def test_the_same_request_is_answered_the_same_way_again():
    """A removal that is asked again under its id does not take what was set meanwhile."""
    dc = Vaults()
    dc.give("db/pw")
    asked = dc.said(ALICE, SecretWithdrawn(name="db/pw"), request="r")
    dc.hear_event(asked)
    dc.give("db/pw")
    assert types(dc.hear_event(asked)) == ["secret.removed"]
    assert [row.name for row in dc.rows()] == ["db/pw"]
    assert dc.rebuilt() == dc.hash()


def test_what_does_not_exist_is_not_removed():
    """By name."""
    wrong = refusal(Vaults().withdraw("db/pw"))
    assert (wrong.reason, wrong.message) == (Refusal.NOT_FOUND, "secret db/pw does not exist")


@pytest.mark.parametrize("name", ["hunter2!", "", "a" * 254])
def test_a_wrong_name_is_refused_and_never_said_again(name: str):
    """It may be the value, in the wrong place."""
    dc = Vaults()
    for fact in (SecretGiven(name=name, sealed="AAAA", key=KEY.public), SecretWithdrawn(name=name)):
        wrong = refusal(dc.client(fact))
        assert wrong.reason is Refusal.INVALID
        assert not name or name not in wrong.message


def test_what_cannot_be_a_sealed_value_is_refused():
    """Sealed to another key, empty, too long; or there is no key to seal to."""
    dc = Vaults()
    sealed = seal(KEY.public, "a", VALUE)
    for fact, error in (
        (SecretGiven(name="a", sealed=sealed, key=OTHER.public), f"than the cluster's, which is {KEY.public}"),
        (SecretGiven(name="a", sealed="", key=KEY.public), "has 0 characters: expected 1 to 90000"),
        (SecretGiven(name="a", sealed="A" * (sealed_chars_max + 1), key=KEY.public), "has 90001 characters"),
    ):
        assert error in refusal(dc.client(fact)).message
    assert "has no key" in refusal(Vaults(MasterConfig()).give("a")).message
    assert dc.rows() == []


def test_there_is_room_for_so_many_secrets(monkeypatch: pytest.MonkeyPatch):
    """One that is there can still be set again."""
    monkeypatch.setattr(room, "secrets_max", 2)
    dc = Vaults()
    dc.give("a")
    dc.give("b")
    assert "no more can be kept" in refusal(dc.give("c")).message
    assert types(dc.give("a")) == ["secret.kept"]
    monkeypatch.setattr(room, "sealed_together_max", 300)
    assert "of 300 characters" in refusal(dc.give("a", b"v" * 200)).message


def test_a_master_is_not_told_what_it_says_itself():
    """A client that says `secret.kept` is refused like any other."""
    dc = Vaults()
    assert types(dc.client(SecretKept(name="a", sealed="A", key=KEY.public))) == ["request.refused"]


# ---- telling frameworks ------------------------------------------------------------------------------------------


def test_every_framework_is_told_a_new_name_and_one_that_is_gone():
    """Also one that is disconnected: its inbox keeps it. A new value is no news to them."""
    dc = Vaults()
    dc.enroll("marathon")
    dc.enroll("metronome")
    dc.silence("metronome")
    given = dc.give("db/pw")
    assert types(given) == ["secret.kept", "secret.named", "secret.named"]
    assert [event.to for event in given[1:]] == ["marathon", "metronome"]
    assert only(given, SecretsNamed) == [SecretsNamed(names=("db/pw",))] * 2
    assert types(dc.give("db/pw")) == ["secret.kept"]
    assert only(dc.withdraw("db/pw"), SecretsNamed) == [SecretsNamed(gone=("db/pw",))] * 2


def test_a_framework_that_registers_is_told_all_names():
    """With its admission, each time."""
    dc = Vaults()
    dc.give("b")
    dc.give("a")
    for _ in range(2):
        assert only(dc.enroll("marathon"), FrameworkAdmitted)[0].secrets == ("a", "b")


# ---- handing on --------------------------------------------------------------------------------------------------


def test_the_agent_of_a_task_gets_what_the_task_refers_to():
    """Sealed to its key, bound to the task."""
    dc = launched()
    for name, value in (("db/pw", VALUE), ("tls/key", b"key")):
        answer = dc.asks("a1", name)
        assert AGENTS["a1"].open(TaskId("t1"), name, answer.sealed) == value
        assert VALUE.decode() not in answer.sealed


def test_another_agent_gets_nothing():
    """Asking in its own name it is refused, asking in the other's it gets what it cannot open."""
    dc = launched()
    assert dc.asks("a2") == SecretAnswer(withheld="no such task of this agent is live")
    stolen = dc.asks("a1").sealed
    with pytest.raises(Exception, match="cannot be opened"):
        AGENTS["a2"].open(TaskId("t1"), "db/pw", stolen)


def test_nothing_is_handed_on_but_for_a_live_task_that_refers_to_it():
    """Nothing else is said about tasks and secrets that are not the asker's."""
    dc = launched()
    dc.give("other")
    for agent, name, task, why in (
        ("a1", "db/pw", "t2", "no such task of this agent is live"),
        ("a9", "db/pw", "t1", "no such task of this agent is live"),
        ("a1", "other", "t1", "the task does not refer to it"),
        ("a1", "nothing", "t1", "the task does not refer to it"),
    ):
        assert dc.asks(agent, name, task) == SecretAnswer(withheld=why)
    dc.report("a1", "t1", TaskState.RUNNING)
    assert dc.asks("a1").sealed
    dc.lose("a1")
    assert dc.asks("a1").withheld == "no such task of this agent is live"
    dc.report("a1", "t1", TaskState.FINISHED)
    assert dc.asks("a1").withheld == "no such task of this agent is live"


def test_a_secret_that_was_removed_meanwhile_is_withheld():
    """The task that was launched for it is told so."""
    dc = launched()
    dc.withdraw("db/pw")
    assert dc.asks("a1").withheld == "it does not exist any more"


def test_an_agent_gets_it_sealed_to_the_key_it_registered_last():
    """And nothing without one."""
    dc = launched()
    dc.agent("a1", AGENTS["a2"].public)
    assert AGENTS["a2"].open(TaskId("t1"), "db/pw", dc.asks("a1").sealed) == VALUE
    dc.agent("a1", "")
    assert dc.asks("a1").withheld == "the agent registered without a public key"


def test_an_agent_with_a_key_that_is_none_is_refused():
    """Before anything can be sealed to it."""
    dc = Vaults()
    assert types(dc.agent("a1", "x" * 64)) == ["agent.refused"]
    assert types(dc.agent("a1", "0" * 64))[0] == "agent.admitted"  # well-formed; sealing to it fails


def test_garbage_that_was_kept_is_withheld():
    """A client can put anything into the log; the task that needs it fails, and the master goes on."""
    dc = launched()
    for sealed in ("garbage", seal(KEY.public, "another", VALUE), seal(OTHER.public, "db/pw", VALUE)):
        assert types(dc.client(SecretGiven(name="db/pw", sealed=sealed, key=KEY.public))) == ["secret.kept"]
        assert dc.asks("a1").withheld.endswith(": set it again")
    assert next(row.size for row in dc.rows()) == len(VALUE)
    with pytest.raises(msgspec.DecodeError):
        dc.component.queries["secrets"](dc.state, b"\xc1", dc.now)


def test_without_a_key_nothing_is_handed_on_nor_asked_for():
    """Whoever folds the log elsewhere opens nothing."""
    dc = launched()
    bare = component(CONFIG)
    question = pack(SecretQuestion(task=TaskId("t1"), agent=AgentId("a1"), name="db/pw"))
    with pytest.raises(QueryRefused, match="no key to open secrets with"):
        bare.queries["secrets"](dc.state, question, dc.now)
    assert dc.component.queries["sealing"](dc.state, b"", dc.now) == KEY.public
    with pytest.raises(QueryRefused, match="busbar run master --key FILE"):
        component(MasterConfig()).queries["sealing"](dc.state, b"", Now(0))


def test_a_framework_cannot_launch_what_refers_to_secrets_wrongly():
    """A path that leads out of the sandbox reaches no agent."""
    dc = launched()
    wrong = Command(shell="true", secret_files={"../../etc/passwd": "db/pw"})
    updates = only(dc.launch("marathon", "a2", info("t2", agent="a2", command=wrong)), TaskUpdated)
    assert [(fact.status.state, fact.status.reason) for fact in updates] == [(TaskState.ERROR, Reason.TASK_INVALID)]
    assert "inside the sandbox" in updates[0].status.message


# ---- another key -------------------------------------------------------------------------------------------------


def with_another_key(dc: Vaults) -> Vaults:
    """The same log under a master that was started with another key."""
    after = Vaults(MasterConfig(public=OTHER.public))
    after.state, after.position, after.numbers, after.log = dc.state, dc.position, dc.numbers, dc.log
    after.requests = dc.requests
    after.component = component(MasterConfig(public=OTHER.public), hand_on=Vault(OTHER).hand_on)
    return after


def test_what_is_sealed_to_a_lost_key_is_named_until_each_is_set_again():
    """In the list, in an alarm, and to the task that needs one."""
    dc = with_another_key(launched())
    config = MasterConfig(public=OTHER.public)
    assert [(row.name, row.lost) for row in dc.rows()] == [("db/pw", True), ("tls/key", True)]
    assert dc.asks("a1").withheld == "it is sealed to another key than the cluster's: set it again"
    message = lost_message(config, dc.state)
    assert message is not None
    assert message.startswith("2 secrets are sealed to another key than the cluster's and cannot be opened: db/pw, tls")
    assert types(dc.see(AlarmSeen(alarm=LOST, message=message))) == ["alarm.raised"]
    again = partial(dc.give, key=OTHER)
    first = again("db/pw")
    assert types(first) == ["secret.kept", "alarm.raised"]
    assert only(first, AlarmRaised)[0].message.startswith("1 secrets are sealed")
    assert AGENTS["a1"].open(TaskId("t1"), "db/pw", dc.asks("a1").sealed) == VALUE
    assert only(dc.withdraw("tls/key"), AlarmCleared) == [AlarmCleared(alarm=LOST)]
    assert lost_message(config, dc.state) is None


def test_an_alarm_names_some_of_many():
    """And how many more there are."""
    dc = Vaults()
    for number in range(23):
        dc.give(f"s{number:02}")
    message = lost_message(MasterConfig(public=OTHER.public), dc.state) or ""
    assert message.startswith("23 secrets")
    assert "s19 and 3 more" in message
