"""How most main processes come to be where the launcher is root: a thread is confined, and spawns from there.

What a process inherits is its thread's: namespaces, Landlock domain, powers. So nothing has to be copied for it.
Measured, CPU time of /bin/true until it is reaped: spawned plainly 0.6 ms, from a confined thread 1.5, by a forked and
confined child 3.0, because after a fork both sides copy every page that their Python touches.
Others than root fork: no process with threads can enter a user namespace (unshare(2): EINVAL). So does what must be
done as the task's user, or with its secrets, before it executes.

Rule of this room: a thread waits for the word as a forked child does, and before the word there is no process.
"""

from __future__ import annotations

import _thread
import errno
import os
import resource
import signal
from collections.abc import Mapping, Sequence
from functools import cache

from components.executor.launcher.confine import Confinement

DESCRIPTORS = resource.getrlimit(resource.RLIMIT_NOFILE)
"""The limits this process was started with: its tasks have them, too."""


class Spawning:
    """A process that is to be; it is there once its outcome was asked for."""

    __slots__ = (
        "_argv",
        "_confinement",
        "_done",
        "_env",
        "_files",
        "_given_up",
        "_sandbox",
        "_why",
        "_word",
        "error",
        "pid",
    )

    def __init__(
        self,
        argv: list[str],
        env: Mapping[str, str],
        sandbox: str,
        confinement: Confinement,
        files: Sequence[int],
    ) -> None:
        """Have a thread prepare everything. It closes the files: stdin, stdout, stderr. Raises OSError."""
        self._argv, self._env, self._sandbox, self._confinement, self._files = argv, env, sandbox, confinement, files
        self.pid = 0
        self._why: BaseException | None = None
        self._given_up = False
        self._word, self._done = _thread.allocate_lock(), _thread.allocate_lock()
        self._word.acquire()
        self._done.acquire()
        self.error, ready = os.pipe()
        """Readable once it can be executed, or never will be."""
        try:
            _thread.start_new_thread(self._live, (ready,))
        except RuntimeError as error:
            os.close(ready)
            os.close(self.error)
            raise OSError(errno.EAGAIN, str(error)) from None

    def go(self) -> None:
        """Let it execute, when its outcome is asked for."""

    def abandon(self) -> None:
        """Let it never execute anything."""
        self._given_up = True
        self._word.release()
        os.close(self.error)

    disown = abandon

    def outcome(self) -> str | None:
        """Once `error` is readable: execute; why nothing was executed, None if the command was. Closes it."""
        os.close(self.error)
        self._word.release()
        self._done.acquire()
        return None if self._why is None else str(self._why) or "the command was not executed"

    # ---- in the thread

    def _live(self, ready: int) -> None:
        path = ""
        try:
            self._confinement.enter()
            os.chdir(self._sandbox)
            path = _found(self._argv[0], self._env)  # asked here, a disk that does not answer holds up nobody else
        except BaseException as problem:
            self._why = problem
        os.close(ready)
        self._word.acquire()
        try:
            if self._why is None and not self._given_up:
                self.pid = self._spawn(path)
        except OSError as error:
            self._why = OSError(error.errno, error.strerror, self._argv[0])
        except BaseException as problem:
            self._why = problem
        for file in self._files:
            os.close(file)
        self._done.release()

    def _spawn(self, path: str) -> int:
        """Nobody else runs meanwhile: who asks for the outcome waits, so the limits of this process are the child's."""
        now = resource.getrlimit(resource.RLIMIT_NOFILE)
        if now != DESCRIPTORS:
            resource.setrlimit(resource.RLIMIT_NOFILE, DESCRIPTORS)
        try:
            return os.posix_spawn(
                path,
                self._argv,
                self._env,
                file_actions=[(os.POSIX_SPAWN_DUP2, file, target) for target, file in enumerate(self._files)],
                setsid=True,
                setsigmask=(),
                setsigdef=changed_signals(),
            )
        finally:
            if now != DESCRIPTORS:
                resource.setrlimit(resource.RLIMIT_NOFILE, now)


@cache
def changed_signals() -> tuple[int, ...]:
    """The signals that are not as a program finds them: once the launcher serves, always the same."""
    numbers = map(int, signal.valid_signals())
    return tuple(number for number in numbers if signal.getsignal(number) not in (signal.SIG_DFL, None))


def _found(name: str, env: Mapping[str, str]) -> str:
    """What a name means to a task, looked up in its own PATH. Raises OSError. (execvp(3))"""
    if "/" in name:
        return name
    paths = [f"{directory}/{name}" for directory in os.get_exec_path(env)]
    for path in paths:
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    number = errno.EACCES if any(map(os.path.exists, paths)) else errno.ENOENT
    raise OSError(number, os.strerror(number), name)
