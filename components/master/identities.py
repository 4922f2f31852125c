"""Who may come in: join tokens are issued and exchanged once, identities are granted and revoked.

What an identity may say is not decided here: that is its role's (`bus.permits`), and the server of the bus enforces it.

Rule of this room: pure; names and public halves of keys. Whoever asks must be an admin, and one admin always remains.
"""

from __future__ import annotations

from collections.abc import Iterator

from bus.access import (
    IdentityGranted,
    IdentityRenewed,
    IdentityRequested,
    IdentityRevoked,
    IdentityWithdrawn,
    TokenIssued,
    TokenRequested,
)
from bus.events import Event, Fact
from bus.nkey import For, KeyRefused, check_public
from bus.nouns import MASTER, NOBODY, AgentId, Now, Refusal, second
from bus.permits import NOT_JOINED, PREFIXES, Role
from bus.subjects import Author, Kind, SubjectError, check_id
from components.component import Say, Sight, answer, refuse, sight
from components.master.state import Identity, MasterState, Token

ttl_max_s = 30 * 24 * 3600
tokens_kept_max = 1000
"""Tokens that are used up or expired are forgotten above so many."""
ASKED: tuple[type[Fact], ...] = (TokenRequested, IdentityRequested, IdentityWithdrawn)
"""What is asked of the master about access."""
executor_suffix = "-cmd"
KEEPS_ONE = (Role.ADMIN, Role.MASTER)
"""Roles of which the last one cannot be revoked."""


LOGS = {Role.AGENT: Kind.AGENT, Role.EXECUTOR: Kind.EXECUTOR, Role.FRAMEWORK: Kind.FRAMEWORK}
"""Roles that have a log and terms, and under which kind."""


@sight("founder.seen")
class FounderSeen(Sight, frozen=True):
    """The keys on this host say that somebody was let in when the cluster was founded."""

    name: str
    role: Role
    public: str
    agent: str = ""


def token_id(public: str) -> str:
    """As whom the bearer of a token speaks: its key says it, so nobody else can."""
    return f"t-{public[1:21].lower()}"


def see_founder(state: MasterState, seen: FounderSeen) -> Iterator[Say]:
    """Said once: who is known, or was revoked, is old."""
    if seen.public not in state.identities:
        yield from _renewed(state, seen.name, seen.role, seen.agent)
        yield Say(IdentityGranted(name=seen.name, role=seen.role, public=seen.public, agent=seen.agent))


def _renewed(state: MasterState, name: str, role: Role, agent: str = "") -> Iterator[Say]:
    """Whoever hears somebody forgets what was said in its name under an earlier key."""
    if role in LOGS and any((one.name, one.role) == (name, role) for one in state.identities.values()):
        to = {Role.AGENT: f"{name}{executor_suffix}", Role.EXECUTOR: agent}.get(role, NOBODY)
        yield Say(IdentityRenewed(author=str(Author(LOGS[role], name))), to=to)


def shut_out(state: MasterState, name: str) -> bool:
    """Whether somebody was let in under a name once, and nobody is now."""
    found = [one for one in state.identities.values() if one.name == name]
    return bool(found) and not any(one.live for one in found)


def hear_access(state: MasterState, event: Event, now: Now) -> Iterator[Say]:
    """A client asks about access."""
    match event.fact:
        case IdentityRequested() as fact:
            yield from _exchange(state, event, fact, now)
        case TokenRequested() | IdentityWithdrawn() if not _is_admin(state, event.by.id):
            yield refuse(event, Refusal.FORBIDDEN, f"{event.by.id} is no admin here")
        case TokenRequested() as fact:
            yield from _issue(state, event, fact, now)
        case IdentityWithdrawn() as fact:
            yield from _revoke(state, event, fact)


def _is_admin(state: MasterState, name: str) -> bool:
    return any(one.live and one.name == name and one.role is Role.ADMIN for one in state.identities.values())


