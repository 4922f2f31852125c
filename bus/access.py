"""What is said about who may speak: join tokens, identities, and attempts that the bus refused.

Rule of this room: public halves only. A key's secret half never leaves the machine it was made on.
"""

from __future__ import annotations

from bus.events import Fact, fact
from bus.nouns import Now
from bus.permits import Role

# ---- asked ------------------------------------------------------------------------------------------------------


@fact("token.requested", said="client (admin), to the master")
class TokenRequested(Fact, frozen=True):
    """Whoever bears a token shall, once, become somebody."""

    token: str
    """The public half of the token's own key."""
    name: str
    role: Role
    ttl_s: int


@fact("identity.requested", said="client t-... (who bears a join token), to the master")
class IdentityRequested(Fact, frozen=True):
    """The bearer of a token would be known by this key from now on."""

    public: str
    executor: str = ""
    """Of an agent: the key of its executor."""


@fact("identity.withdrawn", said="client (admin), to the master")
class IdentityWithdrawn(Fact, frozen=True):
    """Somebody, or one key of somebody, shall be let in no more."""

    name: str = ""
    public: str = ""


# ---- answered ---------------------------------------------------------------------------------------------------


@fact("token.issued", said="master, to the client")
class TokenIssued(Fact, frozen=True):
    """A join token is good for one exchange, until a moment."""

    id: str
    """As whom its bearer speaks meanwhile."""
    token: str
    name: str
    role: Role
    expires_at: Now


@fact("identity.granted", said="master, to the client who bears a token, or to nobody for who founded the cluster")
class IdentityGranted(Fact, frozen=True):
    """The bearer of a key is somebody from now on."""

    name: str
    role: Role
    public: str
    agent: str = ""
    """Of an executor: whose it is."""
    token: str = ""
    """The id of the token that was exchanged; empty for a founder."""


@fact("identity.renewed", said="master, to who hears that one, or to nobody")
class IdentityRenewed(Fact, frozen=True):
    """Somebody who was let in before is so under another key: what was heard under the old one, and may have been said
    by whoever stole it, is no measure of what is old. Terms and numbers count anew."""

    author: str
    """As its log is named, e.g. `agent.a9`."""


@fact("identity.revoked", said="master, to the client")
class IdentityRevoked(Fact, frozen=True):
    """These keys let nobody in any more; connections under them are closed."""

    name: str
    role: Role
    publics: tuple[str, ...]


# ---- what the bus refused ----------------------------------------------------------------------------------------


@fact("attempt.refused", said="client m-<node> (the master beside a server of the bus), to nobody")
class AttemptRefused(Fact, frozen=True):
    """Somebody tried what the bus does not permit; the server told it."""

    what: str
    """`publish`, `subscribe`, `connect`, or another limit of the server in its words."""
    subject: str = ""
    name: str = ""
    public: str = ""
    """Of whom, as far as the server knows."""
    count: int = 1
    """How often since this was last said."""
    source: str = ""
    """The address it came from."""


@fact("identity.suspended", said="client m-<node> (the master beside a server of the bus), to nobody")
class IdentitySuspended(Fact, frozen=True):
    """Somebody said too much, or is connected too often: its connections to one server are closed for a while."""

    name: str
    public: str
    why: str
    until: Now


@fact("identity.resumed", said="client m-<node> (the master beside a server of the bus), to nobody")
class IdentityResumed(Fact, frozen=True):
    """Somebody who was suspended may come again."""

    name: str
    public: str
