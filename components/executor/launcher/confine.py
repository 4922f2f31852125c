"""What a task cannot reach: its agent's files, other tasks' sandboxes, every process that is not its own.

    a mount namespace of its own    covers lie on what is hidden, its own sandbox is back in its place
    a user namespace of its own     it can look into no process outside; where the launcher is root, a Landlock domain
                                    does that, because root in a user namespace has no ports and no limits to raise
    no powers                       to undo this, or to go around it

Rule of this room: what can be looked up is looked up before the fork. In the child the first call that fails ends it:
a task is confined, or it is not executed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache

from components.executor.launcher.volumes import NotShared, Volume

_NEWNS, _NEWUSER = 0x20000, 0x10000000
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_COVER = _NOSUID | _NODEV | _NOEXEC
_SET_DUMPABLE, _CAPBSET_DROP, _SET_NO_NEW_PRIVS, _CAP_AMBIENT, _AMBIENT_CLEAR_ALL = 4, 24, 38, 47, 4
_MOUNT_SETATTR, _CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 442, 444, 445, 446
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_REFER, _PATH_BENEATH = 1 << 13, 1
_CAPABILITY_VERSION = 0x20080522
KEPT = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "FSETID": 4,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "SETPCAP": 8,
    "NET_BIND_SERVICE": 10,
    "SYS_CHROOT": 18,
    "AUDIT_WRITE": 29,
}
"""What a task of root may still do. Not among it: NET_RAW, which hears the bus's passwords on the wire. SYS_CHROOT
leads nowhere: covers are mounts, and lie on whatever root directory there is. (capabilities(7))
"""
_RAW_DISKS = ("/sys/class/block", "/sys/class/bsg", "/sys/class/scsi_generic", "/sys/class/nvme-generic")


def _capabilities() -> range:
    """Those this kernel knows."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        return range(int(file.read()) + 1)


_NOT_KEPT = sorted(set(_capabilities()) - set(KEPT.values()))
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.syscall.restype = ctypes.c_long
_mount, _unshare, _prctl, _syscall = _libc.mount, _libc.unshare, _libc.prctl, _libc.syscall
_capget, _capset = _libc.capget, _libc.capset


Step = tuple[str, Callable[..., int], tuple[object, ...]]
"""A system call that is known before the fork: what is said if it fails, the call, its arguments."""


class _Hidden:
    """What is hidden from every task of an executor, and the calls that hide it, while it is the same files."""

    __slots__ = ("covers", "directories", "found", "hide", "locks", "ways")

    def __init__(self, hide: tuple[str, ...], found: tuple[object, ...]) -> None:
        self.hide, self.found = hide, found
        hidden = _outermost(map(os.path.realpath, hide))
        self.directories = [path for path in hidden if os.path.isdir(path)]
        files = [path for path in hidden if os.path.isfile(path)]
        self.ways = sorted({parent for path in (*self.directories, *files) for parent in _parents(path)})
        self.covers = [
            *(_mounting("tmpfs", path, _COVER, "tmpfs", "mode=755") for path in self.directories),
            *(_mounting("/dev/null", path, _BIND) for path in files),
        ]
        self.locks = [_mounting(None, path, _REMOUNT | _BIND | _RDONLY | _COVER) for path in self.directories]


_latest: list[_Hidden] = []
"""At most one: to look it up takes longer than to hide it, and it is the same from task to task."""


def _now_hidden(hide: tuple[str, ...]) -> _Hidden:
    found = tuple(map(_identity, hide))
    if not _latest or (_latest[0].hide, _latest[0].found) != (hide, found):
        _latest[:] = [_Hidden(hide, found)]
    return _latest[0]


def _identity(path: str) -> tuple[int, int, int] | None:
    """Which file a path leads to now, and of what type."""
    try:
        about = os.stat(path)
    except OSError:
        return None
    return about.st_dev, about.st_ino, stat.S_IFMT(about.st_mode)


