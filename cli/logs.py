"""A task's files, read piece by piece through its agent.

Rule of this room: bytes go out as they came in.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator

from bus.queries import LogPiece, LogQuestion, TaskRow
from cli.pipe import while_read
from cli.session import NotThere, Session, agent

piece_bytes = 65_536
look_again_s = 0.25
"""Between two looks at a file that grows."""
agent_away_s = 60.0
"""How long an agent may be away while its file is followed."""


async def print_log(session: Session, row: TaskRow, file: str, *, follow: bool) -> None:
    """Print a task's file, and what is added to it until the task ends if `follow`."""
    if session.out.as_json and not follow:
        text = b"".join([piece.data async for piece in pieces(session, row, file, follow=False)])
        session.out.show({"task": row.task, "file": file, "text": text.decode(errors="replace")})
        return
    with while_read():
        async for piece in pieces(session, row, file, follow=follow):
            _print(session, piece)


def _print(session: Session, piece: LogPiece) -> None:
    if session.out.as_json:
        session.out.line({"offset": piece.offset, "text": piece.data.decode(errors="replace")}, "")
        return
    sys.stdout.buffer.write(piece.data)
    sys.stdout.buffer.flush()


async def pieces(session: Session, row: TaskRow, file: str, *, follow: bool) -> AsyncIterator[LogPiece]:
    """The pieces of a task's file from its beginning."""
    offset = 0
    while True:
        piece = await _ask(
            session, row, LogQuestion(task=row.task, file=file, offset=offset, limit=piece_bytes), follow
        )
        if piece.data:
            yield piece
        offset = piece.offset + len(piece.data)
        if offset < piece.size:
            continue
        if piece.ended or not follow:
            return
        await asyncio.sleep(look_again_s)


async def _ask(session: Session, row: TaskRow, question: LogQuestion, patient: bool) -> LogPiece:
    deadline = time.monotonic() + agent_away_s
    while True:
        try:
            return await session.ask(agent(row.agent), "log", LogPiece, question)
        except NotThere:
            if not patient or time.monotonic() >= deadline:
                raise
            await asyncio.sleep(look_again_s)
