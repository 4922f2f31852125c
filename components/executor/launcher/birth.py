"""How a task's main process comes to be: fork, be confined, wait for the word, execute; or as in `spawning`.

Rule of this room: between fork and exec the child touches only itself, and leaves through `os._exit` or a signal.
"""

from __future__ import annotations

import os
import pwd
import resource
import signal
import stat
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import NoReturn

from components.executor.launcher.confine import Confinement
from components.executor.launcher.secrets import Secrets
from components.executor.launcher.spawning import DESCRIPTORS, Spawning, changed_signals
from components.executor.launcher.volumes import Volume, link, prepare, still_there

STDIN, STDOUT, STDERR = 0, 1, 2
HANDLED = (signal.SIGCHLD, signal.SIGTERM)
"""The signals for which the launcher has handlers."""
IGNORED = (signal.SIGINT, signal.SIGHUP)


class Order:
    """What is to be executed, where, as whom, and what is hidden from it; None: it is not confined at all.

    A check is no task: what it prints is all in stderr, and it finds the task's secrets where the task has them. Its
    sandbox has been the task's for a while, which may have put anything anywhere: nothing in it is changed for a check.
    """

    __slots__ = ("argv", "check", "env", "hide", "sandbox", "secrets", "task", "user", "volumes")

    def __init__(
        self,
        task: str,
        sandbox: str,
        argv: Sequence[str],
        env: dict[str, str],
        user: str | None,
        secrets: Secrets,
        hide: Sequence[str] | None,
        check: bool = False,
        volumes: Sequence[Volume] = (),
    ) -> None:
        self.task, self.sandbox, self.argv, self.env, self.user = task, sandbox, list(argv), env, user
        self.secrets, self.hide, self.check, self.volumes = secrets, hide, check, volumes


class Newborn:
    """A forked child that waits for the word before it executes its command."""

    __slots__ = ("_word", "error", "pid")

    def __init__(self, pid: int, word: int, error: int) -> None:
        self.pid, self._word, self.error = pid, word, error

    def go(self) -> None:
        """Let it execute."""
        os.write(self._word, b"!")
        os.close(self._word)

    def abandon(self) -> None:
        """Let it die without having executed anything."""
        os.close(self._word)
        self.disown()

    def disown(self) -> None:
        """Ask no more what became of it."""
        os.close(self.error)

    def outcome(self) -> str | None:
        """Once `error` is readable: why nothing was executed, None if the command was. Closes it."""
        message = os.read(self.error, 4096)
        self.disown()
        return message.decode("utf-8", "replace") or None


class _Person:
    """As whom a command is executed."""

    __slots__ = ("entry", "groups", "switch")

    def __init__(self, name: str | None) -> None:
        self.entry = _entry(name)
        self.switch = name is not None and self.entry is not None and self.entry.pw_uid != os.geteuid()
        if self.switch and os.geteuid() != 0:
            raise PermissionError(f"cannot run as user {name!r}: the executor does not run as root")
        self.groups = os.getgrouplist(self.entry.pw_name, self.entry.pw_gid) if self.switch and self.entry else []

    @property
    def env(self) -> dict[str, str]:
        if self.entry is None:
            return {"HOME": "/"}
        return {"HOME": self.entry.pw_dir, "USER": self.entry.pw_name, "LOGNAME": self.entry.pw_name}

    def become(self) -> None:
        if self.switch and self.entry:
            os.setgroups(self.groups)
            os.setgid(self.entry.pw_gid)
            os.setuid(self.entry.pw_uid)

    def own(self, target: int | str) -> None:
        if self.switch and self.entry:
            os.chown(target, self.entry.pw_uid, self.entry.pw_gid)


def _entry(name: str | None) -> pwd.struct_passwd | None:
    if name is None:
        return _own_entry()
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise LookupError(f"user {name!r} does not exist on this host") from None


@cache
def _own_entry() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(os.geteuid())
    except KeyError:
        return None