# ---- tokens ------------------------------------------------------------------------------------------------------


def _issue(state: MasterState, event: Event, fact: TokenRequested, now: Now) -> Iterator[Say]:
    wrong = _wrong_token(state, fact)
    if wrong is not None:
        yield refuse(event, *wrong)
        return
    issued = TokenIssued(
        id=token_id(fact.token),
        token=fact.token,
        name=fact.name,
        role=fact.role,
        expires_at=Now(now + fact.ttl_s * second),
    )
    yield answer(event, issued)


def _wrong_token(state: MasterState, fact: TokenRequested) -> tuple[Refusal, str] | None:
    if fact.role in NOT_JOINED:
        return Refusal.INVALID, f"{fact.role} is not a role that one can join as"
    if not 1 <= fact.ttl_s <= ttl_max_s:
        return Refusal.INVALID, f"a token of {fact.ttl_s} s: expected 1 to {ttl_max_s} (30 days)"
    try:
        check_public(fact.token, For.USER)
        check_id(fact.name)
    except (KeyRefused, SubjectError) as error:
        return Refusal.INVALID, str(error)
    if token_id(fact.token) in state.tokens:
        return Refusal.ALREADY_EXISTS, "there is a token of this key already"
    return wrong_name(state, fact.name, fact.role)


def wrong_name(state: MasterState, name: str, role: Role) -> tuple[Refusal, str] | None:
    """Why nobody of a role may have a name: the inbox knows names only, so they are unique across kinds."""
    wanted = PREFIXES.get(role, "")
    prefix = name[:2] if name[1:2] == "-" and name[:2] in PREFIXES.values() else ""
    if prefix != wanted or name in (wanted, MASTER):
        meant = f"a name that begins with {wanted}" if wanted else "a name that is not a client's, nor main"
        return Refusal.INVALID, f"{name!r} is no name for {role}: expected {meant}"
    names = {name, f"{name}{executor_suffix}"} if role is Role.AGENT else {name}
    for one in state.identities.values():
        if one.name in names and one.live and _kind(one.role) != _kind(Role.EXECUTOR if one.name != name else role):
            return Refusal.ID_TAKEN, f"{one.name} is a name of the {one.role} already"
    return None


def _kind(role: Role) -> str:
    return PREFIXES.get(role) or role


def _exchange(state: MasterState, event: Event, fact: IdentityRequested, now: Now) -> Iterator[Say]:
    token = state.tokens.get(event.by.id)
    wrong = _wrong_exchange(state, event, token, fact, now)
    if wrong is not None:
        yield refuse(event, *wrong)
        return
    assert token is not None, "it was looked for"
    renewed = list(_renewed(state, token.name, token.role))
    granted = IdentityGranted(name=token.name, role=token.role, public=fact.public, token=token.id)
    yield answer(event, granted)
    yield from renewed
    if fact.executor:
        name = f"{token.name}{executor_suffix}"
        yield from _renewed(state, name, Role.EXECUTOR, token.name)
        mine = IdentityGranted(name=name, role=Role.EXECUTOR, public=fact.executor, agent=token.name, token=token.id)
        yield Say(mine, to=event.by.id)


def _wrong_exchange(
    state: MasterState, event: Event, token: Token | None, fact: IdentityRequested, now: Now
) -> tuple[Refusal, str] | None:
    if token is None:
        return Refusal.NOT_FOUND, f"{event.by.id} is no join token that was issued here"
    if token.revoked_at is not None:
        return Refusal.REVOKED, f"the token for {token.name} was revoked: ask for another one"
    if token.used_at is not None:
        return Refusal.TOKEN_USED, f"the token for {token.name} was exchanged before: ask for another one"
    if now > token.expires_at:
        return Refusal.TOKEN_EXPIRED, f"the token for {token.name} has expired: ask for another one"
    keys = [fact.public, fact.executor] if token.role is Role.AGENT else [fact.public]
    if bool(fact.executor) != (token.role is Role.AGENT):
        return Refusal.INVALID, f"this is the token of {token.role} {token.name}, and not for what is asked"
    try:
        for key in keys:
            check_public(key, For.USER)
    except KeyRefused as error:
        return Refusal.INVALID, str(error)
    if len(set(keys)) < len(keys) or any(key in state.identities or key == token.public for key in keys):
        return Refusal.ALREADY_EXISTS, "a key is for one identity, for ever: make a new one"
    return wrong_name(state, token.name, token.role)


