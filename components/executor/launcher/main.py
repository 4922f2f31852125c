"""The launcher process: one for each work directory, attached to by one executor at a time.

    {"do": "attach", "epoch": 3}                                  {"say": "attached", "pid", "tasks", "obstacle"}
    {"do": "launch", "task", "sandbox", "argv", "env", "user",    {"say": "started", "task", "pid"}
     "hide", "secrets": {"env", "files", "owned"},
     "volumes": [{"from", "at", "read_only"}]}
    {"do": "watch", "task", "sandbox"}                            {"say": "failed", "task", "message"}
    {"do": "kill", "task", "sandbox", "grace_s"}                  {"say": "ended", "task", "status", "stopped"}
    {"do": "check", "check", "purpose", "timeout_s", as launch}    {"say": "checked", "check", "status", "message"}
    {"do": "ping"}                                                {"say": "pong"}
    {"do": "shutdown", "grace_s"}                                 {"say": "refused", "message"}

`obstacle` is why tasks cannot be confined here, null if they can. `hide` is a list of paths; null: do not confine.

Rule of this room: an executor of an older term is refused. It exits when told to, or when nobody is attached and
nothing runs for a while. Its own directory is hidden from whatever it confines.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import NoReturn

from components.executor.launcher.birth import HANDLED, IGNORED, Order
from components.executor.launcher.checks import Checks
from components.executor.launcher.confine import be_undumpable, obstacle
from components.executor.launcher.journal import Journal
from components.executor.launcher.loop import Loop
from components.executor.launcher.records import log
from components.executor.launcher.secrets import secrets_in
from components.executor.launcher.table import Table
from components.executor.launcher.volumes import volumes_in
from components.executor.launcher.wire import Connection, Message

LOCK, SOCKET = "launcher.lock", "launcher.sock"
HELD = 75
"""Exit status if another launcher has the work directory. (sysexits.h: EX_TEMPFAIL)"""
connections_max = 16
shutdown_grace_s = 3.0
descriptors_max = 65536
_PR_SET_CHILD_SUBREAPER, _PR_SET_NAME = 36, 15


class Launcher:
    """The tasks of one work directory, and who asks for them."""

    def __init__(self, path: str, work: int, listening: socket.socket, idle_s: float) -> None:
        self.path, self.work, self.listening, self.idle_s = path, work, listening, idle_s
        self.obstacle: str | None = None
        self.loop = Loop()
        self.table = Table(self.loop, Journal(f"/proc/self/fd/{work}"), self._tell)
        self.checks = Checks(self.loop, self._tell)
        self.table.on_reaped = self.checks.reaped
        self.connections: list[Connection] = []
        self.attached: Connection | None = None
        self.epoch = 0
        self.ending = False
        self.idle_since = time.monotonic()

    def run(self) -> None:
        """Serve until told to end, or idle for long."""
        self.obstacle = obstacle(self.path)
        log(self.obstacle or "tasks can be confined")
        came = _signals()
        self.loop.watch(came, lambda _mask: self._signalled(os.read(came, 4096)))
        self.listening.setblocking(False)
        self.loop.watch(self.listening.fileno(), lambda _mask: self._accept())
        self.table.adopt_all()
        self._tick()
        while not self._over():
            self.loop.turn()

    def _over(self) -> bool:
        if (self.connections and not self.ending) or self.table.tasks or self.table.records.unwritten:
            self.idle_since = time.monotonic()
        return not self.table.tasks and (self.ending or time.monotonic() - self.idle_since >= self.idle_s)

    def _tick(self) -> None:
        """Look now and then whether anybody can still reach us; if the work directory is gone, nobody can."""
        if os.fstat(self.work).st_nlink == 0:
            log("the work directory is gone")
            self._shutdown(0.0)
        self.loop.alarm("tick", time.monotonic() + self.idle_s / 2, self._tick)

    def _signalled(self, numbers: bytes) -> None:
        if signal.SIGTERM in numbers:
            self._shutdown(shutdown_grace_s)
        self.table.reap()

    def _accept(self) -> None:
        try:
            sock, _ = self.listening.accept()
        except BlockingIOError:
            return
        _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in (0, os.geteuid()) or len(self.connections) >= connections_max:
            sock.close()
        else:
            self.connections.append(Connection(self.loop, sock, self._hear, self._hung_up))

    def _hung_up(self, connection: Connection) -> None:
        self.connections.remove(connection)
        if self.attached is connection:
            self.attached = None

    def _tell(self, message: Message) -> None:
        if self.attached is not None:
            self.attached.say(message)

    def _hear(self, connection: Connection, message: Message) -> None:
        match message:
            case {"do": "ping"}:
                connection.say({"say": "pong"})
            case {"do": "attach", "epoch": int(epoch)}:
                self._attach(connection, epoch)
            case {"do": "shutdown", "grace_s": int() | float() as grace_s}:
                self._shutdown(grace_s)
            case {"do": "launch" | "watch" | "kill" | "check"} if connection is self.attached:
                if not self.ending:  # else it will be told to the next launcher
                    self._order(message)
            case _:
                connection.say({"say": "refused", "message": f"not attached, or not understood: {message.get('do')}"})

    def _attach(self, connection: Connection, epoch: int) -> None:
        if epoch < self.epoch:
            connection.say({"say": "refused", "message": f"this launcher serves term {self.epoch}, not {epoch}"})
            return
        if self.attached is not None and self.attached is not connection:
            self.attached.close()
        self.attached, self.epoch = connection, epoch
        tasks = {task.id: task.sandbox.path for task in self.table.tasks.values()}
        connection.say({"say": "attached", "pid": os.getpid(), "tasks": tasks, "obstacle": self.obstacle})

    def _order(self, message: Message) -> None:
        match message:
            case {"do": "check", "check": int(number), "timeout_s": int() | float() as timeout_s}:
                order = self._order_in(message, check=True)
                if order is not None and order.task in self.table.tasks:
                    self.checks.begin(order, str(message.get("purpose")), number, timeout_s)
            case {"do": "launch"}:
                order = self._order_in(message)
                if order is not None:
                    self.table.launch(order)
            case {"do": "watch", "task": str(task), "sandbox": str(sandbox)}:
                self.table.watch(task, sandbox)
            case {"do": "kill", "task": str(task), "sandbox": str(sandbox), "grace_s": int() | float() as grace_s}:
                self.table.kill(task, sandbox, grace_s)

    def _order_in(self, message: Message, *, check: bool = False) -> Order | None:
        match message:
            case {"task": str(task), "sandbox": str(sandbox), "argv": list(argv), "env": dict(env)}:
                user, hide = message.get("user"), self._hidden(message.get("hide", []))
                secrets, as_user = secrets_in(message.get("secrets")), None if user is None else str(user)
                return Order(
                    task, sandbox, argv, env, as_user, secrets, hide, check, volumes_in(message.get("volumes"))
                )
        return None

    def _hidden(self, told: object) -> list[str] | None:
        return [self.path, *map(str, told)] if isinstance(told, list) else None

    def _shutdown(self, grace_s: float) -> None:
        """Kill everything, then end."""
        self.ending = True
        self.table.stop(grace_s)


def _signals() -> int:
    """A file descriptor that becomes readable with the numbers of the signals that came."""
    came, told = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    for number in HANDLED:
        signal.signal(number, lambda *_: None)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return came


def _lock(work: int) -> int:
    lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=work)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(HELD)
    return lock


def _listen(work: int) -> socket.socket:
    """A socket in the work directory, whose path may be longer than the 107 bytes an address can hold."""
    _unlink(work)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o077)
    listening.bind(f"/proc/self/fd/{work}/{SOCKET}")
    os.umask(mask)
    listening.listen(connections_max)
    return listening


def _unlink(work: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(SOCKET, dir_fd=work)


def _detach(path: str) -> None:
    """Go on as nobody's child, in the background; who started us sees a clean exit once the socket listens."""
    sys.stderr.flush()
    if os.fork():
        os._exit(0)
    with open(os.devnull, "r+b") as null, open(f"{path}/launcher.log", "ab") as said:
        os.dup2(null.fileno(), 0)
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)


def _become_subreaper() -> None:
    """Be the parent of every orphan below us, and be called by our name in lists of processes. (prctl(2))"""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NAME, b"busbar-launcher", 0, 0, 0)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError("this kernel has no child subreapers")


def _want_descriptors() -> None:
    """Two for each task that starts, one for each that was adopted; tasks get the limit back that we were given."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = descriptors_max if hard == resource.RLIM_INFINITY else min(hard, descriptors_max)
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def main(path: str, idle_s: float) -> NoReturn:
    """Be the launcher of a work directory, unless there is one."""
    os.umask(0o022)
    os.chdir("/")
    work = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    lock = _lock(work)
    launcher = Launcher(path, work, _listen(work), idle_s)
    _detach(path)
    os.pwrite(lock, f"{os.getpid():<10}\n".encode(), 0)
    _become_subreaper()
    be_undumpable()
    _want_descriptors()
    launcher.run()
    _unlink(work)
    sys.exit(0)