def bear(order: Order) -> Newborn | Spawning:
    """Who will execute the order when told to. Raises OSError, LookupError or ValueError."""
    person = _Person(order.user)
    env = person.env | order.env
    if order.check and order.hide is not None:
        still_there(order.sandbox, order.volumes)
    if not order.check:
        person.own(order.sandbox)
        prepare(order.volumes)
    confinement = None
    if order.hide is None and not order.check:
        link(order.sandbox, order.volumes)
    elif order.hide is not None:
        confinement = Confinement(order.sandbox, order.hide, order.secrets.directories, order.volumes)
    opened: list[int] = []
    try:
        _open_files(order, person, opened)
        if confinement is None or not confinement.root or person.switch or order.check or order.secrets:
            return _fork(order, env, person, confinement, opened)
        return _spawn(order, env, confinement, opened)
    finally:
        for fd in opened:
            os.close(fd)


def _fork(
    order: Order, env: dict[str, str], person: _Person, confinement: Confinement | None, opened: list[int]
) -> Newborn:
    opened += os.pipe()
    opened += os.pipe()
    stdin, stdout, stderr, wait, word, error, report = opened
    pid = _fork_quietly()
    if pid == 0:
        _live(order, env, person, confinement, (stdin, stdout, stderr), wait, report)
    opened[:] = [stdin, stdout, stderr, wait, report]
    return Newborn(pid, word, error)


def _spawn(order: Order, env: dict[str, str], confinement: Confinement, opened: list[int]) -> Spawning:
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)  # these are the main thread's
    try:
        spawning = Spawning(order.argv, env, order.sandbox, confinement, tuple(opened))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
    opened.clear()
    return spawning


def _open_files(order: Order, person: _Person, opened: list[int]) -> None:
    opened.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
    if order.check:
        opened.append(_stderr_of(order.sandbox))
        opened.append(os.dup(opened[-1]))
        return
    for name in ("stdout", "stderr"):
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        opened.append(os.open(f"{order.sandbox}/{name}", flags, 0o644))
        person.own(opened[-1])


def _stderr_of(sandbox: str) -> int:
    """Where a check prints: to what the task has put there by now, if it is a file and nobody else's; else nowhere."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with suppress(OSError):
        file = os.open(f"{sandbox}/stderr", flags)
        about = os.fstat(file)
        if stat.S_ISREG(about.st_mode) and about.st_nlink == 1:
            return file
        os.close(file)
    return os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)


def _fork_quietly() -> int:
    """Fork with signals blocked that would run the launcher's handlers in the child, which lets them in when ready."""
    changed_signals()  # looked up here, once, instead of in each child
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return pid


def _live(
    order: Order,
    env: dict[str, str],
    person: _Person,
    confinement: Confinement | None,
    files: tuple[int, int, int],
    wait: int,
    report: int,
) -> NoReturn:
    try:
        os.setsid()
        _forget_descriptors(files, wait, report)
        _forget_signals()
        problem = _readied(order, env, person, confinement)  # while the launcher writes down that this process is
        if not os.read(wait, 1):
            os.kill(os.getpid(), signal.SIGKILL)  # the launcher is gone or changed its mind: this is no exit status
        os.umask(0o022)
        if problem is not None:
            raise problem
        person.become()
        if not order.check:
            order.secrets.place(order.sandbox)
        os.chdir(order.sandbox)
        _execute(order.argv, env)
    except BaseException as problem:
        os.write(report, str(problem).encode("utf-8", "backslashreplace")[:4096] or b"the command was not executed")
    os._exit(127)


def _readied(order: Order, env: dict[str, str], person: _Person, confinement: Confinement | None) -> OSError | None:
    """Have the secrets, and be confined if that is to be; or why that is not possible."""
    try:
        env |= order.secrets.environment()
        if not order.check:
            order.secrets.hand_over(person.own)
        if confinement is not None:
            confinement.enter()
    except OSError as problem:
        return problem
    return None


def _execute(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Execute, looked up in the task's own PATH; the error names what was asked for, not the last place looked in."""
    try:
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        raise OSError(error.errno, error.strerror, argv[0]) from None


def _forget_descriptors(files: tuple[int, int, int], wait: int, report: int) -> None:
    """Keep the three files and the two pipes, close the rest: the lock and other children's pipes above all."""
    for target, fd in zip((STDIN, STDOUT, STDERR), files, strict=True):
        os.dup2(fd, target)
    for fd in set(map(int, os.listdir("/proc/self/fd"))) - {STDIN, STDOUT, STDERR, wait, report}:
        with suppress(OSError):  # the one that listed them is closed already
            os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, DESCRIPTORS)


def _forget_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in changed_signals():
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
