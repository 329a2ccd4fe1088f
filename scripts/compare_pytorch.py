#!/usr/bin/env python3
"""Steps and inference on the processor: Kiln and PyTorch in turns, the same shapes, the same cores, the same number of threads.

    scripts/compare_pytorch.py --kiln KILN [--rounds 5] [--threads 2] [--precision f32] [--python OTHER] [--work FOLDER] [NAME ...]

Run with a Python that has PyTorch 2.4 or later; --python names another one with another PyTorch, which has its turn too. In each round one runs after the
other, each in a process of its own, pinned to as many cores as it has threads. The ratio is of the same round; what is printed are medians, and the least and
the largest ratio.

Of a training step two do not count, then four do. PyTorch's side is plain torch.nn with scaled_dot_product_attention and the fused AdamW,
scripts/gpu_check_pytorch.py; Kiln's is `kiln train` from a recipe with its defaults, reading of rows, schedule and log included, but for a table of all words
where the name of a case does not end in `met`. All have dropout. Rows are full where a case does not say from how many tokens on they are; PyTorch then pads
to the longest and has a mask. Names that end in `predict` are classifiers without gradients: `kiln predict` on many rows less the time of few, of which the
time of one batch is given, and PyTorch's rows sorted by length, the time of the second pass. LAC is scripts/compare_pytorch_lac.py.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import compare_pytorch_lac as lac
from gpu_check_table import HERE, Case, recipe, run_kiln, write_data

BASE = {"words": 18_000, "hidden": 768, "layers": 12, "heads": 12, "positions": 513, "act": "relu"}
CASES = [
    Case("ERNIE-1.0-base", "ernie", 8, 128, **BASE),
    Case("ERNIE-1.0-base-ragged", "ernie", 8, 128, **BASE, least=16),
    Case("ERNIE-1.0-base-predict", "ernie", 8, 128, **BASE),
    Case("ERNIE-1.0-base-ragged-predict", "ernie", 8, 128, **BASE, least=16),
    Case("ERNIE-M-base", "ernie-m", 8, 128, words=250_002, hidden=768, layers=12, heads=12, positions=514),
    Case("ERNIE-M-base-met", "ernie-m", 8, 128, words=250_002, hidden=768, layers=12, heads=12, positions=514, met=60_000),
    Case("RemBERT-quarter", "rembert", 8, 128, words=250_300, hidden=288, layers=32, heads=18, embedding=256),
    Case("ELMo", "elmo", 16, 20, words=8_000, hidden=1024, layers=2, embedding=512),
    Case("LAC", "lac", 32, 64, words=8_000, hidden=1024, layers=2, embedding=512),
]
WARM_UP, COUNT = 2, 4
# Rows that are predicted: few, and many.
ROWS = [16, 112]


def predicts(case):
    return case.name.endswith("predict")


def run_pytorch(python, case, precision):
    """A process of its own, for its memory."""
    command = [python, __file__, "--pytorch", case.name, "--precision", precision]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        return f"PyTorch ended with code {found.returncode}: {found.stderr.strip().splitlines()[-1:]}"
    return json.loads(found.stdout.splitlines()[-1])


def pytorch(case, precision):
    """That process."""
    import torch

    from gpu_check_pytorch import predicted, timed

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if case.family == "lac":
        got = lac.timed(case, WARM_UP, COUNT)
    elif predicts(case):
        got = predicted(case, ROWS[1] - ROWS[0], precision)
    else:
        got = timed(case, precision, torch.device("cpu"), WARM_UP, COUNT)
    print(json.dumps(got | {"torch": torch.__version__}))


def model_folder(given, case):
    """What one step of training leaves, made once."""
    folder = given.work / f"{case.name}-model"
    if not folder.exists():
        write_data(case, folder)
        (folder / "recipe.toml").write_text(recipe(case, folder, 'backend = "flex"', 1))
        command = [given.kiln, "train", folder / "recipe.toml", "training.max_steps=1"]
        subprocess.run(command, check=True, capture_output=True, cwd=HERE.parent)
        shutil.rmtree(folder / "run/checkpoints")
    return folder / "run/last"


def kiln_predicts(given, case):
    """Seconds of a batch of `case.rows` rows, and the most memory."""
    model, seconds, memory = model_folder(given, case), [], 0
    rows = (given.work / f"{case.name}-model/rows.jsonl").read_text().splitlines(keepends=True) * (ROWS[1] // (8 * case.rows) + 1)
    for count in ROWS:
        file = given.work / "rows.jsonl"
        file.write_text("".join(rows[:count]))
        command = [given.kiln, "predict", model, "--input", file, "--output", os.devnull, "--precision", given.precision, "--device", "flex"]
        began = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            return f"kiln predict ended with code {os.waitstatus_to_exitcode(status)}"
        seconds.append(time.monotonic() - began)
        memory = max(memory, used.ru_maxrss << 10)
    return {"seconds": (seconds[1] - seconds[0]) * case.rows / (ROWS[1] - ROWS[0]), "memory": memory}


def kiln(given, case):
    if predicts(case):
        return kiln_predicts(given, case)
    with contextlib.redirect_stderr(io.StringIO()):  # what the run logs
        if case.family == "lac":
            return run_kiln(given, case, given.precision, 600, lac.write_rows, lac.recipe(model_folder(given, lac.elmo_case(case))))
        return run_kiln(given, case, given.precision, 600)


def processor():
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].split(":")[1].strip() if names else "unknown processor"


def compare(given, case):
    """Rows of the table, one for each PyTorch; each round goes to the standard error as it comes."""
    rounds, versions = {python: [] for python in given.python}, {}
    for number in range(given.rounds):
        ours = kiln(given, case)
        for python, found in rounds.items():
            theirs = run_pytorch(python, case, given.precision)
            if isinstance(ours, str) or isinstance(theirs, str):
                return f"| {case.label()} | {ours if isinstance(ours, str) else theirs} | | | | | |"
            found.append((ours["seconds"], theirs["seconds"], ours["memory"], theirs["memory"]))
            versions[python] = theirs["torch"]
            print(f"{case.label()}, round {number + 1}: Kiln {ours['seconds']:.3f} s, PyTorch {theirs['torch']} {theirs['seconds']:.3f} s", file=sys.stderr, flush=True)
    rows = []
    for python, found in rounds.items():
        ratios = [theirs / ours for ours, theirs, *_ in found]
        ours, theirs, our_memory, their_memory = map(statistics.median, zip(*found))
        rows.append(f"| {case.label()} | {versions[python]} | {ours:.3g} | {theirs:.3g} | **{statistics.median(ratios):.2f}** "
                    f"| {min(ratios):.2f} to {max(ratios):.2f} | {our_memory / 2**30:.2f} and {their_memory / 2**30:.2f} |")
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kiln", type=Path, help="the command, built with --release")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="f32", choices=["f32", "bf16"])
    parser.add_argument("--python", action="append", default=[sys.executable], help="another Python with another PyTorch; may be given again")
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
    # Both sides inherit it.
    cores = sorted(os.sched_getaffinity(0))[: given.threads]
    os.sched_setaffinity(0, cores)
    os.environ |= {"RAYON_NUM_THREADS": str(len(cores)), "OMP_NUM_THREADS": str(len(cores)), "MKL_NUM_THREADS": str(len(cores))}
    given.backend, given.small, given.kiln = "flex", True, given.kiln.resolve()
    with tempfile.TemporaryDirectory() as folder:
        given.work = (given.work or Path(folder)).resolve()
        version = subprocess.run([given.kiln, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        commit = subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
        print(f"{version} ({commit}), {given.precision}, {len(cores)} threads on {processor()}; {given.rounds} rounds\n")
        print("| step | PyTorch | Kiln, s | PyTorch, s | PyTorch / Kiln | in single rounds | memory, GiB |\n|---|---|---|---|---|---|---|")
        for case in CASES:
            if not given.names or case.name in given.names:
                print(compare(given, case), flush=True)
    return None


if __name__ == "__main__":
    main()