# ---- the end -----------------------------------------------------------------------------------------------------


def _revoke(state: MasterState, event: Event, fact: IdentityWithdrawn) -> Iterator[Say]:
    token = state.tokens.get(fact.name)
    if token is not None and token.live:
        yield answer(event, IdentityRevoked(name=token.id, role=Role.JOINER, publics=(token.public,)))
        return
    meant = list(_meant(state, fact))
    if not meant:
        who = fact.name or fact.public
        yield refuse(event, Refusal.NOT_FOUND, f"nobody is let in as {who[:80]!r}")
        return
    gone = {one.public for one in meant}
    left = [one for one in state.identities.values() if one.live and one.public not in gone]
    for role in KEEPS_ONE:
        if any(one.role is role for one in meant) and not any(one.role is role for one in left):
            yield refuse(event, Refusal.LAST_ONE, f"{meant[0].name} is the last {role}: grant another one first")
            return
    yield answer(event, IdentityRevoked(name=meant[0].name, role=meant[0].role, publics=tuple(sorted(gone))))


def _meant(state: MasterState, fact: IdentityWithdrawn) -> Iterator[Identity]:
    """Those who are let in and shall not be: of an agent its executor, too."""
    for one in state.identities.values():
        if one.live and (one.public == fact.public if fact.public else fact.name in (one.name, one.agent)):
            yield one


# ---- folded ------------------------------------------------------------------------------------------------------


def fold_access(state: MasterState, event: Event) -> None:
    """What changes who is let in: for the master's own events."""
    match event.fact:
        case TokenIssued() as fact:
            state.tokens[fact.id] = Token(
                id=fact.id, public=fact.token, name=fact.name, role=fact.role, expires_at=fact.expires_at, by=event.to
            )
            _forget_tokens(state, event.at)
        case IdentityGranted() as fact:
            _grant(state, event, fact)
        case IdentityRenewed(author=author):
            state.epochs.pop(author, None)
            agent = state.agents.get(AgentId(author.removeprefix(f"{Kind.AGENT}.")))
            if agent is not None:
                agent.acted_n = 0
        case IdentityRevoked(role=Role.JOINER, name=name):
            state.tokens[name].revoked_at = event.at
        case IdentityRevoked() as fact:
            for public in fact.publics:
                state.identities[public].revoked_at = event.at


def _grant(state: MasterState, event: Event, fact: IdentityGranted) -> None:
    assert fact.public not in state.identities, f"{fact.public} is granted twice, #{event.n}"
    by = ""
    if fact.token:
        token = state.tokens[fact.token]
        token.used_at, by = event.at, token.by
    state.identities[fact.public] = Identity(
        name=fact.name, role=fact.role, public=fact.public, agent=fact.agent, since=event.at, by=by
    )


def _forget_tokens(state: MasterState, at: Now) -> None:
    over = len(state.tokens) - tokens_kept_max
    if over > 0:
        done = [name for name, token in state.tokens.items() if not token.live or token.expires_at < at]
        for name in done[:over]:
            del state.tokens[name]


def revoked(state: MasterState) -> dict[str, Now]:
    """The keys that let nobody in any more, and since when."""
    keys: list[Identity | Token] = [*state.identities.values(), *state.tokens.values()]
    return {one.public: one.revoked_at for one in keys if one.revoked_at is not None}
