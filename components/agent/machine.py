"""What a machine has that an agent can share out."""

from __future__ import annotations

import os

from bus import logs
from bus.nouns import Resources

log = logs.get_logger()

DEFAULT_CPU_MILLI, DEFAULT_MEM_MB, DEFAULT_DISK_MB = 1000, 1024, 10 * 1024
"""Where the machine does not tell. (Mesos: `constants.hpp` DEFAULT_CPUS, DEFAULT_MEM, DEFAULT_DISK)"""
DEFAULT_PORTS = ((31000, 32000),)
_GB = 1024  # in MB


def detect_resources(work: str) -> Resources:
    """What this machine can share out. (Mesos: `containerizer.cpp` Containerizer::resources)

    1 GB of memory and 5 GB of the work directory's file system stay with the machine, or half if there is little.
    """
    return Resources(
        cpu_milli=len(os.sched_getaffinity(0)) * 1000 or DEFAULT_CPU_MILLI,
        mem_mb=shared(_mem_mb(), at_least_mb=2 * _GB, kept_mb=_GB) or DEFAULT_MEM_MB,
        disk_mb=shared(_disk_mb(work), at_least_mb=10 * _GB, kept_mb=5 * _GB) or DEFAULT_DISK_MB,
        ports=DEFAULT_PORTS,
    )


def shared(total_mb: int, *, at_least_mb: int, kept_mb: int) -> int:
    """What remains of an amount when some is kept back: half if there is less than `at_least_mb`."""
    return total_mb - kept_mb if total_mb >= at_least_mb else total_mb // 2


def _mem_mb() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    except (OSError, ValueError) as error:
        log.warning("size of memory cannot be detected", why=str(error), assumed_mb=DEFAULT_MEM_MB)
        return 0


def _disk_mb(work: str) -> int:
    try:
        disk = os.statvfs(work)
        return disk.f_blocks * disk.f_frsize // 2**20
    except OSError as error:
        log.warning("size of disk cannot be detected", work=work, why=str(error), assumed_mb=DEFAULT_DISK_MB)
        return 0
