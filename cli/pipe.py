"""The end of a stream that nobody reads any more: `busbar events tail -f | grep -m1 task.launched` ends with grep.

Rule of this room: a stream may have nothing to say for hours, so the reader's end is seen without writing. (GNU tail)
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def while_read() -> Iterator[None]:
    """End with BrokenPipeError as soon as standard output is a pipe without a reader."""
    pipe, loop, task = _stdout_pipe(), asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None, "commands run in tasks"
    left = False

    def leave() -> None:
        nonlocal left
        left = True
        loop.remove_reader(pipe)  # an error is reported until it is looked at no more
        task.cancel()

    try:
        if pipe >= 0:
            loop.add_reader(pipe, leave)
        yield
    except asyncio.CancelledError:
        if not left:
            raise
        raise BrokenPipeError(errno.EPIPE, "nobody reads standard output") from None
    finally:
        if pipe >= 0:
            loop.remove_reader(pipe)


def _stdout_pipe() -> int:
    """The file descriptor of standard output if that is a pipe, else -1."""
    try:
        descriptor = sys.stdout.fileno()
    except io.UnsupportedOperation:
        return -1
    return descriptor if stat.S_ISFIFO(os.fstat(descriptor).st_mode) else -1
