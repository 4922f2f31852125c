"""Sandboxes are deleted while a file system is mounted in one of them, in the sight of this process only.

    unshare --mount python -m tests.components.agent.mounted DIR NAMESPACE_OF_THE_MACHINE WHERE

Rule of this room: what is mounted is a tmpfs of 64 kB, on a directory made for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from bus.nouns import TaskId
from components.agent.sandbox import Sandboxes
from tests.components.agent.play import told_logs

PLACE = {"sandbox": "sandboxes/t1/a dir/inside", "root": "sandboxes/t1", "trash": "trash/0123/inside"}


def main(work: str, machine: str, where: str) -> None:
    """Delete twice, with the mount and without it, and tell what was logged and what was left."""
    assert os.readlink("/proc/self/ns/mnt") not in ("", machine), "this is the machine's own namespace"
    sandboxes = Sandboxes(work)
    sandboxes.prepare()
    point = Path(work) / PLACE[where]
    for path in (point, Path(sandboxes.all) / "t1", Path(sandboxes.all) / "t2"):
        path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs", str(point)], check=True)
    (point / "precious").write_text("still here")
    with told_logs() as logs:
        sandboxes.delete([TaskId("t1"), TaskId("t2")])
    kept = (point / "precious").read_text() if (point / "precious").exists() else None
    meanwhile, mode = os.listdir(sandboxes.all), point.stat().st_mode & 0o777
    subprocess.run(["umount", str(point)], check=True)
    sandboxes.delete([TaskId("t3")])
    left = os.listdir(sandboxes.all) + os.listdir(sandboxes.trash)
    print(
        json.dumps(
            {"kept": kept, "mode": mode, "logs": logs, "point": str(point), "meanwhile": meanwhile, "left": left}
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
