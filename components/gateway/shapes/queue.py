"""The launch queue as Marathon shows it.

Rule of this room: as in `components.gateway.shapes`; no `role`, which PyPI `marathon` does not take.
(Marathon: `types/queue.raml`, `QueueInfoConversion.scala`)
"""

from __future__ import annotations

from collections.abc import Iterable

from bus.nouns import Now, second
from bus.waiting_rows import QueueRow, Rejected, UnusedOffer
from components.gateway.shapes.times import zulu


def queued(row: QueueRow, spec: dict[str, object], now: Now, *, unused: bool) -> dict[str, object]:
    """One app or pod of which instances wait."""
    left_s = max(0, -((now - row.delay_until) // second)) if row.delay_until is not None else 0
    shown: dict[str, object] = {
        "count": row.count,
        "delay": {"timeLeftSeconds": left_s, "overdue": left_s == 0},
        "since": zulu(row.since),
        "processedOffersSummary": {
            "processedOffersCount": row.processed,
            "unusedOffersCount": row.unused,
            "lastUnusedOfferAt": zulu(row.last_unused_at) if row.last_unused_at is not None else None,
            "lastUsedOfferAt": zulu(row.last_used_at) if row.last_used_at is not None else None,
            "rejectSummaryLastOffers": _rejected(row.last_offers),
            "rejectSummaryLaunchAttempt": _rejected(row.launch_attempt),
        },
    }
    if unused:
        shown["lastUnusedOffers"] = [_unused(each) for each in row.unused_offers]
    shown["pod" if row.pod else "app"] = spec
    return shown


def _rejected(rows: Iterable[Rejected]) -> list[dict[str, object]]:
    return [{"reason": row.reason, "declined": row.declined, "processed": row.processed} for row in rows]


def _unused(row: UnusedOffer) -> dict[str, object]:
    return {
        "offer": {"id": row.offer, "agentId": row.agent, "hostname": row.agent, "resources": [], "attributes": []},
        "reason": list(row.reasons),
        "timestamp": zulu(row.at),
    }