class Confinement:
    """What one task is to be kept from, as it is on this machine now."""

    __slots__ = ("_disks", "_hidden", "_kept", "_pins", "capabilities", "root", "sandbox", "volumes")

    def __init__(
        self, sandbox: str, hide: Iterable[str], keep: Iterable[str] = (), volumes: Sequence[Volume] = ()
    ) -> None:
        """`keep` names directories that stay in their place although they are inside of what is hidden."""
        self.root = os.geteuid() == 0
        self.sandbox, self.volumes = sandbox, volumes
        self._hidden = hidden = _now_hidden(tuple(hide))
        self._kept = list(dict.fromkeys(path for each in (sandbox, *keep) for path in (_real(each), each)))
        self._pins = [_mounting(way, way, _BIND | _REC) for way in _movable(hidden.ways)]
        self._disks = [_mounting("/dev/null", disk, _BIND) for disk in _disks()] if self.root else []
        self.capabilities = _permitted() & sum(1 << number for number in KEPT.values()) if self.root else 0

    def enter(self) -> None:
        """Be confined from now on, in the child. Raises PermissionError that says what this kernel forbids."""
        try:
            self._leave_the_machine()
            shared = [_opened(volume.source) for volume in self.volumes]
            self._cover()
            self._share(shared)
            if self.root:
                take(_SHUT_THE_KERNEL)
                _enter_domain()
                take(_FORGO_BOUNDING)
            else:
                take((_NO_NEW_PRIVS,))
            _forgo(self.capabilities)
        except NotShared:
            raise
        except OSError as error:
            raise PermissionError(f"{UNCONFINABLE}: {error}") from None

    def _leave_the_machine(self) -> None:
        """Into namespaces of its own, with the ids it has."""
        if self.root:
            _call("unshare", _unshare(_NEWNS))
        else:
            uid, gid = os.geteuid(), os.getegid()
            _prctl(_SET_DUMPABLE, 1, 0, 0, 0)  # else the files below are root's
            _call("unshare", _unshare(_NEWUSER | _NEWNS))
            _write("/proc/self/setgroups", "deny")
            _write("/proc/self/uid_map", f"{uid} {uid} 1")
            _write("/proc/self/gid_map", f"{gid} {gid} 1")
            _prctl(_SET_DUMPABLE, 0, 0, 0, 0)  # until it executes something: this is the launcher's memory
        _attach(None, "/", _REC | _PRIVATE)

    def _cover(self) -> None:
        take(self._pins)
        kept = [_opened(path) for path in self._kept]
        take(self._hidden.covers)
        take(self._disks, passing_over=errno.ENOENT)
        for directory, path in zip(kept, self._kept, strict=True):
            _put_back(directory, path)
            os.close(directory)
        take(self._hidden.locks)

    def _share(self, shared: Sequence[int]) -> None:
        """Mount what the task shares with others, where it finds it. Raises NotShared."""
        for volume, directory in zip(self.volumes, shared, strict=True):
            try:
                target = volume.target(self.sandbox)
                _attach(f"/proc/self/fd/{directory}", target, _BIND)
                if volume.read_only:
                    take((_being_read_only(target, 0),))
            except NotShared:
                raise
            except OSError as error:
                raise NotShared(f"volume at {volume.at}: {error}") from None
            os.close(directory)
        if any(volume.absolute for volume in self.volumes):
            # a program that gets another user's rights by being executed would take for that user's what is mounted
            take((_NO_NEW_PRIVS,))


UNCONFINABLE = "the task cannot be confined, and its agent was not started with --unconfined"


def _outermost(paths: Iterable[str]) -> list[str]:
    """Those that are not inside another one, in order."""
    found: list[str] = []
    for path in sorted(set(paths)):
        if not any(path.startswith(f"{outer}/") for outer in found):
            found.append(path)
    return found


def _movable(ways: Iterable[str]) -> list[str]:
    """The directories on the way to what is hidden that might be renamed, and then it would be elsewhere.

    A directory on which something is mounted cannot be. (rename(2): EBUSY)
    """
    return [way for way in ways if os.access(os.path.dirname(way), os.W_OK)]


def _parents(path: str) -> Iterator[str]:
    while (path := os.path.dirname(path)) != "/":
        yield path


def _disks() -> tuple[str, ...]:
    """The devices through which root would read a file system without asking it, whether they are in /dev or not."""
    return tuple(f"/dev/{name.replace('!', '/')}" for directory in _RAW_DISKS for name in _names(directory))


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _real(directory: str) -> str:
    """Where a directory really is: the kernel tells sooner than a look at each part of its path."""
    try:
        found = _opened(directory)
    except OSError:
        return os.path.realpath(directory)
    try:
        return os.readlink(f"/proc/self/fd/{found}")
    finally:
        os.close(found)


