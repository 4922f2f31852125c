"""Who may come in: tokens are good once and for a while, keys for ever for one identity, and one admin remains."""

from __future__ import annotations

import random
from dataclasses import replace

import msgspec
import pytest

from bus.access import (
    IdentityGranted,
    IdentityRenewed,
    IdentityRequested,
    IdentityRevoked,
    IdentityWithdrawn,
    TokenIssued,
)
from bus.access import TokenRequested as Requested
from bus.authority import Authority
from bus.events import AgentAdmitted, AgentRegistered, Event, LogKept, RequestRefused
from bus.nkey import For, Key, claims_of
from bus.nouns import Refusal, parse_resources
from bus.permits import Role
from bus.queries import QueryRefused, pack
from bus.subjects import CLUSTER, Author, Kind
from components.component import apply
from components.master import MasterConfig, component, identities
from components.master.identities import FounderSeen, revoked, token_id
from tests.components.driver import only
from tests.components.master.datacenter import Datacenter

ADMIN = Author(Kind.CLIENT, "u-root")
ADMINS_KEY = Key.new(For.USER).public


class Access(Datacenter):
    """A master that knows one admin, and people who ask it about access."""

    def __init__(self, config: MasterConfig | None = None) -> None:
        super().__init__(config)
        self.count = 0
        self.found("u-root", Role.ADMIN, ADMINS_KEY)
        self.found("m-n1", Role.MASTER)

    def found(self, name, role, public=None, agent=""):
        return self.see(FounderSeen(name=name, role=role, public=public or Key.new(For.USER).public, agent=agent))

    def ask(self, by, fact):
        """The one answer to a request."""
        self.count += 1
        [event, *_] = self.hear(by, fact, request=f"r{self.count}", actor="somebody-else")
        return event.fact

    def token(self, name="u-bob", role=Role.VIEWER, ttl_s=60, by=ADMIN):
        """A token's key, and what the master said."""
        key = Key.new(For.USER).public
        return key, self.ask(by, Requested(token=key, name=name, role=role, ttl_s=ttl_s))

    def exchange(self, token, public=None, executor=""):
        bearer = Author(Kind.CLIENT, token_id(token))
        return self.ask(bearer, IdentityRequested(public=public or Key.new(For.USER).public, executor=executor))

    def join(self, name="u-bob", role=Role.VIEWER):
        """Somebody new, by token."""
        token, _ = self.token(name, role)
        return self.exchange(token, executor=Key.new(For.USER).public if role is Role.AGENT else "")

    def withdraw(self, name="", public="", by=ADMIN):
        return self.ask(by, IdentityWithdrawn(name=name, public=public))

    def live(self):
        return {(one.name, one.role) for one in self.state.identities.values() if one.live}


@pytest.fixture
def dc():
    dc = Access()
    yield dc
    assert dc.rebuilt() == dc.hash()


def refusal(fact):
    assert isinstance(fact, RequestRefused), f"{fact.type}: {fact}"
    return fact.reason


def test_a_token_makes_its_bearer_somebody_once(dc):
    """The second exchange is refused, whatever key is shown."""
    token, issued = dc.token("u-bob", Role.OPERATOR)
    assert isinstance(issued, TokenIssued)
    granted = dc.exchange(token)
    assert (granted.name, granted.role, granted.token) == ("u-bob", Role.OPERATOR, token_id(token))
    assert refusal(dc.exchange(token)) is Refusal.TOKEN_USED
    assert ("u-bob", Role.OPERATOR) in dc.live()


def test_an_agents_token_brings_its_executor_in_too(dc):
    token, _ = dc.token("a9", Role.AGENT)
    dc.exchange(token, executor=Key.new(For.USER).public)
    assert {("a9", Role.AGENT), ("a9-cmd", Role.EXECUTOR)} <= dc.live()
    [executor] = [one for one in dc.state.identities.values() if one.name == "a9-cmd"]
    assert executor.agent == "a9"


