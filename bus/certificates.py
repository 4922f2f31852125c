"""Certificates of the servers of several hosts, and the authority that signs them: X.509, ECDSA on P-256.

An authority signs servers and nothing else; a server shows its certificate to clients, and to the other servers as one
of them. (RFC 5280; nats-server: a route verifies both ends)
Rule of this room: PEM in, PEM out; what time it is is told.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

authority_days = 3650
server_days = 825
_early = timedelta(days=1)
"""Clocks differ."""
_HERE = ("localhost", "127.0.0.1")


class CertificateRefused(ValueError):
    """A text that is no certificate, or not the key of one."""


class Pair(NamedTuple):
    """A certificate and its key, both PEM."""

    certificate: str
    key: str

    def __repr__(self) -> str:
        return "Pair(...)"


def new_authority(cluster: str, at: datetime) -> Pair:
    """A new key that signs the certificates of a cluster's servers."""
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    name = _name(f"busbar {cluster} {serial:x}"[:64])  # of two authorities, each has a name of its own
    draft = _draft(name, name, key.public_key(), serial, at, authority_days)
    draft = draft.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    draft = draft.add_extension(_usage(signs=True), critical=True)
    return _pair(draft.sign(key, hashes.SHA256()), key)


def new_server(authority: Pair, host: str, at: datetime) -> Pair:
    """A new key and certificate of the server on a host, whose name or address it is reached under."""
    signer, by = load(authority.certificate), _key(authority.key)
    key = ec.generate_private_key(ec.SECP256R1())
    draft = _draft(_name(host[:64]), signer.subject, key.public_key(), x509.random_serial_number(), at, server_days)
    names = x509.SubjectAlternativeName([_alternative(each) for each in dict.fromkeys((host, *_HERE))])
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    whose = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key())
    draft = draft.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    draft = draft.add_extension(_usage(signs=False), critical=True)
    draft = draft.add_extension(names, critical=False).add_extension(both, critical=False)
    return _pair(draft.add_extension(whose, critical=False).sign(by, hashes.SHA256()), key)


def load(pem: str) -> x509.Certificate:
    """Raises CertificateRefused."""
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        raise CertificateRefused("not a certificate") from None


def split(bundle: str) -> list[str]:
    """The certificates of a bundle, each by itself. Raises CertificateRefused."""
    try:
        return [_pem(each) for each in x509.load_pem_x509_certificates(bundle.encode())]
    except ValueError:
        raise CertificateRefused("not certificates") from None


def check_key(pair: Pair) -> None:
    """Raises CertificateRefused if the key is not that of the certificate."""
    if _key(pair.key).public_key() != load(pair.certificate).public_key():
        raise CertificateRefused("not the key of its certificate")


def is_signed_by(certificate: str, authorities: Sequence[str]) -> bool:
    """Whether one of these authorities signed a certificate."""
    return any(_signed(load(certificate), load(each)) for each in authorities)


def is_for(certificate: str, host: str) -> bool:
    """Whether a server on this host may show it."""
    names = load(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return _alternative(host) in list(names)


def valid_until(certificate: str) -> datetime:
    """The last moment at which it is believed."""
    return load(certificate).not_valid_after_utc


def _signed(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _draft(
    name: x509.Name, by: x509.Name, public: ec.EllipticCurvePublicKey, serial: int, at: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(by)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(at - _early)
        .not_valid_after(at + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key(pem: str) -> ec.EllipticCurvePrivateKey:
    """Raises CertificateRefused."""
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError):
        raise CertificateRefused("not a key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateRefused("not a key on an elliptic curve")
    return key


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(_pem(certificate), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
