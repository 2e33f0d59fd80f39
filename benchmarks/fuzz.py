"""Fuzz everything that the package reads, in several processes, and print what was found as a table.

    python benchmarks/fuzz.py --cases 100000
    python benchmarks/fuzz.py --cases 2000 --targets fits visit
    python benchmarks/fuzz.py --cases 20000 --targets association --guided      (needs atheris; one process)

What is hostile about the files, and what may not happen, is told in tests/fuzz. A fault is counted once for each place
that it comes from; the files of its first case are kept under --keep.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hypothesis import HealthCheck, Phase, given, seed, settings

# cases in one process: what libraries keep doesn't add up, and one that dies takes few with it
PART = 2000
# seconds
HANGS = 3600


def part(job: tuple[str, int, int, str]) -> dict[str, Any]:
    """Cases of one target; gives counts, faults and the first files of each fault."""
    from tests.fuzz import guard
    from tests.fuzz.targets import TARGETS

    name, number, n_cases, keep = job
    target = TARGETS[name]
    base = Path(os.environ["CORONTOOLS_FUZZ"]) / f"{os.getpid()}" / "case"
    told: dict[str, Any] = {"name": name, "cases": 0, "accepted": 0, "refused": 0, "peak": 0, "longest": 0.0}
    faults: Counter[str] = Counter()
    begin = time.process_time()

    @seed(number)
    @settings(
        max_examples=n_cases, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(target.files())
    def cases(files: Mapping[str, bytes]) -> None:
        outcome = guard.run(target.work, files, base)
        told["cases"] += 1
        told["accepted"] += outcome.accepted
        told["refused"] += bool(outcome.message)
        told["peak"] = max(told["peak"], outcome.peak)
        told["longest"] = max(told["longest"], outcome.seconds)
        for fault in outcome.faults:
            sign = signature(fault)
            if not faults[sign] and keep:
                save(Path(keep) / name / re.sub(r"\W+", "_", sign)[:100], files, fault)
            faults[sign] += 1

    cases()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return {**told, "faults": faults, "seconds": time.process_time() - begin, "process": peak}


def guided(name: str, n_cases: int, keep: str) -> None:
    """Cases of one target led by what they reach in our modules (atheris); ends at the first fault."""
    import atheris

    with atheris.instrument_imports(include=["corontools", "json", "tomllib"]):
        from tests.fuzz import guard
        from tests.fuzz.targets import TARGETS
    target, base = TARGETS[name], Path(os.environ["CORONTOOLS_FUZZ"]) / "case"

    @settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(target.files())
    def case(files: Mapping[str, bytes]) -> None:
        outcome = guard.run(target.work, files, base)
        if outcome.faults:
            save(Path(keep or ".") / name / "guided", files, outcome.faults[0])
            raise AssertionError(outcome.faults[0])

    options = [sys.argv[0], f"-runs={n_cases}", "-rss_limit_mb=0", "-len_control=0"]
    atheris.Setup(options, case.hypothesis.fuzz_one_input)
    atheris.Fuzz()


def in_process(job: tuple[str, int, int, str]) -> dict[str, Any]:
    """The same in a process of its own; one that dies is a fault."""
    name, number, n_cases, keep = job
    command = [sys.executable, "-X", "faulthandler", __file__, "--part", name, str(number), str(n_cases), keep]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=HANGS)
        if run.returncode == 0:
            return json.loads(run.stdout.splitlines()[-1])
        end, told = f"ends with {run.returncode}", run.stderr
    except subprocess.TimeoutExpired as error:
        end, told = "hangs", str(error.stderr)
    print(told[-3000:], file=sys.stderr)
    none = dict.fromkeys(("cases", "accepted", "refused", "peak", "longest", "seconds", "process"), 0)
    return {**none, "name": name, "faults": {f"the process of part {number} {end}": 1}}


def signature(fault: str) -> str:
    """A fault without what is particular to a case."""
    return re.sub(r"0x[0-9a-f]+|\d{4,}|'[^']*'|\"[^\"]*\"", "_", fault.split(": ")[0])[:160]


def save(folder: Path, files: Mapping[str, bytes], fault: str) -> None:
    """Keep the files of a case."""
    if folder.exists():
        return
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "fault.txt").write_text(fault, encoding="utf-8", errors="backslashreplace")


def jobs(cases: int, names: list[str], first: int, keep: str) -> list[tuple[str, int, int, str]]:
    """The cases of all targets in parts, by their weights."""
    from tests.fuzz.targets import TARGETS

    total = sum(TARGETS[name].weight for name in names)
    made = []
    for name in names:
        left = round(cases * TARGETS[name].weight / total) + 1
        for k in range(-(-left // PART)):
            made.append((name, first + k, min(PART, left - k * PART), keep))
    return made


def added(parts: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Counts of each target."""
    whole: dict[str, dict[str, Any]] = {}
    for one in parts:
        row = whole.setdefault(one["name"], {"faults": Counter()})
        row["faults"].update(one["faults"])
        for key in ("cases", "accepted", "refused", "seconds"):
            row[key] = row.get(key, 0) + one[key]
        for key in ("peak", "longest", "process"):
            row[key] = max(row.get(key, 0), one[key])
    return whole


def show(whole: Mapping[str, Mapping[str, Any]]) -> None:
    """The table, and below it the faults."""
    head = ("target", "cases", "accepted", "refused", "faults", "seconds", "longest s", "case MB", "process MB")
    rows = [head]
    for name, row in whole.items():
        rows.append(
            (name, str(row["cases"]), str(row["accepted"]), str(row["refused"]), str(len(row["faults"])),
             f"{row['seconds']:.0f}", f"{row['longest']:.2f}", str(row["peak"] >> 20), str(row["process"] >> 20))
        )  # fmt: skip
    sums = [sum(int(row[k]) for row in rows[1:]) for k in range(1, 6)]
    rows.append(("all", *map(str, sums), *(str(max(float(row[k]) for row in rows[1:])) for k in (6, 7, 8))))
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    for row in rows:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
    for name, row in whole.items():
        for fault, count in row["faults"].most_common():
            print(f"{name}: {count} x {fault}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--targets", nargs="+", metavar="NAME")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", default="", metavar="FOLDER", help="for the files of the first case of each fault")
    parser.add_argument("--json", metavar="FILE", help="write the figures here too")
    parser.add_argument("--guided", action="store_true", help="led by coverage, the first of --targets (atheris)")
    parser.add_argument("--part", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part is not None:
        name, number, n_cases, keep = args.part
        print(json.dumps(part((name, int(number), int(n_cases), keep))))
        return
    with tempfile.TemporaryDirectory(prefix="corontools-fuzz-") as folder:
        os.environ["CORONTOOLS_FUZZ"] = folder
        if args.guided:
            guided((args.targets or ["association"])[0], args.cases, args.keep)
            return
        from tests.fuzz.targets import TARGETS

        todo = jobs(args.cases, args.targets or list(TARGETS), args.seed, args.keep)
        begin, parts = time.perf_counter(), []
        with ThreadPoolExecutor(args.processes) as pool:
            for one in pool.map(in_process, todo):
                parts.append(one)
                print(f"{len(parts)} of {len(todo)}: {one['name']}", file=sys.stderr, flush=True)
        took = time.perf_counter() - begin
    whole = added(parts)
    show({name: whole[name] for name in TARGETS if name in whole})
    print(f"{took:.0f} s in {args.processes} processes")
    if args.json:
        Path(args.json).write_text(json.dumps(whole, indent=1))


if __name__ == "__main__":
    main()