def test_a_token_of_one_kind_is_no_token_of_another(dc):
    """A client's token asks for no executor, an agent's must."""
    client, _ = dc.token("u-bob", Role.VIEWER)
    assert refusal(dc.exchange(client, executor=Key.new(For.USER).public)) is Refusal.INVALID
    agent, _ = dc.token("a9", Role.AGENT)
    assert refusal(dc.exchange(agent)) is Refusal.INVALID
    assert dc.live() == {("u-root", Role.ADMIN), ("m-n1", Role.MASTER)}


def test_a_token_expires_by_the_logs_own_time(dc):
    token, issued = dc.token(ttl_s=60)
    assert issued.expires_at == dc.now + 60_000_000
    dc.advance(61)
    assert refusal(dc.exchange(token)) is Refusal.TOKEN_EXPIRED


def test_a_token_that_was_never_issued_is_none(dc):
    assert refusal(dc.exchange(Key.new(For.USER).public)) is Refusal.NOT_FOUND


def test_a_token_that_was_withdrawn_is_good_for_nothing(dc):
    token, issued = dc.token()
    gone = dc.withdraw(issued.id)
    assert (gone.role, gone.publics) == (Role.JOINER, (token,))
    assert refusal(dc.exchange(token)) is Refusal.REVOKED
    assert set(revoked(dc.state)) == {token}


def test_a_key_is_for_one_identity_for_ever(dc):
    """Neither a live key nor a revoked one is granted again, nor the token's own, nor one key for both of an agent."""
    granted = dc.join()
    again, _ = dc.token("u-eve", Role.ADMIN)
    assert refusal(dc.exchange(again, granted.public)) is Refusal.ALREADY_EXISTS
    dc.withdraw("u-bob")
    assert refusal(dc.exchange(again, granted.public)) is Refusal.ALREADY_EXISTS
    assert refusal(dc.exchange(again, again)) is Refusal.ALREADY_EXISTS
    agent, _ = dc.token("a9", Role.AGENT)
    both = Key.new(For.USER).public
    assert refusal(dc.exchange(agent, both, executor=both)) is Refusal.ALREADY_EXISTS


NO_KEYS = ["", "U", "x" * 56, Key.new(For.ACCOUNT).public, Key.new(For.USER).public[:-1]]


@pytest.mark.parametrize("public", NO_KEYS, ids=["empty", "short", "garbage", "of an account", "cut"])
def test_what_is_no_key_is_refused(dc, public):
    token, _ = dc.token()
    assert refusal(dc.exchange(token, public or " ")) is Refusal.INVALID
    assert refusal(dc.ask(ADMIN, Requested(token=public, name="u-x", role=Role.VIEWER, ttl_s=1))) is Refusal.INVALID


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("bob", Role.VIEWER),
        ("u-", Role.VIEWER),
        ("u-bob", Role.AGENT),
        ("t-x", Role.AGENT),
        ("m-n9", Role.FRAMEWORK),
        ("g-web", Role.ADMIN),
        ("main", Role.AGENT),
        ("A9", Role.AGENT),
        ("a.9", Role.AGENT),
        ("a" * 64, Role.AGENT),
        ("web", Role.GATEWAY),
    ],
)
def test_names_say_what_one_is(dc, name, role):
    _, said = dc.token(name, role)
    assert refusal(said) is Refusal.INVALID


@pytest.mark.parametrize("role", [Role.MASTER, Role.ADMINISTRATOR, Role.EXECUTOR, Role.JOINER])
def test_some_roles_have_no_tokens(dc, role):
    _, said = dc.token("m-n9" if role is Role.MASTER else "x", role)
    assert refusal(said) is Refusal.INVALID


@pytest.mark.parametrize("ttl_s", [0, -1, 30 * 24 * 3600 + 1])
def test_a_token_lasts_a_second_to_thirty_days(dc, ttl_s):
    _, said = dc.token(ttl_s=ttl_s)
    assert refusal(said) is Refusal.INVALID