def _opened(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _being_read_only(path: str, flags: int) -> Step:
    """mount_setattr(2): what else is true of the mount stays true."""
    attributes = struct.pack("=4Q", _RDONLY, 0, 0, 0)
    given = (_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(path), flags, attributes, len(attributes))
    return f"mount_setattr {path}", _syscall, given


def _put_back(directory: int, path: str) -> None:
    """See to it that a directory is what is at a path."""
    try:
        there = os.path.samestat(os.stat(path), os.fstat(directory))
    except FileNotFoundError:
        there = False
        os.makedirs(path)
    if not there:
        _attach(f"/proc/self/fd/{directory}", path, _BIND | _REC)


@lru_cache(maxsize=256)
def _mounting(source: str | None, target: str, flags: int, kind: str | None = None, options: str | None = None) -> Step:
    """mount(2)."""
    parts = [None if part is None else os.fsencode(part) for part in (source, target, kind, options)]
    return f"mount {target}", _mount, (parts[0], parts[1], parts[2], flags, parts[3])


def _attach(source: str | None, target: str, flags: int) -> None:
    take((_mounting(source, target, flags),))


def _enter_domain() -> None:
    """A Landlock domain: whoever is in it can look into nobody outside it, and mount nothing. (landlock(7))

    It must restrict something else, too: that is links and renames between directories, which are then allowed.
    """
    handled = struct.pack("=Q", _REFER)
    rules = _syscall(_CREATE_RULESET, handled, len(handled), 0)
    _call("landlock", rules)
    everywhere = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    _call("landlock", _syscall(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", _REFER, everywhere), 0))
    _call("landlock", _syscall(_RESTRICT_SELF, rules, 0))
    os.close(everywhere)
    os.close(rules)


@cache
def _permitted() -> int:
    """The capabilities this process has; the launcher gives none up."""
    sets = (ctypes.c_uint32 * 6)()
    _call("capget", _capget((ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), sets))
    return int(sets[1]) | int(sets[4]) << 32


def _forgo(kept: int) -> None:
    """Have no capability but these, hand down none."""
    low, high = kept & 0xFFFFFFFF, kept >> 32
    _call("ambient", _prctl(_CAP_AMBIENT, _AMBIENT_CLEAR_ALL, 0, 0, 0))
    sets = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    _call("capset", _capset((ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), sets))


def _write(path: str, text: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    os.write(file, text.encode())
    os.close(file)


def take(steps: Iterable[Step], passing_over: int = 0) -> None:
    """Make the calls one after another. Raises the OSError of the first that fails with another error than this."""
    for what, call, given in steps:
        if call(*given) < 0 and ctypes.get_errno() != passing_over:
            _call(what, -1)


def _call(what: str, result: int) -> None:
    """Raise the OSError of a system call that failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


_NO_NEW_PRIVS: Step = ("no_new_privs", _prctl, (_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
_FORGO_BOUNDING: list[Step] = [("bounding set", _prctl, (_CAPBSET_DROP, number, 0, 0, 0)) for number in _NOT_KEPT]
"""Never get another capability by executing something, not even as root."""
_SHUT_THE_KERNEL = (
    _mounting("/proc/sys", "/proc/sys", _BIND | _REC),
    _being_read_only("/proc/sys", _AT_RECURSIVE),
    _being_read_only("/sys", _AT_RECURSIVE),
)
"""What root writes there has the kernel itself start programs, outside of everything: core_pattern, ..."""


def be_undumpable() -> None:
    """Leave no core, and be looked into by nobody of the same user. (prctl(2): PR_SET_DUMPABLE)"""
    _call("prctl", _prctl(_SET_DUMPABLE, 0, 0, 0, 0))


def obstacle(directory: str) -> str | None:
    """Why tasks cannot be confined on this machine; tried with a child that does nothing else."""
    confinement = Confinement(directory, [directory])
    told, report = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            confinement.enter()
        except BaseException as problem:
            os.write(report, str(problem).encode())
        os._exit(0)
    os.close(report)
    with open(told, encoding="utf-8") as said:
        why = said.read()
    os.waitpid(pid, 0)
    return why or None
