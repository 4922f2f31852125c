"""The certificates of a fleet: its authority, and one certificate for the server of each master's host.

    DIR/ca.json                    the authority, the one that comes, the one that goes: stays here
    DIR/HOST/config/server.pem     what the server there shows; server.key is its key, ca.pem who is trusted

Rule of this room: nothing is shown that not everybody can check. An authority is trusted everywhere before it signs,
and until nothing that it signed is in use: each is a round of its own.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec

from bus.certificates import CertificateRefused, Pair, check_key, is_for, is_signed_by, new_authority, new_server, split
from bus.daemon import write_secret
from cli.fleet import CERTIFICATE, KEY
from cli.output import Failure, wrong_usage

FILE = "ca.json"


class Trust(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who signs the certificates of servers, and who is trusted."""

    signs: Pair
    comes: Pair | None = None
    """Trusted already; signs from the next new certificates on."""
    goes: str = ""
    """A certificate: trusted until servers have had two rounds of new certificates."""

    @classmethod
    def new(cls, cluster: str, at: datetime) -> Trust:
        """An authority by itself."""
        return cls(signs=new_authority(cluster, at))

    @property
    def bundle(self) -> str:
        """The certificates of all who are trusted, PEM, the newest first."""
        return (self.comes.certificate if self.comes else "") + self.signs.certificate + self.goes

    def rotated(self, cluster: str, at: datetime) -> Trust:
        """With a new authority that is to be trusted everywhere. Raises click.UsageError."""
        if self.comes is not None:
            raise wrong_usage("--rotate-ca: the authority of the last time signs nothing yet: go on with --rotate-tls")
        return msgspec.structs.replace(self, comes=new_authority(cluster, at))

    def advanced(self) -> Trust:
        """For new certificates of all servers: who comes signs now; who goes is trusted no longer."""
        if self.comes is None:
            return msgspec.structs.replace(self, goes="")
        return Trust(signs=self.comes, goes=self.signs.certificate)

    def server(self, host: str, before: Pair | None, at: datetime) -> Pair:
        """What the server of a host shows: what it showed before, if that is good."""
        return before if before is not None and self._is_good(before, host) else new_server(self.signs, host, at)

    def _is_good(self, pair: Pair, host: str) -> bool:
        try:
            check_key(pair)
            return is_for(pair.certificate, host) and is_signed_by(pair.certificate, split(self.bundle))
        except CertificateRefused:
            return False


def read_trust(directory: Path) -> Trust | None:
    """As it was written the last time; None if it never was. Raises Failure."""
    file = directory / FILE
    try:
        return msgspec.json.decode(file.read_bytes(), type=Trust)
    except FileNotFoundError:
        return None
    except ValueError:  # without what it says: it may quote a key
        raise Failure(f"{file} does not hold an authority", next_="restore it from a copy") from None


def write_trust(directory: Path, trust: Trust) -> None:
    """For who generates alone."""
    write_secret(directory / FILE, msgspec.json.format(msgspec.json.encode(trust)) + b"\n")


def read_server(config: Path) -> Pair | None:
    """What a host's server shows, if there is something."""
    try:
        return Pair((config / CERTIFICATE).read_text(), (config / KEY).read_text())
    except (FileNotFoundError, UnicodeDecodeError):
        return None