def test_a_name_is_of_one_kind(dc):
    """The inbox knows names only: an agent is not called as a scheduler is, nor as another one's executor."""
    dc.found("marathon", Role.FRAMEWORK)
    dc.join("a9", Role.AGENT)
    for name, role in [("marathon", Role.AGENT), ("a9", Role.FRAMEWORK), ("a9-cmd", Role.AGENT)]:
        assert refusal(dc.token(name, role)[1]) is Refusal.ID_TAKEN, name
    dc.join("b9-cmd", Role.FRAMEWORK)
    assert refusal(dc.token("b9", Role.AGENT)[1]) is Refusal.ID_TAKEN


def test_somebody_may_have_several_keys(dc):
    """A second machine of the same person, a node that is set up again."""
    first, second = dc.join(), dc.join()
    assert first.public != second.public
    gone = dc.withdraw(public=first.public)
    assert gone.publics == (first.public,)
    assert ("u-bob", Role.VIEWER) in dc.live()
    assert dc.withdraw("u-bob").publics == (second.public,)


def test_of_an_agent_its_executor_is_revoked_too(dc):
    granted = dc.join("a9", Role.AGENT)
    gone = dc.withdraw("a9")
    assert len(gone.publics) == 2
    assert granted.public in revoked(dc.state)


def test_who_is_revoked_is_not_heard_any_more(dc):
    """What was on its way when it was revoked is not acted on; a request is refused as such."""
    dc.join("a9", Role.AGENT)
    dc.withdraw("a9")
    fact = AgentRegistered(hostname="h", resources=parse_resources("cpus:1;mem:512"))
    assert not only(dc.hear(Author(Kind.AGENT, "a9"), fact), AgentAdmitted)
    dc.join("u-bob", Role.ADMIN)
    dc.withdraw("u-bob")
    assert refusal(dc.withdraw("u-root", by=Author(Kind.CLIENT, "u-bob"))) is Refusal.REVOKED


@pytest.mark.parametrize("by", ["u-nobody", "u-bob", "g-web"])
def test_only_admins_give_and_take_access(dc, by):
    """The bus lets nobody else ask; the master believes nobody else either."""
    dc.join("u-bob", Role.OPERATOR)
    asker = Author(Kind.CLIENT, by)
    assert refusal(dc.token("u-eve", by=asker)[1]) is Refusal.FORBIDDEN
    assert refusal(dc.withdraw("u-bob", by=asker)) is Refusal.FORBIDDEN


def test_the_last_admin_and_the_last_master_stay(dc):
    assert refusal(dc.withdraw("u-root")) is Refusal.LAST_ONE
    assert refusal(dc.withdraw("m-n1")) is Refusal.LAST_ONE
    dc.join("u-ann", Role.ADMIN)
    assert isinstance(dc.withdraw("u-root"), IdentityRevoked)
    assert refusal(dc.withdraw("u-ann", by=Author(Kind.CLIENT, "u-ann"))) is Refusal.LAST_ONE


def test_nobody_cannot_be_revoked(dc):
    assert refusal(dc.withdraw("u-nobody")) is Refusal.NOT_FOUND
    assert refusal(dc.withdraw(public="U" * 56)) is Refusal.NOT_FOUND


def test_a_founder_is_said_once_and_a_revoked_one_not_again(dc):
    """Each term sees the founders' file again."""
    public = Key.new(For.USER).public
    [granted] = dc.found("u-ann", Role.ADMIN, public)
    assert isinstance(granted.fact, IdentityGranted)
    assert dc.found("u-ann", Role.ADMIN, public) == []
    dc.withdraw("u-ann")
    assert dc.found("u-ann", Role.ADMIN, public) == []
    dc.restart()
    assert dc.found("u-ann", Role.ADMIN, public) == []
    assert ("u-ann", Role.ADMIN) not in dc.live()


def test_the_actor_of_a_grant_is_who_asked_and_not_who_it_claims(dc):
    """Every request here claims to be somebody else's; the log names the client that the bus let speak."""
    dc.join()
    assert {
        event.actor for event in dc.log if event.type in ("token.issued", "identity.granted") and event.request
    } <= {
        "u-root",
        *dc.state.tokens,
    }
    assert dc.state.identities[ADMINS_KEY].by == ""
    [bob] = [one for one in dc.state.identities.values() if one.name == "u-bob"]
    assert bob.by == "u-root"


