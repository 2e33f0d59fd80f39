"""What a case of fuzzing may do: raise our own errors, write into its output folder, take little memory and time."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corontools.errors import DataError

# room beyond what the process has: what a hostile header announces doesn't fit
ROOM = 1 << 30
# memory that a case of a few kB may fill
MOST = 400 << 20
# seconds of the processor, and of the clock
LONGEST, LATEST = 10.0, 60.0
# characters of a message
LONG = 1200

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# event -> which of its arguments are paths that it changes
CHANGES = {
    "os.rename": (0, 1), "os.remove": (0,), "os.mkdir": (0,), "os.rmdir": (0,), "os.symlink": (1,), "os.link": (1,),
    "os.chmod": (0,), "os.truncate": (0,), "os.utime": (0,), "shutil.copyfile": (1,), "shutil.move": (0, 1),
    "shutil.rmtree": (0,), "os.chown": (0,),
}  # fmt: skip
# whose last argument may be a folder that the path begins in
RELATIVE = {"os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.chmod"}
RUNS = {
    "pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork",
    "os.startfile", "socket.connect", "socket.getaddrinfo", "urllib.Request", "ctypes.dlopen", "marshal.loads",
}  # fmt: skip
# astropy tries in the system's folder of temporary files, once, whether files can be mapped
TRIED = os.path.join(tempfile.gettempdir(), "tmp")
# what makes classes from text, and reads its own cache, whatever the input
BUILDERS = ("importlib._bootstrap", "/numba/", "/collections/__init__", "/dataclasses.py", "/attr/_make.py", "/ply/",
            "/threadpoolctl", "corontools/jobs.py")  # fmt: skip


class TooLong(BaseException):
    """The case took longer than it may."""


@dataclass
class Outcome:
    """What a case came to; `faults` are none where all is well."""

    accepted: bool = False
    message: str = ""
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
    peak: int = 0


class Watch:
    """Audit hook of the process: which files are changed, and whether anything is run; on only within a case."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._event)

    def _event(self, event: str, args: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event == "open" and args[2] & WRITING:
            self._check(event, args[0])
        elif event in CHANGES:
            folder = args[-1] if event in RELATIVE and isinstance(args[-1], int) and args[-1] >= 0 else None
            for place in CHANGES[event]:
                self._check(
                    event, args[place] if folder is None else os.path.join(f"/proc/self/fd/{folder}", args[place])
                )
        elif (event in RUNS or (event == "exec" and _is_text(args[0]))) and not _building():
            self.seen.append(f"runs {event} at {' > '.join(_callers())}: {args!r:.120}")

    def _check(self, event: str, path: Any) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        folder, self.folder = self.folder, None
        try:
            place = os.fsdecode(path)
            there = os.path.join(os.path.realpath(os.path.dirname(place) or "."), os.path.basename(place))
            if place.startswith(TRIED) and any("fits/file.py" in caller for caller in _callers()):
                return
            if folder and not there.startswith(folder + os.sep) and "__pycache__" not in there and there != "/dev/null":
                self.seen.append(f"writes outside of the output folder: {event} {there} at {' > '.join(_callers())}")
        finally:
            self.folder = folder


def _is_text(code: Any) -> bool:
    return isinstance(code, types.CodeType) and code.co_filename.startswith("<") and "frozen" not in code.co_filename


def _callers() -> list[str]:
    """Files and lines that led here, the last ones last."""
    frame, found = sys._getframe(2), []
    while frame is not None:
        found.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        frame = frame.f_back  # type: ignore[assignment]
    return [os.sep.join(name.split(os.sep)[-2:]) for name in found[4::-1]]


def _building() -> bool:
    """Whether a module is being imported or a class made."""
    frame: Any = sys._getframe()
    while frame is not None:
        if any(name in frame.f_code.co_filename for name in BUILDERS):
            return True
        frame = frame.f_back
    return False


WATCH: list[Watch] = []


@contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """Give what happens that mustn't."""
    if not WATCH:
        WATCH.append(Watch())  # a hook can't be taken away again
    watch = WATCH[0]
    watch.seen, watch.folder = [], os.path.realpath(folder)
    try:
        yield watch.seen
    finally:
        watch.folder = None


@contextmanager
def bounded() -> Iterator[None]:
    """With little more room than the process has, and for a while."""

    def late(_number: int, _frame: Any) -> None:
        raise TooLong

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = [signal.signal(number, late) for number in (signal.SIGALRM, signal.SIGPROF)]
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, hard))
    signal.setitimer(signal.ITIMER_PROF, LONGEST)
    signal.setitimer(signal.ITIMER_REAL, LATEST)
    try:
        yield
    finally:
        for timer in (signal.ITIMER_REAL, signal.ITIMER_PROF):
            signal.setitimer(timer, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        for number, handler in zip((signal.SIGALRM, signal.SIGPROF), before, strict=True):
            signal.signal(number, handler)


def _memory(what: str) -> int:
    """Bytes of the process; "VmHWM" is their peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return 1024 * int(line.split()[1])
    return 0


def run(work: Callable[[Path], Any], files: Mapping[str, bytes], base: Path) -> Outcome:
    """Write the files into `base/in`, let `work(base)` do what it does, and look at what it did.

    `work` may write into `base/out`.
    """
    inside, out = base / "in", base / "out"
    tempfile.gettempdir()  # which tries at first whether it can be written to
    shutil.rmtree(base, ignore_errors=True)
    for folder in (inside, out):
        folder.mkdir(parents=True)
    for name, content in files.items():
        (inside / name).write_bytes(content)
    outcome = Outcome()
    Path("/proc/self/clear_refs").write_text("5")
    begin, used = time.process_time(), _memory("VmRSS")
    with warnings.catch_warnings(record=True) as told, watched(out) as seen:
        warnings.simplefilter("always")
        _attempt(work, base, outcome)
        outcome.faults += seen
    outcome.seconds, outcome.peak = time.process_time() - begin, max(0, _memory("VmHWM") - used)
    outcome.faults += _warned(told)
    if outcome.peak > MOST:
        outcome.faults.append(f"takes {outcome.peak >> 20} MB")
    if {path.name: path.read_bytes() for path in inside.iterdir()} != dict(files):
        outcome.faults.append("changes its input")
    if sorted(path.name for path in base.iterdir()) != ["in", "out"]:
        outcome.faults.append("leaves files beside its output")
    return outcome


def _attempt(work: Callable[[Path], Any], base: Path, outcome: Outcome) -> None:
    try:
        with bounded():
            work(base)
        outcome.accepted = True
    except DataError as error:
        outcome.message = str(error)
        outcome.faults += _told_badly(error)
    except TooLong as error:
        outcome.faults.append(f"takes more than {LONGEST:g} s at {_place(error)}")
    except Exception as error:  # noqa: BLE001 - all that comes out is looked at
        outcome.faults.append(f"{type(error).__name__} at {_place(error)}: {error!s:.160}")


def _told_badly(error: BaseException) -> list[str]:
    """What is wrong with a message, or with how it came about."""
    text, found = str(error), []
    if len(text) > LONG:
        found.append(f"a message of {len(text)} characters at {_place(error)}: {text[:100]!r}")
    if not text.isprintable():
        found.append(f"a message that is no printable line at {_place(error)}: {text[:300]!r}")
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            found.append(f"MemoryError at {_place(cause)}")
        cause = cause.__cause__
    return found


def _warned(told: list[warnings.WarningMessage]) -> list[str]:
    """Warnings that aren't the package's own."""
    foreign = {(w.category.__name__, Path(w.filename).name, w.lineno, str(w.message)) for w in told
               if w.category is not UserWarning}  # fmt: skip
    return sorted({f"warning {kind} of {name}:{line}: {text:.80}" for kind, name, line, text in foreign})


def _place(error: BaseException) -> str:
    """The last lines of the package that an error went through, and where it arose."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if f"{os.sep}corontools{os.sep}" in f.filename]
    last = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return " > ".join([*ours[-2:], last])
