"""`busbar demo`: a datacenter for half a minute, and every claim about it checked.

Rule of this room: exit code 0 only if all was true; whatever happens nothing is left running, and nothing on the disk
but what a failed demo wrote.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from cli.claims import CLAIMS, Claim, Stage
from cli.datacenter import running
from cli.detach import detached
from cli.hold import supervisor_of
from cli.output import Failure, Output, Part
from cli.readiness import session_at
from cli.session import json_option
from cli.up import stop


class Verdict(msgspec.Struct, omit_defaults=True):
    """One claim, and what was seen."""

    claim: str
    true: bool
    seen: str
    took_s: float


@click.command()
@json_option
def demo(as_json: bool) -> None:
    """Boot a datacenter in a temporary directory, check every claim about it, and take it down again.

    \b
    Example:
        busbar demo
    """
    out, began = Output(as_json), time.monotonic()
    data = Path(tempfile.mkdtemp(prefix="busbar-demo-"))
    try:
        verdicts = [*_boot_and_check(data, out), _show(out, _left(data))]
    except BaseException:
        out.note(f"the logs are kept in {data / 'logs'}")
        raise
    took_s = round(time.monotonic() - began, 1)
    untrue = sum(not verdict.true for verdict in verdicts)
    summed = f"{len(verdicts) - untrue} claims are true, {untrue} are not; it took {took_s} s"
    out.show({"verdicts": verdicts, "took_s": took_s}, "", summed)
    if untrue:
        raise Failure(f"{untrue} claims are not true", next_=f"read the logs in {data / 'logs'}")
    shutil.rmtree(data)


def _boot_and_check(data: Path, out: Output) -> list[Verdict]:
    """Boot, check, and take down whatever happened."""
    try:
        began = time.monotonic()
        detached(["up", "--data", str(data), "--agents", "2"], data / "up.log")
        booted = Verdict(claim="It boots with one command.", true=True, seen=f"in {data}", took_s=_since(began))
        return [_show(out, booted), *asyncio.run(_check(data, out))]
    finally:
        asyncio.run(stop(data, supervisor_of(data), lambda _: None))


async def _check(data: Path, out: Output) -> list[Verdict]:
    """The verdict on each claim; after the first that is not true the others mean nothing."""
    verdicts: list[Verdict] = []
    async with session_at(data) as session:
        stage = Stage(session, data)
        for claim in CLAIMS:
            verdicts.append(_show(out, await _judge(claim, stage), stage.parts))
            if not verdicts[-1].true:
                break
    return verdicts


async def _judge(claim: Claim, stage: Stage) -> Verdict:
    began, said = time.monotonic(), (claim.__doc__ or "").strip()
    stage.parts = []
    try:
        return Verdict(claim=said, true=True, seen=await claim(stage), took_s=_since(began))
    except Failure as failure:
        return Verdict(claim=said, true=False, seen=failure.message, took_s=_since(began))


def _left(data: Path) -> Verdict:
    """Whether the end was one."""
    left = ", ".join(f"{process.name} is {process.pid}" for process in running(data))
    return Verdict(claim="Nothing is left running.", true=not left, seen=left or "no process", took_s=0)


def _since(began: float) -> float:
    return round(time.monotonic() - began, 2)


def _show(out: Output, verdict: Verdict, parts: Sequence[Part] = ()) -> Verdict:
    """Tell people one verdict as it falls."""
    if not out.as_json:
        mark = "ok   " if verdict.true else "FALSE"
        out.show(verdict, f"{mark}  {verdict.claim}  ({verdict.took_s} s)", f"       {verdict.seen}", *parts)
    return verdict
