"""How a client recognises the servers of its cluster, and what it says of one that it does not trust.

Rule of this room: who has an authority in its credentials talks to nobody in the clear, also if a server asks for it.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from bus.slim import Error

ROTATE = "`busbar hosts generate ... --rotate-tls` (ops/runbook.md, Several hosts)"
_EXPIRED, _TOO_EARLY, _OTHER_NAME, _OTHER_ADDRESS = 10, 9, 62, 64
"""(OpenSSL: X509_V_ERR_*)"""


class NoTls(Error):  # type: ignore[misc]  # nats-py is untyped
    """The server offers no TLS, and the credentials demand it."""


def check_offers_tls(info: Mapping[str, Any], wanted: bool) -> None:
    """Raises NoTls if a server's greeting does not lead to TLS though it is wanted. (nats-py would go on without)"""
    if wanted and not info.get("tls_required"):
        raise NoTls("offers no TLS")


def distrust(error: BaseException, *, has_ca: bool) -> str:
    """Why a server is not trusted, and what to do; empty if this error says nothing of the kind."""
    if isinstance(error, NoTls):
        return "offers no TLS, and the credentials demand it: it is not a server of this cluster, or not configured"
    if not isinstance(error, ssl.SSLCertVerificationError):
        return ""
    if not has_ca:
        return "wants TLS, and the credentials have no `ca` to know it by: use those of this cluster"
    return _DISTRUSTS.get(error.verify_code) or (
        f"shows a certificate that the authority in the credentials did not sign ({error.verify_message}): it is not a "
        "server of this cluster, or the credentials are older than its authority: use the newest"
    )


_DISTRUSTS = {
    _EXPIRED: f"shows a certificate that has expired: make new ones with {ROTATE}",
    _TOO_EARLY: "shows a certificate that is not valid yet: look at the clocks of both hosts",
    _OTHER_NAME: f"shows the certificate of another host: see where the name leads, or make new ones with {ROTATE}",
    _OTHER_ADDRESS: f"shows the certificate of another host: see who has the address, or make new ones with {ROTATE}",
}