def test_old_tokens_are_forgotten_and_good_ones_are_not(dc):
    """A bound on what is remembered; a token that may still be exchanged is kept whatever else is issued."""
    good, _ = dc.token(ttl_s=3600)
    dc.token(ttl_s=1)
    dc.advance(2)
    for _ in range(identities.tokens_kept_max):
        dc.token("u-x", ttl_s=1)
    dc.advance(2)
    dc.token("u-x")
    assert len(dc.state.tokens) == identities.tokens_kept_max
    assert isinstance(dc.exchange(good), IdentityGranted)


# ---- passports ---------------------------------------------------------------------------------------------------


AUTHORITY = Authority.found(CLUSTER)


@pytest.fixture
def issuing():
    return Access(MasterConfig(issue=AUTHORITY.issuer().passport))


def passport(dc, public):
    query = dc.component.queries["passport"]
    return query(dc.state, pack(public), dc.now)


def test_a_passport_says_what_was_granted_and_always_in_the_same_words(issuing):
    token, _ = issuing.token("a9", Role.AGENT)
    executor = Key.new(For.USER).public
    granted = issuing.exchange(token, executor=executor)
    found = passport(issuing, granted.public)
    claims = claims_of(found.passport)
    assert (claims["name"], claims["sub"]) == ("a9", granted.public)
    assert found == passport(issuing, granted.public)
    assert "agent:a9" in claims_of(passport(issuing, executor).passport)["nats"]["tags"]


def test_a_tokens_passport_expires_with_it_and_is_not_to_be_had_once_it_is_used(issuing):
    token, issued = issuing.token(ttl_s=60)
    claims = claims_of(passport(issuing, token).passport)
    assert claims["name"] == issued.id
    assert claims["exp"] == issued.expires_at // 1_000_000 + 60
    issuing.exchange(token)
    with pytest.raises(QueryRefused):
        passport(issuing, token)


def test_nobodys_key_and_a_revoked_one_get_no_passport(issuing):
    granted = issuing.join()
    issuing.withdraw("u-bob")
    for public in (granted.public, Key.new(For.USER).public, ""):
        with pytest.raises(QueryRefused):
            passport(issuing, public)


def test_a_master_without_the_keys_grants_nobody_a_passport():
    assert "passport" not in component(MasterConfig()).queries


# ---- another key ------------------------------------------------------------------------------------------------


def renewals(events):
    return [(event.fact.author, event.to) for event in events if isinstance(event.fact, IdentityRenewed)]


def test_who_joins_again_is_heard_anew_by_everybody_who_hears_it(dc):
    """Of a node, the agent is told about its executor and the executor about its agent; a first joining is none."""
    dc.join("a9", Role.AGENT)
    dc.join("sched", Role.FRAMEWORK)
    dc.join("u-bob")
    assert renewals(dc.log) == []
    dc.withdraw("a9")
    dc.join("a9", Role.AGENT)
    assert renewals(dc.log) == [("agent.a9", "a9-cmd"), ("executor.a9-cmd", "a9")]
    dc.join("sched", Role.FRAMEWORK)
    dc.join("u-bob")
    assert renewals(dc.log)[2:] == [("framework.sched", "_")]
    dc.found("a9", Role.AGENT)
    dc.found("a9-cmd", Role.EXECUTOR, agent="a9")
    assert renewals(dc.log)[3:] == [("agent.a9", "a9-cmd"), ("executor.a9-cmd", "a9")]


def test_what_a_thief_said_in_a_name_is_no_measure_after_it_joined_again(dc):
    """A number and a term far beyond the true ones: the master forgets both with the key."""
    dc.join("a9", Role.AGENT)
    agent = Author(Kind.AGENT, "a9")
    registered = AgentRegistered(hostname="h", resources=parse_resources("cpus:1;mem:100"))
    forged = msgspec.structs.replace(dc.said(agent, registered, n=10**9), epoch=999)
    assert only(dc.hear_event(forged), AgentAdmitted)
    assert not dc.hear(agent, registered, n=7)
    dc.log.append(epochs_said(dc, {"agent.a9": 999}))
    apply(dc.component, dc.state, dc.log[-1])
    dc.withdraw("a9")
    dc.join("a9", Role.AGENT)
    assert "agent.a9" not in dc.state.epochs
    assert only(dc.hear(agent, registered, n=8), AgentAdmitted)


