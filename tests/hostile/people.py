"""People and others who come in as anybody does: with a join token, through the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bus.credentials import Credentials, read_credentials
from tests.hostile.stage import Stage

command_s = 60


def token(stage: Stage, *whom: str) -> str:
    """A join token that an admin made."""
    return stage.cluster.run("access", "token", "create", *whom).strip().splitlines()[-1]


def joined(stage: Stage, file: Path, *whom: str) -> Credentials:
    """Somebody new."""
    stage.cluster.run("access", "join", "-o", str(file), stdin=token(stage, *whom))
    return read_credentials(file)


def command(*args: str, stage: Stage, stdin: str = "", credentials: Path | None = None) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command that somebody gives."""
    done = started(*args, stage=stage, credentials=credentials)
    out, err = done.communicate(stdin, timeout=command_s)
    return done.returncode, out, err


def started(*args: str, stage: Stage, credentials: Path | None = None) -> subprocess.Popen[str]:
    """A command that goes on."""
    who = ("--credentials", str(credentials)) if credentials else ()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BUSBAR_")}
    pipe = subprocess.PIPE
    argv = [sys.executable, "-m", "cli.main", *args, *who]
    env = inherited | {"BUSBAR_DATA": str(stage.data), "COLUMNS": "200"}
    return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=env)
