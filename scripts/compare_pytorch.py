#!/usr/bin/env python3
"""Training steps on the processor: Kiln and PyTorch in turns, the same shapes, the same cores, the same number of threads.

    scripts/compare_pytorch.py --kiln KILN [--rounds 5] [--threads 2] [--precision f32] [--work FOLDER] [NAME ...]

Run with a Python that has PyTorch 2.4 or later. In each round one runs after the other, each in a process of its own, pinned to as many cores as it
has threads: two steps that do not count, then four that do. The ratio is of the same round; what is printed are medians, and the least and the largest
ratio. PyTorch's side is plain torch.nn with scaled_dot_product_attention and the fused AdamW, scripts/gpu_check_pytorch.py; Kiln's is `kiln train`
from a recipe with its defaults, reading of rows, schedule and log included, but for a table of all words where the name of a case does not end in `met`.
Rows are full, and all have dropout.
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from gpu_check_table import HERE, Case, run_kiln

CASES = [
    Case("ERNIE-1.0-base", "ernie", 8, 128, words=18_000, hidden=768, layers=12, heads=12, positions=513, act="relu"),
    Case("ERNIE-M-base", "ernie-m", 8, 128, words=250_002, hidden=768, layers=12, heads=12, positions=514),
    Case("ERNIE-M-base-met", "ernie-m", 8, 128, words=250_002, hidden=768, layers=12, heads=12, positions=514, met=60_000),
    Case("RemBERT-quarter", "rembert", 8, 128, words=250_300, hidden=288, layers=32, heads=18, embedding=256),
    Case("ELMo", "elmo", 16, 20, words=8_000, hidden=1024, layers=2, embedding=512),
]
WARM_UP, COUNT = 2, 4


def run_pytorch(case, precision):
    """A process of its own, for its memory."""
    command = [sys.executable, __file__, "--pytorch", case.name, "--precision", precision]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        return f"PyTorch ended with code {found.returncode}: {found.stderr.strip().splitlines()[-1:]}"
    return json.loads(found.stdout.splitlines()[-1])


def pytorch(case, precision):
    """That process."""
    import torch

    from gpu_check_pytorch import timed

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    print(json.dumps(timed(case, precision, torch.device("cpu"), WARM_UP, COUNT)))


def processor():
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].split(":")[1].strip() if names else "unknown processor"


def compare(given, case):
    """One row of the table; each round goes to the standard error as it comes."""
    rounds = []
    for number in range(given.rounds):
        with contextlib.redirect_stderr(io.StringIO()):  # what the run logs
            kiln = run_kiln(given, case, given.precision, 600)
        other = run_pytorch(case, given.precision)
        if isinstance(kiln, str) or isinstance(other, str):
            return f"| {case.label()} | {kiln if isinstance(kiln, str) else other} | | | | |"
        rounds.append((kiln["seconds"], other["seconds"], kiln["memory"], other["memory"]))
        print(f"{case.label()}, round {number + 1}: Kiln {rounds[-1][0]:.3f} s, PyTorch {rounds[-1][1]:.3f} s", file=sys.stderr, flush=True)
    ratios = [other / kiln for kiln, other, *_ in rounds]
    kiln, other, kiln_memory, other_memory = map(statistics.median, zip(*rounds))
    return (f"| {case.label()} | {kiln:.2f} | {other:.2f} | **{statistics.median(ratios):.2f}** | {min(ratios):.2f} to {max(ratios):.2f} "
            f"| {kiln_memory / 2**30:.2f} and {other_memory / 2**30:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kiln", type=Path, help="the command, built with --release")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="f32", choices=["f32", "bf16"])
    parser.add_argument("--work", type=Path, help="where made-up data is kept; else a temporary folder")
    parser.add_argument("--pytorch", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(case.name for case in CASES)}; else all")
    given = parser.parse_args()
    by_name = {case.name: case for case in CASES}
    if given.pytorch:
        return pytorch(by_name[given.pytorch], given.precision)
    unknown = [name for name in given.names if name not in by_name]
    if unknown or not given.kiln or not given.kiln.is_file():
        parser.error(f"there is no step {unknown[0]}; there are {', '.join(by_name)}" if unknown else "--kiln names no file; build with `cargo build --release`")
    import torch

    # Both sides inherit it.
    cores = sorted(os.sched_getaffinity(0))[: given.threads]
    os.sched_setaffinity(0, cores)
    os.environ |= {"RAYON_NUM_THREADS": str(len(cores)), "OMP_NUM_THREADS": str(len(cores)), "MKL_NUM_THREADS": str(len(cores))}
    given.backend, given.small, given.kiln = "flex", True, given.kiln.resolve()
    with tempfile.TemporaryDirectory() as folder:
        given.work = (given.work or Path(folder)).resolve()
        version = subprocess.run([given.kiln, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        commit = subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
        print(f"{version} ({commit}) and PyTorch {torch.__version__}, {given.precision}, {len(cores)} threads on {processor()}; {given.rounds} rounds\n")
        print("| step | Kiln, s | PyTorch, s | PyTorch / Kiln | in single rounds | memory, GiB |\n|---|---|---|---|---|---|")
        for case in CASES:
            if not given.names or case.name in given.names:
                print(compare(given, case), flush=True)
    return None


if __name__ == "__main__":
    main()