def epochs_said(dc, epochs):
    """An event of the master's own that tells which terms it heard of."""
    return Event(by=dc.component.author, to="_", fact=LogKept(), at=dc.now, n=dc.state.n + 1, epoch=1, epochs=epochs)


# ---- at random ---------------------------------------------------------------------------------------------------


def check(dc, exchanged):
    """What holds whatever was asked."""
    assert any(role is Role.ADMIN for _, role in dc.live()), "nobody may change anything any more"
    kinds = {}
    for name, role in dc.live():
        assert kinds.setdefault(name, identities._kind(role)) == identities._kind(role), f"{name} is of two kinds"
    grants = [event.fact.token for event in dc.log if isinstance(event.fact, IdentityGranted) and event.request]
    assert len(grants) == len(set(grants)), "a token was exchanged twice"
    gone = {key for event in dc.log if isinstance(event.fact, IdentityRevoked) for key in event.fact.publics}
    assert gone == set(revoked(dc.state)), "who is kept out is not who was revoked"
    assert len(exchanged) == len(grants)


def play(seed, steps=60):
    """People ask for everything that there is to be asked for, drawn from what there is."""
    chance, dc, tokens, exchanged = random.Random(seed), Access(), [], []
    for _ in range(steps):
        match chance.randrange(6):
            case 0 | 1:
                role = chance.choice([Role.VIEWER, Role.OPERATOR, Role.ADMIN, Role.AGENT, Role.FRAMEWORK])
                name = f"u-{chance.choice('abc')}" if role in (Role.VIEWER, Role.OPERATOR, Role.ADMIN) else "x1"
                key, said = dc.token(name, role, ttl_s=chance.choice([1, 1000]))
                tokens += [(key, role)] if isinstance(said, TokenIssued) else []
            case 2 | 3 if tokens:
                key, role = chance.choice(tokens)
                said = dc.exchange(key, executor=Key.new(For.USER).public if role is Role.AGENT else "")
                exchanged += [key] if isinstance(said, IdentityGranted) else []
            case 4:
                dc.withdraw(chance.choice(sorted({one.name for one in dc.state.identities.values()})))
            case _:
                dc.advance(chance.choice([0, 1, 2]))
        check(dc, exchanged)
    assert dc.rebuilt() == dc.hash()
    return len(exchanged)


def play_all():
    return sum(play(seed) for seed in range(40))


def test_whatever_is_asked_a_token_is_good_once_and_an_admin_remains():
    """Forty histories drawn from the state; together they exchange many tokens."""
    assert play_all() > 100


def test_the_random_histories_find_a_token_that_is_good_twice(monkeypatch):
    """A planted bug: an exchange does not use its token up."""
    right = identities._grant

    def forgetful(state, event, fact):
        right(state, event, fact)
        if fact.token:
            state.tokens[fact.token].used_at = None

    monkeypatch.setattr(identities, "_grant", forgetful)
    with pytest.raises(AssertionError, match="exchanged twice"):
        play_all()


def test_the_random_histories_find_a_last_admin_who_goes(monkeypatch):
    """A planted bug: whoever is revoked, nobody counts who is left."""
    monkeypatch.setattr(identities, "KEEPS_ONE", ())
    with pytest.raises(AssertionError, match="nobody may change anything"):
        play_all()


def test_the_settings_in_the_log_hold_no_key():
    """A term says what its master was set up with, and the signing keys are not among it."""
    config = replace(MasterConfig(), issue=AUTHORITY.issuer().passport)
    settings = component(config).settings
    assert "issue" not in settings
    assert not any(seed in settings for seed in AUTHORITY.roles.values())
