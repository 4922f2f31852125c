"""What can be asked about what waits for an offer, of Marathon (`explain`, `queue`) and of Metronome (`explain`).

Rule of this room: as in `bus.queries`.
"""

from __future__ import annotations

from bus.nouns import AgentId, AppId, JobId, Noun, Now, OfferId, Resources, Unfit


class Check(Noun, frozen=True):
    """One node held against one requirement."""

    unfit: Unfit
    at: Now
    """When the offer was declined for it."""


class AvoidedNode(Noun, frozen=True):
    """A node on which instances failed, and that is not used while another one is."""

    agent: AgentId
    failures: int
    """In a row."""
    failed_at: Now
    until: Now


class Wants(Noun, frozen=True):
    """What one instance asks of a node: enough to hold any node against it."""

    resources: Resources
    ports: int = 0
    """How many."""
    port_numbers: tuple[int, ...] = ()
    """Those it must have."""
    gpus: int = 0
    roles: tuple[str, ...] = ()
    """acceptedResourceRoles; none: `*`."""
    constraints: tuple[tuple[str, ...], ...] = ()
    placed: int = 0
    """Instances of its version that are somewhere."""
    places: dict[str, dict[str, int]] = {}
    """Of the fields that constraints count: how many of these instances are at each value."""


class ExplainQuestion(Noun, frozen=True):
    """Why is this app not placed?"""

    app: AppId


class Explanation(Noun, frozen=True):
    """Why an app's waiting instances wait: the latest answer for each node, and what would make it fit."""

    app: AppId
    waiting: int
    needed: Resources
    ports: int
    checks: tuple[Check, ...]
    delay_until: Now | None = None
    note: str = ""
    wants: Wants | None = None
    avoided: tuple[AvoidedNode, ...] = ()


class JobExplainQuestion(Noun, frozen=True):
    """Why do this job's runs wait?"""

    job: JobId


class JobExplanation(Noun, frozen=True):
    """Why a job's waiting runs wait: the latest answer for each node."""

    job: JobId
    waiting: int
    needed: Resources
    checks: tuple[Check, ...]
    delay_until: Now | None = None
    note: str = ""
    wants: Wants | None = None


class Rejected(Noun, frozen=True):
    """How many offers one reason turned down. (Marathon: `types/queue.raml` rejectSummary)"""

    reason: str
    """One of `components.matching.REASONS`."""
    declined: int
    processed: int
    """Offers that came so far: those that no earlier reason turned down."""


class UnusedOffer(Noun, frozen=True):
    """The latest offer of a node that was not used for an app."""

    offer: OfferId
    agent: AgentId
    at: Now
    reasons: tuple[str, ...]
    """Of `components.matching.REASONS`, each once."""
    unfit: tuple[Unfit, ...]


class QueueRow(Noun, frozen=True):
    """An app or a pod of which instances wait. Query `queue` of Marathon answers a list of them, by id."""

    app: AppId
    count: int
    """How many wait."""
    since: Now
    """For how long the oldest of them."""
    pod: bool = False
    """Whether `app` is a pod."""
    delay_until: Now | None = None
    """Nothing is launched before this, after a failure. None: it may be launched now. (Marathon: overdue)"""
    processed: int = 0
    """Offers held against it since instances of it wait."""
    unused: int = 0
    last_used_at: Now | None = None
    last_unused_at: Now | None = None
    last_offers: tuple[Rejected, ...] = ()
    """All reasons there are, over the latest unused offer of each node."""
    launch_attempt: tuple[Rejected, ...] = ()
    """The same over all offers since instances of it wait."""
    unused_offers: tuple[UnusedOffer, ...] = ()
    """Of each node the latest, by node."""
